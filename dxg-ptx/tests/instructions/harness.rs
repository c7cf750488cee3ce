//! Checks as kernels: operands in, results out, one thread for each vector.

use std::fmt::Write;

use dxg_ptx::exec::Launch;

use crate::support::arena::Arena;
use crate::support::program::Make;
use crate::support::program::Program;
use crate::support::random::Random;

/// What an operand holds: its register and which values are interesting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pred,
    B16,
    B32,
    B64,
    F16,
    BF16,
    F16x2,
    BF16x2,
    /// Two singles in 64 bits.
    F32x2,
    F32,
    /// A single at, beside or half-way between values of few bits.
    Fine,
    /// Two bytes: each byte once in either place.
    Codes,
    F64,
    /// A small number: a position, a length, a shift. 32 bits.
    Small,
    /// The same around 64 and more.
    Count,
}

/// What a result must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Expect {
    /// These bits.
    Bits(u64),
    /// These bits, and those in the second result.
    Both(u64, u64),
    /// A NaN of `f64`.
    Nan64,
    /// A float near a value: relative to it, or absolutely.
    Near32 { value: f64, relative: f64, absolute: f64 },
    /// The same in `f64`.
    Near64 { value: f64, relative: f64 },
    /// What PTX leaves open.
    Any,
}

type Reference = Box<dyn Fn([u64; 4]) -> Expect>;

/// An instruction with its operands and what it must give.
pub(crate) struct Check {
    /// Reads `%a`, `%b`, `%c`, `%e`; writes `%d`, and `%d2` if it has two results.
    pub(crate) ptx: String,
    pub(crate) result: Kind,
    pub(crate) operands: Vec<Kind>,
    pub(crate) reference: Reference,
}

/// A check.
pub(crate) fn check(
    ptx: impl Into<String>,
    result: Kind,
    operands: &[Kind],
    reference: impl Fn([u64; 4]) -> Expect + 'static,
) -> Check {
    Check { ptx: ptx.into(), result, operands: operands.to_vec(), reference: Box::new(reference) }
}

/// Which NaN of `f32` an executor may make where it should make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nans {
    /// The one of the hardware.
    Canonical,
    /// Any: PTX leaves the payload open, and native code leaves it to the machine.
    Any,
}

/// What became of checks.
pub(crate) struct Outcome {
    pub(crate) results: usize,
    pub(crate) failures: Vec<String>,
}

/// Vectors of each check, where edges are not more.
const VECTORS: usize = 600;
/// Vectors of a check at most.
const MOST: usize = 8192;

