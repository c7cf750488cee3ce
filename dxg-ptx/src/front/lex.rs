//! Text to tokens, one ahead.

use crate::ir::Place;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name or an opcode.
    Word,
    /// A directive or a modifier; its text is without the dot.
    Dotted,
    /// A number of any form.
    Number,
    /// A string; its text is without the quotes.
    Text,
    /// One character.
    Mark(u8),
    /// The end of the text.
    End,
    /// A character that PTX does not have, or a string or comment without end.
    Bad,
}

/// A token and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    pub(super) place: Place,
    /// Byte offset of its start.
    pub(super) at: usize,
}

impl Token<'_> {
    pub(super) fn is(&self, mark: u8) -> bool {
        self.kind == TokenKind::Mark(mark)
    }
}

/// Takes tokens from a text.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
    next: Token<'a>,
}

const WORD: u8 = 1;
const WORD_START: u8 = 2;
const DIGIT: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        classes[byte] = if c.is_ascii_digit() {
            WORD | DIGIT
        } else if c.is_ascii_alphabetic() || c == b'_' || c == b'$' {
            WORD | WORD_START
        } else if c == b'%' {
            WORD_START
        } else {
            0
        };
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let end = Token { kind: TokenKind::End, text: "", place: Place { line: 1, column: 1 }, at: 0 };
        let mut lexer = Self { text, at: 0, line: 1, line_start: 0, next: end };
        lexer.lex();
        lexer
    }

    /// The next token, which stays.
    pub(super) fn peek(&self) -> Token<'a> {
        self.next
    }

    /// Takes the next token.
    pub(super) fn bump(&mut self) -> Token<'a> {
        let token = self.next;
        self.lex();
        token
    }

    /// Whether the byte after this one is so.
    pub(super) fn follows(&self, at: usize, byte: u8) -> bool {
        self.byte(at + 1) == byte
    }

    /// Leaves out everything up to the end of the line of the next token, which is taken.
    pub(super) fn skip_line(&mut self) {
        let line = self.next.place.line;
        while self.next.place.line == line && self.next.kind != TokenKind::End {
            self.bump();
        }
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn new_line(&mut self, after: usize) {
        self.line = self.line.saturating_add(1);
        self.line_start = after;
    }

    /// Goes over blanks and comments. Whether a comment has no end.
    fn skip_blanks(&mut self) -> bool {
        loop {
            match self.byte(self.at) {
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'\n' => {
                    self.at += 1;
                    self.new_line(self.at);
                }
                b'/' if self.byte(self.at + 1) == b'/' => self.skip_to_line_end(),
                b'/' if self.byte(self.at + 1) == b'*' => {
                    self.at += 2;
                    loop {
                        match self.byte(self.at) {
                            b'*' if self.byte(self.at + 1) == b'/' => break self.at += 2,
                            b'\n' => {
                                self.at += 1;
                                self.new_line(self.at);
                            }
                            _ if self.at >= self.text.len() => return true,
                            _ => self.at += 1,
                        }
                    }
                }
                // What a preprocessor leaves behind.
                b'#' => self.skip_to_line_end(),
                _ => return false,
            }
        }
    }

    fn skip_to_line_end(&mut self) {
        while self.at < self.text.len() && self.byte(self.at) != b'\n' {
            self.at += 1;
        }
    }

    /// Reads the next token, in place: tokens that are handed about cost more than they do.
    fn lex(&mut self) {
        let endless = self.skip_blanks();
        let start = self.at;
        let column = u32::try_from(start - self.line_start).unwrap_or(u32::MAX).saturating_add(1);
        let place = Place { line: self.line, column };
        if endless {
            self.next = Token { kind: TokenKind::Bad, text: "a comment without end", place, at: start };
            return;
        }
        let first = self.byte(start);
        let after = self.byte(start + 1);
        let (kind, from, to) = if class(first) & DIGIT != 0 {
            self.number();
            (TokenKind::Number, start, self.at)
        } else if first != b'%' && class(first) & WORD_START != 0 || first == b'%' && class(after) & WORD != 0
        {
            self.at += 1;
            self.word();
            (TokenKind::Word, start, self.at)
        } else if first == b'.' && class(after) & WORD != 0 {
            self.at += 1;
            self.dotted();
            (TokenKind::Dotted, start + 1, self.at)
        } else if first == b'"' {
            self.next = self.string(place);
            return;
        } else if start >= self.text.len() {
            (TokenKind::End, start, start)
        } else {
            let step = self.text[start..].chars().next().map_or(1, char::len_utf8);
            self.at += step;
            let known = b",;()[]{}<>|@!+-*/%:=?&~^".contains(&first);
            (if known { TokenKind::Mark(first) } else { TokenKind::Bad }, start, self.at)
        };
        let text = &self.text[from..to];
        let next = &mut self.next;
        next.kind = kind;
        next.text = text;
        next.place = place;
        next.at = start;
    }

    fn word(&mut self) {
        while class(self.byte(self.at)) & WORD != 0 {
            self.at += 1;
        }
    }

    /// A modifier: words joined by double colons.
    fn dotted(&mut self) {
        loop {
            self.word();
            let joined = self.byte(self.at) == b':'
                && self.byte(self.at + 1) == b':'
                && class(self.byte(self.at + 2)) & WORD != 0;
            if !joined {
                return;
            }
            self.at += 2;
        }
    }

    fn number(&mut self) {
        let start = self.at;
        self.word();
        let bits =
            self.byte(start) == b'0' && matches!(self.byte(start + 1) | 0x20, b'x' | b'f' | b'd' | b'b');
        if bits {
            return;
        }
        if self.byte(self.at) == b'.' && class(self.byte(self.at + 1)) & DIGIT != 0 {
            self.at += 1;
            self.word();
        }
        let sign = matches!(self.byte(self.at), b'+' | b'-') && class(self.byte(self.at + 1)) & DIGIT != 0;
        if sign && self.byte(self.at - 1) | 0x20 == b'e' {
            self.at += 1;
            self.word();
        }
    }

    fn string(&mut self, place: Place) -> Token<'a> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.byte(self.at) {
                b'"' => break,
                b'\\' if self.at + 1 < self.text.len() => self.at += 2,
                b'\n' => {
                    self.at += 1;
                    self.new_line(self.at);
                }
                _ if self.at >= self.text.len() => {
                    self.at = self.text.len();
                    return Token { kind: TokenKind::Bad, text: "a string without end", place, at: start };
                }
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let text = self.text.get(start + 1..self.at - 1).unwrap_or("");
        Token { kind: TokenKind::Text, text, place, at: start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(TokenKind, &str)> {
        let mut lexer = Lexer::new(text);
        let mut kinds = Vec::new();
        while lexer.peek().kind != TokenKind::End {
            let token = lexer.bump();
            kinds.push((token.kind, token.text));
        }
        kinds
    }

    #[test]
    fn an_instruction_is_cut_into_words_modifiers_and_marks() {
        use TokenKind::Dotted;
        use TokenKind::Mark;
        use TokenKind::Word;
        let got = kinds("@%p1 ld.shared::cta.v2.u32 {%r1,_}, [$x+4];");
        let want = [
            (Mark(b'@'), "@"),
            (Word, "%p1"),
            (Word, "ld"),
            (Dotted, "shared::cta"),
            (Dotted, "v2"),
            (Dotted, "u32"),
            (Mark(b'{'), "{"),
            (Word, "%r1"),
            (Mark(b','), ","),
            (Word, "_"),
            (Mark(b'}'), "}"),
            (Mark(b','), ","),
            (Mark(b'['), "["),
            (Word, "$x"),
            (Mark(b'+'), "+"),
            (TokenKind::Number, "4"),
            (Mark(b']'), "]"),
            (Mark(b';'), ";"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn numbers_end_where_they_end() {
        let texts: Vec<&str> = kinds("0f3F800000 0x1FuL 1.5e-3 2U 0dFFF000000000000E+1 6.3 7e5 3-1")
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            texts,
            [
                "0f3F800000",
                "0x1FuL",
                "1.5e-3",
                "2U",
                "0dFFF000000000000E",
                "+",
                "1",
                "6.3",
                "7e5",
                "3",
                "-",
                "1"
            ]
        );
    }

    #[test]
    fn places_count_lines_and_columns_over_comments() {
        let mut lexer = Lexer::new("/* a\n b */ x // y\n\t\"s\n\" z");
        let places: Vec<(u32, u32)> = (0..3)
            .map(|_| {
                let place = lexer.bump().place;
                (place.line, place.column)
            })
            .collect();
        assert_eq!(places, [(2, 7), (3, 2), (4, 3)]);
    }

    #[test]
    fn what_has_no_end_is_bad() {
        assert_eq!(kinds("/* x").first().map(|token| token.0), Some(TokenKind::Bad));
        assert_eq!(kinds("\"x\\").first().map(|token| token.0), Some(TokenKind::Bad));
        assert_eq!(kinds("é").first().map(|token| token.0), Some(TokenKind::Bad));
    }
}
