//! Numbers as the text writes them.

use crate::ir::Scalar;

/// A constant before it is known which type it is used as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Literal {
    /// An integer, as 64 bits of a signed number.
    Signed(i64),
    /// An integer, unsigned.
    Unsigned(u64),
    /// Bits of an `f32`.
    F32(u32),
    /// Bits of an `f64`.
    F64(u64),
}

impl Literal {
    /// Reads a number token.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if let [b'0', form, digits @ ..] = bytes {
            match form | 0x20 {
                b'f' if digits.len() == 8 => return u32::from_str_radix(&text[2..], 16).ok().map(Self::F32),
                b'd' if digits.len() == 16 => return u64::from_str_radix(&text[2..], 16).ok().map(Self::F64),
                b'f' | b'd' => return None,
                _ => {}
            }
        }
        // A number without leading zero, point, exponent or suffix.
        if bytes.len() < 19
            && bytes.iter().all(u8::is_ascii_digit)
            && (bytes.len() == 1 || bytes.first().is_some_and(|&first| first != b'0'))
        {
            return Some(Self::Signed(
                bytes.iter().fold(0, |value, &digit| value * 10 + i64::from(digit - b'0')),
            ));
        }
        let hex = matches!(bytes, [b'0', b'x' | b'X', ..]);
        if !hex && bytes.iter().any(|&byte| byte == b'.' || byte | 0x20 == b'e') {
            return text.parse::<f64>().ok().map(|value| Self::F64(value.to_bits()));
        }
        let digits = text.trim_end_matches(['U', 'u', 'L', 'l']);
        let is_unsigned = text[digits.len()..].contains(['U', 'u']);
        let plain = |digits: &str, radix| {
            digits
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
                .then(|| u64::from_str_radix(digits, radix).ok())?
        };
        let value = match digits.as_bytes() {
            [b'0', b'x' | b'X', ..] => plain(&digits[2..], 16)?,
            [b'0', b'b' | b'B', ..] => plain(&digits[2..], 2)?,
            [b'0', _, ..] => plain(&digits[1..], 8)?,
            _ => plain(digits, 10)?,
        };
        Some(match i64::try_from(value) {
            Ok(value) if !is_unsigned => Self::Signed(value),
            _ => Self::Unsigned(value),
        })
    }

    /// The 64 bits of an integer; none of a float.
    pub(super) fn integer(self) -> Option<u64> {
        match self {
            Self::Signed(value) => Some(value.cast_unsigned()),
            Self::Unsigned(value) => Some(value),
            Self::F32(_) | Self::F64(_) => None,
        }
    }

    /// The value of a float.
    pub(super) fn float(self) -> Option<f64> {
        match self {
            Self::F32(bits) => Some(f64::from(f32::from_bits(bits))),
            Self::F64(bits) => Some(f64::from_bits(bits)),
            Self::Signed(_) | Self::Unsigned(_) => None,
        }
    }

    /// The bits that it has as a value of a type; none where PTX has no such constant.
    pub(super) fn bits_as(self, ty: Scalar) -> Option<u64> {
        let width = ty.size_bytes() * 8;
        let mask = if width >= 64 { u64::MAX } else { (1 << width) - 1 };
        match (ty, self) {
            (Scalar::Pred, _) => self.integer().map(|value| u64::from(value != 0)),
            (Scalar::F64, _) => self.float().map(f64::to_bits),
            (Scalar::F32 | Scalar::TF32, Self::F32(bits)) => Some(u64::from(bits)),
            (Scalar::F32 | Scalar::TF32, Self::F64(bits)) => Some(u64::from(narrow(bits))),
            (Scalar::F32 | Scalar::TF32, _) => None,
            (Scalar::F16, Self::F32(_) | Self::F64(_)) => self.float().map(|value| half(value, 5, 10)),
            (Scalar::BF16, Self::F32(_) | Self::F64(_)) => self.float().map(|value| half(value, 8, 7)),
            (_, Self::F32(bits)) if width == 32 => Some(u64::from(bits)),
            (Scalar::U32 | Scalar::S32, Self::F64(_)) => None,
            (_, Self::F64(bits)) if width == 32 => Some(u64::from(narrow(bits))),
            (_, Self::F32(_) | Self::F64(_)) if width == 64 => self.float().map(f64::to_bits),
            (_, Self::F32(_) | Self::F64(_)) => None,
            (_, Self::Signed(_) | Self::Unsigned(_)) => self.integer().map(|value| value & mask),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is meant")]
fn narrow(bits: u64) -> u32 {
    (f64::from_bits(bits) as f32).to_bits()
}

/// The nearest value with so few bits, ties to even, as bits.
fn half(value: f64, exponent_bits: u32, fraction_bits: u32) -> u64 {
    let sign = u64::from(value.is_sign_negative()) << (exponent_bits + fraction_bits);
    let top = ((1_u64 << exponent_bits) - 1) << fraction_bits;
    if value.is_nan() {
        return sign | top | 1 << (fraction_bits - 1);
    }
    let bits = value.abs().to_bits();
    let bias = (1_i64 << (exponent_bits - 1)) - 1;
    let exponent = i64::try_from(bits >> 52).unwrap_or(0) - 1023;
    // Subnormal results lose one bit for each step below the least exponent.
    let lost = u32::try_from((1 - bias - exponent).max(0)).unwrap_or(0);
    let drop = 52 - fraction_bits + lost;
    if drop > 53 {
        return sign;
    }
    let fraction = (bits & ((1 << 52) - 1)) | 1 << 52;
    let kept = fraction >> drop;
    let rest = fraction & ((1 << drop) - 1);
    let tie = 1_u64 << (drop - 1);
    let rounded = kept + u64::from(rest > tie || rest == tie && kept & 1 == 1);
    // The leading one carries into the exponent.
    let base = u64::try_from((exponent + bias).max(1) - 1).unwrap_or(0) << fraction_bits;
    sign | (base + rounded).min(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_form_are_read() {
        let cases = [
            ("0", Some(Literal::Signed(0))),
            ("017", Some(Literal::Signed(15))),
            ("0x1f", Some(Literal::Signed(31))),
            ("0b101U", Some(Literal::Unsigned(5))),
            ("2U", Some(Literal::Unsigned(2))),
            ("18446744073709551615", Some(Literal::Unsigned(u64::MAX))),
            ("9223372036854775807", Some(Literal::Signed(i64::MAX))),
            ("0f3F800000", Some(Literal::F32(0x3f80_0000))),
            ("0D3FF0000000000000", Some(Literal::F64(1_f64.to_bits()))),
            ("1.5e1", Some(Literal::F64(15_f64.to_bits()))),
            ("0f3F8", None),
            ("09", None),
            ("1x", None),
            ("18446744073709551616", None),
            ("0x", None),
        ];
        for (text, want) in cases {
            assert_eq!(Literal::read(text), want, "{text}");
        }
    }

    #[test]
    fn constants_take_the_bits_of_their_type() {
        assert_eq!(Literal::Signed(-1).bits_as(Scalar::U16), Some(0xffff));
        assert_eq!(Literal::Signed(2).bits_as(Scalar::Pred), Some(1));
        assert_eq!(Literal::F32(0x3f80_0000).bits_as(Scalar::F64), Some(1_f64.to_bits()));
        assert_eq!(Literal::F64(1.5_f64.to_bits()).bits_as(Scalar::B32), Some(0x3fc0_0000));
        assert_eq!(Literal::Signed(1).bits_as(Scalar::F32), None);
        assert_eq!(Literal::Signed(0x3c00).bits_as(Scalar::F16), Some(0x3c00));
    }

    #[test]
    fn halves_are_rounded_to_nearest_even() {
        let cases = [
            (1.0, 0x3c00, 0x3f80),
            (-2.5, 0xc100, 0xc020),
            (65520.0, 0x7c00, 0x4780),
            (6e-8, 0x0001, 0x3381),
            (2.0_f64.powi(-25), 0, 0x3300),
            (1.0 + 1.0 / 2048.0, 0x3c00, 0x3f80),
            (1.0 + 3.0 / 2048.0, 0x3c02, 0x3f80),
            (f64::INFINITY, 0x7c00, 0x7f80),
            (0.0, 0, 0),
        ];
        for (value, f16, bf16) in cases {
            assert_eq!(half(value, 5, 10), f16, "{value} as f16");
            assert_eq!(half(value, 8, 7), bf16, "{value} as bf16");
        }
    }
}
