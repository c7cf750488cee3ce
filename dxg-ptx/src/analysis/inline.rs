//! Calls of functions that do not call themselves become part of the caller.
//!
//! A parameter or result of the callee becomes the caller's variable that the call names: callers write arguments anew for every
//! call and do not read them afterwards.

use crate::analysis::guards;
use crate::analysis::visit;
use crate::ir::Base;
use crate::ir::Block;
use crate::ir::BlockId;
use crate::ir::Call;
use crate::ir::Callee;
use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::LocalId;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::Reg;
use crate::ir::Symbol;
use crate::ir::Terminator;

/// A function does not grow beyond so many instructions.
const MOST_INSTS: usize = 12_000;

fn insts_of(function: &Function) -> usize {
    function.blocks.iter().map(|block| block.insts.len() + 1).sum()
}

fn called(function: &Function) -> Vec<FuncId> {
    let insts = function.blocks.iter().flat_map(|block| &block.insts);
    let mut found = Vec::new();
    for inst in insts {
        if let Op::Call(call) = &inst.op {
            match call.callee {
                Callee::Function(id) => found.push(id),
                Callee::Indirect(_) => found.extend(&call.candidates),
                _ => {}
            }
        }
    }
    found
}

/// For each function, whether a chain of calls leads from it back to it.
#[must_use]
pub fn recursive(module: &Module) -> Vec<bool> {
    let calls: Vec<Vec<FuncId>> = module.functions.iter().map(called).collect();
    let reaches_itself = |start: usize| {
        let mut seen = vec![false; calls.len()];
        let mut work: Vec<usize> = calls[start].iter().map(|id| id.0 as usize).collect();
        while let Some(at) = work.pop() {
            if at == start {
                return true;
            }
            if at < seen.len() && !std::mem::replace(&mut seen[at], true) {
                work.extend(calls[at].iter().map(|id| id.0 as usize));
            }
        }
        false
    };
    (0..calls.len()).map(|index| !calls[index].is_empty() && reaches_itself(index)).collect()
}

/// Whether a call can be replaced by the body.
fn fits(caller: &Function, call: &Call, callee: &Function) -> bool {
    let same = |own: &[LocalId], other: &[LocalId]| {
        own.len() == other.len()
            && own.iter().zip(other).all(|(own, other)| {
                match (caller.locals.get(own.0 as usize), callee.locals.get(other.0 as usize)) {
                    (Some(own), Some(other)) => own.size >= other.size && own.align >= other.align,
                    _ => false,
                }
            })
    };
    let has_own_stack =
        callee.blocks.iter().flat_map(|block| &block.insts).any(|inst| {
            matches!(inst.op, Op::Alloca { .. } | Op::StackSave { .. } | Op::StackRestore { .. })
        });
    !callee.blocks.is_empty()
        && !has_own_stack
        && same(&call.args, &callee.args)
        && same(&call.rets, &callee.rets)
}

/// Inlines what can be inlined. Guards of calls must have been removed.
pub fn inline_calls(function: &mut Function, module: &Module) {
    let is_recursive = recursive(module);
    let mut at = 0;
    while at < function.blocks.len() {
        let found = function.blocks[at].insts.iter().enumerate().find_map(|(index, inst)| {
            let Op::Call(call) = &inst.op else { return None };
            let Callee::Function(id) = call.callee else { return None };
            let callee = module.functions.get(id.0 as usize)?;
            let is_open = !is_recursive.get(id.0 as usize).copied().unwrap_or(true);
            (is_open && inst.guard.is_none() && fits(function, call, callee))
                .then(|| (index, call.clone(), callee))
        });
        match found {
            Some((index, call, callee)) if insts_of(function) + insts_of(callee) <= MOST_INSTS => {
                let mut body = callee.clone();
                guards::remove_guards(&mut body);
                inline(function, (at, index), &call, body);
            }
            // The rest of this block is a block of its own if something was inlined, and is looked at in its turn.
            _ => at += 1,
        }
    }
}

fn inline(function: &mut Function, (at, index): (usize, usize), call: &Call, mut body: Function) {
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let first_reg = count(function.regs.len());
    let first_block = count(function.blocks.len());
    function.regs.append(&mut body.regs);
    let mut locals: Vec<Option<LocalId>> = vec![None; body.locals.len()];
    let named = body.args.iter().zip(&call.args).chain(body.rets.iter().zip(&call.rets));
    for (own, caller) in named {
        locals[own.0 as usize] = Some(*caller);
    }
    let mut map = Vec::with_capacity(locals.len());
    for (slot, known) in body.locals.iter().zip(locals) {
        map.push(known.unwrap_or_else(|| {
            let mut slot = slot.clone();
            slot.offset = function.local_bytes.next_multiple_of(slot.align.max(1));
            function.local_bytes = slot.offset + slot.size;
            function.local_align = function.local_align.max(slot.align);
            function.locals.push(slot);
            LocalId(count(function.locals.len()) - 1)
        }));
    }
    let tail = BlockId(first_block + count(body.blocks.len()));
    for block in &mut body.blocks {
        for inst in &mut block.insts {
            visit::visit_inst(inst, &mut |reg, _| *reg = Reg(reg.0 + first_reg));
            rename_locals(&mut inst.op, &map);
        }
        rename_end(&mut block.end, (first_reg, first_block), tail);
    }
    let start = BlockId(first_block);
    let own = &mut function.blocks[at];
    let rest = own.insts.split_off(index + 1);
    own.insts.pop();
    let end = std::mem::replace(&mut own.end, Terminator::Jump(start));
    let end_place = own.end_place;
    function.blocks.append(&mut body.blocks);
    function.blocks.push(Block { insts: rest, end, end_place });
}

fn rename_symbol(symbol: &mut Symbol, map: &[LocalId]) {
    if let Symbol::Local(id) = symbol
        && let Some(new) = map.get(id.0 as usize)
    {
        *id = *new;
    }
}

fn rename_locals(op: &mut Op, map: &[LocalId]) {
    let address = |base: &mut Base| {
        if let Base::Symbol(symbol) = base {
            rename_symbol(symbol, map);
        }
    };
    match op {
        Op::AddressOf { symbol, .. } => rename_symbol(symbol, map),
        Op::Load { address: at, .. }
        | Op::Store { address: at, .. }
        | Op::Atomic { address: at, .. }
        | Op::Mbarrier { address: at, .. } => address(&mut at.base),
        Op::CopyAsync { to, from, .. } => {
            address(&mut to.base);
            address(&mut from.base);
        }
        Op::Call(call) => {
            for id in call.args.iter_mut().chain(&mut call.rets) {
                if let Some(new) = map.get(id.0 as usize) {
                    *id = *new;
                }
            }
        }
        _ => {}
    }
}

fn rename_end(end: &mut Terminator, (regs, blocks): (u32, u32), tail: BlockId) {
    let moved = |id: BlockId| BlockId(id.0 + blocks);
    match end {
        Terminator::Jump(to) => *to = moved(*to),
        Terminator::Branch { guard, then, otherwise } => {
            guard.reg = Reg(guard.reg.0 + regs);
            (*then, *otherwise) = (moved(*then), moved(*otherwise));
        }
        Terminator::Switch { index, targets } => {
            if let crate::ir::Operand::Reg(reg) = index {
                *reg = Reg(reg.0 + regs);
            }
            targets.iter_mut().for_each(|to| *to = moved(*to));
        }
        Terminator::Return => *end = Terminator::Jump(tail),
        Terminator::Exit | Terminator::Trap => {}
    }
}
