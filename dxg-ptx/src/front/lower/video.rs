//! Video instructions: on bytes and halves of words.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::alu;
use crate::front::lower::compare;
use crate::front::operand::Instruction;
use crate::front::operand::Piece;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Permute;
use crate::ir::PlusOne;
use crate::ir::Reg;
use crate::ir::Scalar;
use crate::ir::Selector;
use crate::ir::VideoNegate;
use crate::ir::VideoOp;
use crate::ir::VideoSecond;
use crate::ir::Wrap;

use Scalar::B32;
use Scalar::S32;
use Scalar::U32;

fn selector(part: Option<&str>) -> Option<Selector> {
    Some(match part {
        None => Selector::Word,
        Some("b0") => Selector::Byte(0),
        Some("b1") => Selector::Byte(1),
        Some("b2") => Selector::Byte(2),
        Some("b3") => Selector::Byte(3),
        Some("h0") => Selector::Half(0),
        Some("h1") => Selector::Half(1),
        Some(_) => return None,
    })
}

fn integer(ins: &mut Instruction<'_>) -> Result<Scalar> {
    ins.words.choose(&[("u32", U32), ("s32", S32)]).ok_or_else(|| ins.fail("needs `.u32` or `.s32`"))
}

/// The operand and the part of it that is meant.
fn operand<'a>(p: &mut Parser<'a>, ins: &Instruction<'a>, index: usize) -> Result<(Operand, Selector)> {
    let piece = ins.piece(index)?;
    let part = selector(piece.part).ok_or_else(|| ins.bad(index, "has no such part"))?;
    let whole = Piece { part: None, ..*piece };
    Ok((p.piece_value(&whole, B32, super::Fit::Exact)?, part))
}

/// A scalar instruction: types of result, `a` and `b`, maybe a second operation.
fn scalar<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>, op: VideoOp) -> Result<()> {
    let is_set = matches!(op, VideoOp::Set(_));
    let to = if is_set { U32 } else { integer(ins)? };
    let (a, b) = (integer(ins)?, integer(ins)?);
    let mods = ins.words.mods();
    let second =
        ins.words.choose(&[("add", VideoSecond::Add), ("min", VideoSecond::Min), ("max", VideoSecond::Max)]);
    let merge = selector(ins.piece(0)?.part).ok_or_else(|| ins.bad(0, "has no such part"))?;
    let is_merge = merge != Selector::Word;
    if is_merge && second.is_some() {
        return Err(ins.fail("takes one second operation"));
    }
    let second = match second {
        Some(second) => second,
        None if is_merge => VideoSecond::Merge(merge),
        None => VideoSecond::None,
    };
    let count = if second == VideoSecond::None { 3 } else { 4 };
    ins.count(count, count)?;
    let first = Piece { part: None, ..*ins.piece(0)? };
    let dst = p.piece_dst(&first, B32, super::Fit::Exact)?;
    let (x, x_part) = operand(p, ins, 1)?;
    let (y, y_part) = operand(p, ins, 2)?;
    let z = if count == 4 { Some(p.value(ins, 3, B32)?) } else { None };
    let op = AluOp::Video { op, types: [a, b, to], parts: [x_part, y_part], second, lanes: 1 };
    p.emit_alu(ins, Alu { dst, mods, src: [Some(x), Some(y), z, None], ..alu(op, to) })
}

pub(in crate::front) fn vadd<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    scalar(p, ins, VideoOp::Add)
}

pub(in crate::front) fn vsub<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    scalar(p, ins, VideoOp::Sub)
}

pub(in crate::front) fn vabsdiff<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    scalar(p, ins, VideoOp::AbsDiff)
}

pub(in crate::front) fn vmin<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    scalar(p, ins, VideoOp::Min)
}

pub(in crate::front) fn vmax<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    scalar(p, ins, VideoOp::Max)
}

fn wrap(ins: &mut Instruction<'_>) -> Result<Wrap> {
    ins.words
        .choose(&[("clamp", Wrap::Clamp), ("wrap", Wrap::Wrap)])
        .ok_or_else(|| ins.fail("needs `.clamp` or `.wrap`"))
}

