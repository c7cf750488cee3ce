//! What a text declares, read without understanding the rest.
//!
//! *Why.* A driver of the host compiles texts that [`crate::parse`] would refuse, and a driver of before CUDA 12.4 does not say what is
//! in a module. Names of entries and variables and the layout of parameters can be had from the declarations alone.
//!
//! *Limits.* The text is taken to be right: who compiles it finds the errors. What is not understood is left out.

/// An entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Offset and bytes of each parameter.
    pub parameters: Vec<(u32, u32)>,
}

/// In which memory a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `.global`
    Global,
    /// `.const`
    Constant,
    /// `.global` with the attribute `.managed`
    Managed,
}

/// A variable of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub kind: Kind,
}

/// What a text declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Entries, in their order.
    pub entries: Vec<Entry>,
    /// Variables of the module, in their order; those of other texts (`.extern`) are left out.
    pub variables: Vec<Variable>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name, a directive or a number.
    Word(&'a str),
    /// Anything else.
    Mark(u8),
}

/// Reads the declarations of a text, to its end or the first zero.
#[must_use]
pub fn outline(text: &[u8]) -> Outline {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let tokens = tokens(text.get(..end).unwrap_or_default());
    let mut outline = Outline::default();
    let mut depth = 0_usize;
    let mut statement = Vec::new();
    for token in tokens {
        match token {
            Token::Mark(b'{') => {
                // The body of a function, or the values of a variable, whose name is known by then.
                if depth == 0 && !is_variable(&statement) {
                    outline.add(&statement);
                    statement.clear();
                }
                depth += 1;
            }
            Token::Mark(b'}') => depth = depth.saturating_sub(1),
            Token::Mark(b';') if depth == 0 => {
                outline.add(&statement);
                statement.clear();
            }
            token if depth == 0 => statement.push(token),
            _ => {}
        }
    }
    outline
}

