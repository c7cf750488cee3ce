//! The state of a `VkFence`: unsignalled, pending on a point of a queue, or signalled.
//!
//! *Why.* Each queue has one progress cell that the host moves forward in submission order, so a fence is a queue and a
//! sequence number and needs nothing on the host. Its state is one word; a status query is two loads.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

const SEQUENCE_BITS: u32 = 48;
const UNSIGNALED: u64 = 0;
const SIGNALED: u64 = u64::MAX;

/// A point on a queue: complete when the queue's progress cell has reached the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The queue's number in its device.
    pub queue: u16,
    /// The sequence number of the submission.
    pub sequence: u64,
}

/// What a fence stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not signalled, and no submission will.
    Unsignaled,
    /// Signalled when the point is complete.
    Pending(Point),
    /// Signalled.
    Signaled,
}

/// A fence.
#[derive(Debug)]
pub struct Fence {
    word: AtomicU64,
}

impl Fence {
    /// A fence that was created in `state`.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { word: AtomicU64::new(pack(state)) }
    }

    /// What the fence stands at.
    pub fn state(&self) -> State {
        unpack(self.word.load(Ordering::Acquire))
    }

    /// Puts the fence into `state`.
    pub fn set(&self, state: State) {
        self.word.store(pack(state), Ordering::Release);
    }
}

fn pack(state: State) -> u64 {
    match state {
        State::Unsignaled => UNSIGNALED,
        State::Pending(point) => {
            (u64::from(point.queue) + 1) << SEQUENCE_BITS | (point.sequence & ((1 << SEQUENCE_BITS) - 1))
        }
        State::Signaled => SIGNALED,
    }
}

fn unpack(word: u64) -> State {
    match word {
        UNSIGNALED => State::Unsignaled,
        SIGNALED => State::Signaled,
        word => State::Pending(Point {
            queue: u16::try_from((word >> SEQUENCE_BITS).saturating_sub(1)).unwrap_or(u16::MAX),
            sequence: word & ((1 << SEQUENCE_BITS) - 1),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_each_state_is_read_back() {
        let fence = Fence::new(State::Unsignaled);
        assert_eq!(fence.state(), State::Unsignaled);
        let point = State::Pending(Point { queue: 0, sequence: 1 });
        fence.set(point);
        assert_eq!(fence.state(), point);
        fence.set(State::Signaled);
        assert_eq!(fence.state(), State::Signaled);
    }

    #[test]
    fn set_large_queue_and_sequence_is_not_the_signaled_word() {
        let point = State::Pending(Point { queue: u16::MAX - 2, sequence: (1 << SEQUENCE_BITS) - 1 });
        let fence = Fence::new(point);
        assert_eq!(fence.state(), point);
    }
}
