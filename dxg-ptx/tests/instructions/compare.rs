//! Comparisons, minimum and maximum of floats, classes.

use std::cmp::Ordering;

use crate::harness::Check;
use crate::harness::Expect::Bits;
use crate::harness::Expect::Both;
use crate::harness::Kind;
use crate::harness::check;
use crate::integer::TYPES;
use crate::reference::BF16;
use crate::reference::F16;
use crate::reference::F32;
use crate::reference::Format;
use crate::reference::flush;

/// Whether a comparison of this name holds.
fn holds(name: &str, order: Option<Ordering>) -> bool {
    let ordered = |accepted: &[Ordering]| order.is_some_and(|order| accepted.contains(&order));
    use Ordering::Equal;
    use Ordering::Greater;
    use Ordering::Less;
    match name {
        "eq" => ordered(&[Equal]),
        "ne" => ordered(&[Less, Greater]),
        "lt" | "lo" => ordered(&[Less]),
        "le" | "ls" => ordered(&[Less, Equal]),
        "gt" | "hi" => ordered(&[Greater]),
        "ge" | "hs" => ordered(&[Greater, Equal]),
        "num" => order.is_some(),
        "nan" => order.is_none(),
        unordered => order.is_none() || holds(&unordered[..2], order),
    }
}

const INTEGER: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];
const FLOAT: [&str; 14] =
    ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

/// How values of a float type stand to each other.
fn order(kind: Kind, ftz: bool) -> impl Fn(u64, u64) -> Option<Ordering> + Copy {
    move |a, b| {
        let value = |bits: u64| match kind {
            Kind::F64 => f64::from_bits(bits),
            Kind::F32 => F32.decode(if ftz { flush(F32, bits) } else { bits }),
            Kind::F16 => F16.decode(if ftz { flush(F16, bits) } else { bits }),
            _ => BF16.decode(bits),
        };
        value(a).partial_cmp(&value(b))
    }
}

pub(crate) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    for ty in TYPES {
        let unsigned = ["lo", "ls", "hi", "hs"];
        let names = INTEGER.iter().chain(if ty.signed { &[][..] } else { &unsigned[..] });
        for &name in names {
            all.push(check(
                format!("setp.{name}.{} %d|%d2, %a, %b;", ty.name),
                Kind::Pred,
                &[ty.kind(); 2],
                move |[a, b, ..]| {
                    let holds = holds(name, Some(ty.number(a).cmp(&ty.number(b))));
                    Both(u64::from(holds), u64::from(!holds))
                },
            ));
        }
        all.push(check(
            format!("set.lt.u32.{} %d, %a, %b;", ty.name),
            Kind::B32,
            &[ty.kind(); 2],
            move |[a, b, ..]| Bits(if ty.number(a) < ty.number(b) { 0xffff_ffff } else { 0 }),
        ));
        all.push(check(
            format!("set.ge.f32.{} %d, %a, %b;", ty.name),
            Kind::B32,
            &[ty.kind(); 2],
            move |[a, b, ..]| Bits(if ty.number(a) >= ty.number(b) { 0x3f80_0000 } else { 0 }),
        ));
    }
    for bits in [16, 32, 64] {
        for name in ["eq", "ne"] {
            let kind = [Kind::B16, Kind::B32, Kind::B64][bits / 32];
            all.push(check(
                format!("setp.{name}.b{bits} %d, %a, %b;"),
                Kind::Pred,
                &[kind; 2],
                move |[a, b, ..]| Bits(u64::from((a == b) == (name == "eq"))),
            ));
        }
    }
    floats(&mut all);
    combined(&mut all);
    extremes(&mut all);
    classes(&mut all);
    all
}

fn floats(all: &mut Vec<Check>) {
    let types = [
        ("f32", Kind::F32, true),
        ("f64", Kind::F64, false),
        ("f16", Kind::F16, true),
        ("bf16", Kind::BF16, false),
    ];
    for (ty, kind, can_flush) in types {
        for name in FLOAT {
            for ftz in [false, true] {
                if ftz && !can_flush {
                    continue;
                }
                let suffix = if ftz { ".ftz" } else { "" };
                let order = order(kind, ftz);
                all.push(check(
                    format!("setp.{name}{suffix}.{ty} %d|%d2, %a, %b;"),
                    Kind::Pred,
                    &[kind; 2],
                    move |[a, b, ..]| {
                        let holds = holds(name, order(a, b));
                        Both(u64::from(holds), u64::from(!holds))
                    },
                ));
            }
            if ty != "bf16" {
                let order = order(kind, false);
                all.push(check(
                    format!("set.{name}.s32.{ty} %d, %a, %b;"),
                    Kind::B32,
                    &[kind; 2],
                    move |[a, b, ..]| Bits(if holds(name, order(a, b)) { 0xffff_ffff } else { 0 }),
                ));
            }
        }
    }
}

