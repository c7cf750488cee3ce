//! Comparisons and choices.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::Fit;
use crate::front::lower::alu;
use crate::front::operand::Instruction;
use crate::front::operand::Second;
use crate::front::types;
use crate::ir::AluOp;
use crate::ir::BoolOp;
use crate::ir::Compare;
use crate::ir::Mods;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Scalar;
use crate::ir::TestClass;

/// What a comparison says.
struct Head {
    compare: Compare,
    combine: Option<BoolOp>,
    mods: Mods,
}

const COMPARES: &[(&str, Compare)] = &[
    ("eq", Compare::Eq),
    ("ne", Compare::Ne),
    ("lt", Compare::Lt),
    ("le", Compare::Le),
    ("gt", Compare::Gt),
    ("ge", Compare::Ge),
    ("lo", Compare::Lt),
    ("ls", Compare::Le),
    ("hi", Compare::Gt),
    ("hs", Compare::Ge),
    ("equ", Compare::Equ),
    ("neu", Compare::Neu),
    ("ltu", Compare::Ltu),
    ("leu", Compare::Leu),
    ("gtu", Compare::Gtu),
    ("geu", Compare::Geu),
    ("num", Compare::Num),
    ("nan", Compare::Nan),
];

pub(in crate::front) fn comparison(ins: &mut Instruction<'_>) -> Result<Compare> {
    ins.words.choose(COMPARES).ok_or_else(|| ins.fail("needs a comparison"))
}

fn head(ins: &mut Instruction<'_>) -> Result<Head> {
    let compare = comparison(ins)?;
    let combine = ins.words.choose(&[("and", BoolOp::And), ("or", BoolOp::Or), ("xor", BoolOp::Xor)]);
    Ok(Head { compare, combine, mods: ins.words.mods() })
}

fn check(ins: &Instruction<'_>, head: &Head, ty: Scalar) -> Result<()> {
    let of_floats = matches!(
        head.compare,
        Compare::Equ
            | Compare::Neu
            | Compare::Ltu
            | Compare::Leu
            | Compare::Gtu
            | Compare::Geu
            | Compare::Num
            | Compare::Nan
    );
    let of_order = !matches!(head.compare, Compare::Eq | Compare::Ne);
    let is_bits = matches!(ty, Scalar::B16 | Scalar::B32 | Scalar::B64);
    if of_floats && !ty.is_float() || of_order && is_bits || types::width(ty) < 16 {
        return Err(ins.fail("does not compare values of this type so"));
    }
    Ok(())
}

pub(in crate::front) fn setp<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = head(ins)?;
    let ty = p.ty(ins)?;
    check(ins, &head, ty)?;
    let count = if head.combine.is_some() { 4 } else { 3 };
    ins.count(count, count)?;
    let mut alu = alu(AluOp::Setp(head.compare, head.combine), ty);
    alu.mods = head.mods;
    let first = ins.piece(0)?;
    alu.dst = p.piece_dst(&first, Scalar::Pred, Fit::Exact)?;
    alu.dst2 = p.second_dst(ins, 0)?;
    // Of pairs there is a predicate for each half.
    if matches!(ty, Scalar::F16x2 | Scalar::BF16x2) {
        return halves(p, ins, &alu, head.combine);
    }
    alu.src[0] = Some(p.value(ins, 1, ty)?);
    alu.src[1] = Some(p.value(ins, 2, ty)?);
    if head.combine.is_some() {
        alu.src[2] = Some(p.value(ins, 3, Scalar::Pred)?);
    }
    p.emit_alu(ins, alu)
}

