//! Counting what cargo's test programs report.

use std::collections::BTreeMap;
use std::fmt;

/// How many tests went which way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Ignored tests, and tests that said `skipped: REASON`.
    pub(super) skipped: usize,
    /// What the tests said, and how many said it.
    pub(super) reasons: BTreeMap<String, usize>,
    /// The names of the failed tests.
    pub(super) failures: Vec<String>,
}

impl Counts {
    /// Adds other counts to these.
    pub(super) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        for (why, count) in &other.reasons {
            *self.reasons.entry(why.clone()).or_default() += count;
        }
        self.failures.extend_from_slice(&other.failures);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Shown,
    /// Output of a test that passed.
    Quiet,
}

/// Reads the output of test programs, one after another, line by line.
#[derive(Debug, Default)]
pub(super) struct Reader {
    total: Counts,
    in_successes: bool,
    /// Tests of the current program that said they had nothing to test on.
    skipped: usize,
    /// Whether the current test's output has said so already.
    said: bool,
}

impl Reader {
    /// Takes one line.
    pub(super) fn read(&mut self, line: &str) -> Line {
        if let Some(counts) = parse_result(line) {
            // A test that skips itself passes as far as its program knows.
            let skipped = std::mem::take(&mut self.skipped).min(counts.passed);
            self.total.add(&counts);
            self.total.passed -= skipped;
            self.total.skipped += skipped;
            self.in_successes = false;
            return Line::Shown;
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ => {}
        }
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.total.failures.push(name.to_owned());
        }
        if !self.in_successes {
            return Line::Shown;
        }
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            self.said = false;
        } else if let Some(why) = line.strip_prefix("skipped: ")
            && !self.said
        {
            self.said = true;
            self.skipped += 1;
            *self.total.reasons.entry(why.trim().to_owned()).or_default() += 1;
        }
        Line::Quiet
    }

    /// The counts of everything read.
    pub(super) fn finish(self) -> Counts {
        self.total
    }
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`.
fn parse_result(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split(';') {
        let Some((number, word)) = part.trim().split_once(' ') else { continue };
        let place = match word {
            "passed" => &mut counts.passed,
            "failed" => &mut counts.failed,
            "ignored" => &mut counts.skipped,
            _ => continue,
        };
        *place = number.parse().ok()?;
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Counts {
        let mut reader = Reader::default();
        for line in output.lines() {
            reader.read(line);
        }
        reader.finish()
    }

    #[test]
    fn result_lines_of_several_programs_add_up() {
        let output = "\
running 3 tests
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s
test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.10s
";
        assert_eq!(read(output).to_string(), "4 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn test_that_says_skipped_moves_from_passed_to_skipped() {
        let output = "\
test a ... ok
test b ... ok

successes:

---- a stdout ----
skipped: no device
skipped: no device

---- b stdout ----
worked


successes:
    a
    b

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let counts = read(output);
        assert_eq!(counts.to_string(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(counts.reasons, BTreeMap::from([("no device".to_owned(), 1)]));
    }

    #[test]
    fn failed_tests_are_named() {
        assert_eq!(read("test a::b ... FAILED\ntest c ... ok\n").failures, ["a::b"]);
    }

    #[test]
    fn failed_test_that_said_skipped_stays_failed() {
        let output = "\
failures:

---- a stdout ----
skipped: no device

failures:
    a

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        assert_eq!(read(output).to_string(), "0 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn output_of_passing_tests_is_quiet_and_of_failing_ones_shown() {
        let mut reader = Reader::default();
        assert_eq!(reader.read("test a ... ok"), Line::Shown);
        assert_eq!(reader.read("successes:"), Line::Quiet);
        assert_eq!(reader.read("chatter"), Line::Quiet);
        assert_eq!(reader.read("failures:"), Line::Shown);
        assert_eq!(reader.read("panicked"), Line::Shown);
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(read("test result: nonsense\n3 passed\n"), Counts::default());
    }
}
