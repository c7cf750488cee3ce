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

fn lanes(all: &mut Vec<Check>) {
    for (name, f) in OPERATIONS {
        for (count, bits) in [(2, 16), (4, 8)] {
            for ty in [U32, S32] {
                let lane = Int { bits, ..ty };
                let t = ty.name;
                all.push(check(
                    format!("{name}{count}.{t}.{t}.{t} %d, %a, %b, %c;"),
                    Kind::B32,
                    &[Kind::B32; 3],
                    move |[a, b, ..]| {
                        Bits((0..count).fold(0, |word, at| {
                            let value = f(lane.number(a >> (at * bits)), lane.number(b >> (at * bits)));
                            word | lane.wrap(value) << (at * bits)
                        }))
                    },
                ));
                all.push(check(
                    format!("{name}{count}.{t}.{t}.{t}.sat %d, %a, %b, %c;"),
                    Kind::B32,
                    &[Kind::B32; 3],
                    move |[a, b, ..]| {
                        Bits((0..count).fold(0, |word, at| {
                            let value = f(lane.number(a >> (at * bits)), lane.number(b >> (at * bits)));
                            word | lane.clamp(value) << (at * bits)
                        }))
                    },
                ));
            }
        }
    }
}
