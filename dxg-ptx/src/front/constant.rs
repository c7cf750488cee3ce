//! Constant expressions.

use crate::diagnostics::Diagnostic;
use crate::front::Parser;
use crate::front::Result;
use crate::front::lex::Token;
use crate::front::lex::TokenKind;
use crate::front::literal::Literal;
use crate::ir::Place;

/// Nesting that is read.
const MOST_NESTING: u32 = 64;

/// Binds an operator and its operand only.
pub(super) const UNARY: u8 = 12;
/// Binds products.
pub(super) const PRODUCT: u8 = 11;

/// A binary operator: its name, how tightly it binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binary {
    LogicalOr,
    LogicalAnd,
    Or,
    Xor,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Shl,
    Shr,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

impl<'a> Parser<'a> {
    /// Reads a constant expression.
    pub(super) fn constant(&mut self) -> Result<Literal> {
        // What most operands are.
        let next = self.lex.peek();
        if next.kind == TokenKind::Number {
            self.lex.bump();
            let value = number(next)?;
            if matches!(self.lex.peek().kind, TokenKind::Mark(b',' | b';' | b'}' | b']')) {
                return Ok(value);
            }
            return self.climb(value, 1, 0);
        }
        self.expression(1, 0)
    }

    /// Reads a constant expression that starts with a minus, which is taken already.
    pub(super) fn constant_after_minus(&mut self) -> Result<Literal> {
        let first = negative(self.unary(0)?);
        self.climb(first, 1, 0)
    }

    /// Reads an expression of operators that bind at least so tightly.
    pub(super) fn constant_at(&mut self, least: u8) -> Result<Literal> {
        self.expression(least, 0)
    }

    fn expression(&mut self, least: u8, nesting: u32) -> Result<Literal> {
        let first = self.unary(nesting)?;
        self.climb(first, least, nesting)
    }

    fn climb(&mut self, first: Literal, least: u8, nesting: u32) -> Result<Literal> {
        let mut left = first;
        loop {
            let token = self.lex.peek();
            if token.is(b'?') && least <= 1 {
                self.lex.bump();
                let then = self.expression(1, deeper(nesting, token.place)?)?;
                self.expect(b':')?;
                let otherwise = self.expression(1, deeper(nesting, token.place)?)?;
                return Ok(if integer(left, token.place)? != 0 { then } else { otherwise });
            }
            let Some((binary, binds, marks)) = self.operator(token) else { return Ok(left) };
            if binds < least {
                return Ok(left);
            }
            for _ in 0..marks {
                self.lex.bump();
            }
            let right = self.expression(binds + 1, deeper(nesting, token.place)?)?;
            left = apply(binary, left, right, token.place)?;
        }
    }

    /// The operator that starts here: how tightly it binds and how many marks it has.
    fn operator(&self, token: Token<'a>) -> Option<(Binary, u8, u8)> {
        let TokenKind::Mark(mark) = token.kind else { return None };
        let doubled = |next: u8| self.lex.follows(token.at, next);
        Some(match mark {
            b'|' if doubled(b'|') => (Binary::LogicalOr, 2, 2),
            b'&' if doubled(b'&') => (Binary::LogicalAnd, 3, 2),
            b'|' => (Binary::Or, 4, 1),
            b'^' => (Binary::Xor, 5, 1),
            b'&' => (Binary::And, 6, 1),
            b'=' if doubled(b'=') => (Binary::Eq, 7, 2),
            b'!' if doubled(b'=') => (Binary::Ne, 7, 2),
            b'<' if doubled(b'<') => (Binary::Shl, 9, 2),
            b'>' if doubled(b'>') => (Binary::Shr, 9, 2),
            b'<' if doubled(b'=') => (Binary::Le, 8, 2),
            b'>' if doubled(b'=') => (Binary::Ge, 8, 2),
            b'<' => (Binary::Lt, 8, 1),
            b'>' => (Binary::Gt, 8, 1),
            b'+' => (Binary::Add, 10, 1),
            b'-' => (Binary::Sub, 10, 1),
            b'*' => (Binary::Mul, 11, 1),
            b'/' => (Binary::Div, 11, 1),
            b'%' => (Binary::Rem, 11, 1),
            _ => return None,
        })
    }

