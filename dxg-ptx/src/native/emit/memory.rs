//! Addresses, their checks, loads and stores.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::TrapCode;
use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;

use super::Emitter;
use super::Known;
use super::READONLY;
use super::checks::Check;
use super::checks::Plan;
use super::types::integer;
use super::values::Extend;
use crate::ir::Address;
use crate::ir::Base;
use crate::ir::CvtaDirection;
use crate::ir::Guard;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Order;
use crate::ir::Reg;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::Symbol;
use crate::native::callbacks::ATOMIC;
use crate::native::callbacks::Helper;
use crate::native::context::at;
use crate::native::context::fault;

/// Where an access goes: a pointer and what is added to it.
#[derive(Clone, Copy)]
pub(super) struct Pointer {
    pub(super) base: Value,
    pub(super) offset: i32,
}

/// An access to memory that the program names.
pub(super) const fn program_flags() -> MemFlagsData {
    MemFlagsData::new().with_trap_code(Some(TrapCode::HEAP_OUT_OF_BOUNDS))
}

impl Emitter<'_, '_> {
    /// The number under which a limit of a space is known.
    fn limit_of(&mut self, space: Space) -> Option<Value> {
        match space {
            Space::Global | Space::Const | Space::Generic => Some(self.known(Known::MemoryBytes)),
            Space::Shared => Some(self.known(Known::SharedBytes)),
            Space::Local | Space::Param => None,
        }
    }

