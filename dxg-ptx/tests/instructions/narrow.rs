//! Conversions to and from formats of less than 16 bits, against tables of all their values.

use crate::harness::Check;
use crate::harness::Expect::Bits;
use crate::harness::Kind;
use crate::harness::check;
use crate::reference::BF16;
use crate::reference::F16;
use crate::reference::F32;
use crate::support::number::To;

/// A small float by the table of its positive finite values.
#[derive(Clone)]
struct Table {
    name: &'static str,
    values: Vec<f64>,
    /// What the code after the last means, if there is one.
    after: Option<f64>,
    /// Bits of a code, and from one code to the next.
    bits: u32,
    stride: u32,
}

impl Table {
    fn new(name: &'static str, exponent: i32, fraction: i32, count: u64, after: Option<f64>) -> Self {
        let bias = (1 << (exponent - 1)) - 1;
        let value = |code: u64| {
            let (high, low) = ((code >> fraction) as i32, (code & ((1 << fraction) - 1)) as f64);
            let unit = f64::from(high.max(1) - bias - fraction).exp2();
            if high == 0 { low * unit } else { (low + f64::from(1 << fraction)) * unit }
        };
        let bits = (1 + exponent + fraction) as u32;
        let stride = if bits == 4 { 4 } else { 8 };
        Self { name, values: (0..count).map(value).collect(), after, bits, stride }
    }

    fn sign(&self) -> u64 {
        1 << (self.bits - 1)
    }

    fn last(&self) -> u64 {
        self.values.len() as u64 - 1
    }

    fn of_nan(&self) -> u64 {
        if self.bits == 8 { 0x7f } else { self.last() }
    }

    /// The code of a value after `.relu` or not; `magnitude` finds that of a positive one.
    fn code(&self, value: f64, relu: bool, magnitude: impl Fn(f64) -> u64) -> u64 {
        if value.is_nan() {
            return self.of_nan();
        }
        match (value.is_sign_negative(), relu) {
            (true, true) => 0,
            (true, false) => magnitude(-value) | self.sign(),
            (false, _) => magnitude(value),
        }
    }

    /// The nearest, by search; ties go to the even code, and what is beyond to the last.
    fn nearest(&self, magnitude: f64) -> u64 {
        let above = self.values.partition_point(|&value| value < magnitude);
        if above == self.values.len() {
            return self.last();
        }
        if above == 0 {
            return 0;
        }
        let (low, high) = (magnitude - self.values[above - 1], self.values[above] - magnitude);
        let takes_high = high < low || high == low && above % 2 == 0;
        above as u64 - u64::from(!takes_high)
    }

    /// The one below, or the one above if the random part and that which is cut off make a whole.
    fn at_random(&self, magnitude: f64, random: u16) -> u64 {
        let below = self.values.partition_point(|&value| value <= magnitude) - 1;
        let Some(next) = self.values.get(below + 1) else { return self.last() };
        let cut_off = (magnitude - self.values[below]) / (next - self.values[below]);
        below as u64 + u64::from(cut_off + f64::from(random) / 65536.0 >= 1.0)
    }

    fn decode(&self, code: u64) -> f64 {
        let magnitude = code & (self.sign() - 1);
        let value = match self.values.get(magnitude as usize) {
            Some(value) => *value,
            None if magnitude == self.last() + 1 => self.after.unwrap_or(f64::NAN),
            None => f64::NAN,
        };
        if code & self.sign() == 0 { value } else { -value }
    }
}

fn tables() -> [Table; 5] {
    [
        Table::new("e4m3", 4, 3, 0x7f, None),
        Table::new("e5m2", 5, 2, 0x7c, Some(f64::INFINITY)),
        Table::new("e3m2", 3, 2, 32, None),
        Table::new("e2m3", 2, 3, 32, None),
        Table::new("e2m1", 2, 1, 8, None),
    ]
}

const RELU: [(&str, bool); 2] = [("", false), (".relu", true)];
const BOUNDED: [(&str, bool); 2] = [("", false), (".satfinite", true)];

/// The value of a scale.
fn scale(code: u64) -> f64 {
    match code & 0xff {
        0xff => f64::NAN,
        code => f64::from(code as i32 - 127).exp2(),
    }
}

