//! Logic, shifts, fields of bits and permutations.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::alu;
use crate::front::operand::Arg;
use crate::front::operand::Instruction;
use crate::front::operand::Second;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::BoolOp;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Part;
use crate::ir::Permute;
use crate::ir::Scalar;
use crate::ir::Wrap;

use Scalar::B16;
use Scalar::B32;
use Scalar::B64;
use Scalar::Pred;
use Scalar::S16;
use Scalar::S32;
use Scalar::S64;
use Scalar::U16;
use Scalar::U32;
use Scalar::U64;

/// Reads the type, which must be one of these, and the operands, each with its type; the first is the destination.
fn shaped<'a>(
    p: &mut Parser<'a>,
    ins: &mut Instruction<'a>,
    op: AluOp,
    allowed: &[Scalar],
    shape: impl Fn(Scalar) -> (Scalar, [Option<Scalar>; 4]),
) -> Result<()> {
    let ty = p.ty(ins)?;
    if !allowed.contains(&ty) {
        return Err(ins.fail("does not take this type"));
    }
    let (dst, srcs) = shape(ty);
    let operands = srcs.iter().flatten().count();
    ins.count(operands + 1, operands + 1)?;
    let mut alu = alu(op, ty);
    alu.dst = p.dst(ins, 0, dst)?;
    for (index, src) in srcs.into_iter().flatten().enumerate() {
        alu.src[index] = Some(p.value(ins, index + 1, src)?);
    }
    p.emit_alu(ins, alu)
}

fn logic<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>, op: AluOp) -> Result<()> {
    // Some compilers write the types of integers.
    const ALLOWED: &[Scalar] = &[Pred, B16, B32, B64, U16, U32, U64, S16, S32, S64];
    shaped(p, ins, op, ALLOWED, |ty| (ty, [Some(ty), Some(ty), None, None]))
}

pub(in crate::front) fn and<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    logic(p, ins, AluOp::And)
}

pub(in crate::front) fn or<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    logic(p, ins, AluOp::Or)
}

pub(in crate::front) fn xor<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    logic(p, ins, AluOp::Xor)
}

pub(in crate::front) fn not<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    const ALLOWED: &[Scalar] = &[Pred, B16, B32, B64, U16, U32, U64, S16, S32, S64];
    shaped(p, ins, AluOp::Not, ALLOWED, |ty| (ty, [Some(ty), None, None, None]))
}

pub(in crate::front) fn cnot<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    shaped(p, ins, AluOp::Cnot, &[B16, B32, B64], |ty| (ty, [Some(ty), None, None, None]))
}

pub(in crate::front) fn shl<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    shift(p, ins, AluOp::Shl)
}

pub(in crate::front) fn shr<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    shift(p, ins, AluOp::Shr)
}

fn shift<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>, op: AluOp) -> Result<()> {
    const ALLOWED: &[Scalar] = &[B16, B32, B64, U16, U32, U64, S16, S32, S64];
    shaped(p, ins, op, ALLOWED, |ty| (ty, [Some(ty), Some(U32), None, None]))
}

pub(in crate::front) fn shf<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let is_left =
        ins.words.choose(&[("l", true), ("r", false)]).ok_or_else(|| ins.fail("needs `.l` or `.r`"))?;
    let wrap = wrap(ins)?;
    let op = if is_left { AluOp::ShfLeft(wrap) } else { AluOp::ShfRight(wrap) };
    shaped(p, ins, op, &[B32], |ty| (ty, [Some(ty), Some(ty), Some(U32), None]))
}

fn wrap(ins: &mut Instruction<'_>) -> Result<Wrap> {
    ins.words
        .choose(&[("clamp", Wrap::Clamp), ("wrap", Wrap::Wrap)])
        .ok_or_else(|| ins.fail("needs `.clamp` or `.wrap`"))
}

pub(in crate::front) fn bfe<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    shaped(p, ins, AluOp::Bfe, &[U32, U64, S32, S64], |ty| (ty, [Some(ty), Some(U32), Some(U32), None]))
}

pub(in crate::front) fn bfi<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    shaped(p, ins, AluOp::Bfi, &[B32, B64], |ty| (ty, [Some(ty), Some(ty), Some(U32), Some(U32)]))
}

