//! Arithmetic of 16-bit floats by that of 32-bit ones, exactly rounded to nearest.
//!
//! *Why.* Native code emits these sequences, of which the interpreter's exact arithmetic needs nothing; the tests here show that
//! they agree.
//!
//! *Why it is exact.* A sum, a difference or a product of two values with 11 bits, rounded to 24 bits and then to 11, is as if rounded
//! once, because 24 is at least twice 11 and two more. A sum of a product and a third value is rounded to odd first: its last bit
//! says whether anything was cut off.

use super::machine::Machine;

/// Which format of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    F16,
    BF16,
}

/// NaN of either format as operations make it.
const NAN: u32 = 0x7fff;

/// The 32-bit float of the same value. The upper half of `bits` is zero.
pub(crate) fn widen<M: Machine>(m: &mut M, half: Half, bits: M::Word) -> M::Float {
    if half == Half::BF16 {
        let wide = m.shift_left(bits, 16);
        return m.float_of(wide);
    }
    let magnitude = m.word(0x7fff);
    let magnitude = m.word_and(bits, magnitude);
    let placed = m.shift_left(magnitude, 13);
    // The exponents' biases differ by 112; a product makes subnormal values normal too.
    let factor = m.float(f32::from_bits((127 + 112) << 23));
    let value = m.float_of(placed);
    let scaled = m.mul(value, factor);
    let least_special = m.float(f32::from_bits(0x7c00 << 13));
    let is_finite = m.less(value, least_special);
    let rest = m.word((2 * 112) << 23);
    let special = m.word_add(placed, rest);
    let scaled = m.bits(scaled);
    let magnitude = m.choose_word(is_finite, scaled, special);
    let sign = m.word(0x8000);
    let sign = m.word_and(bits, sign);
    let sign = m.shift_left(sign, 16);
    let wide = m.word_or(magnitude, sign);
    m.float_of(wide)
}

/// The nearest value of the format, in the lower half; the upper half is anything.
pub(crate) fn narrow<M: Machine>(m: &mut M, half: Half, value: M::Float) -> M::Word {
    let bits = m.bits(value);
    let rounded = match half {
        Half::F16 => nearest_f16(m, value, bits),
        Half::BF16 => {
            let odd = m.shift_right(bits, 16);
            let one = m.word(1);
            let odd = m.word_and(odd, one);
            let almost_half = m.word(0x7fff);
            let up = m.word_add(bits, almost_half);
            let up = m.word_add(up, odd);
            m.shift_right(up, 16)
        }
    };
    let is_number = m.equal(value, value);
    let nan = m.word(NAN);
    m.choose_word(is_number, rounded, nan)
}

fn nearest_f16<M: Machine>(m: &mut M, value: M::Float, bits: M::Word) -> M::Word {
    let size = m.abs(value);
    let magnitude = m.bits(size);
    // Subnormal results: a sum whose last bit is worth what theirs is.
    let half = m.float(0.5);
    let sum = m.add(size, half);
    let sum = m.bits(sum);
    let half = m.word(0.5_f32.to_bits());
    let subnormal = m.word_sub(sum, half);
    // Normal ones: the other bias, and almost half of the last bit, or half if it is set.
    let last = m.shift_right(magnitude, 13);
    let one = m.word(1);
    let odd = m.word_and(last, one);
    let step = m.word((112_u32 << 23).wrapping_neg().wrapping_add(0xfff));
    let up = m.word_add(magnitude, step);
    let up = m.word_add(up, odd);
    let normal = m.shift_right(up, 13);
    let least_normal = m.float(f32::from_bits((127 - 14) << 23));
    let is_subnormal = m.less(size, least_normal);
    let finite = m.choose_word(is_subnormal, subnormal, normal);
    let beyond = m.float(65536.0);
    let is_finite = m.less(size, beyond);
    let infinity = m.word(0x7c00);
    let magnitude = m.choose_word(is_finite, finite, infinity);
    let sign = m.shift_right(bits, 16);
    let mask = m.word(0x8000);
    let sign = m.word_and(sign, mask);
    m.word_or(magnitude, sign)
}

