//! Numbers of small formats, by arithmetic on `f64` that is exact.

/// Bits of the fraction and of the exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Small {
    pub(crate) fraction: i32,
    pub(crate) exponent: i32,
}

pub(crate) const F16: Small = Small { fraction: 10, exponent: 5 };
pub(crate) const BF16: Small = Small { fraction: 7, exponent: 8 };

/// How a value between two representable ones is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Nearest,
    Zero,
    Down,
    Up,
}

impl Small {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    pub(crate) fn decode(self, bits: u16) -> f64 {
        let bits = i32::from(bits);
        let sign = if bits >> (self.fraction + self.exponent) & 1 == 1 { -1.0 } else { 1.0 };
        let exponent = bits >> self.fraction & ((1 << self.exponent) - 1);
        let fraction = f64::from(bits & ((1 << self.fraction) - 1));
        let scale = |power: i32| f64::from(power).exp2();
        sign * match exponent {
            0 => fraction * scale(1 - self.bias() - self.fraction),
            e if e == (1 << self.exponent) - 1 => {
                if fraction == 0.0 {
                    f64::INFINITY
                } else {
                    f64::NAN
                }
            }
            e => (fraction + scale(self.fraction)) * scale(e - self.bias() - self.fraction),
        }
    }

    /// Rounds a value that is not NaN.
    pub(crate) fn encode(self, value: f64, to: To) -> u16 {
        let sign = u16::from(value.is_sign_negative()) << (self.fraction + self.exponent);
        let infinity = ((1_u16 << self.exponent) - 1) << self.fraction;
        let magnitude = value.abs();
        if magnitude.is_infinite() {
            return sign | infinity;
        }
        let power = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - self.bias());
        let unit = f64::from(power - self.fraction).exp2();
        let units = magnitude / unit;
        let whole = match (to, value.is_sign_negative()) {
            (To::Nearest, _) => units.round_ties_even(),
            (To::Zero, _) | (To::Down, false) | (To::Up, true) => units.floor(),
            (To::Down, true) | (To::Up, false) => units.ceil(),
        };
        // Units of the least exponent count from zero, those of greater ones from the hidden bit: both are the encoding.
        let encoded = whole as u64 + (((power - 1 + self.bias()) as u64) << self.fraction);
        if encoded >= u64::from(infinity) {
            let stays =
                matches!((to, value.is_sign_negative()), (To::Zero, _) | (To::Down, false) | (To::Up, true));
            return sign | if stays { infinity - 1 } else { infinity };
        }
        sign | encoded as u16
    }
}
