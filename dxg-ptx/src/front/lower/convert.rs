//! Conversions.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::alu;
use crate::front::lower::narrow;
use crate::front::operand::Instruction;
use crate::front::types;
use crate::ir::AluOp;
use crate::ir::Extra;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;

pub(in crate::front) fn cvt<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if ins.words.has("pack") {
        return pack(p, ins);
    }
    if let Some(quad) = narrow::quad(ins) {
        return narrow::four(p, ins, quad);
    }
    let to_integral = ins.words.choose(&[
        ("rni", Round::Nearest),
        ("rzi", Round::Zero),
        ("rmi", Round::Down),
        ("rpi", Round::Up),
    ]);
    let is_random = ins.words.has("rs");
    let round = ins.words.round();
    let mut mods = ins.words.mods();
    if ins.words.has("satfinite") {
        mods = mods.with(Mods::SATFINITE);
    }
    let has_scales = ins.words.has("scaled::n2::ue8m0");
    let ty = p.ty(ins)?;
    let from = p.ty(ins)?;
    if !is_number(ty) || !is_number(from) {
        return Err(ins.fail("does not convert these types"));
    }
    if ty.is_narrow_pair() || from.is_narrow_pair() {
        if is_random || to_integral.is_some() {
            return Err(ins.fail("does not round these types so"));
        }
        let form = narrow::Form { ty, from, round, mods, has_scales };
        return narrow::two(p, ins, &form);
    }
    if has_scales {
        return Err(ins.fail("has scales for `.s2f6x2` and results of `.bf16x2` only"));
    }
    check_modifiers(ins, ty, from, mods)?;
    if is_packed(ty) {
        let extra = if is_random { Extra::Random } else { Extra::None };
        return pair(p, ins, (ty, from), round, (mods, extra));
    }
    if is_random {
        return Err(ins.fail("rounds with `.rs` to pairs and fours only"));
    }
    check_rounding(ins, ty, from, to_integral, round)?;
    ins.count(2, 2)?;
    if is_packed(from) || from == Scalar::TF32 || ty == Scalar::TF32 && from != Scalar::F32 {
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

/// `.satfinite` and `.relu` are known of some results only.
fn check_modifiers(ins: &Instruction<'_>, ty: Scalar, from: Scalar, mods: Mods) -> Result<()> {
    use Scalar::BF16;
    use Scalar::BF16x2;
    use Scalar::F16;
    use Scalar::F16x2;
    use Scalar::F32;
    use Scalar::TF32;
    let has = |one| mods.has(one);
    let is_bounded = has(Mods::SATFINITE) || has(Mods::RELU);
    if is_bounded && (!matches!(ty, F16 | F16x2 | BF16 | BF16x2 | TF32) || from != F32) {
        return Err(ins.fail("takes `.relu` and `.satfinite` from `.f32` to halves and `.tf32` only"));
    }
    if has(Mods::SAT) && matches!(ty, BF16 | BF16x2 | F16x2 | TF32) {
        return Err(ins.fail("has no `.sat` of this type"));
    }
    if has(Mods::FTZ) && ty != F32 && from != F32 {
        return Err(ins.fail("takes `.ftz` with `.f32` only"));
    }
    Ok(())
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
            | Scalar::U8x4
            | Scalar::S8x4
            | Scalar::F32x2
    )
}

/// Whether values of a type are two and belong to the pair forms only.
fn is_packed(ty: Scalar) -> bool {
    matches!(ty, Scalar::F16x2 | Scalar::BF16x2)
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
    (ty, from): (Scalar, Scalar),
    round: Option<Round>,
    (mods, extra): (Mods, Extra),
) -> Result<()> {
    if from != Scalar::F32 {
        return Err(ins.fail("does not pack these types"));
    }
    match (extra, round) {
        (Extra::Random, None) => ins.count(4, 4)?,
        (Extra::None, Some(Round::Nearest | Round::Zero)) => ins.count(3, 3)?,
        _ => return Err(ins.fail("packs with `.rn`, `.rz` or `.rs`")),
    }
    let mut alu = alu(AluOp::CvtPair { from, extra }, ty);
    alu.round = round.unwrap_or_default();
    alu.mods = mods;
    alu.dst = p.wide_dst(ins, 0, ty)?;
    alu.src[0] = Some(p.value(ins, 1, from)?);
    alu.src[1] = Some(p.value(ins, 2, from)?);
    if extra == Extra::Random {
        alu.src[2] = Some(p.value(ins, 3, Scalar::B32)?);
    }
    p.emit_alu(ins, alu)
}

/// `cvt.pack`.
fn pack<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if !ins.words.has("sat") {
        return Err(ins.fail("needs `.sat`"));
    }
    let to = ins.words.choose(&[
        ("u2", (2, Integral::No)),
        ("s2", (2, Integral::Yes)),
        ("u4", (4, Integral::No)),
        ("s4", (4, Integral::Yes)),
        ("u8", (8, Integral::No)),
        ("s8", (8, Integral::Yes)),
        ("u16", (16, Integral::No)),
        ("s16", (16, Integral::Yes)),
    ]);
    let third = ins.words.has("b32");
    let (Some((bits, signed)), Scalar::S32) = (to, p.ty(ins)?) else {
        return Err(ins.fail("does not pack these types"));
    };
    if third == (bits == 16) {
        return Err(ins.fail("of less than 16 bits, and of nothing else, takes `.b32` below which it packs"));
    }
    let count = if third { 4 } else { 3 };
    ins.count(count, count)?;
    let mut alu = alu(AluOp::CvtPack { bits, signed }, Scalar::S32);
    alu.mods = Mods::SAT;
    alu.dst = p.dst(ins, 0, Scalar::B32)?;
    for index in 1..count {
        alu.src[index - 1] = Some(p.value(ins, index, Scalar::S32)?);
    }
    p.emit_alu(ins, alu)
}
