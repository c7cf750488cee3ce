//! The registers that an instruction reads and writes, in one place.

use crate::ir::Address;
use crate::ir::AluOp;
use crate::ir::Base;
use crate::ir::Callee;
use crate::ir::Carry;
use crate::ir::Inst;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::Terminator;

/// Whether an instruction reads or writes a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads it.
    Read,
    /// It writes it.
    Write,
}

const fn carry_of(op: &mut AluOp) -> Option<&mut Carry> {
    match op {
        AluOp::Add(carry) | AluOp::Sub(carry) | AluOp::Mad(_, carry) => Some(carry),
        _ => None,
    }
}

type Visitor<'a> = &'a mut dyn FnMut(&mut Reg, Access);

fn operand(operand: &mut Operand, visit: Visitor<'_>) {
    if let Operand::Reg(reg) = operand {
        visit(reg, Access::Read);
    }
}

fn operands<'a>(list: impl IntoIterator<Item = &'a mut Operand>, visit: Visitor<'_>) {
    for item in list {
        operand(item, visit);
    }
}

fn written<'a>(list: impl IntoIterator<Item = &'a mut Reg>, visit: Visitor<'_>) {
    for reg in list {
        visit(reg, Access::Write);
    }
}

fn address(address: &mut Address, visit: Visitor<'_>) {
    if let Base::Reg(reg) = &mut address.base {
        visit(reg, Access::Read);
    }
}

/// Calls `visit` for every register of an operation; reads come before writes. The visitor may rename them.
pub fn visit_op(op: &mut Op, visit: &mut dyn FnMut(&mut Reg, Access)) {
    match op {
        Op::Alu(alu) => {
            operands(alu.src.iter_mut().flatten(), visit);
            if let Some(Carry { input: Some(reg), .. }) = carry_of(&mut alu.op) {
                visit(reg, Access::Read);
            }
            written(alu.dst.iter_mut().chain(alu.dst2.iter_mut()), visit);
            if let Some(Carry { output: Some(reg), .. }) = carry_of(&mut alu.op) {
                visit(reg, Access::Write);
            }
        }
        Op::Pack { dst, parts, .. } => {
            operands(parts, visit);
            visit(dst, Access::Write);
        }
        Op::Unpack { parts, src, .. } => {
            operand(src, visit);
            written(parts.iter_mut().flatten(), visit);
        }
        Op::AddressOf { dst, .. } | Op::StackSave { dst } => visit(dst, Access::Write),
        Op::Cvta { dst, src, .. } | Op::IsSpacep { dst, src, .. } | Op::Alloca { dst, size: src, .. } => {
            operand(src, visit);
            visit(dst, Access::Write);
        }
        Op::Load { dsts, address: at, .. } => {
            address(at, visit);
            written(dsts.iter_mut().flatten(), visit);
        }
        Op::Store { srcs, address: at, .. } => {
            address(at, visit);
            operands(srcs, visit);
        }
        Op::Atomic { dsts, address: at, b, c, .. } => {
            address(at, visit);
            operands(b.iter_mut().chain(c.iter_mut()), visit);
            written(dsts.iter_mut().flatten(), visit);
        }
        Op::CopyAsync { to, from, read_bytes, .. } => {
            address(to, visit);
            address(from, visit);
            operands(read_bytes, visit);
        }
        Op::Mbarrier { address: at, dst, srcs, .. } => {
            address(at, visit);
            operands(srcs, visit);
            written(dst, visit);
        }
        Op::Barrier { id, threads, dst, src, .. } => {
            operands([id].into_iter().chain(threads.iter_mut()).chain(src.iter_mut()), visit);
            written(dst, visit);
        }
        Op::Warp { mask, dsts, srcs, .. } => {
            operands(mask.iter_mut().chain(srcs.iter_mut()), visit);
            written(dsts.iter_mut().flatten(), visit);
        }
        Op::Call(call) => {
            if let Callee::Indirect(reg) = &mut call.callee {
                visit(reg, Access::Read);
            }
        }
        Op::StackRestore { src } => operand(src, visit),
        Op::Fence | Op::Yield | Op::Trap | Op::Breakpoint => {}
    }
}

/// The same for an instruction with its guard. What a guarded instruction writes it also reads: lanes that skip it keep it.
pub fn visit_inst(inst: &mut Inst, visit: &mut dyn FnMut(&mut Reg, Access)) {
    if let Some(guard) = &mut inst.guard {
        visit(&mut guard.reg, Access::Read);
    }
    visit_op(&mut inst.op, visit);
}

/// Registers that an instruction reads, those that it keeps under its guard included.
pub fn reads(inst: &Inst, mut visit: impl FnMut(Reg)) {
    let is_guarded = inst.guard.is_some();
    look(inst, &mut |reg, access| {
        if access == Access::Read || is_guarded {
            visit(reg);
        }
    });
}

/// Registers that an instruction writes.
pub fn writes(inst: &Inst, mut visit: impl FnMut(Reg)) {
    look(inst, &mut |reg, access| {
        if access == Access::Write {
            visit(reg);
        }
    });
}

/// Calls `visit` for every register, without changing any.
pub fn look(inst: &Inst, visit: &mut dyn FnMut(Reg, Access)) {
    // One list of registers for both uses; a copy of an instruction is cheap beside what is done with it.
    if let (None, Op::Alu(alu)) = (&inst.guard, &inst.op)
        && carry_of(&mut alu.op.clone()).is_none()
    {
        for src in alu.src.iter().flatten() {
            if let Operand::Reg(reg) = src {
                visit(*reg, Access::Read);
            }
        }
        for dst in alu.dst.iter().chain(alu.dst2.iter()) {
            visit(*dst, Access::Write);
        }
        return;
    }
    visit_inst(&mut inst.clone(), &mut |reg, access| visit(*reg, access));
}

/// The register that a block's end reads.
#[must_use]
pub const fn end_reads(end: &Terminator) -> Option<Reg> {
    match end {
        Terminator::Branch { guard, .. } => Some(guard.reg),
        Terminator::Switch { index: Operand::Reg(reg), .. } => Some(*reg),
        _ => None,
    }
}
