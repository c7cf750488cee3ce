//! Floating point in integers: every format, every rounding, exactly rounded.
//!
//! *Why.* The host's arithmetic rounds to nearest only, and knows neither halves nor the smaller formats. A value is unpacked to a
//! whole number times a power of two, operations are done without error (what does not fit is kept as one sticky bit at the
//! bottom), and packing rounds once.

use crate::ir::Round;

/// A binary interchange format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Bits of the fraction that are stored.
    pub(crate) fraction: u32,
    /// Bits of the exponent.
    pub(crate) exponent: u32,
}

pub(crate) const F16: Format = Format { fraction: 10, exponent: 5 };
pub(crate) const BF16: Format = Format { fraction: 7, exponent: 8 };
pub(crate) const F32: Format = Format { fraction: 23, exponent: 8 };
pub(crate) const F64: Format = Format { fraction: 52, exponent: 11 };
/// The 19 bits of a `tf32`, which lie at the top of 32.
pub(crate) const TF32: Format = Format { fraction: 10, exponent: 8 };

impl Format {
    const fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    /// The bit of the sign.
    pub(crate) const fn sign(self) -> u64 {
        1 << (self.fraction + self.exponent)
    }

    /// Infinity: all ones in the exponent.
    pub(crate) const fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    /// The greatest finite value.
    pub(crate) const fn largest(self) -> u64 {
        self.infinity() - 1
    }

    /// The NaN that operations make.
    pub(crate) const fn nan(self) -> u64 {
        match self.fraction {
            52 => 0xfff8_0000_0000_0000,
            _ => self.sign() - 1,
        }
    }

    /// All bits.
    pub(crate) const fn mask(self) -> u64 {
        self.sign() | (self.sign() - 1)
    }

    pub(crate) const fn is_nan(self, bits: u64) -> bool {
        bits & (self.sign() - 1) > self.infinity()
    }

    /// Zero of the same sign instead of a subnormal value.
    pub(crate) const fn flush(self, bits: u64) -> u64 {
        if bits & self.infinity() == 0 { bits & self.sign() } else { bits }
    }

    /// 1.0.
    pub(crate) const fn one(self) -> u64 {
        (self.bias() as u64) << self.fraction
    }
}

/// A number that is not zero: `mantissa * 2^exponent`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finite {
    pub(crate) negative: bool,
    pub(crate) exponent: i32,
    pub(crate) mantissa: u128,
}

/// What bits stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Nan,
    Infinite { negative: bool },
    Zero { negative: bool },
    Finite(Finite),
}

/// Whether a result of exactly zero from two opposites is negative.
fn zero_sign(round: Round) -> bool {
    round == Round::Down
}

pub(crate) fn unpack(format: Format, bits: u64) -> Value {
    let negative = bits & format.sign() != 0;
    let fraction = bits & ((1 << format.fraction) - 1);
    let exponent = ((bits & format.infinity()) >> format.fraction) as i32;
    if exponent == (1 << format.exponent) - 1 {
        return if fraction == 0 { Value::Infinite { negative } } else { Value::Nan };
    }
    if exponent == 0 && fraction == 0 {
        return Value::Zero { negative };
    }
    let lowest = 1 - format.bias() - format.fraction as i32;
    let (mantissa, exponent) = match exponent {
        0 => (fraction, lowest),
        e => (fraction | 1 << format.fraction, lowest + e - 1),
    };
    Value::Finite(Finite { negative, exponent, mantissa: u128::from(mantissa) })
}

/// Shifts right; bits that fall out leave a one at the bottom.
fn shift_sticky(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..128 => value >> by | u128::from(value << (128 - by) != 0),
        _ => u128::from(value != 0),
    }
}

/// Whether the magnitude `kept` goes up by one, by what was cut off: `rest` of `2 * half`.
fn goes_up(negative: bool, odd: bool, rest: u128, half: u128, round: Round) -> bool {
    match round {
        Round::Nearest => rest > half || (rest == half && odd),
        Round::NearestAway => rest >= half,
        Round::Zero => false,
        Round::Down => negative && rest != 0,
        Round::Up => !negative && rest != 0,
    }
}

