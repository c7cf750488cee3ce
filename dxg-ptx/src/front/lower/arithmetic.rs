//! Sums, products, quotients and functions of integers and floats.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::alu;
use crate::front::operand::Instruction;
use crate::ir::Accuracy;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Carry;
use crate::ir::Mods;
use crate::ir::Operand;
use crate::ir::Part;
use crate::ir::Scalar;

use Scalar::BF16;
use Scalar::BF16x2;
use Scalar::F16;
use Scalar::F16x2;
use Scalar::F32;
use Scalar::F32x2;
use Scalar::F64;
use Scalar::S8x4;
use Scalar::S16;
use Scalar::S16x2;
use Scalar::S32;
use Scalar::S64;
use Scalar::U8x4;
use Scalar::U16;
use Scalar::U16x2;
use Scalar::U32;
use Scalar::U64;

const INTEGERS: &[Scalar] = &[U16, U32, U64, S16, S32, S64];
const PACKED: &[Scalar] = &[U16x2, S16x2, U8x4, S8x4];
const FLOATS: &[Scalar] = &[F32, F64, F16, F16x2, BF16, BF16x2, F32x2];

/// What an instruction says besides its operation.
struct Head {
    ty: Scalar,
    alu: Alu,
}

impl<'a> Parser<'a> {
    /// Reads modifiers and the type, which must be one of these.
    fn shape(&mut self, ins: &mut Instruction<'a>, allowed: &[&[Scalar]]) -> Result<Head> {
        let round = ins.words.round();
        let accuracy = ins.words.accuracy();
        let mods = ins.words.mods();
        let ty = self.ty(ins)?;
        if !allowed.iter().any(|types| types.contains(&ty)) {
            return Err(ins.fail("does not take this type"));
        }
        let mut alu = alu(AluOp::Mov, ty);
        alu.round = round.unwrap_or_default();
        alu.accuracy = accuracy.unwrap_or_default();
        alu.mods = mods;
        Ok(Head { ty, alu })
    }

    /// Ends an instruction of so many operands of its type.
    fn regular(&mut self, ins: &Instruction<'a>, head: Head, op: AluOp, operands: usize) -> Result<()> {
        ins.count(operands + 1, operands + 1)?;
        check_modifiers(ins, op, &head)?;
        let mut alu = Alu { op, ..head.alu };
        alu.dst = self.dst(ins, 0, head.ty)?;
        for index in 0..operands {
            alu.src[index] = Some(self.value(ins, index + 1, head.ty)?);
        }
        self.emit_alu(ins, alu)
    }

    /// What the carry chain takes and gives.
    fn chain(&mut self, ins: &mut Instruction<'a>, with_input: Input) -> Carry {
        let input = (with_input == Input::Carry).then(|| self.code.carry());
        let output = ins.words.has("cc").then(|| self.code.carry());
        Carry { input, output }
    }
}

/// The modifiers that an operation has in a type.
fn modifiers(op: AluOp, ty: Scalar) -> Mods {
    let is_half = matches!(ty, F16 | F16x2 | BF16 | BF16x2);
    let when = |holds: bool, mods: Mods| if holds { mods } else { Mods::default() };
    if !ty.is_float() {
        return match op {
            AluOp::Add(_) => when(matches!(ty, U32 | S32 | U16x2 | S16x2 | U8x4 | S8x4), Mods::SAT),
            AluOp::Sub(_) => when(matches!(ty, S32 | U8x4 | S8x4), Mods::SAT),
            AluOp::Mad(Part::High, _) | AluOp::Mad24(Part::High) => when(ty == S32, Mods::SAT),
            AluOp::Min | AluOp::Max => when(matches!(ty, S32 | S16x2 | S8x4), Mods::RELU),
            _ => Mods::default(),
        };
    }
    let flushed = when(ty != F64 || matches!(op, AluOp::Rcp | AluOp::Rsqrt), Mods::FTZ);
    let clamped = when(matches!(ty, F32 | F16 | F16x2), Mods::SAT);
    match op {
        AluOp::Add(_) | AluOp::Sub(_) | AluOp::FMul => flushed.with(clamped),
        AluOp::Fma => flushed.with(clamped).with(when(is_half, Mods::RELU.with(Mods::OOB))),
        AluOp::Min | AluOp::Max if is_half || ty == F32 => {
            flushed.with(Mods::NAN).with(Mods::XORSIGN).with(Mods::ABS)
        }
        AluOp::Min3 | AluOp::Max3 => flushed.with(Mods::NAN).with(Mods::ABS),
        AluOp::Copysign | AluOp::Min | AluOp::Max => Mods::default(),
        _ => flushed,
    }
}

