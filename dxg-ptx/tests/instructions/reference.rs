//! Exact arithmetic on floats by other means than the crate's: error-free transformations in `f64`.
//!
//! An exact result is a sum `high + low`. It is rounded to odd in `f64` first (the last bit says whether anything was cut off), which
//! any narrower format can then be rounded from as if from the exact value.

use crate::support::number::To;

/// A format by its sizes; wider than [`crate::support::number::Small`] in that results are 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) fraction: i32,
    pub(crate) exponent: i32,
}

pub(crate) const F16: Format = Format { fraction: 10, exponent: 5 };
pub(crate) const BF16: Format = Format { fraction: 7, exponent: 8 };
pub(crate) const F32: Format = Format { fraction: 23, exponent: 8 };
pub(crate) const TF32: Format = Format { fraction: 10, exponent: 8 };

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    Rcp,
    Sqrt,
}

fn power(exponent: i32) -> f64 {
    if exponent >= -1022 {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    } else {
        f64::from_bits(1 << (exponent + 1074))
    }
}

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    pub(crate) fn sign(self) -> u64 {
        1 << (self.fraction + self.exponent)
    }

    pub(crate) fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    /// The NaN that arithmetic makes.
    pub(crate) fn nan(self) -> u64 {
        self.sign() - 1
    }

    pub(crate) fn decode(self, bits: u64) -> f64 {
        let bits = bits & (self.sign() | (self.sign() - 1));
        let sign = if bits & self.sign() != 0 { -1.0 } else { 1.0 };
        let exponent = ((bits & self.infinity()) >> self.fraction) as i32;
        let fraction = (bits & ((1 << self.fraction) - 1)) as f64;
        if exponent == (1 << self.exponent) - 1 {
            return if fraction == 0.0 { sign * f64::INFINITY } else { f64::NAN };
        }
        let (fraction, exponent) =
            if exponent == 0 { (fraction, 1) } else { (fraction + power(self.fraction), exponent) };
        sign * fraction * power(exponent - self.bias() - self.fraction)
    }

    /// Rounds a value.
    pub(crate) fn encode(self, value: f64, to: To) -> u64 {
        if value.is_nan() {
            return self.nan();
        }
        let negative = value.is_sign_negative();
        let sign = if negative { self.sign() } else { 0 };
        let magnitude = value.abs();
        if magnitude.is_infinite() {
            return sign | self.infinity();
        }
        let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - self.bias());
        let units = magnitude / power(exponent - self.fraction);
        let whole = match to {
            To::Nearest => units.round_ties_even(),
            To::Down if negative => units.ceil(),
            To::Up if !negative => units.ceil(),
            _ => units.floor(),
        };
        let encoded = whole as u64 + (((exponent - 1 + self.bias()) as u64) << self.fraction);
        if encoded < self.infinity() {
            return sign | encoded;
        }
        let stays = to == To::Zero || to == To::Down && !negative || to == To::Up && negative;
        sign | if stays { self.infinity() - 1 } else { self.infinity() }
    }
}

/// `high + low` rounded to odd.
fn odd(high: f64, low: f64) -> f64 {
    if low == 0.0 || !high.is_finite() || low.is_nan() || high.to_bits() & 1 == 1 {
        return high;
    }
    if (low > 0.0) == (high > 0.0) || high == 0.0 {
        f64::from_bits(high.to_bits() | 1)
    } else {
        f64::from_bits(high.to_bits() - 1)
    }
}

/// The sum and its error.
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

/// The result, exact or rounded to odd, of operands of a format not wider than `f32`; `to` decides the sign of a zero.
pub(crate) fn exact(op: Op, [a, b, c]: [f64; 3], to: To) -> f64 {
    let sum = |a: f64, b: f64| {
        let (high, low) = two_sum(a, b);
        if high == 0.0 && low == 0.0 && to == To::Down && (a.is_sign_negative() || b.is_sign_negative()) {
            return -0.0;
        }
        odd(high, low)
    };
    match op {
        Op::Add => sum(a, b),
        Op::Sub => sum(a, -b),
        Op::Mul => a * b,
        Op::Fma => sum(a * b, c),
        Op::Div => {
            let quotient = a / b;
            let rest = (-quotient).mul_add(b, a);
            odd(quotient, rest / b)
        }
        Op::Rcp => exact(Op::Div, [1.0, a, 0.0], to),
        Op::Sqrt => {
            let root = a.sqrt();
            odd(root, (-root).mul_add(root, a) / root)
        }
    }
}

/// The correctly rounded result in a format.
pub(crate) fn rounded(format: Format, op: Op, operands: [u64; 3], to: To) -> u64 {
    format.encode(exact(op, operands.map(|bits| format.decode(bits)), to), to)
}

/// Zero of the same sign instead of a subnormal value.
pub(crate) fn flush(format: Format, bits: u64) -> u64 {
    if bits & format.infinity() == 0 { bits & format.sign() } else { bits }
}

/// A float kept within 0 and 1; NaN becomes 0.
pub(crate) fn saturate(format: Format, bits: u64) -> u64 {
    let value = format.decode(bits);
    if value > 0.0 { format.encode(value.min(1.0), To::Nearest) } else { 0 }
}
