//! Checks that other programs make: rustfmt, clippy, cargo-deny, and our own generator.

use std::env;
use std::process::Command;

use clap::CommandFactory as _;

use super::Depth;
use super::Outcome;
use crate::Cli;
use crate::process;

/// Formatting, by rustfmt.
pub(super) fn rustfmt() -> Outcome {
    if !process::has_cargo_command("fmt") {
        return Outcome::Failed("  rustfmt is not installed: rustup component add rustfmt".to_owned());
    }
    outcome(process::cargo().args(["fmt", "--all", "--", "--check"]))
}

/// Warnings of rustc and clippy, in all targets.
pub(super) fn clippy() -> Outcome {
    if !process::has_cargo_command("clippy") {
        return Outcome::Failed("  clippy is not installed: rustup component add clippy".to_owned());
    }
    outcome(process::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Licences, bans and sources of the dependencies, by cargo-deny and deny.toml.
pub(super) fn deny(depth: Depth) -> Outcome {
    with_deny(depth, |deny| outcome(deny.args(["check", "bans", "licenses", "sources"])))
}

/// Known faults of the dependencies, by cargo-deny. Apart from the rest, since it needs the network.
pub(super) fn advisories(depth: Depth) -> Outcome {
    with_deny(depth, |deny| {
        deny.args(["check", "advisories"]);
        match (process::capture(deny), depth) {
            (Ok(_), _) => Outcome::Passed,
            (Err(error), Depth::Fast | Depth::Full) if format!("{error:#}").contains(NOT_FETCHED) => {
                Outcome::Skipped("the advisory database cannot be fetched from here".to_owned())
            }
            (Err(error), _) => Outcome::Failed(format!("  {error:#}")),
        }
    })
}

/// What cargo-deny says without a network.
const NOT_FETCHED: &str = "failed to fetch advisory database";

fn with_deny(depth: Depth, check: impl FnOnce(&mut Command) -> Outcome) -> Outcome {
    if process::has_cargo_command("deny") {
        return check(process::cargo().arg("deny"));
    }
    let how = "cargo-deny is not installed: cargo install --locked cargo-deny";
    match depth {
        Depth::Strict => Outcome::Failed(format!("  {how}")),
        Depth::Fast | Depth::Full => Outcome::Skipped(how.to_owned()),
    }
}

/// Whether the generated files are what the generators write today.
pub(super) fn generated() -> Outcome {
    if Cli::command().find_subcommand("gen").is_none() {
        return Outcome::Skipped("there is no generator yet".to_owned());
    }
    match env::current_exe() {
        Ok(xtask) => outcome(Command::new(xtask).args(["gen", "--check"])),
        Err(error) => Outcome::Failed(format!("  cannot find this program: {error}")),
    }
}

fn outcome(command: &mut Command) -> Outcome {
    match process::run(command) {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(format!("  {error:#}")),
    }
}
