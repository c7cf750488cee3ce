//! `cp.async`: copies at once.
//!
//! *Why.* Compilers unroll these by the dozen, so each is one branch: what is not a copy of everything or of nothing between the
//! usual places is left to a helper, and so are faults.

use cranelift_codegen::ir::Block;
use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;

use super::Emitter;
use super::Known;
use super::memory::program_flags;
use super::values::Extend;
use crate::ir::Address;
use crate::ir::Base;
use crate::ir::Op;
use crate::ir::Space;
use crate::native::callbacks::COPY;
use crate::native::callbacks::Helper;
use crate::native::context::at;
use crate::native::context::fault;

impl Emitter<'_, '_> {
    pub(super) fn copy_async(&mut self, op: &Op) {
        let Op::CopyAsync { to, to_space, from, from_space, bytes, read_bytes } = op else { return };
        let [to, from] = [to, from].map(|address| self.place(*address));
        let read = read_bytes.map(|operand| self.operand(operand, types::I32));
        let [slow, next] = [self.b.create_block(), self.b.create_block()];
        self.b.set_cold_block(slow);
        if (*to_space, *from_space) == (Space::Shared, Space::Global) {
            let fast = self.b.create_block();
            let is_nothing = read.map(|read| self.b.ins().icmp_imm_u(IntCC::Equal, read, 0));
            let mut is_slow = self.is_beyond(Space::Shared, to, *bytes, None);
            let source = self.is_beyond(Space::Global, from, *bytes, is_nothing);
            is_slow = self.b.ins().bor(is_slow, source);
            if let Some(read) = read {
                let less = self.b.ins().iadd_imm_s(read, -1);
                let condition = IntCC::UnsignedLessThan;
                let is_part = self.b.ins().icmp_imm_u(condition, less, i64::from(*bytes) - 1);
                is_slow = self.b.ins().bor(is_slow, is_part);
            }
            self.b.ins().brif(is_slow, slow, &[], fast, &[]);
            self.b.switch_to_block(fast);
            self.b.seal_block(fast);
            self.copy((to, from), *bytes, is_nothing);
            self.b.ins().jump(next, &[]);
        } else {
            self.b.ins().jump(slow, &[]);
        }
        self.b.switch_to_block(slow);
        self.b.seal_block(slow);
        self.copy_slowly((to, from), read, next);
        self.b.switch_to_block(next);
        self.b.seal_block(next);
    }

    /// An address in its own space.
    fn place(&mut self, address: Address) -> Value {
        let base = match address.base {
            Base::Reg(reg) => {
                let value = self.read(reg);
                self.convert(value, types::I64, Extend::Zero)
            }
            Base::Symbol(symbol) => self.symbol(symbol),
            Base::Zero => return self.constant(address.offset as u64, types::I64),
        };
        match address.offset {
            0 => base,
            offset => self.b.ins().iadd_imm_s(base, offset),
        }
    }

    /// Whether aligned bytes at an address are not in the space; never so where `unless` is set.
    fn is_beyond(&mut self, space: Space, address: Value, bytes: u32, unless: Option<Value>) -> Value {
        let mut from = address;
        if space != Space::Shared {
            let base = self.known(Known::MemoryBase);
            from = self.b.ins().isub(address, base);
        }
        let mut turned = self.turned(from, bytes);
        if let Some(unless) = unless {
            let zero = self.constant(0, types::I64);
            turned = self.b.ins().select(unless, zero, turned);
        }
        let bound = self.bound(space, bytes, bytes);
        self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, turned, bound)
    }

    /// Copies all, or writes zeros where `is_nothing` is set.
    fn copy(&mut self, (to, from): (Value, Value), bytes: u32, is_nothing: Option<Value>) {
        let ty = match bytes {
            4 => types::I32,
            8 => types::I64,
            _ => types::I128,
        };
        let shared = self.known(Known::Shared);
        let to = self.b.ins().iadd(to, shared);
        let value = match is_nothing {
            None => self.b.ins().load(ty, program_flags(), from, 0),
            Some(is_nothing) => {
                // Then the source need not be there; what is overwritten is.
                let from = self.b.ins().select(is_nothing, to, from);
                let value = self.b.ins().load(ty, program_flags(), from, 0);
                let zero = self.constant(0, ty);
                self.b.ins().select(is_nothing, zero, value)
            }
        };
        self.b.ins().store(program_flags(), value, to, 0);
    }

    fn copy_slowly(&mut self, (to, from): (Value, Value), read: Option<Value>, next: Block) {
        let flags = MemFlagsData::trusted();
        // The helper cuts what is too much.
        let read = match read {
            Some(read) => self.b.ins().uextend(types::I64, read),
            None => self.constant(u64::MAX, types::I64),
        };
        self.b.ins().store(flags, to, self.context, at::SCRATCH);
        self.b.ins().store(flags, read, self.context, at::SCRATCH + 8);
        let inst = self.constant(u64::from(self.inst), types::I32);
        let copy = self.constant(u64::from(COPY), types::I32);
        self.call_saving(Helper::Reach, &[self.context, from, inst, copy]);
        let is_done = self.b.ins().load(types::I64, flags, self.context, at::SCRATCH);
        let failed = self.fail_args(fault::TOLD, None);
        self.b.ins().brif(is_done, next, &[], self.fail, &failed);
    }
}
