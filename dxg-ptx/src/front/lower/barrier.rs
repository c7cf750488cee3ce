//! Barriers of a block and of a warp.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::cluster;
use crate::front::operand::Instruction;
use crate::ir::BarrierKind;
use crate::ir::Op;
use crate::ir::ReduceOp;
use crate::ir::Scalar;
use crate::ir::WarpOp;

/// `bar` and `barrier`.
pub(in crate::front) fn bar<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if ins.words.has("cluster") {
        return cluster::barrier(p, ins);
    }
    if ins.words.has("warp") {
        ins.words.has("sync");
        ins.words.finish(ins.opcode)?;
        ins.count(1, 1)?;
        let mask = Some(p.value(ins, 0, Scalar::B32)?);
        p.emit(ins, Op::Warp { op: WarpOp::Barrier, mask, dsts: Vec::new(), srcs: Vec::new() });
        return Ok(());
    }
    ins.words.has("cta");
    ins.words.has("aligned");
    if ins.words.has("red") {
        return reduce(p, ins);
    }
    let kind = ins.words.choose(&[("sync", BarrierKind::Sync), ("arrive", BarrierKind::Arrive)]);
    let kind = kind.ok_or_else(|| ins.fail("needs `.sync`, `.arrive` or `.red`"))?;
    ins.words.finish(ins.opcode)?;
    ins.count(if kind == BarrierKind::Arrive { 2 } else { 1 }, 2)?;
    let id = p.value(ins, 0, Scalar::U32)?;
    let threads = if ins.args.len() == 2 { Some(p.value(ins, 1, Scalar::U32)?) } else { None };
    p.emit(ins, Op::Barrier { kind, id, threads, dst: None, src: None });
    Ok(())
}

fn reduce<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let op = ins.words.choose(&[("popc", ReduceOp::Popc), ("and", ReduceOp::And), ("or", ReduceOp::Or)]);
    let op = op.ok_or_else(|| ins.fail("needs an operation"))?;
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    let want = if op == ReduceOp::Popc { Scalar::U32 } else { Scalar::Pred };
    if ty != want {
        return Err(ins.fail("does not take this type"));
    }
    ins.count(3, 4)?;
    let dst = p.dst(ins, 0, ty)?;
    let id = p.value(ins, 1, Scalar::U32)?;
    let last = ins.args.len() - 1;
    let threads = if last == 3 { Some(p.value(ins, 2, Scalar::U32)?) } else { None };
    let src = Some(p.value(ins, last, Scalar::Pred)?);
    p.emit(ins, Op::Barrier { kind: BarrierKind::Reduce(op), id, threads, dst, src });
    Ok(())
}
