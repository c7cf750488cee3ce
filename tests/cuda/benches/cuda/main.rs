//! CUDA over the driver against what this machine does otherwise: the same kernels through its own Vulkan driver, plain
//! Rust, `memcpy`. Medians of interleaved runs, each in a process of its own with a daemon of its own.
//!
//! A name measures the rows with that text in their name, `--quick` sees that it works, `--json FILE` adds one line of JSON
//! for each row to a file. Without a staged prefix there is nothing to measure.

mod calls;
mod driver;
mod kernels;
mod modules;
mod rows;

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use clap::Parser;
use dxg_tests_vulkan::bench::Length;
use dxg_tests_vulkan::bench::median;
use dxg_tests_vulkan::stage::Place;
use rustix::thread::CpuSet;
use rustix::thread::sched_getaffinity;
use rustix::thread::sched_setaffinity;

use self::rows::Number;
use self::rows::Row;
use self::rows::Side;

/// How long one process may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Measures CUDA over the driver.
#[derive(Parser)]
struct Arguments {
    /// Only rows with one of these texts in their name.
    rows: Vec<String>,
    /// Short runs, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Runs of each side of a row.
    #[arg(long, default_value_t = 3)]
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

/// The numbers of a row.
struct Found {
    base: Option<f64>,
    ours: f64,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let length = if arguments.quick { Length::Quick } else { Length::Full };
    if let Some(name) = &arguments.measure {
        use_all_cores()?;
        println!("{}", measure_here(&Number::parse(name)?, length)?);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(prefix) = dxg_tests_cuda::prefix() else {
        println!("no staged prefix with {}: nothing to measure", dxg_tests_cuda::DRIVER);
        return Ok(ExitCode::SUCCESS);
    };
    let mut json = match &arguments.json {
        Some(path) => Some(OpenOptions::new().create(true).append(true).open(path).context("--json")?),
        None => None,
    };
    println!(
        "{:<38} {:<46} {:>8} {:>9} {:>9} {:>8}  {:<10} verdict",
        "row", "what, against what", "unit", "against", "ours", "ratio", "aim"
    );
    let mut failed = false;
    let mut aims = Vec::new();
    for row in rows::all()? {
        if !arguments.rows.is_empty() && !arguments.rows.iter().any(|text| row.name.contains(text.as_str())) {
            continue;
        }
        let rounds = if arguments.quick { 1 } else { arguments.rounds.max(1) };
        let head = format!("{:<38} {:<46} {:>8}", row.name, row.what, row.unit);
        match compare(&row, &prefix, length, rounds) {
            Ok(found) => {
                println!("{head} {}", text(&row, &found));
                aims.extend(row.aim.map(|aim| {
                    let verdict = if aim.is_met(found.base, found.ours) { "met" } else { "MISSED" };
                    format!(
                        "aim: {:<38} {:>12}  aim {aim:<10} {verdict}",
                        row.name,
                        aim.measured(&found, &row)
                    )
                }));
                if let Some(file) = &mut json {
                    write_json(file, &row, &found)?;
                }
            }
            Err(error) => {
                failed = true;
                println!("{head} failed: {error:#}");
            }
        }
    }
    for aim in aims {
        println!("{aim}");
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl rows::Aim {
    /// What is compared with the aim.
    fn measured(self, found: &Found, row: &Row) -> String {
        match (self, found.base) {
            (Self::Times(_), Some(base)) => format!("{:.2} x", found.ours / base),
            _ => format!("{:.2} {}", found.ours, row.unit),
        }
    }
}

fn text(row: &Row, found: &Found) -> String {
    let number = |value: f64| format!("{value:>9.2}");
    let (base, ratio) = match found.base {
        Some(base) => (number(base), format!("{:.2} x", found.ours / base)),
        None => (String::new(), String::new()),
    };
    let head = format!("{base:>9} {} {ratio:>8}", number(found.ours));
    match row.aim {
        Some(aim) => {
            let verdict = if aim.is_met(found.base, found.ours) { "met" } else { "MISSED" };
            format!("{head}  {aim:<10} {verdict}")
        }
        None => head,
    }
}

/// Names and units are plain words, so nothing needs escaping.
fn write_json(file: &mut File, row: &Row, found: &Found) -> Result<()> {
    let base = found.base.map_or("null".to_owned(), |value| value.to_string());
    let met = row.aim.map_or("null".to_owned(), |aim| aim.is_met(found.base, found.ours).to_string());
    writeln!(
        file,
        r#"{{"row":"{}","unit":"{}","against":{base},"ours":{},"met":{met}}}"#,
        row.name, row.unit, found.ours
    )?;
    Ok(())
}

/// Measures both sides in turns and gives the medians.
fn compare(row: &Row, prefix: &Path, length: Length, rounds: u32) -> Result<Found> {
    let mut base = Vec::new();
    let mut ours = Vec::new();
    for _ in 0..rounds {
        if let Some(side) = &row.base {
            base.push(measure(side, prefix, length).context("what it is compared with")?);
        }
        ours.push(measure(&row.ours, prefix, length).context("ours")?);
    }
    let base = row.base.is_some().then(|| median(&mut base));
    Ok(Found { base, ours: median(&mut ours) })
}

/// Measures in a process of its own.
fn measure(side: &Side, prefix: &Path, length: Length) -> Result<f64> {
    let place = if side.number.is_cuda() { Place::Staged(prefix.to_path_buf()) } else { Place::Native };
    let name = side.number.to_string();
    let mut arguments = vec!["--measure", &name];
    if length == Length::Quick {
        arguments.push("--quick");
    }
    let before = match side.cores {
        Some(cores) => Some(limit_to(cores)?),
        None => None,
    };
    // The daemon and its workers have the cores that this thread has; the program takes all again.
    let output = place.output(std::env::current_exe()?, &arguments, LIMIT);
    if let Some(before) = before {
        sched_setaffinity(None, &before)?;
    }
    let output = output?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ended with {}: {}", output.status, errors.trim());
    number(&output.stdout)
}

fn number(text: &[u8]) -> Result<f64> {
    let text = String::from_utf8_lossy(text);
    // What was printed before the number is not of interest.
    text.trim().parse().with_context(|| format!("not a number: {text}"))
}

/// Leaves this thread, and what it starts, so many cores; returns those that it had.
fn limit_to(cores: usize) -> Result<CpuSet> {
    let before = sched_getaffinity(None)?;
    let mut fewer = CpuSet::new();
    for core in (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core)).take(cores) {
        fewer.set(core);
    }
    sched_setaffinity(None, &fewer)?;
    Ok(before)
}

fn use_all_cores() -> Result<()> {
    let mut all = CpuSet::new();
    for core in 0..CpuSet::MAX_CPU {
        all.set(core);
    }
    Ok(sched_setaffinity(None, &all)?)
}

/// Measures in this process.
fn measure_here(number: &Number, length: Length) -> Result<f64> {
    match number {
        Number::Vulkan(kernel) => kernels::vulkan(*kernel, length),
        Number::Cuda(kernel) => kernels::cuda(*kernel, length),
        Number::TwoProcesses(kernel) => two_processes(&Number::Cuda(*kernel), length),
        Number::PlainSaxpy => kernels::plain_saxpy(length),
        Number::PlainCopy => calls::plain_copy(length),
        Number::LaunchAndWait => calls::launch_and_wait(length),
        Number::LaunchAfterRest => calls::launch_after_rest(length),
        Number::Launches => calls::launches(length),
        Number::EmptyKernels(form) => calls::empty_kernels(*form, length),
        Number::SmallKernels(form) => calls::small_kernels(*form, length),
        Number::Copy(way, memory) => calls::copy(*way, *memory, length),
        Number::Allocate(size_bytes) => calls::allocate(*size_bytes, length),
        Number::Module(case, text) => modules::ready(case, *text),
    }
}

/// Two of these at once on the device of this process: the sum of their rates.
fn two_processes(number_of_one: &Number, length: Length) -> Result<f64> {
    let program = std::env::current_exe()?;
    let name = number_of_one.to_string();
    let start = || {
        let mut command = Command::new(&program);
        command.args(["--measure", &name]).args((length == Length::Quick).then_some("--quick"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
    };
    let both = [start()?, start()?];
    let mut sum = 0.0;
    for one in both {
        let output = one.wait_with_output()?;
        ensure!(output.status.success(), "ended with {}", output.status);
        sum += number(&output.stdout)?;
    }
    Ok(sum)
}
