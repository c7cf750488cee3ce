//! Modules as compilers write them: read and checked.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// The texts under a directory, in order.
fn texts(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ptx") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn check(dir: &Path) {
    let texts = texts(dir);
    assert!(!texts.is_empty(), "{} holds cases", dir.display());
    let mut bad = 0;
    for path in texts {
        let text = fs::read(&path).unwrap();
        if let Err(problems) = dxg_ptx::parse(&text, &path.display().to_string()) {
            println!("{problems}");
            bad += 1;
        }
    }
    assert_eq!(bad, 0, "texts that fail");
}

#[test]
fn cases_are_read() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"));
}

#[test]
fn other_cases_named_by_the_environment_are_read() {
    match std::env::var_os("DXG_PTX_CASES") {
        Some(dir) => check(Path::new(&dir)),
        None => println!("skipped: DXG_PTX_CASES names no directory"),
    }
}
