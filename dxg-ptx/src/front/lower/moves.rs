//! Moves, addresses and changes between address spaces.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::Fit;
use crate::front::lower::alu;
use crate::front::operand::Arg;
use crate::front::operand::Instruction;
use crate::front::types;
use crate::ir::AluOp;
use crate::ir::CvtaDirection;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::Symbol;

pub(in crate::front) fn mov<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let lanes = ins.words.lanes();
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    ins.count(2, 2)?;
    let is_vector = |arg: &Arg<'a>| matches!(arg, Arg::List(..) | Arg::Lanes(..) | Arg::SpecialLanes(_));
    let [dst, src] = [ins.piece(0)?, ins.piece(1)?];
    if lanes > 1 || is_vector(&dst.arg) && is_vector(&src.arg) {
        return elementwise(p, ins, ty, lanes);
    }
    let bits = types::width(ty);
    if is_vector(&src.arg) {
        let part = part_type(p, ins, 1, bits)?;
        let lanes = p.lanes(ins, 1)?;
        let parts =
            lanes.iter().map(|piece| p.piece_value(piece, part, Fit::Exact)).collect::<Result<Vec<_>>>()?;
        let dst = p.some_dst(ins, 0, ty)?;
        p.emit(ins, Op::Pack { ty: part, dst, parts });
        return Ok(());
    }
    if is_vector(&dst.arg) {
        let part = part_type(p, ins, 0, bits)?;
        let lanes = p.lanes(ins, 0)?;
        let parts =
            lanes.iter().map(|piece| p.piece_dst(piece, part, Fit::Exact)).collect::<Result<Vec<_>>>()?;
        let src = p.value(ins, 1, ty)?;
        p.emit(ins, Op::Unpack { ty: part, parts, src });
        return Ok(());
    }
    if let Arg::Symbol(symbol, offset) = src.arg {
        if !matches!(bits, 32 | 64) {
            return Err(ins.bad(1, "is an address, which has 32 or 64 bits"));
        }
        let dst = p.some_dst(ins, 0, ty)?;
        p.emit(ins, Op::AddressOf { dst, symbol, offset });
        return Ok(());
    }
    let mut alu = alu(AluOp::Mov, ty);
    alu.dst = p.dst(ins, 0, ty)?;
    alu.src[0] = Some(p.value(ins, 1, ty)?);
    p.emit_alu(ins, alu)
}

/// The type of each part of so many bits.
fn part_type<'a>(p: &Parser<'a>, ins: &Instruction<'a>, index: usize, bits: u32) -> Result<Scalar> {
    let count = u32::try_from(p.lanes(ins, index)?.len()).unwrap_or(0);
    if !matches!(count, 2 | 4 | 8) || !matches!(bits / count, 8 | 16 | 32 | 64) || !bits.is_multiple_of(count)
    {
        return Err(ins.bad(index, "has parts of another width"));
    }
    Ok(types::untyped(bits / count))
}

/// A vector into a vector; no destination is written before each source is read.
fn elementwise<'a>(p: &mut Parser<'a>, ins: &Instruction<'a>, ty: Scalar, lanes: usize) -> Result<()> {
    let count = if lanes > 1 { lanes } else { p.lanes(ins, 0)?.len() };
    let srcs = p.lane_values(ins, 1, count, ty)?;
    let dsts = p.lane_dsts(ins, 0, count, ty)?;
    let copy = |p: &mut Parser<'a>, guard, dst, src| {
        let mut copy = alu(AluOp::Mov, ty);
        copy.dst = Some(dst);
        copy.src[0] = Some(src);
        p.code.push(guard, Op::Alu(copy), ins.place);
    };
    let overlaps = srcs.iter().any(|src| matches!(src, Operand::Reg(reg) if dsts.contains(&Some(*reg))));
    let mut values = srcs;
    if overlaps {
        for value in &mut values {
            let temp = p.code.temp(ty);
            copy(p, None, temp, *value);
            *value = Operand::Reg(temp);
        }
    }
    for (dst, src) in dsts.into_iter().zip(values) {
        if let Some(dst) = dst {
            copy(p, ins.guard, dst, src);
        }
    }
    Ok(())
}

pub(in crate::front) fn cvta<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let direction = if ins.words.has("to") { CvtaDirection::FromGeneric } else { CvtaDirection::ToGeneric };
    let space = p.space(ins)?.ok_or_else(|| ins.fail("needs a state space"))?;
    let ty = p.ty(ins)?;
    ins.words.finish(ins.opcode)?;
    if !matches!(ty, Scalar::U64 | Scalar::U32) {
        return Err(ins.fail("does not take this type"));
    }
    ins.count(2, 2)?;
    let dst = p.some_dst(ins, 0, ty)?;
    let mut space = p.own_param_space(space);
    if let Arg::Symbol(symbol, _) = ins.piece(1)?.arg
        && direction == CvtaDirection::ToGeneric
    {
        // Where a parameter lies is known better than by its name.
        space = match symbol {
            Symbol::Local(_) if space == Space::Param => Space::Local,
            _ => space,
        };
    }
    let src = p.value(ins, 1, ty)?;
    p.emit(ins, Op::Cvta { dst, src, space, direction });
    Ok(())
}

pub(in crate::front) fn isspacep<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let space = p.space(ins)?.ok_or_else(|| ins.fail("needs a state space"))?;
    ins.words.finish(ins.opcode)?;
    ins.count(2, 2)?;
    let dst = p.some_dst(ins, 0, Scalar::Pred)?;
    let src = p.value(ins, 1, Scalar::U64)?;
    let space = p.own_param_space(space);
    p.emit(ins, Op::IsSpacep { dst, src, space });
    Ok(())
}

impl<'a> Parser<'a> {
    /// Takes the state space that an instruction names.
    pub(super) fn space(&self, ins: &mut Instruction<'a>) -> Result<Option<Space>> {
        Ok(ins.words.read(types::space))
    }

    /// Parameters of a function lie in its frame.
    pub(super) fn own_param_space(&self, space: Space) -> Space {
        if space == Space::Param && !self.code.is_entry { Space::Local } else { space }
    }
}