    fn unary(&mut self, nesting: u32) -> Result<Literal> {
        let token = self.lex.bump();
        let operand = |parser: &mut Self| parser.unary(deeper(nesting, token.place)?);
        match token.kind {
            TokenKind::Number => number(token),
            TokenKind::Word if token.text == "WARP_SZ" => Ok(Literal::Signed(32)),
            TokenKind::Mark(b'+') => operand(self),
            TokenKind::Mark(b'-') => operand(self).map(negative),
            TokenKind::Mark(b'~') => Ok(match operand(self)? {
                Literal::Unsigned(value) => Literal::Unsigned(!value),
                other => Literal::Signed(!integer(other, token.place)?.cast_signed()),
            }),
            TokenKind::Mark(b'!') => {
                let value = operand(self)?;
                Ok(Literal::Signed(i64::from(integer(value, token.place)? == 0)))
            }
            TokenKind::Mark(b'(') => {
                let inner = deeper(nesting, token.place)?;
                if self.lex.peek().kind == TokenKind::Dotted {
                    let cast = self.lex.bump();
                    self.expect(b')')?;
                    let value = self.unary(inner)?;
                    return match (cast.text, value.integer()) {
                        ("s64", Some(bits)) => Ok(Literal::Signed(bits.cast_signed())),
                        ("u64", Some(bits)) => Ok(Literal::Unsigned(bits)),
                        _ => Err(Diagnostic::malformed(cast.place, "casts are to `.s64` and `.u64`")),
                    };
                }
                let value = self.expression(1, inner)?;
                self.expect(b')')?;
                Ok(value)
            }
            _ => Err(self.unexpected(token, "a constant")),
        }
    }
}

fn negative(value: Literal) -> Literal {
    match value {
        Literal::Signed(value) => Literal::Signed(value.wrapping_neg()),
        Literal::Unsigned(value) => Literal::Unsigned(value.wrapping_neg()),
        Literal::F32(bits) => Literal::F32(bits ^ 1 << 31),
        Literal::F64(bits) => Literal::F64(bits ^ 1 << 63),
    }
}

fn deeper(nesting: u32, place: Place) -> Result<u32> {
    if nesting >= MOST_NESTING {
        return Err(Diagnostic::malformed(place, "an expression is nested too deeply"));
    }
    Ok(nesting + 1)
}

fn number(token: Token<'_>) -> Result<Literal> {
    Literal::read(token.text)
        .ok_or_else(|| Diagnostic::malformed(token.place, format!("`{}` is no number", token.text)))
}

fn integer(value: Literal, place: Place) -> Result<u64> {
    value.integer().ok_or_else(|| Diagnostic::malformed(place, "this operator takes integers"))
}

fn apply(binary: Binary, left: Literal, right: Literal, place: Place) -> Result<Literal> {
    if let (Some(a), Some(b)) = (left.float(), right.float()) {
        let value = match binary {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            _ => return Err(Diagnostic::malformed(place, "this operator takes integers")),
        };
        return Ok(Literal::F64(value.to_bits()));
    }
    let (a, b) = (integer(left, place)?, integer(right, place)?);
    let is_shift = matches!(binary, Binary::Shl | Binary::Shr);
    let is_unsigned =
        matches!(left, Literal::Unsigned(_)) || !is_shift && matches!(right, Literal::Unsigned(_));
    let (x, y) = (a.cast_signed(), b.cast_signed());
    let order = if is_unsigned { a.cmp(&b) } else { x.cmp(&y) };
    let shift = u32::try_from(b).unwrap_or(u32::MAX);
    let zero = || Diagnostic::malformed(place, "a constant is divided by zero");
    let truth = |value: bool| Ok(Literal::Signed(i64::from(value)));
    let bits = match binary {
        Binary::LogicalOr => return truth(a != 0 || b != 0),
        Binary::LogicalAnd => return truth(a != 0 && b != 0),
        Binary::Eq => return truth(a == b),
        Binary::Ne => return truth(a != b),
        Binary::Lt => return truth(order.is_lt()),
        Binary::Le => return truth(order.is_le()),
        Binary::Gt => return truth(order.is_gt()),
        Binary::Ge => return truth(order.is_ge()),
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::And => a & b,
        Binary::Shl => a.checked_shl(shift).unwrap_or(0),
        Binary::Shr if is_unsigned => a.checked_shr(shift).unwrap_or(0),
        Binary::Shr => (x >> shift.min(63)).cast_unsigned(),
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div if is_unsigned => a.checked_div(b).ok_or_else(zero)?,
        Binary::Rem if is_unsigned => a.checked_rem(b).ok_or_else(zero)?,
        Binary::Div | Binary::Rem if y == 0 => return Err(zero()),
        Binary::Div => x.wrapping_div(y).cast_unsigned(),
        Binary::Rem => x.wrapping_rem(y).cast_unsigned(),
    };
    Ok(if is_unsigned { Literal::Unsigned(bits) } else { Literal::Signed(bits.cast_signed()) })
}
