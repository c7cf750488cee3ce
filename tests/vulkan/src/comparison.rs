//! What two runs of a scenario say together.

/// How a test went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both runs held and printed the same.
    Ok,
    /// There was nothing to test, and why.
    Skipped(String),
    /// What was wrong.
    Failed(String),
}

/// Judges the lines that a scenario printed natively and over the driver.
///
/// `allowed` says why the lines may differ; where they do not, it is out of date, which fails too.
pub fn judge(name: &str, lines: [Option<&str>; 2], allowed: Option<&str>) -> Outcome {
    let [Some(native), Some(ours)] = lines else {
        return Outcome::Failed(format!("it printed nothing: native {:?}, ours {:?}", lines[0], lines[1]));
    };
    let differs = native != ours;
    let failed = [native, ours].iter().any(|line| line.starts_with(&format!("{name} FAILED")));
    match (allowed, native.strip_prefix(&format!("{name} skipped: "))) {
        (Some(why), _) if differs => Outcome::Skipped(why.to_owned()),
        (Some(_), _) => Outcome::Failed("it is allowed to differ and does not any more".to_owned()),
        (None, _) if differs || failed => Outcome::Failed(format!("native: {native}\nours:   {ours}")),
        (None, Some(why)) => Outcome::Skipped(why.to_owned()),
        (None, None) => Outcome::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Failed(_))
    }

    #[test]
    fn judge_same_lines_hold() {
        assert_eq!(judge("a", [Some("a ok 1"), Some("a ok 1")], None), Outcome::Ok);
    }

    #[test]
    fn judge_another_digest_fails() {
        assert!(failed(&judge("a", [Some("a ok 1"), Some("a ok 2")], None)));
    }

    #[test]
    fn judge_failure_in_both_fails() {
        let line = Some("a FAILED: no");
        assert!(failed(&judge("a", [line, line], None)));
    }

    #[test]
    fn judge_no_line_fails() {
        assert!(failed(&judge("a", [Some("a ok 1"), None], None)));
    }

    #[test]
    fn judge_skipped_in_both_is_skipped_and_in_one_fails() {
        let line = Some("a skipped: no b");
        assert_eq!(judge("a", [line, line], None), Outcome::Skipped("no b".to_owned()));
        assert!(failed(&judge("a", [Some("a ok 1"), line], None)));
    }

    #[test]
    fn judge_allowance_that_nothing_needs_fails() {
        let same = [Some("a ok 1"), Some("a ok 1")];
        assert!(failed(&judge("a", same, Some("known"))));
        let differs = [Some("a ok 1"), Some("a ok 2")];
        assert_eq!(judge("a", differs, Some("known")), Outcome::Skipped("known".to_owned()));
    }
}
