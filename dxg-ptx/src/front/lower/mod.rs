//! Lowering: what each instruction means, one file per family.

pub(super) mod arithmetic;
pub(super) mod atomic;
pub(super) mod barrier;
pub(super) mod bits;
pub(super) mod cluster;
pub(super) mod compare;
pub(super) mod control;
pub(super) mod convert;
pub(super) mod matrix;
pub(super) mod mbarrier;
pub(super) mod memory;
pub(super) mod moves;
mod narrow;
pub(super) mod video;
pub(super) mod warp;
pub(super) mod wmma;

use crate::diagnostics::Diagnostic;
use crate::front::Parser;
use crate::front::Result;
use crate::front::literal::Literal;
use crate::front::operand::Arg;
use crate::front::operand::Instruction;
use crate::front::operand::Piece;
use crate::front::operand::Second;
use crate::front::types;
use crate::ir::Accuracy;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Place;
use crate::ir::Reg;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::ir::Special;

/// Which registers an operand of a type may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Of the same width.
    Exact,
    /// Wider ones too.
    Wider,
}

/// A pure instruction without operands.
pub(super) fn alu(op: AluOp, ty: Scalar) -> Alu {
    Alu {
        op,
        ty,
        round: Round::default(),
        accuracy: Accuracy::default(),
        mods: Mods::default(),
        dst: None,
        dst2: None,
        src: [None; 4],
    }
}

impl<'a> Parser<'a> {
    /// An operand as a value of a type, in a register of its width.
    pub(super) fn value(&mut self, ins: &Instruction<'a>, index: usize, ty: Scalar) -> Result<Operand> {
        let piece = ins.piece(index)?;
        self.piece_value(piece, ty, Fit::Exact)
    }

    /// The same, or in a wider register.
    pub(super) fn wide_value(&mut self, ins: &Instruction<'a>, index: usize, ty: Scalar) -> Result<Operand> {
        let piece = ins.piece(index)?;
        self.piece_value(piece, ty, Fit::Wider)
    }

    pub(super) fn piece_value(&mut self, piece: &Piece<'a>, ty: Scalar, fit: Fit) -> Result<Operand> {
        let bits = types::width(ty);
        let place = piece.place;
        if piece.is_negated && ty != Scalar::Pred {
            return Err(Diagnostic::malformed(place, "`!` stands before predicates only"));
        }
        if piece.is_minus {
            return Err(Diagnostic::malformed(place, "`-` stands before constants only"));
        }
        if piece.second != Second::None {
            return Err(Diagnostic::malformed(place, "`|` joins destinations only"));
        }
        if piece.part.is_some() {
            return Err(Diagnostic::malformed(place, "a part of a register does not stand here"));
        }
        match piece.arg {
            Arg::Reg(reg, class) => {
                let have = class.bits();
                let fits = have == bits || fit == Fit::Wider && have > bits && bits > 1;
                if !fits {
                    return Err(Diagnostic::malformed(
                        place,
                        format!("the register has {have} bits and the type has {bits}"),
                    ));
                }
                Ok(Operand::Reg(if piece.is_negated { self.negated(reg, place) } else { reg }))
            }
            Arg::Literal(literal) => {
                let value = literal.bits_as(ty).ok_or_else(|| mismatch(literal, place))?;
                Ok(Operand::Imm(if piece.is_negated { value ^ 1 } else { value }))
            }
            Arg::Special(special) => {
                let have = types::special_bits(special);
                if bits == 1 && special == Special::IsExplicitCluster {
                    // No block knows of another one.
                    return Ok(Operand::Imm(u64::from(piece.is_negated)));
                }
                if have == bits {
                    return Ok(Operand::Special(special));
                }
                if bits < 16 {
                    return Err(Diagnostic::malformed(place, "a special register has 32 or 64 bits"));
                }
                let from = if have == 64 { Scalar::U64 } else { Scalar::U32 };
                let to = match bits {
                    16 => Scalar::U16,
                    32 => Scalar::U32,
                    _ => Scalar::U64,
                };
                Ok(Operand::Reg(self.converted(Operand::Special(special), from, to, place)))
            }
            Arg::Symbol(symbol, offset) => {
                if bits < 32 {
                    return Err(Diagnostic::malformed(place, "an address has 32 or 64 bits"));
                }
                let dst = self.code.temp(types::untyped(bits.min(64)));
                self.code.push(None, Op::AddressOf { dst, symbol, offset }, place);
                Ok(Operand::Reg(dst))
            }
            Arg::Name(name) => Err(Diagnostic::malformed(place, format!("`{name}` is not declared"))),
            Arg::Sink => Err(Diagnostic::malformed(place, "`_` has no value")),
            Arg::SpecialLanes(_) | Arg::Lanes(..) | Arg::List(..) => {
                Err(Diagnostic::malformed(place, "a vector does not stand here"))
            }
            Arg::Memory(_) => Err(Diagnostic::malformed(place, "an address in brackets does not stand here")),
        }
    }

