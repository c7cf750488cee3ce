//! Single operations on 32-bit values, for sequences that the interpreter computes and native code emits.

/// Who does single operations on 32-bit values.
pub(crate) trait Machine {
    /// A 32-bit float.
    type Float: Copy;
    /// 32 bits.
    type Word: Copy;
    /// The outcome of a comparison.
    type Truth: Copy;

    fn float(&mut self, value: f32) -> Self::Float;
    fn word(&mut self, bits: u32) -> Self::Word;
    fn bits(&mut self, value: Self::Float) -> Self::Word;
    fn float_of(&mut self, bits: Self::Word) -> Self::Float;
    fn add(&mut self, a: Self::Float, b: Self::Float) -> Self::Float;
    fn sub(&mut self, a: Self::Float, b: Self::Float) -> Self::Float;
    fn mul(&mut self, a: Self::Float, b: Self::Float) -> Self::Float;
    fn div(&mut self, a: Self::Float, b: Self::Float) -> Self::Float;
    /// `a * b + c`, rounded once.
    fn fma(&mut self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    fn sqrt(&mut self, a: Self::Float) -> Self::Float;
    fn abs(&mut self, a: Self::Float) -> Self::Float;
    fn less(&mut self, a: Self::Float, b: Self::Float) -> Self::Truth;
    fn equal(&mut self, a: Self::Float, b: Self::Float) -> Self::Truth;
    fn choose(&mut self, truth: Self::Truth, yes: Self::Float, no: Self::Float) -> Self::Float;
    fn choose_word(&mut self, truth: Self::Truth, yes: Self::Word, no: Self::Word) -> Self::Word;
    fn word_add(&mut self, a: Self::Word, b: Self::Word) -> Self::Word;
    fn word_sub(&mut self, a: Self::Word, b: Self::Word) -> Self::Word;
    fn word_and(&mut self, a: Self::Word, b: Self::Word) -> Self::Word;
    fn word_or(&mut self, a: Self::Word, b: Self::Word) -> Self::Word;
    fn word_xor(&mut self, a: Self::Word, b: Self::Word) -> Self::Word;
    fn shift_left(&mut self, a: Self::Word, by: u32) -> Self::Word;
    /// Copies of the sign come in.
    fn shift_right(&mut self, a: Self::Word, by: u32) -> Self::Word;
    /// Whether the lowest bit is set.
    fn is_odd(&mut self, a: Self::Word) -> Self::Truth;
}

/// The host itself.
pub(crate) struct Here;

impl Machine for Here {
    type Float = f32;
    type Word = u32;
    type Truth = bool;

    fn float(&mut self, value: f32) -> f32 {
        value
    }

    fn word(&mut self, bits: u32) -> u32 {
        bits
    }

    fn bits(&mut self, value: f32) -> u32 {
        value.to_bits()
    }

    fn float_of(&mut self, bits: u32) -> f32 {
        f32::from_bits(bits)
    }

    fn add(&mut self, a: f32, b: f32) -> f32 {
        a + b
    }

    fn sub(&mut self, a: f32, b: f32) -> f32 {
        a - b
    }

    fn mul(&mut self, a: f32, b: f32) -> f32 {
        a * b
    }

    fn div(&mut self, a: f32, b: f32) -> f32 {
        a / b
    }

    fn fma(&mut self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    fn sqrt(&mut self, a: f32) -> f32 {
        a.sqrt()
    }

    fn abs(&mut self, a: f32) -> f32 {
        a.abs()
    }

    fn less(&mut self, a: f32, b: f32) -> bool {
        a < b
    }

    fn equal(&mut self, a: f32, b: f32) -> bool {
        a == b
    }

    fn choose(&mut self, truth: bool, yes: f32, no: f32) -> f32 {
        if truth { yes } else { no }
    }

    fn choose_word(&mut self, truth: bool, yes: u32, no: u32) -> u32 {
        if truth { yes } else { no }
    }

    fn word_add(&mut self, a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }

    fn word_sub(&mut self, a: u32, b: u32) -> u32 {
        a.wrapping_sub(b)
    }

    fn word_and(&mut self, a: u32, b: u32) -> u32 {
        a & b
    }

    fn word_or(&mut self, a: u32, b: u32) -> u32 {
        a | b
    }

    fn word_xor(&mut self, a: u32, b: u32) -> u32 {
        a ^ b
    }

    fn shift_left(&mut self, a: u32, by: u32) -> u32 {
        a << by
    }

    fn shift_right(&mut self, a: u32, by: u32) -> u32 {
        (a.cast_signed() >> by).cast_unsigned()
    }

    fn is_odd(&mut self, a: u32) -> bool {
        a & 1 == 1
    }
}
