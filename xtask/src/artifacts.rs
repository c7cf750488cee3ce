//! Building parts of the workspace and finding the files that came out.
//!
//! Cargo says where each file is (`--message-format=json`), so nothing here guesses paths under `target/`.

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use serde_json::Value;

use crate::process;

/// How to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// A file cargo made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// The target's name, with `-` as written in the manifest or `_` where cargo changes it.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
}

/// The kinds of file we look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Program,
    Bench,
    SharedLibrary,
}

/// Runs `cargo SUBCOMMAND ARGS` with machine-readable messages and returns the artifacts it names.
pub(crate) fn build(subcommand: &str, args: &[OsString], profile: Profile) -> Result<Vec<Artifact>> {
    let mut command = process::cargo();
    command.arg(subcommand).args(args);
    if profile == Profile::Release {
        command.arg("--release");
    }
    println!("$ {}", process::line(&command));
    command.arg("--message-format=json-render-diagnostics");
    let mut artifacts = Vec::new();
    let status = process::follow(&mut command, |line| artifacts.extend(parse(line)))?;
    process::check(&command, status)?;
    Ok(artifacts)
}

/// The path of one artifact, or an error that names it.
pub(crate) fn find<'a>(artifacts: &'a [Artifact], name: &str, kind: Kind) -> Result<&'a Path> {
    artifacts
        .iter()
        .find(|artifact| artifact.kind == kind && artifact.name == name)
        .map(|artifact| artifact.path.as_path())
        .with_context(|| format!("cargo built no {kind:?} named `{name}`"))
}

/// The artifacts that one line of cargo's messages names.
fn parse(line: &str) -> Vec<Artifact> {
    let Ok(message) = serde_json::from_str::<Value>(line) else { return Vec::new() };
    if message["reason"] != "compiler-artifact" {
        return Vec::new();
    }
    let Some(name) = message["target"]["name"].as_str() else { return Vec::new() };
    let kinds: Vec<&str> =
        message["target"]["kind"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let artifact = |kind, path: &str| Artifact { name: name.to_owned(), kind, path: PathBuf::from(path) };
    let executable = message["executable"].as_str();
    if kinds.contains(&"bin") {
        return executable.map(|path| artifact(Kind::Program, path)).into_iter().collect();
    }
    if kinds.contains(&"bench") {
        return executable.map(|path| artifact(Kind::Bench, path)).into_iter().collect();
    }
    if kinds.contains(&"cdylib") {
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        return files
            .filter(|path| path.ends_with(".so"))
            .map(|path| artifact(Kind::SharedLibrary, path))
            .collect();
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_program_message_gives_its_executable() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"dxgd"},
            "filenames":["/t/debug/dxgd"],"executable":"/t/debug/dxgd"}"#;
        let want = Artifact { name: "dxgd".into(), kind: Kind::Program, path: "/t/debug/dxgd".into() };
        assert_eq!(parse(line), [want]);
    }

    #[test]
    fn parse_library_message_gives_the_shared_object_only() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["cdylib","rlib"],"name":"vulkan_dxg"},
            "filenames":["/t/libvulkan_dxg.so","/t/libvulkan_dxg.rlib"],"executable":null}"#;
        let want = Artifact {
            name: "vulkan_dxg".into(),
            kind: Kind::SharedLibrary,
            path: "/t/libvulkan_dxg.so".into(),
        };
        assert_eq!(parse(line), [want]);
    }

    #[test]
    fn parse_other_lines_give_nothing() {
        assert_eq!(parse(r#"{"reason":"build-finished","success":true}"#), []);
        assert_eq!(parse("   Compiling xtask"), []);
    }

    #[test]
    fn find_absent_artifact_names_it() {
        let error = find(&[], "dxgd", Kind::Program).unwrap_err();
        assert!(error.to_string().contains("dxgd"), "{error}");
    }
}