    /// A new register with a converted value.
    pub(super) fn converted(&mut self, src: Operand, from: Scalar, to: Scalar, place: Place) -> Reg {
        let dst = self.code.temp(to);
        let mut convert = alu(AluOp::Cvt { from, integral: Integral::No }, to);
        convert.dst = Some(dst);
        convert.src[0] = Some(src);
        self.code.push(None, Op::Alu(convert), place);
        dst
    }

    /// A destination for a value of a type, in a register of its width; none for `_`.
    pub(super) fn dst(&self, ins: &Instruction<'a>, index: usize, ty: Scalar) -> Result<Option<Reg>> {
        let piece = ins.piece(index)?;
        if piece.second != Second::None {
            return Err(ins.bad(index, "has no second destination"));
        }
        self.piece_dst(piece, ty, Fit::Exact)
    }

    /// The same, or in a wider register.
    pub(super) fn wide_dst(&self, ins: &Instruction<'a>, index: usize, ty: Scalar) -> Result<Option<Reg>> {
        self.piece_dst(ins.piece(index)?, ty, Fit::Wider)
    }

    pub(super) fn piece_dst(&self, piece: &Piece<'a>, ty: Scalar, fit: Fit) -> Result<Option<Reg>> {
        let bits = types::width(ty);
        match piece.arg {
            _ if piece.is_negated || piece.is_minus => {
                Err(Diagnostic::malformed(piece.place, "a destination has no sign"))
            }
            _ if piece.part.is_some() => {
                Err(Diagnostic::malformed(piece.place, "a part of a register does not stand here"))
            }
            Arg::Reg(reg, class) => {
                let have = class.bits();
                if have == bits || fit == Fit::Wider && have > bits && bits > 1 {
                    return Ok(Some(reg));
                }
                let message = format!("the register has {have} bits and the result has {bits}");
                Err(Diagnostic::malformed(piece.place, message))
            }
            Arg::Sink => Ok(None),
            Arg::Name(name) => Err(Diagnostic::malformed(piece.place, format!("`{name}` is not declared"))),
            _ => Err(Diagnostic::malformed(piece.place, "the destination is no register")),
        }
    }

    /// A destination that something always writes: a new register for `_`.
    pub(super) fn some_dst(&mut self, ins: &Instruction<'a>, index: usize, ty: Scalar) -> Result<Reg> {
        match self.dst(ins, index, ty)? {
            Some(reg) => Ok(reg),
            None => Ok(self.code.temp(ty)),
        }
    }

    /// The second destination after `|`: a predicate.
    pub(super) fn second_dst(&self, ins: &Instruction<'a>, index: usize) -> Result<Option<Reg>> {
        match ins.piece(index)?.second {
            Second::None | Second::Sink => Ok(None),
            Second::Reg(reg, crate::ir::RegClass::Pred) => Ok(Some(reg)),
            Second::Reg(..) => Err(ins.bad(index, "needs a predicate after `|`")),
        }
    }

