//! Integer arithmetic and logic.

use super::bits;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Mods;
use crate::ir::Part;
use crate::ir::Scalar;

/// Bits of a value of an integer or untyped type, one lane.
pub(crate) const fn width(ty: Scalar) -> u32 {
    match ty {
        Scalar::Pred => 1,
        _ => ty.size_bytes() * 8,
    }
}

/// The low `bits` as an unsigned number.
pub(crate) const fn zero_extend(value: u64, bits: u32) -> u64 {
    if bits >= 64 { value } else { value & ((1 << bits) - 1) }
}

/// The low `bits` as a signed number.
pub(crate) const fn sign_extend(value: u64, bits: u32) -> i64 {
    if bits >= 64 { value as i64 } else { ((value << (64 - bits)) as i64) >> (64 - bits) }
}

/// Extends to 64 bits as the type says.
pub(crate) const fn extend(ty: Scalar, value: u64) -> u64 {
    if ty.is_signed() { sign_extend(value, width(ty)) as u64 } else { zero_extend(value, width(ty)) }
}

/// The number that the bits stand for.
pub(crate) const fn number(ty: Scalar, value: u64) -> i128 {
    if ty.is_signed() { sign_extend(value, width(ty)) as i128 } else { zero_extend(value, width(ty)) as i128 }
}

