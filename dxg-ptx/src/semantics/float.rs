//! Floating-point instructions of one lane: exact arithmetic, comparisons, approximations.
//!
//! *NaN.* Results are the canonical NaN of the format; in `f64` the first NaN operand goes on, made quiet.
//!
//! *Approximations* of `f32` are those of [`approximate`]; others are computed in `f64` and rounded once, which is closer than PTX asks.

use super::approximate;
use super::approximate::Circle;
use super::machine::Here;
use super::soft;
use super::soft::Format;
use super::soft::Value;
use crate::ir::Accuracy;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Compare;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::ir::TestClass;

/// The format of a type of one lane.
pub(super) fn format(ty: Scalar) -> Format {
    match ty {
        Scalar::F16 | Scalar::F16x2 => soft::F16,
        Scalar::BF16 | Scalar::BF16x2 => soft::BF16,
        Scalar::F64 => soft::F64,
        _ => soft::F32,
    }
}

/// A NaN result from these operands.
fn nan_of(format: Format, operands: &[u64]) -> u64 {
    match operands.iter().find(|&&bits| format.is_nan(bits)) {
        Some(&bits) if format == soft::F64 => bits | 1 << 51,
        _ => format.nan(),
    }
}

/// Applies the modifiers of results: `.ftz`, `.sat`, `.relu`.
pub(super) fn finish(format: Format, mods: Mods, bits: u64) -> u64 {
    let bits = if mods.has(Mods::FTZ) { format.flush(bits) } else { bits };
    if mods.has(Mods::SAT) {
        let negative = bits & format.sign() != 0;
        return if negative || format.is_nan(bits) { 0 } else { bits.min(format.one()) };
    }
    if mods.has(Mods::RELU) && !format.is_nan(bits) && bits & format.sign() != 0 {
        return 0;
    }
    bits
}

/// The sum, product or the like on the host's own arithmetic, where that is exact.
fn native(alu: &Alu, format: Format, [a, b, c]: [u64; 3]) -> Option<u64> {
    if alu.round != Round::Nearest {
        return None;
    }
    match format {
        soft::F32 => {
            let [a, b, c] = [a, b, c].map(|bits| f32::from_bits(bits as u32));
            let value = match alu.op {
                AluOp::Add(_) => a + b,
                AluOp::Sub(_) => a - b,
                AluOp::FMul => a * b,
                AluOp::Fma => a.mul_add(b, c),
                AluOp::Div => a / b,
                AluOp::Rcp => 1.0 / a,
                AluOp::Sqrt => a.sqrt(),
                _ => return None,
            };
            Some(u64::from(value.to_bits()))
        }
        soft::F64 => {
            let [a, b, c] = [a, b, c].map(f64::from_bits);
            let value = match alu.op {
                AluOp::Add(_) => a + b,
                AluOp::Sub(_) => a - b,
                AluOp::FMul => a * b,
                AluOp::Fma => a.mul_add(b, c),
                AluOp::Div => a / b,
                AluOp::Rcp => 1.0 / a,
                AluOp::Sqrt => a.sqrt(),
                _ => return None,
            };
            Some(value.to_bits())
        }
        _ => None,
    }
}

/// Exactly rounded arithmetic.
fn arithmetic(alu: &Alu, format: Format, [a, b, c]: [u64; 3]) -> u64 {
    let bits = native(alu, format, [a, b, c]).unwrap_or_else(|| {
        let [x, y, z] = [a, b, c].map(|bits| soft::unpack(format, bits));
        let value = match alu.op {
            AluOp::Add(_) => soft::add(x, y, alu.round),
            AluOp::Sub(_) => soft::add(x, soft::negate(y), alu.round),
            AluOp::FMul => soft::mul(x, y),
            AluOp::Fma => soft::add(soft::mul(x, y), z, alu.round),
            AluOp::Div => soft::div(x, y),
            AluOp::Rcp => soft::div(soft::unpack(format, format.one()), x),
            _ => soft::sqrt(x),
        };
        soft::pack(format, value, alu.round)
    });
    if format.is_nan(bits) {
        let used = match alu.op {
            AluOp::Fma => 3,
            AluOp::Rcp | AluOp::Sqrt => 1,
            _ => 2,
        };
        return nan_of(format, [a, b, c].get(..used).unwrap_or_default());
    }
    bits
}

