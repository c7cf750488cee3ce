//! Initial values of variables.

use crate::diagnostics::Diagnostic;
use crate::front::Parser;
use crate::front::Result;
use crate::front::directive::Declared;
use crate::front::lex::TokenKind;
use crate::front::names::Found;
use crate::front::names::Name;
use crate::ir::Global;
use crate::ir::Place;
use crate::ir::Relocation;
use crate::ir::Scalar;
use crate::ir::Symbol;

/// Where values go.
struct Filling<'g> {
    global: &'g mut Global,
    ty: Scalar,
    element_bytes: u64,
    /// Bytes after which nothing may be written; none if the text leaves the extent out.
    end: Option<u64>,
    /// Bytes that may be left out.
    gap_bytes: u64,
    at: u64,
}

impl<'a> Parser<'a> {
    /// Reads what follows `=`.
    pub(super) fn initialiser(&mut self, declared: &mut Declared<'a>, global: &mut Global) -> Result<()> {
        let scalar_bytes = u64::from(declared.ty.size_bytes());
        let is_open = declared.extents.first() == Some(&0);
        let mut filling = Filling {
            ty: declared.ty,
            element_bytes: scalar_bytes,
            end: (!is_open).then_some(global.size),
            gap_bytes: self.gap_bytes,
            at: 0,
            global,
        };
        // Bytes of what each depth of braces holds one of.
        let mut steps: Vec<u64> = Vec::new();
        let mut bytes = declared.element_bytes();
        if declared.lanes > 1 {
            steps.push(scalar_bytes);
        }
        for &extent in declared.extents.iter().rev() {
            steps.push(bytes);
            bytes = bytes.saturating_mul(extent.max(1));
        }
        steps.reverse();
        self.fill(&mut filling, &steps)?;
        let at = filling.at;
        self.gap_bytes = filling.gap_bytes;
        if is_open {
            let row = steps.first().copied().unwrap_or(1).max(1);
            global.size = at.next_multiple_of(row);
            declared.size = global.size;
        }
        Ok(())
    }

    fn fill(&mut self, filling: &mut Filling<'_>, steps: &[u64]) -> Result<()> {
        if !self.lex.peek().is(b'{') {
            return self.element(filling);
        }
        // Where each open brace started.
        let mut starts: Vec<u64> = Vec::new();
        loop {
            let next = self.lex.peek();
            if next.is(b'{') {
                self.lex.bump();
                if starts.len() >= steps.len().max(1) {
                    return Err(Diagnostic::malformed(next.place, "braces are nested deeper than the array"));
                }
                starts.push(filling.at);
                if !self.lex.peek().is(b'}') {
                    continue;
                }
            } else {
                self.element(filling)?;
            }
            // After an element or an empty brace: close what closes, then go on after a comma.
            loop {
                let token = self.lex.bump();
                match token.kind {
                    TokenKind::Mark(b',') => break,
                    TokenKind::Mark(b'}') => {
                        let start = starts.pop().unwrap_or(0);
                        if starts.is_empty() {
                            return Ok(());
                        }
                        // The rest of what one brace holds is zero.
                        let whole = steps.get(starts.len() - 1).copied().unwrap_or(1);
                        let end = start.saturating_add(whole);
                        if filling.at > end {
                            return Err(Diagnostic::malformed(
                                token.place,
                                "an initial value has too many elements",
                            ));
                        }
                        filling.at = end;
                    }
                    _ => return Err(self.unexpected(token, "`,` or `}`")),
                }
            }
        }
    }

