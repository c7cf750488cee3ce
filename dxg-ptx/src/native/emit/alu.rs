//! Pure instructions: inline where that is simple, else through the helper that asks `semantics`.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;
use cranelift_codegen::isa::CallConv;

use super::Emitter;
use super::Known;
use super::half::half_of;
use super::types::computed;
use super::types::integer;
use super::values::Extend;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::BoolOp;
use crate::ir::Carry;
use crate::ir::Compare;
use crate::ir::Extra;
use crate::ir::Guard;
use crate::ir::Mods;
use crate::ir::Operand;
use crate::ir::Scalar;
use crate::native::callbacks::Helper;
use crate::native::context::at;

/// The 32- and 64-bit floats, which the processor computes as PTX wants them.
pub(super) const fn is_machine_float(ty: Scalar) -> bool {
    matches!(ty, Scalar::F32 | Scalar::F64)
}

/// Whether all lanes of a value of this type are one integer.
const fn is_plain_integer(ty: Scalar) -> bool {
    matches!(
        ty,
        Scalar::B8
            | Scalar::B16
            | Scalar::B32
            | Scalar::B64
            | Scalar::U8
            | Scalar::U16
            | Scalar::U32
            | Scalar::U64
            | Scalar::S8
            | Scalar::S16
            | Scalar::S32
            | Scalar::S64
    )
}

impl Emitter<'_, '_> {
    pub(super) fn alu(&mut self, alu: &Alu, guard: Option<Guard>) {
        let Some(value) = self.inline_alu(alu, guard) else {
            self.call_alu(alu, guard);
            return;
        };
        if let (Some(value), Some(dst)) = (value, alu.dst) {
            self.write(dst, value, Extend::of(alu.ty), guard);
        }
    }

    /// An operand, in the type in which the instruction computes.
    pub(super) fn src(&mut self, alu: &Alu, index: usize) -> Value {
        let ty = if alu.ty == Scalar::Pred { types::I8 } else { computed(alu.ty) };
        self.src_as(alu, index, ty)
    }

    pub(super) fn src_as(&mut self, alu: &Alu, index: usize, ty: Type) -> Value {
        self.operand(alu.src[index].unwrap_or(Operand::Imm(0)), ty)
    }

    /// Emits an instruction without a call. `Some(None)`: it has written its results itself.
    pub(super) fn inline_alu(&mut self, alu: &Alu, guard: Option<Guard>) -> Option<Option<Value>> {
        if alu.ty == Scalar::Pred {
            return self.predicate(alu).map(Some);
        }
        match alu.op {
            AluOp::Mov => return Some(Some(self.src_as(alu, 0, self.move_type(alu)))),
            AluOp::Selp if alu.ty != Scalar::B128 => {
                let ty = self.move_type(alu);
                let [a, b] = [0, 1].map(|index| self.src_as(alu, index, ty));
                let c = self.src_as(alu, 2, types::I8);
                return Some(Some(self.choose(c, a, b)));
            }
            AluOp::Setp(compare, combine) => {
                return self.setp(alu, (compare, combine), guard).then_some(None);
            }
            AluOp::Set(compare, combine, to) => {
                return self.set(alu, (compare, combine, to), guard).then_some(None);
            }
            AluOp::Cvt { from, integral } => {
                let value = self.cvt(alu, from, integral)?;
                if let Some(dst) = alu.dst {
                    self.write(dst, value, Extend::of(alu.ty), guard);
                }
                return Some(None);
            }
            AluOp::CvtPair { from, extra: Extra::None } => return self.half_pair(alu, from).map(Some),
            AluOp::Add(carry) | AluOp::Sub(carry) | AluOp::Mad(_, carry) if carry != Carry::default() => {
                return None;
            }
            AluOp::And | AluOp::Or | AluOp::Xor | AluOp::Not if alu.ty.is_float() => return None,
            _ => {}
        }
        if is_machine_float(alu.ty) {
            self.float(alu).map(Some)
        } else if is_plain_integer(alu.ty) {
            let (value, ty) = self.integer(alu)?;
            if let Some(dst) = alu.dst {
                self.write(dst, value, Extend::of(ty), guard);
            }
            Some(None)
        } else {
            self.half(alu).map(Some)
        }
    }

    /// The type in which bits are moved: that of the destination if its width fits, so that floats stay floats.
    fn move_type(&self, alu: &Alu) -> Type {
        let ty = integer(alu.ty);
        match alu.dst.map(|dst| self.types[dst.0 as usize]) {
            Some(own) if own.bits() == ty.bits() => own,
            _ => ty,
        }
    }