    /// How many places there are for a range of `bytes` aligned to `align` in a space; computed before the loop over lanes.
    pub(super) fn bound(&mut self, space: Space, bytes: u32, align: u32) -> Value {
        let key = (if matches!(space, Space::Shared) { 1 } else { 0 }, bytes, align);
        if let Some((_, value)) = self.bounds.iter().find(|(known, _)| *known == key) {
            return *value;
        }
        let limit = self.limit_of(space).unwrap_or(self.known(Known::MemoryBytes));
        let value = self.at_entry(|cursor| {
            let fits = cursor.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, limit, i64::from(bytes));
            let room = cursor.ins().iadd_imm_s(limit, -i64::from(bytes));
            let places = cursor.ins().ushr_imm_u(room, i64::from(align.trailing_zeros()));
            let count = cursor.ins().iadd_imm_s(places, 1);
            let zero = cursor.ins().iconst(types::I64, 0);
            cursor.ins().select(fits, count, zero)
        });
        self.bounds.push((key, value));
        value
    }

    /// The start of the range, turned so that a misaligned start looks huge.
    pub(super) fn turned(&mut self, start: Value, align: u32) -> Value {
        match align.trailing_zeros() {
            0 => start,
            bits => self.b.ins().rotr_imm_u(start, i64::from(bits)),
        }
    }

    /// The generic address of where the frame's variables are.
    pub(super) fn local_base(&mut self) -> Value {
        self.b.ins().iadd_imm_s(self.frame, i64::from(self.unit.regions.frame.locals))
    }

    /// Checks a range in a space, from a register's value.
    pub(super) fn check(&mut self, (space, guess): (Space, Option<Space>), value: Value, check: Check) {
        let start = match check.low {
            0 => value,
            low => self.b.ins().iadd_imm_s(value, low),
        };
        match space {
            Space::Generic if guess == Some(Space::Shared) => {
                let known = self.known(Known::Shared);
                let from = self.b.ins().isub(start, known);
                let turned = self.turned(from, check.align);
                let bound = self.bound(Space::Shared, check.bytes, check.align);
                let bad = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, turned, bound);
                self.check_elsewhere(Some(bad), start, check);
            }
            Space::Generic if guess == Some(Space::Local) && !self.is_atomic => {
                let base = self.local_base();
                let from = self.b.ins().isub(start, base);
                let turned = self.turned(from, check.align);
                let room = self.unit.function.local_bytes.checked_sub(check.bytes);
                let count = room.map_or(0, |left| left / check.align + 1);
                let condition = IntCC::UnsignedGreaterThanOrEqual;
                let bad = self.b.ins().icmp_imm_u(condition, turned, i64::from(count));
                self.check_elsewhere(Some(bad), start, check);
            }
            Space::Global | Space::Const | Space::Generic => {
                let known = self.known(Known::MemoryBase);
                let from = self.b.ins().isub(start, known);
                let turned = self.turned(from, check.align);
                let bound = self.bound(space, check.bytes, check.align);
                let bad = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, turned, bound);
                if space == Space::Generic {
                    self.check_elsewhere(Some(bad), start, check);
                } else {
                    // Not the start itself: it need not stay in a register.
                    self.fail_if(bad, check.align, |e| {
                        let base = e.known(Known::MemoryBase);
                        Some(e.b.ins().iadd(from, base))
                    });
                }
            }
            Space::Shared => {
                let turned = self.turned(start, check.align);
                let bound = self.bound(space, check.bytes, check.align);
                let bad = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, turned, bound);
                self.fail_if(bad, check.align, |e| {
                    let base = e.known(Known::Shared);
                    Some(e.b.ins().iadd(base, start))
                });
            }
            Space::Local if self.unit.has_alloca => {
                let base = self.local_base();
                let address = self.b.ins().iadd(base, start);
                self.check_elsewhere(None, address, check);
            }
            Space::Local | Space::Param => {
                let (base, room) = match space {
                    Space::Local => (self.local_base(), self.unit.function.local_bytes),
                    _ => (self.known(Known::Params), self.unit.function.param_bytes),
                };
                let count = (room.checked_sub(check.bytes)).map_or(0, |left| left / check.align + 1);
                let turned = self.turned(start, check.align);
                let condition = IntCC::UnsignedGreaterThanOrEqual;
                let bad = self.b.ins().icmp_imm_u(condition, turned, i64::from(count));
                self.fail_if(bad, check.align, |e| Some(e.b.ins().iadd(base, start)));
            }
        }
    }

    /// Whether a range is not where an access is expected; what else it may be, `check` knows.
    pub(super) fn is_outside(
        &mut self,
        (space, guess): (Space, Option<Space>),
        value: Value,
        check: Check,
    ) -> Value {
        let start = match check.low {
            0 => value,
            low => self.b.ins().iadd_imm_s(value, low),
        };
        let (from, space) = match space {
            Space::Shared => (start, space),
            Space::Generic if guess == Some(Space::Shared) => {
                let known = self.known(Known::Shared);
                (self.b.ins().isub(start, known), Space::Shared)
            }
            _ => {
                let known = self.known(Known::MemoryBase);
                (self.b.ins().isub(start, known), Space::Global)
            }
        };
        let turned = self.turned(from, check.align);
        let bound = self.bound(space, check.bytes, check.align);
        self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, turned, bound)
    }

    /// A generic address that is not in global memory: a helper looks at the other spaces.
    fn check_elsewhere(&mut self, bad: Option<Value>, start: Value, check: Check) {
        let [slow, next] = [self.b.create_block(), self.b.create_block()];
        self.b.set_cold_block(slow);
        match bad {
            Some(bad) => self.b.ins().brif(bad, slow, &[], next, &[]),
            None => self.b.ins().jump(slow, &[]),
        };
        self.b.switch_to_block(slow);
        self.b.seal_block(slow);
        let bytes = self.b.ins().iconst(types::I32, i64::from(check.bytes));
        let kind = if self.is_atomic { ATOMIC } else { 0 };
        let align = self.b.ins().iconst(types::I32, i64::from(check.align | kind));
        self.call_saving(Helper::Reach, &[self.context, start, bytes, align]);
        let flags = MemFlagsData::trusted();
        let is_fine = self.b.ins().load(types::I64, flags, self.context, at::SCRATCH);
        let bad = self.b.ins().icmp_imm_u(IntCC::Equal, is_fine, 0);
        self.fail_if(bad, check.align, |_| Some(start));
        self.b.ins().jump(next, &[]);
        self.b.switch_to_block(next);
        self.b.seal_block(next);
    }

    /// What is added to an address of the space to get a pointer.
    pub(super) fn origin(&mut self, space: Space) -> Option<Value> {
        match space {
            Space::Global | Space::Const | Space::Generic => None,
            Space::Shared => Some(self.known(Known::Shared)),
            Space::Local => Some(self.local_base()),
            Space::Param => Some(self.known(Known::Params)),
        }
    }

    /// Whether an access to a symbol is within what is certainly there.
    fn is_inside(&self, symbol: Symbol, space: Space, offset: i64, bytes: u32) -> bool {
        let end = offset.saturating_add(i64::from(bytes));
        let (size, align_offset) = match symbol {
            Symbol::Global(id) => match self.module.globals.get(id.0 as usize) {
                Some(global) if global.size > 0 && space != Space::Generic => {
                    (i64::try_from(global.size).unwrap_or(0), i64::from(global.align))
                }
                _ => return false,
            },
            Symbol::Local(id) => match self.unit.function.locals.get(id.0 as usize) {
                Some(slot) => (i64::from(slot.size), i64::from(slot.align)),
                None => return false,
            },
            Symbol::Param(index) => match self.unit.function.params.get(index as usize) {
                Some(slot) => {
                    let start = i64::from(slot.offset) + offset;
                    return offset >= 0
                        && start + i64::from(bytes) <= i64::from(self.unit.function.param_bytes);
                }
                None => return false,
            },
            Symbol::Function(_) => return false,
        };
        // The symbol is aligned; so is the access if its offset is, or if its alignment is small enough.
        let align = i64::from(bytes.next_power_of_two()).min(16);
        offset >= 0 && end <= size && (offset % align == 0 && align_offset >= align)
    }

    /// The pointer of an access, checked.
    pub(super) fn locate(&mut self, space: Space, address: Address, bytes: u32, at: usize) -> Pointer {
        match address.base {
            Base::Reg(reg) => {
                let guess = self.unit.guesses[reg.0 as usize];
                let value = self.read(reg);
                let value = self.convert(value, types::I64, Extend::Zero);
                match self.plans.get(at).copied().flatten() {
                    Some(Plan::Covered) => {}
                    Some(Plan::Check(check)) => self.check((space, guess), value, check),
                    None => {
                        self.check((space, guess), value, Check { low: address.offset, bytes, align: bytes })
                    }
                }
                let base = match self.origin(space) {
                    Some(origin) => self.b.ins().iadd(origin, value),
                    None => value,
                };
                self.pointer(base, address.offset)
            }
            Base::Symbol(symbol) => {
                let value = self.symbol(symbol);
                let is_inside = self.is_inside(symbol, space, address.offset, bytes);
                if !is_inside {
                    self.check((space, None), value, Check { low: address.offset, bytes, align: bytes });
                }
                let base = match self.origin(space) {
                    Some(origin) => self.b.ins().iadd(origin, value),
                    None => value,
                };
                self.pointer(base, address.offset)
            }
            Base::Zero => {
                let value = self.constant(0, types::I64);
                self.check((space, None), value, Check { low: address.offset, bytes, align: bytes });
                let base = self.origin(space).unwrap_or(value);
                self.pointer(base, address.offset)
            }
        }
    }

    pub(super) fn pointer(&mut self, base: Value, offset: i64) -> Pointer {
        match i32::try_from(offset) {
            Ok(offset) if offset < i32::MAX - 64 => Pointer { base, offset },
            _ => Pointer { base: self.b.ins().iadd_imm_s(base, offset), offset: 0 },
        }
    }

    /// The address of a symbol in its own space.
    pub(super) fn symbol(&mut self, symbol: Symbol) -> Value {
        match symbol {
            Symbol::Global(id) => match self.module.globals.get(id.0 as usize) {
                Some(global) if global.space == Space::Shared => {
                    let offset = self.prepared.shared_offset(id);
                    self.constant(offset, types::I64)
                }
                _ => {
                    let offset = i32::try_from(id.0 * 8).unwrap_or(0);
                    let known = self.known(Known::Globals);
                    self.b.ins().load(types::I64, READONLY, known, offset)
                }
            },
            Symbol::Local(id) => {
                let slot = self.unit.function.locals.get(id.0 as usize);
                self.constant(slot.map_or(0, |slot| u64::from(slot.offset)), types::I64)
            }
            Symbol::Param(index) => {
                let slot = self.unit.function.params.get(index as usize);
                self.constant(slot.map_or(0, |slot| u64::from(slot.offset)), types::I64)
            }
            Symbol::Function(id) => self.constant(crate::ir::Module::function_address(id), types::I64),
        }
    }

    pub(super) fn address_of(&mut self, dst: Reg, symbol: Symbol, offset: i64, guard: Option<Guard>) {
        let base = self.symbol(symbol);
        let value = self.b.ins().iadd_imm_s(base, offset);
        self.write(dst, value, Extend::Zero, guard);
    }

    pub(super) fn cvta(
        &mut self,
        dst: Reg,
        src: Operand,
        (space, direction): (Space, CvtaDirection),
        guard: Option<Guard>,
    ) {
        let value = self.word(src);
        let value = match (self.origin(space), direction) {
            (None, _) => value,
            (Some(origin), CvtaDirection::ToGeneric) => self.b.ins().iadd(value, origin),
            (Some(origin), CvtaDirection::FromGeneric) => self.b.ins().isub(value, origin),
        };
        self.write(dst, value, Extend::Zero, guard);
    }

    pub(super) fn is_spacep(&mut self, dst: Reg, src: Operand, space: Space, guard: Option<Guard>) {
        let value = self.word(src);
        let (start, bytes) = match space {
            Space::Global | Space::Const | Space::Generic => {
                (self.known(Known::MemoryBase), self.known(Known::MemoryBytes))
            }
            Space::Shared => (self.known(Known::Shared), self.known(Known::SharedBytes)),
            Space::Local => {
                let bytes = self.known(Known::FrameStride);
                let base = match self.unit.is_alone {
                    true => self.frame,
                    false => {
                        let lane = self.b.ins().uextend(types::I64, self.lane);
                        let offset = self.b.ins().imul(lane, bytes);
                        let known = self.known(Known::Frames);
                        self.b.ins().iadd(known, offset)
                    }
                };
                (base, bytes)
            }
            Space::Param => {
                let bytes = self.constant(u64::from(self.unit.function.param_bytes), types::I64);
                (self.known(Known::Params), bytes)
            }
        };
        let from = self.b.ins().isub(value, start);
        let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, from, bytes);
        self.write(dst, inside, Extend::Zero, guard);
    }

    /// The type in which a value of this scalar is loaded into a register.
    pub(super) fn loaded_type(&self, ty: Scalar, dst: Reg) -> Type {
        let own = self.types[dst.0 as usize];
        let raw = integer(ty);
        if own.bits() == raw.bits() { own } else { raw }
    }

    pub(super) fn load(&mut self, op: &Op, at: usize) {
        let Op::Load { space, ty, order, dsts, address } = op else { return };
        let size = ty.size_bytes();
        let bytes = size * u32::try_from(dsts.len()).unwrap_or(1);
        let pointer = self.locate(*space, *address, bytes, at);
        let mut values = Vec::with_capacity(dsts.len());
        for (dst, index) in dsts.iter().zip(0_i32..) {
            let Some(dst) = dst else { continue };
            let offset = pointer.offset + index * size as i32;
            let value = if *space == Space::Param {
                let wanted = self.loaded_type(*ty, *dst);
                self.b.ins().load(wanted, READONLY.with_aligned(), pointer.base, offset)
            } else if *order == Order::Weak || size > 8 {
                let wanted = self.loaded_type(*ty, *dst);
                self.b.ins().load(wanted, program_flags(), pointer.base, offset)
            } else {
                let address = self.b.ins().iadd_imm_s(pointer.base, i64::from(offset));
                self.b.ins().atomic_load(integer(*ty), program_flags(), address)
            };
            values.push((*dst, value));
        }
        for (dst, value) in values {
            self.write(dst, value, Extend::of(*ty), None);
        }
    }

    pub(super) fn store(&mut self, op: &Op, at: usize) {
        let Op::Store { space, ty, order, srcs, address } = op else { return };
        let size = ty.size_bytes();
        let bytes = size * u32::try_from(srcs.len()).unwrap_or(1);
        let pointer = self.locate(*space, *address, bytes, at);
        for (src, index) in srcs.iter().zip(0_i32..) {
            let wanted = match src {
                Operand::Reg(reg) => self.loaded_type(*ty, *reg),
                _ => integer(*ty),
            };
            let value = self.operand(*src, wanted);
            let offset = pointer.offset + index * size as i32;
            let is_plain = matches!(order, Order::Weak | Order::Volatile | Order::Relaxed) || size > 8;
            if is_plain {
                self.b.ins().store(program_flags(), value, pointer.base, offset);
            } else {
                let value = self.convert(value, integer(*ty), Extend::Zero);
                let address = self.b.ins().iadd_imm_s(pointer.base, i64::from(offset));
                self.b.ins().atomic_store(program_flags(), value, address);
            }
        }
    }

    /// A checked address as one value.
    pub(super) fn checked_address(&mut self, space: Space, address: Address, bytes: u32, at: usize) -> Value {
        let pointer = self.locate(space, address, bytes, at);
        match pointer.offset {
            0 => pointer.base,
            offset => self.b.ins().iadd_imm_s(pointer.base, i64::from(offset)),
        }
    }

    /// More memory in the frame: the lane's stack grows.
    pub(super) fn alloca(&mut self, dst: Reg, size: Operand, align: u32) {
        let size = self.word(size);
        let top =
            self.b.ins().load(types::I64, MemFlagsData::trusted(), self.frame, crate::regions::TOP_OFFSET);
        let align = i64::from(align.max(16));
        let up = self.b.ins().iadd_imm_s(top, align - 1);
        let start = self.b.ins().band_imm_s(up, -align);
        let end = self.b.ins().iadd(start, size);
        let stack_end = self.stack_end();
        let room = self.b.ins().isub(stack_end, start);
        let fits = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, size, room);
        let is_sane = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, start, stack_end);
        let ok = self.b.ins().band(fits, is_sane);
        self.fail_unless(ok, fault::STACK_OVERFLOW);
        let end = self.b.ins().iadd_imm_s(end, 15);
        let end = self.b.ins().band_imm_s(end, -16);
        let end = self.b.ins().umin(end, stack_end);
        self.b.ins().store(MemFlagsData::trusted(), end, self.frame, crate::regions::TOP_OFFSET);
        let base = self.local_base();
        let value = self.b.ins().isub(start, base);
        self.write(dst, value, Extend::Zero, None);
    }

    pub(super) fn stack_save(&mut self, dst: Reg) {
        let top =
            self.b.ins().load(types::I64, MemFlagsData::trusted(), self.frame, crate::regions::TOP_OFFSET);
        let value = self.b.ins().isub(top, self.frame);
        self.write(dst, value, Extend::Zero, None);
    }

    /// Only what is within the frame's own memory is taken.
    pub(super) fn stack_restore(&mut self, src: Operand) {
        let value = self.word(src);
        let top =
            self.b.ins().load(types::I64, MemFlagsData::trusted(), self.frame, crate::regions::TOP_OFFSET);
        let used = self.b.ins().isub(top, self.frame);
        let least = self.constant(u64::from(self.unit.regions.frame.bytes), types::I64);
        let value = self.b.ins().umin(value, used);
        let value = self.b.ins().umax(value, least);
        let value = self.b.ins().iadd(self.frame, value);
        self.b.ins().store(MemFlagsData::trusted(), value, self.frame, crate::regions::TOP_OFFSET);
    }

    /// Where the lane's stack ends.
    pub(super) fn stack_end(&mut self) -> Value {
        let mut number = self.b.ins().uextend(types::I64, self.lane);
        if self.unit.is_alone {
            number = self.constant(0, types::I64);
        }
        let next = self.b.ins().iadd_imm_s(number, 1);
        let known = self.known(Known::FrameStride);
        let offset = self.b.ins().imul(next, known);
        let known = self.known(Known::Frames);
        self.b.ins().iadd(known, offset)
    }
}
