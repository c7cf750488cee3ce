//! `cargo xtask stage` and `cargo xtask install`: the installed tree, under `target/` or under a prefix.
//!
//! The tree can be moved as a whole: the Vulkan manifest names the driver relative to itself.

use std::env::consts::ARCH;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::path::absolute;
use std::process;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use serde_json::json;

use crate::artifacts;
use crate::artifacts::Kind;
use crate::artifacts::Profile;
use crate::workspace::Workspace;

/// Builds daemon, command and drivers and lays them out under target/stage.
///
/// The tree is bin/dxgd, bin/dxgctl, lib/dxg/libvulkan_dxg.so, lib/dxg/libcuda.so.1 with the link libcuda.so, and
/// share/vulkan/icd.d/dxg_icd.ARCH.json. Each file is replaced atomically, so programs that run from an older stage go on undisturbed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build with optimisation.
    #[arg(long)]
    release: bool,
}

/// Builds in release and installs the tree of `stage` under a prefix.
#[derive(clap::Args)]
pub(crate) struct InstallArgs {
    /// Where bin, lib and share go, for example /usr/local or ~/.local.
    #[arg(long)]
    prefix: PathBuf,
    /// Build without optimisation.
    #[arg(long, conflicts_with = "release")]
    debug: bool,
    /// Build with optimisation (the default).
    #[arg(long)]
    release: bool,
}

/// One built file and its place.
struct Piece {
    package: &'static str,
    target: &'static str,
    kind: Kind,
    place: &'static str,
}

const DRIVER: &str = "lib/dxg/libvulkan_dxg.so";
const CUDA: &str = "lib/dxg/libcuda.so.1";
/// What programs are linked with.
const CUDA_LINK: (&str, &str) = ("lib/dxg/libcuda.so", "libcuda.so.1");
const MANIFEST_DIR: &str = "share/vulkan/icd.d";
const API_VERSION: &str = "1.3.281";

const PIECES: &[Piece] = &[
    Piece { package: "dxg-host", target: "dxgd", kind: Kind::Program, place: "bin/dxgd" },
    Piece { package: "dxgctl", target: "dxgctl", kind: Kind::Program, place: "bin/dxgctl" },
    Piece { package: "dxg-vk", target: "vulkan_dxg", kind: Kind::SharedLibrary, place: DRIVER },
    Piece { package: "dxg-cuda-shim", target: "cuda_dxg", kind: Kind::SharedLibrary, place: CUDA },
];

/// Runs `stage`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load()?;
    let profile = if args.release { Profile::Release } else { Profile::Debug };
    stage(&workspace, profile).map(drop)
}

/// Runs `install`.
pub(crate) fn install(args: &InstallArgs) -> Result<()> {
    let workspace = Workspace::load()?;
    let absent: Vec<&str> = absent(&workspace).map(|piece| piece.package).collect();
    if !absent.is_empty() {
        bail!("nothing installed: the workspace does not have {} yet", absent.join(", "));
    }
    let profile = if args.debug { Profile::Debug } else { Profile::Release };
    lay_out(&workspace, profile, &args.prefix)
}

/// Fills `target/stage`; returns the packages that the workspace does not have yet.
pub(crate) fn stage(workspace: &Workspace, profile: Profile) -> Result<Vec<&'static str>> {
    for piece in absent(workspace) {
        println!("stage: no {} yet: the workspace has no {}", piece.place, piece.package);
    }
    lay_out(workspace, profile, &workspace.stage_dir())?;
    Ok(absent(workspace).map(|piece| piece.package).collect())
}

/// The pieces whose package the workspace does not have yet.
fn absent(workspace: &Workspace) -> impl Iterator<Item = &'static Piece> {
    PIECES.iter().filter(|piece| workspace.package(piece.package).is_none())
}

