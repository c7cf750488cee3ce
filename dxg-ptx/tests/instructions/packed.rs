//! Two values in one register.

use crate::harness::Check;
use crate::harness::Expect::Bits;
use crate::harness::Kind;
use crate::harness::check;
use crate::integer::Int;
use crate::integer::TYPES;
use crate::reference::BF16;
use crate::reference::F16;
use crate::reference::Op;
use crate::reference::flush;
use crate::reference::rounded;
use crate::reference::saturate;
use crate::support::number::To;

/// Applies a function to both halves.
fn halves(operands: [u64; 3], f: impl Fn([u64; 3]) -> u64) -> u64 {
    f(operands.map(|word| word & 0xffff)) | f(operands.map(|word| word >> 16)) << 16
}

pub(crate) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    for (name, op) in [("add", Op::Add), ("sub", Op::Sub), ("mul", Op::Mul), ("fma", Op::Fma)] {
        let (text, count) = if op == Op::Fma { ("%a, %b, %c", 3) } else { ("%a, %b", 2) };
        for (ty, kind, format) in [("f16x2", Kind::F16x2, F16), ("bf16x2", Kind::BF16x2, BF16)] {
            all.push(check(
                format!("{name}.rn.{ty} %d, {text};"),
                kind,
                &[kind; 3][..count],
                move |[a, b, c, _]| {
                    Bits(halves([a, b, c], |operands| rounded(format, op, operands, To::Nearest)))
                },
            ));
        }
        for (suffix, ftz, sat) in [(".ftz", true, false), (".sat", false, true)] {
            all.push(check(
                format!("{name}.rn{suffix}.f16x2 %d, {text};"),
                Kind::F16x2,
                &[Kind::F16x2; 3][..count],
                move |[a, b, c, _]| {
                    Bits(halves([a, b, c], |operands| {
                        let read = |bits: u64| if ftz { flush(F16, bits) } else { bits };
                        let result = read(rounded(F16, op, operands.map(read), To::Nearest));
                        if sat { saturate(F16, result) } else { result }
                    }))
                },
            ));
        }
    }
    for (op, greater) in [("min", false), ("max", true)] {
        for (ty, kind, format) in [("f16x2", Kind::F16x2, F16), ("bf16x2", Kind::BF16x2, BF16)] {
            all.push(check(format!("{op}.{ty} %d, %a, %b;"), kind, &[kind; 2], move |[a, b, ..]| {
                Bits(halves([a, b, 0], |[a, b, _]| {
                    let (x, y) = (format.decode(a), format.decode(b));
                    match (x.is_nan(), y.is_nan()) {
                        (true, true) => format.nan(),
                        (true, false) => b,
                        (false, true) => a,
                        _ if (x < y || x == y && x.is_sign_negative()) == greater => b,
                        _ => a,
                    }
                }))
            }));
        }
        for (ty, int) in [("u16x2", TYPES[0]), ("s16x2", TYPES[1])] {
            all.push(check(
                format!("{op}.{ty} %d, %a, %b;"),
                Kind::B32,
                &[Kind::B32; 2],
                move |[a, b, ..]| {
                    Bits(halves(
                        [a, b, 0],
                        |[a, b, _]| {
                            if (int.number(a) < int.number(b)) == greater { b } else { a }
                        },
                    ))
                },
            ));
        }
    }
    bytes(&mut all);
    for (ty, int) in [("u16x2", TYPES[0]), ("s16x2", TYPES[1])] {
        all.push(check(
            format!("add.sat.{ty} %d, %a, %b;"),
            Kind::B32,
            &[Kind::B32; 2],
            move |[a, b, ..]| Bits(halves([a, b, 0], |[a, b, _]| int.clamp(int.number(a) + int.number(b)))),
        ));
    }
    for ty in ["u16x2", "s16x2"] {
        all.push(check(format!("add.{ty} %d, %a, %b;"), Kind::B32, &[Kind::B32; 2], |[a, b, ..]| {
            Bits(halves([a, b, 0], |[a, b, _]| (a + b) & 0xffff))
        }));
    }
    for (ty, kind, format) in [("f16x2", Kind::F16x2, F16), ("bf16x2", Kind::BF16x2, BF16)] {
        let number =
            move |bits: u64| !format.decode(bits & 0xffff).is_nan() && !format.decode(bits >> 16).is_nan();
        all.push(check(format!("neg.{ty} %d, %a;"), kind, &[kind], move |[a, ..]| {
            if number(a) { Bits(a ^ 0x8000_8000) } else { crate::harness::Expect::Any }
        }));
        all.push(check(format!("abs.{ty} %d, %a;"), kind, &[kind], move |[a, ..]| {
            if number(a) { Bits(a & 0x7fff_7fff) } else { crate::harness::Expect::Any }
        }));
        all.push(check(
            format!("setp.lt.{ty} %d|%d2, %a, %b;"),
            Kind::Pred,
            &[kind; 2],
            move |[a, b, ..]| {
                let less = |shift: u32| {
                    u64::from(format.decode(a >> shift & 0xffff) < format.decode(b >> shift & 0xffff))
                };
                crate::harness::Expect::Both(less(0), less(16))
            },
        ));
        all.push(check(format!("set.geu.{ty}.{ty} %d, %a, %b;"), kind, &[kind; 2], move |[a, b, ..]| {
            Bits(halves([a, b, 0], |[a, b, _]| {
                if format.decode(a) < format.decode(b) { 0 } else { format.encode(1.0, To::Nearest) }
            }))
        }));
    }
    all
}

/// Four bytes in one register.
fn bytes(all: &mut Vec<Check>) {
    type Function = fn(i128, i128) -> i128;
    let operations: [(&str, Function); 4] =
        [("add", |a, b| a + b), ("sub", |a, b| a - b), ("min", |a, b| a.min(b)), ("max", |a, b| a.max(b))];
    for (name, f) in operations {
        for (ty, signed) in [("u8x4", false), ("s8x4", true)] {
            let int = Int { name: ty, bits: 8, signed };
            let suffixes: &[&str] = match (name, signed) {
                ("add" | "sub", _) => &["", ".sat"],
                (_, true) => &["", ".relu"],
                _ => &[""],
            };
            for &suffix in suffixes {
                all.push(check(
                    format!("{name}{suffix}.{ty} %d, %a, %b;"),
                    Kind::B32,
                    &[Kind::B32; 2],
                    move |[a, b, ..]| {
                        Bits((0..4).fold(0, |word, at| {
                            let value = f(int.number(a >> (8 * at)), int.number(b >> (8 * at)));
                            let byte = match suffix {
                                ".sat" => int.clamp(value),
                                ".relu" => int.wrap(value.max(0)),
                                _ => int.wrap(value),
                            };
                            word | byte << (8 * at)
                        }))
                    },
                ));
            }
        }
    }
    let int = Int { name: "s8x4", bits: 8, signed: true };
    all.push(check("neg.s8x4 %d, %a;", Kind::B32, &[Kind::B32], move |[a, ..]| {
        Bits((0..4).fold(0, |word, at| word | int.wrap(-int.number(a >> (8 * at))) << (8 * at)))
    }));
}