impl Kind {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Pred => 1,
            Self::B16 | Self::F16 | Self::BF16 | Self::Codes => 16,
            Self::B64 | Self::F64 | Self::F32x2 => 64,
            _ => 32,
        }
    }

    fn class(self) -> &'static str {
        match self.bits() {
            1 => ".pred",
            16 => ".b16",
            32 => ".b32",
            _ => ".b64",
        }
    }

    fn edges(self) -> Vec<u64> {
        let pair = |halves: &[u64]| {
            let pairs = halves.iter().flat_map(|&high| halves.iter().map(move |&low| high << 16 | low));
            pairs.step_by(7).collect()
        };
        let f16 = [
            0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x8400, 0x3c00, 0xbc00, 0x3c01, 0x3800, 0x4000,
            0xc200, 0x4900, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x1234, 0x2e66, 0xaaaa, 0x5555,
            0x57ff,
        ];
        let bf16 = [
            0x0000, 0x8000, 0x0001, 0x8001, 0x007f, 0x0080, 0x8080, 0x3f80, 0xbf80, 0x3f81, 0x3f00, 0x4000,
            0xc040, 0x4120, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0xffc1, 0x1234, 0x3dcd, 0xaaaa, 0x5555,
            0x42ff,
        ];
        match self {
            Self::Pred => vec![0, 1],
            Self::F32x2 => {
                let singles = Self::F32.edges();
                let turned = singles.iter().cycle().skip(5);
                singles.iter().zip(turned).map(|(high, low)| high << 32 | low).collect()
            }
            Self::Codes => (0..256).map(|code| code | (255 - code) << 8).collect(),
            Self::Fine => {
                let singles = (0x36..0x49_u64).flat_map(|exponent| {
                    // 64 steps of two powers of two; the bits beside each step too.
                    (0..64_u64).flat_map(move |step| {
                        let bits = exponent << 24 | step << 18;
                        [bits - 1, bits, bits + 1]
                    })
                });
                singles.flat_map(|bits| [bits, bits | 0x8000_0000]).collect()
            }
            Self::B16 => {
                vec![0, 1, 2, 3, 7, 8, 0xff, 0x100, 0x1234, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff]
            }
            Self::B32 => vec![
                0,
                1,
                2,
                3,
                7,
                0xff,
                0x8000,
                0xffff,
                0x1_0000,
                0x00ff_ffff,
                0x0080_0000,
                0x1234_5678,
                0x7fff_fffe,
                0x7fff_ffff,
                0x8000_0000,
                0x8000_0001,
                0xdead_beef,
                0xffff_fffe,
                0xffff_ffff,
            ],
            Self::B64 => vec![
                0,
                1,
                2,
                3,
                0xffff_ffff,
                0x1_0000_0000,
                0x7fff_ffff,
                0x8000_0000,
                0x1234_5678_9abc_def0,
                0x7fff_ffff_ffff_ffff,
                0x8000_0000_0000_0000,
                0x8000_0000_0000_0001,
                0xffff_ffff_0000_0000,
                u64::MAX - 1,
                u64::MAX,
            ],
            Self::F16 => f16.to_vec(),
            Self::BF16 => bf16.to_vec(),
            Self::F16x2 => pair(&f16),
            Self::BF16x2 => pair(&bf16),
            Self::F32 => [
                0.0,
                1.0,
                1.5,
                2.0,
                2.5,
                0.5,
                0.1,
                3.0,
                127.5,
                255.5,
                32767.5,
                65519.99,
                65520.0,
                8_388_607.5,
                16_777_217.0,
                2_147_483_600.0,
                2_147_483_648.0,
                4_294_967_040.0,
                4_294_967_296.0,
                9.223_372e18,
                1.844_674_4e19,
                1e-30,
                1e30,
                f32::MAX,
                f32::MIN_POSITIVE,
                1e-40,
                f32::from_bits(1),
                f32::from_bits(0x007f_ffff),
                f32::from_bits(0x3f7f_ffff),
                f32::from_bits(0x3f80_0001),
                f32::INFINITY,
                f32::from_bits(0x7fc0_1234),
            ]
            .iter()
            .flat_map(|value| [value.to_bits(), value.to_bits() | 0x8000_0000])
            .map(u64::from)
            .collect(),
            Self::F64 => [
                0.0,
                1.0,
                1.5,
                2.0,
                0.5,
                0.1,
                3.0,
                65520.0,
                16_777_217.0,
                2_147_483_647.5,
                4_294_967_295.5,
                9_007_199_254_740_993.0,
                9.223_372_036_854_775e18,
                1.844_674_407_370_955_2e19,
                3.402_823_567_797_336_6e38,
                1e-40,
                1e-310,
                1e-300,
                1e300,
                f64::MAX,
                f64::MIN_POSITIVE,
                f64::from_bits(1),
                f64::from_bits(0x3fef_ffff_ffff_ffff),
                f64::from_bits(0x3ff0_0000_0000_0001),
                f64::INFINITY,
                f64::from_bits(0x7ff8_0000_0000_1234),
            ]
            .iter()
            .flat_map(|value| [value.to_bits(), value.to_bits() | 1 << 63])
            .collect(),
            Self::Small => (0..=40).chain([63, 64, 65, 255, 256, 0x8000_0000, 0xffff_ffff]).collect(),
            Self::Count => {
                vec![0, 1, 2, 5, 15, 16, 17, 30, 31, 32, 33, 47, 63, 64, 65, 128, 255, 256, 0xffff_ffff]
            }
        }
    }

    /// A random value that is not too unlikely to be of interest.
    fn random(self, random: &mut Random) -> u64 {
        let bits = random.next();
        let raw = if self.bits() == 64 { bits } else { bits & ((1 << self.bits()) - 1) };
        match self {
            Self::Small | Self::Count => raw % 70,
            // Exponents near to each other, so that sums do not just return an operand.
            Self::F32 | Self::Fine if bits >> 40 & 3 != 0 => {
                let exponent = 117 + (bits >> 44 & 31);
                raw & 0x807f_ffff | exponent << 23
            }
            Self::F64 if bits >> 3 & 3 != 0 => {
                let exponent = 1000 + (random.next() & 63);
                raw & 0x800f_ffff_ffff_ffff | exponent << 52
            }
            Self::B32 | Self::B64 | Self::B16 if random.next() & 1 == 0 => {
                raw >> (random.next() % u64::from(self.bits()))
            }
            _ => raw,
        }
    }
}