/// `div.approx`: as PTX says, a divisor beyond 2^126 makes 0, or NaN of infinity.
fn divide_approximately(a: u64, b: u64) -> u64 {
    let [x, y] = [a, b].map(|bits| f32::from_bits(bits as u32));
    let huge = y.abs() > f32::from_bits(0x7e80_0000) && y.is_finite();
    let quotient = match huge {
        true if x.is_infinite() || x.is_nan() => f32::NAN,
        true => 0.0_f32.copysign(x) * 1.0_f32.copysign(y),
        false => x / y,
    };
    if quotient.is_nan() { soft::F32.nan() } else { u64::from(quotient.to_bits()) }
}

/// The upper half of the exact result: what `rcp.approx.ftz.f64` and `rsqrt.approx.ftz.f64` give.
fn upper_half(value: f64) -> u64 {
    if value.is_nan() {
        return soft::F64.nan();
    }
    soft::F64.flush(value.to_bits()) & 0xffff_ffff_0000_0000
}

/// A function of one `f32`, if it is among those that native code computes too.
fn short_approximation(op: AluOp, x: f32) -> Option<f32> {
    Some(match op {
        AluOp::Rsqrt => approximate::rsqrt(&mut Here, x),
        AluOp::Sin => approximate::circle(&mut Here, Circle::Sine, x),
        AluOp::Cos => approximate::circle(&mut Here, Circle::Cosine, x),
        AluOp::Lg2 => approximate::lg2(&mut Here, x),
        AluOp::Ex2 => approximate::ex2(&mut Here, x),
        AluOp::Tanh => approximate::tanh(&mut Here, x),
        _ => return None,
    })
}

fn approximation(alu: &Alu, format: Format, a: u64) -> u64 {
    if format == soft::F32
        && let Some(value) = short_approximation(alu.op, f32::from_bits(a as u32))
    {
        return if value.is_nan() { format.nan() } else { u64::from(value.to_bits()) };
    }
    let x = soft::to_f64(format, a);
    let value = match alu.op {
        AluOp::Rcp => x.recip(),
        AluOp::Sqrt => x.sqrt(),
        AluOp::Rsqrt => x.sqrt().recip(),
        AluOp::Sin => x.sin(),
        AluOp::Cos => x.cos(),
        AluOp::Lg2 => x.log2(),
        AluOp::Ex2 => x.exp2(),
        _ => x.tanh(),
    };
    if format == soft::F64 && alu.accuracy == Accuracy::Approx && alu.mods.has(Mods::FTZ) {
        return upper_half(value);
    }
    if value.is_nan() { nan_of(format, &[a]) } else { soft::from_f64(format, value, Round::Nearest) }
}

/// The lesser or the greater. -0 is less than +0; a NaN loses, unless `.nan` is said.
fn extreme(alu: &Alu, format: Format, a: u64, b: u64) -> u64 {
    let magnitude = format.sign() - 1;
    let sign = if alu.mods.has(Mods::XORSIGN) { (a ^ b) & format.sign() } else { 0 };
    let (a, b) = match alu.mods.has(Mods::ABS) {
        true => (a & magnitude, b & magnitude),
        false => (a, b),
    };
    let chosen = match (format.is_nan(a), format.is_nan(b)) {
        (true, true) => return format.nan() & magnitude | if format == soft::F64 { 1 << 51 } else { 0 },
        (true, false) | (false, true) if alu.mods.has(Mods::NAN) => return format.nan() & magnitude,
        (true, false) => b,
        (false, true) => a,
        (false, false) => {
            // Ordered as numbers of sign and magnitude, mirrored for the negative.
            let order = |bits: u64| match bits & format.sign() {
                0 => (bits & magnitude) as i64,
                _ => !((bits & magnitude) as i64),
            };
            let less = order(a) <= order(b);
            match alu.op {
                AluOp::Min | AluOp::Min3 => {
                    if less {
                        a
                    } else {
                        b
                    }
                }
                _ => {
                    if less {
                        b
                    } else {
                        a
                    }
                }
            }
        }
    };
    match alu.mods.has(Mods::XORSIGN) {
        true => chosen & magnitude | sign,
        false => chosen,
    }
}

/// Whether a comparison holds, given how the operands stand to each other (`None`: one is NaN).
pub(super) fn holds(compare: Compare, order: Option<std::cmp::Ordering>) -> bool {
    let Some(order) = order else {
        return matches!(
            compare,
            Compare::Ne
                | Compare::Equ
                | Compare::Neu
                | Compare::Ltu
                | Compare::Leu
                | Compare::Gtu
                | Compare::Geu
                | Compare::Nan
        ) && compare != Compare::Ne;
    };
    match compare {
        Compare::Eq | Compare::Equ => order.is_eq(),
        Compare::Ne | Compare::Neu => order.is_ne(),
        Compare::Lt | Compare::Ltu => order.is_lt(),
        Compare::Le | Compare::Leu => order.is_le(),
        Compare::Gt | Compare::Gtu => order.is_gt(),
        Compare::Ge | Compare::Geu => order.is_ge(),
        Compare::Num => true,
        Compare::Nan => false,
    }
}

