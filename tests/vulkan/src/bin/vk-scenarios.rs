//! `vk-scenarios`: runs scenarios on a Vulkan device and prints one line for each.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use dxg_tests_vulkan::scenarios;
use dxg_tests_vulkan::scenarios::Ending;

/// Runs Vulkan scenarios that check themselves.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print the names of the scenarios.
    List,
    /// Print the devices: number and name.
    Devices,
    /// Print the files of the drivers that the loader loads.
    Drivers,
    /// Run scenarios: `NAME ok DIGEST`, `NAME skipped: WHY` or `NAME FAILED: WHY`.
    Run {
        /// Names, or `all`.
        #[arg(required = true)]
        names: Vec<String>,
        /// The number of the device.
        #[arg(long, default_value_t = 0)]
        device: usize,
    },
}

fn main() -> Result<ExitCode> {
    let mut out = std::io::stdout();
    match Options::parse().command {
        Command::List => {
            for name in scenarios::names() {
                writeln!(out, "{name}")?;
            }
        }
        Command::Devices => {
            for (index, name) in scenarios::devices()?.iter().enumerate() {
                writeln!(out, "{index} {name}")?;
            }
        }
        Command::Drivers => {
            for name in scenarios::drivers()? {
                writeln!(out, "{name}")?;
            }
        }
        Command::Run { names, device } => {
            let mut code = ExitCode::SUCCESS;
            let all = names.iter().any(|name| name == "all");
            let names: Vec<&str> =
                if all { scenarios::names().collect() } else { names.iter().map(String::as_str).collect() };
            for name in names {
                let (line, ending) = scenarios::run(name, device)?;
                writeln!(out, "{line}")?;
                out.flush()?;
                if ending == Ending::Failed {
                    code = ExitCode::FAILURE;
                }
            }
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}
