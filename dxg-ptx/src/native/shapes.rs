//! How a register's values differ between four neighbouring threads that run the same instructions.
//!
//! *Why.* What is the same in four threads, or grows from one to the next by a known step, is computed once for all four, and memory
//! at such addresses is loaded and stored as one vector. Only the rest needs vectors.
//!
//! *Facts.* The first of the four threads has a `%tid.x` that is a multiple of four, and so is `%ntid.x`: code for four threads runs only
//! where that is so. All four take the same way; where they part, they stop to be four.

use crate::analysis::liveness::Liveness;
use crate::analysis::uniform::Uniform;
use crate::analysis::uniform::is_uniform_special;
use crate::analysis::visit;
use crate::analysis::visit::Access;
use crate::ir::Address;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Base;
use crate::ir::Block;
use crate::ir::BlockId;
use crate::ir::Carry;
use crate::ir::Function;
use crate::ir::Inst;
use crate::ir::Mods;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Part;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::Special;
use crate::ir::Terminator;

/// Threads that run together.
pub(crate) const LANES: u32 = 4;
/// Bits in which aligned neighbours differ.
const LANE_BITS: u32 = LANES.trailing_zeros();
/// Steps beyond this are not looked at.
const MOST_STRIDE: i64 = 1 << 20;

/// The values of a register in four neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing was written yet.
    Unknown,
    /// The value of the first, plus so much from each to the next, modulo the register's width.
    Line {
        /// The step, 0 where all are the same.
        stride: i64,
        /// How many low bits of the first one's value are certainly 0.
        zeros: u32,
    },
    /// Anything.
    Varying,
}

impl Shape {
    const SAME: Self = Self::same(0);

    const fn same(zeros: u32) -> Self {
        Self::Line { stride: 0, zeros }
    }

    /// The step, if there is one.
    pub(crate) const fn stride(self) -> Option<i64> {
        match self {
            Self::Line { stride, .. } => Some(stride),
            _ => None,
        }
    }

    pub(crate) fn is_same(self) -> bool {
        self.stride() == Some(0)
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, known) | (known, Self::Unknown) => known,
            (Self::Line { stride: a, zeros }, Self::Line { stride: b, zeros: more }) if a == b => {
                Self::Line { stride: a, zeros: zeros.min(more) }
            }
            _ => Self::Varying,
        }
    }

    /// The lowest bit in which the four values differ, if they differ in that one and the next only.
    const fn field(self) -> Option<u32> {
        match self {
            Self::Line { stride, zeros } if stride > 0 && (stride as u64).is_power_of_two() => {
                let low = stride.trailing_zeros();
                if zeros >= low + LANE_BITS { Some(low) } else { None }
            }
            _ => None,
        }
    }
}

/// A value that is taken to grow without a carry out of its width, which is looked at before the block starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assumption {
    /// The block, which has one predecessor.
    pub(crate) block: BlockId,
    /// A register of 32 bits.
    pub(crate) reg: Reg,
    pub(crate) stride: i64,
    pub(crate) is_signed: bool,
}

/// The shapes of a function's registers.
#[derive(Clone, Debug)]
pub(crate) struct Shapes {
    regs: Vec<Shape>,
    classes: Vec<RegClass>,
}

const fn is_word(ty: Scalar) -> bool {
    matches!(ty, Scalar::B32 | Scalar::U32 | Scalar::S32 | Scalar::B64 | Scalar::U64 | Scalar::S64)
}

/// A number of `bits` as a signed one.
const fn signed(value: u64, bits: u32) -> i64 {
    ((value << (64 - bits)) as i64) >> (64 - bits)
}

impl Shapes {
    /// Finds them.
    pub(crate) fn of(function: &Function, uniform: &Uniform, liveness: &Liveness) -> Self {
        let mut shapes =
            Self { regs: vec![Shape::Unknown; function.regs.len()], classes: function.regs.clone() };
        // What may be read before it is written starts as 0.
        for reg in liveness.live_in.first().into_iter().flat_map(|live| live.iter()) {
            shapes.regs[reg.0 as usize] = Shape::same(64);
        }
        let mut changed = true;
        while changed {
            changed = false;
            for inst in function.blocks.iter().flat_map(|block| &block.insts) {
                let result = shapes.result(inst);
                visit::writes(inst, |reg| {
                    let index = reg.0 as usize;
                    let mut new = match uniform.regs.has(reg) {
                        true if !result.is_same() => Shape::SAME,
                        _ => result,
                    };
                    new = shapes.regs[index].join(new);
                    changed |= new != shapes.regs[index];
                    shapes.regs[index] = new;
                });
            }
        }
        shapes
    }

    /// The shape of a register.
    pub(crate) fn reg(&self, reg: Reg) -> Shape {
        self.regs.get(reg.0 as usize).copied().unwrap_or(Shape::Varying)
    }