    fn predicate(&mut self, alu: &Alu) -> Option<Value> {
        let a = self.src(alu, 0);
        Some(match alu.op {
            AluOp::Mov => a,
            AluOp::Not => self.opposite(a),
            AluOp::And => {
                let b = self.src(alu, 1);
                self.b.ins().band(a, b)
            }
            AluOp::Or => {
                let b = self.src(alu, 1);
                self.b.ins().bor(a, b)
            }
            AluOp::Xor => {
                let b = self.src(alu, 1);
                self.b.ins().bxor(a, b)
            }
            AluOp::Selp => {
                let [b, c] = [1, 2].map(|index| self.src(alu, index));
                self.choose(c, a, b)
            }
            _ => return None,
        })
    }

    /// A comparison and its opposite as PTX says: 0 or 1.
    fn compare(&mut self, alu: &Alu, compare: Compare) -> Option<Value> {
        let half = half_of(alu.ty).filter(|_| alu.mods.0 == 0);
        if is_machine_float(alu.ty) || half.is_some() {
            let [mut a, mut b] = [0, 1].map(|index| match half {
                Some(half) => self.widened(alu, index, half),
                None => self.src(alu, index),
            });
            if alu.mods.has(Mods::FTZ) && alu.ty == Scalar::F32 {
                a = self.flush(a);
                b = self.flush(b);
            }
            let condition = match compare {
                Compare::Eq => FloatCC::Equal,
                Compare::Ne => FloatCC::OrderedNotEqual,
                Compare::Lt => FloatCC::LessThan,
                Compare::Le => FloatCC::LessThanOrEqual,
                Compare::Gt => FloatCC::GreaterThan,
                Compare::Ge => FloatCC::GreaterThanOrEqual,
                Compare::Equ => FloatCC::UnorderedOrEqual,
                Compare::Neu => FloatCC::NotEqual,
                Compare::Ltu => FloatCC::UnorderedOrLessThan,
                Compare::Leu => FloatCC::UnorderedOrLessThanOrEqual,
                Compare::Gtu => FloatCC::UnorderedOrGreaterThan,
                Compare::Geu => FloatCC::UnorderedOrGreaterThanOrEqual,
                Compare::Num => FloatCC::Ordered,
                Compare::Nan => FloatCC::Unordered,
            };
            return Some(self.b.ins().fcmp(condition, a, b));
        }
        if !is_plain_integer(alu.ty) {
            return None;
        }
        let is_signed = alu.ty.is_signed();
        let condition = match (compare, is_signed) {
            (Compare::Eq, _) => IntCC::Equal,
            (Compare::Ne, _) => IntCC::NotEqual,
            (Compare::Lt, true) => IntCC::SignedLessThan,
            (Compare::Le, true) => IntCC::SignedLessThanOrEqual,
            (Compare::Gt, true) => IntCC::SignedGreaterThan,
            (Compare::Ge, true) => IntCC::SignedGreaterThanOrEqual,
            (Compare::Lt, false) => IntCC::UnsignedLessThan,
            (Compare::Le, false) => IntCC::UnsignedLessThanOrEqual,
            (Compare::Gt, false) => IntCC::UnsignedGreaterThan,
            (Compare::Ge, false) => IntCC::UnsignedGreaterThanOrEqual,
            _ => return None,
        };
        let [a, b] = [0, 1].map(|index| self.src(alu, index));
        Some(self.b.ins().icmp(condition, a, b))
    }

    /// Where a predicate does not hold.
    fn opposite(&mut self, holds: Value) -> Value {
        match self.type_of(holds).is_vector() {
            true => self.b.ins().bnot(holds),
            false => self.b.ins().bxor_imm_u(holds, 1),
        }
    }

    fn combine(&mut self, alu: &Alu, value: Value, combine: Option<BoolOp>) -> Value {
        let Some(combine) = combine else { return value };
        let other = self.src_as(alu, 2, types::I8);
        match combine {
            BoolOp::And => self.b.ins().band(value, other),
            BoolOp::Or => self.b.ins().bor(value, other),
            BoolOp::Xor => self.b.ins().bxor(value, other),
        }
    }

    fn setp(
        &mut self,
        alu: &Alu,
        (compare, combine): (Compare, Option<BoolOp>),
        guard: Option<Guard>,
    ) -> bool {
        let Some(holds) = self.compare(alu, compare) else { return false };
        let first = self.combine(alu, holds, combine);
        let second = alu.dst2.map(|dst| {
            let opposite = self.opposite(holds);
            (dst, self.combine(alu, opposite, combine))
        });
        let mut results = [alu.dst.map(|dst| (dst, first)), second];
        if writes_guard(alu, guard) {
            results.reverse();
        }
        for (dst, value) in results.into_iter().flatten() {
            self.write(dst, value, Extend::Zero, guard);
        }
        true
    }

