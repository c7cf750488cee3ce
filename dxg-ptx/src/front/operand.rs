//! The operands of an instruction, as written.

use crate::diagnostics::Diagnostic;
use crate::front::Parser;
use crate::front::Result;
use crate::front::constant;
use crate::front::lex::Token;
use crate::front::lex::TokenKind;
use crate::front::literal::Literal;
use crate::front::names::Found;
use crate::front::names::Name;
use crate::front::types;
use crate::front::words::Words;
use crate::ir::Address;
use crate::ir::Base;
use crate::ir::Guard;
use crate::ir::Place;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Special;
use crate::ir::Symbol;

/// What an operand is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg<'a> {
    Reg(Reg, RegClass),
    /// A vector register: so many from the first.
    Lanes(Reg, RegClass, u32),
    Literal(Literal),
    Special(Special),
    SpecialLanes([Special; 3]),
    /// The address of a symbol, plus bytes.
    Symbol(Symbol, i64),
    /// In brackets.
    Memory(Address),
    /// In braces: elements of [`Instruction::elements`] from, to.
    List(usize, usize),
    /// `_`.
    Sink,
    /// A name that means something else, or nothing yet.
    Name(&'a str),
}

/// What follows `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Second {
    None,
    Reg(Reg, RegClass),
    Sink,
}

/// An operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) arg: Arg<'a>,
    pub(super) place: Place,
    /// Whether `!` is before it.
    pub(super) is_negated: bool,
    /// Whether `-` is before a name.
    pub(super) is_minus: bool,
    /// A part such as `b0` or `h1` that a video instruction takes.
    pub(super) part: Option<&'a str>,
    pub(super) second: Second,
}

/// An instruction, as written.
#[derive(Debug)]
pub(super) struct Instruction<'a> {
    pub(super) opcode: &'a str,
    pub(super) place: Place,
    pub(super) guard: Option<Guard>,
    pub(super) words: Words<'a>,
    pub(super) args: Vec<Piece<'a>>,
    pub(super) elements: Vec<Piece<'a>>,
}

impl<'a> Instruction<'a> {
    pub(super) const fn new() -> Self {
        Self {
            opcode: "",
            place: Place { line: 0, column: 0 },
            guard: None,
            words: Words::new(),
            args: Vec::new(),
            elements: Vec::new(),
        }
    }

    /// A failure at an operand.
    pub(super) fn bad(&self, index: usize, message: impl AsRef<str>) -> Diagnostic {
        let place = self.args.get(index).map_or(self.place, |piece| piece.place);
        Diagnostic::malformed(
            place,
            format!("operand {} of `{}` {}", index + 1, self.opcode, message.as_ref()),
        )
    }

    /// A failure of the instruction.
    pub(super) fn fail(&self, message: impl AsRef<str>) -> Diagnostic {
        Diagnostic::malformed(self.place, format!("`{}` {}", self.opcode, message.as_ref()))
    }

    /// What is PTX and not supported.
    pub(super) fn refuse(&self, message: impl AsRef<str>) -> Diagnostic {
        Diagnostic::unsupported(self.place, format!("`{}` {}", self.opcode, message.as_ref()))
    }

    pub(super) fn piece(&self, index: usize) -> Result<&Piece<'a>> {
        self.args.get(index).ok_or_else(|| self.fail(format!("needs an operand {}", index + 1)))
    }

    /// Fails unless there are so many operands.
    pub(super) fn count(&self, least: usize, most: usize) -> Result<()> {
        let count = self.args.len();
        if (least..=most).contains(&count) {
            return Ok(());
        }
        let want = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Err(self.fail(format!("takes {want} operands, not {count}")))
    }
}

impl<'a> Parser<'a> {
    /// Reads operands up to the semicolon, which is taken.
    pub(super) fn operands(&mut self, ins: &mut Instruction<'a>) -> Result<()> {
        if self.lex.peek().is(b';') {
            self.lex.bump();
            self.is_within = false;
            return Ok(());
        }
        loop {
            let first = self.lex.peek();
            // Most operands are plain registers.
            if first.kind == TokenKind::Word
                && let Some(Found::Name(Name::Reg(reg, class))) = self.names.find(first.text)
            {
                self.lex.bump();
                let arg = Arg::Reg(reg, class);
                if matches!(self.lex.peek().kind, TokenKind::Mark(b',' | b';')) {
                    ins.args.push(plain(arg, first.place));
                } else {
                    let piece = self.after_name(first, arg)?;
                    ins.args.push(piece);
                }
            } else {
                let piece = self.piece(ins)?;
                ins.args.push(piece);
            }
            let next = self.lex.peek();
            self.lex.bump();
            match next.kind {
                TokenKind::Mark(b',') => {}
                TokenKind::Mark(b';') => {
                    self.is_within = false;
                    return Ok(());
                }
                _ => return Err(self.unexpected(next, "`,` or `;`")),
            }
        }
    }

