//! The installation this program is part of: `bin/dxgctl` and what lies beside it.

use std::env;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::ensure;

/// An install prefix, found from where this program lies.
pub(crate) struct Prefix(PathBuf);

impl Prefix {
    /// The prefix of the running program.
    pub(crate) fn current() -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find out where this program is installed")?;
        let prefix =
            program.parent().and_then(Path::parent).context("this program lies in no bin directory")?;
        Ok(Self(prefix.to_owned()))
    }

    /// The daemon.
    pub(crate) fn daemon(&self) -> anyhow::Result<PathBuf> {
        self.existing("bin/dxgd")
    }

    /// The manifest of the Vulkan driver, for `VK_DRIVER_FILES`.
    pub(crate) fn vulkan_manifest(&self) -> anyhow::Result<PathBuf> {
        self.existing(&format!("share/vulkan/icd.d/dxg_icd.{}.json", env::consts::ARCH))
    }

    /// Where the CUDA driver library lies, for `LD_LIBRARY_PATH`.
    pub(crate) fn libraries(&self) -> anyhow::Result<PathBuf> {
        let library = self.existing("lib/dxg/libcuda.so.1")?;
        library.parent().map(Path::to_owned).context("the library lies in no directory")
    }

    fn existing(&self, relative: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(relative);
        ensure!(
            path.is_file(),
            "{} is missing: dxgctl must run from an installed prefix (`cargo xtask stage` makes target/stage, \
             `cargo xtask install --prefix P` installs one)",
            path.display()
        );
        Ok(path)
    }
}
