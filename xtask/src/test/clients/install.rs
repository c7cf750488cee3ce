//! The clients' packages: Debian's by the system's package manager, PyPI's in an environment under `target/`.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::list::Client;
use super::list::Origin;
use super::list::Program;
use super::run::Layout;
use crate::process;
use crate::setup;
use crate::setup::Purpose;

/// What the scripts import, and the clients themselves.
const PYTHON_PACKAGES: &[&str] =
    &["moderngl", "numpy", "python-xlib", "taichi", "tinygrad", "triton", "wgpu"];

/// Installs what is missing.
pub(super) fn ensure(layout: &Layout, clients: &[&Client]) -> Result<()> {
    if let setup::Outcome::Unable(why) = setup::ensure(Purpose::Clients)? {
        bail!("{why}");
    }
    if !layout.python().is_file() {
        let place = layout.out().join("venv");
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&place))
            .context("cannot make a Python environment; is python3-venv installed?")?;
    }
    let present = PYTHON_PACKAGES.iter().all(|package| pypi_version(layout, package).is_ok());
    if !present {
        let mut pip = Command::new(layout.python());
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON_PACKAGES);
        process::run(&mut pip).context("cannot install the Python packages")?;
    }
    for client in clients {
        match client.program {
            Program::Checked(&["cuda/own_tests.py", package, ..]) => fetch_sources(layout, package)?,
            Program::CheckedCrate(_) => build_crates(layout)?,
            _ => {}
        }
    }
    Ok(())
}

/// Fetches the source distribution of an installed package, for its tests.
fn fetch_sources(layout: &Layout, package: &str) -> Result<()> {
    let place = layout.sources();
    let version = pypi_version(layout, package)?;
    if place.join(format!("{package}-{version}")).is_dir() {
        return Ok(());
    }
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let mut pip = Command::new(layout.python());
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--no-binary", ":all:", "--dest"]).arg(&place).arg(format!("{package}=={version}"));
    process::run(&mut pip).with_context(|| format!("cannot fetch the sources of {package}"))?;
    let archive = place.join(format!("{package}-{version}.tar.gz"));
    process::run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&place))
        .with_context(|| format!("cannot unpack {}", archive.display()))
}

/// Builds the programs on crates of the Rust registry, which link to the staged driver.
fn build_crates(layout: &Layout) -> Result<()> {
    let place = layout.crates();
    // Where one of the crates looks for a driver to link to.
    let root = place.join("driver");
    let link = root.join("lib64");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    if !link.exists() {
        symlink(layout.stage().join("lib/dxg"), &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked"]).current_dir(layout.crate_sources());
    cargo.env("CARGO_TARGET_DIR", &place).env("CUDA_LIBRARY_PATH", &root);
    process::run(&mut cargo).context("cannot build the programs on CUDA crates")
}

/// The version of what will run.
pub(super) fn version(layout: &Layout, client: &Client) -> Result<String> {
    match client.origin {
        Origin::Debian(package) => {
            let mut query = Command::new("dpkg-query");
            query.args(["--show", "--showformat=${Version}", package]);
            process::capture(&mut query)
        }
        Origin::Pypi(package) => pypi_version(layout, package),
        Origin::Crate(name) => crate_version(layout, name),
    }
}

/// What the lock file of the programs says.
fn crate_version(layout: &Layout, name: &str) -> Result<String> {
    let path = layout.crate_sources().join("Cargo.lock");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let named = format!("name = \"{name}\"");
    let mut lines = text.lines().skip_while(|line| **line != named);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    Ok(version.with_context(|| format!("{} has no {name}", path.display()))?.trim_matches('"').to_owned())
}

fn pypi_version(layout: &Layout, package: &str) -> Result<String> {
    let mut query = Command::new(layout.python());
    query.args(["-c", "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))", package]);
    Ok(process::capture(&mut query)?.trim().to_owned())
}