/// Operands of a check: all pairs of edges of the first two if they are few, then edges and random values mixed.
fn vectors(check: &Check) -> Vec<[u64; 4]> {
    let mut random = Random(check.ptx.len() as u64);
    let edges: Vec<Vec<u64>> = check.operands.iter().map(|kind| kind.edges()).collect();
    let mut all = Vec::new();
    if edges.len() == 1 {
        all.extend(edges[0].iter().map(|&a| [a, 0, 0, 0]));
    }
    if edges.len() == 2 {
        let step = (edges[0].len() * edges[1].len() / (VECTORS * 2 / 3)).max(1) | 1;
        let pairs = edges[0].iter().flat_map(|&a| edges[1].iter().map(move |&b| [a, b, 0, 0]));
        all.extend(pairs.step_by(step));
    }
    while all.len() < VECTORS {
        let mut vector = [0; 4];
        let choice = random.next();
        for (index, (value, kind)) in vector.iter_mut().zip(&check.operands).enumerate() {
            let edges = &edges[index];
            *value = match choice >> (2 * index) & 3 {
                0 => kind.random(&mut random),
                1 if edges.len() > 3 => kind.random(&mut random),
                _ => edges[(random.next() % edges.len() as u64) as usize],
            };
        }
        all.push(vector);
    }
    all
}

/// The text of a kernel.
fn kernel(index: usize, check: &Check) -> String {
    let mut text = String::new();
    let names = ["a", "b", "c", "e"];
    let classes: Vec<&str> = check.operands.iter().map(|kind| kind.class()).collect();
    let _ = write!(
        text,
        ".visible .entry k{index}(.param .u64 src, .param .u64 dst, .param .u32 count)\n{{\n\
         .reg .b32 %i, %j, %n;\n.reg .b64 %src, %dst, %w, %wa, %wb, %wc, %we, %w2;\n.reg .pred %q;\n\
         .reg {class} %d, %d2;\n",
        class = check.result.class()
    );
    for (name, class) in names.iter().zip(&classes) {
        let _ = writeln!(text, ".reg {class} %{name};");
    }
    text.push_str(
        "mov.u32 %i, %ctaid.x;\nmov.u32 %j, %ntid.x;\nmov.u32 %n, %tid.x;\nmad.lo.u32 %i, %i, %j, %n;\n\
         ld.param.u32 %n, [count];\nsetp.ge.u32 %q, %i, %n;\n@%q ret;\n\
         ld.param.u64 %src, [src];\nld.param.u64 %dst, [dst];\n\
         mad.wide.u32 %src, %i, 32, %src;\nmad.wide.u32 %dst, %i, 16, %dst;\n\
         ld.global.u64 %wa, [%src];\nld.global.u64 %wb, [%src+8];\nld.global.u64 %wc, [%src+16];\n\
         ld.global.u64 %we, [%src+24];\n",
    );
    for (name, class) in names.iter().zip(&classes) {
        let _ = match *class {
            ".pred" => writeln!(text, "setp.ne.u64 %{name}, %w{name}, 0;"),
            ".b16" => writeln!(text, "cvt.u16.u64 %{name}, %w{name};"),
            ".b32" => writeln!(text, "cvt.u32.u64 %{name}, %w{name};"),
            _ => writeln!(text, "mov.b64 %{name}, %w{name};"),
        };
    }
    if !check.ptx.contains("%d2") {
        let _ = match check.result.class() {
            ".pred" => writeln!(text, "setp.ne.u32 %d2, 0, 0;"),
            class => writeln!(text, "mov{class} %d2, 0;"),
        };
    }
    text.push_str(&check.ptx);
    text.push('\n');
    for (name, wide, offset) in [("%d", "%w", 0), ("%d2", "%w2", 8)] {
        let _ = match check.result.class() {
            ".pred" => writeln!(text, "selp.u64 {wide}, 1, 0, {name};"),
            ".b16" => writeln!(text, "cvt.u64.u16 {wide}, {name};"),
            ".b32" => writeln!(text, "cvt.u64.u32 {wide}, {name};"),
            _ => writeln!(text, "mov.b64 {wide}, {name};"),
        };
        let _ = writeln!(text, "st.global.u64 [%dst+{offset}], {wide};");
    }
    text.push_str("ret;\n}\n");
    text
}