    /// Reads one operand.
    pub(super) fn piece(&mut self, ins: &mut Instruction<'a>) -> Result<Piece<'a>> {
        let next = self.lex.peek();
        match next.kind {
            TokenKind::Mark(b'[') => {
                self.lex.bump();
                let address = self.address()?;
                self.expect(b']')?;
                // A hint that the address is the same in all lanes.
                if self.lex.peek().kind == TokenKind::Dotted && self.lex.peek().text == "unified" {
                    self.lex.bump();
                }
                Ok(plain(Arg::Memory(address), next.place))
            }
            TokenKind::Mark(b'{') => {
                self.lex.bump();
                self.operand_braces = 1;
                let start = ins.elements.len();
                loop {
                    let piece = self.simple()?;
                    ins.elements.push(piece);
                    let after = self.lex.bump();
                    match after.kind {
                        TokenKind::Mark(b',') => {}
                        TokenKind::Mark(b'}') => break self.operand_braces = 0,
                        _ => return Err(self.unexpected(after, "`,` or `}`")),
                    }
                }
                Ok(plain(Arg::List(start, ins.elements.len()), next.place))
            }
            _ => self.simple(),
        }
    }

    /// Reads an operand without brackets or braces.
    fn simple(&mut self) -> Result<Piece<'a>> {
        let next = self.lex.peek();
        match next.kind {
            TokenKind::Word => self.named(),
            TokenKind::Mark(b'!') => {
                self.lex.bump();
                if self.lex.peek().kind != TokenKind::Word {
                    let value = self.constant_at(constant::UNARY)?;
                    let is_zero = value.integer() == Some(0);
                    return Ok(plain(Arg::Literal(Literal::Signed(i64::from(is_zero))), next.place));
                }
                Ok(Piece { is_negated: true, place: next.place, ..self.named()? })
            }
            TokenKind::Mark(b'-') => {
                self.lex.bump();
                if self.lex.peek().kind == TokenKind::Word && self.lex.peek().text != "WARP_SZ" {
                    return Ok(Piece { is_minus: true, place: next.place, ..self.named()? });
                }
                Ok(plain(Arg::Literal(self.constant_after_minus()?), next.place))
            }
            TokenKind::Number | TokenKind::Mark(b'~' | b'(' | b'+') => {
                Ok(plain(Arg::Literal(self.constant()?), next.place))
            }
            _ => Err(self.unexpected(next, "an operand")),
        }
    }

