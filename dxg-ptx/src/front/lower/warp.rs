//! Shuffles, votes, matches and reductions of a warp.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::Fit;
use crate::front::operand::Instruction;
use crate::ir::Mods;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::ReduceOp;
use crate::ir::Scalar;
use crate::ir::ShuffleMode;
use crate::ir::VoteMode;
use crate::ir::WarpOp;

/// The mask, last of the operands of the forms with `.sync`.
fn mask<'a>(p: &mut Parser<'a>, ins: &Instruction<'a>, is_sync: bool, at: usize) -> Result<Option<Operand>> {
    let count = at + usize::from(is_sync);
    ins.count(count, count)?;
    if is_sync { p.value(ins, at, Scalar::B32).map(Some) } else { Ok(None) }
}

pub(in crate::front) fn shfl<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let is_sync = ins.words.has("sync");
    let mode = ins.words.choose(&[
        ("up", ShuffleMode::Up),
        ("down", ShuffleMode::Down),
        ("bfly", ShuffleMode::Bfly),
        ("idx", ShuffleMode::Idx),
    ]);
    let mode = mode.ok_or_else(|| ins.fail("needs a mode"))?;
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    if !matches!(ty, Scalar::B32 | Scalar::U32 | Scalar::S32 | Scalar::F32) {
        return Err(ins.fail("does not take this type"));
    }
    let mask = mask(p, ins, is_sync, 4)?;
    let dsts = vec![p.piece_dst(ins.piece(0)?, ty, Fit::Exact)?, p.second_dst(ins, 0)?];
    let srcs = vec![p.value(ins, 1, ty)?, p.value(ins, 2, Scalar::U32)?, p.value(ins, 3, Scalar::U32)?];
    p.emit(ins, Op::Warp { op: WarpOp::Shuffle(mode), mask, dsts, srcs });
    Ok(())
}

pub(in crate::front) fn vote<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let is_sync = ins.words.has("sync");
    let mode = ins.words.choose(&[
        ("all", VoteMode::All),
        ("any", VoteMode::Any),
        ("uni", VoteMode::Uni),
        ("ballot", VoteMode::Ballot),
    ]);
    let mode = mode.ok_or_else(|| ins.fail("needs a mode"))?;
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    let want = if mode == VoteMode::Ballot { Scalar::B32 } else { Scalar::Pred };
    if ty != want {
        return Err(ins.fail("does not take this type"));
    }
    let mask = mask(p, ins, is_sync, 2)?;
    let dsts = vec![p.dst(ins, 0, ty)?];
    let srcs = vec![p.value(ins, 1, Scalar::Pred)?];
    p.emit(ins, Op::Warp { op: WarpOp::Vote(mode), mask, dsts, srcs });
    Ok(())
}

pub(in crate::front) fn matching<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let is_all =
        ins.words.choose(&[("any", false), ("all", true)]).ok_or_else(|| ins.fail("needs a mode"))?;
    if !ins.words.has("sync") {
        return Err(ins.fail("needs `.sync`"));
    }
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    if !matches!(ty, Scalar::B32 | Scalar::B64) {
        return Err(ins.fail("does not take this type"));
    }
    let mask = mask(p, ins, true, 2)?;
    let first = p.piece_dst(ins.piece(0)?, Scalar::B32, Fit::Exact)?;
    let second = p.second_dst(ins, 0)?;
    let srcs = vec![p.value(ins, 1, ty)?];
    let (op, dsts) = match is_all {
        true => (WarpOp::MatchAll(ty), vec![first, second]),
        false => (WarpOp::MatchAny(ty), vec![first]),
    };
    p.emit(ins, Op::Warp { op, mask, dsts, srcs });
    Ok(())
}

pub(in crate::front) fn redux<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if !ins.words.has("sync") {
        return Err(ins.fail("needs `.sync`"));
    }
    let op = ins.words.choose(&[
        ("add", ReduceOp::Add),
        ("min", ReduceOp::Min),
        ("max", ReduceOp::Max),
        ("and", ReduceOp::And),
        ("or", ReduceOp::Or),
        ("xor", ReduceOp::Xor),
    ]);
    let op = op.ok_or_else(|| ins.fail("needs an operation"))?;
    let mods = ins.words.mods();
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    let fits = match op {
        ReduceOp::And | ReduceOp::Or | ReduceOp::Xor => ty == Scalar::B32,
        ReduceOp::Min | ReduceOp::Max => matches!(ty, Scalar::U32 | Scalar::S32 | Scalar::F32),
        ReduceOp::Add | ReduceOp::Popc => matches!(ty, Scalar::U32 | Scalar::S32),
    };
    if !fits || mods != Mods::default() && ty != Scalar::F32 {
        return Err(ins.fail("does not take this type"));
    }
    let mask = mask(p, ins, true, 2)?;
    let dsts = vec![p.dst(ins, 0, ty)?];
    let srcs = vec![p.value(ins, 1, ty)?];
    p.emit(ins, Op::Warp { op: WarpOp::Redux(op, ty, mods), mask, dsts, srcs });
    Ok(())
}

pub(in crate::front) fn activemask<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    ins.count(1, 1)?;
    if ty != Scalar::B32 {
        return Err(ins.fail("does not take this type"));
    }
    let dsts = vec![p.dst(ins, 0, ty)?];
    p.emit(ins, Op::Warp { op: WarpOp::ActiveMask, mask: None, dsts, srcs: Vec::new() });
    Ok(())
}

pub(in crate::front) fn elect<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if !ins.words.has("sync") {
        return Err(ins.fail("needs `.sync`"));
    }
    ins.words.finish(ins.opcode)?;
    let mask = mask(p, ins, true, 1)?;
    let dsts = vec![p.piece_dst(ins.piece(0)?, Scalar::B32, Fit::Exact)?, p.second_dst(ins, 0)?];
    p.emit(ins, Op::Warp { op: WarpOp::Elect, mask, dsts, srcs: Vec::new() });
    Ok(())
}
