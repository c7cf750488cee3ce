//! Approximate functions of 32-bit floats: one sequence of operations for each, for whoever can add and multiply.
//!
//! *Why.* The interpreter computes them here, and native code emits the same operations, so that both give the same bits. There are
//! no branches and no tables: a sequence does as well for several values at once.
//!
//! *Error.* Below that of PTX's bounds: `ex2` and `rsqrt` within one and a half units in the last place, `lg2` within 2^-22 of the
//! result or in all, `sin` and `cos` within 2^-23 up to 10,000, within 2^-21 up to 2^22 and between -1 and 1 beyond, `tanh` within four units.

use super::machine::Machine;

/// Added to a float below 2^22, it leaves the nearest whole number in the low bits.
const WHOLE: f32 = 12_582_912.0;
const WHOLE_BITS: u32 = 0x4b40_0000;

/// A polynomial, its coefficients from the highest down.
fn polynomial<M: Machine>(m: &mut M, x: M::Float, coefficients: &[f32]) -> M::Float {
    let mut sum = m.float(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        let next = m.float(coefficient);
        sum = m.fma(sum, x, next);
    }
    sum
}

/// 2 to the power of x.
pub(crate) fn ex2<M: Machine>(m: &mut M, x: M::Float) -> M::Float {
    // Beyond these the result is infinite or zero anyway.
    let [high, low] = [160.0, -160.0].map(|limit| m.float(limit));
    let is_below = m.less(x, high);
    let within = m.choose(is_below, x, high);
    let is_above = m.less(low, within);
    let within = m.choose(is_above, within, low);
    let magic = m.float(WHOLE);
    let turned = m.add(within, magic);
    let whole = m.sub(turned, magic);
    let part = m.sub(within, whole);
    // (2^part - 1) / part for -1/2 to 1/2.
    let slope = polynomial(
        m,
        part,
        &[1.545_316_3e-4, 1.339_086_3e-3, 9.618_083e-3, 5.550_357e-2, 2.402_265e-1, 6.931_472e-1],
    );
    let one = m.float(1.0);
    let mantissa = m.fma(part, slope, one);
    // In two steps, so that a subnormal result is rounded once.
    let turned = m.bits(turned);
    let bias = m.word(WHOLE_BITS);
    let exponent = m.word_sub(turned, bias);
    let first = m.shift_right(exponent, 1);
    let second = m.word_sub(exponent, first);
    let [first, second] = [first, second].map(|exponent| {
        let bias = m.word(127);
        let biased = m.word_add(exponent, bias);
        let bits = m.shift_left(biased, 23);
        m.float_of(bits)
    });
    let scaled = m.mul(mantissa, first);
    let scaled = m.mul(scaled, second);
    let is_number = m.equal(x, x);
    m.choose(is_number, scaled, x)
}

/// The logarithm to base 2.
pub(crate) fn lg2<M: Machine>(m: &mut M, x: M::Float) -> M::Float {
    let least = m.float(f32::MIN_POSITIVE);
    let is_small = m.less(x, least);
    let scale = m.float(8_388_608.0);
    let scaled = m.mul(x, scale);
    let normal = m.choose(is_small, scaled, x);
    let [offset, zero] = [-23.0, 0.0].map(|value| m.float(value));
    let offset = m.choose(is_small, offset, zero);
    // To between the roots of 1/2 and 2.
    let root = m.word(0x3f35_04f3);
    let bits = m.bits(normal);
    let from_root = m.word_sub(bits, root);
    let exponent = m.shift_right(from_root, 23);
    let fraction = m.word(0x007f_ffff);
    let fraction = m.word_and(from_root, fraction);
    let mantissa = m.word_add(fraction, root);
    let mantissa = m.float_of(mantissa);
    let bias = m.word(WHOLE_BITS);
    let whole = m.word_add(exponent, bias);
    let whole = m.float_of(whole);
    let magic = m.float(WHOLE);
    let whole = m.sub(whole, magic);
    let whole = m.add(whole, offset);
    // By the series of the hyperbolic tangent's inverse.
    let [one, two] = [1.0, 2.0].map(|value| m.float(value));
    let above = m.sub(mantissa, one);
    let below = m.add(above, two);
    let ratio = m.div(above, below);
    let square = m.mul(ratio, ratio);
    let series = polynomial(m, square, &[4.319_196e-1, 5.767_077e-1, 9.617_989e-1, 2.885_39]);
    let result = m.fma(ratio, series, whole);
    let [infinity, nan, negative] = [f32::INFINITY, f32::NAN, f32::NEG_INFINITY].map(|value| m.float(value));
    let is_finite = m.less(x, infinity);
    let result = m.choose(is_finite, result, x);
    let is_negative = m.less(x, zero);
    let result = m.choose(is_negative, nan, result);
    let is_zero = m.equal(x, zero);
    m.choose(is_zero, negative, result)
}

