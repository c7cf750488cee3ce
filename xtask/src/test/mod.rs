//! `cargo xtask test`: everything a change must pass, in one command, on a fresh machine.

mod clients;
mod counts;

use std::env;
use std::ffi::OsString;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;

use self::counts::Counts;
use self::counts::Reader;
use crate::artifacts::Profile;
use crate::lint;
use crate::process;
use crate::setup;
use crate::setup::Purpose;
use crate::stage;
use crate::workspace::Workspace;

/// Runs everything: setup, the fast part of lint, stage, tests, doc tests, loom tests.
///
/// Ends with a summary of the steps and one line `N passed, N failed, N skipped`. The numbers are of tests; a step
/// that fails without naming a test adds one to the failed, a step left out adds one to the skipped. A test that
/// prints a line `skipped: REASON` and passes counts as skipped.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only lint and the tests inside the crates: no packages, no stage, no end to end, doc or loom tests.
    #[arg(long)]
    fast: bool,
    /// Do not look for missing system packages.
    #[arg(long)]
    no_setup: bool,
    /// Instead of the tests: run programs that others wrote, or the one named, natively and over the driver.
    #[arg(long, value_name = "CLIENT", num_args = 0..=1, conflicts_with_all = ["fast", "no_setup"])]
    clients: Option<Option<String>>,
}

/// What a step came to.
enum Outcome {
    Done,
    Tests(Counts),
    Skipped(String),
    Failed(String),
}

/// A step that ended.
struct Step {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

/// The packages of the end to end tests.
const END_TO_END: &[&str] = &["tests", "dxg-tests-vulkan"];

/// Runs the command. The line with the numbers is the last one in every case.
pub(crate) fn run(args: &Args) -> ExitCode {
    if let Some(name) = &args.clients {
        let ended = Workspace::load().and_then(|workspace| clients::run(&workspace, name.as_deref()));
        return match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let steps = match Workspace::load() {
        Ok(workspace) => steps(args, &workspace),
        Err(error) => {
            let outcome = Outcome::Failed(format!("{error:#}"));
            vec![Step { name: "workspace", took: Duration::ZERO, outcome }]
        }
    };
    let total = summarise(&steps);
    println!("{total}");
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn steps(args: &Args, workspace: &Workspace) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |name: &'static str, work: &mut dyn FnMut() -> Result<Outcome>| {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = work().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let took = start.elapsed();
        if let Outcome::Skipped(what) | Outcome::Failed(what) = &outcome {
            println!("{name}: {what}");
        }
        println!("-- {name}: {:.1} s", took.as_secs_f64());
        steps.push(Step { name, took, outcome });
    };
    if !args.fast && !args.no_setup {
        step("setup", &mut || match setup::ensure(Purpose::Test)? {
            setup::Outcome::Ready => Ok(Outcome::Done),
            setup::Outcome::Unable(why) => Ok(Outcome::Skipped(why)),
        });
    }
    step("lint (fast part)", &mut || lint::fast(workspace).map(|()| Outcome::Done));
    if args.fast {
        step("tests", &mut || {
            let mut select = words(&["--workspace", "--lib", "--bins", "--tests"]);
            for package in END_TO_END.iter().filter(|package| workspace.package(package).is_some()) {
                select.extend(words(&["--exclude", package]));
            }
            cargo_test(workspace, select, Cfg::Plain)
        });
    } else {
        step("stage", &mut || match stage::stage(workspace, Profile::Debug)?.as_slice() {
            [] => Ok(Outcome::Done),
            absent => Ok(Outcome::Skipped(format!("not in the workspace yet: {}", absent.join(", ")))),
        });
        step("tests", &mut || {
            let select = words(&["--workspace", "--lib", "--bins", "--tests", "--examples"]);
            cargo_test(workspace, select, Cfg::Plain)
        });
        step("doc tests", &mut || cargo_test(workspace, words(&["--workspace", "--doc"]), Cfg::Plain));
        step("loom tests", &mut || loom(workspace));
    }
    steps
}

/// How the code under test is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cfg {
    Plain,
    /// With loom's atomics and threads, in a target directory of its own.
    Loom,
}

