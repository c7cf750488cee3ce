//! What a timeline semaphore of the client has besides the native object.

use std::cell::Cell as Word;
use std::sync::Arc;

use ash::vk;

use super::super::cell::Cell;

/// A timeline semaphore: the cell that the client reads, and how far submissions go.
pub(crate) struct Feedback {
    pub(crate) semaphore: vk::Semaphore,
    pub(crate) cell: Arc<Cell>,
    awaited: Word<u64>,
    promised: Word<u64>,
}

/// How far submitted work goes on a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) semaphore: vk::Semaphore,
    /// Largest value that some batch waits for.
    pub(crate) awaited: u64,
    /// Largest value that some batch signals.
    pub(crate) promised: u64,
}

impl Feedback {
    pub(crate) fn new(semaphore: vk::Semaphore, cell: Arc<Cell>) -> Self {
        Self { semaphore, cell, awaited: Word::new(0), promised: Word::new(0) }
    }

    /// A batch waits for a value.
    pub(crate) fn will_wait(&self, value: u64) {
        self.awaited.set(self.awaited.get().max(value));
    }

    /// A batch signals a value.
    pub(crate) fn will_signal(&self, value: u64) {
        self.promised.set(self.promised.get().max(value));
    }

    pub(crate) fn reach(&self) -> Reach {
        Reach { semaphore: self.semaphore, awaited: self.awaited.get(), promised: self.promised.get() }
    }
}

impl Reach {
    /// Whether some batch waits for a value that nothing submitted will bring, when the semaphore stands at `value`.
    ///
    /// Where a smaller signal is still to come, it is not time yet: it would lower the semaphore.
    pub(crate) fn is_orphan(self, value: u64) -> bool {
        self.promised <= value && value < self.awaited
    }
}

#[cfg(test)]
mod tests {
    use ash::vk;

    use super::Reach;

    fn reach(awaited: u64, promised: u64) -> Reach {
        Reach { semaphore: vk::Semaphore::null(), awaited, promised }
    }

    #[test]
    fn wait_is_an_orphan_when_all_that_is_promised_has_come_and_is_too_little() {
        assert!(reach(5, 0).is_orphan(0));
        assert!(reach(5, 3).is_orphan(3));
        assert!(!reach(5, 3).is_orphan(2));
        assert!(!reach(5, 5).is_orphan(0));
        assert!(!reach(5, 9).is_orphan(0));
        assert!(!reach(5, 0).is_orphan(5));
        assert!(!reach(0, 0).is_orphan(0));
    }
}
