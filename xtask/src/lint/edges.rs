//! Which crate may depend on which.
//!
//! The guest half and the host half meet in `dxg-ioctl` and `dxg-wire` only; this table is what keeps it so.

use std::path::Path;

use super::Finding;
use crate::workspace::Dependency;
use crate::workspace::Origin;
use crate::workspace::Package;
use crate::workspace::Table;
use crate::workspace::Workspace;

/// Each crate and the crates of ours it may name, in any dependency table.
const EDGES: &[(&str, &[&str])] = &[
    ("dxg-ioctl", &[]),
    ("dxg-wire", &["dxg-ioctl"]),
    ("dxg-core", &["dxg-ioctl", "dxg-wire"]),
    ("dxg-vk", &["dxg-core", "dxg-wire"]),
    ("dxg-cuda-shim", &["dxg-core", "dxg-wire"]),
    ("dxg-ptx", &[]),
    ("dxg-host", &["dxg-ioctl", "dxg-wire", "dxg-ptx", "fake-vk-driver"]),
    ("dxgctl", &["dxg-core", "dxg-wire"]),
    ("dxg-capi", &["dxg-core"]),
    ("dxg-supervisor", &["dxg-core"]),
    ("samples", &["dxg-core"]),
    ("cuda-vecadd", &[]),
    ("triangle", &[]),
    ("xtask", &[]),
];

/// Directories whose crates may depend on anything: they look at the others from outside.
const FREE: &[&str] = &["tests", "fuzz"];

/// Every edge that is not in the table.
pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.packages.iter().flat_map(|package| check_package(workspace, package)).collect()
}

fn check_package(workspace: &Workspace, package: &Package) -> Vec<Finding> {
    if is_free(&package.dir) {
        return Vec::new();
    }
    let manifest = package.dir.join("Cargo.toml");
    let Some(allowed) = allowed(&package.name) else {
        let message = format!("the crate `{}` is not in the table of xtask/src/lint/edges.rs", package.name);
        return vec![Finding::new(manifest, 0, message)];
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| is_ours(workspace, dependency))
        // A crate may name itself as a dev-dependency, to test itself with other features.
        .filter(|dependency| !(dependency.name == package.name && dependency.table == Table::Dev))
        .filter(|dependency| !allowed.contains(&dependency.name.as_str()))
        .filter(|dependency| !is_test_double(workspace, dependency))
        .map(|dependency| {
            let may = if allowed.is_empty() { "no crate of ours".to_owned() } else { allowed.join(", ") };
            let table = match dependency.table {
                Table::Normal => "dependency",
                Table::Dev => "dev-dependency",
                Table::Build => "build-dependency",
            };
            let message = format!("`{}` may not be a {table}; allowed: {may}", dependency.name);
            Finding::new(&manifest, 0, message)
        })
        .collect()
}

fn is_ours(workspace: &Workspace, dependency: &Dependency) -> bool {
    dependency.origin == Origin::Path
        || workspace.package(&dependency.name).is_some()
        || allowed(&dependency.name).is_some()
}

/// A crate under `tests/` that stands in for something in a test.
fn is_test_double(workspace: &Workspace, dependency: &Dependency) -> bool {
    let package = workspace.package(&dependency.name);
    dependency.table == Table::Dev && package.is_some_and(|package| is_free(&package.dir))
}

fn is_free(dir: &Path) -> bool {
    FREE.iter().any(|free| dir.starts_with(free))
}

fn allowed(package: &str) -> Option<&'static [&'static str]> {
    EDGES.iter().find(|(name, _)| *name == package).map(|(_, allowed)| *allowed)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn package(name: &str, dir: &str, dependencies: &Value) -> Value {
        json!({
            "name": name, "manifest_path": format!("/r/{dir}/Cargo.toml"),
            "dependencies": dependencies, "targets": [],
        })
    }

    fn findings(packages: &[Value]) -> Vec<String> {
        let json = json!({ "workspace_root": "/r", "target_directory": "/r/target", "packages": packages });
        let workspace = Workspace::from_json(&json).unwrap();
        check(&workspace).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn edges_of_the_table_pass() {
        let wire = package(
            "dxg-wire",
            "dxg-wire",
            &json!([{ "name": "dxg-ioctl", "kind": null, "path": "/r/dxg-ioctl" },
                    { "name": "zerocopy", "kind": null }]),
        );
        assert_eq!(findings(&[wire]), [""; 0]);
    }

    #[test]
    fn dev_dependency_on_a_test_double_passes_and_a_dependency_does_not() {
        let fake = package("fake", "tests/fake", &json!([]));
        let host = |kind: &str| {
            let kind = if kind.is_empty() { Value::Null } else { Value::from(kind) };
            let edge = json!([{ "name": "fake", "kind": kind, "path": "/r/tests/fake" }]);
            package("dxg-host", "dxg-host", &edge)
        };
        assert_eq!(findings(&[host("dev"), fake.clone()]), [""; 0]);
        assert_eq!(findings(&[host(""), fake]).len(), 1);
    }

    #[test]
    fn edge_from_guest_to_host_fails() {
        let vk = package(
            "dxg-vk",
            "dxg-vk",
            &json!([{ "name": "dxg-host", "kind": null, "path": "/r/dxg-host" }]),
        );
        let want =
            "dxg-vk/Cargo.toml: `dxg-host` may not be a dependency; allowed: dxg-core, dxg-wire".to_owned();
        assert_eq!(findings(&[vk]), [want]);
    }

    #[test]
    fn edge_in_dev_dependencies_fails_too() {
        let ioctl = package(
            "dxg-ioctl",
            "dxg-ioctl",
            &json!([{ "name": "dxg-wire", "kind": "dev", "path": "/r/dxg-wire" }]),
        );
        let want = "dxg-ioctl/Cargo.toml: `dxg-wire` may not be a dev-dependency; allowed: no crate of ours"
            .to_owned();
        assert_eq!(findings(&[ioctl]), [want]);
    }

    #[test]
    fn edge_to_itself_passes_only_for_tests() {
        let itself = |kind: Value| json!([{ "name": "dxg-core", "kind": kind, "path": "/r/dxg-core", "rename": "me" }]);
        assert_eq!(findings(&[package("dxg-core", "dxg-core", &itself(json!("dev")))]), [""; 0]);
        assert_eq!(findings(&[package("dxg-core", "dxg-core", &itself(json!(null)))]).len(), 1);
    }

    #[test]
    fn edges_of_tests_and_what_is_under_them_are_free() {
        let any = json!([{ "name": "dxg-host", "kind": null, "path": "/r/dxg-host" },
                         { "name": "dxg-vk", "kind": "dev", "path": "/r/dxg-vk" }]);
        assert_eq!(
            findings(&[package("tests", "tests", &any), package("preload", "tests/preload", &any)]),
            [""; 0]
        );
    }

    #[test]
    fn crate_outside_the_table_fails() {
        let found = findings(&[package("dxg-extra", "dxg-extra", &json!([]))]);
        assert_eq!(
            found,
            ["dxg-extra/Cargo.toml: the crate `dxg-extra` is not in the table of xtask/src/lint/edges.rs"]
        );
    }

    #[test]
    fn edge_to_an_unlisted_path_crate_fails() {
        let core = package(
            "dxg-core",
            "dxg-core",
            &json!([{ "name": "helpers", "kind": "build", "path": "/r/helpers" }]),
        );
        assert_eq!(findings(&[core]).len(), 1);
    }
}
