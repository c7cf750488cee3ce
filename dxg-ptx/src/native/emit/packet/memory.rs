//! Loads and stores of four lanes.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::types;

use super::Storage;
use crate::ir::Address;
use crate::ir::Base;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Order;
use crate::ir::Reg;
use crate::ir::Space;
use crate::native::emit::Emitter;
use crate::native::emit::checks::Check;
use crate::native::emit::checks::Plan;
use crate::native::emit::memory::Pointer;
use crate::native::emit::memory::program_flags;
use crate::native::emit::types::integer;
use crate::native::emit::values::Extend;
use crate::native::shapes::LANES;

impl Emitter<'_, '_> {
    /// A load whose addresses follow each other. Whether it was emitted.
    pub(super) fn packet_load(&mut self, op: &Op, at: usize) -> bool {
        let Op::Load { space, ty, order, dsts, address } = op else { return false };
        let Some(stride) = self.line_of(*space, *order, *address) else { return false };
        let size = ty.size_bytes();
        let count = u32::try_from(dsts.len()).unwrap_or(1);
        let Some(pointer) = self.locate_line(*space, *address, (size * count, stride), at) else {
            return false;
        };
        if let (&[Some(dst)], 4, 4) = (dsts.as_slice(), size, stride)
            && let Storage::Vector(var) = self.storage(dst)
        {
            let own = self.types[dst.0 as usize].by(LANES).unwrap_or(types::I32X4);
            let value = self.b.ins().load(own, program_flags(), pointer.base, pointer.offset);
            self.b.def_var(var, value);
            return true;
        }
        // All are loaded before any is written: the base may be among the destinations.
        let mut loaded: Vec<(Reg, [Value; 4])> = Vec::with_capacity(dsts.len());
        for (index, dst) in (0_i32..).zip(dsts) {
            let Some(dst) = dst else { continue };
            let wanted = self.loaded_type(*ty, *dst);
            let own = self.types[dst.0 as usize];
            let values = [0, 1, 2, 3].map(|lane| {
                let offset = pointer.offset + index * size as i32 + lane * stride as i32;
                let value = self.b.ins().load(wanted, program_flags(), pointer.base, offset);
                self.convert(value, own, Extend::of(*ty))
            });
            loaded.push((*dst, values));
        }
        for (dst, values) in loaded {
            self.define_four(dst, values);
        }
        true
    }

    /// A store whose addresses follow each other. Whether it was emitted.
    pub(super) fn packet_store(&mut self, op: &Op, at: usize) -> bool {
        let Op::Store { space, ty, order, srcs, address } = op else { return false };
        let Some(stride) = self.line_of(*space, *order, *address) else { return false };
        let size = ty.size_bytes();
        let count = u32::try_from(srcs.len()).unwrap_or(1);
        let Some(pointer) = self.locate_line(*space, *address, (size * count, stride), at) else {
            return false;
        };
        if let (&[Operand::Reg(src)], 4, 4) = (srcs.as_slice(), size, stride)
            && self.types[src.0 as usize].bits() == 32
        {
            let own = self.types[src.0 as usize];
            let value = self.wide_operand(Operand::Reg(src), own);
            self.b.ins().store(program_flags(), value, pointer.base, pointer.offset);
            return true;
        }
        for lane in 0..LANES {
            self.enter_lane(lane);
            for (index, src) in (0_i32..).zip(srcs) {
                let wanted = match src {
                    Operand::Reg(reg) => self.loaded_type(*ty, *reg),
                    _ => integer(*ty),
                };
                let value = self.operand(*src, wanted);
                let offset = pointer.offset + index * size as i32 + lane as i32 * stride as i32;
                self.b.ins().store(program_flags(), value, pointer.base, offset);
            }
            self.leave_lanes();
        }
        true
    }

    /// The step of addresses that follow each other, if the access may be done for four lanes at once.
    fn line_of(&self, space: Space, order: Order, address: Address) -> Option<i64> {
        let shape = self.packet_facts()?.shapes.address(address);
        let is_common = matches!(space, Space::Global | Space::Const | Space::Generic | Space::Shared);
        shape.stride().filter(|&stride| stride != 0 && is_common && order == Order::Weak)
    }

    /// Checks the places of all four lanes at once; the pointer of the first. Nothing if they have to be checked one by one.
    fn locate_line(
        &mut self,
        space: Space,
        address: Address,
        (bytes, stride): (u32, i64),
        at: usize,
    ) -> Option<Pointer> {
        let Base::Reg(reg) = address.base else { return None };
        let guess = self.unit.guesses[reg.0 as usize];
        if space == Space::Generic && guess == Some(Space::Local) {
            return None;
        }
        let own = Check { low: address.offset, bytes, align: bytes };
        let check = match self.plans.get(at).copied().flatten() {
            Some(Plan::Covered) => None,
            Some(Plan::Check(check)) => Some(check),
            None => Some(own),
        };
        if check.is_some_and(|check| stride % i64::from(check.align) != 0) || address.offset.abs() > 1 << 28 {
            return None;
        }
        if let Some(check) = check {
            let span = u32::try_from(stride.unsigned_abs()).ok()?.checked_mul(LANES - 1)?;
            let low = check.low.checked_add(stride.min(0) * i64::from(LANES - 1))?;
            let wide = Check { low, bytes: check.bytes.checked_add(span)?, align: check.align };
            self.check_line((space, guess), reg, wide, check);
        }
        self.enter_lane(0);
        let value = self.read(reg);
        self.leave_lanes();
        let value = self.convert(value, types::I64, Extend::Zero);
        let base = match self.origin(space) {
            Some(origin) => self.b.ins().iadd(origin, value),
            None => value,
        };
        Some(self.pointer(base, address.offset))
    }

    /// One check for all; where it fails, lanes are checked one by one.
    fn check_line(&mut self, (space, guess): (Space, Option<Space>), reg: Reg, wide: Check, one: Check) {
        self.enter_lane(0);
        let value = self.read(reg);
        self.leave_lanes();
        let value = self.convert(value, types::I64, Extend::Zero);
        let bad = self.is_outside((space, guess), value, wide);
        let [slow, next] = [self.b.create_block(), self.b.create_block()];
        self.b.set_cold_block(slow);
        self.b.ins().brif(bad, slow, &[], next, &[]);
        self.b.switch_to_block(slow);
        self.b.seal_block(slow);
        for lane in 0..LANES {
            self.enter_lane(lane);
            let value = self.read(reg);
            let value = self.convert(value, types::I64, Extend::Zero);
            self.check((space, guess), value, one);
            self.leave_lanes();
        }
        self.b.ins().jump(next, &[]);
        self.b.switch_to_block(next);
        self.b.seal_block(next);
    }
}
