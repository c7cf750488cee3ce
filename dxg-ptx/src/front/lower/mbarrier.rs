//! Barrier objects in memory.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::memory;
use crate::front::operand::Arg;
use crate::front::operand::Instruction;
use crate::ir::Address;
use crate::ir::Base;
use crate::ir::MbarrierOp;
use crate::ir::Op;
use crate::ir::Scalar;
use crate::ir::Space;

const OPS: &[(&str, MbarrierOp)] = &[
    ("init", MbarrierOp::Init),
    ("inval", MbarrierOp::Inval),
    ("arrive", MbarrierOp::Arrive),
    ("arrive_drop", MbarrierOp::ArriveDrop),
    ("test_wait", MbarrierOp::TestWait),
    ("try_wait", MbarrierOp::TryWait),
    ("pending_count", MbarrierOp::PendingCount),
];

pub(in crate::front) fn mbarrier<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if ["expect_tx", "complete_tx"].into_iter().any(|word| ins.words.sees(word)) {
        return Err(ins.refuse("is not supported with transactions: there are no bulk operations"));
    }
    let op = ins.words.choose(OPS).ok_or_else(|| ins.fail("needs an operation"))?;
    memory::order(&mut ins.words);
    memory::scope(&mut ins.words);
    let op = match op {
        MbarrierOp::Arrive if ins.words.has("noComplete") => MbarrierOp::ArriveNoComplete,
        MbarrierOp::ArriveDrop if ins.words.has("noComplete") => MbarrierOp::ArriveDropNoComplete,
        MbarrierOp::TestWait if ins.words.has("parity") => MbarrierOp::TestWaitParity,
        MbarrierOp::TryWait if ins.words.has("parity") => MbarrierOp::TryWaitParity,
        op => op,
    };
    let space = p.space(ins)?.unwrap_or(Space::Generic);
    if p.ty(ins)? != Scalar::B64 {
        return Err(ins.fail("does not take this type"));
    }
    ins.words.finish(ins.opcode)?;
    lower(p, ins, op, space)
}

fn lower<'a>(p: &mut Parser<'a>, ins: &Instruction<'a>, op: MbarrierOp, space: Space) -> Result<()> {
    let mut srcs = Vec::new();
    let mut dst = None;
    let (space, address) = match op {
        MbarrierOp::Init => {
            ins.count(2, 2)?;
            srcs.push(p.value(ins, 1, Scalar::U32)?);
            p.memory(ins, 0, space)?
        }
        MbarrierOp::Inval => {
            ins.count(1, 1)?;
            p.memory(ins, 0, space)?
        }
        MbarrierOp::PendingCount => {
            ins.count(2, 2)?;
            dst = p.dst(ins, 0, Scalar::U32)?;
            srcs.push(p.value(ins, 1, Scalar::B64)?);
            (Space::Shared, Address { base: Base::Zero, offset: 0 })
        }
        MbarrierOp::TestWait
        | MbarrierOp::TestWaitParity
        | MbarrierOp::TryWait
        | MbarrierOp::TryWaitParity => {
            ins.count(3, 4)?;
            dst = p.dst(ins, 0, Scalar::Pred)?;
            let is_parity = matches!(op, MbarrierOp::TestWaitParity | MbarrierOp::TryWaitParity);
            srcs.push(p.value(ins, 2, if is_parity { Scalar::U32 } else { Scalar::B64 })?);
            if ins.args.len() == 4 {
                // How long to wait is a hint.
                p.value(ins, 3, Scalar::U32)?;
            }
            p.memory(ins, 1, space)?
        }
        _ => {
            // The state may be left out.
            let first = usize::from(!matches!(ins.piece(0)?.arg, Arg::Memory(_)));
            ins.count(first + 1, first + 2)?;
            if first == 1 {
                dst = p.dst(ins, 0, Scalar::B64)?;
            }
            if ins.args.len() == first + 2 {
                srcs.push(p.value(ins, first + 1, Scalar::U32)?);
            }
            p.memory(ins, first, space)?
        }
    };
    if !matches!(space, Space::Generic | Space::Shared) {
        return Err(ins.fail("works on shared memory"));
    }
    p.emit(ins, Op::Mbarrier { op, space, address, dst, srcs });
    Ok(())
}

/// `cp.async.mbarrier.arrive`, from after `cp.async`.
pub(super) fn copy_arrive<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    ins.words.has("mbarrier");
    ins.words.has("arrive");
    ins.words.has("mbarrier::arrive");
    let op = if ins.words.has("noinc") { MbarrierOp::CopyArriveNoInc } else { MbarrierOp::CopyArrive };
    let space = p.space(ins)?.unwrap_or(Space::Generic);
    if p.ty(ins)? != Scalar::B64 {
        return Err(ins.fail("does not take this type"));
    }
    ins.words.finish(ins.opcode)?;
    ins.count(1, 1)?;
    let (space, address) = p.memory(ins, 0, space)?;
    p.emit(ins, Op::Mbarrier { op, space, address, dst: None, srcs: Vec::new() });
    Ok(())
}
