//! `docs/ptx-coverage.md` against the reader: it takes every statement that the document says it takes, and refuses the others for the reason
//! that stands there.
//!
//! A line of the document's blocks is a statement; `<a|b>` in it is one of those, and a line stands for all of them. In blocks of what is
//! refused, an indented line after a statement is the reason.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

use std::fs;
use std::path::PathBuf;

/// What stands around a statement.
const HEAD: &str = "\
.version 9.3
.target sm_90
.address_size 64
.global .align 16 .b8 g[64];
.const .align 4 .b32 k[4];
.shared .align 16 .b8 s[256];
.func (.param .b32 result) one (.param .b32 a) { ret; }
.visible .entry kernel(.param .u64 pointer, .param .u32 n)
{
.reg .pred p<9>;
.reg .b8 b<9>;
.reg .b16 h<9>;
.reg .b32 r<40>;
.reg .b64 d<40>;
.reg .b128 q<9>;
.reg .f32 f<40>;
.reg .f64 e<40>;
.local .align 16 .b8 depot[64];
";

/// All statements that a line stands for.
fn expanded(line: &str) -> Vec<String> {
    let Some((before, rest)) = line.split_once('<') else { return vec![line.to_owned()] };
    let (choices, after) = rest.split_once('>').unwrap_or_else(|| panic!("`{line}` has no `>`"));
    let tails = expanded(after);
    if !choices.contains('|') {
        // A family of registers.
        return tails.iter().map(|tail| format!("{before}<{choices}>{tail}")).collect();
    }
    choices
        .split('|')
        .flat_map(|choice| tails.iter().map(move |tail| format!("{before}{choice}{tail}")))
        .collect()
}

/// The lines of the blocks of a kind, with the lines after each that are indented.
fn lines(kind: &str) -> Vec<(String, Option<String>)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/ptx-coverage.md");
    let text = fs::read_to_string(path).unwrap();
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("```") {
            is_inside = name == kind;
        } else if let Some(reason) = line.strip_prefix("    ").filter(|_| is_inside) {
            found.last_mut().unwrap().1 = Some(reason.to_owned());
        } else if is_inside && !line.is_empty() {
            found.push((line.to_owned(), None));
        }
    }
    assert!(found.len() > 10, "the document has {} lines of `{kind}`", found.len());
    found
}

/// What the reader says about a statement.
fn problem(statement: &str) -> Option<String> {
    let text = match statement.strip_prefix("module: ") {
        Some(outside) => HEAD.replacen(".visible", &format!("{outside}\n.visible"), 1) + "ret;\n}\n",
        None => format!("{HEAD}L: {statement}\nM: ret;\n}}\n"),
    };
    dxg_ptx::load(text.as_bytes(), "text").err().map(|problems| problems.list[0].message.clone())
}

#[test]
fn what_the_document_says_is_accepted_is() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (line, _) in lines("ptx") {
        for statement in expanded(&line) {
            count += 1;
            wrong.extend(problem(&statement).map(|problem| format!("{statement}\n    {problem}")));
        }
    }
    println!("{count} statements");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_the_document_says_is_refused_is_for_its_reason() {
    let mut wrong = Vec::new();
    for (line, reason) in lines("refused") {
        for statement in expanded(&line) {
            let got = problem(&statement);
            if got != reason {
                wrong.push(format!("{statement}\n    {}", got.as_deref().unwrap_or("accepted")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
