//! The driver against the machine's own, call by call: medians of interleaved runs, each in a process of its own.
//!
//! A name measures the rows with that text in their name, `--quick` sees that it works, `--json FILE` adds one line of JSON
//! for each row to a file. Without a staged prefix it measures natively.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use clap::Parser;
use dxg_tests_vulkan::bench;
use dxg_tests_vulkan::bench::Aim;
use dxg_tests_vulkan::bench::Better;
use dxg_tests_vulkan::bench::Length;
use dxg_tests_vulkan::bench::Workload;
use dxg_tests_vulkan::stage;
use dxg_tests_vulkan::stage::Place;

/// How long one process may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Measures the driver against the machine's own.
#[derive(Parser)]
struct Arguments {
    /// Only rows with one of these texts in their name.
    rows: Vec<String>,
    /// Short runs, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Runs of each side of a row.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Adds one line of JSON for each row to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures this one in this process and prints the number.
    #[arg(long, hide = true)]
    measure: Option<String>,
    /// What `cargo bench` says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One row of the table.
struct Row {
    native: f64,
    ours: Option<f64>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let length = if arguments.quick { Length::Quick } else { Length::Full };
    if let Some(name) = &arguments.measure {
        println!("{}", bench::measure(name, length)?);
        return Ok(ExitCode::SUCCESS);
    }
    let prefix = stage::find();
    if prefix.is_none() {
        println!("no staged prefix: native numbers only");
    }
    let mut json = match &arguments.json {
        Some(path) => Some(OpenOptions::new().create(true).append(true).open(path).context("--json")?),
        None => None,
    };
    println!(
        "{:<20} {:<50} {:>5} {:>10} {:>10} {:>14}  {:<14} verdict",
        "row", "what", "unit", "native", "ours", "ratio", "aim"
    );
    let mut failed = false;
    for workload in bench::workloads() {
        if !arguments.rows.is_empty()
            && !arguments.rows.iter().any(|row| workload.name.contains(row.as_str()))
        {
            continue;
        }
        let rounds = if arguments.quick { 1 } else { arguments.rounds.max(1) };
        let Workload { name, what, unit, .. } = workload;
        match compare(workload, prefix.as_deref(), length, rounds) {
            Ok(row) => {
                println!("{name:<20} {what:<50} {unit:>5} {}", text(workload, &row));
                if let Some(file) = &mut json {
                    write_json(file, workload, &row)?;
                }
            }
            Err(error) if name.starts_with("vulkaninfo") && !has_vulkaninfo() => {
                println!("{name:<20} {what:<50} {unit:>5} skipped: {error:#}");
            }
            Err(error) => {
                failed = true;
                println!("{name:<20} {what:<50} {unit:>5} failed: {error:#}");
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn has_vulkaninfo() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join("vulkaninfo").is_file())
}

/// Ours by native: more than 1 is worse for times, better for rates.
fn ratio(row: &Row) -> Option<f64> {
    row.ours.map(|ours| ours / row.native)
}

fn verdict(workload: &Workload, row: &Row) -> Option<(Aim, bool)> {
    let aim = Aim::of(workload.name)?;
    Some((aim, aim.is_met(workload.better, row.native, row.ours?)))
}

fn text(workload: &Workload, row: &Row) -> String {
    let native = row.native;
    let Some(ours) = row.ours else { return format!("{native:>10.2}") };
    let compared = match Aim::of(workload.name) {
        Some(Aim::Above(_)) => format!("{:+.2} {}", ours - native, workload.unit),
        _ => format!("{:.2} x", ours / native),
    };
    let head = format!("{native:>10.2} {ours:>10.2} {compared:>14}");
    match verdict(workload, row) {
        Some((aim, met)) => {
            let aim = match (aim, workload.better) {
                (Aim::Times(times), Better::More) => format!(">= {:.2} x", 1.0 / times),
                _ => format!("<= {aim}"),
            };
            format!("{head}  {aim:<14} {}", if met { "met" } else { "MISSED" })
        }
        None => head,
    }
}

/// Names and units are plain words, so nothing needs escaping.
fn write_json(file: &mut File, workload: &Workload, row: &Row) -> Result<()> {
    let number = |value: Option<f64>| value.map_or("null".to_owned(), |value| value.to_string());
    let met = verdict(workload, row).map_or("null".to_owned(), |(_, met)| met.to_string());
    writeln!(
        file,
        r#"{{"row":"{}","unit":"{}","native":{},"ours":{},"ratio":{},"met":{met}}}"#,
        workload.name,
        workload.unit,
        row.native,
        number(row.ours),
        number(ratio(row)),
    )?;
    Ok(())
}

/// Measures native / ours / native / ours ... and gives the medians.
fn compare(workload: &Workload, prefix: Option<&Path>, length: Length, rounds: u32) -> Result<Row> {
    let mut native_numbers = Vec::new();
    let mut our_numbers = Vec::new();
    for _ in 0..rounds {
        native_numbers.push(measure(&Place::Native, workload, length).context("native")?);
        if let Some(prefix) = prefix {
            let place = Place::Staged(prefix.to_path_buf());
            our_numbers.push(measure(&place, workload, length).context("ours")?);
        }
    }
    let ours = (!our_numbers.is_empty()).then(|| bench::median(&mut our_numbers));
    Ok(Row { native: bench::median(&mut native_numbers), ours })
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
