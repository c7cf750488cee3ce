//! Single operations on 32-bit values as `semantics` asks for them: what it computes, native code computes the same way, for one
//! lane or for four.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;

use super::Emitter;
use crate::ir::AluOp;
use crate::semantics::machine::Machine;

impl Machine for Emitter<'_, '_> {
    type Float = Value;
    type Word = Value;
    type Truth = Value;

    fn float(&mut self, value: f32) -> Value {
        self.constant(u64::from(value.to_bits()), types::F32)
    }

    fn word(&mut self, bits: u32) -> Value {
        self.constant(u64::from(bits), types::I32)
    }

    fn bits(&mut self, value: Value) -> Value {
        let ty = self.machine(types::I32);
        self.b.ins().bitcast(ty, MemFlagsData::new(), value)
    }

    fn float_of(&mut self, bits: Value) -> Value {
        let ty = self.machine(types::F32);
        self.b.ins().bitcast(ty, MemFlagsData::new(), bits)
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fadd(a, b)
    }

    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fsub(a, b)
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fmul(a, b)
    }

    fn div(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fdiv(a, b)
    }

    fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.b.ins().fma(a, b, c)
    }

    fn sqrt(&mut self, a: Value) -> Value {
        self.b.ins().sqrt(a)
    }

    fn abs(&mut self, a: Value) -> Value {
        self.b.ins().fabs(a)
    }

    fn less(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fcmp(FloatCC::LessThan, a, b)
    }

    fn equal(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fcmp(FloatCC::Equal, a, b)
    }

    fn choose(&mut self, truth: Value, yes: Value, no: Value) -> Value {
        Emitter::choose(self, truth, yes, no)
    }

    fn choose_word(&mut self, truth: Value, yes: Value, no: Value) -> Value {
        Emitter::choose(self, truth, yes, no)
    }

    fn word_add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().iadd(a, b)
    }

    fn word_sub(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().isub(a, b)
    }

    fn word_and(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().band(a, b)
    }

    fn word_or(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().bor(a, b)
    }

    fn word_xor(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().bxor(a, b)
    }

    fn shift_left(&mut self, a: Value, by: u32) -> Value {
        self.shift_by(AluOp::Shl, false, a, by)
    }

    fn shift_right(&mut self, a: Value, by: u32) -> Value {
        self.shift_by(AluOp::Shr, true, a, by)
    }

    fn is_odd(&mut self, a: Value) -> Value {
        let [one, zero] = [1, 0].map(|bits| self.constant(bits, types::I32));
        let low = self.b.ins().band(a, one);
        self.b.ins().icmp(IntCC::NotEqual, low, zero)
    }
}