/// Rounds `mantissa * 2^-shift` to a whole number.
fn round_shift(negative: bool, mantissa: u128, shift: u32, round: Round) -> u128 {
    if shift == 0 {
        return mantissa;
    }
    // Beyond 127 everything is cut off, and less than half; two bits keep that apart from zero.
    let (mantissa, shift) = if shift > 127 { (1, 2) } else { (mantissa, shift) };
    let kept = mantissa >> shift;
    let rest = mantissa & ((1 << shift) - 1);
    let up = goes_up(negative, kept & 1 == 1, rest, 1 << (shift - 1), round);
    kept + u128::from(up)
}

/// Rounds to a format.
pub(crate) fn pack(format: Format, value: Value, round: Round) -> u64 {
    let signed = |negative: bool, bits: u64| if negative { bits | format.sign() } else { bits };
    let Finite { negative, exponent, mantissa } = match value {
        Value::Nan => return format.nan(),
        Value::Infinite { negative } => return signed(negative, format.infinity()),
        Value::Zero { negative } => return signed(negative, 0),
        Value::Finite(finite) => finite,
    };
    if mantissa == 0 {
        return signed(negative, 0);
    }
    let top = exponent + 127 - mantissa.leading_zeros() as i32;
    let lowest = (top - format.fraction as i32).max(1 - format.bias() - format.fraction as i32);
    let kept = match u32::try_from(lowest - exponent) {
        Ok(shift) => round_shift(negative, mantissa, shift, round),
        Err(_) => mantissa << (exponent - lowest),
    };
    let hidden = 1_u128 << format.fraction;
    let (kept, lowest) = if kept == hidden << 1 { (hidden, lowest + 1) } else { (kept, lowest) };
    if kept < hidden {
        return signed(negative, kept as u64);
    }
    let biased = lowest + format.fraction as i32 + format.bias();
    if biased >= (1 << format.exponent) - 1 {
        let to_infinity = match round {
            Round::Nearest | Round::NearestAway => true,
            Round::Zero => false,
            Round::Down => negative,
            Round::Up => !negative,
        };
        return signed(negative, if to_infinity { format.infinity() } else { format.largest() });
    }
    signed(negative, (biased as u64) << format.fraction | (kept - hidden) as u64)
}

/// The mantissa with its highest bit at `bit`.
fn normalize(value: Finite, bit: u32) -> Finite {
    let shift = bit as i32 - (127 - value.mantissa.leading_zeros() as i32);
    let mantissa =
        if shift >= 0 { value.mantissa << shift } else { shift_sticky(value.mantissa, shift.unsigned_abs()) };
    Finite { exponent: value.exponent - shift, mantissa, ..value }
}

pub(crate) fn negate(value: Value) -> Value {
    match value {
        Value::Nan => Value::Nan,
        Value::Infinite { negative } => Value::Infinite { negative: !negative },
        Value::Zero { negative } => Value::Zero { negative: !negative },
        Value::Finite(finite) => Value::Finite(Finite { negative: !finite.negative, ..finite }),
    }
}

/// The sum. `round` decides the sign of a zero only.
pub(crate) fn add(a: Value, b: Value, round: Round) -> Value {
    match (a, b) {
        (Value::Nan, _) | (_, Value::Nan) => Value::Nan,
        (Value::Infinite { negative: x }, Value::Infinite { negative: y }) if x != y => Value::Nan,
        (Value::Infinite { negative }, _) | (_, Value::Infinite { negative }) => Value::Infinite { negative },
        (Value::Zero { negative: x }, Value::Zero { negative: y }) => {
            Value::Zero { negative: if x == y { x } else { zero_sign(round) } }
        }
        (Value::Zero { .. }, other) | (other, Value::Zero { .. }) => other,
        (Value::Finite(a), Value::Finite(b)) => add_finite(a, b, round),
    }
}