fn lay_out(workspace: &Workspace, profile: Profile, prefix: &Path) -> Result<()> {
    let prefix = absolute(prefix).with_context(|| format!("{} has no absolute form", prefix.display()))?;
    let present: Vec<&Piece> =
        PIECES.iter().filter(|piece| workspace.package(piece.package).is_some()).collect();
    if !present.is_empty() {
        // All packages at once: building them one by one would unify features differently and build twice.
        let args: Vec<OsString> =
            present.iter().flat_map(|piece| ["--package".into(), piece.package.into()]).collect();
        let built = artifacts::build("build", &args, profile)?;
        for piece in &present {
            let file = artifacts::find(&built, piece.target, piece.kind)?;
            let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            replace(&prefix.join(piece.place), &bytes, Mode::Program)?;
        }
    }
    if present.iter().any(|piece| piece.place == DRIVER) {
        replace(&manifest_path(&prefix), manifest().as_bytes(), Mode::Data)?;
    }
    if present.iter().any(|piece| piece.place == CUDA) {
        let (place, to) = CUDA_LINK;
        replace_link(&prefix.join(place), to)?;
    }
    println!("stage: {}", prefix.display());
    Ok(())
}

/// Where the Vulkan manifest stands under a prefix.
fn manifest_path(prefix: &Path) -> PathBuf {
    prefix.join(MANIFEST_DIR).join(format!("dxg_icd.{ARCH}.json"))
}

/// The manifest by which the Vulkan loader finds the driver.
fn manifest() -> String {
    let up = "../".repeat(MANIFEST_DIR.split('/').count());
    let manifest = json!({
        "file_format_version": "1.0.0",
        "ICD": { "library_path": format!("{up}{DRIVER}"), "api_version": API_VERSION },
    });
    format!("{manifest:#}\n")
}

/// Who may do what with an installed file.
#[derive(Clone, Copy)]
enum Mode {
    Program,
    Data,
}

/// Writes a file beside its place and renames it there, so that nobody sees half of it.
fn replace(place: &Path, bytes: &[u8], mode: Mode) -> Result<()> {
    let failed = || format!("cannot write {}", place.display());
    let dir = place.parent().with_context(failed)?;
    let name = place.file_name().with_context(failed)?.to_string_lossy();
    fs::create_dir_all(dir).with_context(failed)?;
    let fresh = dir.join(format!(".{name}.{}", process::id()));
    let bits = match mode {
        Mode::Program => 0o755,
        Mode::Data => 0o644,
    };
    let written = fs::write(&fresh, bytes)
        .and_then(|()| fs::set_permissions(&fresh, fs::Permissions::from_mode(bits)))
        .and_then(|()| fs::rename(&fresh, place));
    if written.is_err() {
        // Best effort: the write itself is what failed and what is reported.
        let _ = fs::remove_file(&fresh);
    }
    written.with_context(failed)
}

/// Puts a link to a file beside it where it belongs.
fn replace_link(place: &Path, to: &str) -> Result<()> {
    let failed = || format!("cannot write {}", place.display());
    let name = place.file_name().with_context(failed)?.to_string_lossy();
    let fresh = place.with_file_name(format!(".{name}.{}", process::id()));
    std::os::unix::fs::symlink(to, &fresh).and_then(|()| fs::rename(&fresh, place)).with_context(failed)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn manifest_library_path_is_relative_to_the_manifest() {
        let manifest: Value = serde_json::from_str(&manifest()).unwrap();
        assert_eq!(manifest["ICD"]["library_path"], "../../../lib/dxg/libvulkan_dxg.so");
    }

    #[test]
    fn manifest_states_format_and_api_version() {
        let manifest: Value = serde_json::from_str(&manifest()).unwrap();
        assert_eq!(manifest["file_format_version"], "1.0.0");
        assert_eq!(manifest["ICD"]["api_version"], "1.3.281");
    }

    #[test]
    fn manifest_path_names_the_architecture() {
        let path = manifest_path(Path::new("/p"));
        assert_eq!(path, Path::new("/p").join(format!("share/vulkan/icd.d/dxg_icd.{ARCH}.json")));
    }
}
