//! `cargo xtask demo`: what this software does, on this machine, in a minute.
//!
//! The steps run under one private daemon: `dxgctl run --private` starts it, and this program again, with the
//! hidden command `demo-inner`, runs the steps inside.

mod compiler;
pub(crate) mod inner;

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::artifacts;
use crate::artifacts::Kind;
use crate::artifacts::Profile;
use crate::process;
use crate::setup;
use crate::setup::Purpose;
use crate::stage;
use crate::workspace::Workspace;

/// Shows the software at work: lists the virtual GPU, runs Vulkan and CUDA programs on it, draws a picture.
///
/// Installs the missing system packages, builds in release, starts a private daemon and runs the steps under it,
/// one after another, with what each shows. The picture is in target/demo/.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Do not look for missing system packages.
    #[arg(long)]
    no_setup: bool,
}

const SAMPLES: &str = "samples";
const CUDA_SAMPLE: &str = "cuda-vecadd";

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    // Asked for now: a build below may replace the file we run from.
    let xtask = env::current_exe().context("cannot find this program")?;
    let workspace = Workspace::load()?;
    if !args.no_setup
        && let setup::Outcome::Unable(why) = setup::ensure(Purpose::Demo)?
    {
        println!("setup: {why}");
    }
    let mut absent = stage::stage(&workspace, Profile::Release)?;
    absent.extend([SAMPLES, CUDA_SAMPLE].iter().filter(|name| workspace.package(name).is_none()));
    if !absent.is_empty() {
        bail!("the demo needs what is not in the workspace yet: {}", absent.join(", "));
    }
    let select = ["--package", SAMPLES, "--package", CUDA_SAMPLE, "--bins"].map(OsString::from);
    let samples = artifacts::build("build", &select, Profile::Release)?;
    let demo = workspace.target_dir.join("demo");
    let cuda_c = compiler::compile(&workspace.root, &demo)?;
    let dxgctl = workspace.stage_dir().join("bin/dxgctl");
    let mut inside = Command::new(&dxgctl);
    inside.args(["run", "--private", "--"]).arg(xtask).arg("demo-inner");
    inside.arg("--dxgctl").arg(&dxgctl);
    inside.arg("--share").arg(artifacts::find(&samples, "share", Kind::Program)?);
    inside.arg("--mandelbrot").arg(artifacts::find(&samples, "mandelbrot", Kind::Program)?);
    inside.arg("--cuda-vecadd").arg(artifacts::find(&samples, CUDA_SAMPLE, Kind::Program)?);
    if let Some(program) = &cuda_c {
        inside.arg("--cuda-c").arg(program);
    }
    inside.arg("--out").arg(demo);
    inside.current_dir(&workspace.root);
    println!("\nStarting a private daemon; it ends with the demo.");
    process::run(&mut inside).context("the demo failed")
}
