//! Atomic operations and reductions.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::memory;
use crate::front::operand::Instruction;
use crate::ir::AtomicOp;
use crate::ir::Op;
use crate::ir::Scalar;
use crate::ir::Space;

use Scalar::B32;
use Scalar::B64;
use Scalar::BF16;
use Scalar::BF16x2;
use Scalar::F16;
use Scalar::F16x2;
use Scalar::F32;
use Scalar::F64;
use Scalar::S32;
use Scalar::S64;
use Scalar::U32;
use Scalar::U64;

const OPS: &[(&str, AtomicOp)] = &[
    ("exch", AtomicOp::Exch),
    ("cas", AtomicOp::Cas),
    ("add", AtomicOp::Add),
    ("and", AtomicOp::And),
    ("or", AtomicOp::Or),
    ("xor", AtomicOp::Xor),
    ("inc", AtomicOp::Inc),
    ("dec", AtomicOp::Dec),
    ("min", AtomicOp::Min),
    ("max", AtomicOp::Max),
];

/// Whether the old value is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Old,
    None,
}

pub(in crate::front) fn atom<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    atomic(p, ins, Answer::Old)
}

pub(in crate::front) fn red<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if ins.words.sees("async") {
        return Err(ins.refuse("is not supported with `.async`: there are no other blocks to reduce for"));
    }
    atomic(p, ins, Answer::None)
}

fn takes(op: AtomicOp, ty: Scalar, lanes: usize) -> bool {
    let is_half = matches!(ty, F16 | F16x2 | BF16 | BF16x2);
    if lanes > 1 {
        return match op {
            AtomicOp::Add => is_half || ty == F32,
            AtomicOp::Min | AtomicOp::Max => is_half,
            _ => false,
        };
    }
    match op {
        AtomicOp::Exch => matches!(ty, B32 | B64 | Scalar::B128 | U32 | U64 | S32 | S64 | F32 | F64),
        AtomicOp::Cas => {
            matches!(ty, Scalar::B16 | B32 | B64 | Scalar::B128 | U32 | U64 | S32 | S64 | Scalar::U16)
        }
        AtomicOp::Add => matches!(ty, U32 | U64 | S32 | S64 | F32 | F64) || is_half,
        AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => matches!(ty, B32 | B64 | U32 | U64 | S32 | S64),
        AtomicOp::Inc | AtomicOp::Dec => ty == U32,
        AtomicOp::Min | AtomicOp::Max => matches!(ty, U32 | U64 | S32 | S64) || is_half,
    }
}

fn atomic<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>, answer: Answer) -> Result<()> {
    let order = memory::order(&mut ins.words);
    memory::scope(&mut ins.words);
    let space = p.space(ins)?.unwrap_or(Space::Generic);
    let op = ins.words.choose(OPS).ok_or_else(|| ins.fail("needs an operation"))?;
    ins.words.has("noftz");
    let has_policy = memory::cache_hints(&mut ins.words);
    let lanes = ins.words.lanes();
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    if !takes(op, ty, lanes) {
        return Err(ins.fail("does not take this type"));
    }
    let first = usize::from(answer == Answer::Old);
    let values = if op == AtomicOp::Cas { 2 } else { 1 };
    let count = first + 1 + values + usize::from(has_policy);
    ins.count(count, count)?;
    let dsts = match answer {
        Answer::Old => p.lane_dsts(ins, 0, lanes, ty)?,
        Answer::None => vec![None; lanes],
    };
    let (space, address) = p.memory(ins, first, space)?;
    if !matches!(space, Space::Generic | Space::Global | Space::Shared) {
        return Err(ins.bad(first, "is neither global nor shared"));
    }
    let b = p.lane_values(ins, first + 1, lanes, ty)?;
    let c = if op == AtomicOp::Cas { Some(p.wide_value(ins, first + 2, ty)?) } else { None };
    if has_policy {
        p.value(ins, count - 1, B64)?;
    }
    p.emit(ins, Op::Atomic { space, op, ty, order, dsts, address, b, c });
    Ok(())
}
