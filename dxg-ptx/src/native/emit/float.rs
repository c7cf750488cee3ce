//! Instructions on 32- and 64-bit floats.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;

use super::Emitter;
use crate::ir::Accuracy;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::semantics::approximate;
use crate::semantics::approximate::Circle;

impl Emitter<'_, '_> {
    /// A 32-bit float with zero in place of a subnormal.
    pub(super) fn flush(&mut self, value: Value) -> Value {
        let ty = self.type_of(value);
        let int = self.machine(types::I32);
        let bits = self.b.ins().bitcast(int, MemFlagsData::new(), value);
        let [exponents, signs, zero] = [0x7f80_0000, 0x8000_0000, 0].map(|word| self.constant(word, int));
        let exponent = self.b.ins().band(bits, exponents);
        let is_small = self.b.ins().icmp(IntCC::Equal, exponent, zero);
        let sign = self.b.ins().band(bits, signs);
        let flushed = self.choose(is_small, sign, bits);
        self.b.ins().bitcast(ty, MemFlagsData::new(), flushed)
    }

    /// The result, or nothing if it is not emitted inline.
    pub(super) fn float(&mut self, alu: &Alu) -> Option<Value> {
        let others = Mods(!(Mods::FTZ.0 | Mods::SAT.0));
        let is_directed = alu.round != Round::Nearest;
        if alu.mods.0 & others.0 != 0 || is_directed && alu.ty != Scalar::F32 {
            return None;
        }
        let is_flushed = alu.mods.has(Mods::FTZ) && alu.ty == Scalar::F32;
        let count = match alu.op {
            AluOp::Add(_) | AluOp::Sub(_) | AluOp::FMul | AluOp::Min | AluOp::Max => 2,
            AluOp::Mul(_) => 2,
            AluOp::Div => 2,
            AluOp::Fma if self.has_fma => 3,
            AluOp::Abs | AluOp::Neg => 1,
            AluOp::Sqrt | AluOp::Rcp | AluOp::Rsqrt => 1,
            AluOp::Sin | AluOp::Cos | AluOp::Lg2 | AluOp::Ex2 | AluOp::Tanh if self.has_fma => 1,
            _ => return None,
        };
        // Approximate functions of doubles are rough by definition; `semantics` knows how.
        if alu.ty == Scalar::F64 && alu.accuracy != Accuracy::Exact {
            return None;
        }
        if alu.op == AluOp::Rsqrt && alu.ty == Scalar::F64 {
            return None;
        }
        let mut operands = Vec::with_capacity(3);
        for index in 0..count {
            let value = self.src(alu, index);
            operands.push(if is_flushed { self.flush(value) } else { value });
        }
        let mut result = match is_directed {
            true => self.directed(alu.op, alu.round, &operands)?,
            false => self.compute(alu, &operands)?,
        };
        if is_flushed && !matches!(alu.op, AluOp::Abs | AluOp::Neg | AluOp::Min | AluOp::Max) {
            result = self.flush(result);
        }
        if alu.mods.has(Mods::SAT) {
            result = self.saturate(result);
        }
        Some(result)
    }

    /// The nearest result.
    pub(super) fn compute(&mut self, alu: &Alu, operands: &[Value]) -> Option<Value> {
        Some(match (alu.op, operands) {
            (AluOp::Add(_), &[a, b]) => self.b.ins().fadd(a, b),
            (AluOp::Sub(_), &[a, b]) => self.b.ins().fsub(a, b),
            (AluOp::FMul | AluOp::Mul(_), &[a, b]) => self.b.ins().fmul(a, b),
            (AluOp::Div, &[a, b]) if alu.accuracy == Accuracy::Approx => {
                // Beyond 2^126 the quotient counts as 0.
                let quotient = self.b.ins().fdiv(a, b);
                let size = self.b.ins().fabs(b);
                let limit = self.constant(0x7e80_0000, types::F32);
                let infinity = self.constant(0x7f80_0000, types::F32);
                let above = self.b.ins().fcmp(FloatCC::GreaterThan, size, limit);
                let finite = self.b.ins().fcmp(FloatCC::LessThan, size, infinity);
                let huge = self.b.ins().band(above, finite);
                let signed = self.signed_zero(b);
                let nothing = self.b.ins().fmul(a, signed);
                self.choose(huge, nothing, quotient)
            }
            (AluOp::Div, &[a, b]) => self.b.ins().fdiv(a, b),
            (AluOp::Fma, &[a, b, c]) => self.b.ins().fma(a, b, c),
            (AluOp::Abs, &[a]) => self.b.ins().fabs(a),
            (AluOp::Neg, &[a]) => self.b.ins().fneg(a),
            (AluOp::Sqrt, &[a]) => self.b.ins().sqrt(a),
            (AluOp::Rcp, &[a]) => {
                let one = self.float_one(a);
                self.b.ins().fdiv(one, a)
            }
            (AluOp::Rsqrt, &[a]) => approximate::rsqrt(self, a),
            (AluOp::Sin, &[a]) => approximate::circle(self, Circle::Sine, a),
            (AluOp::Cos, &[a]) => approximate::circle(self, Circle::Cosine, a),
            (AluOp::Lg2, &[a]) => approximate::lg2(self, a),
            (AluOp::Ex2, &[a]) => approximate::ex2(self, a),
            (AluOp::Tanh, &[a]) => approximate::tanh(self, a),
            (AluOp::Min | AluOp::Max, &[a, b]) => {
                // Where one is no number, the other; -0 is less than 0.
                let least =
                    if alu.op == AluOp::Min { self.b.ins().fmin(a, b) } else { self.b.ins().fmax(a, b) };
                let a_is_nan = self.b.ins().fcmp(FloatCC::Unordered, a, a);
                let b_is_nan = self.b.ins().fcmp(FloatCC::Unordered, b, b);
                let without_b = self.choose(b_is_nan, a, least);
                self.choose(a_is_nan, b, without_b)
            }
            _ => return None,
        })
    }

    /// Zero of the same sign, of 32 bits.
    fn signed_zero(&mut self, value: Value) -> Value {
        let ty = self.type_of(value);
        let int = self.machine(types::I32);
        let bits = self.b.ins().bitcast(int, MemFlagsData::new(), value);
        let signs = self.constant(0x8000_0000, int);
        let sign = self.b.ins().band(bits, signs);
        self.b.ins().bitcast(ty, MemFlagsData::new(), sign)
    }

    fn float_one(&mut self, like: Value) -> Value {
        match self.type_of(like) {
            types::F64 => self.b.ins().f64const(1.0_f64),
            ty => self.constant(u64::from(1.0_f32.to_bits()), ty),
        }
    }

    /// To [0, 1]; what is no number becomes 0.
    pub(super) fn saturate(&mut self, value: Value) -> Value {
        let ty = self.type_of(value);
        let zero = self.constant(0, ty);
        let one = self.float_one(value);
        let is_positive = self.b.ins().fcmp(FloatCC::GreaterThan, value, zero);
        let low = self.choose(is_positive, value, zero);
        let is_below = self.b.ins().fcmp(FloatCC::LessThan, low, one);
        self.choose(is_below, low, one)
    }
}
