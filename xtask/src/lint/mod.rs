//! `cargo xtask lint`: what a tool can check about style and structure.
//!
//! The checks of our own read text and cargo's metadata and compile nothing; `--fast` runs only those.

mod edges;
mod files;
mod source;
mod text;
mod tools;
mod unsafety;

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use anyhow::bail;

use crate::workspace::Workspace;

/// Checks style and structure: rustfmt, clippy, and the rules of this repository.
///
/// The rules: which crate may depend on which; unsafe code in its named modules only, commented, and counted in
/// docs/unsafe.toml; generated files up to date and marked; files of at most 800 lines; no paths of one machine in
/// the text; every dependency from crates.io. `cargo deny` runs when it is installed. Facts marked as assumed are
/// counted, not refused.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the checks that compile nothing (no rustfmt, clippy, cargo-deny).
    #[arg(long, conflicts_with = "strict")]
    fast: bool,
    /// Fail also when a tool (cargo-deny) is not installed.
    #[arg(long)]
    strict: bool,
    /// Write the unsafe counts found into docs/unsafe.toml.
    #[arg(long)]
    update: bool,
    /// List each assumed fact.
    #[arg(long)]
    assumed: bool,
}

/// One thing to repair.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// Relative to the workspace root.
    path: PathBuf,
    /// From 1; 0 means the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.message),
        }
    }
}

/// Whether the slow checks run too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Only what compiles nothing.
    Fast,
    /// Everything; a tool that is not installed is left out.
    Full,
    /// Everything; a tool that is not installed is a failure.
    Strict,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load()?;
    let mut files = files::read(&workspace.root)?;
    if args.update {
        unsafety::write_ledger(&workspace.root, &unsafety::count(&workspace, &files))?;
        files = files::read(&workspace.root)?;
    }
    if args.assumed {
        for fact in text::assumed(&files) {
            println!("{fact}");
        }
    }
    let depth = match (args.fast, args.strict) {
        (true, _) => Depth::Fast,
        (false, true) => Depth::Strict,
        (false, false) => Depth::Full,
    };
    lint(&workspace, &files, depth)
}

/// Runs the checks of our own, as `cargo xtask test` does.
pub(crate) fn fast(workspace: &Workspace) -> Result<()> {
    lint(workspace, &files::read(&workspace.root)?, Depth::Fast)
}

fn lint(workspace: &Workspace, files: &[files::File], depth: Depth) -> Result<()> {
    let mut report = Report::default();
    report.findings("crate edges", || edges::check(workspace));
    report.findings("unsafe code", || unsafety::check(workspace, files));
    report.findings("unsafe counts", || unsafety::check_ledger(workspace, files));
    report.findings("text", || text::check(files));
    report.outcome("generated files", tools::generated);
    if depth != Depth::Fast {
        report.outcome("rustfmt", tools::rustfmt);
        report.outcome("clippy", tools::clippy);
        report.outcome("cargo deny", || tools::deny(depth));
        report.outcome("advisories", || tools::advisories(depth));
    }
    let assumed = text::assumed(files).len();
    println!("assumed facts: {assumed} (list them with `cargo xtask lint --assumed`)");
    report.finish()
}

/// What a check that is not about lines of ours came to.
enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Prints each check as it ends and remembers the failed ones.
#[derive(Default)]
struct Report {
    failed: Vec<&'static str>,
}

impl Report {
    fn findings(&mut self, name: &'static str, check: impl FnOnce() -> Vec<Finding>) {
        self.outcome(name, || match check().as_slice() {
            [] => Outcome::Passed,
            findings => {
                let lines: Vec<String> = findings.iter().map(|finding| format!("  {finding}")).collect();
                Outcome::Failed(lines.join("\n"))
            }
        });
    }

    fn outcome(&mut self, name: &'static str, check: impl FnOnce() -> Outcome) {
        let start = Instant::now();
        let outcome = check();
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Outcome::Passed => println!("lint: {name}: ok ({seconds:.2} s)"),
            Outcome::Skipped(why) => println!("lint: {name}: skipped: {why}"),
            Outcome::Failed(what) => {
                println!("lint: {name}: FAILED ({seconds:.2} s)\n{what}");
                self.failed.push(name);
            }
        }
    }

    fn finish(self) -> Result<()> {
        if !self.failed.is_empty() {
            bail!("lint failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}
