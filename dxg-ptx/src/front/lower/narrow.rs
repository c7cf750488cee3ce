//! Conversions to and from values of less than 16 bits.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::alu;
use crate::front::operand::Instruction;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Extra;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Permute;
use crate::ir::Reg;
use crate::ir::Round;
use crate::ir::Scalar;

use Scalar::B8;
use Scalar::B16;
use Scalar::B32;
use Scalar::BF16x2;
use Scalar::E2M1x2;
use Scalar::E2M3x2;
use Scalar::E3M2x2;
use Scalar::E4M3x2;
use Scalar::E5M2x2;
use Scalar::F16x2;
use Scalar::F32;
use Scalar::S2F6x2;
use Scalar::UE8M0x2;

/// What a conversion of two values says.
pub(super) struct Form {
    pub(super) ty: Scalar,
    pub(super) from: Scalar,
    pub(super) round: Option<Round>,
    pub(super) mods: Mods,
    /// Whether `.scaled::n2::ue8m0` is said.
    pub(super) has_scales: bool,
}

impl Form {
    fn check(&self, ins: &Instruction<'_>) -> Result<()> {
        let Self { ty, from, round, mods, has_scales } = *self;
        let is_known = match (ty, from) {
            (UE8M0x2, F32 | BF16x2) | (BF16x2, UE8M0x2) | (S2F6x2, F32 | BF16x2) | (BF16x2, S2F6x2) => true,
            (UE8M0x2 | S2F6x2, _) | (_, UE8M0x2 | S2F6x2) => false,
            (narrow, F32 | F16x2 | BF16x2) | (F16x2 | BF16x2, narrow) => narrow.is_narrow_pair(),
            _ => false,
        };
        if !is_known {
            return Err(ins.fail("does not convert these types"));
        }
        if ty == UE8M0x2 {
            if !matches!(round, Some(Round::Zero | Round::Up)) {
                return Err(ins.fail("to `.ue8m0x2` needs `.rz` or `.rp`"));
            }
        } else if round != Some(Round::Nearest) {
            return Err(ins.fail("of these types needs `.rn`"));
        }
        let takes_relu = ty != UE8M0x2 && from != UE8M0x2;
        let takes_limit = ty.is_narrow_pair() || ty == BF16x2 && from != UE8M0x2;
        let rest = mods.0 & !(Mods::RELU.0 | Mods::SATFINITE.0);
        let is_wrong =
            rest != 0 || mods.has(Mods::RELU) && !takes_relu || mods.has(Mods::SATFINITE) && !takes_limit;
        if is_wrong {
            return Err(ins.fail("does not take these modifiers"));
        }
        if ty.is_narrow_pair() && ty != UE8M0x2 && !mods.has(Mods::SATFINITE) {
            return Err(ins.fail("to this type needs `.satfinite`"));
        }
        let takes_scales = ty == S2F6x2 || ty == BF16x2 && from != UE8M0x2;
        if has_scales && !takes_scales {
            return Err(ins.fail("has scales for `.s2f6x2` and results of `.bf16x2` only"));
        }
        Ok(())
    }
}

/// A pair to a pair, or two values to a pair.
pub(super) fn two<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>, form: &Form) -> Result<()> {
    form.check(ins)?;
    let Form { ty, from, round, mods, has_scales } = *form;
    let values = if from == F32 { 2 } else { 1 };
    let count = 1 + values + usize::from(has_scales);
    ins.count(count, count)?;
    let extra = if has_scales { Extra::Scale } else { Extra::None };
    let op = match (values, has_scales) {
        (2, _) => AluOp::CvtPair { from, extra },
        (_, true) => AluOp::CvtScaled { from },
        (_, false) => AluOp::Cvt { from, integral: Integral::No },
    };
    let mut alu = Alu { round: round.unwrap_or_default(), mods, ..alu(op, ty) };
    alu.dst = p.wide_dst(ins, 0, ty)?;
    for index in 0..values {
        alu.src[index] = Some(p.wide_value(ins, index + 1, from)?);
    }
    if has_scales {
        alu.src[values] = Some(p.value(ins, values + 1, B16)?);
    }
    p.emit_alu(ins, alu)
}

