//! Cases of real compilers: each must give what its files say. `DXG_PTX_CASES` names a directory with more.

mod support;

use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use support::case;
use support::program::Make;
use support::program::interpreter;
use support::program::native;
use support::program::packets;

/// Runs all cases of a directory and prints how each went.
fn run_all(directory: &Path, make: Make<'_>) -> (usize, Vec<String>) {
    let mut failures = Vec::new();
    let cases = case::find(directory);
    for path in &cases {
        let name = path.strip_prefix(directory).unwrap_or(path).with_extension("").display().to_string();
        let start = Instant::now();
        let outcome = case::run(path, make);
        let verdict = outcome.as_ref().map_or_else(Clone::clone, |()| "ok".to_owned());
        println!("{name:44} {:6} ms  {verdict}", start.elapsed().as_millis());
        if outcome.is_err() {
            failures.push(format!("{name}: {verdict}"));
        }
    }
    (cases.len(), failures)
}

#[test]
fn open_cases_interpreted_give_what_their_files_say() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let (count, failures) = run_all(&directory, &interpreter);
    assert_eq!(failures, Vec::<String>::new());
    assert!(count >= 21, "only {count} cases were found in {}", directory.display());
}

#[test]
fn other_cases_interpreted_give_what_their_files_say() {
    let Some(directory) = std::env::var_os("DXG_PTX_CASES") else {
        println!("skipped: DXG_PTX_CASES is not set");
        return;
    };
    let (count, failures) = run_all(Path::new(&directory), &interpreter);
    assert_eq!(failures, Vec::<String>::new());
    assert!(count > 0, "no cases were found in {}", directory.display());
}

#[test]
fn open_cases_as_native_code_give_what_their_files_say() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let (count, failures) = run_all(&directory, &native);
    assert_eq!(failures, Vec::<String>::new());
    assert!(count >= 21, "only {count} cases were found in {}", directory.display());
}

#[test]
fn other_cases_as_native_code_give_what_their_files_say() {
    let Some(directory) = std::env::var_os("DXG_PTX_CASES") else {
        println!("skipped: DXG_PTX_CASES is not set");
        return;
    };
    let (count, failures) = run_all(Path::new(&directory), &native);
    assert_eq!(failures, Vec::<String>::new());
    assert!(count > 0, "no cases were found in {}", directory.display());
}

#[test]
fn open_cases_as_code_for_four_threads_give_what_their_files_say() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let (count, failures) = run_all(&directory, &packets);
    assert_eq!(failures, Vec::<String>::new());
    assert!(count >= 21, "only {count} cases were found in {}", directory.display());
}

#[test]
fn other_cases_as_code_for_four_threads_give_what_their_files_say() {
    let Some(directory) = std::env::var_os("DXG_PTX_CASES") else {
        println!("skipped: DXG_PTX_CASES is not set");
        return;
    };
    let (count, failures) = run_all(Path::new(&directory), &packets);
    assert_eq!(failures, Vec::<String>::new());
    assert!(count > 0, "no cases were found in {}", directory.display());
}
