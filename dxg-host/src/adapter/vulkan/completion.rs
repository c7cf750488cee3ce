//! Completion of a queue's work: from the driver's timeline to the words that the guest polls.
//!
//! *Why.* Waiting is most of what an application sees of the distance to its GPU. The thread of the stream polls the
//! driver while it has nothing else to do; when it goes to sleep, a waiter thread of the queue takes over. No command of
//! ours runs on the device.
//!
//! *Invariants.* A milestone is published once, in order; the semaphores it signals are published before the queue's
//! progress, so whoever sees the fence sees the semaphores. What the guest writes into its cells changes nothing here.
//!
//! *Locks.* One mutex per queue, held while cells are published and never while the driver waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ash::vk;
use parking_lot::Condvar;
use parking_lot::Mutex;

use super::cell::Cell;

/// Longest single wait in the driver: how late a waiter thread notices that its queue is closing.
const SLICE: Duration = Duration::from_millis(100);
/// Stands for "nothing pending" in [`Progress::next`].
const NOTHING: u64 = u64::MAX;

/// The driver's side of a queue's progress: a timeline semaphore.
pub(crate) trait Timeline: Send + Sync {
    /// The value that the device has reached.
    ///
    /// # Errors
    /// The driver's result; the device is lost.
    fn value(&self) -> Result<u64, vk::Result>;

    /// Waits until the device has reached `point`, for a time at most; both ends are `Ok`.
    ///
    /// # Errors
    /// The driver's result; the device is lost.
    fn wait(&self, point: u64, timeout: Duration) -> Result<(), vk::Result>;
}

/// What becomes true when the device reaches a point of the timeline.
pub(crate) struct Milestone {
    /// The point; points grow from one milestone to the next.
    pub(crate) point: u64,
    /// Semaphores that have a value then.
    pub(crate) signals: Vec<(Arc<Cell>, u64)>,
    /// The submission that is complete then, where this is its last part.
    pub(crate) sequence: Option<u64>,
}

/// What a look at the driver found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// Everything submitted is published.
    Nothing,
    /// The device still works.
    Work,
}

/// Called once, with the driver's result, when a thread finds the device lost.
pub(crate) type OnLost = Box<dyn Fn(vk::Result) + Send + Sync>;

/// The progress of one queue.
pub(crate) struct Progress<T> {
    timeline: T,
    cell: Arc<Cell>,
    on_lost: OnLost,
    /// Point of the oldest milestone, or [`NOTHING`]: looked at without the lock.
    next: AtomicU64,
    lost: AtomicBool,
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    pending: VecDeque<Milestone>,
    /// The waiter thread sleeps and must be notified.
    waiter_sleeps: bool,
    closing: bool,
}

impl<T: Timeline> Progress<T> {
    /// Progress that is published in `cell`.
    pub(crate) fn new(timeline: T, cell: Arc<Cell>, on_lost: OnLost) -> Self {
        Self {
            timeline,
            cell,
            on_lost,
            next: AtomicU64::new(NOTHING),
            lost: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            woken: Condvar::new(),
        }
    }

    /// The driver's side.
    pub(crate) fn timeline(&self) -> &T {
        &self.timeline
    }

    /// Adds what was just submitted.
    pub(crate) fn submitted(&self, milestones: impl IntoIterator<Item = Milestone>) {
        let mut state = self.state.lock();
        state.pending.extend(milestones);
        self.note_next(&state);
    }

    fn note_next(&self, state: &State) {
        self.next.store(state.pending.front().map_or(NOTHING, |first| first.point), Ordering::Release);
    }

    /// Looks at the driver once and publishes what is complete.
    pub(crate) fn poll(&self) -> Pending {
        let next = self.next.load(Ordering::Acquire);
        if next == NOTHING || self.lost.load(Ordering::Relaxed) {
            return Pending::Nothing;
        }
        match self.timeline.value() {
            Ok(value) if value >= next => self.publish(value),
            Ok(_) => Pending::Work,
            Err(result) => {
                self.lose(result);
                Pending::Nothing
            }
        }
    }

    fn publish(&self, reached: u64) -> Pending {
        let mut state = self.state.lock();
        while state.pending.front().is_some_and(|first| first.point <= reached) {
            let Some(milestone) = state.pending.pop_front() else { break };
            for (cell, value) in &milestone.signals {
                cell.publish(*value);
            }
            if let Some(sequence) = milestone.sequence {
                self.cell.publish(sequence);
            }
        }
        self.note_next(&state);
        if state.pending.is_empty() { Pending::Nothing } else { Pending::Work }
    }

    fn lose(&self, result: vk::Result) {
        if !self.lost.swap(true, Ordering::Relaxed) {
            (self.on_lost)(result);
        }
    }

    /// Whether a thread found the device lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// The thread of the stream goes to sleep: the waiter thread takes over what is pending.
    pub(crate) fn hand_over(&self) {
        let mut state = self.state.lock();
        if !state.pending.is_empty() && state.waiter_sleeps {
            state.waiter_sleeps = false;
            self.woken.notify_one();
        }
    }

    /// Ends [`Self::run_waiter`].
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.woken.notify_one();
    }

    /// Waits for the device until everything submitted is complete, for a time at most.
    pub(crate) fn drain(&self, timeout: Duration) -> Pending {
        let last = self.state.lock().pending.back().map(|last| last.point);
        let Some(last) = last else { return Pending::Nothing };
        if let Err(result) = self.timeline.wait(last, timeout) {
            self.lose(result);
        }
        if self.is_lost() { Pending::Nothing } else { self.poll() }
    }

    /// Waits in the driver and publishes, whenever the thread of the stream has handed over; returns after
    /// [`Self::close`] or when the device is lost.
    pub(crate) fn run_waiter(&self) {
        let mut state = self.state.lock();
        loop {
            if state.closing || self.is_lost() {
                return;
            }
            let Some(point) = state.pending.front().map(|first| first.point) else {
                state.waiter_sleeps = true;
                self.woken.wait(&mut state);
                state.waiter_sleeps = false;
                continue;
            };
            drop(state);
            match self.timeline.wait(point, SLICE) {
                Ok(()) => {
                    self.poll();
                }
                Err(result) => self.lose(result),
            }
            state = self.state.lock();
        }
    }
}