/// The tests that let loom try every interleaving: the targets `loom_*` of dxg-wire.
fn loom(workspace: &Workspace) -> Result<Outcome> {
    let targets: Vec<&str> = workspace
        .package("dxg-wire")
        .into_iter()
        .flat_map(|package| package.targets_of("test"))
        .map(|target| target.name.as_str())
        .filter(|name| name.starts_with("loom_"))
        .collect();
    if targets.is_empty() {
        return Ok(Outcome::Skipped("dxg-wire has no test named loom_* yet".to_owned()));
    }
    let mut select = words(&["--package", "dxg-wire"]);
    select.extend(targets.iter().flat_map(|target| words(&["--test", target])));
    cargo_test(workspace, select, Cfg::Loom)
}

fn cargo_test(workspace: &Workspace, select: Vec<OsString>, cfg: Cfg) -> Result<Outcome> {
    let mut command: Command = process::cargo();
    command.args(["test", "--no-fail-fast"]).args(select);
    if cfg == Cfg::Loom {
        let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
        flags.push_str(" --cfg loom");
        command.env("RUSTFLAGS", flags.trim_start());
        command.arg("--target-dir").arg(workspace.target_dir.join("loom"));
    }
    command.env("DXG_STAGE", workspace.stage_dir());
    println!("$ {}", process::line(&command));
    // The output of passing tests says which of them had nothing to test on; the reader keeps it off the screen.
    command.args(["--", "--show-output"]);
    let mut reader = Reader::default();
    let status = process::follow(&mut command, |line| {
        if reader.read(line) == counts::Line::Shown {
            println!("{line}");
        }
    })?;
    let counts = reader.finish();
    if !status.success() && counts.failed == 0 {
        return Ok(Outcome::Failed(format!("`{}` failed ({status})", process::line(&command))));
    }
    Ok(Outcome::Tests(counts))
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Prints how each step went and adds up.
fn summarise(steps: &[Step]) -> Counts {
    let mut total = Counts::default();
    println!("\n== summary");
    for step in steps {
        let seconds = step.took.as_secs_f64();
        let (word, detail) = match &step.outcome {
            Outcome::Done => ("ok", String::new()),
            Outcome::Tests(counts) => (if counts.failed == 0 { "ok" } else { "FAILED" }, counts.to_string()),
            Outcome::Skipped(why) => ("skipped", why.clone()),
            Outcome::Failed(what) => ("FAILED", what.clone()),
        };
        println!(
            "{word:>8} {seconds:>7.1} s  {}{}{detail}",
            step.name,
            if detail.is_empty() { "" } else { ": " }
        );
        if let Outcome::Tests(counts) = &step.outcome {
            for (why, count) in &counts.reasons {
                println!("{:>21}skipped: {why} ({count})", "");
            }
            for name in &counts.failures {
                println!("{:>21}failed: {name}", "");
            }
        }
        total.add(&step.outcome.counts());
    }
    total
}

impl Outcome {
    /// What the step adds to the last line.
    fn counts(&self) -> Counts {
        match self {
            Self::Done => Counts::default(),
            Self::Tests(counts) => counts.clone(),
            Self::Skipped(_) => Counts { skipped: 1, ..Counts::default() },
            Self::Failed(_) => Counts { failed: 1, ..Counts::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(outcome: Outcome) -> Step {
        Step { name: "step", took: Duration::ZERO, outcome }
    }

    #[test]
    fn summary_counts_steps_that_are_no_tests_when_they_fail_or_are_left_out() {
        let tests = Outcome::Tests(Counts { passed: 3, ..Counts::default() });
        let steps = [
            step(Outcome::Done),
            step(tests),
            step(Outcome::Failed("x".to_owned())),
            step(Outcome::Skipped("y".to_owned())),
        ];
        assert_eq!(summarise(&steps).to_string(), "3 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn outcome_of_a_step_without_tests_adds_one() {
        assert_eq!(Outcome::Skipped(String::new()).counts().skipped, 1);
        assert_eq!(Outcome::Failed(String::new()).counts().failed, 1);
        assert_eq!(Outcome::Done.counts(), Counts::default());
    }
}
