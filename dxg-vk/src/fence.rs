//! The state of a `VkFence`: unsignalled, pending on a point of a queue, or signalled.
//!
//! *Why.* Each queue has one progress cell that the host moves forward in submission order, so a fence is a queue and a
//! sequence number and needs nothing on the host. Its state is one word; a status query is two loads.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::device::Device;
use crate::external::payload::Payload;
use crate::external::payload::Payloads;
use crate::external::payload::Permanence;

const SEQUENCE_BITS: u32 = 48;
const UNSIGNALED: u64 = 0;
const SIGNALED: u64 = u64::MAX;
const SHARED: u64 = u64::MAX - 1;

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
    /// What its payload says, which others share.
    Shared,
}

/// A fence.
#[derive(Debug)]
pub struct Fence {
    word: AtomicU64,
    shared: Mutex<Option<Box<Shared>>>,
}

/// What a fence has besides, once it has payloads that others share.
#[derive(Debug)]
struct Shared {
    payloads: Payloads,
    /// What it stood at by itself when a payload was imported.
    own: State,
}

impl Fence {
    /// A fence that was created in `state`.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { word: AtomicU64::new(pack(state)), shared: Mutex::new(None) }
    }

    /// A fence that was made to be shared.
    #[must_use]
    pub fn born_shared(payload: Arc<Payload>) -> Self {
        let shared = Shared { payloads: Payloads::born(payload), own: State::Unsignaled };
        Self { word: AtomicU64::new(SHARED), shared: Mutex::new(Some(Box::new(shared))) }
    }

    /// The payload that others share, where that is used now.
    pub fn payload(&self) -> Option<Arc<Payload>> {
        if self.state() != State::Shared {
            return None;
        }
        self.shared.lock().as_ref().and_then(|shared| shared.payloads.current().cloned())
    }

    /// Puts an imported payload in place.
    pub fn import(&self, device: &Device, payload: Arc<Payload>, permanence: Permanence) {
        let mut shared = self.shared.lock();
        let own = self.state();
        let shared = shared.get_or_insert_with(|| Box::new(Shared { payloads: Payloads::default(), own }));
        if own != State::Shared {
            shared.own = own;
        }
        shared.payloads.import(device, payload, permanence);
        self.set(State::Shared);
    }

    /// Makes it unsignalled. A temporary import ends with that.
    pub fn reset(&self) {
        if self.state() != State::Shared {
            self.set(State::Unsignaled);
            return;
        }
        let mut shared = self.shared.lock();
        let Some(shared) = &mut *shared else { return };
        shared.payloads.restore();
        match shared.payloads.current() {
            Some(payload) => payload.reset_fence(),
            None => self.set(State::Unsignaled),
        }
    }

    /// Ends its payloads, with it.
    pub fn retire(&self, device: &Device) {
        if let Some(shared) = &mut *self.shared.lock() {
            shared.payloads.retire(device);
        }
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
        State::Shared => SHARED,
    }
}

fn unpack(word: u64) -> State {
    match word {
        UNSIGNALED => State::Unsignaled,
        SIGNALED => State::Signaled,
        SHARED => State::Shared,
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
        fence.set(State::Shared);
        assert_eq!(fence.state(), State::Shared);
    }

    #[test]
    fn set_large_queue_and_sequence_is_not_the_signaled_word() {
        let point = State::Pending(Point { queue: u16::MAX - 2, sequence: (1 << SEQUENCE_BITS) - 1 });
        let fence = Fence::new(point);
        assert_eq!(fence.state(), point);
    }
}
