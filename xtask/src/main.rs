//! The project's own commands.

#![forbid(unsafe_code)]

mod r#gen;

use clap::Parser;
use clap::Subcommand;

#[derive(Parser)]
#[command(name = "xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the generated code.
    Gen {
        /// Write nothing; fail when a file is stale.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Task::Gen { check } => r#gen::run(check),
    }
}