    /// The elements of an operand: of braces, of a vector register, or itself.
    pub(super) fn lanes(&self, ins: &Instruction<'a>, index: usize) -> Result<Vec<Piece<'a>>> {
        let piece = ins.piece(index)?;
        Ok(match piece.arg {
            Arg::List(start, end) => ins.elements.get(start..end).unwrap_or_default().to_vec(),
            Arg::Lanes(first, class, lanes) => {
                (0..lanes).map(|lane| Piece { arg: Arg::Reg(Reg(first.0 + lane), class), ..*piece }).collect()
            }
            Arg::SpecialLanes(parts) => {
                let last = Arg::Literal(Literal::Signed(0));
                parts
                    .iter()
                    .map(|&part| Arg::Special(part))
                    .chain([last])
                    .map(|arg| Piece { arg, ..*piece })
                    .collect()
            }
            _ => vec![*piece],
        })
    }

    /// The elements of an operand, which are so many values.
    pub(super) fn lane_values(
        &mut self,
        ins: &Instruction<'a>,
        index: usize,
        count: usize,
        ty: Scalar,
    ) -> Result<Vec<Operand>> {
        if let Some(piece) = single(ins, index, count) {
            return Ok(vec![self.piece_value(piece, ty, Fit::Wider)?]);
        }
        let lanes = self.exact_lanes(ins, index, count)?;
        lanes.iter().map(|piece| self.piece_value(piece, ty, Fit::Wider)).collect()
    }

    /// The elements of an operand, which are so many destinations.
    pub(super) fn lane_dsts(
        &self,
        ins: &Instruction<'a>,
        index: usize,
        count: usize,
        ty: Scalar,
    ) -> Result<Vec<Option<Reg>>> {
        if let Some(piece) = single(ins, index, count) {
            return Ok(vec![self.piece_dst(piece, ty, Fit::Wider)?]);
        }
        let lanes = self.exact_lanes(ins, index, count)?;
        lanes.iter().map(|piece| self.piece_dst(piece, ty, Fit::Wider)).collect()
    }

    fn exact_lanes(&self, ins: &Instruction<'a>, index: usize, count: usize) -> Result<Vec<Piece<'a>>> {
        let lanes = self.lanes(ins, index)?;
        if lanes.len() != count {
            return Err(ins.bad(index, format!("has {} elements, not {count}", lanes.len())));
        }
        Ok(lanes)
    }

    /// The type that an instruction names next.
    pub(super) fn ty(&self, ins: &mut Instruction<'a>) -> Result<Scalar> {
        ins.words.scalar().ok_or_else(|| ins.fail("needs a type"))
    }

    /// Adds an instruction under the guard as written.
    pub(super) fn emit(&mut self, ins: &Instruction<'a>, op: Op) {
        self.code.push(ins.guard, op, ins.place);
    }

    /// Ends a pure instruction: no modifier may be left.
    pub(super) fn emit_alu(&mut self, ins: &Instruction<'a>, alu: Alu) -> Result<()> {
        ins.words.finish(ins.opcode)?;
        self.emit(ins, Op::Alu(alu));
        Ok(())
    }
}

/// An operand that is its own only element.
fn single<'i, 'a>(ins: &'i Instruction<'a>, index: usize, count: usize) -> Option<&'i Piece<'a>> {
    let piece = ins.args.get(index).filter(|_| count == 1)?;
    (!matches!(piece.arg, Arg::List(..) | Arg::Lanes(..) | Arg::SpecialLanes(_))).then_some(piece)
}

fn mismatch(literal: Literal, place: Place) -> Diagnostic {
    let message = match literal {
        Literal::F32(_) | Literal::F64(_) => "a float constant stands where an integer is expected",
        Literal::Signed(_) | Literal::Unsigned(_) => "an integer constant stands where a float is expected",
    };
    Diagnostic::malformed(place, message)
}
