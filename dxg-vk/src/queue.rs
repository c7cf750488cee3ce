//! A queue of a device: its progress, and the number of its next submission.

use ash::vk;
use parking_lot::Mutex;

use crate::cells::Cell;
use crate::fence::Point;
use crate::wait::Target;

/// A queue.
#[derive(Debug)]
pub struct Queue {
    /// Its number in the device.
    pub number: u32,
    /// Its family.
    pub family: u32,
    /// Its index among the queues of the family with the same flags.
    pub index: u32,
    /// The flags it was created with.
    pub flags: vk::DeviceQueueCreateFlags,
    /// Becomes the sequence number of each submission that completes, in order.
    pub progress: Cell,
    /// Sequence number of the last submission. Held while one is put on the stream, so that sequence numbers rise there.
    pub submitted: Mutex<u64>,
}

impl Queue {
    /// What the queue reaches when all submitted so far is complete.
    #[must_use]
    pub fn idle(&self) -> Target {
        Target { cell: self.progress.clone(), value: *self.submitted.lock() }
    }

    /// The point at which a submission is complete.
    #[must_use]
    pub fn point(&self, sequence: u64) -> Point {
        Point { queue: u16::try_from(self.number).unwrap_or(u16::MAX), sequence }
    }
}