/// A value as half of a result, with its modifiers.
fn to_bf16(value: f64, relu: bool, bounded: bool) -> u64 {
    let bits = BF16.encode(value, To::Nearest);
    let is_negative = bits & 0x8000 != 0 && !value.is_nan();
    match bits & 0x7fff {
        _ if is_negative && relu => 0,
        0x7f80 if bounded => bits - 1,
        _ => bits,
    }
}

pub(crate) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    for table in tables() {
        down(&mut all, &table);
        up(&mut all, &table);
        at_random(&mut all, &table);
    }
    halves_at_random(&mut all);
    powers(&mut all);
    fixed_point(&mut all);
    all
}

fn down(all: &mut Vec<Check>, table: &Table) {
    let (name, stride) = (table.name, table.stride);
    // Pairs of four bits are eight bits.
    let (before, destination, after) = match stride {
        4 => ("{\n.reg .b8 %n;\n", "%n", "\ncvt.u16.u8 %d, %n;\n}"),
        _ => ("", "%d", ""),
    };
    for (suffix, relu) in RELU {
        let own = table.clone();
        let code = move |value: f64| own.code(value, relu, |magnitude| own.nearest(magnitude));
        let of_single = code.clone();
        all.push(check(
            format!("{before}cvt.rn.satfinite{suffix}.{name}x2.f32 {destination}, %a, %a;{after}"),
            Kind::Codes,
            &[Kind::Fine],
            move |[a, ..]| {
                let one = of_single(F32.decode(a));
                Bits(one << stride | one)
            },
        ));
        let of_singles = code.clone();
        all.push(check(
            format!("cvt.rn.satfinite{suffix}.{name}x2.f32 %d, %a, %b;"),
            Kind::Codes,
            &[Kind::F32; 2],
            move |[a, b, ..]| Bits(of_singles(F32.decode(a)) << stride | of_singles(F32.decode(b))),
        ));
        for (from, format, kind) in [("f16x2", F16, Kind::F16x2), ("bf16x2", BF16, Kind::BF16x2)] {
            let of_half = code.clone();
            all.push(check(
                format!("{before}cvt.rn.satfinite{suffix}.{name}x2.{from} {destination}, %a;{after}"),
                Kind::Codes,
                &[kind],
                move |[a, ..]| {
                    let half = |bits: u64| of_half(format.decode(bits));
                    Bits(half(a >> 16) << stride | half(a & 0xffff))
                },
            ));
        }
    }
}

fn up(all: &mut Vec<Check>, table: &Table) {
    let (name, stride) = (table.name, table.stride);
    let (before, source) = match stride {
        4 => ("{\n.reg .b8 %n;\ncvt.u8.u16 %n, %a;\n", "%n"),
        _ => ("{\n", "%a"),
    };
    for (suffix, relu) in RELU {
        let own = table.clone();
        all.push(check(
            format!("{before}cvt.rn{suffix}.f16x2.{name}x2 %d, {source};\n}}"),
            Kind::B32,
            &[Kind::Codes],
            move |[a, ..]| {
                let half = |shift: u32| match own.decode(a >> shift) {
                    value if relu && value.is_sign_negative() && !value.is_nan() => 0,
                    value => F16.encode(value, To::Nearest),
                };
                Bits(half(stride) << 16 | half(0))
            },
        ));
        for (limit, bounded) in BOUNDED {
            let own = table.clone();
            all.push(check(
                format!("{before}cvt.rn{suffix}{limit}.bf16x2.{name}x2 %d, {source};\n}}"),
                Kind::B32,
                &[Kind::Codes],
                move |[a, ..]| {
                    let half = |shift: u32| to_bf16(own.decode(a >> shift), relu, bounded);
                    Bits(half(stride) << 16 | half(0))
                },
            ));
            let own = table.clone();
            all.push(check(
                format!(
                    "{before}cvt.rn{suffix}{limit}.scaled::n2::ue8m0.bf16x2.{name}x2 %d, {source}, %b;\n}}"
                ),
                Kind::B32,
                &[Kind::Codes; 2],
                move |[a, b, ..]| {
                    let half = |place: u32| {
                        to_bf16(own.decode(a >> (place * stride)) * scale(b >> (8 * place)), relu, bounded)
                    };
                    Bits(half(1) << 16 | half(0))
                },
            ));
        }
    }
}

