//! The driver against the machine's own, call by call: medians of interleaved runs, each in a process of its own.
//!
//! `--quick` sees that it works, a name measures that one only. Without a staged prefix it measures natively.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use dxg_tests_vulkan::bench;
use dxg_tests_vulkan::bench::Aim;
use dxg_tests_vulkan::bench::Better;
use dxg_tests_vulkan::bench::Length;
use dxg_tests_vulkan::bench::Workload;
use dxg_tests_vulkan::stage;
use dxg_tests_vulkan::stage::Place;

/// How long one process may take.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let length = if arguments.iter().any(|one| one == "--quick") { Length::Quick } else { Length::Full };
    if let Some(at) = arguments.iter().position(|one| one == "--measure") {
        let name = arguments.get(at + 1).context("--measure without a name")?;
        println!("{}", bench::measure(name, length)?);
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<&String> = arguments.iter().filter(|one| !one.starts_with('-')).collect();
    let ours = stage::find();
    if ours.is_none() {
        println!("no staged prefix: native numbers only");
    }
    println!("{:<44} {:>5} {:>12} {:>12} {:>8}", "workload", "", "native", "ours", "ratio");
    let mut failed = false;
    for workload in bench::workloads() {
        if !names.is_empty() && !names.iter().any(|name| workload.name.contains(name.as_str())) {
            continue;
        }
        match compare(workload, ours.as_deref(), length) {
            Ok(lines) => println!("{lines}"),
            Err(error) => {
                failed = true;
                println!("{:<44} {:>5} failed: {error:#}", workload.what, workload.unit);
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Measures native / ours / native / ours ... and says how the medians compare.
fn compare(workload: &Workload, ours: Option<&std::path::Path>, length: Length) -> Result<String> {
    let rounds = match length {
        Length::Quick => 1,
        Length::Full => 5,
    };
    let mut native_numbers = Vec::new();
    let mut our_numbers = Vec::new();
    for _ in 0..rounds {
        native_numbers.push(measure(&Place::Native, workload, length).context("native")?);
        if let Some(prefix) = ours {
            let place = Place::Staged(prefix.to_path_buf());
            our_numbers.push(measure(&place, workload, length).context("ours")?);
        }
    }
    let native = bench::median(&mut native_numbers);
    let head = format!("{:<44} {:>5} {native:>12.2}", workload.what, workload.unit);
    if our_numbers.is_empty() {
        return Ok(head);
    }
    let ours = bench::median(&mut our_numbers);
    // More than 1 is worse than native, for times and for rates.
    let ratio = match workload.better {
        Better::Less => ours / native,
        Better::More => native / ours,
    };
    let line = format!("{head} {ours:>12.2} {ratio:>8.2}");
    Ok(match Aim::of(workload.name) {
        Some(aim) => {
            let verdict = if aim.is_met(workload.better, native, ours) { "met" } else { "missed" };
            let (what, unit) = (workload.what, workload.unit);
            format!("{line}\naim: {what:<44} {ours:>8.2} {unit} (native {native:.2})  aim {aim}  {verdict}")
        }
        None => line,
    })
}

fn measure(place: &Place, workload: &Workload, length: Length) -> Result<f64> {
    let program = std::env::current_exe()?;
    let mut arguments = vec!["--measure", workload.name];
    if length == Length::Quick {
        arguments.push("--quick");
    }
    let output = place.output(program, &arguments, LIMIT)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ended with {}: {}", output.status, errors.trim());
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| format!("not a number: {text}"))
}
