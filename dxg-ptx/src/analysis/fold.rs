//! Addresses that are a symbol and a constant are written as such, and what nobody reads is removed.

use crate::analysis::guards;
use crate::analysis::visit;
use crate::analysis::visit::Access;
use crate::ir::Address;
use crate::ir::AluOp;
use crate::ir::Base;
use crate::ir::Carry;
use crate::ir::CvtaDirection;
use crate::ir::Function;
use crate::ir::Inst;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::Space;
use crate::ir::Symbol;

/// What a register holds: the address of a symbol plus a constant, in its own space or as a generic address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    symbol: Symbol,
    offset: i64,
    is_generic: bool,
}

/// How often each register is written; under a guard counts twice.
fn definitions(function: &Function) -> Vec<u32> {
    let mut counts = vec![0; function.regs.len()];
    for inst in function.blocks.iter().flat_map(|block| &block.insts) {
        let weight = if inst.guard.is_some() { 2 } else { 1 };
        visit::writes(inst, |reg| counts[reg.0 as usize] += weight);
    }
    counts
}

fn space_of(symbol: Symbol, module: &Module) -> Option<Space> {
    match symbol {
        Symbol::Global(id) => module.globals.get(id.0 as usize).map(|global| global.space),
        Symbol::Local(_) => Some(Space::Local),
        Symbol::Param(_) => Some(Space::Param),
        Symbol::Function(_) => None,
    }
}

/// Bytes of a symbol, if it has a size.
fn size_of(symbol: Symbol, function: &Function, module: &Module) -> Option<u64> {
    match symbol {
        Symbol::Global(id) => module.globals.get(id.0 as usize).map(|global| global.size),
        Symbol::Local(id) => function.locals.get(id.0 as usize).map(|slot| u64::from(slot.size)),
        Symbol::Param(_) | Symbol::Function(_) => None,
    }
}

/// What an instruction makes known about its result.
fn learn(inst: &Inst, known: &[Option<Known>], module: &Module) -> Option<(Reg, Known)> {
    if inst.guard.is_some() {
        return None;
    }
    let look = |operand: &Operand| match operand {
        Operand::Reg(reg) => known[reg.0 as usize],
        _ => None,
    };
    match &inst.op {
        Op::AddressOf { dst, symbol, offset } => {
            let space = space_of(*symbol, module)?;
            let is_generic = matches!(space, Space::Global | Space::Const);
            Some((*dst, Known { symbol: *symbol, offset: *offset, is_generic }))
        }
        Op::Cvta { dst, src, space, direction } => {
            let value = look(src)?;
            let own = space_of(value.symbol, module)?;
            if own != *space {
                return None;
            }
            let is_generic =
                *direction == CvtaDirection::ToGeneric || matches!(own, Space::Global | Space::Const);
            Some((*dst, Known { is_generic, ..value }))
        }
        Op::Alu(alu) if alu.ty.size_bytes() >= 4 && !alu.ty.is_float() => {
            let dst = alu.dst?;
            let sources = [alu.src[0]?, alu.src[1].unwrap_or(Operand::Imm(0))];
            let value = match (alu.op, sources) {
                (AluOp::Mov, [a, _]) => look(&a)?,
                (AluOp::Add(carry), [Operand::Reg(a), Operand::Imm(more)])
                | (AluOp::Add(carry), [Operand::Imm(more), Operand::Reg(a)])
                    if carry == Carry::default() && alu.ty.size_bytes() == 8 =>
                {
                    let value = known[a.0 as usize]?;
                    Known { offset: value.offset.checked_add(more.cast_signed())?, ..value }
                }
                _ => return None,
            };
            Some((dst, value))
        }
        _ => None,
    }
}

/// Rewrites addresses that are known.
pub fn fold_addresses(function: &mut Function, module: &Module) {
    let counts = definitions(function);
    let mut known: Vec<Option<Known>> = vec![None; function.regs.len()];
    loop {
        let mut learned = Vec::new();
        for inst in function.blocks.iter().flat_map(|block| &block.insts) {
            if let Some((dst, value)) = learn(inst, &known, module)
                && counts[dst.0 as usize] == 1
                && known[dst.0 as usize].is_none()
            {
                learned.push((dst, value));
            }
        }
        if learned.is_empty() {
            break;
        }
        for (dst, value) in learned {
            known[dst.0 as usize] = Some(value);
        }
    }
    let mut blocks = std::mem::take(&mut function.blocks);
    for inst in blocks.iter_mut().flat_map(|block| &mut block.insts) {
        let (space, address, bytes) = match &mut inst.op {
            Op::Load { space, ty, dsts, address, .. } => {
                (space, address, ty.size_bytes() as usize * dsts.len())
            }
            Op::Store { space, ty, srcs, address, .. } => {
                (space, address, ty.size_bytes() as usize * srcs.len())
            }
            Op::Atomic { space, ty, b, address, .. } if *space != Space::Generic => {
                (space, address, ty.size_bytes() as usize * b.len().max(1))
            }
            _ => continue,
        };
        let Base::Reg(reg) = address.base else { continue };
        let Some(value) = known[reg.0 as usize] else { continue };
        let own = space_of(value.symbol, module);
        let matches = match *space {
            Space::Generic => value.is_generic,
            Space::Global | Space::Const => {
                value.is_generic && matches!(own, Some(Space::Global | Space::Const))
            }
            other => own == Some(other) && !value.is_generic,
        };
        let Some(offset) = value.offset.checked_add(address.offset) else { continue };
        let end = u64::try_from(offset).ok().and_then(|offset| offset.checked_add(bytes as u64));
        let is_inside =
            end.zip(size_of(value.symbol, function, module)).is_some_and(|(end, size)| end <= size);
        if let (true, true, Some(own)) = (matches, is_inside, own) {
            *space = own;
            *address = Address { base: Base::Symbol(value.symbol), offset };
        }
    }
    function.blocks = blocks;
}

/// Removes pure instructions whose results nobody reads.
pub fn remove_unread(function: &mut Function) {
    loop {
        let mut is_read = vec![false; function.regs.len()];
        for block in &function.blocks {
            for inst in &block.insts {
                visit::look(inst, &mut |reg, access| is_read[reg.0 as usize] |= access == Access::Read);
            }
            if let Some(reg) = visit::end_reads(&block.end) {
                is_read[reg.0 as usize] = true;
            }
        }
        let mut removed = false;
        for block in &mut function.blocks {
            block.insts.retain(|inst| {
                let mut keep = !guards::is_pure(&inst.op);
                visit::writes(inst, |reg| keep |= is_read[reg.0 as usize]);
                removed |= !keep;
                keep
            });
        }
        if !removed {
            return;
        }
    }
}
