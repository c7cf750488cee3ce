//! `vk-sharing`: runs one case of objects that cross by descriptor.

#![forbid(unsafe_code)]

use std::io::Write as _;

use anyhow::Result;
use clap::Parser;
use dxg_tests_vulkan::sharing;

/// Runs one case of objects that cross devices, processes and APIs by descriptor.
#[derive(Parser)]
struct Options {
    /// Its name; without one, the names of all are printed.
    case: Option<String>,
    /// Be the other side of the case, with this descriptor.
    #[arg(long)]
    peer: Vec<i32>,
}

fn main() -> Result<()> {
    let Options { case, peer } = Options::parse();
    match case {
        Some(case) if peer.is_empty() => sharing::run(&case),
        Some(case) => sharing::run_peer(&case, &peer),
        None => {
            let mut out = std::io::stdout();
            for case in sharing::cases() {
                writeln!(out, "{}", case.name)?;
            }
            Ok(())
        }
    }
}