    /// The shape of an operand that is read in so many bits.
    fn operand(&self, operand: Operand, bits: u32) -> Shape {
        match operand {
            Operand::Imm(value) => Shape::same(value.trailing_zeros()),
            Operand::Special(Special::TidX | Special::LaneId) => Shape::Line { stride: 1, zeros: LANE_BITS },
            Operand::Special(Special::NtidX) => Shape::same(LANE_BITS),
            Operand::Special(Special::TidY | Special::TidZ | Special::WarpId) => Shape::SAME,
            Operand::Special(special) if is_uniform_special(special) => Shape::SAME,
            Operand::Special(_) => Shape::Varying,
            Operand::Reg(reg) => {
                let own = self.classes[reg.0 as usize].bits();
                match self.reg(reg) {
                    // Cut, a line stays one; made longer it need not.
                    Shape::Line { stride, zeros } if stride != 0 && own > bits => {
                        Shape::Line { stride: signed(stride as u64, bits), zeros }
                    }
                    Shape::Line { stride, .. } if stride != 0 && own < bits => Shape::Varying,
                    shape => shape,
                }
            }
        }
    }

    /// The shape of an address's base.
    pub(crate) fn address(&self, address: Address) -> Shape {
        match address.base {
            Base::Reg(reg) => self.reg(reg),
            Base::Symbol(_) | Base::Zero => Shape::SAME,
        }
    }

    /// The shape of what an instruction writes.
    pub(crate) fn result(&self, inst: &Inst) -> Shape {
        if let Some(guard) = inst.guard {
            match self.reg(guard.reg) {
                Shape::Unknown => return Shape::Unknown,
                shape if !shape.is_same() => return Shape::Varying,
                _ => {}
            }
        }
        match &inst.op {
            Op::Alu(alu) => self.alu(alu, inst),
            Op::Load { space, address, .. } if !matches!(space, Space::Local) => match self.address(*address)
            {
                Shape::Unknown => Shape::Unknown,
                shape if shape.is_same() => Shape::SAME,
                _ => Shape::Varying,
            },
            Op::Cvta { src, space, .. } => match space {
                Space::Global | Space::Const | Space::Generic => self.operand(*src, 64),
                Space::Shared | Space::Param => match self.operand(*src, 64) {
                    Shape::Line { stride, .. } => Shape::Line { stride, zeros: 0 },
                    shape => shape,
                },
                Space::Local => Shape::Varying,
            },
            Op::IsSpacep { space: Space::Local, .. } => Shape::Varying,
            Op::IsSpacep { .. } | Op::Pack { .. } | Op::Unpack { .. } => self.all_same(inst),
            Op::AddressOf { .. } => Shape::SAME,
            _ => Shape::Varying,
        }
    }

    /// What is computed from equal things is equal.
    fn all_same(&self, inst: &Inst) -> Shape {
        let (mut is_same, mut is_unknown) = (true, false);
        visit::look(inst, &mut |reg, access| {
            if access == Access::Read {
                is_unknown |= self.reg(reg) == Shape::Unknown;
                is_same &= self.reg(reg).is_same();
            }
        });
        let specials = match &inst.op {
            Op::Alu(alu) => alu.src.iter().flatten().all(|src| self.is_fixed(src)),
            Op::Pack { parts, .. } => parts.iter().all(|part| self.is_fixed(part)),
            Op::Unpack { src, .. } | Op::IsSpacep { src, .. } => self.is_fixed(src),
            _ => false,
        };
        match (is_unknown, is_same && specials) {
            (true, _) => Shape::Unknown,
            (_, true) => Shape::SAME,
            _ => Shape::Varying,
        }
    }

    fn is_fixed(&self, operand: &Operand) -> bool {
        match operand {
            Operand::Special(_) => self.operand(*operand, 64).is_same(),
            Operand::Reg(_) | Operand::Imm(_) => true,
        }
    }

    fn alu(&self, alu: &Alu, inst: &Inst) -> Shape {
        let plain = self.all_same(inst);
        if plain == Shape::Unknown {
            return plain;
        }
        let line = self.line(alu).unwrap_or(Shape::Varying);
        match (plain, line) {
            // Both may know something of the low bits.
            (Shape::Line { .. }, Shape::Line { stride: 0, .. }) => line,
            (Shape::Line { .. }, _) => plain,
            (_, Shape::Line { stride, zeros }) => {
                let stride = signed(stride as u64, 8 * result_type(alu).size_bytes());
                let fits = alu.dst2.is_none()
                    && stride.abs() <= MOST_STRIDE
                    && alu.dst.is_some_and(|dst| {
                        self.classes[dst.0 as usize].bits() == 8 * result_type(alu).size_bytes()
                    });
                if fits { Shape::Line { stride, zeros } } else { Shape::Varying }
            }
            _ => Shape::Varying,
        }
    }