/// Which function of the circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Circle {
    Sine,
    Cosine,
}

/// The sine or the cosine.
pub(crate) fn circle<M: Machine>(m: &mut M, circle: Circle, x: M::Float) -> M::Float {
    let [per_quarter, magic] = [std::f32::consts::FRAC_2_PI, WHOLE].map(|value| m.float(value));
    let turned = m.fma(x, per_quarter, magic);
    let quarters = m.sub(turned, magic);
    // A quarter of the circle in three parts of one sign, so that zero keeps its own. The first product is taken away without error.
    let mut rest = x;
    for part in [-f32::from_bits(0x3fc9_0fda), -7.549_789_4e-8, -5.390_302_5e-15] {
        let part = m.float(part);
        rest = m.fma(quarters, part, rest);
    }
    // Beyond, something on the circle; of what is not finite, NaN.
    let size = m.abs(x);
    let most = m.float(4_194_304.0);
    let is_near = m.less(size, most);
    let nothing = m.sub(x, x);
    let rest = m.choose(is_near, rest, nothing);
    let square = m.mul(rest, rest);
    let [one, half] = [1.0, -0.5].map(|value| m.float(value));
    let series = polynomial(m, square, &[-1.958_738_7e-4, 8.332_746e-3, -1.666_666_4e-1]);
    let factor = m.fma(square, series, one);
    let sine = m.mul(rest, factor);
    let series = polynomial(m, square, &[2.454_743_7e-5, -1.388_83e-3, 4.166_666_4e-2]);
    let start = m.fma(square, half, one);
    let fourth = m.mul(square, square);
    let cosine = m.fma(fourth, series, start);
    let mut quarter = m.bits(turned);
    if circle == Circle::Cosine {
        let next = m.word(1);
        quarter = m.word_add(quarter, next);
    }
    let is_odd = m.is_odd(quarter);
    let value = m.choose(is_odd, cosine, sine);
    let second = m.word(2);
    let is_negative = m.word_and(quarter, second);
    let sign = m.shift_left(is_negative, 30);
    let bits = m.bits(value);
    let bits = m.word_xor(bits, sign);
    m.float_of(bits)
}

/// The hyperbolic tangent.
pub(crate) fn tanh<M: Machine>(m: &mut M, x: M::Float) -> M::Float {
    let square = m.mul(x, x);
    let series = polynomial(
        m,
        square,
        &[-6.096_708e-3, 2.099_717_4e-2, -5.385_090_8e-2, 1.333_277e-1, -3.333_332_8e-1],
    );
    let [one, two] = [1.0, 2.0].map(|value| m.float(value));
    let factor = m.fma(square, series, one);
    let near = m.mul(x, factor);
    let size = m.abs(x);
    let scale = m.float(2.0 * std::f32::consts::LOG2_E);
    let power = m.mul(size, scale);
    let power = ex2(m, power);
    let above = m.add(power, one);
    let rest = m.div(two, above);
    let far = m.sub(one, rest);
    let sign = m.word(0x8000_0000);
    let bits = m.bits(x);
    let sign = m.word_and(bits, sign);
    let far = m.bits(far);
    let far = m.word_xor(far, sign);
    let far = m.float_of(far);
    let limit = m.float(0.625);
    let is_near = m.less(size, limit);
    m.choose(is_near, near, far)
}

