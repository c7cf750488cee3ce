//! Conversions: `cvt` in every form.

use super::float;
use super::integer;
use super::soft;
use super::soft::Format;
use super::soft::Value;
use crate::ir::Alu;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;

const fn is_small(ty: Scalar) -> bool {
    matches!(ty, Scalar::E4M3x2 | Scalar::E5M2x2)
}

/// Four bits of exponent, three of fraction; no infinity, and all ones is NaN.
const E4M3: Format = Format { fraction: 3, exponent: 5 };
const E4M3_LARGEST: u64 = 0x7e;
const E4M3_NAN: u64 = 0x7f;

/// Rounds an `f64` value to a byte; beyond the range it is the greatest finite value.
fn to_byte(ty: Scalar, value: Value, relu: bool) -> u64 {
    let negative = soft::is_negative(value) && !relu;
    let sign = if negative { 0x80 } else { 0 };
    if matches!(value, Value::Nan) {
        return 0x7f;
    }
    if relu && soft::is_negative(value) {
        return 0;
    }
    match ty {
        Scalar::E5M2x2 => match soft::pack(soft::E5M2, value, Round::Nearest) & 0x7f {
            bits if bits >= soft::E5M2.infinity() => sign | soft::E5M2.largest(),
            bits => sign | bits,
        },
        _ => sign | to_e4m3(value),
    }
}

/// The magnitude. Rounded as a format with a wider exponent, whose bias is 8 more; the subnormal range is a sum's trick away:
/// there the spacing is 2^-9, and a whole number of those is the encoding.
fn to_e4m3(value: Value) -> u64 {
    match value {
        Value::Zero { .. } | Value::Nan => 0,
        Value::Infinite { .. } => E4M3_LARGEST,
        Value::Finite(finite) => {
            let magnitude = soft::Finite { negative: false, ..finite };
            let top = magnitude.exponent + 127 - magnitude.mantissa.leading_zeros() as i32;
            if top < -6 {
                let scaled = soft::Finite { exponent: magnitude.exponent + 9, ..magnitude };
                return soft::to_integer(scaled, Round::Nearest) as u64;
            }
            let wide = soft::pack(E4M3, Value::Finite(magnitude), Round::Nearest);
            wide.saturating_sub(8 << 3).min(E4M3_LARGEST)
        }
    }
}

/// The value of a byte, in `f16`, which holds all of them.
pub(super) fn byte_to_half(ty: Scalar, byte: u64) -> u64 {
    let byte = byte & 0xff;
    if ty == Scalar::E5M2x2 {
        let bits = byte << 8;
        return if soft::F16.is_nan(bits) { soft::F16.nan() } else { bits };
    }
    let sign = (byte & 0x80) << 8;
    match byte & 0x7f {
        E4M3_NAN => soft::F16.nan(),
        magnitude if magnitude < 8 => {
            let value = if magnitude == 0 {
                Value::Zero { negative: false }
            } else {
                Value::Finite(soft::Finite { negative: false, exponent: -9, mantissa: u128::from(magnitude) })
            };
            sign | soft::pack(soft::F16, value, Round::Nearest)
        }
        magnitude => sign | (magnitude + (8 << 3)) << 7,
    }
}

/// From one float format to another.
fn float_to_float(alu: &Alu, from: Format, to: Format, integral: Integral, bits: u64) -> u64 {
    let bits = bits & from.mask();
    // Subnormal values of `f32` only are flushed, on either side.
    let ftz = alu.mods.has(Mods::FTZ);
    let bits = if ftz && from == soft::F32 { from.flush(bits) } else { bits };
    if from.is_nan(bits) {
        match (from, to) {
            (soft::F64, soft::F64) => bits | 1 << 51,
            (_, soft::F64) => {
                (bits & from.sign()) << (63 - from.fraction - from.exponent)
                    | soft::F64.infinity()
                    | 1 << 51
                    | (bits & ((1 << from.fraction) - 1)) << (52 - from.fraction)
            }
            _ => to.nan(),
        }
    } else {
        let bits = if integral == Integral::Yes { float::to_integral(from, bits, alu.round) } else { bits };
        if from == to { bits } else { soft::pack(to, soft::unpack(from, bits), alu.round) }
    }
}