pub(in crate::front) fn vshl<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let wrap = wrap(ins)?;
    scalar(p, ins, VideoOp::Shl { wrap })
}

pub(in crate::front) fn vshr<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let wrap = wrap(ins)?;
    scalar(p, ins, VideoOp::Shr { wrap })
}

pub(in crate::front) fn vset<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    // The comparison stands after the types.
    let compare = compare::comparison(ins)?;
    scalar(p, ins, VideoOp::Set(compare))
}

pub(in crate::front) fn vmad<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let to = integer(ins)?;
    let (a, b) = (integer(ins)?, integer(ins)?);
    let plus_one = if ins.words.has("po") { PlusOne::Yes } else { PlusOne::No };
    let mods = ins.words.mods();
    let shift = ins.words.choose(&[("shr7", 7), ("shr15", 15)]).unwrap_or(0);
    ins.count(4, 4)?;
    let dst = p.dst(ins, 0, B32)?;
    let mut negated = [false; 3];
    let mut src = [None; 4];
    let mut parts = [Selector::Word; 3];
    for index in 0..3 {
        let piece = ins.piece(index + 1)?;
        negated[index] = piece.is_minus;
        let part = selector(piece.part).ok_or_else(|| ins.bad(index + 1, "has no such part"))?;
        let whole = Piece { part: None, is_minus: false, ..*piece };
        src[index] = Some(p.piece_value(&whole, B32, super::Fit::Exact)?);
        parts[index] = part;
    }
    let negate = match negated {
        [a, b, false] if a == b => VideoNegate::None,
        [_, _, false] => VideoNegate::Product,
        [false, false, true] => VideoNegate::Addend,
        _ => return Err(ins.fail("negates the product or the addend")),
    };
    if plus_one == PlusOne::Yes && negate != VideoNegate::None || parts[2] != Selector::Word {
        return Err(ins.fail("does not take these operands"));
    }
    let op = VideoOp::Mad { shift, plus_one, negate };
    let op = AluOp::Video {
        op,
        types: [a, b, to],
        parts: [parts[0], parts[1]],
        second: VideoSecond::None,
        lanes: 1,
    };
    p.emit_alu(ins, Alu { dst, mods, src, ..alu(op, to) })
}

/// The bytes that a selection of lanes means, from the low end: numbers of bytes in {b, a}.
fn choice(part: &str, lanes: u8) -> Option<u32> {
    let mut bytes = 0;
    let digits = part.strip_prefix(if lanes == 4 { 'b' } else { 'h' })?.as_bytes();
    if digits.len() != usize::from(lanes) {
        return None;
    }
    for &digit in digits {
        let number = u32::from(digit.checked_sub(b'0')?);
        if lanes == 4 && number < 8 {
            bytes = (bytes << 4) | number;
        } else if lanes == 2 && number < 4 {
            bytes = (bytes << 8) | ((2 * number + 1) << 4) | (2 * number);
        } else {
            return None;
        }
    }
    Some(bytes)
}

/// The lanes that are written, as a mask.
fn written(part: &str, lanes: u8) -> Option<u8> {
    let digits = part.strip_prefix(if lanes == 4 { 'b' } else { 'h' })?;
    let mut mask = 0;
    for digit in digits.bytes() {
        let lane = digit.checked_sub(b'0').filter(|&lane| lane < lanes)?;
        mask |= 1 << lane;
    }
    Some(mask).filter(|&mask| mask != 0)
}

/// The bits of some lanes.
fn bits_of(mask: u8, lanes: u8) -> u64 {
    let bits = 32 / u32::from(lanes);
    let lane = (1_u64 << bits) - 1;
    (0..u32::from(lanes)).filter(|at| mask >> at & 1 == 1).map(|at| lane << (at * bits)).sum()
}

impl<'a> Parser<'a> {
    /// A new word from a pure instruction of words.
    fn word_of(&mut self, ins: &Instruction<'a>, op: AluOp, src: [Option<Operand>; 4]) -> Reg {
        let dst = self.code.temp(B32);
        self.code.push(None, Op::Alu(Alu { dst: Some(dst), src, ..alu(op, B32) }), ins.place);
        dst
    }
}