fn has(statement: &[Token<'_>], word: &str) -> bool {
    statement.contains(&Token::Word(word))
}

fn is_function(statement: &[Token<'_>]) -> bool {
    has(statement, ".entry") || has(statement, ".func")
}

fn is_variable(statement: &[Token<'_>]) -> bool {
    !is_function(statement) && (has(statement, ".global") || has(statement, ".const"))
}

impl Outline {
    fn add(&mut self, statement: &[Token<'_>]) {
        if has(statement, ".entry") {
            let entry = entry(statement);
            self.entries.extend(entry.filter(|entry| !self.entries.iter().any(|had| had.name == entry.name)));
        } else if is_variable(statement) && !has(statement, ".extern") {
            self.variables.extend(variable(statement));
        }
    }
}

fn entry(statement: &[Token<'_>]) -> Option<Entry> {
    let at = statement.iter().position(|token| *token == Token::Word(".entry"))?;
    let Token::Word(name) = statement.get(at + 1)? else { return None };
    let mut parameters = Vec::new();
    let mut end = 0_u32;
    let rest = statement.get(at + 2..).unwrap_or_default();
    if rest.first() == Some(&Token::Mark(b'(')) {
        let close = rest.iter().position(|token| *token == Token::Mark(b')')).unwrap_or(rest.len());
        let list = rest.get(1..close).unwrap_or_default();
        for parameter in list.split(|token| *token == Token::Mark(b',')).filter(|list| !list.is_empty()) {
            let (bytes, align) = parameter_size(parameter)?;
            let offset = end.checked_next_multiple_of(align.max(1))?;
            parameters.push((offset, bytes));
            end = offset.checked_add(bytes)?;
        }
    }
    Some(Entry { name: (*name).to_owned(), parameters })
}

/// Bytes and alignment of `.param [.align N] .type [.ptr ...] name[count]`.
fn parameter_size(parameter: &[Token<'_>]) -> Option<(u32, u32)> {
    let words = || {
        parameter.iter().filter_map(|token| if let Token::Word(word) = token { Some(*word) } else { None })
    };
    // The alignment behind `.ptr` is that of what is pointed to.
    let own = words().position(|word| word == ".ptr").unwrap_or(usize::MAX);
    let unit = words().find_map(unit_bytes)?;
    let align = words()
        .position(|word| word == ".align")
        .filter(|at| *at < own)
        .and_then(|at| words().nth(at + 1))
        .and_then(|number| number.parse().ok())
        .unwrap_or(unit);
    let bracket = parameter.iter().position(|token| *token == Token::Mark(b'['));
    let count = match bracket.and_then(|at| parameter.get(at + 1)) {
        Some(Token::Word(count)) => number(count)?,
        // Of unknown length: nothing is passed.
        Some(Token::Mark(_)) => 0,
        None => 1,
    };
    Some((unit.checked_mul(count)?, align))
}

fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

fn unit_bytes(word: &str) -> Option<u32> {
    Some(match word {
        ".b8" | ".u8" | ".s8" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" | ".texref" | ".samplerref" | ".surfref" => 8,
        ".b128" => 16,
        _ => return None,
    })
}

fn variable(statement: &[Token<'_>]) -> Option<Variable> {
    let kind = match (has(statement, ".const"), has(statement, ".managed")) {
        (true, _) => Kind::Constant,
        (_, true) => Kind::Managed,
        _ => Kind::Global,
    };
    // The name is behind the type: the first word that is no directive there.
    let at = statement
        .iter()
        .position(|token| matches!(token, Token::Word(word) if unit_bytes(word).is_some()))?;
    let name = statement.get(at + 1..)?.iter().find_map(|token| match token {
        Token::Word(word) if !word.starts_with('.') => Some(*word),
        _ => None,
    })?;
    Some(Variable { name: name.to_owned(), kind })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

fn tokens(text: &[u8]) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let skipped = match rest {
            [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => {
                rest.windows(2).skip(2).position(|pair| pair == b"*/").map_or(rest.len(), |at| at + 4)
            }
            [b'"', ..] => tail.iter().position(|byte| *byte == b'"').map_or(rest.len(), |at| at + 2),
            _ => 0,
        };
        if skipped != 0 {
            rest = rest.get(skipped..).unwrap_or_default();
            continue;
        }
        if is_word(byte) {
            let len = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(len);
            // A directive ends where the next begins: `.param.u64`.
            let mut from = 0;
            for at in 1..=len {
                if at == len || (word.get(at) == Some(&b'.') && word.first() == Some(&b'.')) {
                    tokens.extend(
                        word.get(from..at).and_then(|word| str::from_utf8(word).ok()).map(Token::Word),
                    );
                    from = at;
                }
            }
            rest = after;
            continue;
        }
        if !byte.is_ascii_whitespace() {
            tokens.push(Token::Mark(byte));
        }
        rest = tail;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
.version 8.0 // .entry not_me(
.target sm_75
.address_size 64
/* .global .u32 nor_me; */
.file 1 "a{b.cu"
.global .align 4 .b8 table[12] = {1, 2, {3}};
.visible .const .f32 scale = 0f3F800000;
.extern .shared .align 16 .b8 dynamic[];
.extern .global .u32 elsewhere;
.visible .global .attribute(.managed) .align 8 .u64 counter;
.global.v4.f32 quads[2];
.func (.param .b32 r) helper(.param .b64 a) { ret; }
.visible .entry one(
    .param .u8 a,
    .param .u64 .ptr .global .align 16 b,
    .param .align 16 .b8 c[0x14]
) .maxntid 128, 1, 1
{
    .shared .align 4 .b8 tile[64];
    ret;
}
.entry two { ret; }
.entry three() ;
"#;

    #[test]
    fn entries_have_the_layout_of_their_parameters() {
        let outline = outline(TEXT.as_bytes());
        let names: Vec<&str> = outline.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["one", "two", "three"]);
        assert_eq!(outline.entries[0].parameters, [(0, 1), (8, 8), (16, 20)]);
        assert_eq!(outline.entries[1].parameters, []);
    }

    #[test]
    fn variables_are_those_of_the_module_itself() {
        let found: Vec<(String, Kind)> =
            outline(TEXT.as_bytes()).variables.into_iter().map(|it| (it.name, it.kind)).collect();
        let expected = [
            ("table", Kind::Global),
            ("scale", Kind::Constant),
            ("counter", Kind::Managed),
            ("quads", Kind::Global),
        ];
        assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }

    #[test]
    fn text_that_is_cut_anywhere_is_no_reason_to_panic() {
        for end in 0..TEXT.len() {
            let cut = outline(&TEXT.as_bytes()[..end]);
            assert!(cut.entries.len() <= 3 && cut.variables.len() <= 4, "cut at {end}");
        }
    }

    #[test]
    fn forward_declaration_and_definition_are_one_entry() {
        let twice = outline(b".entry k(.param .u32 a);\n.entry k(.param .u32 a) { ret; }");
        assert_eq!(twice.entries, [Entry { name: "k".to_owned(), parameters: vec![(0, 4)] }]);
    }
}