/// `a * b + c` of `f16` values, rounded to odd.
pub(crate) fn fma<M: Machine>(m: &mut M, a: M::Float, b: M::Float, c: M::Float) -> M::Float {
    // The product has 22 bits; the sum's error is a float too.
    let product = m.mul(a, b);
    let sum = m.add(product, c);
    let part = m.sub(sum, product);
    let rest = m.sub(sum, part);
    let product_error = m.sub(product, rest);
    let error = m.sub(c, part);
    let error = m.add(product_error, error);
    let zero = m.float(0.0);
    let size = m.abs(error);
    let is_cut = m.less(zero, size);
    let [sum, error] = [sum, error].map(|value| m.bits(value));
    // One up in magnitude if the error has the sum's sign, else one down.
    let differs = m.word_xor(sum, error);
    let differs = m.shift_right(differs, 31);
    let one = m.word(1);
    let step = m.word_or(differs, one);
    let nothing = m.word(0);
    let step = m.choose_word(is_cut, step, nothing);
    let is_odd = m.is_odd(sum);
    let step = m.choose_word(is_odd, nothing, step);
    let odd = m.word_add(sum, step);
    m.float_of(odd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Round;
    use crate::semantics::machine::Here;
    use crate::semantics::soft;
    use crate::semantics::soft::Format;

    const FORMATS: [(Half, Format); 2] = [(Half::F16, soft::F16), (Half::BF16, soft::BF16)];

    fn rounded(format: Format, value: soft::Value) -> u32 {
        soft::pack(format, value, Round::Nearest) as u32
    }

    /// Pseudo-random bits, many of them edges.
    fn samples(count: usize) -> impl Iterator<Item = u32> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state >> 62 {
                0 => state as u32 & 0xffff_e000 | (state >> 40) as u32 & 1,
                _ => state as u32,
            }
        })
        .take(count)
    }

    #[test]
    fn every_half_is_widened_exactly() {
        for (half, format) in FORMATS {
            for bits in 0..=0xffff {
                let got = widen(&mut Here, half, bits);
                let want = soft::to_f64(format, u64::from(bits)) as f32;
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{half:?} {bits:x}"
                );
            }
        }
    }

    #[test]
    fn floats_are_narrowed_as_exact_arithmetic_does() {
        for (half, format) in FORMATS {
            for bits in samples(400_000).chain((0..0xffff).map(|high| high << 16 | 0x8000)) {
                let want = rounded(format, soft::unpack(soft::F32, u64::from(bits)));
                let got = narrow(&mut Here, half, f32::from_bits(bits)) & 0xffff;
                assert_eq!(got, want, "{half:?} {bits:x}");
            }
        }
    }

    #[test]
    fn sums_and_products_are_rounded_once() {
        for (half, format) in FORMATS {
            let values: Vec<u32> = samples(300_000).map(|bits| bits & 0xffff).collect();
            for pair in values.windows(2) {
                let [a, b] = [0, 1].map(|index| widen(&mut Here, half, pair[index]));
                let [x, y] = [0, 1].map(|index| soft::unpack(format, u64::from(pair[index])));
                let sum = narrow(&mut Here, half, a + b) & 0xffff;
                assert_eq!(sum, rounded(format, soft::add(x, y, Round::Nearest)), "{half:?} {pair:x?}");
                let product = narrow(&mut Here, half, a * b) & 0xffff;
                assert_eq!(product, rounded(format, soft::mul(x, y)), "{half:?} {pair:x?}");
            }
        }
    }

    #[test]
    fn products_with_a_sum_are_rounded_once() {
        let values: Vec<u32> = samples(1_000_000).map(|bits| bits & 0xffff).collect();
        // Ties, and almost ties: a product of 12 bits and something tiny.
        let ties = (0..2048_u32).flat_map(|low| {
            [0, 1, 0x8001, 2, 0x0400].map(|tiny| [0x3c00 | low >> 1, 0x3c00 | low & 1 | 0x200, tiny])
        });
        let triples = values.windows(3).map(|three| [three[0], three[1], three[2]]).chain(ties);
        for triple in triples {
            let [a, b, c] = triple.map(|bits| widen(&mut Here, Half::F16, bits));
            let [x, y, z] = triple.map(|bits| soft::unpack(soft::F16, u64::from(bits)));
            let sum = fma(&mut Here, a, b, c);
            let got = narrow(&mut Here, Half::F16, sum) & 0xffff;
            let want = rounded(soft::F16, soft::add(soft::mul(x, y), z, Round::Nearest));
            assert_eq!(got, want, "{triple:x?}");
        }
    }
}
