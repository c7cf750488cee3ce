//! Instructions and what they become. Each file of `tests/lowering` holds statements, each followed by its instructions, indented;
//! `UPDATE_GOLDEN=1` rewrites them.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// What stands around the statements.
const HEAD: &str = "\
.version 9.0
.target sm_100
.address_size 64
.global .align 8 .b8 g[64];
.global .align 4 .b32 words[4][4];
.const .align 4 .b32 k[4];
.shared .align 16 .b8 s[256];
.extern .shared .align 16 .b8 dynamic[];
.extern .func (.param .b32 result) vprintf (.param .b64 a, .param .b64 b);
.extern .func __assertfail (.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);
.extern .func (.param .b64 result) malloc (.param .b64 a);
.extern .func free (.param .b64 a);
.func (.param .b32 result) one (.param .b32 a) { ret; }
.func (.reg .u32 result) old (.reg .u32 a, .reg .f32 b) { mov.u32 result, a; ret; }
.visible .entry kernel(.param .u64 pointer, .param .u32 n, .param .align 8 .b8 struct[24])
{
.reg .pred p<9>;
.reg .b16 h<9>;
.reg .b32 r<20>;
.reg .b64 d<9>;
.reg .b128 q<4>;
.reg .f32 f<40>;
.reg .f64 e<9>;
.reg .v4 .f32 v<2>;
.reg .v2 .b32 w;
.local .align 8 .b8 depot[32];
";

/// What the statements become, without the last return.
fn lowered(statements: &str) -> String {
    let text = format!("{HEAD}\n{statements}\nret;\n}}\n");
    let line = u32::try_from(HEAD.lines().count() + 1).unwrap();
    let module = match dxg_ptx::parse(text.as_bytes(), "text") {
        Ok(module) => module,
        Err(problems) => {
            let mut shown = String::new();
            for problem in problems.list {
                let (line, column) = (problem.place.line.saturating_sub(line), problem.place.column);
                writeln!(shown, "    {:?} at {line}:{column}: {}", problem.kind, problem.message).unwrap();
            }
            return shown;
        }
    };
    let printed = module.to_string();
    let body = printed.split("  b0:\n").last().unwrap();
    body.strip_suffix("    return\n").unwrap_or(body).to_owned()
}

/// The statements of a file with what they become now.
fn rewritten(text: &str) -> String {
    let mut now = String::new();
    let mut statements = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with(' ') {
            continue;
        }
        writeln!(now, "{line}").unwrap();
        if line.starts_with("//") || line.is_empty() {
            continue;
        }
        writeln!(statements, "{line}").unwrap();
        // Lines that follow each other are one text.
        if lines.peek().is_none_or(|next| next.starts_with(' ') || next.is_empty()) {
            now.push_str(&lowered(&statements));
            statements.clear();
        }
    }
    now
}

fn check(name: &str) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/lowering").join(name).with_extension("txt");
    let before = fs::read_to_string(&path).unwrap();
    let now = rewritten(&before);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, now).unwrap();
        return;
    }
    assert!(!before.is_empty());
    for (number, (before, now)) in before.lines().zip(now.lines()).enumerate() {
        assert_eq!(now, before, "{name}.txt, line {}", number + 1);
    }
    assert_eq!(now.lines().count(), before.lines().count(), "{name}.txt has other lines at its end");
}

#[test]
fn integer_arithmetic_is_lowered() {
    check("integer");
}

#[test]
fn float_arithmetic_is_lowered() {
    check("float");
}

#[test]
fn bits_are_lowered() {
    check("bits");
}

#[test]
fn comparisons_are_lowered() {
    check("compare");
}

#[test]
fn conversions_are_lowered() {
    check("convert");
}

#[test]
fn moves_and_addresses_are_lowered() {
    check("moves");
}

#[test]
fn memory_accesses_are_lowered() {
    check("memory");
}

#[test]
fn control_flow_is_lowered() {
    check("control");
}

#[test]
fn calls_are_lowered() {
    check("calls");
}

#[test]
fn warp_operations_are_lowered() {
    check("warp");
}

#[test]
fn matrix_operations_are_lowered() {
    check("matrix");
}

#[test]
fn barriers_are_lowered() {
    check("barriers");
}

#[test]
fn video_instructions_are_lowered() {
    check("video");
}

#[test]
fn wrong_statements_are_refused_where_they_stand() {
    check("refused");
}
