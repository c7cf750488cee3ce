//! From text to IR in one pass: tokens, names, directives, and each instruction lowered as it is read.
//!
//! *Invariants.* Nothing here calls itself deeper than a small limit, and nothing allocates more than a small multiple of the
//! text, whatever the text says. A text that is not PTX ends in [`Diagnostics`].

mod body;
mod call;
mod code;
mod constant;
mod directive;
mod hash;
mod initial;
mod lex;
mod literal;
mod lower;
mod module;
mod names;
mod operand;
mod table;
mod types;
mod words;

pub(crate) use crate::front::types::special_bits;
pub(crate) use crate::front::types::width;

use std::borrow::Cow;

use crate::diagnostics::Diagnostic;
use crate::diagnostics::DiagnosticKind;
use crate::diagnostics::Diagnostics;
use crate::front::code::Code;
use crate::front::lex::Lexer;
use crate::front::names::Names;
use crate::front::operand::Instruction;
use crate::ir::BlockId;
use crate::ir::Module;
use crate::ir::Place;

/// Bytes that the initial values of a short text may leave out.
const MOST_GAP_BYTES: u64 = 1 << 22;

/// What reading a part gives.
type Result<T> = std::result::Result<T, Diagnostic>;

/// Reads one module, which may name functions and variables that it does not define. The text ends at its first NUL, if it has one.
///
/// # Errors
/// What is wrong with the text.
pub fn parse(text: &[u8], name: &str) -> std::result::Result<Module, Diagnostics> {
    let text = text.iter().position(|&byte| byte == 0).map_or(text, |end| &text[..end]);
    if u32::try_from(text.len()).is_err() {
        return Err(Diagnostics::one(
            name,
            Diagnostic::unsupported(Place::default(), "the text is too long"),
        ));
    }
    let text: Cow<'_, str> = match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        // Strings and comments may hold anything.
        Err(_) => String::from_utf8_lossy(text),
    };
    let mut parser = Parser::new(&text);
    parser.module();
    if !parser.list.is_empty() {
        return Err(Diagnostics { name: name.to_owned(), list: parser.list });
    }
    let module = parser.finish().map_err(|problem| Diagnostics::one(name, problem))?;
    #[cfg(debug_assertions)]
    if let Err(problem) = crate::verify::verify(&module) {
        // Ours, not the text's; the text should still not take a process with it.
        return Err(Diagnostics::one(
            name,
            Diagnostic::malformed(problem.place, format!("internal: {problem}")),
        ));
    }
    Ok(module)
}

/// Reads one module that is complete by itself.
///
/// # Errors
/// What is wrong with the text, or what it names and does not define.
pub fn load(text: &[u8], name: &str) -> std::result::Result<Module, Diagnostics> {
    let module = parse(text, name)?;
    crate::link::check_resolved(&module, name)?;
    Ok(module)
}

/// The types of parameters of a prototype, as sizes and alignments.
#[derive(Debug, Default)]
struct Prototype {
    rets: Vec<(u32, u32)>,
    args: Vec<(u32, u32)>,
    /// The functions of a `.calltargets`; empty if it is none.
    listed: Vec<crate::ir::FuncId>,
}

/// The state of reading one module.
struct Parser<'a> {
    lex: Lexer<'a>,
    names: Names<'a>,
    module: Module,
    list: Vec<Diagnostic>,
    prototypes: Vec<Prototype>,
    /// Bytes of an element of each variable.
    global_elements: Vec<u32>,
    branches: Vec<Vec<BlockId>>,
    aliases: Vec<(crate::ir::FuncId, crate::ir::FuncId)>,
    code: Code<'a>,
    /// Kept for its allocations.
    spare: Option<Box<Instruction<'a>>>,
    /// The names of the parameters of the function whose head is read.
    param_names: Vec<&'a str>,
    /// Bytes that initial values may still leave out.
    gap_bytes: u64,
    /// Targets of all branches by table so far, and how many there may be.
    branch_entries: usize,
    /// Whether the end of the statement is still to come.
    is_within: bool,
    /// Braces of operands that are open.
    operand_braces: u32,
    most_branch_entries: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            lex: Lexer::new(text),
            names: Names::default(),
            module: Module::default(),
            list: Vec::new(),
            prototypes: Vec::new(),
            global_elements: Vec::new(),
            branches: Vec::new(),
            aliases: Vec::new(),
            code: Code::default(),
            spare: None,
            param_names: Vec::new(),
            gap_bytes: MOST_GAP_BYTES + 16 * text.len() as u64,
            branch_entries: 0,
            is_within: false,
            operand_braces: 0,
            most_branch_entries: 65536 + 4 * text.len(),
        }
    }

    /// Notes a failure. Whether reading goes on.
    fn report(&mut self, diagnostic: Diagnostic) -> Go {
        // What follows a text of a newer version is guesswork.
        let is_last = diagnostic.kind == DiagnosticKind::UnsupportedVersion;
        self.list.push(diagnostic);
        if is_last || self.list.len() >= Diagnostics::MOST { Go::Stop } else { Go::On }
    }
}

/// Whether reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}
