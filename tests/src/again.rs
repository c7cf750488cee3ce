//! A test that runs once more, in a process of its own.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

/// Says inside the second process that it is that.
pub const INSIDE: &str = "DXG_TESTS_INSIDE";

/// Whether this is the process of a test that runs again.
#[must_use]
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs the test `name` alone in a process with these variables, and answers what it printed.
///
/// # Panics
///
/// When the test fails there, or is not found.
pub fn run(name: &str, variables: &[(&str, &OsStr)]) -> String {
    let output = Command::new(env::current_exe().expect("the test's own path"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .envs(variables.iter().copied())
        .output()
        .expect("the test runs again");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // A test that was not found is a success to the test runner, so its count is looked for.
    assert!(output.status.success() && text.contains("1 passed"), "{name}, run again:\n{text}");
    text.into_owned()
}
