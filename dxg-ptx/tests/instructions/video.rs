//! Video instructions.

use crate::harness::Check;
use crate::harness::Expect::Bits;
use crate::harness::Kind;
use crate::harness::check;
use crate::integer::Int;
use crate::integer::TYPES;

const U32: Int = TYPES[2];
const S32: Int = TYPES[3];

/// A part of a word: its name, shift and bits.
type Part = (&'static str, u32, u32);

const PARTS: [Part; 4] = [("", 0, 32), (".b0", 0, 8), (".b3", 24, 8), (".h1", 16, 16)];

fn part(ty: Int, word: u64, (_, shift, bits): Part) -> i128 {
    Int { bits, ..ty }.number(word >> shift)
}

type Function = fn(i128, i128) -> i128;

const OPERATIONS: [(&str, Function); 5] = [
    ("vadd", |a, b| a + b),
    ("vsub", |a, b| a - b),
    ("vabsdiff", |a, b| (a - b).abs()),
    ("vmin", |a, b| a.min(b)),
    ("vmax", |a, b| a.max(b)),
];

pub(crate) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    scalar(&mut all);
    products(&mut all);
    lanes(&mut all);
    all
}

fn scalar(all: &mut Vec<Check>) {
    for (name, f) in OPERATIONS {
        for (ty, other) in [(U32, S32), (S32, S32), (S32, U32), (U32, U32)] {
            for from in PARTS {
                all.push(check(
                    format!("{name}.{}.{}.{} %d, %a{}, %b;", ty.name, other.name, other.name, from.0),
                    Kind::B32,
                    &[Kind::B32; 2],
                    move |[a, b, ..]| Bits(ty.wrap(f(part(other, a, from), other.number(b)))),
                ));
            }
            all.push(check(
                format!("{name}.{}.{}.{}.sat %d, %a, %b;", ty.name, other.name, other.name),
                Kind::B32,
                &[Kind::B32; 2],
                move |[a, b, ..]| Bits(ty.clamp(f(other.number(a), other.number(b)))),
            ));
            all.push(check(
                format!("{name}.{}.{}.{}.add %d, %a, %b, %c;", ty.name, other.name, other.name),
                Kind::B32,
                &[Kind::B32; 3],
                move |[a, b, c, _]| Bits(ty.wrap(f(other.number(a), other.number(b)) + i128::from(c))),
            ));
            for (op, least) in [("min", true), ("max", false)] {
                all.push(check(
                    format!("{name}.{}.{}.{}.{op} %d, %a.h1, %b, %c;", ty.name, other.name, other.name),
                    Kind::B32,
                    &[Kind::B32; 3],
                    move |[a, b, c, _]| {
                        let (first, c) = (f(part(other, a, PARTS[3]), other.number(b)), ty.number(c));
                        Bits(ty.wrap(if least { first.min(c) } else { first.max(c) }))
                    },
                ));
            }
            all.push(check(
                format!("{name}.{}.{}.{} %d.h1, %a, %b, %c;", ty.name, other.name, other.name),
                Kind::B32,
                &[Kind::B32; 3],
                move |[a, b, c, _]| {
                    let value = ty.wrap(f(other.number(a), other.number(b)));
                    Bits(c & 0xffff | (value & 0xffff) << 16)
                },
            ));
        }
    }
    for (name, less) in [("lt", true), ("ge", false)] {
        all.push(check(
            format!("vset.s32.u32.{name} %d, %a.b1, %b;"),
            Kind::B32,
            &[Kind::B32; 2],
            move |[a, b, ..]| {
                let a = part(S32, a, ("", 8, 8));
                Bits(u64::from((a < U32.number(b)) == less))
            },
        ));
    }
}

fn products(all: &mut Vec<Check>) {
    for ty in [U32, S32] {
        let name = ty.name;
        for (suffix, shift) in [("", 0), (".shr7", 7), (".shr15", 15)] {
            all.push(check(
                format!("vmad.{name}.{name}.{name}{suffix} %d, %a.h0, %b.h1, %c;"),
                Kind::B32,
                &[Kind::B32; 3],
                move |[a, b, c, _]| {
                    let product = part(ty, a, ("", 0, 16)) * part(ty, b, ("", 16, 16));
                    Bits(ty.wrap((product + ty.number(c)) >> shift))
                },
            ));
        }
    }
    // Whether the sum is signed is said by the operands.
    for (a, b, signs, signed) in [
        ("u32", "u32", "%a, %b, %c", false),
        ("u32", "s32", "%a, %b, %c", true),
        ("u32", "u32", "-%a, %b, %c", true),
        ("s32", "u32", "%a, %b, -%c", true),
    ] {
        let [ta, tb] = [a, b].map(|name| if name == "u32" { U32 } else { S32 });
        let ty = if signed { S32 } else { U32 };
        let (product, addend) =
            (if signs.starts_with('-') { -1 } else { 1 }, if signs.ends_with("-%c") { -1 } else { 1 });
        for (to, sat) in [("s32", ""), ("u32", ".sat"), ("s32", ".sat"), ("s32", ".sat.shr7")] {
            all.push(check(
                format!("vmad.{to}.{a}.{b}{sat} %d, {signs};"),
                Kind::B32,
                &[Kind::B32; 3],
                move |[x, y, z, _]| {
                    let sum = product * ta.number(x) * tb.number(y) + addend * ty.number(z);
                    let sum = if sat.ends_with("shr7") { sum >> 7 } else { sum };
                    Bits(if sat.is_empty() { ty.wrap(sum) } else { ty.clamp(sum) })
                },
            ));
        }
    }
    all.push(check("vmad.s32.s32.s32.sat %d, %a, %b, %c;", Kind::B32, &[Kind::B32; 3], |[a, b, c, _]| {
        Bits(S32.clamp(S32.number(a) * S32.number(b) + S32.number(c)))
    }));
    all.push(check(
        "vmad.s32.s32.s32.po %d, %a.b0, %b.b0, %c;",
        Kind::B32,
        &[Kind::B32; 3],
        |[a, b, c, _]| {
            let product = part(S32, a, PARTS[1]) * part(S32, b, PARTS[1]);
            Bits(S32.wrap(product + S32.number(c) + 1))
        },
    ));
}