/// How two floats stand to each other.
pub(super) fn order(format: Format, mods: Mods, a: u64, b: u64) -> Option<std::cmp::Ordering> {
    let value = |bits: u64| {
        let bits = bits & format.mask();
        soft::to_f64(format, if mods.has(Mods::FTZ) { format.flush(bits) } else { bits })
    };
    value(a).partial_cmp(&value(b))
}

pub(super) fn test(class: TestClass, format: Format, bits: u64) -> bool {
    let magnitude = bits & (format.sign() - 1);
    // Zeros count as normal.
    let subnormal = magnitude != 0 && magnitude < 1 << format.fraction;
    match class {
        TestClass::Finite => magnitude < format.infinity(),
        TestClass::Infinite => magnitude == format.infinity(),
        TestClass::Number => magnitude <= format.infinity(),
        TestClass::NotANumber => magnitude > format.infinity(),
        TestClass::Normal => magnitude < format.infinity() && !subnormal,
        TestClass::Subnormal => subnormal,
    }
}

/// Computes one lane.
pub(super) fn compute(alu: &Alu, format: Format, src: [u64; 4]) -> u64 {
    let ftz = alu.mods.has(Mods::FTZ);
    let read = |bits: u64| {
        let bits = bits & format.mask();
        if ftz { format.flush(bits) } else { bits }
    };
    let [a, b, c, _] = src.map(read);
    let result = match alu.op {
        AluOp::Mov => return src[0] & format.mask(),
        AluOp::Add(_) | AluOp::Sub(_) | AluOp::FMul => arithmetic(alu, format, [a, b, c]),
        AluOp::Mul(_) => arithmetic(&Alu { op: AluOp::FMul, ..alu.clone() }, format, [a, b, c]),
        AluOp::Mad(..) => arithmetic(&Alu { op: AluOp::Fma, ..alu.clone() }, format, [a, b, c]),
        AluOp::Fma => {
            // `.oob`: an operand that is the NaN of data out of bounds makes the product 0.
            let is_out = |bits: u64| alu.mods.has(Mods::OOB) && bits == format.mask();
            if is_out(a) || is_out(b) { c } else { arithmetic(alu, format, [a, b, c]) }
        }
        AluOp::Div if format == soft::F32 && alu.accuracy == Accuracy::Approx => divide_approximately(a, b),
        AluOp::Div => arithmetic(alu, format, [a, b, c]),
        AluOp::Rcp | AluOp::Sqrt if alu.accuracy == Accuracy::Exact => arithmetic(alu, format, [a, b, c]),
        AluOp::Rcp
        | AluOp::Sqrt
        | AluOp::Rsqrt
        | AluOp::Sin
        | AluOp::Cos
        | AluOp::Lg2
        | AluOp::Ex2
        | AluOp::Tanh => approximation(alu, format, a),
        AluOp::Abs => a & !format.sign(),
        AluOp::Neg => a ^ format.sign(),
        AluOp::Min | AluOp::Max => extreme(alu, format, a, b),
        AluOp::Min3 | AluOp::Max3 => extreme(alu, format, extreme(alu, format, a, b), c),
        AluOp::Copysign => return src[1] & (format.sign() - 1) | src[0] & format.sign(),
        // The verifier lets no other instruction have a float type.
        _ => 0,
    };
    finish(format, alu.mods, result)
}

/// Whether the value is a number that is not negative; what `slct` asks.
pub(super) fn is_not_negative(format: Format, mods: Mods, bits: u64) -> bool {
    order(format, mods, bits, 0).is_some_and(std::cmp::Ordering::is_ge)
}

/// A finite value's rounding to a whole number in the same format.
pub(super) fn to_integral(format: Format, bits: u64, round: Round) -> u64 {
    match soft::unpack(format, bits) {
        Value::Finite(finite) if finite.exponent < 0 => {
            let whole = soft::to_integer(finite, round);
            let bits = soft::pack(format, soft::from_integer(whole), Round::Nearest);
            bits & !format.sign() | if finite.negative { format.sign() } else { 0 }
        }
        Value::Nan => nan_of(format, &[bits]),
        _ => bits,
    }
}