/// Fails if a modifier is said that the operation has not.
fn check_modifiers(ins: &Instruction<'_>, op: AluOp, head: &Head) -> Result<()> {
    if modifiers(op, head.ty).has(head.alu.mods) {
        return Ok(());
    }
    Err(ins.fail("does not take these modifiers with this type"))
}

/// Whether the carry flag is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    None,
    Carry,
}

pub(in crate::front) fn add<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    sum(p, ins, AluOp::Add, Input::None)
}

pub(in crate::front) fn sub<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    sum(p, ins, AluOp::Sub, Input::None)
}

pub(in crate::front) fn addc<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    sum(p, ins, AluOp::Add, Input::Carry)
}

pub(in crate::front) fn subc<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    sum(p, ins, AluOp::Sub, Input::Carry)
}

fn sum<'a>(
    p: &mut Parser<'a>,
    ins: &mut Instruction<'a>,
    op: fn(Carry) -> AluOp,
    input: Input,
) -> Result<()> {
    let carry = p.chain(ins, input);
    let head = p.shape(ins, &[INTEGERS, PACKED, FLOATS])?;
    if carry != Carry::default() && !matches!(head.ty, U32 | S32 | U64 | S64) {
        return Err(ins.fail("carries in integers of 32 and 64 bits only"));
    }
    mixed(p, ins, head, op(carry), 2)
}

/// Ends a sum or a fused product of `f32`; a second type is that of the operands that are halves.
fn mixed<'a>(
    p: &mut Parser<'a>,
    ins: &mut Instruction<'a>,
    head: Head,
    op: AluOp,
    operands: usize,
) -> Result<()> {
    let half = match (head.ty, ins.words.scalar()) {
        (_, None) => return p.regular(ins, head, op, operands),
        (F32, Some(half @ (F16 | BF16))) => half,
        _ => return Err(ins.fail("does not take these types")),
    };
    ins.count(operands + 1, operands + 1)?;
    check_modifiers(ins, op, &head)?;
    let mut alu = Alu { op, ..head.alu };
    alu.dst = p.dst(ins, 0, F32)?;
    for index in 0..operands {
        // The last operand is added and has the type of the result; the others are halves.
        let is_half = if operands == 2 { index == 0 } else { index < 2 };
        alu.src[index] = Some(if is_half {
            let value = p.value(ins, index + 1, half)?;
            Operand::Reg(p.converted(value, half, F32, ins.place))
        } else {
            p.value(ins, index + 1, F32)?
        });
    }
    p.emit_alu(ins, alu)
}

fn part(ins: &mut Instruction<'_>) -> Option<Part> {
    ins.words.choose(&[("lo", Part::Low), ("hi", Part::High), ("wide", Part::Wide)])
}

/// The type of a product of which all is kept.
fn doubled(ty: Scalar) -> Option<Scalar> {
    Some(match ty {
        U16 => U32,
        S16 => S32,
        U32 => U64,
        S32 => S64,
        _ => return None,
    })
}

