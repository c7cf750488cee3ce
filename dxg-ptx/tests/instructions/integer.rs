//! Integer arithmetic.

use crate::harness::Check;
use crate::harness::Expect::Bits;
use crate::harness::Expect::Both;
use crate::harness::Kind;
use crate::harness::check;

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Int {
    pub(crate) name: &'static str,
    pub(crate) bits: u32,
    pub(crate) signed: bool,
}

pub(crate) const TYPES: [Int; 6] = [
    Int { name: "u16", bits: 16, signed: false },
    Int { name: "s16", bits: 16, signed: true },
    Int { name: "u32", bits: 32, signed: false },
    Int { name: "s32", bits: 32, signed: true },
    Int { name: "u64", bits: 64, signed: false },
    Int { name: "s64", bits: 64, signed: true },
];

impl Int {
    pub(crate) fn kind(self) -> Kind {
        match self.bits {
            16 => Kind::B16,
            32 => Kind::B32,
            _ => Kind::B64,
        }
    }

    /// Its value as a number.
    pub(crate) fn number(self, bits: u64) -> i128 {
        let value = i128::from(bits) & ((1 << self.bits) - 1);
        if self.signed && value >> (self.bits - 1) & 1 == 1 { value - (1 << self.bits) } else { value }
    }

    pub(crate) fn wrap(self, value: i128) -> u64 {
        (value & ((1 << self.bits) - 1)) as u64
    }

    pub(crate) fn clamp(self, value: i128) -> u64 {
        let (low, high) = if self.signed {
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
        } else {
            (0, (1 << self.bits) - 1)
        };
        self.wrap(value.clamp(low, high))
    }
}

fn binary(all: &mut Vec<Check>, op: &str, ty: Int, f: impl Fn(i128, i128) -> i128 + 'static) {
    all.push(check(
        format!("{op}.{} %d, %a, %b;", ty.name),
        ty.kind(),
        &[ty.kind(); 2],
        move |[a, b, ..]| Bits(ty.wrap(f(ty.number(a), ty.number(b)))),
    ));
}

pub(crate) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    for ty in TYPES {
        let kind = ty.kind();
        binary(&mut all, "add", ty, |a, b| a + b);
        binary(&mut all, "sub", ty, |a, b| a - b);
        binary(&mut all, "mul.lo", ty, |a, b| a.wrapping_mul(b));
        binary(&mut all, "mul.hi", ty, move |a, b| a.wrapping_mul(b) >> ty.bits);
        binary(&mut all, "min", ty, |a, b| a.min(b));
        binary(&mut all, "max", ty, |a, b| a.max(b));
        // What PTX leaves open is what the hardware does: all ones, and the dividend.
        binary(&mut all, "div", ty, |a, b| if b == 0 { -1 } else { a / b });
        binary(&mut all, "rem", ty, |a, b| if b == 0 { a } else { a % b });
        for (op, hi) in [("mad.lo", 0), ("mad.hi", ty.bits)] {
            all.push(check(
                format!("{op}.{} %d, %a, %b, %c;", ty.name),
                kind,
                &[kind; 3],
                move |[a, b, c, _]| {
                    let product = ty.number(a).wrapping_mul(ty.number(b));
                    Bits(ty.wrap((product >> hi).wrapping_add(ty.number(c))))
                },
            ));
        }
        if ty.bits < 64 {
            let wide = if ty.bits == 16 { Kind::B32 } else { Kind::B64 };
            let mask = if ty.bits == 16 { 0xffff_ffff } else { u64::MAX };
            all.push(check(
                format!("mul.wide.{} %d, %a, %b;", ty.name),
                wide,
                &[kind; 2],
                move |[a, b, ..]| Bits((ty.number(a) * ty.number(b)) as u64 & mask),
            ));
            all.push(check(
                format!("mad.wide.{} %d, %a, %b, %c;", ty.name),
                wide,
                &[kind, kind, wide],
                move |[a, b, c, _]| Bits(((ty.number(a) * ty.number(b)) as u64).wrapping_add(c) & mask),
            ));
        }
        all.push(check(format!("sad.{} %d, %a, %b, %c;", ty.name), kind, &[kind; 3], move |[a, b, c, _]| {
            Bits(ty.wrap((ty.number(a) - ty.number(b)).abs() + ty.number(c)))
        }));
        if ty.signed {
            all.push(check(format!("abs.{} %d, %a;", ty.name), kind, &[kind], move |[a, ..]| {
                Bits(ty.wrap(ty.number(a).abs()))
            }));
            all.push(check(format!("neg.{} %d, %a;", ty.name), kind, &[kind], move |[a, ..]| {
                Bits(ty.wrap(-ty.number(a)))
            }));
        }
    }
    saturated(&mut all);
    carries(&mut all);
    narrow(&mut all);
    all
}

fn saturated(all: &mut Vec<Check>) {
    let ty = TYPES[3];
    let kind = Kind::B32;
    all.push(check("add.sat.s32 %d, %a, %b;", kind, &[kind; 2], move |[a, b, ..]| {
        Bits(ty.clamp(ty.number(a) + ty.number(b)))
    }));
    all.push(check("sub.sat.s32 %d, %a, %b;", kind, &[kind; 2], move |[a, b, ..]| {
        Bits(ty.clamp(ty.number(a) - ty.number(b)))
    }));
    all.push(check("mad.hi.sat.s32 %d, %a, %b, %c;", kind, &[kind; 3], move |[a, b, c, _]| {
        Bits(ty.clamp(((ty.number(a) * ty.number(b)) >> 32) + ty.number(c)))
    }));
}