fn add_finite(a: Finite, b: Finite, round: Round) -> Value {
    // One bit of room for the carry; products have at most 106 bits, so that a shift by one loses nothing.
    let (a, b) = (normalize(a, 126), normalize(b, 126));
    let (large, small) = if a.exponent >= b.exponent { (a, b) } else { (b, a) };
    let aligned = shift_sticky(small.mantissa, large.exponent.abs_diff(small.exponent));
    if large.negative == small.negative {
        return Value::Finite(Finite { mantissa: large.mantissa + aligned, ..large });
    }
    match large.mantissa.cmp(&aligned) {
        std::cmp::Ordering::Equal => Value::Zero { negative: zero_sign(round) },
        std::cmp::Ordering::Greater => Value::Finite(Finite { mantissa: large.mantissa - aligned, ..large }),
        std::cmp::Ordering::Less => Value::Finite(Finite {
            negative: small.negative,
            exponent: large.exponent,
            mantissa: aligned - large.mantissa,
        }),
    }
}

/// The product of two unpacked values of at most 64 bits each.
pub(crate) fn mul(a: Value, b: Value) -> Value {
    let sign = |x: bool, y: bool| x != y;
    match (a, b) {
        (Value::Nan, _) | (_, Value::Nan) => Value::Nan,
        (Value::Infinite { .. }, Value::Zero { .. }) | (Value::Zero { .. }, Value::Infinite { .. }) => {
            Value::Nan
        }
        (Value::Finite(a), Value::Finite(b)) => Value::Finite(Finite {
            negative: sign(a.negative, b.negative),
            exponent: a.exponent + b.exponent,
            mantissa: a.mantissa * b.mantissa,
        }),
        _ => {
            let negative = sign(is_negative(a), is_negative(b));
            match (a, b) {
                (Value::Infinite { .. }, _) | (_, Value::Infinite { .. }) => Value::Infinite { negative },
                _ => Value::Zero { negative },
            }
        }
    }
}

pub(crate) fn is_negative(value: Value) -> bool {
    match value {
        Value::Nan => false,
        Value::Infinite { negative } | Value::Zero { negative } => negative,
        Value::Finite(finite) => finite.negative,
    }
}

/// The quotient of two unpacked values of at most 53 bits each.
pub(crate) fn div(a: Value, b: Value) -> Value {
    let negative = is_negative(a) != is_negative(b);
    match (a, b) {
        (Value::Nan, _) | (_, Value::Nan) => Value::Nan,
        (Value::Infinite { .. }, Value::Infinite { .. }) | (Value::Zero { .. }, Value::Zero { .. }) => {
            Value::Nan
        }
        (Value::Infinite { .. }, _) | (_, Value::Zero { .. }) => Value::Infinite { negative },
        (Value::Zero { .. }, _) | (_, Value::Infinite { .. }) => Value::Zero { negative },
        (Value::Finite(a), Value::Finite(b)) => {
            let a = normalize(a, 127);
            let quotient = a.mantissa / b.mantissa;
            let sticky = u128::from(!a.mantissa.is_multiple_of(b.mantissa));
            Value::Finite(Finite { negative, exponent: a.exponent - b.exponent, mantissa: quotient | sticky })
        }
    }
}

/// The square root.
pub(crate) fn sqrt(a: Value) -> Value {
    match a {
        Value::Zero { .. } | Value::Infinite { negative: false } => a,
        Value::Finite(finite) if !finite.negative => {
            let high = normalize(finite, 126);
            let even = if high.exponent % 2 == 0 {
                high
            } else {
                Finite { exponent: high.exponent - 1, mantissa: high.mantissa << 1, ..high }
            };
            let root = even.mantissa.isqrt();
            let sticky = u128::from(root * root != even.mantissa);
            Value::Finite(Finite { negative: false, exponent: even.exponent / 2, mantissa: root | sticky })
        }
        _ => Value::Nan,
    }
}

/// A whole number.
pub(crate) fn from_integer(value: i128) -> Value {
    match value {
        0 => Value::Zero { negative: false },
        _ => Value::Finite(Finite { negative: value < 0, exponent: 0, mantissa: value.unsigned_abs() }),
    }
}

