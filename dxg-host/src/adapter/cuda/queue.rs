//! A stream: work in order, run by whichever thread has time.
//!
//! *Invariants.* At most one thread has a stream. An entry is taken when all before it are complete. A stream that waits belongs to
//! whoever will wake it; it has no thread then.
//!
//! *Locks.* One mutex per stream; nobody holds two.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::cell::Cell;
use super::context::Context;
use super::work::Work;

/// An entry that holds more than this counts as several.
const BYTES_PER_WEIGHT: usize = 256;

/// An entry of a stream.
#[derive(Debug)]
pub(super) struct Item {
    /// Its number on the stream.
    pub(super) sequence: u64,
    /// What is done.
    pub(super) work: Work,
}

impl Item {
    /// What it counts among all that waits: more where it holds more.
    fn weight(&self) -> usize {
        1 + self.work.held_bytes() / BYTES_PER_WEIGHT
    }
}

/// Who has a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody: there is nothing to do.
    Idle,
    /// The pool, for its next free thread.
    Ready,
    /// A thread.
    Running,
    /// Whoever will wake it at the entry of this number, which is complete then unless it is kept to be done.
    Parked(u64),
}

#[derive(Debug)]
struct State {
    items: VecDeque<Item>,
    phase: Phase,
    /// The entry that the stream is parked at, if it is to be done afterwards.
    kept: Option<Item>,
    /// Number of the last complete entry.
    completed: u64,
    /// Streams that wait for an entry of this one.
    waiters: Vec<(u64, Arc<Queue>)>,
}

/// A stream.
pub(super) struct Queue {
    pub(super) context: Arc<Context>,
    pub(super) priority: i32,
    cell: Cell,
    state: Mutex<State>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("priority", &self.priority).finish_non_exhaustive()
    }
}

/// What is to be done about a new entry.
#[derive(Debug)]
pub(super) enum Pushed {
    /// Nothing: a thread comes to it.
    Queued,
    /// The caller has the stream now and runs the entry.
    Yours(Item),
}

/// Whether the caller would rather run an entry than have it queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eager {
    /// It would, if nothing else is to be done before.
    Yes,
    /// It is for the pool.
    No,
}

impl Queue {
    /// A stream without work, whose progress is at 0.
    pub(super) fn new(context: &Arc<Context>, priority: i32, cell: Cell) -> Arc<Self> {
        let (items, waiters) = (VecDeque::new(), Vec::new());
        let state = State { items, phase: Phase::Idle, kept: None, completed: 0, waiters };
        let queue = Arc::new(Self { context: Arc::clone(context), priority, cell, state: Mutex::new(state) });
        context.add_queue(&queue);
        queue
    }

    /// Adds an entry.
    pub(super) fn push(self: &Arc<Self>, item: Item, eager: Eager) -> Pushed {
        let weight = item.weight();
        let mut state = self.state.lock();
        if state.phase != Phase::Idle {
            state.items.push_back(item);
            self.context.queued(weight);
            return Pushed::Queued;
        }
        self.context.enter();
        if eager == Eager::Yes {
            state.phase = Phase::Running;
            return Pushed::Yours(item);
        }
        state.phase = Phase::Ready;
        state.items.push_back(item);
        drop(state);
        self.context.queued(weight);
        self.context.engine.pool.submit(Arc::clone(self));
        Pushed::Queued
    }

    /// A thread takes the stream from the pool, or goes on with it: the next entry, or none, and then the thread has it no more.
    pub(super) fn next(&self) -> Option<Item> {
        let mut state = self.state.lock();
        if let Some(item) = state.items.pop_front() {
            state.phase = Phase::Running;
            drop(state);
            self.context.taken(item.weight());
            return Some(item);
        }
        state.phase = Phase::Idle;
        drop(state);
        self.context.leave();
        None
    }

    /// An entry is complete.
    pub(super) fn complete(&self, sequence: u64) {
        let reached = {
            let mut state = self.state.lock();
            state.completed = sequence;
            if state.waiters.is_empty() {
                Vec::new()
            } else {
                state.waiters.extract_if(.., |(wanted, _)| *wanted <= sequence).collect()
            }
        };
        self.cell.publish(sequence);
        reached.into_iter().for_each(|(_, waiter)| waiter.wake());
    }

    /// The thread that has the stream lets go of it until somebody wakes it; entry `sequence` is complete then.
    pub(super) fn park(&self, sequence: u64) {
        self.state.lock().phase = Phase::Parked(sequence);
        self.context.leave();
    }

    /// The thread that has the stream lets go of it until somebody wakes it; the entry is done then.
    pub(super) fn park_before(&self, item: Item) {
        let mut state = self.state.lock();
        state.phase = Phase::Parked(item.sequence);
        state.kept = Some(item);
        drop(state);
        self.context.leave();
    }

    /// The thread that parked the stream takes it back: nobody was asked to wake it.
    pub(super) fn unpark(&self) {
        self.context.enter();
        self.state.lock().phase = Phase::Running;
    }

    /// Ends the wait of a stream that was parked.
    pub(super) fn wake(self: &Arc<Self>) {
        self.wake_if(|_, _| true);
    }

    /// Ends the wait of a stream that was parked at an entry, if it still is.
    pub(super) fn wake_at(self: &Arc<Self>, sequence: u64) {
        self.wake_if(|parked, _| parked == sequence);
    }

    /// Ends the wait of a stream for code: its context has failed.
    pub(super) fn wake_from_code(self: &Arc<Self>) {
        let awaited = match &self.state.lock().kept {
            Some(Item { work: Work::Launch(kernel), .. }) => {
                Some((Arc::clone(&kernel.placed), kernel.function))
            }
            _ => None,
        };
        self.wake_if(|_, kept| kept.is_some());
        if let Some((placed, function)) = awaited {
            placed.code(function).forget(self);
        }
    }

    fn wake_if(self: &Arc<Self>, is_meant: impl FnOnce(u64, Option<&Item>) -> bool) {
        let mut state = self.state.lock();
        let Phase::Parked(sequence) = state.phase else { return };
        if !is_meant(sequence, state.kept.as_ref()) {
            return;
        }
        state.phase = Phase::Ready;
        let item = state.kept.take().unwrap_or(Item { sequence, work: Work::Nothing });
        let weight = item.weight();
        state.items.push_front(item);
        self.context.enter();
        drop(state);
        self.context.queued(weight);
        self.context.engine.pool.submit(Arc::clone(self));
    }

    /// Drops what is queued and who waits for it: the context ends.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        let waiters = std::mem::take(&mut state.waiters);
        let dropped = std::mem::take(&mut state.items);
        let kept = state.kept.take();
        if kept.is_some() {
            // Whoever would wake it finds nothing to wake.
            state.phase = Phase::Idle;
        }
        drop(state);
        if let Some(Item { work: Work::Launch(kernel), .. }) = &kept {
            kernel.placed.code(kernel.function).forget(self);
        }
        drop(waiters);
        self.context.taken(dropped.iter().map(Item::weight).sum());
    }

    /// Has `waiter`, which is parked, woken once entry `sequence` is complete. Whether it has to be.
    pub(super) fn wake_after(&self, sequence: u64, waiter: &Arc<Queue>) -> bool {
        let mut state = self.state.lock();
        if state.completed >= sequence {
            return false;
        }
        state.waiters.push((sequence, Arc::clone(waiter)));
        true
    }
}