/// The random bits of the four values.
fn random_parts(stride: u32, random: u64) -> [u16; 4] {
    let byte = |at: u32| (random >> (8 * at)) as u16 & 0xff;
    let (upper, lower) = match stride {
        4 => (byte(3) << 8 | byte(1), byte(2) << 8 | byte(0)),
        _ => (byte(3) << 8 | byte(2), byte(1) << 8 | byte(0)),
    };
    [upper.reverse_bits(), upper, lower.reverse_bits(), lower]
}

fn at_random(all: &mut Vec<Check>, table: &Table) {
    let (name, stride) = (table.name, table.stride);
    let kind = if stride == 4 { Kind::Codes } else { Kind::B32 };
    for (suffix, relu) in RELU {
        let own = table.clone();
        let four = move |values: [u64; 4], random: u64| {
            let parts = random_parts(stride, random);
            values.iter().zip(parts).fold(0, |word, (&bits, part)| {
                let value = F32.decode(bits);
                word << stride | own.code(value, relu, |magnitude| own.at_random(magnitude, part))
            })
        };
        let own = four.clone();
        all.push(check(
            format!("cvt.rs.satfinite{suffix}.{name}x4.f32 %d, {{%a, %b, %a, %b}}, %c;"),
            kind,
            &[Kind::Fine, Kind::F32, Kind::B32],
            move |[a, b, c, _]| Bits(own([a, b, a, b], c)),
        ));
        for random in [0, 0xffff_ffff, 0x9e37_79b9_u64] {
            let own = four.clone();
            all.push(check(
                format!("cvt.rs{suffix}.satfinite.{name}x4.f32 %d, {{%a, %b, %c, %e}}, {random};"),
                kind,
                &[Kind::Fine, Kind::F32, Kind::Fine, Kind::F32],
                move |values| Bits(own(values, random)),
            ));
        }
    }
}

fn halves_at_random(all: &mut Vec<Check>) {
    for (name, format, kind, count) in [("f16x2", F16, Kind::F16x2, 13), ("bf16x2", BF16, Kind::BF16x2, 16)] {
        for (suffix, relu) in RELU {
            for (limit, bounded) in BOUNDED {
                let half = move |bits: u64, random: u64| {
                    let value = F32.decode(bits);
                    let below = format.encode(value, To::Zero);
                    if value.is_nan() {
                        return below;
                    }
                    if relu && value.is_sign_negative() {
                        return 0;
                    }
                    let random = (random & ((1 << count) - 1)) as f64 / f64::from(1 << count);
                    // The step is that of the value below; at the greatest one it is the step before.
                    let least = (below & 0x7fff).min(format.infinity() - 2);
                    let step = format.decode(least + 1) - format.decode(least);
                    let cut_off = (value.abs() - format.decode(below & 0x7fff)) / step;
                    let code = below + u64::from(value.is_finite() && cut_off + random >= 1.0);
                    match code & 0x7fff == format.infinity() && bounded {
                        true => code - 1,
                        false => code,
                    }
                };
                all.push(check(
                    format!("cvt.rs{suffix}{limit}.{name}.f32 %d, %a, %b, %c;"),
                    kind,
                    &[Kind::F32, Kind::F32, Kind::B32],
                    move |[a, b, c, _]| Bits(half(a, c >> 16) << 16 | half(b, c)),
                ));
            }
        }
        for rounding in [("rn", To::Nearest), ("rz", To::Zero)] {
            all.push(check(
                format!("cvt.{}.satfinite.{name}.f32 %d, %a, %b;", rounding.0),
                kind,
                &[Kind::F32; 2],
                move |[a, b, ..]| {
                    let half = |bits: u64| match format.encode(F32.decode(bits), rounding.1) {
                        code if code & 0x7fff == format.infinity() => code - 1,
                        code => code,
                    };
                    Bits(half(a) << 16 | half(b))
                },
            ));
        }
    }
}

/// The exponent of the power of two at or beside a magnitude, by search.
fn power(value: f64, up: bool, bounded: bool) -> u64 {
    let most = if bounded { 0xfe } else { 0xff };
    if value.is_nan() {
        return 0xff;
    }
    if value.is_infinite() {
        return most;
    }
    let magnitude = value.abs();
    let below = (0..=0xfe).rev().find(|&code| scale(code) <= magnitude);
    match below {
        None => 0,
        Some(code) if up && scale(code) != magnitude => (code + 1).min(most),
        Some(code) => code,
    }
}

