//! Comparisons and choices.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::Fit;
use crate::front::lower::alu;
use crate::front::operand::Instruction;
use crate::front::operand::Second;
use crate::ir::Alu;
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

fn is_comparable(ty: Scalar) -> bool {
    let is_integer =
        matches!(ty, Scalar::U16 | Scalar::U32 | Scalar::U64 | Scalar::S16 | Scalar::S32 | Scalar::S64);
    let is_bits = matches!(ty, Scalar::B16 | Scalar::B32 | Scalar::B64);
    let is_float =
        matches!(ty, Scalar::F32 | Scalar::F64 | Scalar::F16 | Scalar::F16x2 | Scalar::BF16 | Scalar::BF16x2);
    is_integer || is_bits || is_float
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
    if of_floats && !ty.is_float() || of_order && is_bits || !is_comparable(ty) {
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
    alu.dst = p.piece_dst(first, Scalar::Pred, Fit::Exact)?;
    alu.dst2 = p.second_dst(ins, 0)?;
    // Of pairs there is a predicate for each half.
    if is_packed(ty) {
        return set_predicates(p, ins, &alu, head.combine);
    }
    alu.src[0] = Some(p.value(ins, 1, ty)?);
    alu.src[1] = Some(p.value(ins, 2, ty)?);
    if head.combine.is_some() {
        alu.src[2] = Some(p.value(ins, 3, Scalar::Pred)?);
    }
    p.emit_alu(ins, alu)
}

/// The halves of two packed operands: the low ones, the high ones.
fn unpacked<'a>(p: &mut Parser<'a>, ins: &Instruction<'a>, ty: Scalar) -> Result<[[Operand; 2]; 2]> {
    let mut halves = [[Operand::Imm(0); 2]; 2];
    for index in 0..2 {
        let src = p.value(ins, index + 1, ty)?;
        let parts = [p.code.temp(Scalar::B16), p.code.temp(Scalar::B16)];
        let op = Op::Unpack { ty: Scalar::B16, parts: parts.map(Some).to_vec(), src };
        p.code.push(None, op, ins.place);
        for (half, part) in halves.iter_mut().zip(parts) {
            half[index] = Operand::Reg(part);
        }
    }
    Ok(halves)
}

fn is_packed(ty: Scalar) -> bool {
    matches!(ty, Scalar::F16x2 | Scalar::BF16x2)
}

/// The type of one half.
fn half(ty: Scalar) -> Scalar {
    if ty == Scalar::F16x2 { Scalar::F16 } else { Scalar::BF16 }
}

/// `setp` of packed halves: the low ones give the first predicate, the high ones the second.
fn set_predicates<'a>(
    p: &mut Parser<'a>,
    ins: &mut Instruction<'a>,
    packed: &Alu,
    combine: Option<BoolOp>,
) -> Result<()> {
    let halves = unpacked(p, ins, packed.ty)?;
    let with = if combine.is_some() { Some(p.value(ins, 3, Scalar::Pred)?) } else { None };
    ins.words.finish(ins.opcode)?;
    // The second destination may be a predicate that the first comparison reads, and the other way round: neither is written
    // before both are known.
    let results = halves.map(|[a, b]| {
        let dst = p.code.temp(Scalar::Pred);
        let src = [Some(a), Some(b), with, None];
        let test = Alu { ty: half(packed.ty), dst: Some(dst), dst2: None, src, ..packed.clone() };
        p.code.push(None, Op::Alu(test), ins.place);
        dst
    });
    for (dst, result) in [packed.dst, packed.dst2].into_iter().zip(results) {
        if dst.is_some() {
            let src = [Some(Operand::Reg(result)), None, None, None];
            p.emit(ins, Op::Alu(Alu { dst, src, ..alu(AluOp::Mov, Scalar::Pred) }));
        }
    }
    Ok(())
}

/// `set` of packed halves: into packed halves, or all ones in each half.
fn set_halves<'a>(
    p: &mut Parser<'a>,
    ins: &mut Instruction<'a>,
    head: &Head,
    to: Scalar,
    ty: Scalar,
) -> Result<()> {
    let to_half = match to {
        Scalar::F16x2 | Scalar::BF16x2 if to == ty => half(ty),
        Scalar::U32 | Scalar::S32 => Scalar::U16,
        _ => return Err(ins.fail("does not take these types")),
    };
    let dst = p.some_dst(ins, 0, to)?;
    let halves = unpacked(p, ins, ty)?;
    let with = if head.combine.is_some() { Some(p.value(ins, 3, Scalar::Pred)?) } else { None };
    ins.words.finish(ins.opcode)?;
    let op = AluOp::Set(head.compare, head.combine, to_half);
    let parts = halves.map(|[a, b]| {
        let part = p.code.temp(Scalar::B16);
        let src = [Some(a), Some(b), with, None];
        let set = Alu { dst: Some(part), mods: head.mods, src, ..alu(op, half(ty)) };
        p.code.push(None, Op::Alu(set), ins.place);
        Operand::Reg(part)
    });
    p.emit(ins, Op::Pack { ty: Scalar::B16, dst, parts: parts.to_vec() });
    Ok(())
}

pub(in crate::front) fn set<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = head(ins)?;
    let to = p.ty(ins)?;
    let ty = p.ty(ins)?;
    check(ins, &head, ty)?;
    let count = if head.combine.is_some() { 4 } else { 3 };
    ins.count(count, count)?;
    if is_packed(ty) {
        return set_halves(p, ins, &head, to, ty);
    }
    let is_result = matches!(
        to,
        Scalar::U16 | Scalar::S16 | Scalar::U32 | Scalar::S32 | Scalar::F32 | Scalar::F16 | Scalar::BF16
    );
    if !is_result {
        return Err(ins.fail("does not take these types"));
    }
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
    if !is_comparable(ty) || is_packed(ty) {
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
    if !matches!(test, Scalar::S32 | Scalar::F32) || !is_comparable(ty) || is_packed(ty) {
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