pub(in crate::front) fn bmsk<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let wrap = wrap(ins)?;
    shaped(p, ins, AluOp::Bmsk(wrap), &[B32], |ty| (ty, [Some(ty), Some(ty), None, None]))
}

pub(in crate::front) fn szext<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let wrap = wrap(ins)?;
    shaped(p, ins, AluOp::Szext(wrap), &[U32, S32], |ty| (ty, [Some(ty), Some(U32), None, None]))
}

pub(in crate::front) fn bfind<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let op = if ins.words.has("shiftamt") { AluOp::BfindShift } else { AluOp::Bfind };
    shaped(p, ins, op, &[U32, U64, S32, S64], |ty| (U32, [Some(ty), None, None, None]))
}

pub(in crate::front) fn fns<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    shaped(p, ins, AluOp::Fns, &[B32], |ty| (ty, [Some(ty), Some(U32), Some(S32), None]))
}

pub(in crate::front) fn brev<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    shaped(p, ins, AluOp::Brev, &[B32, B64], |ty| (ty, [Some(ty), None, None, None]))
}

/// Products without carries.
pub(in crate::front) fn clmad<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let part = ins.words.choose(&[("lo", Part::Low), ("hi", Part::High)]);
    let part = part.ok_or_else(|| ins.fail("needs `.lo` or `.hi`"))?;
    shaped(p, ins, AluOp::Clmad(part), &[U64], |ty| (ty, [Some(ty), Some(ty), Some(ty), None]))
}

pub(in crate::front) fn clz<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    shaped(p, ins, AluOp::Clz, &[B32, B64], |ty| (U32, [Some(ty), None, None, None]))
}

pub(in crate::front) fn popc<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    shaped(p, ins, AluOp::Popc, &[B32, B64], |ty| (U32, [Some(ty), None, None, None]))
}

pub(in crate::front) fn prmt<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let mode = ins.words.choose(&[
        ("f4e", Permute::F4e),
        ("b4e", Permute::B4e),
        ("rc8", Permute::Rc8),
        ("ecl", Permute::Ecl),
        ("ecr", Permute::Ecr),
        ("rc16", Permute::Rc16),
    ]);
    // The mode may stand after the type.
    shaped(p, ins, AluOp::Prmt(mode.unwrap_or_default()), &[B32], |ty| {
        (ty, [Some(ty), Some(ty), Some(U32), None])
    })
}

/// `lop3`; with a second operation the result's truth is combined with a predicate.
pub(in crate::front) fn lop3<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let combine = ins.words.choose(&[("and", BoolOp::And), ("or", BoolOp::Or)]);
    let ty = p.ty(ins)?;
    if ty != B32 {
        return Err(ins.fail("does not take this type"));
    }
    let count = if combine.is_some() { 6 } else { 5 };
    ins.count(count, count)?;
    let table = match ins.piece(4)?.arg {
        Arg::Literal(literal) => literal.integer().and_then(|table| u8::try_from(table).ok()),
        _ => None,
    };
    let Some(table) = table else { return Err(ins.bad(4, "is a number up to 255")) };
    let mut alu = alu(AluOp::Lop3(table), B32);
    let mut dst = p.piece_dst(ins.piece(0)?, B32, crate::front::lower::Fit::Exact)?;
    if combine.is_some() && dst.is_none() {
        dst = Some(p.code.temp(B32));
    }
    alu.dst = dst;
    for index in 0..3 {
        alu.src[index] = Some(p.value(ins, index + 1, B32)?);
    }
    let Some(combine) = combine else {
        if ins.piece(0)?.second != Second::None {
            return Err(ins.bad(0, "has no second destination"));
        }
        return p.emit_alu(ins, alu);
    };
    let truth = p.second_dst(ins, 0)?;
    let with = p.value(ins, 5, Pred)?;
    p.emit_alu(ins, alu)?;
    let Some((truth, dst)) = truth.zip(dst) else { return Ok(()) };
    let op = AluOp::Setp(crate::ir::Compare::Ne, Some(combine));
    let src = [Some(Operand::Reg(dst)), Some(Operand::Imm(0)), Some(with), None];
    let test = Alu { op, dst: Some(truth), src, ..crate::front::lower::alu(op, B32) };
    p.emit(ins, Op::Alu(test));
    Ok(())
}
