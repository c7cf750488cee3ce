//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! Each command is one module with an `Args` struct and a `run` function. What they share is `workspace` (what
//! cargo knows about this workspace), `process` (running other programs) and `artifacts` (building, and finding
//! what was built).

#![forbid(unsafe_code)]

mod artifacts;
mod bench;
mod cross;
mod demo;
mod fuzz;
mod r#gen;
mod lint;
mod process;
mod setup;
mod stage;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Args),
    Cross(cross::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    DemoInner(demo::inner::Args),
    Fuzz(fuzz::Args),
    Gen(r#gen::Args),
    Install(stage::InstallArgs),
    Lint(lint::Args),
    Setup(setup::Args),
    Stage(stage::Args),
    Test(test::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Cross(args) => cross::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::DemoInner(args) => demo::inner::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Gen(args) => r#gen::run(&args),
        Command::Install(args) => stage::install(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Setup(args) => setup::run(&args),
        Command::Stage(args) => stage::run(&args),
        Command::Test(args) => return test::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