/// A finite value rounded to a whole number; what is beyond 2^126 is 2^126.
pub(crate) fn to_integer(value: Finite, round: Round) -> i128 {
    let magnitude = match u32::try_from(-value.exponent) {
        Ok(shift) => round_shift(value.negative, value.mantissa, shift, round),
        Err(_) if value.exponent + 128 - value.mantissa.leading_zeros() as i32 > 126 => 1 << 126,
        Err(_) => value.mantissa << value.exponent,
    };
    let magnitude = i128::try_from(magnitude).unwrap_or(1 << 126);
    if value.negative { -magnitude } else { magnitude }
}

/// The magnitude of a value as a whole number: `bits` are added as so many of the bits below the lowest one that is kept, and what is
/// below them is cut off.
pub(crate) fn to_integer_randomly(value: Finite, bits: u32, count: u32) -> i128 {
    let shift = match u32::try_from(-value.exponent) {
        Ok(shift) => shift,
        Err(_) => return to_integer(value, Round::Zero).abs(),
    };
    // Magnitudes have at most 53 bits: one that far below a unit does not reach it.
    if shift > 96 {
        return 0;
    }
    let added = match shift.checked_sub(count) {
        Some(up) => u128::from(bits) << up,
        None => u128::from(bits >> (count - shift)),
    };
    ((value.mantissa + added) >> shift) as i128
}

/// Rounds a magnitude to a format by random bits, as [`to_integer_randomly`]; beyond the greatest value it is infinite.
pub(crate) fn pack_randomly(format: Format, value: Value, bits: u32, count: u32) -> u64 {
    let Value::Finite(finite) = value else { return pack(format, value, Round::Zero) };
    let sign = if finite.negative { format.sign() } else { 0 };
    let top = finite.exponent + 127 - finite.mantissa.leading_zeros() as i32;
    let least = 1 - format.bias() - format.fraction as i32;
    let unit = (top - format.fraction as i32).max(least);
    let scaled = Finite { negative: false, exponent: finite.exponent - unit, ..finite };
    let whole = to_integer_randomly(scaled, bits, count);
    let code = (i128::from(unit - least) << format.fraction) + whole;
    sign | (code as u64).min(format.infinity())
}

/// The value as the host's widest format, which holds every other one exactly.
pub(crate) fn to_f64(format: Format, bits: u64) -> f64 {
    match format.fraction {
        52 => f64::from_bits(bits),
        23 => f64::from(f32::from_bits(bits as u32)),
        // A bf16 is the upper half of an f32.
        7 if !format.is_nan(bits) => f64::from(f32::from_bits((bits as u32) << 16)),
        10 if format == F16 && bits & format.infinity() != format.infinity() => {
            // The exponent's bias is that of the wider format after this product, also of subnormal numbers.
            let sign = f64::from_bits((bits & format.sign()) << 48);
            let wide =
                f64::from_bits((bits & (format.sign() - 1)) << 42) * f64::from_bits(0x7ef0_0000_0000_0000);
            wide.copysign(sign)
        }
        _ => f64::from_bits(match unpack(format, bits) {
            Value::Nan => 0x7ff8_0000_0000_0000,
            value => pack(F64, value, Round::Nearest),
        }),
    }
}

/// Rounds the host's widest format to another.
pub(crate) fn from_f64(format: Format, value: f64, round: Round) -> u64 {
    match (format.fraction, round) {
        (52, _) => value.to_bits(),
        (23, Round::Nearest) if !value.is_nan() => u64::from((value as f32).to_bits()),
        _ => pack(format, unpack(F64, value.to_bits()), round),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_the_numbers_that_their_parts_say() {
        for format in [F16, BF16] {
            for bits in 0..=0xffff_u64 {
                let want = match unpack(format, bits) {
                    Value::Nan => 0x7ff8_0000_0000_0000,
                    value => pack(F64, value, Round::Nearest),
                };
                assert_eq!(to_f64(format, bits).to_bits(), want, "{bits:#x}");
            }
        }
    }
}