    /// Reads an operand that starts with a name.
    fn named(&mut self) -> Result<Piece<'a>> {
        let token = self.lex.bump();
        let arg = if token.text == "_" { Arg::Sink } else { self.resolve(token.text, token.place)? };
        self.after_name(token, arg)
    }

    /// Reads what follows the name of an operand.
    fn after_name(&mut self, token: Token<'a>, arg: Arg<'a>) -> Result<Piece<'a>> {
        let mut piece = plain(arg, token.place);
        if self.lex.peek().kind == TokenKind::Dotted {
            let part = self.lex.bump();
            match (piece.arg, types::element(part.text)) {
                (Arg::Lanes(first, class, lanes), Some(at)) if at < lanes => {
                    piece.arg = Arg::Reg(Reg(first.0 + at), class);
                }
                (Arg::SpecialLanes(parts), Some(at)) if at < 4 => {
                    piece.arg = match parts.get(at as usize) {
                        Some(&special) => Arg::Special(special),
                        None => Arg::Literal(Literal::Signed(0)),
                    };
                }
                (Arg::Reg(..), None) => piece.part = Some(part.text),
                _ => {
                    let message = format!("`{}` has no part `.{}`", token.text, part.text);
                    return Err(Diagnostic::malformed(part.place, message));
                }
            }
        }
        if self.lex.peek().is(b'|') {
            self.lex.bump();
            let second = self.lex.bump();
            piece.second = match second.text {
                "_" => Second::Sink,
                text => match self.resolve(text, second.place)? {
                    Arg::Reg(reg, class) => Second::Reg(reg, class),
                    _ => return Err(Diagnostic::malformed(second.place, "a register belongs after `|`")),
                },
            };
        }
        if let Arg::Symbol(symbol, 0) = piece.arg
            && self.lex.peek().is(b'[')
        {
            // An element of an array.
            self.lex.bump();
            let index = self.constant()?.integer();
            self.expect(b']')?;
            let Some(index) = index else {
                return Err(Diagnostic::malformed(token.place, "an index is an integer"));
            };
            let offset = index.wrapping_mul(u64::from(self.element_bytes(symbol))).cast_signed();
            piece.arg = Arg::Symbol(symbol, offset.wrapping_add(self.offset()?));
            return Ok(piece);
        }
        if let Arg::Symbol(symbol, _) = piece.arg
            && matches!(self.lex.peek().kind, TokenKind::Mark(b'+' | b'-'))
        {
            piece.arg = Arg::Symbol(symbol, self.offset()?);
        }
        Ok(piece)
    }

    /// Bytes of an element of an array.
    fn element_bytes(&self, symbol: Symbol) -> u32 {
        let bytes = match symbol {
            Symbol::Global(id) => self.global_elements.get(id.0 as usize),
            Symbol::Local(id) => self.code.elements.get(id.0 as usize),
            Symbol::Param(_) | Symbol::Function(_) => None,
        };
        bytes.copied().unwrap_or(1)
    }

    /// What a name means as an operand.
    pub(super) fn resolve(&mut self, name: &'a str, place: Place) -> Result<Arg<'a>> {
        match self.names.find(name) {
            Some(Found::Name(Name::Reg(reg, class))) => Ok(Arg::Reg(reg, class)),
            Some(Found::Name(Name::Vector(reg, class, lanes))) => Ok(Arg::Lanes(reg, class, lanes)),
            Some(Found::Name(Name::Symbol(symbol))) => Ok(Arg::Symbol(symbol, 0)),
            Some(Found::Name(_)) => Ok(Arg::Name(name)),
            Some(Found::NewMember(family, number)) => {
                let first = self.code.new_reg(family.class);
                for _ in 1..family.lanes {
                    self.code.new_reg(family.class);
                }
                self.names.define_member(family, number, first);
                Ok(match family.lanes {
                    1 => Arg::Reg(first, family.class),
                    lanes => Arg::Lanes(first, family.class, lanes),
                })
            }
            None if name == "WARP_SZ" => Ok(Arg::Literal(Literal::Signed(32))),
            None => match name.strip_prefix('%') {
                Some(special) => {
                    if let Some(parts) = types::special_vector(special) {
                        return Ok(Arg::SpecialLanes(parts));
                    }
                    match types::special(special) {
                        Some(special) => Ok(Arg::Special(special)),
                        None => Err(Diagnostic::malformed(place, format!("`{name}` is not declared"))),
                    }
                }
                None => Ok(Arg::Name(name)),
            },
        }
    }

    /// Reads the bytes that are added to a base: sums of constants.
    pub(super) fn offset(&mut self) -> Result<i64> {
        let mut offset = 0_i64;
        loop {
            let next = self.lex.peek();
            let factor = match next.kind {
                TokenKind::Mark(b'+') => 1,
                TokenKind::Mark(b'-') => -1,
                _ => return Ok(offset),
            };
            self.lex.bump();
            let value = self.constant_at(constant::PRODUCT)?;
            let Some(value) = value.integer() else {
                return Err(Diagnostic::malformed(next.place, "an offset is an integer"));
            };
            offset = offset.wrapping_add(value.cast_signed().wrapping_mul(factor));
        }
    }

    /// Reads what is in brackets.
    pub(super) fn address(&mut self) -> Result<Address> {
        let next = self.lex.peek();
        if next.kind != TokenKind::Word || next.text == "WARP_SZ" {
            let value = self.constant()?;
            let Some(value) = value.integer() else {
                return Err(Diagnostic::malformed(next.place, "an address is an integer"));
            };
            return Ok(Address { base: Base::Zero, offset: value.cast_signed() });
        }
        let piece = self.named()?;
        let (base, start) = match piece.arg {
            Arg::Reg(reg, RegClass::B32 | RegClass::B64 | RegClass::F32 | RegClass::F64) => {
                (Base::Reg(reg), 0)
            }
            Arg::Reg(..) => return Err(Diagnostic::malformed(next.place, "an address has 32 or 64 bits")),
            Arg::Symbol(Symbol::Function(_), _) => {
                return Err(Diagnostic::malformed(next.place, "a function is no memory"));
            }
            Arg::Symbol(symbol, offset) => (Base::Symbol(symbol), offset),
            Arg::Name(name) => {
                return Err(Diagnostic::malformed(next.place, format!("`{name}` is not declared")));
            }
            _ => return Err(Diagnostic::malformed(next.place, "this is no address")),
        };
        Ok(Address { base, offset: start.wrapping_add(self.offset()?) })
    }
}

/// An operand without ornaments.
fn plain(arg: Arg<'_>, place: Place) -> Piece<'_> {
    Piece { arg, place, is_negated: false, is_minus: false, part: None, second: Second::None }
}
