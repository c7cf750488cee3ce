//! Instructions on 16-bit floats, alone and in pairs.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::types;

use super::Emitter;
use super::types::integer;
use super::values::Extend;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Carry;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::semantics::half;
use crate::semantics::half::Half;

/// The format of a value of 16 bits.
pub(super) const fn half_of(ty: Scalar) -> Option<Half> {
    match ty {
        Scalar::F16 => Some(Half::F16),
        Scalar::BF16 => Some(Half::BF16),
        _ => None,
    }
}

/// The format of each of two values in 32 bits.
const fn pair_of(ty: Scalar) -> Option<Half> {
    match ty {
        Scalar::F16x2 => Some(Half::F16),
        Scalar::BF16x2 => Some(Half::BF16),
        _ => None,
    }
}

impl Emitter<'_, '_> {
    /// The result, or nothing if it is not emitted inline.
    pub(super) fn half(&mut self, alu: &Alu) -> Option<Value> {
        if alu.mods.0 != 0 || alu.round != Round::Nearest {
            return None;
        }
        let pair = pair_of(alu.ty);
        let half = pair.or(half_of(alu.ty))?;
        let ty = integer(alu.ty);
        let sign = if pair.is_some() { 0x8000_8000 } else { 0x8000 };
        let count = match alu.op {
            AluOp::Neg => {
                let a = self.src(alu, 0);
                let sign = self.constant(sign, ty);
                return Some(self.b.ins().bxor(a, sign));
            }
            AluOp::Abs => {
                let a = self.src(alu, 0);
                let rest = self.constant(!sign, ty);
                return Some(self.b.ins().band(a, rest));
            }
            AluOp::Add(carry) | AluOp::Sub(carry) if carry == Carry::default() => 2,
            AluOp::FMul | AluOp::Mul(_) | AluOp::Min | AluOp::Max => 2,
            AluOp::Fma => 3,
            AluOp::Mad(_, carry) if carry == Carry::default() => 3,
            _ => return None,
        };
        let operands: Vec<Value> = (0..count)
            .map(|index| {
                let value = self.src(alu, index);
                self.as_word(value)
            })
            .collect();
        let low = self.half_lane(alu, half, &operands)?;
        if pair.is_none() {
            return Some(self.convert(low, ty, Extend::Zero));
        }
        let high: Vec<Value> =
            operands.iter().map(|&operand| self.shift_by(AluOp::Shr, false, operand, 16)).collect();
        let high = self.half_lane(alu, half, &high)?;
        Some(self.pair(low, high))
    }

    /// One value of each operand, in the lower half of what is given; the upper half is anything.
    fn half_lane(&mut self, alu: &Alu, half: Half, operands: &[Value]) -> Option<Value> {
        let wide: Vec<Value> = operands
            .iter()
            .map(|&operand| {
                let low = self.lower_half(operand);
                half::widen(self, half, low)
            })
            .collect();
        let result = match (alu.op, wide.as_slice()) {
            (AluOp::Add(_), &[a, b]) => self.b.ins().fadd(a, b),
            (AluOp::Sub(_), &[a, b]) => self.b.ins().fsub(a, b),
            (AluOp::FMul | AluOp::Mul(_), &[a, b]) => self.b.ins().fmul(a, b),
            (AluOp::Fma | AluOp::Mad(..), &[a, b, c]) => match half {
                Half::F16 => half::fma(self, a, b, c),
                Half::BF16 => self.fma_to_odd(a, b, c),
            },
            _ => self.compute(alu, &wide)?,
        };
        Some(half::narrow(self, half, result))
    }

    /// 16 or 32 bits as 32; those of four lanes are that long already.
    fn as_word(&mut self, value: Value) -> Value {
        if self.is_wide() { value } else { self.convert(value, types::I32, Extend::Zero) }
    }

    fn lower_half(&mut self, word: Value) -> Value {
        let mask = self.constant(0xffff, types::I32);
        self.b.ins().band(word, mask)
    }

    fn pair(&mut self, low: Value, high: Value) -> Value {
        let low = self.lower_half(low);
        let high = self.shift_by(AluOp::Shl, false, high, 16);
        self.b.ins().bor(low, high)
    }

    /// The 32-bit float of an operand of 16 bits.
    pub(super) fn widened(&mut self, alu: &Alu, index: usize, half: Half) -> Value {
        let value = self.src_as(alu, index, types::I16);
        let word = self.as_word(value);
        half::widen(self, half, word)
    }

    /// `cvt` between a 32-bit and a 16-bit float.
    pub(super) fn half_cvt(&mut self, alu: &Alu, from: Scalar, integral: Integral) -> Option<Value> {
        if alu.mods.0 & !Mods::FTZ.0 != 0 || integral == Integral::Yes {
            return None;
        }
        let flushes = alu.mods.has(Mods::FTZ);
        match (half_of(from), half_of(alu.ty)) {
            (Some(half), None) if alu.ty == Scalar::F32 => {
                let value = self.widened(alu, 0, half);
                Some(if flushes { self.flush(value) } else { value })
            }
            (None, Some(half)) if from == Scalar::F32 && alu.round == Round::Nearest => {
                let mut value = self.src_as(alu, 0, types::F32);
                if flushes {
                    value = self.flush(value);
                }
                let word = half::narrow(self, half, value);
                Some(if self.is_wide() { word } else { self.b.ins().ireduce(types::I16, word) })
            }
            _ => None,
        }
    }

    /// Two 32-bit floats as a pair: the first one above.
    pub(super) fn half_pair(&mut self, alu: &Alu, from: Scalar) -> Option<Value> {
        let half = pair_of(alu.ty)?;
        if from != Scalar::F32 || alu.mods.0 != 0 || alu.round != Round::Nearest {
            return None;
        }
        let [high, low] = [0, 1].map(|index| {
            let value = self.src_as(alu, index, types::F32);
            half::narrow(self, half, value)
        });
        Some(self.pair(low, high))
    }
}
