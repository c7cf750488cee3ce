//! Conversions: `cvt` in every form.

use super::float;
use super::integer;
use super::narrow;
use super::narrow::Divides;
use super::narrow::To;
use super::soft;
use super::soft::Format;
use super::soft::Value;
use crate::ir::Alu;
use crate::ir::Extra;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;

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

/// Modifiers of a float result.
fn finish(alu: &Alu, to: Format, bits: u64) -> u64 {
    let mods = match to {
        soft::F32 => alu.mods,
        _ => Mods(alu.mods.0 & !Mods::FTZ.0),
    };
    let is_infinite = bits & (to.sign() - 1) == to.infinity();
    let bits = match is_infinite && mods.has(Mods::SATFINITE) {
        true => bits & to.sign() | to.largest(),
        false => bits,
    };
    float::finish(to, mods, bits)
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
    match (from, to) {
        _ if from.is_narrow_pair() || to.is_narrow_pair() => convert_packed(alu, from, a, None),
        (_, Scalar::TF32) => {
            let bits = if soft::F32.is_nan(a & soft::F32.mask()) {
                return soft::F32.nan();
            } else {
                soft::pack(soft::TF32, soft::unpack(soft::F32, a & soft::F32.mask()), alu.round)
            };
            finish(alu, soft::TF32, bits) << 13
        }
        _ if from.is_float() && to.is_float() => {
            let [source, target] = [from, to].map(float::format);
            let bits = float_to_float(alu, source, target, integral, a);
            finish(alu, target, bits)
        }
        _ if from.is_float() => float_to_integer(alu, float::format(from), to, a),
        _ if to.is_float() => {
            let target = float::format(to);
            let value = soft::from_integer(integer::number(from, a));
            finish(alu, target, soft::pack(target, value, alu.round))
        }
        _ => integer_to_integer(alu, from, to, a),
    }
}

/// A pair converted to a pair: one of them is narrow, the other one of halves. Scales divide on the way down and multiply on the way up.
pub(super) fn convert_packed(alu: &Alu, from: Scalar, a: u64, scales: Option<u64>) -> u64 {
    let to = alu.ty;
    let scaled = |value: Value, shift: u32, divides: Divides| match scales {
        Some(scales) => narrow::scale(value, scales >> shift, divides),
        None => value,
    };
    if to.is_narrow_pair() {
        let source = float::format(from);
        let code = |half: u32| {
            let value = soft::unpack(source, a >> (16 * half) & source.mask());
            narrow::encode(to, scaled(value, 8 * half, Divides::Yes), alu.mods, To::Round(alu.round))
        };
        return code(1) << narrow::stride(to) | code(0);
    }
    let target = float::format(to);
    let half = |half: u32| {
        let value = scaled(narrow::decode(from, a >> (half * narrow::stride(from))), 8 * half, Divides::No);
        finish(alu, target, soft::pack(target, value, Round::Nearest))
    };
    half(1) << 16 | half(0)
}

/// Two values converted: `a` to the upper, `b` to the lower half; `c` is what `extra` says.
pub(super) fn convert_pair(alu: &Alu, from: Scalar, extra: Extra, [a, b, c]: [u64; 3]) -> u64 {
    let source = float::format(from);
    if alu.ty.is_narrow_pair() {
        let scaled = |value: Value, shift: u32| match extra {
            Extra::Scale => narrow::scale(value, c >> shift, Divides::Yes),
            _ => value,
        };
        let to = |random: u16| match extra {
            Extra::Random => To::Random(random),
            _ => To::Round(alu.round),
        };
        let code = |bits: u64, shift: u32, random: u16| {
            let value = scaled(soft::unpack(source, bits & source.mask()), shift);
            narrow::encode(alu.ty, value, alu.mods, to(random))
        };
        let random = c as u16;
        return code(a, 8, random.reverse_bits()) << narrow::stride(alu.ty) | code(b, 0, random);
    }
    let target = float::format(alu.ty);
    let half = |bits: u64, random: u64| {
        let bits = match extra {
            Extra::Random => {
                // As many as are cut off: 13 or 16.
                let count = source.fraction - target.fraction;
                let random = integer::zero_extend(random, count) as u32;
                soft::pack_randomly(target, soft::unpack(source, bits & source.mask()), random, count)
            }
            _ => float_to_float(alu, source, target, Integral::No, bits),
        };
        finish(alu, target, bits)
    };
    half(a, c >> 16) << 16 | half(b, c)
}

/// `cvt.pack.sat`: `a` above `b`, and above both what is left of `c`.
pub(super) fn pack(bits: u32, signed: Integral, [a, b, c]: [u64; 3]) -> u64 {
    let (low, high) = match signed {
        Integral::Yes => (-(1_i64 << (bits - 1)), (1_i64 << (bits - 1)) - 1),
        Integral::No => (0, (1_i64 << bits) - 1),
    };
    let part =
        |value: u64| integer::zero_extend(integer::sign_extend(value, 32).clamp(low, high) as u64, bits);
    let both = part(a) << bits | part(b);
    if bits == 16 { both } else { integer::zero_extend(c << (2 * bits) | both, 32) }
}