/// A result whose NaN counts as the canonical one.
fn canonical(kind: Kind, nans: Nans, got: u64) -> u64 {
    let is_nan = kind == Kind::F32 && f32::from_bits(got as u32).is_nan();
    if is_nan && nans == Nans::Any { 0x7fff_ffff } else { got }
}

/// Whether results are as expected.
fn agrees(expect: Expect, [got, second]: [u64; 2]) -> bool {
    let near = |got: f64, want: f64, relative: f64, absolute: f64| {
        got == want && got.is_sign_negative() == want.is_sign_negative()
            || got.is_nan() && want.is_nan()
            || (got - want).abs() <= (want.abs() * relative).max(absolute)
    };
    match expect {
        Expect::Bits(want) => got == want,
        Expect::Both(want, other) => got == want && second == other,
        Expect::Nan64 => f64::from_bits(got).is_nan(),
        Expect::Near32 { value, relative, absolute } => {
            near(f64::from(f32::from_bits(got as u32)), value, relative, absolute)
        }
        Expect::Near64 { value, relative } => near(f64::from_bits(got), value, relative, 0.0),
        Expect::Any => true,
    }
}

/// Runs checks with an executor.
pub(crate) fn run(checks: &[Check], make: Make<'_>, nans: Nans) -> Outcome {
    let mut text = String::from(".version 9.3\n.target sm_100\n.address_size 64\n");
    for (index, check) in checks.iter().enumerate() {
        text.push_str(&kernel(index, check));
    }
    let module = dxg_ptx::parse(text.as_bytes(), "checks").unwrap_or_else(|problems| {
        let line =
            problems.to_string().split("line ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
        let line = line.and_then(|line: usize| text.lines().nth(line - 1)).unwrap_or_default();
        panic!("{problems}\nfirst: {line}")
    });
    let arena = Arena::new(4 << 20);
    let program = Program::new(make, module, &arena);
    let (src, dst) = (arena.take(MOST * 32), arena.take(MOST * 16));
    let mut outcome = Outcome { results: 0, failures: Vec::new() };
    for (index, check) in checks.iter().enumerate() {
        let vectors = vectors(check);
        let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        arena.write(src, &bytes);
        let count = vectors.len() as u32;
        let params = [&src.to_le_bytes()[..], &dst.to_le_bytes(), &count.to_le_bytes()].concat();
        let launch =
            Launch { grid: [count.div_ceil(128), 1, 1], block: [128, 1, 1], params, ..Launch::default() };
        if let Err(fault) = program.run(&format!("k{index}"), &launch, &arena) {
            outcome.failures.push(format!("{}: {fault}", check.ptx));
            continue;
        }
        let results = arena.read(dst, vectors.len() * 16);
        let word = |at: usize| u64::from_le_bytes(results[at..at + 8].try_into().expect("eight bytes"));
        let wrong: Vec<usize> = (0..vectors.len())
            .filter(|&at| {
                let expect = match (check.reference)(vectors[at]) {
                    Expect::Bits(want) => Expect::Bits(canonical(check.result, nans, want)),
                    other => other,
                };
                !agrees(expect, [canonical(check.result, nans, word(16 * at)), word(16 * at + 8)])
            })
            .collect();
        outcome.results += vectors.len();
        if let Some(&at) = wrong.first() {
            let got = [word(16 * at), word(16 * at + 8)];
            outcome.failures.push(format!(
                "{}: {} of {} wrong, first {:x?}: {got:x?} instead of {:x?}",
                check.ptx,
                wrong.len(),
                vectors.len(),
                &vectors[at][..check.operands.len()],
                (check.reference)(vectors[at])
            ));
        }
    }
    outcome
}
