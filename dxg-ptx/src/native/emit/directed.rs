//! Sums and products of 32-bit floats that are not rounded to nearest, or that are rounded again.
//!
//! *How.* In 64 bits a product is exact, and a sum is known with its error. Rounded to nearest, the result is either the one that is
//! wanted or the next one to it; the sign of what is missing says which.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;

use super::Emitter;
use crate::ir::AluOp;
use crate::ir::Round;

impl Emitter<'_, '_> {
    /// The result, or nothing if it is not emitted inline.
    pub(super) fn directed(&mut self, op: AluOp, round: Round, operands: &[Value]) -> Option<Value> {
        if matches!(round, Round::Nearest | Round::NearestAway) {
            return None;
        }
        let wide: Vec<Value> =
            operands.iter().map(|&operand| self.b.ins().fpromote(types::F64, operand)).collect();
        let (exact, error) = match (op, wide.as_slice()) {
            (AluOp::Add(_), &[a, b]) => self.sum(a, b, round),
            (AluOp::Sub(_), &[a, b]) => {
                let b = self.b.ins().fneg(b);
                self.sum(a, b, round)
            }
            (AluOp::FMul | AluOp::Mul(_), &[a, b]) => (self.b.ins().fmul(a, b), None),
            (AluOp::Fma, &[a, b, c]) => {
                let product = self.b.ins().fmul(a, b);
                self.sum(product, c, round)
            }
            _ => return None,
        };
        let (bits, missing) = self.demoted(exact, error);
        let zero = self.constant(0, types::F64);
        let [less, more] = [FloatCC::LessThan, FloatCC::GreaterThan]
            .map(|condition| self.b.ins().fcmp(condition, missing, zero));
        // The bits of the next float down are one more for a negative one and one less for a positive one.
        let sign = self.b.ins().sshr_imm_u(bits, 31);
        let away = self.b.ins().bor_imm_u(sign, 1);
        let toward = self.b.ins().ineg(away);
        let (is_off, step) = match round {
            Round::Down => (less, toward),
            Round::Up => (more, away),
            _ => {
                let is_negative = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, bits, 0);
                let is_off = self.b.ins().select(is_negative, more, less);
                let shorter = self.b.ins().iconst(types::I32, -1);
                (is_off, shorter)
            }
        };
        let next = self.b.ins().iadd(bits, step);
        let next = self.past_zero(bits, next, round);
        let chosen = self.b.ins().select(is_off, next, bits);
        Some(self.b.ins().bitcast(types::F32, MemFlagsData::new(), chosen))
    }

    /// `a * b + c` rounded to odd: what is nearest to it in a narrower format is nearest to the exact result.
    pub(super) fn fma_to_odd(&mut self, a: Value, b: Value, c: Value) -> Value {
        let [a, b, c] = [a, b, c].map(|value| self.b.ins().fpromote(types::F64, value));
        let product = self.b.ins().fmul(a, b);
        let (exact, error) = self.sum(product, c, Round::Nearest);
        let (bits, missing) = self.demoted(exact, error);
        let zero = self.constant(0, types::F64);
        let is_off = self.b.ins().fcmp(FloatCC::OrderedNotEqual, missing, zero);
        let even = self.b.ins().bnot(bits);
        let even = self.b.ins().band_imm_u(even, 1);
        // One up in magnitude if what is missing has the sign of the result, else one down.
        let missing = self.b.ins().bitcast(types::I64, MemFlagsData::new(), missing);
        let sign = self.b.ins().ushr_imm_u(missing, 32);
        let sign = self.b.ins().ireduce(types::I32, sign);
        let differs = self.b.ins().bxor(sign, bits);
        let differs = self.b.ins().sshr_imm_u(differs, 31);
        let away = self.b.ins().bor_imm_u(differs, 1);
        let step = self.b.ins().imul(away, even);
        let next = self.b.ins().iadd(bits, step);
        let odd = self.b.ins().select(is_off, next, bits);
        self.b.ins().bitcast(types::F32, MemFlagsData::new(), odd)
    }

    /// The bits of the nearest 32-bit float, and what it is less than the exact value.
    fn demoted(&mut self, exact: Value, error: Option<Value>) -> (Value, Value) {
        let nearest = self.b.ins().fdemote(types::F32, exact);
        let back = self.b.ins().fpromote(types::F64, nearest);
        let mut missing = self.b.ins().fsub(exact, back);
        if let Some(error) = error {
            missing = self.b.ins().fadd(missing, error);
        }
        (self.b.ins().bitcast(types::I32, MemFlagsData::new(), nearest), missing)
    }

    /// The float next to zero, if that is where a step starts.
    fn past_zero(&mut self, bits: Value, next: Value, round: Round) -> Value {
        let least = match round {
            Round::Down => 0x8000_0001,
            Round::Up => 1,
            // Nothing is nearer to zero.
            _ => return next,
        };
        let magnitude = self.b.ins().band_imm_u(bits, 0x7fff_ffff);
        let is_zero = self.b.ins().icmp_imm_u(IntCC::Equal, magnitude, 0);
        let least = self.constant(least, types::I32);
        self.b.ins().select(is_zero, least, next)
    }

    /// The nearest sum, with the sign that a zero has in this rounding, and its error.
    fn sum(&mut self, a: Value, b: Value, round: Round) -> (Value, Option<Value>) {
        let sum = self.b.ins().fadd(a, b);
        let part = self.b.ins().fsub(sum, a);
        let rest = self.b.ins().fsub(sum, part);
        let first = self.b.ins().fsub(a, rest);
        let second = self.b.ins().fsub(b, part);
        let error = self.b.ins().fadd(first, second);
        if round != Round::Down {
            return (sum, Some(error));
        }
        // Zero is positive only as the sum of positive zeros.
        let zero = self.constant(0, types::F64);
        let is_zero = self.b.ins().fcmp(FloatCC::Equal, sum, zero);
        let [a, b] = [a, b].map(|value| self.b.ins().bitcast(types::I64, MemFlagsData::new(), value));
        let signs = self.b.ins().bor(a, b);
        let signs = self.b.ins().bitcast(types::F64, MemFlagsData::new(), signs);
        let signed = self.b.ins().fcopysign(zero, signs);
        (self.b.ins().select(is_zero, signed, sum), Some(error))
    }
}
