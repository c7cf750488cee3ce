//! Formats of less than 16 bits, which only conversions and matrices know: small floats, powers of two (`ue8m0`), fixed point (`s2f6`).
//!
//! *Limits.* Results never leave the range: what is beyond it is the greatest value of its sign. A format without NaN has its greatest
//! value in its place, and a NaN has no sign.

use super::soft;
use super::soft::Finite;
use super::soft::Format;
use super::soft::Value;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;

/// A small float: sign, exponent, fraction. Codes of a magnitude count up with it.
#[derive(Clone, Copy)]
struct Small {
    fraction: u32,
    bias: i32,
    /// The code of the greatest value.
    largest: u64,
    /// Bits without the sign.
    bits: u32,
}

const E4M3: Small = Small { fraction: 3, bias: 7, largest: 0x7e, bits: 7 };
const E5M2: Small = Small { fraction: 2, bias: 15, largest: 0x7b, bits: 7 };
const E3M2: Small = Small { fraction: 2, bias: 3, largest: 0x1f, bits: 5 };
const E2M3: Small = Small { fraction: 3, bias: 1, largest: 0x1f, bits: 5 };
const E2M1: Small = Small { fraction: 1, bias: 1, largest: 7, bits: 3 };

/// The scale of `ue8m0` that is 1.
const ONE: i32 = 127;
const NO_POWER: u64 = 0xff;

const fn small(ty: Scalar) -> Option<Small> {
    Some(match ty {
        Scalar::E4M3x2 => E4M3,
        Scalar::E5M2x2 => E5M2,
        Scalar::E3M2x2 => E3M2,
        Scalar::E2M3x2 => E2M3,
        Scalar::E2M1x2 => E2M1,
        _ => return None,
    })
}

/// Bits from one value of a pair to the next.
pub(super) const fn stride(ty: Scalar) -> u32 {
    if matches!(ty, Scalar::E2M1x2) { 4 } else { 8 }
}

/// How a value between two codes is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Round(Round),
    /// Sixteen random bits are added below the last bit that is kept.
    Random(u16),
}

impl Small {
    /// The exponent of the least bit of the least values.
    const fn lowest(self) -> i32 {
        1 - self.bias - self.fraction as i32
    }

    const fn has_nan(self) -> bool {
        self.bits == 7
    }

    fn encode(self, value: Value, to: To) -> u64 {
        let sign = if soft::is_negative(value) { 1 << self.bits } else { 0 };
        let finite = match value {
            Value::Nan => return if self.has_nan() { 0x7f } else { self.largest },
            Value::Infinite { .. } => return sign | self.largest,
            Value::Zero { .. } => return sign,
            Value::Finite(finite) => Finite { negative: false, ..finite },
        };
        let top = finite.exponent + 127 - finite.mantissa.leading_zeros() as i32;
        let unit = (top - self.fraction as i32).max(self.lowest());
        let scaled = Finite { exponent: finite.exponent - unit, ..finite };
        let whole = match to {
            // The sign is not in the scaled value; nearest is all that is asked.
            To::Round(round) => soft::to_integer(scaled, round),
            To::Random(bits) => soft::to_integer_randomly(scaled, u32::from(bits), 16),
        };
        // Units of greater exponents count on from the hidden bit, a carry goes on into the exponent.
        let code = i128::from(unit - self.lowest()) << self.fraction;
        sign | ((code + whole) as u64).min(self.largest)
    }

    fn decode(self, code: u64) -> Value {
        let negative = code >> self.bits & 1 == 1;
        let magnitude = code & ((1 << self.bits) - 1);
        if magnitude > self.largest {
            let is_infinite = self.fraction == 2 && magnitude == self.largest + 1;
            return if is_infinite { Value::Infinite { negative } } else { Value::Nan };
        }
        let (exponent, fraction) = (magnitude >> self.fraction, magnitude & ((1 << self.fraction) - 1));
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << self.fraction };
        if mantissa == 0 {
            return Value::Zero { negative };
        }
        let exponent = self.lowest() + exponent.max(1) as i32 - 1;
        Value::Finite(Finite { negative, exponent, mantissa: u128::from(mantissa) })
    }
}

/// The exponent of a power of two near a magnitude: not above it, or with [`Round::Up`] not below it.
fn power(value: Value, mods: Mods, round: Round) -> u64 {
    let most = if mods.has(Mods::SATFINITE) { NO_POWER - 1 } else { NO_POWER };
    match value {
        Value::Nan => NO_POWER,
        Value::Infinite { .. } => most,
        Value::Zero { .. } => 0,
        Value::Finite(finite) => {
            let top = finite.exponent + 127 - finite.mantissa.leading_zeros() as i32;
            let up = round == Round::Up && !finite.mantissa.is_power_of_two();
            u64::try_from(top + ONE + i32::from(up)).unwrap_or(0).min(most)
        }
    }
}

/// Two's complement in units of 1/64.
fn fixed(value: Value) -> u64 {
    let units = match value {
        Value::Nan => 127,
        Value::Zero { .. } => 0,
        Value::Infinite { negative } => {
            if negative {
                -128
            } else {
                127
            }
        }
        Value::Finite(finite) => {
            let scaled = Finite { exponent: finite.exponent + 6, ..finite };
            soft::to_integer(scaled, Round::Nearest).clamp(-128, 127)
        }
    };
    units as u64 & 0xff
}

/// The code of a value, after `.relu`.
pub(super) fn encode(ty: Scalar, value: Value, mods: Mods, to: To) -> u64 {
    let value = match mods.has(Mods::RELU) && soft::is_negative(value) {
        true => Value::Zero { negative: false },
        false => value,
    };
    match (small(ty), to) {
        (Some(small), to) => small.encode(value, to),
        (None, To::Round(round)) if ty == Scalar::UE8M0x2 => power(value, mods, round),
        _ => fixed(value),
    }
}

/// The value of a code, which may have any bits above it.
pub(super) fn decode(ty: Scalar, code: u64) -> Value {
    let code = code & 0xff;
    match small(ty) {
        Some(small) => small.decode(code),
        None if ty == Scalar::UE8M0x2 && code == NO_POWER => Value::Nan,
        None if ty == Scalar::UE8M0x2 => {
            Value::Finite(Finite { negative: false, exponent: code as i32 - ONE, mantissa: 1 })
        }
        None => match i128::from(super::integer::sign_extend(code, 8)) {
            0 => Value::Zero { negative: false },
            units => {
                Value::Finite(Finite { negative: units < 0, exponent: -6, mantissa: units.unsigned_abs() })
            }
        },
    }
}

/// A value times a power of two, or divided by it.
pub(super) fn scale(value: Value, code: u64, divides: Divides) -> Value {
    let code = code & 0xff;
    match value {
        _ if code == NO_POWER => Value::Nan,
        Value::Finite(finite) => {
            let power = code as i32 - ONE;
            let exponent = match divides {
                Divides::Yes => finite.exponent - power,
                Divides::No => finite.exponent + power,
            };
            Value::Finite(Finite { exponent, ..finite })
        }
        other => other,
    }
}

/// Whether a scale divides or multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Divides {
    Yes,
    No,
}

/// The value of a code in a format of halves; all that `f16` does not hold are powers of two, which become `bf16` only.
pub(super) fn widen(ty: Scalar, code: u64, to: Format) -> u64 {
    soft::pack(to, decode(ty, code), Round::Nearest)
}