fn powers(all: &mut Vec<Check>) {
    for (rounding, up) in [("rz", false), ("rp", true)] {
        for (limit, bounded) in BOUNDED {
            all.push(check(
                format!("cvt.{rounding}{limit}.ue8m0x2.f32 %d, %a, %b;"),
                Kind::Codes,
                &[Kind::F32; 2],
                move |[a, b, ..]| {
                    let code = |bits: u64| power(F32.decode(bits), up, bounded);
                    Bits(code(a) << 8 | code(b))
                },
            ));
            all.push(check(
                format!("cvt.{rounding}{limit}.ue8m0x2.bf16x2 %d, %a;"),
                Kind::Codes,
                &[Kind::BF16x2],
                move |[a, ..]| {
                    let code = |bits: u64| power(BF16.decode(bits), up, bounded);
                    Bits(code(a >> 16) << 8 | code(a & 0xffff))
                },
            ));
        }
    }
    all.push(check("cvt.rn.bf16x2.ue8m0x2 %d, %a;", Kind::B32, &[Kind::Codes], |[a, ..]| {
        let half = |code: u64| BF16.encode(scale(code), To::Nearest);
        Bits(half(a >> 8) << 16 | half(a))
    }));
}

fn fixed_point(all: &mut Vec<Check>) {
    let code = |value: f64, relu: bool| {
        if value.is_nan() {
            return 127;
        }
        let value = if relu { value.max(0.0) } else { value };
        (value * 64.0).round_ties_even().clamp(-128.0, 127.0) as i64 as u64 & 0xff
    };
    for (suffix, relu) in RELU {
        all.push(check(
            format!("cvt.rn.satfinite{suffix}.s2f6x2.f32 %d, %a, %b;"),
            Kind::Codes,
            &[Kind::F32, Kind::Fine],
            move |[a, b, ..]| Bits(code(F32.decode(a), relu) << 8 | code(F32.decode(b), relu)),
        ));
        all.push(check(
            format!("cvt.rn.satfinite{suffix}.scaled::n2::ue8m0.s2f6x2.f32 %d, %a, %b, %c;"),
            Kind::Codes,
            &[Kind::F32, Kind::Fine, Kind::Codes],
            move |[a, b, c, _]| {
                let one = |bits: u64, by: u64| code(F32.decode(bits) / scale(by), relu);
                Bits(one(a, c >> 8) << 8 | one(b, c))
            },
        ));
        all.push(check(
            format!("cvt.rn.satfinite{suffix}.s2f6x2.bf16x2 %d, %a;"),
            Kind::Codes,
            &[Kind::BF16x2],
            move |[a, ..]| Bits(code(BF16.decode(a >> 16), relu) << 8 | code(BF16.decode(a & 0xffff), relu)),
        ));
        all.push(check(
            format!("cvt.rn.satfinite{suffix}.scaled::n2::ue8m0.s2f6x2.bf16x2 %d, %a, %b;"),
            Kind::Codes,
            &[Kind::BF16x2, Kind::Codes],
            move |[a, b, ..]| {
                let one = |bits: u64, by: u64| code(BF16.decode(bits & 0xffff) / scale(by), relu);
                Bits(one(a >> 16, b >> 8) << 8 | one(a, b))
            },
        ));
        for (limit, bounded) in BOUNDED {
            let half = move |code: u64, by: f64| {
                let value = f64::from(code as u8 as i8) / 64.0;
                to_bf16(value * by, relu, bounded)
            };
            all.push(check(
                format!("cvt.rn{limit}{suffix}.bf16x2.s2f6x2 %d, %a;"),
                Kind::B32,
                &[Kind::Codes],
                move |[a, ..]| Bits(half(a >> 8, 1.0) << 16 | half(a, 1.0)),
            ));
            all.push(check(
                format!("cvt.rn{limit}{suffix}.scaled::n2::ue8m0.bf16x2.s2f6x2 %d, %a, %b;"),
                Kind::B32,
                &[Kind::Codes; 2],
                move |[a, b, ..]| Bits(half(a >> 8, scale(b >> 8)) << 16 | half(a, scale(b))),
            ));
        }
    }
}
