//! Guarded instructions with effects become branches, so that only pure ones have guards.

use crate::ir::Block;
use crate::ir::BlockId;
use crate::ir::Function;
use crate::ir::Guard;
use crate::ir::Op;
use crate::ir::Terminator;

/// Whether an instruction can run in lanes where its guard does not hold, if its results are dropped.
#[must_use]
pub const fn is_pure(op: &Op) -> bool {
    matches!(
        op,
        Op::Alu(_)
            | Op::Pack { .. }
            | Op::Unpack { .. }
            | Op::AddressOf { .. }
            | Op::Cvta { .. }
            | Op::IsSpacep { .. }
    )
}

/// Turns the guards of instructions with effects into branches around them.
pub fn remove_guards(function: &mut Function) {
    let mut at = 0;
    while at < function.blocks.len() {
        let cut =
            function.blocks[at].insts.iter().position(|inst| inst.guard.is_some() && !is_pure(&inst.op));
        if let Some(cut) = cut {
            split(function, at, cut);
        }
        at += 1;
    }
}

/// Splits before instruction `first`: those with the same guard go to a block of their own, what follows to another.
fn split(function: &mut Function, at: usize, first: usize) {
    let count = function.blocks.len();
    let Ok(new) = u32::try_from(count) else { return };
    let (guarded, rest) = (BlockId(new), BlockId(new + 1));
    let Some(Some(guard)) = function.blocks[at].insts.get(first).map(|inst| inst.guard) else { return };
    let tail = function.blocks[at].insts.split_off(first);
    let same = run_length(&tail, guard);
    let mut tail = tail.into_iter();
    let mut insts: Vec<_> = tail.by_ref().take(same).collect();
    let place = insts.first().map_or(function.place, |inst| inst.place);
    for inst in &mut insts {
        inst.guard = None;
    }
    let end = std::mem::replace(
        &mut function.blocks[at].end,
        Terminator::Branch { guard, then: guarded, otherwise: rest },
    );
    let end_place = std::mem::replace(&mut function.blocks[at].end_place, place);
    function.blocks.push(Block { insts, end: Terminator::Jump(rest), end_place: place });
    function.blocks.push(Block { insts: tail.collect(), end, end_place });
}

/// How many instructions from the first have this guard, none of them but the last writing the predicate.
fn run_length(insts: &[crate::ir::Inst], guard: Guard) -> usize {
    let mut count = 0;
    for inst in insts {
        if inst.guard != Some(guard) {
            break;
        }
        count += 1;
        let mut writes_it = false;
        crate::analysis::visit::writes(inst, |reg| writes_it |= reg == guard.reg);
        if writes_it {
            break;
        }
    }
    count
}
