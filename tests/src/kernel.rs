//! A kernel node by preloading: the test runs once more, in a process that has the library.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use crate::TestTransport;
use crate::again;

/// Where cargo puts what it builds, next to the tests that run.
///
/// # Panics
///
/// When the test binary is not where cargo puts it.
#[must_use]
pub fn target_directory() -> PathBuf {
    let own = env::current_exe().expect("the test's own path");
    let deps = own.parent().expect("a directory");
    let up = if deps.ends_with("deps") { deps.parent().expect("a directory") } else { deps };
    up.to_owned()
}

/// Has cargo bring what a test runs up to date; nothing where the test was not started by cargo.
///
/// # Panics
///
/// When cargo fails.
pub fn build(packages: &[&str]) {
    let Some(cargo) = env::var_os("CARGO") else { return };
    let mut cargo = Command::new(cargo);
    cargo.args(["build", "--quiet"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    if target_directory().ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).status().expect("cargo runs");
    assert!(status.success(), "cargo build of {packages:?}");
}

/// Runs a test body over a kernel node: here, when the library is loaded, else in a process of its own.
///
/// # Panics
///
/// When the body does.
pub fn run(test: &str, body: fn(&TestTransport)) {
    if again::is_inside() {
        body(&TestTransport::Kernel);
        return;
    }
    static BUILT: Once = Once::new();
    BUILT.call_once(|| build(&["fake-dxg"]));
    let library = target_directory().join("libfake_dxg.so");
    again::run(test, &[("LD_PRELOAD", library.as_os_str())]);
}