    /// Lines that instructions on integers of 32 and 64 bits make.
    fn line(&self, alu: &Alu) -> Option<Shape> {
        let carries = match alu.op {
            AluOp::Add(carry) | AluOp::Sub(carry) | AluOp::Mad(_, carry) => carry != Carry::default(),
            _ => false,
        };
        if !is_word(alu.ty) || carries || alu.mods != Mods::default() {
            return None;
        }
        let bits = 8 * alu.ty.size_bytes();
        let source = |index: usize| self.operand(alu.src[index].unwrap_or(Operand::Imm(0)), bits);
        let constant = |index: usize| match alu.src[index] {
            Some(Operand::Imm(value)) => Some(value & (u64::MAX >> (64 - bits))),
            _ => None,
        };
        let line = |shape: Shape| match shape {
            Shape::Line { stride, zeros } => Some((stride, zeros.min(bits))),
            _ => None,
        };
        let sum = |(a, low): (i64, u32), (b, other): (i64, u32)| {
            Some(Shape::Line { stride: a.checked_add(b)?, zeros: low.min(other) })
        };
        let scaled = |shape: Shape, factor: u64, is_signed: bool| {
            let (stride, zeros) = line(shape)?;
            let zeros = (zeros + factor.trailing_zeros()).min(64);
            let factor = if is_signed { signed(factor, bits) } else { i64::try_from(factor).ok()? };
            Some((stride.checked_mul(factor)?, zeros))
        };
        let product = |is_signed: bool| match (constant(0), constant(1)) {
            (_, Some(factor)) => scaled(source(0), factor, is_signed),
            (Some(factor), _) => scaled(source(1), factor, is_signed),
            _ => match (line(source(0))?, line(source(1))?) {
                ((0, zeros), (0, more)) => Some((0, (zeros + more).min(bits))),
                _ => None,
            },
        };
        Some(match alu.op {
            AluOp::Mov => source(0),
            AluOp::Add(_) => sum(line(source(0))?, line(source(1))?)?,
            AluOp::Sub(_) => {
                let (b, low) = line(source(1))?;
                sum(line(source(0))?, (b.checked_neg()?, low))?
            }
            AluOp::Mul(Part::Low) => {
                let (stride, zeros) = product(true)?;
                Shape::Line { stride, zeros }
            }
            AluOp::Mad(Part::Low, _) => sum(product(true)?, line(source(2))?)?,
            AluOp::Mul(Part::Wide) => {
                let (stride, zeros) = product(alu.ty.is_signed())?;
                Shape::Line { stride, zeros }
            }
            AluOp::Mad(Part::Wide, _) => {
                let addend = self.operand(alu.src[2].unwrap_or(Operand::Imm(0)), 2 * bits);
                sum(product(alu.ty.is_signed())?, line(addend)?)?
            }
            AluOp::Cvt { from, .. } if is_word(from) => {
                let shape = self.operand(alu.src[0].unwrap_or(Operand::Imm(0)), 8 * from.size_bytes());
                let (stride, zeros) = line_of(shape)?;
                Shape::Line { stride, zeros: zeros.min(8 * from.size_bytes()) }
            }
            AluOp::Shl => {
                let amount = constant(1)? & 0xffff_ffff;
                if amount >= u64::from(bits) {
                    return Some(Shape::same(bits));
                }
                let (stride, zeros) = line(source(0))?;
                Shape::Line {
                    stride: stride.checked_mul(1_i64.checked_shl(amount as u32)?)?,
                    zeros: zeros + amount as u32,
                }
            }
            AluOp::Shr => {
                let amount = u32::try_from(constant(1)? & 0xffff_ffff).ok()?;
                shifted_down(source(0), amount, bits)?
            }
            AluOp::Bfe => {
                let (start, length) = (constant(1)? & 0xff, constant(2)? & 0xff);
                let (start, length) = (start as u32, length as u32);
                if length == 0 || start + length >= bits || alu.ty.is_signed() {
                    return None;
                }
                let shifted = shifted_down(source(0), start, bits)?;
                masked(shifted, (1 << length) - 1)?
            }
            AluOp::And => match (constant(0), constant(1)) {
                (_, Some(mask)) => masked(source(0), mask)?,
                (Some(mask), _) => masked(source(1), mask)?,
                _ => Shape::same(line(source(0))?.1.max(line(source(1))?.1)),
            },
            AluOp::Or | AluOp::Xor => {
                let (a, b) = (source(0), source(1));
                match (line(a)?, line(b)?) {
                    ((0, low), (0, other)) => Shape::same(low.min(other)),
                    ((_, low), (0, other)) => added(a, low, (other, constant(1)))?,
                    ((0, other), (_, low)) => added(b, low, (other, constant(0)))?,
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// Which values, in which blocks, are taken to grow without a carry. Blocks are cut so that each starts where one is looked at.
    pub(crate) fn cut_at_assumptions(&self, function: &mut Function) -> Vec<Assumption> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < function.blocks.len() {
            let mut known: Vec<(Reg, bool)> = found
                .iter()
                .filter(|one: &&Assumption| one.block.0 as usize == at)
                .map(|one| (one.reg, one.is_signed))
                .collect();
            let cut = function.blocks[at].insts.iter().enumerate().find_map(|(index, inst)| {
                let needed =
                    self.assumed(inst).filter(|(reg, _, is_signed)| !known.contains(&(*reg, *is_signed)));
                visit::writes(inst, |reg| known.retain(|(seen, _)| *seen != reg));
                needed.map(|needed| (index, needed))
            });
            let Some((index, (reg, stride, is_signed))) = cut else {
                at += 1;
                continue;
            };
            let Ok(new) = u32::try_from(function.blocks.len()) else { return found };
            let source = &mut function.blocks[at];
            let place = source.insts[index].place;
            let insts = source.insts.split_off(index);
            let end = std::mem::replace(&mut source.end, Terminator::Jump(BlockId(new)));
            let end_place = std::mem::replace(&mut source.end_place, place);
            function.blocks.push(Block { insts, end, end_place });
            found.push(Assumption { block: BlockId(new), reg, stride, is_signed });
            at += 1;
        }
        found
    }

    /// The register that an instruction makes longer, its step and whether as a signed number, if that could carry.
    fn assumed(&self, inst: &Inst) -> Option<(Reg, i64, bool)> {
        let Op::Alu(alu) = &inst.op else { return None };
        if self.result(inst).stride()? == 0 {
            return None;
        }
        let (candidates, from) = match alu.op {
            AluOp::Mul(Part::Wide) | AluOp::Mad(Part::Wide, _) => (&alu.src[..2], alu.ty),
            AluOp::Cvt { from, .. } if from.size_bytes() < alu.ty.size_bytes() => (&alu.src[..1], from),
            _ => return None,
        };
        candidates.iter().flatten().find_map(|operand| {
            let Operand::Reg(reg) = *operand else { return None };
            let shape = self.operand(*operand, 8 * from.size_bytes());
            let stride = shape.stride().filter(|&stride| stride != 0)?;
            // Aligned neighbours differ in two bits only, below the highest.
            let is_safe = shape.field().is_some_and(|low| low + LANE_BITS < 32);
            (!is_safe).then_some((reg, stride, from.is_signed()))
        })
    }
}

/// The type of what an instruction writes.
fn result_type(alu: &Alu) -> Scalar {
    match (alu.op, alu.ty) {
        (AluOp::Mul(Part::Wide) | AluOp::Mad(Part::Wide, _), ty) if ty.size_bytes() == 4 => Scalar::B64,
        (_, ty) => ty,
    }
}

const fn line_of(shape: Shape) -> Option<(i64, u32)> {
    match shape {
        Shape::Line { stride, zeros } => Some((stride, zeros)),
        _ => None,
    }
}

fn shifted_down(shape: Shape, amount: u32, bits: u32) -> Option<Shape> {
    let (stride, zeros) = line_of(shape)?;
    if stride == 0 {
        return Some(Shape::same(zeros.saturating_sub(amount)));
    }
    let low = shape.field().filter(|low| low + LANE_BITS < bits)?;
    if amount >= low + LANE_BITS {
        Some(Shape::same(zeros.saturating_sub(amount)))
    } else if amount <= low {
        Some(Shape::Line { stride: stride >> amount, zeros: zeros - amount })
    } else {
        None
    }
}

fn masked(shape: Shape, mask: u64) -> Option<Shape> {
    let (stride, zeros) = line_of(shape)?;
    let zeros = zeros.max(mask.trailing_zeros());
    if stride == 0 {
        return Some(Shape::same(zeros));
    }
    let low = shape.field()?;
    match mask >> low & u64::from(LANES - 1) {
        0 => Some(Shape::same(zeros)),
        3 => Some(Shape::Line { stride, zeros }),
        _ => None,
    }
}

/// A line with other bits set beside those in which it differs.
fn added(shape: Shape, zeros: u32, (other, constant): (u32, Option<u64>)) -> Option<Shape> {
    let (stride, low) = (shape.stride()?, shape.field()?);
    let is_apart = match constant {
        Some(value) => value >> low & u64::from(LANES - 1) == 0,
        None => other >= low + LANE_BITS,
    };
    is_apart.then_some(Shape::Line { stride, zeros: zeros.min(other) })
}
