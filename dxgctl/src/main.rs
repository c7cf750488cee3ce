//! `dxgctl`: lists virtual GPUs and runs programs on them.

#![forbid(unsafe_code)]

mod ask;
mod list;
mod prefix;
mod private;
mod run;

use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

/// Lists virtual GPUs and runs programs on them.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the virtual GPUs that you may use, and the adapters behind them.
    List {
        /// Prints one JSON document instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Shows everything the daemon knows of one virtual GPU, or of all, and of itself.
    Info {
        /// UUID (or its beginning) or index of the virtual GPU, as `list` shows them.
        gpu: Option<String>,
        /// Prints one JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Runs a command with the drivers of this installation in place, and returns its exit status.
    #[command(
        after_help = "The command's exit status is returned; 128 + N when signal N ended it, 127 when it was not \
                            found, 126 when it could not be run, 125 when dxgctl itself failed."
    )]
    Run(run::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::List { json } => list::list(list::Format::of(json)).map(|()| ExitCode::SUCCESS),
        Command::Info { gpu, json } => {
            list::info(gpu.as_deref(), list::Format::of(json)).map(|()| ExitCode::SUCCESS)
        }
        Command::Run(options) => match run::run(&options) {
            Ok(code) => Ok(code),
            Err(error) => {
                eprintln!("dxgctl: {error:#}");
                return ExitCode::from(run::OWN_FAILURE);
            }
        },
    };
    done.unwrap_or_else(|error| {
        eprintln!("dxgctl: {error:#}");
        ExitCode::FAILURE
    })
}