/// The inverse of the square root.
pub(crate) fn rsqrt<M: Machine>(m: &mut M, x: M::Float) -> M::Float {
    let root = m.sqrt(x);
    let one = m.float(1.0);
    m.div(one, root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::machine::Here;

    /// The greatest error over many floats of a range, as `measure` counts it.
    fn worst(from: f32, to: f32, step: u32, mut measure: impl FnMut(f32) -> f64) -> f64 {
        (from.to_bits()..=to.to_bits())
            .step_by(step as usize)
            .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
            .map(&mut measure)
            .fold(0.0, f64::max)
    }

    fn relative(got: f32, exact: f64) -> f64 {
        let least = f64::from(f32::MIN_POSITIVE);
        (f64::from(got) - exact).abs() / exact.abs().max(least)
    }

    #[test]
    fn powers_of_two_are_within_one_and_a_half_units() {
        let error = |x: f32| relative(ex2(&mut Here, x), f64::from(x).exp2());
        let error = worst(1e-9, 127.9, 977, error);
        assert!(error < 1.5 * 2.0_f64.powi(-23), "{error:e}");
        for exponent in -149..=127 {
            let exact = (f64::from(exponent)).exp2() as f32;
            assert_eq!(ex2(&mut Here, exponent as f32), exact);
        }
    }

    #[test]
    fn logarithms_are_within_the_bound_of_ptx() {
        let error = |x: f32| {
            let exact = f64::from(x.abs()).log2();
            let error = (f64::from(lg2(&mut Here, x.abs())) - exact).abs();
            error.min(error / exact.abs())
        };
        let error = worst(f32::from_bits(1), f32::MAX, 30011, error);
        assert!(error < 2.0_f64.powi(-22), "{error:e}");
        for exponent in -149..=127 {
            let x = (f64::from(exponent)).exp2() as f32;
            assert_eq!(lg2(&mut Here, x), exponent as f32);
        }
    }

    #[test]
    fn circles_are_within_the_bound_of_ptx_up_to_where_floats_are_whole() {
        for (function, exact) in
            [(Circle::Sine, f64::sin as fn(f64) -> f64), (Circle::Cosine, f64::cos as fn(f64) -> f64)]
        {
            let error = |x: f32| (f64::from(circle(&mut Here, function, x)) - exact(f64::from(x))).abs();
            let near = worst(1e-20, 10_000.0, 10007, error);
            assert!(near < 2.0_f64.powi(-23), "{function:?} {near:e}");
            let far = worst(10_000.0, 4_194_303.0, 1009, error);
            assert!(far < 2.0_f64.powi(-21), "{function:?} {far:e}");
            let size = |x: f32| f64::from(circle(&mut Here, function, x)).abs();
            assert!(worst(4_194_304.0, f32::MAX, 10007, size) <= 1.0);
        }
        assert!(circle(&mut Here, Circle::Sine, -0.0).is_sign_negative());
        assert!(circle(&mut Here, Circle::Cosine, f32::INFINITY).is_nan());
    }

    #[test]
    fn tangents_are_within_four_units() {
        let error = |x: f32| relative(tanh(&mut Here, x), f64::from(x).tanh());
        let error = worst(1e-30, 100.0, 7919, error);
        assert!(error < 4.0 * 2.0_f64.powi(-23), "{error:e}");
    }

    #[test]
    fn inverse_roots_are_within_the_bound_of_ptx() {
        let error = |x: f32| relative(rsqrt(&mut Here, x.abs()), f64::from(x.abs()).sqrt().recip());
        let error = worst(f32::from_bits(1), f32::MAX, 30011, error);
        assert!(error < 2.0_f64.powf(-22.9), "{error:e}");
    }
}
