//! Atomic operations and `mbarrier`.

use cranelift_codegen::ir::AtomicRmwOp;
use cranelift_codegen::ir::BlockArg;
use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;

use super::Emitter;
use super::memory::program_flags;
use super::types::integer;
use super::values::Extend;
use crate::ir::AtomicOp;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::native::callbacks::Helper;
use crate::native::context::at;

/// The processor's own operation, if it has one.
const fn machine(op: AtomicOp, ty: Scalar) -> Option<AtomicRmwOp> {
    if ty.is_float() && !matches!(op, AtomicOp::Exch) {
        return None;
    }
    Some(match (op, ty.is_signed()) {
        (AtomicOp::Exch, _) => AtomicRmwOp::Xchg,
        (AtomicOp::Add, _) => AtomicRmwOp::Add,
        (AtomicOp::And, _) => AtomicRmwOp::And,
        (AtomicOp::Or, _) => AtomicRmwOp::Or,
        (AtomicOp::Xor, _) => AtomicRmwOp::Xor,
        (AtomicOp::Min, true) => AtomicRmwOp::Smin,
        (AtomicOp::Min, false) => AtomicRmwOp::Umin,
        (AtomicOp::Max, true) => AtomicRmwOp::Smax,
        (AtomicOp::Max, false) => AtomicRmwOp::Umax,
        _ => return None,
    })
}

impl Emitter<'_, '_> {
    pub(super) fn atomic(&mut self, inst: &Op, at: usize) {
        let Op::Atomic { space, op, ty, dsts, address, b, c, .. } = inst else { return };
        let size = ty.size_bytes();
        let count = u32::try_from(b.len().max(1)).unwrap_or(1);
        self.is_atomic = true;
        let pointer = self.checked_address(*space, *address, size * count, at);
        self.is_atomic = false;
        let mut results = Vec::new();
        for index in 0..count as usize {
            let place = self.b.ins().iadd_imm_s(pointer, i64::from(size) * index as i64);
            let operand = b.get(index).copied().unwrap_or(Operand::Imm(0));
            let old = if *ty == Scalar::B128 && !self.has_wide_atomics() {
                self.element_by_helper(place, (operand, *c))
            } else {
                self.element(*space, (*op, *ty), place, (operand, *c))
            };
            if let Some(Some(dst)) = dsts.get(index) {
                results.push((*dst, old));
            }
        }
        for (dst, old) in results {
            self.write(dst, old, Extend::of(*ty), None);
        }
    }

    /// Whether Cranelift exchanges 128 bits on this machine.
    fn has_wide_atomics(&self) -> bool {
        self.isa.isa_flags().iter().any(|flag| flag.name == "has_cmpxchg16b" && flag.as_bool() == Some(true))
    }

    /// One element of 128 bits; the old value.
    fn element_by_helper(&mut self, place: Value, (b, c): (Operand, Option<Operand>)) -> Value {
        let mut words = vec![place];
        for operand in [b, c.unwrap_or(Operand::Imm(0))] {
            let value = self.operand(operand, types::I128);
            let (low, high) = self.b.ins().isplit(value);
            words.extend([low, high]);
        }
        let low = self.effect(&words);
        let high = self.b.ins().load(types::I64, MemFlagsData::trusted(), self.context, at::SCRATCH + 8);
        self.b.ins().iconcat(low, high)
    }