fn carries(all: &mut Vec<Check>) {
    for (ty, other) in [(TYPES[2], TYPES[3]), (TYPES[4], TYPES[5])] {
        let kind = ty.kind();
        let wide = move |low: u64, high: u64| u128::from(low) | u128::from(high) << ty.bits;
        let both = move |value: u128| {
            let mask = (1 << ty.bits) - 1;
            Both((value & mask) as u64, (value >> ty.bits & mask) as u64)
        };
        for name in [ty.name, other.name] {
            all.push(check(
                format!("add.cc.{name} %d, %a, %b;\naddc.{name} %d2, %c, %e;"),
                kind,
                &[kind; 4],
                move |[a, b, c, e]| both(wide(a, c).wrapping_add(wide(b, e))),
            ));
            all.push(check(
                format!("sub.cc.{name} %d, %a, %b;\nsubc.{name} %d2, %c, %e;"),
                kind,
                &[kind; 4],
                move |[a, b, c, e]| both(wide(a, c).wrapping_sub(wide(b, e))),
            ));
            all.push(check(
                format!("add.cc.{name} %d, %a, %b;\naddc.cc.{name} %d, %c, %e;\naddc.{name} %d2, 0, 0;"),
                kind,
                &[kind; 4],
                move |[a, b, c, e]| {
                    let carry = (u128::from(a) + u128::from(b)) >> ty.bits;
                    let sum = u128::from(c) + u128::from(e) + carry;
                    both(sum)
                },
            ));
            all.push(check(
                format!("sub.cc.{name} %d, %a, %b;\nsubc.cc.{name} %d, %c, %e;\naddc.{name} %d2, 0, 0;"),
                kind,
                &[kind; 4],
                move |[a, b, c, e]| {
                    let taken = u128::from(e) + u128::from(a < b);
                    let difference = u128::from(c).wrapping_sub(taken) & ((1 << ty.bits) - 1);
                    both(difference | u128::from(u128::from(c) < taken) << ty.bits)
                },
            ));
        }
        let name = ty.name;
        all.push(check(
            format!("mad.lo.cc.{name} %d, %a, %b, %c;\nmadc.hi.{name} %d2, %a, %b, %e;"),
            kind,
            &[kind; 4],
            move |[a, b, c, e]| both((u128::from(a) * u128::from(b)).wrapping_add(wide(c, e))),
        ));
        all.push(check(
            format!("mad.hi.cc.{name} %d, %a, %b, %c;\nmadc.lo.{name} %d2, %a, %b, %e;"),
            kind,
            &[kind; 4],
            move |[a, b, c, e]| {
                let product = u128::from(a) * u128::from(b);
                let mask = (1_u128 << ty.bits) - 1;
                let high = (product >> ty.bits) + u128::from(c);
                let low = (product & mask) + u128::from(e) + (high >> ty.bits);
                Both((high & mask) as u64, (low & mask) as u64)
            },
        ));
    }
}

/// Products of 24 bits, dot products.
fn narrow(all: &mut Vec<Check>) {
    let kind = Kind::B32;
    for ty in [TYPES[2], TYPES[3]] {
        let narrow = Int { bits: 24, ..ty };
        for (part, shift) in [("lo", 0), ("hi", 16)] {
            let product = move |a: u64, b: u64| (narrow.number(a) * narrow.number(b)) >> shift;
            let name = ty.name;
            all.push(check(
                format!("mul24.{part}.{name} %d, %a, %b;"),
                kind,
                &[kind; 2],
                move |[a, b, ..]| Bits(ty.wrap(product(a, b))),
            ));
            all.push(check(
                format!("mad24.{part}.{name} %d, %a, %b, %c;"),
                kind,
                &[kind; 3],
                move |[a, b, c, _]| Bits(ty.wrap(product(a, b) + ty.number(c))),
            ));
        }
    }
    let ty = TYPES[3];
    let narrow = Int { bits: 24, ..ty };
    all.push(check("mad24.hi.sat.s32 %d, %a, %b, %c;", kind, &[kind; 3], move |[a, b, c, _]| {
        Bits(ty.clamp(((narrow.number(a) * narrow.number(b)) >> 16) + ty.number(c)))
    }));
    for (ta, sa) in [("u32", false), ("s32", true)] {
        for (tb, sb) in [("u32", false), ("s32", true)] {
            let byte = |word: u64, at: usize, signed: bool| {
                let byte = word.to_le_bytes()[at];
                if signed { i64::from(byte as i8) } else { i64::from(byte) }
            };
            let half = |word: u64, at: usize, signed: bool| {
                let half = (word >> (16 * at)) as u16;
                if signed { i64::from(half as i16) } else { i64::from(half) }
            };
            all.push(check(
                format!("dp4a.{ta}.{tb} %d, %a, %b, %c;"),
                kind,
                &[kind; 3],
                move |[a, b, c, _]| {
                    let sum = byte(a, 0, sa) * byte(b, 0, sb)
                        + byte(a, 1, sa) * byte(b, 1, sb)
                        + byte(a, 2, sa) * byte(b, 2, sb)
                        + byte(a, 3, sa) * byte(b, 3, sb);
                    Bits(u64::from((sum as u32).wrapping_add(c as u32)))
                },
            ));
            for (part, from) in [("lo", 0), ("hi", 2)] {
                all.push(check(
                    format!("dp2a.{part}.{ta}.{tb} %d, %a, %b, %c;"),
                    kind,
                    &[kind; 3],
                    move |[a, b, c, _]| {
                        let sum = half(a, 0, sa) * byte(b, from, sb) + half(a, 1, sa) * byte(b, from + 1, sb);
                        Bits(u64::from((sum as u32).wrapping_add(c as u32)))
                    },
                ));
            }
        }
    }
}
