//! Streams as the host sees them: numbered work, in order, with a cell that shows how far it is.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::capture::Capture;
use crate::cells::Cell;

/// Whether work waits for that of the legacy default stream, and the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It is the legacy default stream.
    Legacy,
}

/// A stream of work.
#[derive(Debug)]
pub struct Lane {
    /// Its number on the host.
    pub number: u32,
    /// A number of its own in the process.
    pub id: u64,
    /// How it goes with the legacy default stream.
    pub blocking: Blocking,
    /// Its priority.
    pub priority: i32,
    /// The number of the last work that is complete.
    pub progress: Cell,
    /// The number of the last work that was posted. Written under the lock of the context's order.
    pub last: AtomicU64,
    /// What of the legacy stream work on this one has waited for.
    pub saw_legacy: AtomicU64,
    /// What of this stream work on the legacy one has waited for.
    pub legacy_saw: AtomicU64,
    /// For calls of the program's functions: how many there were.
    pub host_calls: AtomicU64,
    /// For calls of the program's functions: how many have returned.
    pub host_done: Cell,
    /// Work is recorded, not run.
    pub capture: Mutex<Option<Capture>>,
    /// Whether work is recorded: a load for those who only want to know.
    pub is_capturing: AtomicBool,
}

impl Lane {
    /// The number of the last work that was posted.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Whether work up to this number is complete.
    #[inline]
    #[must_use]
    pub fn is_done(&self, sequence: u64) -> bool {
        self.progress.value() >= sequence
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_done(self.last())
    }
}