    fn set(
        &mut self,
        alu: &Alu,
        (compare, combine, to): (Compare, Option<BoolOp>, Scalar),
        guard: Option<Guard>,
    ) -> bool {
        if !is_machine_float(to) && !is_plain_integer(to) {
            return false;
        }
        let Some(holds) = self.compare(alu, compare) else { return false };
        let holds = self.combine(alu, holds, combine);
        let Some(dst) = alu.dst else { return true };
        let ty = computed(to);
        let one = match to {
            Scalar::F32 => u64::from(1.0_f32.to_bits()),
            Scalar::F64 => 1.0_f64.to_bits(),
            _ => u64::MAX,
        };
        let [yes, no] = [one, 0].map(|bits| self.constant(bits, ty));
        let value = self.choose(holds, yes, no);
        self.write(dst, value, Extend::of(to), guard);
        true
    }

    /// Asks `semantics`.
    fn call_alu(&mut self, alu: &Alu, guard: Option<Guard>) {
        let mut words = Vec::with_capacity(4);
        for index in 0..4 {
            let operand = alu.src[index].unwrap_or(Operand::Imm(0));
            words.push(self.word(operand));
        }
        let (carry_in, carry_out) = match alu.op {
            AluOp::Add(carry) | AluOp::Sub(carry) => (carry.input.map(|reg| (2, reg)), carry.output),
            AluOp::Mad(_, carry) => (carry.input.map(|reg| (3, reg)), carry.output),
            _ => (None, None),
        };
        if let Some((index, reg)) = carry_in {
            words[index] = self.word(Operand::Reg(reg));
        }
        let inst = self.b.ins().iconst(types::I32, i64::from(self.inst));
        let context = self.context;
        let result = self.call(Helper::Alu, &[context, inst, words[0], words[1], words[2], words[3]]);
        let result_type = match alu.op {
            AluOp::Setp(..) | AluOp::Testp(_) => Scalar::B8,
            AluOp::Set(_, _, to) => to,
            AluOp::Mul(crate::ir::Part::Wide) | AluOp::Mad(crate::ir::Part::Wide, _) => Scalar::B64,
            AluOp::Cvt { .. } | AluOp::CvtPair { .. } => alu.ty,
            // Results of these have a width of their own; the helper has extended them.
            _ => Scalar::B64,
        };
        let second = alu.dst2.or(carry_out).map(|reg| {
            let word = self.b.ins().load(types::I64, MemFlagsData::trusted(), context, at::SCRATCH);
            (reg, word)
        });
        let guarded_later = second.filter(|_| !writes_guard(alu, guard));
        if let Some((reg, word)) = second.filter(|_| guarded_later.is_none()) {
            self.write(reg, word, Extend::Zero, guard);
        }
        if let Some(dst) = alu.dst {
            if result_type == Scalar::B64 {
                self.write(dst, result, Extend::Zero, guard);
            } else {
                self.write_word(dst, result, result_type, guard);
            }
        }
        if let Some((reg, word)) = guarded_later {
            self.write(reg, word, Extend::Zero, guard);
        }
    }

    /// Calls a helper that leaves all registers as they are; its result is in the context.
    pub(super) fn call_saving(&mut self, helper: Helper, args: &[Value]) {
        let (slot, params, _) = helper.signature();
        let signature = match self.helper_signatures[slot] {
            Some(signature) => signature,
            None => {
                let mut signature = cranelift_codegen::ir::Signature::new(CallConv::PreserveAll);
                signature.params.extend(params.iter().map(|&ty| cranelift_codegen::ir::AbiParam::new(ty)));
                let signature = self.b.import_signature(signature);
                self.helper_signatures[slot] = Some(signature);
                signature
            }
        };
        let offset = i32::try_from(slot * 8).unwrap_or(0);
        let known = self.known(Known::Helpers);
        let function = self.b.ins().load(types::I64, super::READONLY, known, offset);
        self.b.ins().call_indirect(signature, function, args);
    }

    /// Calls a helper and gives its result.
    pub(super) fn call(&mut self, helper: Helper, args: &[Value]) -> Value {
        let (slot, params, result) = helper.signature();
        let signature = match self.helper_signatures[slot] {
            Some(signature) => signature,
            None => {
                let mut signature = cranelift_codegen::ir::Signature::new(self.isa.default_call_conv());
                signature.params.extend(params.iter().map(|&ty| cranelift_codegen::ir::AbiParam::new(ty)));
                signature.returns.push(cranelift_codegen::ir::AbiParam::new(result));
                let signature = self.b.import_signature(signature);
                self.helper_signatures[slot] = Some(signature);
                signature
            }
        };
        let offset = i32::try_from(slot * 8).unwrap_or(0);
        let known = self.known(Known::Helpers);
        let function = self.b.ins().load(types::I64, super::READONLY, known, offset);
        let call = self.b.ins().call_indirect(signature, function, args);
        self.b.inst_results(call)[0]
    }
}

/// Whether the first result is the guard itself: then the second has to be written before it.
fn writes_guard(alu: &Alu, guard: Option<Guard>) -> bool {
    guard.is_some_and(|guard| alu.dst == Some(guard.reg))
}