pub(in crate::front) fn mul<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let part = part(ins);
    let head = p.shape(ins, &[INTEGERS, FLOATS])?;
    match part {
        None if head.ty.is_float() => p.regular(ins, head, AluOp::FMul, 2),
        None => Err(ins.fail("of integers needs `.lo`, `.hi` or `.wide`")),
        Some(_) if head.ty.is_float() => Err(ins.fail("of floats has no parts")),
        Some(Part::Wide) => {
            ins.count(3, 3)?;
            check_modifiers(ins, AluOp::Mul(Part::Wide), &head)?;
            let wide = doubled(head.ty).ok_or_else(|| ins.fail("does not take this type"))?;
            let mut alu = Alu { op: AluOp::Mul(Part::Wide), ..head.alu };
            alu.dst = p.dst(ins, 0, wide)?;
            alu.src[0] = Some(p.value(ins, 1, head.ty)?);
            alu.src[1] = Some(p.value(ins, 2, head.ty)?);
            p.emit_alu(ins, alu)
        }
        Some(part) => p.regular(ins, head, AluOp::Mul(part), 2),
    }
}

pub(in crate::front) fn mad<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    multiply_add(p, ins, Input::None)
}

pub(in crate::front) fn madc<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    multiply_add(p, ins, Input::Carry)
}

fn multiply_add<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>, input: Input) -> Result<()> {
    let carry = p.chain(ins, input);
    let part = part(ins);
    let head = p.shape(ins, &[INTEGERS, &[F32, F64]])?;
    match part {
        None if head.ty.is_float() => p.regular(ins, head, AluOp::Fma, 3),
        None => Err(ins.fail("of integers needs `.lo`, `.hi` or `.wide`")),
        Some(_) if head.ty.is_float() => Err(ins.fail("of floats has no parts")),
        Some(Part::Wide) => {
            ins.count(4, 4)?;
            check_modifiers(ins, AluOp::Mad(Part::Wide, carry), &head)?;
            let wide = doubled(head.ty).ok_or_else(|| ins.fail("does not take this type"))?;
            let mut alu = Alu { op: AluOp::Mad(Part::Wide, carry), ..head.alu };
            alu.dst = p.dst(ins, 0, wide)?;
            alu.src[0] = Some(p.value(ins, 1, head.ty)?);
            alu.src[1] = Some(p.value(ins, 2, head.ty)?);
            alu.src[2] = Some(p.value(ins, 3, wide)?);
            p.emit_alu(ins, alu)
        }
        Some(part) => p.regular(ins, head, AluOp::Mad(part, carry), 3),
    }
}

pub(in crate::front) fn mul24<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let part = part(ins).ok_or_else(|| ins.fail("needs `.lo` or `.hi`"))?;
    let head = p.shape(ins, &[&[U32, S32]])?;
    p.regular(ins, head, AluOp::Mul24(part), 2)
}

pub(in crate::front) fn mad24<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let part = part(ins).ok_or_else(|| ins.fail("needs `.lo` or `.hi`"))?;
    let head = p.shape(ins, &[&[U32, S32]])?;
    p.regular(ins, head, AluOp::Mad24(part), 3)
}

pub(in crate::front) fn fma<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = p.shape(ins, &[FLOATS])?;
    mixed(p, ins, head, AluOp::Fma, 3)
}

pub(in crate::front) fn sad<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = p.shape(ins, &[INTEGERS])?;
    p.regular(ins, head, AluOp::Sad, 3)
}

pub(in crate::front) fn div<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = p.shape(ins, &[INTEGERS, &[F32, F64]])?;
    p.regular(ins, head, AluOp::Div, 2)
}

pub(in crate::front) fn rem<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = p.shape(ins, &[INTEGERS])?;
    p.regular(ins, head, AluOp::Rem, 2)
}

pub(in crate::front) fn abs<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = p.shape(ins, &[&[S16, S32, S64], FLOATS])?;
    p.regular(ins, head, AluOp::Abs, 1)
}

