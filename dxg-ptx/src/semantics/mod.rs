//! What instructions compute: bits in, bits out.
//!
//! *Why.* The interpreter uses this for everything, and native code for what it does not emit itself, so that each rounding,
//! saturation and special value is written once.
//!
//! *Invariants.* Operands may have any bits above their type; results are extended to 64 bits as their type says (signed types
//! by the sign, all others by zero), and the consumer cuts them to the register. Moves of 128 bits are the consumer's.

pub(crate) mod approximate;
mod atomic;
mod bits;
mod convert;
mod float;
pub(crate) mod half;
mod integer;
pub(crate) mod machine;
pub mod matrix;
mod narrow;
mod soft;
mod sparse;
mod video;
pub mod warp;

use std::cmp::Ordering;

pub use atomic::atomic;

use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::BoolOp;
use crate::ir::Compare;
use crate::ir::Scalar;

/// Computes a pure instruction.
///
/// The operands are `a` to `d`. The carry that goes in is the operand after the last: `c` of a sum or a difference, `d` of a
/// `Mad`. The second result is the carry or borrow that comes out, or the second predicate of a `Setp`; else 0. Predicates are
/// 0 or 1.
#[must_use]
pub fn alu(alu: &Alu, src: [u64; 4]) -> [u64; 2] {
    let [a, b, c, d] = src;
    match alu.op {
        AluOp::Setp(compare, combine) => setp(alu, compare, combine, src),
        AluOp::Set(compare, combine, to) => [set(alu, compare, combine, to, src), 0],
        AluOp::Selp => [integer::extend(alu.ty, if c & 1 == 1 { a } else { b }), 0],
        AluOp::Slct(Scalar::F32) => {
            let first = float::is_not_negative(soft::F32, alu.mods, c);
            [integer::extend(alu.ty, if first { a } else { b }), 0]
        }
        AluOp::Slct(_) => [integer::extend(alu.ty, if integer::sign_extend(c, 32) >= 0 { a } else { b }), 0],
        AluOp::Testp(class) => [u64::from(float::test(class, float::format(alu.ty), a)), 0],
        AluOp::Cvt { from, integral } => [convert::convert(alu, from, integral, a), 0],
        AluOp::CvtPair { from, extra } => [convert::convert_pair(alu, from, extra, [a, b, c]), 0],
        AluOp::CvtScaled { from } => [convert::convert_packed(alu, from, a, Some(b)), 0],
        AluOp::CvtPack { bits, signed } => [convert::pack(u32::from(bits), signed, [a, b, c]), 0],
        AluOp::Clmad(part) => [bits::clmad(part, a, b, c), 0],
        AluOp::Video { op, types, parts, second, lanes } => {
            video::compute(alu, &video::Video { op, types, parts, second, lanes }, src)
        }
        AluOp::And | AluOp::Or | AluOp::Xor | AluOp::Not if alu.ty.is_float() => {
            integer::compute(alu, Scalar::B64, src)
        }
        _ => match alu.ty {
            Scalar::F16x2 | Scalar::BF16x2 => [lanes(16, src, |src| float_lane(alu, src)), 0],
            Scalar::F32x2 => [lanes(32, src, |src| float_lane(alu, src)), 0],
            Scalar::F16 | Scalar::BF16 | Scalar::F32 | Scalar::F64 | Scalar::TF32 => {
                [float_lane(alu, src), 0]
            }
            Scalar::U16x2 => [lanes(16, src, |src| integer::compute(alu, Scalar::U16, src)[0]), 0],
            Scalar::S16x2 => [lanes(16, src, |src| integer::compute(alu, Scalar::S16, src)[0]), 0],
            Scalar::U8x4 => [bytes(src, |src| integer::compute(alu, Scalar::U8, src)[0]), 0],
            Scalar::S8x4 => [bytes(src, |src| integer::compute(alu, Scalar::S8, src)[0]), 0],
            ty => integer::compute(alu, ty, [a, b, c, d]),
        },
    }
}

/// Extends a value of a type to 64 bits: signed types by the sign, all others by zero.
#[must_use]
pub const fn extend(ty: Scalar, value: u64) -> u64 {
    match ty {
        Scalar::U16x2 | Scalar::S16x2 | Scalar::U8x4 | Scalar::S8x4 => integer::zero_extend(value, 32),
        _ => integer::extend(ty, value),
    }
}

/// The low bits of a value.
#[must_use]
pub const fn cut(value: u64, bits: u32) -> u64 {
    integer::zero_extend(value, bits)
}

fn float_lane(alu: &Alu, src: [u64; 4]) -> u64 {
    float::compute(alu, float::format(alu.ty), src)
}

/// Two lanes of `bits` each.
fn lanes(bits: u32, src: [u64; 4], lane: impl Fn([u64; 4]) -> u64) -> u64 {
    let low = integer::zero_extend(lane(src), bits);
    let high = integer::zero_extend(lane(src.map(|value| value >> bits)), bits);
    low | high << bits
}

/// Four lanes of eight bits.
fn bytes(src: [u64; 4], lane: impl Fn([u64; 4]) -> u64) -> u64 {
    (0..4).fold(0, |word, at| {
        let shift = 8 * at;
        word | integer::zero_extend(lane(src.map(|value| value >> shift)), 8) << shift
    })
}

/// How two values of a type stand to each other.
fn order(alu: &Alu, a: u64, b: u64) -> Option<Ordering> {
    match alu.ty {
        ty if ty.is_float() => float::order(float::format(ty), alu.mods, a, b),
        ty => Some(integer::number(ty, a).cmp(&integer::number(ty, b))),
    }
}

fn combined(combine: Option<BoolOp>, value: bool, c: u64) -> bool {
    let other = c & 1 == 1;
    match combine {
        None => value,
        Some(BoolOp::And) => value && other,
        Some(BoolOp::Or) => value || other,
        Some(BoolOp::Xor) => value != other,
    }
}

fn setp(alu: &Alu, compare: Compare, combine: Option<BoolOp>, [a, b, c, _]: [u64; 4]) -> [u64; 2] {
    let result = |shift: u32| float::holds(compare, order(alu, a >> shift, b >> shift));
    let [first, second] = match alu.ty {
        Scalar::F16x2 | Scalar::BF16x2 => [result(0), result(16)],
        _ => [result(0), !result(0)],
    };
    [first, second].map(|value| u64::from(combined(combine, value, c)))
}

fn set(alu: &Alu, compare: Compare, combine: Option<BoolOp>, to: Scalar, [a, b, c, _]: [u64; 4]) -> u64 {
    let holds = |shift: u32| combined(combine, float::holds(compare, order(alu, a >> shift, b >> shift)), c);
    let truth = |ty: Scalar, value: bool| match (value, ty.is_float()) {
        (false, _) => 0,
        (true, true) => float::format(ty).one(),
        (true, false) => integer::extend(ty, u64::MAX),
    };
    match (alu.ty, to) {
        (Scalar::F16x2 | Scalar::BF16x2, Scalar::F16x2 | Scalar::BF16x2) => {
            truth(to, holds(0)) | truth(to, holds(16)) << 16
        }
        (Scalar::F16x2 | Scalar::BF16x2, _) => {
            truth(Scalar::U16, holds(0)) | truth(Scalar::U16, holds(16)) << 16
        }
        _ => truth(to, holds(0)),
    }
}
