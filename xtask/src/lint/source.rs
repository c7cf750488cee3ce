//! Rust source taken apart far enough to tell code from comments and strings.
//!
//! Not a parser: it knows comments (nested ones too), strings, raw strings, characters and lifetimes. That is
//! what it takes to find a keyword in code and the comment above it.

/// One line of source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The code; strings and characters are empty, comments are gone.
    pub(super) code: String,
    /// The text of the comments, with their markers.
    pub(super) comment: String,
}

/// A word or a punctuation character, with its line (from 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// Where the reader is.
enum State {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text { raw_hashes: Option<usize> },
}

/// Takes the source apart, line by line.
pub(super) fn lines(source: &str) -> Vec<Line> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut lines = Vec::new();
    let mut line = Line::default();
    let mut state = State::Code;
    let mut i = 0;
    while i < chars.len() {
        let c = at(i);
        if c == '\n' {
            lines.push(std::mem::take(&mut line));
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            i += 1;
            continue;
        }
        match &mut state {
            State::Code if c == '/' && at(i + 1) == '/' => {
                line.comment.push_str("//");
                state = State::LineComment;
                i += 2;
            }
            State::Code if c == '/' && at(i + 1) == '*' => {
                line.comment.push_str("/*");
                state = State::BlockComment { depth: 1 };
                i += 2;
            }
            State::Code if c == '"' => {
                line.code.push('"');
                state = State::Text { raw_hashes: None };
                i += 1;
            }
            State::Code if c == '\'' => i = skip_quote(&chars, i, &mut line.code),
            State::Code if is_word(c) => {
                let end = (i..chars.len()).find(|&end| !is_word(at(end))).unwrap_or(chars.len());
                let word: String = chars.get(i..end).unwrap_or_default().iter().collect();
                i = end;
                let hashes = (end..chars.len()).take_while(|&at_| at(at_) == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && at(end + hashes) == '"' {
                    line.code.push('"');
                    state = State::Text { raw_hashes: Some(hashes) };
                    i = end + hashes + 1;
                } else if word == "r" && hashes == 1 && is_word(at(end + 1)) {
                    // A raw identifier is a name, never a keyword: keep the mark glued to it.
                    line.code.push_str("r#");
                    i = end + 1;
                    while is_word(at(i)) {
                        line.code.push(at(i));
                        i += 1;
                    }
                } else {
                    line.code.push_str(&word);
                }
            }
            State::Code => {
                line.code.push(c);
                i += 1;
            }
            State::LineComment => {
                line.comment.push(c);
                i += 1;
            }
            State::BlockComment { depth } => {
                let pair = (c, at(i + 1));
                if pair == ('*', '/') {
                    *depth -= 1;
                } else if pair == ('/', '*') {
                    *depth += 1;
                }
                let ended = *depth == 0;
                let width = if matches!(pair, ('*', '/') | ('/', '*')) { 2 } else { 1 };
                line.comment.extend((i..i + width).map(at));
                i += width;
                if ended {
                    state = State::Code;
                }
            }
            State::Text { raw_hashes: None } if c == '\\' => {
                // A line break after the backslash still ends the line.
                i += if at(i + 1) == '\n' { 1 } else { 2 };
            }
            State::Text { raw_hashes } => {
                let hashes = raw_hashes.unwrap_or(0);
                let closed = c == '"' && (i + 1..=i + hashes).all(|index| at(index) == '#');
                i += 1;
                if closed {
                    line.code.push('"');
                    i += hashes;
                    state = State::Code;
                }
            }
        }
    }
    if line != Line::default() {
        lines.push(line);
    }
    lines
}

/// Steps over what a single quote begins: a character, which leaves `''`, or a lifetime, which stays.
fn skip_quote(chars: &[char], start: usize, code: &mut String) -> usize {
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let end = if at(start + 1) == '\\' {
        // The character after the backslash may itself be a quote.
        (start + 3..chars.len()).find(|&index| at(index) == '\'')
    } else {
        (at(start + 2) == '\'').then_some(start + 2)
    };
    match end {
        Some(end) => {
            code.push_str("''");
            end + 1
        }
        None => {
            code.push('\'');
            start + 1
        }
    }
}

/// The words and punctuation of the code, in order.
pub(super) fn tokens(lines: &[Line]) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let mut word = String::new();
        let mut chars = line.code.chars().peekable();
        while let Some(c) = chars.next() {
            let raw_mark = c == '#' && word == "r" && chars.peek().is_some_and(|next| is_word(*next));
            if is_word(c) || raw_mark {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                tokens.push(Token { text: std::mem::take(&mut word), line: number });
            }
            if !c.is_whitespace() {
                tokens.push(Token { text: c.to_string(), line: number });
            }
        }
        if !word.is_empty() {
            tokens.push(Token { text: word, line: number });
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> Vec<String> {
        lines(source).into_iter().map(|line| line.code.trim().to_owned()).collect()
    }

    fn words(source: &str) -> Vec<String> {
        tokens(&lines(source)).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn lines_comment_is_apart_from_code() {
        let lines = lines("let a = 1; // unsafe\n/* x */ b");
        assert_eq!(lines[0], Line { code: "let a = 1; ".into(), comment: "// unsafe".into() });
        assert_eq!(lines[1], Line { code: " b".into(), comment: "/* x */".into() });
    }

    #[test]
    fn lines_nested_block_comment_ends_at_its_own_end() {
        assert_eq!(code("/* a /* b\n*/ unsafe */ c"), ["", "c"]);
    }

    #[test]
    fn lines_strings_are_empty() {
        assert_eq!(code(r#"f("unsafe { // \" ", x)"#), [r#"f("", x)"#]);
        assert_eq!(code("f(r#\"unsafe \" \"#, b\"unsafe\")"), ["f(\"\", b\"\")"]);
    }

    #[test]
    fn lines_string_over_two_lines_keeps_the_line_count() {
        assert_eq!(code("a(\"x \\\n unsafe\");\nb"), ["a(\"", "\");", "b"]);
    }

    #[test]
    fn lines_character_is_empty_and_lifetime_stays() {
        assert_eq!(code(r"f('{', '\'', '\u{41}', b'/')"), ["f('', '', '', b'')"]);
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), ["fn f<'a>(x: &'a str) {}"]);
    }

    #[test]
    fn tokens_raw_identifier_is_one_word() {
        assert_eq!(words("mod r#unsafe;"), ["mod", "r#unsafe", ";"]);
    }

    #[test]
    fn tokens_carry_their_line() {
        let tokens = tokens(&lines("a\n\nb"));
        assert_eq!((tokens[0].line, tokens[1].line), (0, 2));
    }
}