/// An instruction on two halves or four bytes at once.
fn simd<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>, op: VideoOp, lanes: u8) -> Result<()> {
    let is_set = matches!(op, VideoOp::Set(_));
    let to = if is_set { U32 } else { integer(ins)? };
    let (a, b) = (integer(ins)?, integer(ins)?);
    let mods = ins.words.mods();
    let adds = ins.words.has("add");
    ins.count(4, 4)?;
    let dst = p.piece_dst(&Piece { part: None, ..*ins.piece(0)? }, B32, super::Fit::Exact)?;
    let mut sources = [Operand::Imm(0); 3];
    for (index, source) in sources.iter_mut().enumerate() {
        let whole = Piece { part: None, ..*ins.piece(index + 1)? };
        *source = p.piece_value(&whole, B32, super::Fit::Exact)?;
    }
    let [x, y, z] = sources;
    let mut chosen = [x, y];
    for (index, choose) in chosen.iter_mut().enumerate() {
        let Some(part) = ins.piece(index + 1)?.part else { continue };
        let bytes = choice(part, lanes).ok_or_else(|| ins.bad(index + 1, "has no such parts"))?;
        let table = Operand::Imm(u64::from(bytes));
        *choose =
            Operand::Reg(p.word_of(ins, AluOp::Prmt(Permute::Index), [Some(x), Some(y), Some(table), None]));
    }
    ins.words.finish(ins.opcode)?;
    // The default of `b` without a choice is `b` itself, as of `a`.
    let mask = match ins.piece(0)?.part {
        Some(part) => Some(written(part, lanes).ok_or_else(|| ins.bad(0, "has no such parts"))?),
        None => None,
    };
    let second = match (adds, mask) {
        (true, Some(mask)) => VideoSecond::AddLanes(mask),
        (true, None) => VideoSecond::Add,
        (false, _) => VideoSecond::None,
    };
    let op = AluOp::Video { op, types: [a, b, to], parts: [Selector::Word; 2], second, lanes };
    let [x, y] = chosen;
    let src = [Some(x), Some(y), adds.then_some(z), None];
    let (Some(mask), false) = (mask, adds) else {
        p.emit(ins, Op::Alu(Alu { dst, mods, src, ..alu(op, to) }));
        return Ok(());
    };
    // Lanes that are not written come from `c`.
    let result = p.code.temp(B32);
    p.code.push(None, Op::Alu(Alu { dst: Some(result), mods, src, ..alu(op, to) }), ins.place);
    let choose = [Some(Operand::Reg(result)), Some(z), Some(Operand::Imm(bits_of(mask, lanes))), None];
    // mask ? result : c.
    p.emit(ins, Op::Alu(Alu { dst, src: choose, ..alu(AluOp::Lop3(0xe4), B32) }));
    Ok(())
}

pub(in crate::front) fn vadd2<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Add, 2)
}

pub(in crate::front) fn vadd4<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Add, 4)
}

pub(in crate::front) fn vsub2<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Sub, 2)
}

pub(in crate::front) fn vsub4<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Sub, 4)
}

pub(in crate::front) fn vabsdiff2<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::AbsDiff, 2)
}

pub(in crate::front) fn vabsdiff4<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::AbsDiff, 4)
}

pub(in crate::front) fn vmin2<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Min, 2)
}

pub(in crate::front) fn vmin4<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Min, 4)
}

pub(in crate::front) fn vmax2<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Max, 2)
}

pub(in crate::front) fn vmax4<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Max, 4)
}

pub(in crate::front) fn vavrg2<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Average, 2)
}

pub(in crate::front) fn vavrg4<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    simd(p, ins, VideoOp::Average, 4)
}

pub(in crate::front) fn vset2<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let compare = compare::comparison(ins)?;
    simd(p, ins, VideoOp::Set(compare), 2)
}

pub(in crate::front) fn vset4<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let compare = compare::comparison(ins)?;
    simd(p, ins, VideoOp::Set(compare), 4)
}
