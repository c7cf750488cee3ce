//! `cargo xtask fuzz`: the fuzz targets, with the tools that they need and nothing else does.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::artifacts;
use crate::artifacts::Kind;
use crate::artifacts::Profile;
use crate::process;
use crate::workspace::Workspace;

/// Most memory that a run may take, and that it may ask for at once, in MiB.
const LIMITS: [&str; 2] = ["-rss_limit_mb=2500", "-malloc_limit_mb=600"];
/// A run that takes longer, in seconds, counts as a hang.
const TIMEOUT: &str = "-timeout=15";
/// Longest input.
const MAX_LEN: &str = "-max_len=2048";

/// Runs the fuzz targets, each for some time, from their kept inputs on.
///
/// Needs a nightly compiler and `cargo fuzz`. What is found lies in fuzz/artifacts/TARGET; new inputs lie in
/// target/fuzz/TARGET, to be added to fuzz/corpus/TARGET by hand. The tests run the kept inputs without any of this.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only this target.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load()?;
    let dir = workspace.root.join("fuzz");
    let all = targets(&dir)?;
    let chosen: Vec<&String> =
        all.iter().filter(|name| args.target.as_ref().is_none_or(|target| target == *name)).collect();
    if chosen.is_empty() {
        let target = args.target.as_deref().unwrap_or_default();
        bail!("no fuzz target is named `{target}`; there are: {}", all.join(", "));
    }
    check_tools()?;
    let select = ["--package", "fake-vk-driver"].map(Into::into);
    let built = artifacts::build("build", &select, Profile::Release)?;
    let driver = artifacts::find(&built, "fake_vk_driver", Kind::SharedLibrary)?;
    for name in chosen {
        let found = workspace.target_dir.join("fuzz").join(name);
        fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
        let mut command = nightly();
        command.args(["fuzz", "run", name]).arg(&found).arg(dir.join("corpus").join(name));
        command.arg("--").arg(format!("-max_total_time={}", args.seconds)).args(LIMITS);
        command.args([TIMEOUT, MAX_LEN]).env("DXG_FUZZ_VK_DRIVER", driver).current_dir(&dir);
        process::run(&mut command)?;
    }
    Ok(())
}

/// The names of the targets, in order.
fn targets(dir: &Path) -> Result<Vec<String>> {
    let dir = dir.join("fuzz_targets");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Cargo of the nightly toolchain; rustup's own `cargo`, as the one that runs us takes no `+nightly`.
fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn check_tools() -> Result<()> {
    let silent = |mut command: Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let mut version = nightly();
    version.arg("--version");
    if !silent(version) {
        bail!("fuzzing needs a nightly compiler: `rustup toolchain install nightly`");
    }
    if !process::has_cargo_command("fuzz") {
        bail!("fuzzing needs cargo fuzz: `cargo install cargo-fuzz`");
    }
    Ok(())
}
