//! One thread's instructions.

use super::Grid;
use super::block::Block;
use super::calls;
use super::layout::Registers;
use super::mbarrier;
use super::memory::Memory;
use super::special;
use super::thread::Arrival;
use super::thread::Pause;
use super::thread::Thread;
use crate::exec::FaultKind;
use crate::ir::Address;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::AtomicOp;
use crate::ir::Base;
use crate::ir::CvtaDirection;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Order;
use crate::ir::Reg;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::Symbol;
use crate::ir::Terminator;
use crate::semantics;

/// Where a thread runs.
#[derive(Clone, Copy)]
pub(super) struct Context<'b, 'g> {
    pub(super) grid: &'g Grid<'g>,
    pub(super) memory: &'b Memory<'g>,
    /// Which block.
    pub(super) index: [u32; 3],
}

impl Block<'_> {
    /// Gives one thread a turn.
    pub(super) fn run_thread(&mut self, number: usize, fuel: u32) -> Result<Pause, FaultKind> {
        let context = Context { grid: self.grid, memory: &self.memory, index: self.index };
        context.run(&mut self.threads[number], fuel)
    }
}

impl<'g> Context<'_, 'g> {
    fn run(&self, thread: &mut Thread, mut fuel: u32) -> Result<Pause, FaultKind> {
        'blocks: loop {
            let code = self.grid.code(&thread.frame).ok_or(FaultKind::InvalidTarget)?;
            while let Some(inst) = code.insts.get(thread.frame.inst) {
                if let Some(guard) = inst.guard
                    && (thread.get(guard.reg) & 1 == 1) != guard.when
                {
                    thread.frame.inst += 1;
                    continue;
                }
                match &inst.op {
                    Op::Alu(alu) => self.alu(thread, alu),
                    Op::Warp { .. } => return Ok(Pause::Warp),
                    Op::Barrier { kind, id, threads, dst, src } => {
                        let id = self.read(thread, *id) as usize;
                        let threads = threads.map(|threads| self.read(thread, threads) as u32);
                        let predicate = src.is_some_and(|src| self.read(thread, src) & 1 == 1);
                        if id > 15 {
                            return Err(FaultKind::Trap);
                        }
                        thread.frame.inst += 1;
                        return Ok(Pause::Barrier(Arrival {
                            kind: *kind,
                            id,
                            threads,
                            dst: *dst,
                            predicate,
                        }));
                    }
                    Op::Yield => {
                        thread.frame.inst += 1;
                        return Ok(Pause::Fuel);
                    }
                    Op::Call(call) => {
                        calls::call(self, thread, call)?;
                        continue 'blocks;
                    }
                    Op::Trap | Op::Breakpoint => return Err(FaultKind::Trap),
                    op => self.memory_op(thread, op)?,
                }
                thread.frame.inst += 1;
            }
            match &code.end {
                Terminator::Jump(to) => thread.jump(*to),
                Terminator::Branch { guard, then, otherwise } => {
                    let holds = (thread.get(guard.reg) & 1 == 1) == guard.when;
                    thread.jump(if holds { *then } else { *otherwise });
                }
                Terminator::Switch { index, targets } => {
                    let index = self.read(thread, *index) & 0xffff_ffff;
                    let target = usize::try_from(index).ok().and_then(|index| targets.get(index));
                    thread.jump(*target.ok_or(FaultKind::InvalidTarget)?);
                }
                Terminator::Return => {
                    if !calls::finish(self, thread)? {
                        return Ok(Pause::Exit);
                    }
                }
                Terminator::Exit => return Ok(Pause::Exit),
                Terminator::Trap => return Err(FaultKind::Trap),
            }
            fuel = match fuel.checked_sub(1 + code.insts.len() as u32) {
                Some(fuel) => fuel,
                None => return Ok(Pause::Fuel),
            };
        }
    }

    pub(super) fn layout(&self, thread: &Thread) -> &'g Registers {
        self.grid.registers(thread.frame.function)
    }

    /// The value of an operand.
    pub(super) fn read(&self, thread: &Thread, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(reg) => thread.get(reg),
            Operand::Imm(bits) => bits,
            Operand::Special(special) => special::read(self.grid, self.index, thread, special),
        }
    }

    /// The upper half of an operand of 128 bits.
    fn read_upper(&self, thread: &Thread, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(reg) => thread.get_upper(self.layout(thread), reg),
            Operand::Imm(_) | Operand::Special(_) => 0,
        }
    }

    pub(super) fn write(&self, thread: &mut Thread, dst: Option<Reg>, value: u64) {
        if let Some(dst) = dst {
            thread.set(self.layout(thread), dst, value);
        }
    }

    fn write_upper(&self, thread: &mut Thread, dst: Option<Reg>, value: u64) {
        if let Some(dst) = dst {
            thread.set_upper(self.layout(thread), dst, value);
        }
    }

    fn alu(&self, thread: &mut Thread, alu: &Alu) {
        let mut src = [0; 4];
        for (value, operand) in src.iter_mut().zip(&alu.src) {
            if let Some(operand) = operand {
                *value = self.read(thread, *operand);
            }
        }
        let mut carry_out = None;
        match alu.op {
            AluOp::Add(carry) | AluOp::Sub(carry) => {
                src[2] = carry.input.map_or(0, |reg| thread.get(reg));
                carry_out = carry.output;
            }
            AluOp::Mad(_, carry) => {
                src[3] = carry.input.map_or(0, |reg| thread.get(reg));
                carry_out = carry.output;
            }
            AluOp::Mov if alu.ty == Scalar::B128 => {
                let upper = alu.src[0].map_or(0, |operand| self.read_upper(thread, operand));
                self.write(thread, alu.dst, src[0]);
                self.write_upper(thread, alu.dst, upper);
                return;
            }
            _ => {}
        }
        let [first, second] = semantics::alu(alu, src);
        self.write(thread, alu.dst, first);
        self.write(thread, alu.dst2.or(carry_out), second);
    }

    /// The address of a symbol in its own space.
    fn symbol(&self, thread: &Thread, symbol: Symbol) -> u64 {
        let function = self.grid.function(thread.frame.function);
        let module = &self.grid.program.module;
        match symbol {
            Symbol::Global(id) => {
                let is_shared =
                    module.globals.get(id.0 as usize).is_some_and(|global| global.space == Space::Shared);
                let table =
                    if is_shared { &self.grid.layout.shared } else { &self.grid.program.placement.addresses };
                table.get(id.0 as usize).copied().unwrap_or(0)
            }
            Symbol::Local(id) => {
                let slot = function.and_then(|function| function.locals.get(id.0 as usize));
                slot.map_or(0, |slot| u64::from(slot.offset))
            }
            Symbol::Param(index) => {
                let slot = function.and_then(|function| function.params.get(index as usize));
                slot.map_or(0, |slot| u64::from(slot.offset))
            }
            Symbol::Function(id) => crate::ir::Module::function_address(id),
        }
    }

    /// An address in its space. Sums of 32-bit registers wrap.
    pub(super) fn address(&self, thread: &Thread, address: Address) -> u64 {
        match address.base {
            Base::Reg(reg) => {
                let sum = thread.get(reg).wrapping_add_signed(address.offset);
                match self.layout(thread).masks.get(reg.0 as usize) {
                    Some(0xffff_ffff) => sum & 0xffff_ffff,
                    _ => sum,
                }
            }
            Base::Symbol(symbol) => self.symbol(thread, symbol).wrapping_add_signed(address.offset),
            Base::Zero => address.offset as u64,
        }
    }

    fn memory_op(&self, thread: &mut Thread, op: &Op) -> Result<(), FaultKind> {
        match op {
            Op::Pack { ty, dst, parts } => self.pack(thread, *ty, *dst, parts),
            Op::Unpack { ty, parts, src } => self.unpack(thread, *ty, parts, *src),
            Op::AddressOf { dst, symbol, offset } => {
                let address = self.symbol(thread, *symbol).wrapping_add_signed(*offset);
                self.write(thread, Some(*dst), address);
            }
            Op::Cvta { dst, src, space, direction } => {
                let window = self.memory.window(*space, &thread.stack);
                let address = self.read(thread, *src);
                let result = match direction {
                    CvtaDirection::ToGeneric => address.wrapping_add(window),
                    CvtaDirection::FromGeneric => address.wrapping_sub(window),
                };
                self.write(thread, Some(*dst), result);
            }
            Op::IsSpacep { dst, src, space } => {
                let address = self.read(thread, *src);
                let is = match space {
                    Space::Const => self.is_constant(address),
                    space => self.memory.space_of(address, &thread.stack) == *space,
                };
                self.write(thread, Some(*dst), u64::from(is));
            }
            Op::Load { space, ty, order, dsts, address } => {
                self.load(thread, (*space, *ty, *order), dsts, *address)?;
            }
            Op::Store { space, ty, order, srcs, address } => {
                self.store(thread, (*space, *ty, *order), srcs, *address)?;
            }
            Op::Atomic { space, op, ty, dsts, address, b, c, .. } => {
                let at = self.address(thread, *address);
                self.atomic(thread, &Atomic { space: *space, op: *op, ty: *ty, at }, dsts, b, *c)?;
            }
            Op::Fence => std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst),
            Op::CopyAsync { to, to_space, from, from_space, bytes, read_bytes } => {
                let bytes = u64::from(*bytes);
                let (to, from) = (self.address(thread, *to), self.address(thread, *from));
                let read =
                    read_bytes.map_or(bytes, |count| self.read(thread, count) & 0xffff_ffff).min(bytes);
                self.memory.copy((*from_space, from), (*to_space, to), [bytes, read], &thread.stack)?;
            }
            Op::Mbarrier { op, space, address, dst, srcs } => {
                let at = self.address(thread, *address);
                let srcs = [0, 1].map(|index| srcs.get(index).map(|src| self.read(thread, *src)));
                let result = mbarrier::run(*op, srcs, &mut |change| {
                    self.memory.update(*space, at, 8, &thread.stack, change)
                })?;
                self.write(thread, *dst, result);
            }
            Op::Alloca { dst, size, align } => {
                let size = self.read(thread, *size);
                let base = super::layout::align_up(thread.frame.top, u64::from(*align));
                let end = base.saturating_add(size);
                if end > thread.stack.range.end {
                    return Err(FaultKind::StackOverflow);
                }
                thread.frame.top = end;
                self.write(thread, Some(*dst), base.wrapping_sub(thread.frame.base));
            }
            Op::StackSave { dst } => {
                self.write(thread, Some(*dst), thread.frame.top.wrapping_sub(thread.frame.base));
            }
            Op::StackRestore { src } => {
                let top = thread.frame.base.wrapping_add(self.read(thread, *src));
                if !(thread.frame.base..=thread.frame.top).contains(&top) {
                    return Err(FaultKind::StackOverflow);
                }
                thread.frame.top = top;
            }
            // What ends a turn is done by the caller.
            Op::Alu(_)
            | Op::Barrier { .. }
            | Op::Warp { .. }
            | Op::Call(_)
            | Op::Yield
            | Op::Trap
            | Op::Breakpoint => {}
        }
        Ok(())
    }

    fn is_constant(&self, address: u64) -> bool {
        let module = &self.grid.program.module;
        let mut placed = module.globals.iter().zip(&self.grid.program.placement.addresses);
        placed.any(|(global, start)| {
            global.space == Space::Const
                && address.checked_sub(*start).is_some_and(|offset| offset < global.size)
        })
    }

    fn pack(&self, thread: &mut Thread, ty: Scalar, dst: Reg, parts: &[Operand]) {
        let bits = ty.size_bytes() * 8;
        let mut value = 0_u128;
        for (index, part) in parts.iter().enumerate() {
            let part = semantics::cut(self.read(thread, *part), bits);
            value |= u128::from(part).checked_shl(bits * index as u32).unwrap_or(0);
        }
        self.write(thread, Some(dst), value as u64);
        self.write_upper(thread, Some(dst), (value >> 64) as u64);
    }

    fn unpack(&self, thread: &mut Thread, ty: Scalar, parts: &[Option<Reg>], src: Operand) {
        let bits = ty.size_bytes() * 8;
        let value = u128::from(self.read(thread, src)) | u128::from(self.read_upper(thread, src)) << 64;
        for (index, part) in parts.iter().enumerate() {
            let shifted = value.checked_shr(bits * index as u32).unwrap_or(0);
            self.write(thread, *part, semantics::cut(shifted as u64, bits));
        }
    }

    fn load(
        &self,
        thread: &mut Thread,
        (space, ty, order): (Space, Scalar, Order),
        dsts: &[Option<Reg>],
        address: Address,
    ) -> Result<(), FaultKind> {
        let at = self.address(thread, address);
        let size = u64::from(ty.size_bytes());
        if dsts.len() > 1 || size > 8 {
            self.memory.check(space, at, size * dsts.len() as u64, &thread.stack)?;
        }
        let mut values = [[0; 2]; 8];
        for (index, value) in values.iter_mut().enumerate().take(dsts.len()) {
            let at = at.wrapping_add(size * index as u64);
            value[0] = self.memory.load(space, at, size.min(8) as u32, &thread.stack, order)?;
            if size > 8 {
                value[1] = self.memory.load(space, at.wrapping_add(8), 8, &thread.stack, order)?;
            }
        }
        for (dst, [low, high]) in dsts.iter().zip(values) {
            self.write(thread, *dst, semantics::extend(ty, low));
            self.write_upper(thread, *dst, high);
        }
        Ok(())
    }

    fn store(
        &self,
        thread: &Thread,
        (space, ty, order): (Space, Scalar, Order),
        srcs: &[Operand],
        address: Address,
    ) -> Result<(), FaultKind> {
        let at = self.address(thread, address);
        let size = u64::from(ty.size_bytes());
        if srcs.len() > 1 || size > 8 {
            self.memory.check(space, at, size * srcs.len() as u64, &thread.stack)?;
        }
        for (index, src) in srcs.iter().enumerate() {
            let at = at.wrapping_add(size * index as u64);
            let value = self.read(thread, *src);
            self.memory.store(space, at, (size.min(8) as u32, value), &thread.stack, order)?;
            if size > 8 {
                let upper = self.read_upper(thread, *src);
                self.memory.store(space, at.wrapping_add(8), (8, upper), &thread.stack, order)?;
            }
        }
        Ok(())
    }

    fn atomic(
        &self,
        thread: &mut Thread,
        what: &Atomic,
        dsts: &[Option<Reg>],
        b: &[Operand],
        c: Option<Operand>,
    ) -> Result<(), FaultKind> {
        let Atomic { space, op, ty, at } = *what;
        let real = match space {
            Space::Generic => self.memory.space_of(at, &thread.stack),
            space => space,
        };
        if !matches!(real, Space::Global | Space::Shared) {
            return Err(FaultKind::InvalidSpace);
        }
        let size = u64::from(ty.size_bytes());
        if b.len() > 1 {
            self.memory.check(space, at, size * b.len() as u64, &thread.stack)?;
        }
        let third = c.map_or(0, |c| self.read(thread, c));
        let mut olds = [[0; 2]; 8];
        for (index, (operand, old)) in b.iter().zip(&mut olds).enumerate() {
            let at = at.wrapping_add(size * index as u64);
            let value = self.read(thread, *operand);
            if ty == Scalar::B128 {
                let value = [value, self.read_upper(thread, *operand)];
                let third = [third, c.map_or(0, |c| self.read_upper(thread, c))];
                *old = self.memory.update_wide(space, at, &thread.stack, &|old| match op {
                    AtomicOp::Cas if old != value => old,
                    AtomicOp::Cas => third,
                    _ => value,
                })?;
                continue;
            }
            let change = |old: u64| semantics::atomic(op, ty, old, value, third);
            old[0] = self.memory.update(space, at, size as u32, &thread.stack, &change)?;
        }
        for (dst, [low, high]) in dsts.iter().zip(olds) {
            self.write(thread, *dst, semantics::extend(ty, low));
            self.write_upper(thread, *dst, high);
        }
        Ok(())
    }
}

/// An atomic operation at an address of its space.
struct Atomic {
    space: Space,
    op: AtomicOp,
    ty: Scalar,
    at: u64,
}