    /// One element; the old value.
    fn element(
        &mut self,
        space: Space,
        (op, ty): (AtomicOp, Scalar),
        place: Value,
        (b, c): (Operand, Option<Operand>),
    ) -> Value {
        let machine_type = integer(ty);
        // One thread of ours runs all threads of a block: what only they see needs no lock.
        let is_private = matches!(space, Space::Shared | Space::Local);
        let flags = program_flags();
        if op == AtomicOp::Cas {
            let expected = self.operand(b, machine_type);
            let new = self.operand(c.unwrap_or(Operand::Imm(0)), machine_type);
            if is_private {
                let old = self.b.ins().load(machine_type, flags, place, 0);
                let same = self.b.ins().icmp(IntCC::Equal, old, expected);
                let stored = self.b.ins().select(same, new, old);
                self.b.ins().store(flags, stored, place, 0);
                return old;
            }
            return self.b.ins().atomic_cas(flags, place, expected, new);
        }
        if let Some(rmw) = machine(op, ty).filter(|_| machine_type != types::I128) {
            let operand = self.operand(b, machine_type);
            if is_private {
                let old = self.b.ins().load(machine_type, flags, place, 0);
                let new = match rmw {
                    AtomicRmwOp::Xchg => operand,
                    AtomicRmwOp::Add => self.b.ins().iadd(old, operand),
                    AtomicRmwOp::And => self.b.ins().band(old, operand),
                    AtomicRmwOp::Or => self.b.ins().bor(old, operand),
                    AtomicRmwOp::Xor => self.b.ins().bxor(old, operand),
                    AtomicRmwOp::Smin => self.b.ins().smin(old, operand),
                    AtomicRmwOp::Umin => self.b.ins().umin(old, operand),
                    AtomicRmwOp::Smax => self.b.ins().smax(old, operand),
                    _ => self.b.ins().umax(old, operand),
                };
                self.b.ins().store(flags, new, place, 0);
                return old;
            }
            return self.b.ins().atomic_rmw(machine_type, flags, rmw, place, operand);
        }
        self.element_by_loop(is_private, (op, ty), place, b)
    }

    /// Computes the new value from the old until nobody else came between.
    fn element_by_loop(
        &mut self,
        is_private: bool,
        (op, ty): (AtomicOp, Scalar),
        place: Value,
        b: Operand,
    ) -> Value {
        let machine_type = integer(ty);
        let flags = program_flags();
        let operand = self.operand(b, machine_type);
        let first = self.b.ins().load(machine_type, flags, place, 0);
        if machine_type == types::I128 {
            // Only an exchange has 128 bits.
            let [again, done] = [self.b.create_block(), self.b.create_block()];
            let old = self.b.append_block_param(again, machine_type);
            self.b.ins().jump(again, &[BlockArg::Value(first)]);
            self.b.switch_to_block(again);
            let seen = self.b.ins().atomic_cas(flags, place, old, operand);
            let same = self.b.ins().icmp(IntCC::Equal, seen, old);
            self.b.ins().brif(same, done, &[], again, &[BlockArg::Value(seen)]);
            self.b.switch_to_block(done);
            return old;
        }
        if is_private {
            let new = self.combined((op, ty), first, operand);
            self.b.ins().store(flags, new, place, 0);
            return first;
        }
        let [again, done] = [self.b.create_block(), self.b.create_block()];
        let old = self.b.append_block_param(again, machine_type);
        self.b.ins().jump(again, &[BlockArg::Value(first)]);
        self.b.switch_to_block(again);
        let new = self.combined((op, ty), old, operand);
        let seen = self.b.ins().atomic_cas(flags, place, old, new);
        let same = self.b.ins().icmp(IntCC::Equal, seen, old);
        self.b.ins().brif(same, done, &[], again, &[BlockArg::Value(seen)]);
        self.b.switch_to_block(done);
        old
    }

    fn combined(&mut self, (op, ty): (AtomicOp, Scalar), old: Value, operand: Value) -> Value {
        let machine_type = integer(ty);
        if op == AtomicOp::Add && matches!(ty, Scalar::F32 | Scalar::F64) {
            let float = super::types::computed(ty);
            let [a, b] = [old, operand].map(|value| self.convert(value, float, Extend::Zero));
            let sum = self.b.ins().fadd(a, b);
            return self.convert(sum, machine_type, Extend::Zero);
        }
        let [old, operand] = [old, operand].map(|value| self.convert(value, types::I64, Extend::Zero));
        let inst = self.constant(u64::from(self.inst), types::I32);
        let unit = self.constant(u64::from(self.unit.number), types::I32);
        let word = self.call(Helper::Combine, &[self.context, unit, inst, old, operand]);
        self.convert(word, machine_type, Extend::Zero)
    }

    /// The helper works on the checked address.
    pub(super) fn mbarrier(&mut self, op: &Op) {
        let Op::Mbarrier { space, address, dst, srcs, .. } = op else { return };
        let place = self.checked_address(*space, *address, 8, usize::MAX);
        let mut words = vec![place];
        words.extend(srcs.iter().map(|src| self.word(*src)));
        let result = self.effect(&words);
        if let Some(dst) = dst {
            let dst: Reg = *dst;
            self.write(dst, result, Extend::Zero, None);
        }
    }
}