/// Operations on lanes: those of words, and those that words do not have.
fn lane_operations() -> Vec<(&'static str, String, Function)> {
    let mut operations: Vec<(&str, String, Function)> =
        OPERATIONS.into_iter().map(|(name, f)| (name, String::new(), f)).collect();
    // Half of the sum; a half goes away from zero.
    operations.push(("vavrg", String::new(), |a, b| {
        let sum = a + b;
        (sum.abs() + 1) / 2 * sum.signum()
    }));
    let compares: [(&str, Function); 3] = [
        ("lt", |a, b| i128::from(a < b)),
        ("ne", |a, b| i128::from(a != b)),
        ("ge", |a, b| i128::from(a >= b)),
    ];
    operations.extend(compares.into_iter().map(|(name, f)| ("vset", format!(".{name}"), f)));
    operations
}

/// A choice of lanes: its name, and which lane of both words each lane is.
type Choice = (&'static str, [u32; 4]);

/// Choices of lanes of two words, from the low end, and masks of lanes that are written.
fn choices(count: u32) -> ([Choice; 3], [(&'static str, u64); 4]) {
    match count {
        2 => (
            [("", [0, 1, 0, 0]), (".h03", [3, 0, 0, 0]), (".h22", [2, 2, 0, 0])],
            [("", 3), (".h0", 1), (".h1", 2), (".h10", 3)],
        ),
        _ => (
            [("", [0, 1, 2, 3]), (".b7061", [1, 6, 0, 7]), (".b4444", [4, 4, 4, 4])],
            [("", 15), (".b2", 4), (".b310", 11), (".b3210", 15)],
        ),
    }
}

fn lanes(all: &mut Vec<Check>) {
    for (name, compare, f) in lane_operations() {
        for (count, bits) in [(2_u32, 16), (4, 8)] {
            for (ty, other) in [(U32, U32), (S32, S32), (S32, U32)] {
                let is_set = name == "vset";
                if is_set && ty != other {
                    continue;
                }
                let [result, first, second] = [ty, other, ty].map(|ty| Int { bits, ..ty });
                let types = match is_set {
                    true => format!(".{}.{}", first.name, second.name),
                    false => format!(".{}.{}.{}", ty.name, first.name, second.name),
                };
                let (selections, masks) = choices(count);
                for ((mask_name, mask), (select, chosen)) in
                    masks.into_iter().zip(selections.into_iter().cycle())
                {
                    // What a lane of `a` or `b` reads: of both words, by number; `b` without a choice is `b`.
                    let lane = move |a: u64, b: u64, at: u32| {
                        let read = |number: u32| {
                            let word = if number < count { a } else { b };
                            word >> (number % count * bits)
                        };
                        let y = if select.is_empty() { read(count + at) } else { read(chosen[at as usize]) };
                        f(first.number(read(at)), second.number(y))
                    };
                    let operands = format!("%d{mask_name}, %a, %b{select}, %c");
                    for (sat, clamps) in [("", false), (".sat", true)] {
                        if is_set && clamps {
                            continue;
                        }
                        all.push(check(
                            format!("{name}{count}{types}{compare}{sat} {operands};"),
                            Kind::B32,
                            &[Kind::B32; 3],
                            move |[a, b, c, _]| {
                                Bits((0..count).fold(0, |word, at| {
                                    let value = lane(a, b, at);
                                    let value = match (mask >> at & 1 == 1, clamps) {
                                        (false, _) => c >> (at * bits) & ((1 << bits) - 1),
                                        (true, true) => result.clamp(value),
                                        (true, false) => result.wrap(value),
                                    };
                                    word | value << (at * bits)
                                }))
                            },
                        ));
                    }
                    all.push(check(
                        format!("{name}{count}{types}{compare}.add {operands};"),
                        Kind::B32,
                        &[Kind::B32; 3],
                        move |[a, b, c, _]| {
                            let added = (0..count).filter(|at| mask >> at & 1 == 1);
                            let sum: i128 = added.map(|at| lane(a, b, at)).sum();
                            Bits(U32.wrap(i128::from(c) + sum))
                        },
                    ));
                }
            }
        }
    }
}
