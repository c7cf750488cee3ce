//! Fence cells: a value that only grows, in shared memory, with waiters.
//!
//! *Why.* How far the device has come is read far more often than it changes. A reader loads one word; only a reader that
//! has to sleep makes a system call, and only then does the writer make one.
//!
//! *Invariants.* The value never goes back through this module. A publisher first stores the value and then looks for waiters;
//! a waiter first announces itself and then looks at the value; both with a full barrier between, so one sees the other.
//! A peer that writes nonsense into the cell costs a waiter at most [`futex::SLICE`] of delay per sleep.
//!
//! *Layout*, 16 bytes, 8-aligned: value u64 at 0, wake sequence u32 at 8 (the futex word), waiters u32 at 12.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::atomic::fence;
use std::time::Duration;
use std::time::Instant;

use crate::shm::OutOfBounds;
use crate::shm::SharedSlice;
use crate::shm::futex;

/// Bytes of a cell.
pub const CELL_BYTES: usize = 16;
/// Spin that suits most waits: a little less than what a sleep and a wake-up cost.
pub const DEFAULT_SPIN: Duration = Duration::from_micros(20);

const VALUE: usize = 0;
const SEQUENCE: usize = 8;
const WAITERS: usize = 12;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The value is at least the target.
    Reached,
    /// The deadline passed first.
    TimedOut,
    /// The caller's closure said so.
    Cancelled,
}

/// How a wait for several cells ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyOutcome {
    /// The cell with this index reached its target; the lowest if several did.
    Reached(usize),
    /// The deadline passed first.
    TimedOut,
    /// The caller's closure said so.
    Cancelled,
}

/// One side's view of a cell.
#[derive(Clone, Debug)]
pub struct FenceCell {
    memory: SharedSlice,
}

/// The words of a cell, found once per operation.
struct Words<'a> {
    value: &'a AtomicU64,
    sequence: &'a AtomicU32,
    waiters: &'a AtomicU32,
}

impl FenceCell {
    /// The cell in the first [`CELL_BYTES`] bytes of a writable, 8-aligned range.
    ///
    /// # Errors
    /// When the range is shorter, misaligned or read-only.
    pub fn new(memory: SharedSlice) -> Result<Self, OutOfBounds> {
        let memory = memory.sub(0, CELL_BYTES)?;
        memory.atomic_u64(VALUE)?;
        memory.atomic_u32(SEQUENCE)?;
        memory.atomic_u32(WAITERS)?;
        Ok(Self { memory })
    }

    #[inline]
    fn words(&self) -> Words<'_> {
        const CHECKED: &str = "checked when the cell was made";
        Words {
            value: self.memory.atomic_u64(VALUE).expect(CHECKED),
            sequence: self.memory.atomic_u32(SEQUENCE).expect(CHECKED),
            waiters: self.memory.atomic_u32(WAITERS).expect(CHECKED),
        }
    }

    /// Where it is mapped.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.memory.as_ptr().addr() as u64
    }

    /// The value now. What was written before it was published is visible.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u64 {
        self.words().value.load(Ordering::Acquire)
    }

    /// Sets the value, before anybody else knows the cell.
    pub fn initialise(&self, value: u64) {
        self.words().value.store(value, Ordering::Release);
    }

    /// Raises the value to at least `value` and wakes the waiters.
    pub fn publish(&self, value: u64) {
        let words = self.words();
        words.value.fetch_max(value, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if words.waiters.load(Ordering::Relaxed) != 0 {
            self.wake_all();
        }
    }

    /// Makes every waiter look again, at the value and at its closure.
    pub fn wake_all(&self) {
        let words = self.words();
        words.sequence.fetch_add(1, Ordering::AcqRel);
        futex::wake_all(words.sequence);
    }

    /// Waits until the value is at least `target`: spins for `spin`, then sleeps.
    ///
    /// `cancelled` is asked at least every [`futex::SLICE`] and after each wake-up. `deadline` of `None` is none.
    pub fn wait(
        &self,
        target: u64,
        deadline: Option<Instant>,
        spin: Duration,
        cancelled: &dyn Fn() -> bool,
    ) -> WaitOutcome {
        match wait_any(&[(self, target)], deadline, spin, cancelled) {
            AnyOutcome::Reached(_) => WaitOutcome::Reached,
            AnyOutcome::TimedOut => WaitOutcome::TimedOut,
            AnyOutcome::Cancelled => WaitOutcome::Cancelled,
        }
    }
}

/// Announces a waiter on each cell for as long as it lives.
struct Announced<'a>(&'a [(&'a FenceCell, u64)]);

impl<'a> Announced<'a> {
    fn new(cells: &'a [(&'a FenceCell, u64)]) -> Self {
        for (cell, _) in cells {
            cell.words().waiters.fetch_add(1, Ordering::AcqRel);
        }
        fence(Ordering::SeqCst);
        Self(cells)
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        for (cell, _) in self.0 {
            cell.words().waiters.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn reached(cells: &[(&FenceCell, u64)]) -> Option<usize> {
    cells.iter().position(|(cell, target)| cell.value() >= *target)
}

/// Waits until one of the cells has at least its target value.
///
/// As [`FenceCell::wait`]. With no cells at all it waits for the deadline or the closure.
pub fn wait_any(
    cells: &[(&FenceCell, u64)],
    deadline: Option<Instant>,
    spin: Duration,
    cancelled: &dyn Fn() -> bool,
) -> AnyOutcome {
    if let Some(index) = reached(cells) {
        return AnyOutcome::Reached(index);
    }
    if deadline.is_none_or(|deadline| deadline > Instant::now())
        && let Some(index) = crate::spin::spin(spin, || reached(cells))
    {
        return AnyOutcome::Reached(index);
    }
    let _announced = Announced::new(cells);
    let mut expected = Vec::with_capacity(cells.len());
    loop {
        // The sequences are read before the values: a value published after our look changes its sequence too.
        expected.clear();
        expected.extend(cells.iter().map(|(cell, _)| {
            let sequence = cell.words().sequence;
            (sequence, sequence.load(Ordering::Acquire))
        }));
        fence(Ordering::SeqCst);
        if let Some(index) = reached(cells) {
            return AnyOutcome::Reached(index);
        }
        if cancelled() {
            return AnyOutcome::Cancelled;
        }
        let Some(slice) = futex::slice_until(deadline) else { return AnyOutcome::TimedOut };
        futex::wait_any(&expected, slice);
    }
}
