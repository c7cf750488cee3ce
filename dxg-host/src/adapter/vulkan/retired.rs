//! Objects that the client has destroyed and the driver may still look at.
//!
//! *Why.* A batch is complete for the client when its signals are there. A driver that submits from a thread of its own
//! then still lets go of what the batch waited for, and a semaphore that is destroyed in this moment is used after its
//! end. The specification allows the destruction, so it is put off: batches of a queue are let go of in order, and one
//! that is complete says that those before it are let go of. See
//! `docs/decisions/waited-semaphores-outlive-their-destruction.md`.

use std::collections::VecDeque;

/// The last batch of a queue that a driver may still look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastUse {
    /// Position of the queue in its device.
    pub(crate) queue: usize,
    /// The batch's point on the queue's timeline.
    pub(crate) point: u64,
}

impl LastUse {
    /// Whether the driver has let go of the batch when the queue has reached `reached`.
    pub(crate) fn is_over(self, reached: u64) -> bool {
        reached > self.point
    }
}

/// Objects that wait for their destruction, oldest first.
#[derive(Debug)]
pub(crate) struct Retired<T> {
    waiting: VecDeque<(T, Vec<LastUse>)>,
}

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<T> Retired<T> {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds an object that these batches may have used.
    pub(crate) fn push(&mut self, object: T, uses: Vec<LastUse>) {
        self.waiting.push_back((object, uses));
    }

    /// Takes out one object that the driver has let go of, unless an older one must wait; `reached` says how far a queue is.
    pub(crate) fn pop_free(&mut self, reached: impl Fn(usize) -> u64) -> Option<T> {
        let (_, uses) = self.waiting.front()?;
        if uses.iter().all(|last| last.is_over(reached(last.queue))) {
            self.waiting.pop_front().map(|(object, _)| object)
        } else {
            None
        }
    }

    /// What waits.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|(object, _)| object)
    }

    /// Takes everything out: the device has come to rest.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.waiting.drain(..).map(|(object, _)| object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::LastUse;
    use super::Retired;

    #[test]
    fn an_object_is_free_when_a_later_batch_is_complete() {
        let mut retired = Retired::default();
        retired.push('a', vec![LastUse { queue: 0, point: 5 }]);
        assert_eq!(retired.pop_free(|_| 4), None);
        assert_eq!(retired.pop_free(|_| 5), None);
        assert_eq!(retired.pop_free(|_| 6), Some('a'));
        assert!(retired.is_empty());
    }

    #[test]
    fn an_object_of_two_queues_waits_for_both() {
        let mut retired = Retired::default();
        retired.push('a', vec![LastUse { queue: 0, point: 5 }, LastUse { queue: 1, point: 1 }]);
        assert_eq!(retired.pop_free(|queue| [6, 1][queue]), None);
        assert_eq!(retired.pop_free(|queue| [6, 2][queue]), Some('a'));
    }

    #[test]
    fn objects_are_free_in_the_order_of_their_retirement() {
        let mut retired = Retired::default();
        retired.push('a', vec![LastUse { queue: 0, point: 5 }]);
        retired.push('b', Vec::new());
        assert_eq!(retired.pop_free(|_| 5), None);
        assert_eq!(retired.pop_free(|_| 6), Some('a'));
        assert_eq!(retired.pop_free(|_| 6), Some('b'));
        assert_eq!(retired.pop_free(|_| 6), None);
    }

    #[test]
    fn at_rest_everything_is_free() {
        let mut retired = Retired::default();
        retired.push('a', vec![LastUse { queue: 0, point: 5 }]);
        retired.push('b', Vec::new());
        assert_eq!(retired.take_all(), ['a', 'b']);
        assert!(retired.is_empty());
    }
}
