//! Conversions.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::alu;
use crate::front::operand::Instruction;
use crate::front::types;
use crate::ir::AluOp;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;

/// Types that PTX converts and we do not.
const REFUSED: &[&str] = &[
    "e2m1x2", "e2m3x2", "e3m2x2", "ue8m0x2", "s2f6x2", "e4m3x4", "e5m2x4", "e2m1x4", "e2m3x4", "e3m2x4",
    "rs", "u4", "s4", "u2", "s2",
];

pub(in crate::front) fn cvt<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if let Some(word) = REFUSED.iter().find(|word| ins.words.sees(word)) {
        return Err(ins.refuse(format!("is not supported with `.{word}`")));
    }
    if ins.words.has("pack") {
        return pack(p, ins);
    }
    let to_integral = ins.words.choose(&[
        ("rni", Round::Nearest),
        ("rzi", Round::Zero),
        ("rmi", Round::Down),
        ("rpi", Round::Up),
    ]);
    let round = ins.words.round();
    let mut mods = ins.words.mods();
    if ins.words.has("satfinite") {
        mods = mods.with(Mods::SAT);
    }
    let ty = p.ty(ins)?;
    let from = p.ty(ins)?;
    if !is_number(ty) || !is_number(from) {
        return Err(ins.fail("does not convert these types"));
    }
    check_rounding(ins, ty, from, to_integral, round)?;
    if ins.args.len() == 3 {
        return pair(p, ins, ty, from, round, mods);
    }
    ins.count(2, 2)?;
    let is_packed = |ty| matches!(ty, Scalar::F16x2 | Scalar::BF16x2 | Scalar::E4M3x2 | Scalar::E5M2x2);
    // Pairs become pairs; only some of them.
    let fits = match (ty, from) {
        (Scalar::E4M3x2 | Scalar::E5M2x2, Scalar::F16x2)
        | (Scalar::F16x2, Scalar::E4M3x2 | Scalar::E5M2x2) => true,
        (Scalar::TF32, Scalar::F32) => true,
        _ => !is_packed(ty) && !is_packed(from) && ty != Scalar::TF32 && from != Scalar::TF32,
    };
    if !fits {
        return Err(ins.fail("does not convert these types"));
    }
    let integral =
        if to_integral.is_some() && ty.is_float() && from.is_float() { Integral::Yes } else { Integral::No };
    let mut alu = alu(AluOp::Cvt { from, integral }, ty);
    alu.round = to_integral.or(round).unwrap_or_default();
    alu.mods = mods;
    alu.dst = p.wide_dst(ins, 0, ty)?;
    alu.src[0] = Some(p.wide_value(ins, 1, from)?);
    p.emit_alu(ins, alu)
}

/// Whether values of a type are converted at all.
fn is_number(ty: Scalar) -> bool {
    !matches!(
        ty,
        Scalar::Pred
            | Scalar::B8
            | Scalar::B16
            | Scalar::B32
            | Scalar::B64
            | Scalar::B128
            | Scalar::U16x2
            | Scalar::S16x2
            | Scalar::F32x2
    )
}

/// Where PTX needs a rounding, it must be said.
fn check_rounding(
    ins: &Instruction<'_>,
    ty: Scalar,
    from: Scalar,
    to_integral: Option<Round>,
    round: Option<Round>,
) -> Result<()> {
    if from.is_float() && !ty.is_float() && to_integral.is_none() {
        return Err(ins.fail("from a float to an integer needs `.rni`, `.rzi`, `.rmi` or `.rpi`"));
    }
    let narrows = ty.is_float() && from.is_float() && types::width(ty) < types::width(from);
    let rounds = ty.is_float() && (!from.is_float() || narrows);
    // Between floats an integral result rounds too.
    if rounds && round.is_none() && to_integral.is_none() {
        return Err(ins.fail("needs a rounding such as `.rn`"));
    }
    if to_integral.is_some() && round.is_some() {
        return Err(ins.fail("takes one rounding"));
    }
    Ok(())
}

/// Two sources into the halves of one register.
fn pair<'a>(
    p: &mut Parser<'a>,
    ins: &mut Instruction<'a>,
    ty: Scalar,
    from: Scalar,
    round: Option<Round>,
    mods: Mods,
) -> Result<()> {
    let is_pair = matches!(ty, Scalar::F16x2 | Scalar::BF16x2 | Scalar::E4M3x2 | Scalar::E5M2x2);
    if !is_pair || from != Scalar::F32 {
        return Err(ins.fail("does not pack these types"));
    }
    let mut alu = alu(AluOp::CvtPair { from }, ty);
    alu.round = round.unwrap_or_default();
    alu.mods = mods;
    alu.dst = p.wide_dst(ins, 0, ty)?;
    alu.src[0] = Some(p.value(ins, 1, from)?);
    alu.src[1] = Some(p.value(ins, 2, from)?);
    p.emit_alu(ins, alu)
}

/// `cvt.pack`.
fn pack<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if !ins.words.has("sat") {
        return Err(ins.fail("needs `.sat`"));
    }
    let ty = p.ty(ins)?;
    let from = p.ty(ins)?;
    let third = ins.words.has("b32");
    let is_right = match ty {
        Scalar::U16 | Scalar::S16 => !third,
        Scalar::U8 | Scalar::S8 => third,
        _ => false,
    };
    if !is_right || from != Scalar::S32 {
        return Err(ins.fail("does not pack these types"));
    }
    let count = if third { 4 } else { 3 };
    ins.count(count, count)?;
    let mut alu = alu(AluOp::CvtPack, ty);
    alu.mods = Mods::SAT;
    alu.dst = p.dst(ins, 0, Scalar::B32)?;
    for index in 1..count {
        alu.src[index - 1] = Some(p.value(ins, index, Scalar::S32)?);
    }
    p.emit_alu(ins, alu)
}
