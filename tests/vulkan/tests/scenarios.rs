//! Runs every scenario natively and over the driver and compares what they print, one test for each scenario.
//!
//! A harness of its own, because the scenarios share two runs of one program: a process for each would measure
//! start-up, and what one scenario leaves behind for the next would never show.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use dxg_tests_vulkan::comparison;
use dxg_tests_vulkan::comparison::Outcome;
use dxg_tests_vulkan::scenarios;
use dxg_tests_vulkan::stage;
use dxg_tests_vulkan::stage::Place;
use dxg_tests_vulkan::stage::XServer;

/// The program both run.
const PROGRAM: &str = env!("CARGO_BIN_EXE_vk-scenarios");

/// How long a scenario may print nothing before it counts as hung.
const HANG: Duration = Duration::from_secs(180);

/// Scenarios whose line may differ, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("headless_frames", "the driver has surfaces that nobody sees, whatever the host has"),
    ("present_ids", "presents have ids in the driver, whatever the host has"),
];

/// What was asked on the command line, as far as cargo's own harness knows it.
struct Asked {
    filters: Vec<String>,
    exact: bool,
    list: bool,
    show_output: bool,
}

impl Asked {
    fn from_arguments() -> Self {
        let mut asked = Self { filters: Vec::new(), exact: false, list: false, show_output: false };
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--exact" => asked.exact = true,
                "--list" => asked.list = true,
                "--show-output" | "--nocapture" => asked.show_output = true,
                option if option.starts_with('-') => {}
                filter => asked.filters.push(filter.to_owned()),
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        let matches =
            |filter: &String| if self.exact { filter == name } else { name.contains(filter.as_str()) };
        self.filters.is_empty() || self.filters.iter().any(matches)
    }
}

fn main() -> ExitCode {
    let asked = Asked::from_arguments();
    let all: Vec<&str> = scenarios::names().collect();
    let chosen: Vec<&str> = all.iter().copied().filter(|name| asked.wants(name)).collect();
    if asked.list {
        for name in &chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let start = Instant::now();
    println!("\nrunning {} tests", chosen.len());
    let outcomes = outcomes(&chosen);
    for (name, outcome) in chosen.iter().zip(&outcomes) {
        println!("test {name} ... {}", if matches!(outcome, Outcome::Failed(_)) { "FAILED" } else { "ok" });
    }
    if asked.show_output {
        section("successes", &chosen, &outcomes, |outcome| match outcome {
            Outcome::Skipped(why) => Some(format!("skipped: {why}")),
            _ => None,
        });
    }
    section("failures", &chosen, &outcomes, |outcome| match outcome {
        Outcome::Failed(why) => Some(why.clone()),
        _ => None,
    });
    let failed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed(_))).count();
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        outcomes.len() - failed,
        all.len() - chosen.len(),
        start.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what some tests said, as cargo's own harness does.
fn section(title: &str, names: &[&str], outcomes: &[Outcome], said: impl Fn(&Outcome) -> Option<String>) {
    let said: Vec<_> =
        names.iter().zip(outcomes).filter_map(|(name, outcome)| Some((name, said(outcome)?))).collect();
    if said.is_empty() {
        return;
    }
    println!("\n{title}:\n");
    for (name, text) in &said {
        println!("---- {name} stdout ----\n{text}\n");
    }
    println!("\n{title}:");
    for (name, _) in &said {
        println!("    {name}");
    }
}

fn outcomes(chosen: &[&str]) -> Vec<Outcome> {
    let Some(prefix) = stage::find() else {
        return chosen.iter().map(|_| Outcome::Skipped("no staged prefix".to_owned())).collect();
    };
    let server = match XServer::start() {
        Ok(server) => server,
        Err(error) => return chosen.iter().map(|_| Outcome::Failed(format!("{error:#}"))).collect(),
    };
    if server.is_none() {
        eprintln!("no Xvfb here: scenarios with windows are skipped (Debian: xvfb)");
    }
    let lines = twin_devices(&prefix).and_then(|(native, ours)| {
        Ok((run(&Place::Native, native, chosen)?, run(&Place::Staged(prefix), ours, chosen)?))
    });
    match lines {
        Ok((native, ours)) => chosen
            .iter()
            .map(|name| {
                let allowed = ALLOWED.iter().find(|(allowed, _)| allowed == name).map(|(_, why)| *why);
                comparison::judge(
                    name,
                    [&native, &ours].map(|lines| lines.get(*name).map(String::as_str)),
                    allowed,
                )
            })
            .collect(),
        Err(error) => chosen.iter().map(|_| Outcome::Failed(format!("{error:#}"))).collect(),
    }
}

/// The numbers of a device natively and over the driver that are the same device.
fn twin_devices(prefix: &std::path::Path) -> Result<(usize, usize)> {
    let lines = |place: &Place, command: &str| -> Result<Vec<String>> {
        let output = place.output(PROGRAM, &[command], HANG)?;
        anyhow::ensure!(
            output.status.success(),
            "{place:?}: `{command}` ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    };
    let devices = |place: &Place| -> Result<Vec<String>> {
        Ok(lines(place, "devices")?
            .iter()
            .filter_map(|line| Some(line.split_once(' ')?.1.to_owned()))
            .collect())
    };
    let staged = Place::Staged(prefix.to_path_buf());
    // A comparison of the native driver with itself would always hold.
    let drivers = lines(&staged, "drivers")?;
    anyhow::ensure!(drivers == ["libvulkan_dxg.so"], "over the driver the loader loads {drivers:?}");
    let native = devices(&Place::Native)?;
    let ours = devices(&staged)?;
    let first = ours.first().context("the driver offers no device")?;
    // The driver may add to the name, never take from it.
    let twin = native.iter().position(|name| first.contains(name.as_str()));
    Ok((twin.with_context(|| format!("no native device is `{first}`; there are {native:?}"))?, 0))
}

/// The line of each scenario. A program that ends or hangs early is started again behind where it stopped.
fn run(place: &Place, device: usize, names: &[&str]) -> Result<BTreeMap<String, String>> {
    let device = device.to_string();
    let mut lines = BTreeMap::new();
    let mut left = names;
    while let Some((first, rest)) = left.split_first() {
        let mut arguments = vec!["run", "--device", &device];
        arguments.extend(left);
        let mut count = 0;
        let ended = place.follow(PROGRAM, &arguments, HANG, |line| {
            // A driver may print too; only a scenario's own line counts.
            let name = line.split(' ').next().unwrap_or("");
            if left.get(count) == Some(&name) {
                lines.insert(name.to_owned(), line.to_owned());
                count += 1;
            }
        })?;
        if count == left.len() {
            break;
        }
        let (stopped, behind) = match left.get(count..).and_then(|left| left.split_first()) {
            Some((stopped, behind)) => (*stopped, behind),
            None => (*first, rest),
        };
        lines.insert(stopped.to_owned(), format!("{stopped} FAILED: the program ended: {ended}"));
        left = behind;
    }
    Ok(lines)
}