/// `setp` of packed halves: the low ones give the first predicate, the high ones the second.
fn halves<'a>(
    p: &mut Parser<'a>,
    ins: &mut Instruction<'a>,
    packed: &crate::ir::Alu,
    combine: Option<BoolOp>,
) -> Result<()> {
    let half = if packed.ty == Scalar::F16x2 { Scalar::F16 } else { Scalar::BF16 };
    let sources = [p.value(ins, 1, packed.ty)?, p.value(ins, 2, packed.ty)?];
    let with = if combine.is_some() { Some(p.value(ins, 3, Scalar::Pred)?) } else { None };
    ins.words.finish(ins.opcode)?;
    let parts = sources.map(|src| {
        let low = p.code.temp(Scalar::B16);
        let high = p.code.temp(Scalar::B16);
        let op = Op::Unpack { ty: Scalar::B16, parts: vec![Some(low), Some(high)], src };
        p.code.push(None, op, ins.place);
        [low, high]
    });
    // The second destination may be the predicate that the first comparison reads, and the other way round: neither is written
    // before both are known.
    let results = [0, 1].map(|at| {
        let dst = p.code.temp(Scalar::Pred);
        let mut test = crate::ir::Alu { ty: half, dst: Some(dst), dst2: None, ..packed.clone() };
        test.src = [Some(Operand::Reg(parts[0][at])), Some(Operand::Reg(parts[1][at])), with, None];
        p.code.push(None, Op::Alu(test), ins.place);
        dst
    });
    for (dst, result) in [packed.dst, packed.dst2].into_iter().zip(results) {
        if dst.is_some() {
            let mut copy = alu(AluOp::Mov, Scalar::Pred);
            copy.dst = dst;
            copy.src[0] = Some(Operand::Reg(result));
            p.emit(ins, Op::Alu(copy));
        }
    }
    Ok(())
}

pub(in crate::front) fn set<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = head(ins)?;
    let to = p.ty(ins)?;
    let ty = p.ty(ins)?;
    check(ins, &head, ty)?;
    let count = if head.combine.is_some() { 4 } else { 3 };
    ins.count(count, count)?;
    let mut alu = alu(AluOp::Set(head.compare, head.combine, to), ty);
    alu.mods = head.mods;
    alu.dst = p.dst(ins, 0, to)?;
    alu.src[0] = Some(p.value(ins, 1, ty)?);
    alu.src[1] = Some(p.value(ins, 2, ty)?);
    if head.combine.is_some() {
        alu.src[2] = Some(p.value(ins, 3, Scalar::Pred)?);
    }
    p.emit_alu(ins, alu)
}

pub(in crate::front) fn selp<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let ty = p.ty(ins)?;
    ins.count(4, 4)?;
    if types::width(ty) < 16 {
        return Err(ins.fail("does not take this type"));
    }
    let mut alu = alu(AluOp::Selp, ty);
    alu.dst = p.dst(ins, 0, ty)?;
    alu.src[0] = Some(p.value(ins, 1, ty)?);
    alu.src[1] = Some(p.value(ins, 2, ty)?);
    alu.src[2] = Some(p.value(ins, 3, Scalar::Pred)?);
    p.emit_alu(ins, alu)
}

pub(in crate::front) fn slct<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let mods = ins.words.mods();
    let ty = p.ty(ins)?;
    let test = p.ty(ins)?;
    if !matches!(test, Scalar::S32 | Scalar::F32) || types::width(ty) < 16 {
        return Err(ins.fail("does not take this type"));
    }
    ins.count(4, 4)?;
    let mut alu = alu(AluOp::Slct(test), ty);
    alu.mods = mods;
    alu.dst = p.dst(ins, 0, ty)?;
    alu.src[0] = Some(p.value(ins, 1, ty)?);
    alu.src[1] = Some(p.value(ins, 2, ty)?);
    alu.src[2] = Some(p.value(ins, 3, test)?);
    p.emit_alu(ins, alu)
}

pub(in crate::front) fn testp<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let class = ins.words.choose(&[
        ("finite", TestClass::Finite),
        ("infinite", TestClass::Infinite),
        ("number", TestClass::Number),
        ("notanumber", TestClass::NotANumber),
        ("normal", TestClass::Normal),
        ("subnormal", TestClass::Subnormal),
    ]);
    let class = class.ok_or_else(|| ins.fail("needs a class of numbers"))?;
    let ty = p.ty(ins)?;
    if !matches!(ty, Scalar::F32 | Scalar::F64) {
        return Err(ins.fail("does not take this type"));
    }
    ins.count(2, 2)?;
    if ins.piece(0)?.second != Second::None {
        return Err(ins.bad(0, "has no second destination"));
    }
    let mut alu = alu(AluOp::Testp(class), ty);
    alu.dst = p.dst(ins, 0, Scalar::Pred)?;
    alu.src[0] = Some(p.value(ins, 1, ty)?);
    p.emit_alu(ins, alu)
}
