//! `cargo xtask bench`: every bench target of the workspace, over a release stage.

use std::ffi::OsString;
use std::path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use anyhow::bail;

use crate::artifacts;
use crate::artifacts::Kind;
use crate::artifacts::Profile;
use crate::process;
use crate::stage;
use crate::workspace::Workspace;

/// Stages in release and runs the benches of all crates.
///
/// A bench is a program of its own (harness = false); it prints its workload and its numbers. A missed aim is no failure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only benches with this text in their name.
    name: Option<String>,
    /// Ask each bench for a short run, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Only print the names of the benches.
    #[arg(long)]
    list: bool,
    /// Measure only rows with one of these texts in their name.
    #[arg(long, value_delimiter = ',', requires = "name")]
    rows: Vec<String>,
    /// Add one line of JSON for each row to this file; for benches that print a table of rows.
    #[arg(long, requires = "name")]
    json: Option<PathBuf>,
    /// Arguments for the benches.
    #[arg(last = true)]
    rest: Vec<OsString>,
}

/// What a bench begins a line with that says what was aimed at and whether it was met; these come together at the end.
const AIM: &str = "aim: ";

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load()?;
    let all: Vec<(&str, &str)> = workspace
        .packages
        .iter()
        .flat_map(|package| {
            package.targets_of("bench").map(|target| (package.name.as_str(), target.name.as_str()))
        })
        .collect();
    let chosen: Vec<(&str, &str)> = match &args.name {
        Some(name) => all.iter().copied().filter(|(_, bench)| bench.contains(name.as_str())).collect(),
        None => all.clone(),
    };
    if chosen.is_empty() {
        let names: Vec<&str> = all.iter().map(|(_, bench)| *bench).collect();
        match &args.name {
            Some(name) => bail!("no bench is named like `{name}`; there are: {}", names.join(", ")),
            None => println!("bench: no crate of the workspace has a bench yet"),
        }
        return Ok(());
    }
    if args.list {
        for (package, bench) in chosen {
            println!("{bench} ({package})");
        }
        return Ok(());
    }
    stage::stage(&workspace, Profile::Release)?;
    let mut failed = Vec::new();
    let mut aims = Vec::new();
    for (package, bench) in chosen {
        let select = ["--no-run", "--package", package, "--bench", bench].map(OsString::from);
        // `cargo bench` has the release profile already and refuses to be asked for it.
        let built = artifacts::build("bench", &select, Profile::Debug)?;
        let mut command = Command::new(artifacts::find(&built, bench, Kind::Bench)?);
        command.args(args.quick.then_some("--quick")).args(&args.rows).args(&args.rest);
        if let Some(file) = &args.json {
            command.arg("--json").arg(path::absolute(file)?);
        }
        command.current_dir(&workspace.root).env("DXG_STAGE", workspace.stage_dir());
        println!("\n== {bench} ({package})");
        let ended = process::follow(&mut command, |line| match line.strip_prefix(AIM) {
            Some(aim) => aims.push(aim.to_owned()),
            None => println!("{line}"),
        });
        if let Err(error) = ended.and_then(|status| process::check(&command, status)) {
            eprintln!("error: {error:#}");
            failed.push(bench);
        }
    }
    if !aims.is_empty() {
        println!("\n== aims (a machine with other work misses them for reasons of its own)");
        aims.iter().for_each(|aim| println!("{aim}"));
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
