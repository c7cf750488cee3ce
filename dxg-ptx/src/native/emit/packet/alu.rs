//! Which pure instructions four lanes do at once: those whose code is the same for a vector as for a number.

use cranelift_codegen::ir::types;

use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Carry;
use crate::ir::Compare;
use crate::ir::Extra;
use crate::ir::Guard;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Operand;
use crate::ir::Part;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::native::emit::Emitter;
use crate::native::emit::values::Extend;

const fn is_integer_word(ty: Scalar) -> bool {
    matches!(ty, Scalar::B32 | Scalar::U32 | Scalar::S32)
}

const fn is_word(ty: Scalar) -> bool {
    is_integer_word(ty) || matches!(ty, Scalar::F32)
}

impl Emitter<'_, '_> {
    /// Whether an instruction is emitted for four lanes at once.
    pub(super) fn is_wide_alu(&self, alu: &Alu, guard: Option<Guard>) -> bool {
        let is_half_cvt = is_half_cvt(alu);
        let has_vector =
            |reg: u32| self.is_word_register(reg) || is_half_cvt && self.types[reg as usize] == types::I16;
        let fits = |operand: &Operand| match operand {
            Operand::Imm(_) => true,
            Operand::Reg(reg) => has_vector(reg.0),
            Operand::Special(special) => self.is_same_operand(Operand::Special(*special)),
        };
        let fits = alu.src.iter().flatten().all(fits)
            && [alu.dst, alu.dst2]
                .iter()
                .flatten()
                .all(|reg| has_vector(reg.0) && self.shape(*reg).stride().is_none())
            && guard.is_none_or(|guard| self.is_word_register(guard.reg.0));
        fits && self.has_wide_form(alu)
    }

    /// Whether a register has 32 bits or is a predicate.
    fn is_word_register(&self, reg: u32) -> bool {
        let ty = self.types[reg as usize];
        ty.bits() == 32 || self.unit.function.regs[reg as usize] == crate::ir::RegClass::Pred
    }

    fn has_wide_form(&self, alu: &Alu) -> bool {
        let plain = alu.mods == Mods::default();
        let is_float = alu.ty == Scalar::F32;
        let is_integer = is_integer_word(alu.ty) && plain;
        if matches!(alu.ty, Scalar::F16x2 | Scalar::BF16x2) {
            return plain && alu.round == Round::Nearest && has_pair_form(alu);
        }
        let no_carry = |carry: Carry| carry == Carry::default();
        let float_mods = alu.mods.0 & !(Mods::FTZ.0 | Mods::SAT.0) == 0 && alu.round == Round::Nearest;
        match alu.op {
            AluOp::Mov => is_word(alu.ty) || alu.ty == Scalar::Pred,
            AluOp::Selp => is_word(alu.ty) || alu.ty == Scalar::Pred,
            AluOp::And | AluOp::Or | AluOp::Xor | AluOp::Not => is_integer || alu.ty == Scalar::Pred,
            AluOp::Setp(compare, _) => is_word(alu.ty) && has_vector_form(compare, alu.ty),
            AluOp::Set(compare, _, to) => is_word(alu.ty) && is_word(to) && has_vector_form(compare, alu.ty),
            AluOp::Add(carry) | AluOp::Sub(carry) => {
                (is_integer && no_carry(carry)) || (is_float && float_mods)
            }
            AluOp::Mul(Part::Low) => is_integer || (is_float && float_mods),
            AluOp::Mad(Part::Low, carry) => is_integer && no_carry(carry),
            AluOp::FMul => is_float && float_mods,
            AluOp::Fma => is_float && float_mods && self.has_fma,
            AluOp::Neg | AluOp::Abs => is_integer || (is_float && float_mods),
            AluOp::Min | AluOp::Max => (is_integer || (is_float && float_mods)) && self.has_round,
            AluOp::Sad | AluOp::Lop3(_) => is_integer,
            AluOp::Shl | AluOp::Shr => is_integer && matches!(alu.src[1], Some(Operand::Imm(_))),
            AluOp::Sqrt | AluOp::Rcp => is_float && float_mods,
            AluOp::Div => is_float && float_mods,
            AluOp::Rsqrt | AluOp::Sin | AluOp::Cos | AluOp::Lg2 | AluOp::Ex2 | AluOp::Tanh => {
                is_float && float_mods && self.has_fma
            }
            AluOp::Cvt { from, .. } => {
                let mods =
                    alu.mods.0 & !Mods::FTZ.0 == 0 && alu.round != Round::NearestAway && self.has_round;
                match (from, alu.ty) {
                    (Scalar::F32, Scalar::F32 | Scalar::S32 | Scalar::U32) => mods,
                    (Scalar::S32 | Scalar::U32, Scalar::F32) => mods && alu.round == Round::Nearest,
                    _ if is_half_cvt(alu) => mods,
                    (from, to) => is_integer_word(from) && is_integer_word(to) && plain,
                }
            }
            _ => false,
        }
    }

    /// Emits it. Whether it could be.
    pub(super) fn wide_alu(&mut self, alu: &Alu, guard: Option<Guard>) -> bool {
        self.guard_holds = guard.map(|guard| self.wide_operand(Operand::Reg(guard.reg), types::I8));
        let Some(value) = self.inline_alu(alu, guard) else { return false };
        if let (Some(value), Some(dst)) = (value, alu.dst) {
            self.write(dst, value, Extend::of(alu.ty), guard);
        }
        true
    }
}

/// Whether an instruction on two halves is one on 32-bit floats for each.
fn has_pair_form(alu: &Alu) -> bool {
    match alu.op {
        AluOp::Add(carry) | AluOp::Sub(carry) => carry == Carry::default(),
        AluOp::FMul | AluOp::Mul(Part::Low) | AluOp::Min | AluOp::Max | AluOp::Neg | AluOp::Abs => true,
        AluOp::Fma => alu.ty == Scalar::F16x2,
        AluOp::CvtPair { from: Scalar::F32, extra: Extra::None } => true,
        _ => false,
    }
}

/// Whether it converts between a 32-bit and a 16-bit float, rounding to nearest.
fn is_half_cvt(alu: &Alu) -> bool {
    let AluOp::Cvt { from, integral: Integral::No } = alu.op else { return false };
    match (from, alu.ty) {
        (Scalar::F16 | Scalar::BF16, Scalar::F32) => true,
        (Scalar::F32, Scalar::F16 | Scalar::BF16) => alu.round == Round::Nearest,
        _ => false,
    }
}

/// Whether the comparison is one of the processor's for vectors.
const fn has_vector_form(compare: Compare, ty: Scalar) -> bool {
    !matches!(ty, Scalar::F32) || !matches!(compare, Compare::Ne | Compare::Equ)
}