/// Modifiers of a float result. `.satfinite` of the formats that know no `.sat` keeps it finite.
fn finish(alu: &Alu, to: Format, satfinite: bool, bits: u64) -> u64 {
    let mods = match to {
        soft::F32 => alu.mods,
        _ => Mods(alu.mods.0 & !Mods::FTZ.0),
    };
    if !satfinite {
        return float::finish(to, mods, bits);
    }
    let magnitude = bits & (to.sign() - 1);
    let finite = if magnitude == to.infinity() { bits & to.sign() | to.largest() } else { bits };
    float::finish(to, Mods(mods.0 & !Mods::SAT.0), finite)
}

fn float_to_integer(alu: &Alu, from: Format, to: Scalar, bits: u64) -> u64 {
    let bits = bits & from.mask();
    let bits = if alu.mods.has(Mods::FTZ) && from == soft::F32 { from.flush(bits) } else { bits };
    let (low, high) = integer::range(to);
    let value = match soft::unpack(from, bits) {
        Value::Nan if from == soft::F64 || integer::width(to) == 64 => 1 << (integer::width(to) - 1),
        Value::Nan | Value::Zero { .. } => 0,
        Value::Infinite { negative } => {
            if negative {
                low
            } else {
                high
            }
        }
        Value::Finite(finite) => soft::to_integer(finite, alu.round).clamp(low, high),
    };
    integer::extend(to, value as u64)
}

fn integer_to_integer(alu: &Alu, from: Scalar, to: Scalar, bits: u64) -> u64 {
    let value = integer::number(from, bits);
    let bits = if alu.mods.has(Mods::SAT) { integer::saturate(to, value) } else { value as u64 };
    integer::extend(to, bits)
}

/// `cvt` of one value.
pub(super) fn convert(alu: &Alu, from: Scalar, integral: Integral, a: u64) -> u64 {
    let to = alu.ty;
    let relu = alu.mods.has(Mods::RELU);
    match (from, to) {
        (Scalar::E4M3x2 | Scalar::E5M2x2, _) => {
            let half = |bits: u64| float::finish(soft::F16, alu.mods, byte_to_half(from, bits));
            half(a) | half(a >> 8) << 16
        }
        (Scalar::F16x2 | Scalar::BF16x2, Scalar::E4M3x2 | Scalar::E5M2x2) => {
            let byte = |bits: u64| to_byte(to, soft::unpack(float::format(from), bits & 0xffff), relu);
            byte(a) | byte(a >> 16) << 8
        }
        (_, Scalar::TF32) => {
            let bits = if soft::F32.is_nan(a & soft::F32.mask()) {
                return soft::F32.nan();
            } else {
                soft::pack(soft::TF32, soft::unpack(soft::F32, a & soft::F32.mask()), alu.round)
            };
            finish(alu, soft::TF32, alu.mods.has(Mods::SAT), bits) << 13
        }
        _ if from.is_float() && to.is_float() => {
            let [source, target] = [from, to].map(float::format);
            let bits = float_to_float(alu, source, target, integral, a);
            finish(alu, target, alu.mods.has(Mods::SAT) && target == soft::BF16, bits)
        }
        _ if from.is_float() => float_to_integer(alu, float::format(from), to, a),
        _ if to.is_float() => {
            let target = float::format(to);
            let value = soft::from_integer(integer::number(from, a));
            finish(alu, target, false, soft::pack(target, value, alu.round))
        }
        _ => integer_to_integer(alu, from, to, a),
    }
}

/// Two values converted: `a` to the upper, `b` to the lower half.
pub(super) fn convert_pair(alu: &Alu, from: Scalar, a: u64, b: u64) -> u64 {
    let source = float::format(from);
    if is_small(alu.ty) {
        let relu = alu.mods.has(Mods::RELU);
        let byte = |bits: u64| to_byte(alu.ty, soft::unpack(source, bits & source.mask()), relu);
        return byte(a) << 8 | byte(b);
    }
    let target = float::format(alu.ty);
    let half = |bits: u64| {
        let bits = float_to_float(alu, source, target, Integral::No, bits);
        finish(alu, target, alu.mods.has(Mods::SAT), bits)
    };
    half(a) << 16 | half(b)
}

/// `cvt.pack.sat`: `a` above `b`; of bytes the lower half of `c` above both.
pub(super) fn pack(ty: Scalar, a: u64, b: u64, c: u64) -> u64 {
    let bits = integer::width(ty);
    let part = |value: u64| {
        integer::zero_extend(integer::saturate(ty, i128::from(integer::sign_extend(value, 32))), bits)
    };
    let both = part(a) << bits | part(b);
    if bits == 16 { both } else { integer::zero_extend(c << (2 * bits) | both, 32) }
}
