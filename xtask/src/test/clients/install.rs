//! The clients' packages: Debian's by the system's package manager, PyPI's in an environment under `target/`.

use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::list::Client;
use super::list::Origin;
use super::run::Layout;
use crate::process;
use crate::setup;
use crate::setup::Purpose;

/// What the scripts import, and the clients themselves.
const PYTHON_PACKAGES: &[&str] = &["moderngl", "numpy", "python-xlib", "taichi", "wgpu"];

/// Installs what is missing.
pub(super) fn ensure(layout: &Layout) -> Result<()> {
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
    Ok(())
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
    }
}

fn pypi_version(layout: &Layout, package: &str) -> Result<String> {
    let mut query = Command::new(layout.python());
    query.args(["-c", "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))", package]);
    Ok(process::capture(&mut query)?.trim().to_owned())
}
