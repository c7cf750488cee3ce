//! What a run left behind, and whether two runs left the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;

/// What a run is judged by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// The lines of its output that count.
    pub(super) lines: Vec<String>,
    /// Pictures and lists by file name.
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// Files that are compared. Others, and those whose name begins with `example`, are for people.
const COMPARED: &[&str] = &["ppm", "bmp", "txt"];

impl Left {
    /// Collects it from a log and a directory.
    pub(super) fn collect(log: &str, wanted: &[&str], dir: &Path) -> Result<Self> {
        let lines = log.lines().map(str::trim).filter(|line| wanted.iter().any(|word| line.contains(word)));
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = name.rsplit('.').next().unwrap_or_default();
            if COMPARED.contains(&kind) && !name.starts_with("example") {
                files.insert(name, fs::read(entry.path())?);
            }
        }
        Ok(Self { lines: lines.map(str::to_owned).collect(), files })
    }

    /// Nothing was left that could differ.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.files.is_empty()
    }

    /// How much there is, for the table.
    pub(super) fn summary(&self) -> String {
        let is_text = |name: &&String| name.ends_with(".txt");
        let texts = self.files.keys().filter(is_text).count();
        let numbers: usize = self
            .files
            .iter()
            .filter(|(name, _)| is_text(name))
            .map(|(_, bytes)| text_lines(bytes).len())
            .sum();
        let counted = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            _ => Some(format!("{count} {what}s")),
        };
        let parts = [
            counted(self.files.len() - texts, "picture"),
            counted(numbers, "value"),
            counted(self.lines.len(), "line"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// The first difference, as a sentence.
pub(super) fn difference(native: &Left, ours: &Left) -> Option<String> {
    for (index, line) in native.lines.iter().enumerate() {
        match ours.lines.get(index) {
            Some(other) if other == line => {}
            Some(other) => return Some(format!("it says `{other}` instead of `{line}`")),
            None => return Some(format!("it does not say `{line}`")),
        }
    }
    if let Some(more) = ours.lines.get(native.lines.len()) {
        return Some(format!("it says `{more}` besides"));
    }
    for (name, bytes) in &native.files {
        let Some(other) = ours.files.get(name) else { return Some(format!("{name} is missing")) };
        if bytes != other {
            let how = if name.ends_with(".txt") {
                text_difference(bytes, other)
            } else {
                byte_difference(bytes, other)
            };
            return Some(format!("{name}: {how}"));
        }
    }
    let more = ours.files.keys().find(|name| !native.files.contains_key(*name))?;
    Some(format!("{more} is there besides"))
}

fn text_lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

fn text_difference(native: &[u8], ours: &[u8]) -> String {
    let (native, ours) = (text_lines(native), text_lines(ours));
    if native.len() != ours.len() {
        return format!("{} lines instead of {}", ours.len(), native.len());
    }
    let pairs: Vec<(&String, &String)> =
        native.iter().zip(&ours).filter(|(native, ours)| native != ours).collect();
    match pairs.first() {
        Some((native, ours)) => {
            format!("{} lines differ, the first is `{ours}` instead of `{native}`", pairs.len())
        }
        None => "only the ends of lines differ".to_owned(),
    }
}

fn byte_difference(native: &[u8], ours: &[u8]) -> String {
    if native.len() != ours.len() {
        return format!("{} bytes instead of {}", ours.len(), native.len());
    }
    let off = || native.iter().zip(ours).map(|(native, ours)| native.abs_diff(*ours));
    let count = off().filter(|off| *off > 0).count();
    let most = off().max().unwrap_or(0);
    format!("{count} of {} bytes differ, by {most} at most", native.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(lines: &[&str], files: &[(&str, &str)]) -> Left {
        Left {
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            files: files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect(),
        }
    }

    #[test]
    fn difference_of_equal_runs_is_none() {
        let one = left(&["a"], &[("x.ppm", "12")]);
        assert_eq!(difference(&one, &one), None);
    }

    #[test]
    fn difference_of_lines_names_both() {
        let found = difference(&left(&["a", "b"], &[]), &left(&["a", "c"], &[]));
        assert_eq!(found.as_deref(), Some("it says `c` instead of `b`"));
    }

    #[test]
    fn difference_counts_lines_that_are_too_few_and_too_many() {
        let (one, two) = (left(&["a"], &[]), left(&["a", "b"], &[]));
        assert_eq!(difference(&two, &one).as_deref(), Some("it does not say `b`"));
        assert_eq!(difference(&one, &two).as_deref(), Some("it says `b` besides"));
    }

    #[test]
    fn difference_of_a_picture_says_how_far_it_is_off() {
        let found = difference(&left(&[], &[("x.ppm", "aaaa")]), &left(&[], &[("x.ppm", "abca")]));
        assert_eq!(found.as_deref(), Some("x.ppm: 2 of 4 bytes differ, by 2 at most"));
    }

    #[test]
    fn difference_of_numbers_shows_the_first() {
        let found = difference(&left(&[], &[("x.txt", "1\n2\n")]), &left(&[], &[("x.txt", "1\n3\n")]));
        assert_eq!(found.as_deref(), Some("x.txt: 1 lines differ, the first is `3` instead of `2`"));
    }

    #[test]
    fn difference_sees_missing_and_additional_files() {
        let (one, none) = (left(&[], &[("x.ppm", "1")]), left(&[], &[]));
        assert_eq!(difference(&one, &none).as_deref(), Some("x.ppm is missing"));
        assert_eq!(difference(&none, &one).as_deref(), Some("x.ppm is there besides"));
    }

    #[test]
    fn summary_counts_what_there_is() {
        assert_eq!(
            left(&["a"], &[("x.ppm", ""), ("y.txt", "1\n2\n")]).summary(),
            "1 picture, 2 values, 1 line"
        );
    }
}
