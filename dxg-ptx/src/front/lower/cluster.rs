//! Blocks of a cluster, and grids that wait for each other. Each block is a cluster of its own, and a grid starts when those before it have
//! ended.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::alu;
use crate::front::operand::Arg;
use crate::front::operand::Instruction;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::BarrierKind;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Scalar;

/// The barrier for all threads of a block that stands for that of its cluster: the last one, which nothing else uses with all threads.
const CLUSTER_BARRIER: u64 = 15;

/// Takes `.shared::cluster` and the type of an address.
fn address_type<'a>(p: &Parser<'a>, ins: &mut Instruction<'a>) -> Result<Scalar> {
    let is_shared = ins.words.has("shared::cluster");
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    // Generic addresses have 64 bits.
    match ty {
        Scalar::U64 => Ok(ty),
        Scalar::U32 if is_shared => Ok(ty),
        _ => Err(ins.fail("does not take this type")),
    }
}

/// `mapa`: an address is where it is, as there is no other block.
pub(in crate::front) fn mapa<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let ty = address_type(p, ins)?;
    ins.count(3, 3)?;
    let dst = p.dst(ins, 0, ty)?;
    p.value(ins, 2, Scalar::U32)?;
    let src = [Some(p.value(ins, 1, ty)?), None, None, None];
    p.emit(ins, Op::Alu(Alu { dst, src, ..alu(AluOp::Mov, ty) }));
    Ok(())
}

/// `getctarank`: the first and only.
pub(in crate::front) fn getctarank<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let ty = address_type(p, ins)?;
    ins.count(2, 2)?;
    let dst = p.dst(ins, 0, Scalar::U32)?;
    if !matches!(ins.piece(1)?.arg, Arg::Symbol(..)) {
        p.value(ins, 1, ty)?;
    }
    let src = [Some(Operand::Imm(0)), None, None, None];
    p.emit(ins, Op::Alu(Alu { dst, src, ..alu(AluOp::Mov, Scalar::U32) }));
    Ok(())
}

/// `barrier.cluster`, from after those words.
pub(super) fn barrier<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let is_wait = ins.words.choose(&[("arrive", false), ("wait", true)]);
    let is_wait = is_wait.ok_or_else(|| ins.fail("needs `.arrive` or `.wait`"))?;
    let order: &[(&str, ())] = if is_wait { &[("acquire", ())] } else { &[("release", ()), ("relaxed", ())] };
    ins.words.choose(order);
    ins.words.has("aligned");
    ins.words.finish(ins.opcode)?;
    ins.count(0, 0)?;
    // Each thread that arrives waits in its turn, so that all are there when all wait.
    let op = match is_wait {
        false => Op::Fence,
        true => Op::Barrier {
            kind: BarrierKind::Sync,
            id: Operand::Imm(CLUSTER_BARRIER),
            threads: None,
            dst: None,
            src: None,
        },
    };
    p.emit(ins, op);
    Ok(())
}

/// `griddepcontrol`: the grids before have ended, and those after start when this one has.
pub(in crate::front) fn griddepcontrol<'a>(_: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if ins.words.choose(&[("launch_dependents", ()), ("wait", ())]).is_none() {
        return Err(ins.fail("needs `.launch_dependents` or `.wait`"));
    }
    ins.words.finish(ins.opcode)?;
    ins.count(0, 0)
}
