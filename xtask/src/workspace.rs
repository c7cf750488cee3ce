//! What cargo knows about this workspace: its packages, their dependencies and their targets.
//!
//! Read from `cargo metadata --no-deps`, so nothing here names a crate that may not exist yet.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use serde_json::Value;

use crate::process;

/// The workspace as cargo describes it.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The directory of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target_dir: PathBuf,
    /// The members.
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The directory of its `Cargo.toml`, relative to the workspace root.
    pub(crate) dir: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// One line of a dependency table.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) table: Table,
    /// Whether it is found by path, which only crates of this repository are.
    pub(crate) origin: Origin,
}

/// The dependency table a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Normal,
    Dev,
    Build,
}

/// Where a dependency comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A directory of this repository.
    Path,
    /// Anywhere else.
    Registry,
}

/// Something cargo builds: a library, a program, a test.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// Cargo's words: `lib`, `cdylib`, `bin`, `test`, `bench`, ...
    pub(crate) kinds: Vec<String>,
    /// The root source file, relative to the workspace root.
    pub(crate) root_file: PathBuf,
}

impl Workspace {
    /// Asks cargo about the workspace around the current directory.
    pub(crate) fn load() -> Result<Self> {
        let text = process::capture(process::cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
        let json = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        Self::from_json(&json)
    }

    /// Reads the answer of `cargo metadata --no-deps`.
    pub(crate) fn from_json(json: &Value) -> Result<Self> {
        let root = PathBuf::from(text(json, "workspace_root")?);
        let target_dir = PathBuf::from(text(json, "target_directory")?);
        let packages = list(json, "packages")?
            .iter()
            .map(|package| Package::from_json(package, &root))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { root, target_dir, packages })
    }

    /// The member of this name, if there is one.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The directory `cargo xtask stage` fills.
    pub(crate) fn stage_dir(&self) -> PathBuf {
        self.target_dir.join("stage")
    }
}

impl Package {
    fn from_json(json: &Value, root: &Path) -> Result<Self> {
        let manifest = PathBuf::from(text(json, "manifest_path")?);
        let dir = manifest.parent().unwrap_or(root);
        Ok(Self {
            name: text(json, "name")?.to_owned(),
            dir: relative(dir, root),
            dependencies: list(json, "dependencies")?
                .iter()
                .map(Dependency::from_json)
                .collect::<Result<_>>()?,
            targets: list(json, "targets")?
                .iter()
                .map(|target| Target::from_json(target, root))
                .collect::<Result<_>>()?,
        })
    }

    /// The targets of one of cargo's kinds.
    pub(crate) fn targets_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Target> {
        self.targets.iter().filter(move |target| target.kinds.iter().any(|have| have == kind))
    }
}

impl Dependency {
    fn from_json(json: &Value) -> Result<Self> {
        Ok(Self {
            name: text(json, "name")?.to_owned(),
            table: match json.get("kind").and_then(Value::as_str) {
                Some("dev") => Table::Dev,
                Some("build") => Table::Build,
                _ => Table::Normal,
            },
            origin: match json.get("path").and_then(Value::as_str) {
                Some(_) => Origin::Path,
                None => Origin::Registry,
            },
        })
    }
}

impl Target {
    fn from_json(json: &Value, root: &Path) -> Result<Self> {
        Ok(Self {
            name: text(json, "name")?.to_owned(),
            kinds: list(json, "kind")?.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            root_file: relative(Path::new(text(json, "src_path")?), root),
        })
    }
}

fn relative(path: &Path, root: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_path_buf()
}

fn text<'a>(json: &'a Value, key: &str) -> Result<&'a str> {
    json.get(key).and_then(Value::as_str).with_context(|| format!("cargo metadata has no `{key}`"))
}

fn list<'a>(json: &'a Value, key: &str) -> Result<&'a [Value]> {
    let values = json.get(key).and_then(Value::as_array);
    values.map(Vec::as_slice).with_context(|| format!("cargo metadata has no list `{key}`"))
}
