//! `vk-life`: lives through what its argument says.

#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use dxg_tests_vulkan::life;

/// Lives through something with a Vulkan device.
#[derive(Parser)]
enum Command {
    /// Loses its device, again and again.
    Loss { rounds: usize },
    /// Loads and unloads the driver.
    Unload { rounds: usize },
    /// Uses several devices at once.
    SideBySide { rounds: usize },
    /// Forks.
    Fork,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Loss { rounds } => life::loss(rounds),
        Command::Unload { rounds } => life::unload(rounds),
        Command::SideBySide { rounds } => life::side_by_side(rounds),
        Command::Fork => life::fork(),
    }
}
