//! The text files of the repository, read once for all checks.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;

/// Larger files are data, not text of ours.
const MAX_SIZE_BYTES: u64 = 4 << 20;

/// Names of what tools make.
const SKIPPED: &[&str] = &[".git", "target", "corpus", "artifacts", "coverage"];

/// One text file.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the workspace root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// Whether it is Rust source.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it stands where generated files stand.
    pub(super) fn is_in_generated(&self) -> bool {
        self.path.split('/').rev().skip(1).any(|dir| dir == "generated")
    }
}

/// Reads every text file under the root, in order of path.
pub(super) fn read(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut dirs: Vec<PathBuf> = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let kind = entry.file_type()?;
            // `.git` is a file in a linked worktree.
            if SKIPPED.contains(&&*name) || name.starts_with("target-") {
                continue;
            }
            if kind.is_dir() {
                // A nested checkout (a worktree, a vendored clone) is not ours to judge.
                if !entry.path().join(".git").exists() {
                    dirs.push(entry.path());
                }
            } else if kind.is_file() && entry.metadata()?.len() <= MAX_SIZE_BYTES {
                let path = entry.path();
                let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                if let Ok(text) = String::from_utf8(bytes) {
                    let path = path.strip_prefix(root).unwrap_or(&path);
                    files.push(File { path: path.to_string_lossy().into_owned(), text });
                }
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