fn combined(all: &mut Vec<Check>) {
    type Combine = fn(bool, bool) -> bool;
    let operations: [(&str, Combine); 3] =
        [("and", |a, b| a && b), ("or", |a, b| a || b), ("xor", |a, b| a != b)];
    for (name, combine) in operations {
        for (text, inverts) in [("%c", false), ("!%c", true)] {
            all.push(check(
                format!("setp.lt.{name}.s32 %d|%d2, %a, %b, {text};"),
                Kind::Pred,
                &[Kind::B32, Kind::B32, Kind::Pred],
                move |[a, b, c, _]| {
                    let (holds, c) = ((a as u32 as i32) < (b as u32 as i32), (c == 1) != inverts);
                    Both(u64::from(combine(holds, c)), u64::from(combine(!holds, c)))
                },
            ));
        }
        all.push(check(
            format!("set.gtu.{name}.u32.f32 %d, %a, %b, %c;"),
            Kind::B32,
            &[Kind::F32, Kind::F32, Kind::Pred],
            move |[a, b, c, _]| {
                let (a, b) = (f32::from_bits(a as u32), f32::from_bits(b as u32));
                let holds = a > b || a.is_nan() || b.is_nan();
                Bits(if combine(holds, c == 1) { 0xffff_ffff } else { 0 })
            },
        ));
    }
}

/// The lesser or greater as PTX says.
fn extreme(format: Format, greater: bool, nan: bool, a: u64, b: u64) -> u64 {
    let (x, y) = (format.decode(a), format.decode(b));
    match (x.is_nan(), y.is_nan()) {
        (true, true) => format.nan(),
        (true, false) | (false, true) if nan => format.nan(),
        (true, false) => b,
        (false, true) => a,
        (false, false) => {
            let a_is_less = x < y || x == y && x.is_sign_negative();
            if a_is_less == greater { b } else { a }
        }
    }
}

fn extremes(all: &mut Vec<Check>) {
    let types = [("f32", Kind::F32, F32), ("f16", Kind::F16, F16), ("bf16", Kind::BF16, BF16)];
    for (op, greater) in [("min", false), ("max", true)] {
        for (ty, kind, format) in types {
            for nan in [false, true] {
                let suffix = if nan { ".NaN" } else { "" };
                all.push(check(
                    format!("{op}{suffix}.{ty} %d, %a, %b;"),
                    kind,
                    &[kind; 2],
                    move |[a, b, ..]| Bits(extreme(format, greater, nan, a, b)),
                ));
                if ty != "bf16" {
                    all.push(check(
                        format!("{op}.ftz{suffix}.{ty} %d, %a, %b;"),
                        kind,
                        &[kind; 2],
                        move |[a, b, ..]| {
                            Bits(extreme(format, greater, nan, flush(format, a), flush(format, b)))
                        },
                    ));
                }
                all.push(check(
                    format!("{op}{suffix}.xorsign.abs.{ty} %d, %a, %b;"),
                    kind,
                    &[kind; 2],
                    move |[a, b, ..]| {
                        let sign = format.sign();
                        let result = extreme(format, greater, nan, a & !sign, b & !sign);
                        if format.decode(result).is_nan() {
                            Bits(format.nan())
                        } else {
                            Bits(result | (a ^ b) & sign)
                        }
                    },
                ));
            }
        }
        all.push(check(format!("{op}.f64 %d, %a, %b;"), Kind::F64, &[Kind::F64; 2], move |[a, b, ..]| {
            let (x, y) = (f64::from_bits(a), f64::from_bits(b));
            match (x.is_nan(), y.is_nan()) {
                (true, true) => crate::harness::Expect::Nan64,
                (true, false) => Bits(b),
                (false, true) => Bits(a),
                _ => Bits(if (x < y || x == y && x.is_sign_negative()) == greater { b } else { a }),
            }
        }));
    }
}

fn classes(all: &mut Vec<Check>) {
    type Class = fn(f64, bool) -> bool;
    let classes: [(&str, Class); 6] = [
        ("finite", |x, _| x.is_finite()),
        ("infinite", |x, _| x.is_infinite()),
        ("number", |x, _| !x.is_nan()),
        ("notanumber", |x, _| x.is_nan()),
        ("normal", |x, subnormal| x.is_finite() && !subnormal),
        ("subnormal", |_, subnormal| subnormal),
    ];
    for (name, class) in classes {
        all.push(check(format!("testp.{name}.f32 %d, %a;"), Kind::Pred, &[Kind::F32], move |[a, ..]| {
            let x = f32::from_bits(a as u32);
            Bits(u64::from(class(f64::from(x), x.is_subnormal())))
        }));
        all.push(check(format!("testp.{name}.f64 %d, %a;"), Kind::Pred, &[Kind::F64], move |[a, ..]| {
            let x = f64::from_bits(a);
            Bits(u64::from(class(x, x.is_subnormal())))
        }));
    }
    all.push(check("copysign.f32 %d, %a, %b;", Kind::F32, &[Kind::F32; 2], |[a, b, ..]| {
        Bits(a & 0x8000_0000 | b & 0x7fff_ffff)
    }));
    all.push(check("copysign.f64 %d, %a, %b;", Kind::F64, &[Kind::F64; 2], |[a, b, ..]| {
        Bits(a & 1 << 63 | b & !(1 << 63))
    }));
}