    /// Reads one value.
    fn element(&mut self, filling: &mut Filling<'_>) -> Result<()> {
        let token = self.lex.peek();
        match token.kind {
            TokenKind::Text => {
                self.lex.bump();
                for byte in unescape(token.text).into_iter().chain([0]) {
                    filling.write(u64::from(byte), 1, token.place)?;
                }
                Ok(())
            }
            TokenKind::Word if token.text != "WARP_SZ" => self.symbol_element(filling, None),
            _ => {
                let value = self.constant()?;
                // A mask operator: a constant before a symbol in parentheses.
                if self.lex.peek().is(b'(')
                    && let Some(mask) = value.integer()
                {
                    self.lex.bump();
                    self.symbol_element(filling, Some(mask))?;
                    return self.expect(b')');
                }
                let Some(bits) = value.bits_as(filling.ty) else {
                    return Err(Diagnostic::malformed(token.place, "a constant does not fit its type"));
                };
                filling.write(bits, filling.element_bytes, token.place)
            }
        }
    }

    fn symbol_element(&mut self, filling: &mut Filling<'_>, mask: Option<u64>) -> Result<()> {
        let mut token = self.word("a symbol")?;
        let is_generic = token.text == "generic" && self.lex.peek().is(b'(');
        if is_generic {
            self.lex.bump();
            token = self.word("a symbol")?;
        }
        let symbol = match self.names.find(token.text) {
            Some(Found::Name(Name::Symbol(symbol @ (Symbol::Global(_) | Symbol::Function(_))))) => symbol,
            // The variable itself: its number is known, its name is not yet.
            None if token.text == filling.global.name => Symbol::Global(crate::ir::GlobalId(
                u32::try_from(self.module.globals.len()).unwrap_or(u32::MAX),
            )),
            _ => {
                let message = format!("`{}` is no variable and no function", token.text);
                return Err(Diagnostic::malformed(token.place, message));
            }
        };
        if is_generic {
            self.expect(b')')?;
        }
        let addend = self.offset()?;
        let (shift, size) = match mask {
            None => (0, filling.element_bytes),
            Some(mask) => {
                let shift = mask.trailing_zeros();
                if mask == 0 || shift % 8 != 0 || mask >> shift != 0xff {
                    return Err(Diagnostic::malformed(token.place, "a mask selects one byte"));
                }
                (shift, filling.element_bytes)
            }
        };
        let size = u8::try_from(size).ok().filter(|size| matches!(size, 1 | 2 | 4 | 8));
        let Some(size) = size else {
            return Err(Diagnostic::malformed(token.place, "an address does not fit its type"));
        };
        // A mask takes one byte, whatever the element.
        let written = if mask.is_some() { 1 } else { size };
        filling.global.relocations.push(Relocation {
            offset: filling.at,
            size: written,
            shift: u8::try_from(shift).unwrap_or(0),
            symbol,
            addend,
            is_generic,
        });
        filling.write(0, u64::from(size), token.place)
    }
}

impl Filling<'_> {
    /// Writes the low bytes of a value, and zeros before it where values were left out.
    fn write(&mut self, bits: u64, bytes: u64, place: Place) -> Result<()> {
        let end = self.at.saturating_add(bytes);
        if self.end.is_some_and(|most| end > most) {
            return Err(Diagnostic::malformed(place, "an initial value has too many elements"));
        }
        let gap = self.at.saturating_sub(self.global.init.len() as u64);
        match self.gap_bytes.checked_sub(gap) {
            Some(left) => self.gap_bytes = left,
            None => return Err(Diagnostic::unsupported(place, "an initial value leaves too much out")),
        }
        let start = usize::try_from(self.at).unwrap_or(usize::MAX);
        if start > self.global.init.len() {
            self.global.init.resize(start, 0);
        }
        let value = bits.to_le_bytes();
        for index in 0..usize::try_from(bytes).unwrap_or(0) {
            self.global.init.push(value.get(index).copied().unwrap_or(0));
        }
        self.at = end;
        Ok(())
    }
}

/// The bytes of a string.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some(code) = rest.next() else { break };
        bytes.push(match code {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'0'..=b'7' => {
                let mut value = u32::from(code - b'0');
                while let Some(digit @ b'0'..=b'7') = rest.peek().copied()
                    && value < 32
                {
                    value = value * 8 + u32::from(digit - b'0');
                    rest.next();
                }
                u8::try_from(value & 0xff).unwrap_or(0)
            }
            other => other,
        });
    }
    bytes
}