pub(in crate::front) fn neg<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = p.shape(ins, &[&[S16, S32, S64, S8x4], FLOATS])?;
    p.regular(ins, head, AluOp::Neg, 1)
}

pub(in crate::front) fn min<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    least(p, ins, AluOp::Min, AluOp::Min3)
}

pub(in crate::front) fn max<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    least(p, ins, AluOp::Max, AluOp::Max3)
}

fn least<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>, two: AluOp, three: AluOp) -> Result<()> {
    let head = p.shape(ins, &[INTEGERS, PACKED, FLOATS])?;
    if ins.args.len() == 4 && head.ty == F32 {
        return p.regular(ins, head, three, 3);
    }
    p.regular(ins, head, two, 2)
}

/// The functions of one float.
fn function<'a>(
    p: &mut Parser<'a>,
    ins: &mut Instruction<'a>,
    op: AluOp,
    allowed: &[Scalar],
    without: Accuracy,
) -> Result<()> {
    let is_plain = !["approx", "rn", "rz", "rm", "rp"].into_iter().any(|word| ins.words.sees(word));
    let mut head = p.shape(ins, &[allowed])?;
    if is_plain {
        head.alu.accuracy = without;
    }
    p.regular(ins, head, op, 1)
}

pub(in crate::front) fn rcp<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    function(p, ins, AluOp::Rcp, &[F32, F64], Accuracy::Exact)
}

pub(in crate::front) fn sqrt<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    function(p, ins, AluOp::Sqrt, &[F32, F64], Accuracy::Exact)
}

pub(in crate::front) fn rsqrt<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    function(p, ins, AluOp::Rsqrt, &[F32, F64], Accuracy::Approx)
}

pub(in crate::front) fn sin<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    function(p, ins, AluOp::Sin, &[F32], Accuracy::Approx)
}

pub(in crate::front) fn cos<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    function(p, ins, AluOp::Cos, &[F32], Accuracy::Approx)
}

pub(in crate::front) fn lg2<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    function(p, ins, AluOp::Lg2, &[F32], Accuracy::Approx)
}

pub(in crate::front) fn ex2<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    function(p, ins, AluOp::Ex2, &[F32, F16, F16x2, BF16, BF16x2], Accuracy::Approx)
}

pub(in crate::front) fn tanh<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    function(p, ins, AluOp::Tanh, &[F32, F16, F16x2, BF16, BF16x2], Accuracy::Approx)
}

pub(in crate::front) fn copysign<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let head = p.shape(ins, &[&[F32, F64]])?;
    p.regular(ins, head, AluOp::Copysign, 2)
}

/// Dot products of bytes.
pub(in crate::front) fn dp4a<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    dot(p, ins, AluOp::Dp4a)
}

/// Dot products of halves and bytes.
pub(in crate::front) fn dp2a<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let part = match part(ins) {
        Some(part @ (Part::Low | Part::High)) => part,
        _ => return Err(ins.fail("needs `.lo` or `.hi`")),
    };
    dot(p, ins, |a, b| AluOp::Dp2a(a, b, part))
}

fn dot<'a>(
    p: &mut Parser<'a>,
    ins: &mut Instruction<'a>,
    op: impl Fn(Scalar, Scalar) -> AluOp,
) -> Result<()> {
    ins.count(4, 4)?;
    let [a, b] = [p.ty(ins)?, p.ty(ins)?];
    if !matches!((a, b), (U32 | S32, U32 | S32)) {
        return Err(ins.fail("does not take this type"));
    }
    let ty = if a == U32 && b == U32 { U32 } else { S32 };
    let mut alu = alu(op(a, b), ty);
    alu.mods = Mods::default();
    alu.dst = p.dst(ins, 0, ty)?;
    for index in 0..3 {
        alu.src[index] = Some(p.value(ins, index + 1, ty)?);
    }
    p.emit_alu(ins, alu)
}