/// Least and greatest of a type.
pub(crate) const fn range(ty: Scalar) -> (i128, i128) {
    let bits = width(ty);
    if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// The nearest number of the type, as bits.
pub(crate) fn saturate(ty: Scalar, value: i128) -> u64 {
    let (low, high) = range(ty);
    value.clamp(low, high) as u64
}

fn divide(ty: Scalar, a: u64, b: u64) -> u64 {
    let bits = width(ty);
    if zero_extend(b, bits) == 0 {
        return u64::MAX;
    }
    if ty.is_signed() {
        sign_extend(a, bits).wrapping_div(sign_extend(b, bits)) as u64
    } else {
        zero_extend(a, bits) / zero_extend(b, bits)
    }
}

fn remainder(ty: Scalar, a: u64, b: u64) -> u64 {
    let bits = width(ty);
    if zero_extend(b, bits) == 0 {
        return a;
    }
    if ty.is_signed() {
        sign_extend(a, bits).wrapping_rem(sign_extend(b, bits)) as u64
    } else {
        zero_extend(a, bits) % zero_extend(b, bits)
    }
}

/// The product's part, before the result's extension; of `Wide` all 64 bits.
fn product(ty: Scalar, part: Part, a: u64, b: u64) -> u64 {
    let full = number(ty, a).wrapping_mul(number(ty, b));
    match part {
        Part::Low | Part::Wide => full as u64,
        Part::High => (full >> width(ty)) as u64,
    }
}

fn product24(ty: Scalar, part: Part, a: u64, b: u64) -> u64 {
    let narrow = |value: u64| {
        if ty.is_signed() { i128::from(sign_extend(value, 24)) } else { i128::from(zero_extend(value, 24)) }
    };
    let full = narrow(a) * narrow(b);
    match part {
        Part::High => (full >> 16) as u64,
        Part::Low | Part::Wide => full as u64,
    }
}

/// The sum with carry, and the carry.
fn add_carry(ty: Scalar, a: u64, b: u64, carry: u64) -> [u64; 2] {
    let bits = width(ty);
    let sum = u128::from(zero_extend(a, bits)) + u128::from(zero_extend(b, bits)) + u128::from(carry & 1);
    [extend(ty, sum as u64), (sum >> bits) as u64 & 1]
}

/// The difference with borrow, and the borrow.
fn sub_borrow(ty: Scalar, a: u64, b: u64, borrow: u64) -> [u64; 2] {
    let bits = width(ty);
    let taken = u128::from(zero_extend(b, bits)) + u128::from(borrow & 1);
    let from = u128::from(zero_extend(a, bits));
    [extend(ty, from.wrapping_sub(taken) as u64), u64::from(from < taken)]
}

/// Computes an integer instruction of a scalar type.
pub(super) fn compute(alu: &Alu, ty: Scalar, [a, b, c, d]: [u64; 4]) -> [u64; 2] {
    let bits = width(ty);
    let saturates = alu.mods.has(Mods::SAT);
    let one = |value: u64| [extend(ty, value), 0];
    let relu = |value: i128| if alu.mods.has(Mods::RELU) { value.max(0) } else { value };
    match alu.op {
        AluOp::Mov => one(a),
        AluOp::Add(carry) => match (saturates, carry.input.or(carry.output)) {
            (true, _) => one(saturate(ty, number(ty, a) + number(ty, b))),
            (false, None) => one(a.wrapping_add(b)),
            (false, Some(_)) => add_carry(ty, a, b, if carry.input.is_some() { c } else { 0 }),
        },
        AluOp::Sub(carry) => match (saturates, carry.input.or(carry.output)) {
            (true, _) => one(saturate(ty, number(ty, a) - number(ty, b))),
            (false, None) => one(a.wrapping_sub(b)),
            (false, Some(_)) => sub_borrow(ty, a, b, if carry.input.is_some() { c } else { 0 }),
        },
        AluOp::Mul(Part::Wide) => [product(ty, Part::Wide, a, b), 0],
        AluOp::Mul(part) => one(product(ty, part, a, b)),
        AluOp::Mul24(part) => one(product24(ty, part, a, b)),
        AluOp::Mad(Part::Wide, _) => [product(ty, Part::Wide, a, b).wrapping_add(c), 0],
        AluOp::Mad(part, carry) => {
            let product = product(ty, part, a, b);
            match (saturates, carry.input.or(carry.output)) {
                (true, _) => one(saturate(ty, number(ty, product) + number(ty, c))),
                (false, None) => one(product.wrapping_add(c)),
                (false, Some(_)) => add_carry(ty, product, c, if carry.input.is_some() { d } else { 0 }),
            }
        }
        AluOp::Mad24(part) => {
            let product = product24(ty, part, a, b);
            if saturates {
                one(saturate(ty, number(ty, product) + number(ty, c)))
            } else {
                one(product.wrapping_add(c))
            }
        }
        AluOp::Sad => {
            one((number(ty, a) - number(ty, b)).unsigned_abs() as u64).map_first(|v| v.wrapping_add(c), ty)
        }
        AluOp::Div => one(divide(ty, a, b)),
        AluOp::Rem => one(remainder(ty, a, b)),
        AluOp::Abs => one(number(ty, a).unsigned_abs() as u64),
        AluOp::Neg => one(a.wrapping_neg()),
        AluOp::Min => one(relu(number(ty, a).min(number(ty, b))) as u64),
        AluOp::Max => one(relu(number(ty, a).max(number(ty, b))) as u64),
        AluOp::Min3 => one(relu(number(ty, a).min(number(ty, b)).min(number(ty, c))) as u64),
        AluOp::Max3 => one(relu(number(ty, a).max(number(ty, b)).max(number(ty, c))) as u64),
        AluOp::And => one(a & b),
        AluOp::Or => one(a | b),
        AluOp::Xor => one(a ^ b),
        AluOp::Not => one(!a),
        AluOp::Cnot => one(u64::from(zero_extend(a, bits) == 0)),
        AluOp::Shl => one(if zero_extend(b, 32) >= u64::from(bits) { 0 } else { a << (b & 63) }),
        AluOp::Shr => {
            let by = zero_extend(b, 32).min(u64::from(bits)) as u32;
            one((number(ty, a) >> by) as u64)
        }
        _ => bits::compute(alu, ty, [a, b, c, d]),
    }
}

/// Goes on with the first of two results.
trait MapFirst {
    fn map_first(self, f: impl FnOnce(u64) -> u64, ty: Scalar) -> Self;
}

impl MapFirst for [u64; 2] {
    fn map_first(self, f: impl FnOnce(u64) -> u64, ty: Scalar) -> Self {
        [extend(ty, f(self[0])), self[1]]
    }
}
