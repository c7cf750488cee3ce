//! Keeps clients from filling the log.
//!
//! *Why.* Whoever may connect may connect and misbehave in a loop. Each kind of line has a budget per period; what goes
//! over it is counted, and the count comes with the next line.

use std::time::Duration;
use std::time::Instant;

/// How long a budget lasts.
const PERIOD: Duration = Duration::from_secs(10);
/// Lines in a period.
const BUDGET: u32 = 50;

/// The budget of one kind of line.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    since: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl LogLimit {
    /// Whether a line may be written at `now`: with how many were suppressed before it.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines >= BUDGET {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_kept_and_what_was_suppressed_is_counted() {
        let mut limit = LogLimit::default();
        let start = Instant::now();
        for _ in 0..BUDGET {
            assert_eq!(limit.allow(start), Some(0));
        }
        assert_eq!(limit.allow(start), None);
        assert_eq!(limit.allow(start), None);
        assert_eq!(limit.allow(start + PERIOD), Some(2));
        assert_eq!(limit.allow(start + PERIOD), Some(0));
    }
}
