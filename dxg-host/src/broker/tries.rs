//! How often a client waits for a worker in vain.
//!
//! *Why.* Whoever kills workers, or a host that runs out of memory, takes many at once, and a client that comes just then should be
//! served all the same. A driver that never loads should be reported soon. So what counts is how often a worker was
//! started *for want of the last one*, not how many have died.

use super::ids::WorkerId;

/// Workers, one started after the other had failed, after which a client is refused.
const MOST: u32 = 3;

/// What a client has waited for so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tries {
    failed: u32,
    /// Failures of workers up to this one say nothing new.
    after: WorkerId,
}

/// Whether a client goes on waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Wait,
    /// No worker comes up.
    GiveUp,
}

impl Tries {
    /// A wait that begins when this worker is the newest.
    pub(super) fn after(newest: WorkerId) -> Self {
        Self { failed: 0, after: newest }
    }

    /// A worker has failed while `newest` is the newest.
    pub(super) fn failed(&mut self, worker: WorkerId, newest: WorkerId) -> Verdict {
        if worker > self.after {
            self.failed += 1;
            self.after = newest;
        }
        if self.failed < MOST { Verdict::Wait } else { Verdict::GiveUp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_fail_one_after_the_other_are_given_up() {
        let mut tries = Tries::after(WorkerId(7));
        assert_eq!(tries.failed(WorkerId(8), WorkerId(8)), Verdict::Wait);
        assert_eq!(tries.failed(WorkerId(9), WorkerId(9)), Verdict::Wait);
        assert_eq!(tries.failed(WorkerId(10), WorkerId(10)), Verdict::GiveUp);
    }

    #[test]
    fn workers_that_were_there_before_do_not_count() {
        let mut tries = Tries::after(WorkerId(7));
        for worker in 1..=7 {
            assert_eq!(tries.failed(WorkerId(worker), WorkerId(9)), Verdict::Wait);
        }
        assert_eq!(tries, Tries::after(WorkerId(7)));
    }

    #[test]
    fn workers_that_die_together_count_once() {
        let mut tries = Tries::after(WorkerId(7));
        for worker in 8..=12 {
            assert_eq!(tries.failed(WorkerId(worker), WorkerId(12)), Verdict::Wait);
        }
        assert_eq!(tries.failed(WorkerId(13), WorkerId(13)), Verdict::Wait);
        assert_eq!(tries.failed(WorkerId(14), WorkerId(14)), Verdict::GiveUp);
    }
}
