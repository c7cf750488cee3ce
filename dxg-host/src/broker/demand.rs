//! How many workers wait beyond the configured number, by what clients lately found.
//!
//! *Why.* A waiting worker costs memory, and loading a driver takes longer than many programs run. Programs that are
//! started one after the other outrun a pool of one; a machine where nobody starts anything should not pay for more.
//!
//! *Invariants.* Only a client that came soon after another one makes the pool grow: the wait of the first is the
//! daemon's own start.

use std::time::Duration;
use std::time::Instant;

/// How soon after another client one must come to make the pool grow.
const SOON: Duration = Duration::from_secs(5);
/// How long the pool stays as large as it is after it was too small.
const REMEMBERED: Duration = Duration::from_secs(30);

/// What the clients of one adapter found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    extra: usize,
    /// When one of them is too many.
    until: Option<Instant>,
    last_client: Option<Instant>,
}

impl Demand {
    /// A client asks for a worker while `ready` wait. The pool may grow by `most`.
    pub(super) fn asked(&mut self, now: Instant, ready: usize, most: usize) {
        let is_soon = self.last_client.is_some_and(|last| now.saturating_duration_since(last) <= SOON);
        self.last_client = Some(now);
        if ready == 0 && is_soon {
            self.extra = (self.extra + 1).min(most);
            self.until = now.checked_add(REMEMBERED).filter(|_| self.extra > 0);
        }
    }

    /// How many workers wait beyond the configured number.
    pub(super) fn extra(&self) -> usize {
        self.extra
    }

    /// When that number becomes smaller.
    pub(super) fn next(&self) -> Option<Instant> {
        self.until
    }

    /// Forgets what is long ago. Whether a worker fewer is to wait.
    pub(super) fn forget(&mut self, now: Instant) -> bool {
        let is_over = self.until.is_some_and(|until| until <= now);
        if is_over {
            self.extra = self.extra.saturating_sub(1);
            self.until = now.checked_add(REMEMBERED).filter(|_| self.extra > 0);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_client_that_waits_does_not_make_the_pool_grow() {
        let mut demand = Demand::default();
        let start = Instant::now();
        demand.asked(start, 0, 3);
        assert_eq!((demand.extra(), demand.next()), (0, None));
        demand.asked(start + SOON + SOON, 0, 3);
        assert_eq!(demand.extra(), 0);
    }

    #[test]
    fn clients_in_a_row_that_find_none_make_it_grow_up_to_the_most() {
        let mut demand = Demand::default();
        let start = Instant::now();
        for _ in 0..10 {
            demand.asked(start, 0, 3);
        }
        assert_eq!(demand.extra(), 3);
        demand.asked(start, 1, 3);
        assert_eq!(demand.extra(), 3);
    }

    #[test]
    fn clients_that_find_one_leave_it_as_it_is() {
        let mut demand = Demand::default();
        let start = Instant::now();
        for _ in 0..10 {
            demand.asked(start, 1, 3);
        }
        assert_eq!(demand.extra(), 0);
    }

    #[test]
    fn pool_that_may_not_grow_has_nothing_to_forget() {
        let mut demand = Demand::default();
        let start = Instant::now();
        demand.asked(start, 0, 0);
        demand.asked(start, 0, 0);
        assert_eq!((demand.extra(), demand.next()), (0, None));
    }

    #[test]
    fn extra_workers_go_one_by_one() {
        let mut demand = Demand::default();
        let start = Instant::now();
        for _ in 0..3 {
            demand.asked(start, 0, 3);
        }
        assert!(!demand.forget(start));
        let mut now = start;
        for left in [1, 0] {
            now = demand.next().expect("something to forget");
            assert!(demand.forget(now));
            assert_eq!(demand.extra(), left);
        }
        assert_eq!(demand.next(), None);
        assert!(!demand.forget(now + REMEMBERED));
    }
}
