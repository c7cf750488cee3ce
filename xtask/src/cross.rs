//! `cargo xtask cross`: the workspace on the machines that it supports and this one is not.

use std::env;
use std::env::consts::ARCH;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::process;

/// Checks the workspace for aarch64, and runs suites there in an emulator.
///
/// The check needs the target `aarch64-unknown-linux-gnu`; the suites also need, as Debian and Ubuntu call them,
/// `gcc-aarch64-linux-gnu`, `libc6-dev-arm64-cross` and `qemu-user`. What is missing is named, and what needs it left out.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only clippy, no suites.
    #[arg(long)]
    check: bool,
    /// Only the suites of this package.
    #[arg(long, value_name = "NAME", conflicts_with = "check")]
    package: Option<String>,
}

/// What the compiler calls the machine.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// What links for it.
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// What runs programs of it, and where their C library is.
const EMULATOR: &str = "qemu-aarch64";
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Tests that run in the emulator.
struct Suite {
    package: &'static str,
    /// Which of its targets.
    targets: &'static [&'static str],
    /// What the names of tests contain that the emulator cannot run, and what it lacks.
    left_out: &'static [(&'static str, &'static str)],
}

/// The emulator starts programs of its own machine only.
const START: &str = "start this program anew";
/// `mremap` of no bytes, which maps shared memory a second time.
const ALIAS: &str = "map memory twice";

const SUITES: &[Suite] = &[
    Suite {
        package: "dxg-ioctl",
        targets: &["--lib", "--tests"],
        left_out: &[("call_on_a_file_that_is_no_node", "refuse unknown requests as the kernel does")],
    },
    Suite {
        package: "dxg-wire",
        targets: &["--lib", "--tests"],
        left_out: &[
            ("prefault_allocates_the_pages", "take advice about memory"),
            ("more_descriptors_than_fit_are_refused", "close descriptors that do not fit"),
        ],
    },
    Suite { package: "dxg-core", targets: &["--lib"], left_out: &[] },
    Suite {
        package: "dxg-vk",
        targets: &["--lib"],
        left_out: &[("ffi::wsi::wayland::tests", "load a library for Wayland")],
    },
    Suite {
        package: "dxg-cuda-shim",
        targets: &["--lib"],
        left_out: &[("api::tests", ALIAS), ("api::graph_tests", ALIAS), ("ffi::memory::tests", ALIAS)],
    },
    Suite {
        package: "dxg-host",
        targets: &["--lib"],
        left_out: &[
            ("adapter::cuda::libcuda::tests", ALIAS),
            ("adapter::cuda::memory::tests", ALIAS),
            ("adapter::cuda::workspace::tests", ALIAS),
        ],
    },
    Suite {
        package: "dxg-ptx",
        targets: &["--lib", "--tests"],
        left_out: &[("fault_elsewhere_still_ends_the_process", START)],
    },
];

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    if ARCH == "aarch64" {
        println!("cross: skipped: this is such a machine; `cargo xtask test` runs everything on it");
        return Ok(());
    }
    if !has_target()? {
        println!("cross: skipped: no target {TARGET} (rustup target add {TARGET})");
        return Ok(());
    }
    if args.package.is_none() {
        let mut clippy = process::cargo();
        clippy.args(["clippy", "--workspace", "--all-targets", "--target", TARGET, "--", "-D", "warnings"]);
        process::run(&mut clippy)?;
    }
    if args.check {
        return Ok(());
    }
    let missing: Vec<&str> = [LINKER, EMULATOR].into_iter().filter(|program| !can_start(program)).collect();
    if !missing.is_empty() {
        println!("cross: suites: skipped: no {}", missing.join(", no "));
        return Ok(());
    }
    let chosen = |suite: &&Suite| args.package.as_ref().is_none_or(|name| name == suite.package);
    let chosen: Vec<&Suite> = SUITES.iter().filter(chosen).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = SUITES.iter().map(|suite| suite.package).collect();
        bail!("suites run of these packages: {}", names.join(", "));
    }
    let mut failed = Vec::new();
    for suite in chosen {
        for (test, what) in suite.left_out {
            println!("cross: {}: {test}: skipped: the emulator does not {what}", suite.package);
        }
        if let Err(error) = process::run(&mut suite.command()) {
            println!("cross: {}: FAILED: {error:#}", suite.package);
            failed.push(suite.package);
        }
    }
    if !failed.is_empty() {
        bail!("suites failed: {}", failed.join(", "));
    }
    println!("cross: ok");
    Ok(())
}

impl Suite {
    fn command(&self) -> Command {
        let mut command = process::cargo();
        command.args(["test", "--no-fail-fast", "--target", TARGET, "--package", self.package]);
        command.args(self.targets).arg("--").args(["--test-threads", "2"]);
        command.args(self.left_out.iter().flat_map(|(test, _)| ["--skip", test]));
        let variable =
            |what: &str| format!("CARGO_TARGET_{}_{what}", TARGET.to_uppercase().replace('-', "_"));
        command.env(variable("LINKER"), LINKER);
        command.env(variable("RUNNER"), format!("{EMULATOR} -L {LIBRARIES}"));
        command
    }
}

/// Whether the compiler has the standard library of the target.
fn has_target() -> Result<bool> {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut ask = Command::new(compiler);
    ask.args(["--print", "target-libdir", "--target", TARGET]);
    let said = process::capture(&mut ask).context("cannot ask the compiler for its targets")?;
    Ok(PathBuf::from(said.trim_end()).is_dir())
}

fn can_start(program: &str) -> bool {
    let directories = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&directories).any(|directory| directory.join(Path::new(program)).is_file())
}