/// Takes a type of four values: the pair that is half of it.
pub(super) fn quad(ins: &mut Instruction<'_>) -> Option<Scalar> {
    ins.words.choose(&[
        ("e4m3x4", E4M3x2),
        ("e5m2x4", E5M2x2),
        ("e3m2x4", E3M2x2),
        ("e2m3x4", E2M3x2),
        ("e2m1x4", E2M1x2),
    ])
}

/// Four values to a word, as two pairs of which each has random bits of its own.
pub(super) fn four<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>, pair: Scalar) -> Result<()> {
    let is_random = ins.words.has("rs");
    let is_finite = ins.words.has("satfinite");
    let mods = if ins.words.has("relu") { Mods::RELU } else { Mods::default() };
    if p.ty(ins)? != F32 {
        return Err(ins.fail("does not convert these types"));
    }
    if !is_random || !is_finite {
        return Err(ins.fail("to four values needs `.rs` and `.satfinite`"));
    }
    ins.words.finish(ins.opcode)?;
    ins.count(3, 3)?;
    let (part, whole) = if pair == E2M1x2 { (B8, B16) } else { (B16, B32) };
    let dst = match p.wide_dst(ins, 0, whole)? {
        Some(dst) => dst,
        None => p.code.temp(whole),
    };
    let values = p.lane_values(ins, 1, 4, F32)?;
    let random = p.value(ins, 2, B32)?;
    let [upper, lower] = if pair == E2M1x2 {
        // A byte of each half of the random bits.
        [0x4431, 0x4420].map(|table| bytes(p, ins, random, table))
    } else {
        [bytes(p, ins, random, 0x4432), random]
    };
    let mods = mods.with(Mods::SATFINITE);
    let halves = [(&values[..2], upper), (&values[2..], lower)].map(|(values, random)| {
        let half = p.code.temp(part);
        let op = AluOp::CvtPair { from: F32, extra: Extra::Random };
        let src = [Some(values[0]), Some(values[1]), Some(random), None];
        p.code.push(None, Op::Alu(Alu { dst: Some(half), mods, src, ..alu(op, pair) }), ins.place);
        half
    });
    join(p, ins, (part, whole), dst, halves);
    Ok(())
}

/// Bytes of a word by the table of `prmt`, in which 4 is a zero.
fn bytes<'a>(p: &mut Parser<'a>, ins: &Instruction<'a>, word: Operand, table: u64) -> Operand {
    let dst = p.code.temp(B32);
    let src = [Some(word), Some(Operand::Imm(0)), Some(Operand::Imm(table)), None];
    let choice = Alu { dst: Some(dst), src, ..alu(AluOp::Prmt(Permute::Index), B32) };
    p.code.push(None, Op::Alu(choice), ins.place);
    Operand::Reg(dst)
}

/// Writes the upper and the lower part to a register that may be wider than both.
fn join<'a>(
    p: &mut Parser<'a>,
    ins: &Instruction<'a>,
    (part, whole): (Scalar, Scalar),
    dst: Reg,
    [upper, lower]: [Reg; 2],
) {
    let joined = p.code.temp(whole);
    let parts = vec![Operand::Reg(lower), Operand::Reg(upper)];
    p.code.push(None, Op::Pack { ty: part, dst: joined, parts }, ins.place);
    let unsigned = if whole == B16 { Scalar::U16 } else { Scalar::U32 };
    let op = AluOp::Cvt { from: unsigned, integral: Integral::No };
    let src = [Some(Operand::Reg(joined)), None, None, None];
    p.emit(ins, Op::Alu(Alu { dst: Some(dst), src, ..alu(op, unsigned) }));
}
