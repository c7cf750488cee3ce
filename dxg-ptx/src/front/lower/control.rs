//! Branches, returns and ends.

use crate::diagnostics::Diagnostic;
use crate::front::Parser;
use crate::front::Result;
use crate::front::names::Found;
use crate::front::names::Name;
use crate::front::operand::Arg;
use crate::front::operand::Instruction;
use crate::ir::Op;
use crate::ir::Scalar;
use crate::ir::Terminator;

pub(in crate::front) fn bra<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    ins.words.has("uni");
    ins.words.finish(ins.opcode)?;
    ins.count(1, 1)?;
    let piece = ins.piece(0)?;
    let Arg::Name(name) = piece.arg else { return Err(ins.bad(0, "is no label")) };
    let block = p.label(name, piece.place)?;
    p.code.end_guarded(ins.guard, Terminator::Jump(block), ins.place);
    Ok(())
}

pub(in crate::front) fn brx<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if !ins.words.has("idx") {
        return Err(ins.fail("needs `.idx`"));
    }
    ins.words.has("uni");
    ins.words.finish(ins.opcode)?;
    ins.count(2, 2)?;
    let index = p.value(ins, 0, Scalar::U32)?;
    let piece = ins.piece(1)?;
    let Arg::Name(name) = piece.arg else { return Err(ins.bad(1, "is no list of labels")) };
    let Some(Found::Name(Name::Branches(number))) = p.names.find(name) else {
        return Err(Diagnostic::malformed(piece.place, format!("`{name}` is no list of labels")));
    };
    let targets = p.branches.get(number as usize).cloned().unwrap_or_default();
    // A list is copied for each branch that names it; that must not grow beyond the text.
    p.branch_entries = p.branch_entries.saturating_add(targets.len());
    if p.branch_entries > p.most_branch_entries {
        return Err(Diagnostic::unsupported(piece.place, "too many branches share a list of labels"));
    }
    p.code.end_guarded(ins.guard, Terminator::Switch { index, targets }, ins.place);
    Ok(())
}

pub(in crate::front) fn ret<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    ins.words.has("uni");
    ins.words.finish(ins.opcode)?;
    ins.count(0, 0)?;
    p.lower_return(ins.guard, ins.place);
    Ok(())
}

pub(in crate::front) fn exit<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    ins.words.finish(ins.opcode)?;
    ins.count(0, 0)?;
    p.code.end_guarded(ins.guard, Terminator::Exit, ins.place);
    Ok(())
}

pub(in crate::front) fn trap<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    ins.words.finish(ins.opcode)?;
    ins.count(0, 0)?;
    p.emit(ins, Op::Trap);
    Ok(())
}

pub(in crate::front) fn brkpt<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    ins.words.finish(ins.opcode)?;
    ins.count(0, 0)?;
    p.emit(ins, Op::Breakpoint);
    Ok(())
}

pub(in crate::front) fn nanosleep<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if p.ty(ins)? != Scalar::U32 {
        return Err(ins.fail("does not take this type"));
    }
    ins.words.finish(ins.opcode)?;
    ins.count(1, 1)?;
    p.value(ins, 0, Scalar::U32)?;
    p.emit(ins, Op::Yield);
    Ok(())
}

/// What says nothing about the program: hints to caches and profilers.
pub(in crate::front) fn hint<'a>(_: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if ins.words.sees("tensormap") {
        return Err(ins.refuse("is not supported: there are no tensor maps"));
    }
    Ok(())
}
