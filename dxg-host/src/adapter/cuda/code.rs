//! The code of a placed module's entries: made beside the streams, which wait where it is not ready.
//!
//! *When.* Modules of few entries are compiled as soon as they are placed, before anybody launches one of them, while there is nothing
//! else to compile. Entries of others are compiled when they are launched first. What a launch waits for goes before everything else.
//!
//! *The end.* What nobody can launch any more, and what a context that has failed would launch, is not compiled; who waits for it is let
//! go by the context. A compilation that has begun goes on: it holds its module, and nothing else of its client.
//!
//! *Locks.* One mutex per entry; no other lock is taken while it is held.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::context::Context;
use super::jobs::Job;
use super::jobs::Urgency;
use super::module::Placed;
use super::queue::Queue;

/// A module of more entries is a library, of which a program uses some few.
const MOST_ENTRIES_AHEAD: usize = 8;
/// Most instructions that are compiled before anybody has asked, of one module.
const MOST_INSTRUCTIONS_AHEAD: usize = 8192;
/// Most bytes of improved code, of all modules of this worker together.
const MOST_IMPROVED_BYTES: u64 = 64 << 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Nothing,
    /// A stream waits, or will, and a thread comes to it.
    Asked,
    Making,
    Ready,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Streams that are parked at an entry of theirs.
    waiting: Vec<(u64, Arc<Queue>)>,
}

/// The code of one entry.
#[derive(Debug, Default)]
pub(super) struct Code {
    is_ready: AtomicBool,
    /// Nanoseconds that grids have kept cores busy with it.
    busy_ns: AtomicU64,
    is_worth_more: AtomicBool,
    state: Mutex<State>,
}

/// How a stream stands to code that it wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// It is woken when the code is ready.
    Code,
    /// The code is ready.
    Nothing,
}

impl Code {
    /// Code of an entry that needs none made.
    pub(super) fn ready() -> Self {
        Self { is_ready: AtomicBool::new(true), ..Self::default() }
    }

    /// Whether a launch would not wait for it.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Forgets a stream that waits.
    pub(super) fn forget(&self, queue: &Queue) {
        let is_it = |waiting: &mut (u64, Arc<Queue>)| std::ptr::eq(&*waiting.1, queue);
        let forgotten: Vec<_> = self.state.lock().waiting.extract_if(.., is_it).collect();
        drop(forgotten);
    }
}

impl Placed {
    /// Has code made that is probably wanted soon.
    pub(super) fn make_ahead(self: &Arc<Self>, context: &Context) {
        if self.entry_count() > MOST_ENTRIES_AHEAD {
            return;
        }
        let mut left = MOST_INSTRUCTIONS_AHEAD;
        for number in 0..self.entry_count() {
            let Some(rest) = left.checked_sub(self.instructions(number)) else { continue };
            left = rest;
            if !self.code(number).is_ready() {
                context.engine.jobs.submit(Urgency::Ahead, Task::of(self, context, number, What::Make));
            }
        }
    }

    /// Has a stream, which is parked at its entry `sequence`, woken when an entry's code is ready. If it is ready already, nobody wakes the stream.
    pub(super) fn wake_when_ready(
        self: &Arc<Self>,
        number: usize,
        sequence: u64,
        queue: &Arc<Queue>,
    ) -> Awaits {
        let mut state = self.code(number).state.lock();
        if state.phase == Phase::Ready || self.code(number).is_ready() {
            return Awaits::Nothing;
        }
        state.waiting.push((sequence, Arc::clone(queue)));
        let is_first = state.phase == Phase::Nothing;
        if is_first {
            state.phase = Phase::Asked;
        }
        drop(state);
        if is_first {
            let context = &queue.context;
            context.engine.jobs.submit(Urgency::Launched, Task::of(self, context, number, What::Make));
        }
        Awaits::Code
    }

    /// A grid of an entry has run.
    pub(super) fn has_run(self: &Arc<Self>, number: usize, context: &Context, busy: Duration) {
        let Some(enough) = self.program().worth_improving_after() else { return };
        let code = self.code(number);
        if code.is_worth_more.load(Ordering::Relaxed) {
            return;
        }
        let busy = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        let all = code.busy_ns.fetch_add(busy, Ordering::Relaxed).saturating_add(busy);
        if u128::from(all) >= enough.as_nanos() && !code.is_worth_more.swap(true, Ordering::Relaxed) {
            context.engine.jobs.submit(Urgency::Better, Task::of(self, context, number, What::Improve));
        }
    }

    fn make(&self, number: usize) {
        {
            let mut state = self.code(number).state.lock();
            if matches!(state.phase, Phase::Making | Phase::Ready) {
                return;
            }
            state.phase = Phase::Making;
        }
        let _made = Made(self.code(number));
        self.program().make(self.entry(number));
    }
}

/// Tells who waits, also where the code could not be made: a launch says why.
struct Made<'a>(&'a Code);

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state.lock();
            state.phase = Phase::Ready;
            self.0.is_ready.store(true, Ordering::Release);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(sequence, queue)| queue.wake_at(sequence));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Make,
    Improve,
}

/// Code to be made or improved.
struct Task {
    placed: Weak<Placed>,
    /// The context runs nothing any more.
    given_up: Arc<AtomicBool>,
    number: usize,
    what: What,
}

impl Task {
    fn of(placed: &Arc<Placed>, context: &Context, number: usize, what: What) -> Arc<Self> {
        let given_up = Arc::clone(&context.given_up);
        Arc::new(Self { placed: Arc::downgrade(placed), given_up, number, what })
    }
}

impl Job for Task {
    fn is_wanted(&self) -> bool {
        self.placed.strong_count() != 0 && !self.given_up.load(Ordering::Acquire)
    }

    fn run(&self) {
        let Some(placed) = self.placed.upgrade() else { return };
        match self.what {
            What::Make => placed.make(self.number),
            What::Improve => placed.improved().add(|| placed.program().improve(placed.entry(self.number))),
        }
    }
}

/// How much improved code the modules of a worker hold.
#[derive(Debug, Default)]
pub(super) struct Improved(AtomicU64);

/// What one module has of it.
#[derive(Debug)]
pub(super) struct Share {
    all: Arc<Improved>,
    own: AtomicU64,
}

impl Share {
    /// Of a module without improved code.
    pub(super) fn of(all: &Arc<Improved>) -> Self {
        Self { all: Arc::clone(all), own: AtomicU64::new(0) }
    }

    /// Makes more of it, unless there is too much already. `make` answers how many bytes there are.
    fn add(&self, make: impl FnOnce() -> u64) {
        if self.all.0.load(Ordering::Relaxed) < MOST_IMPROVED_BYTES {
            let bytes = make();
            self.all.0.fetch_add(bytes, Ordering::Relaxed);
            self.own.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.0.fetch_sub(*self.own.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn improved_code_is_bounded_and_counted_until_its_module_goes() {
        let all = Arc::new(Improved::default());
        let share = Share::of(&all);
        share.add(|| MOST_IMPROVED_BYTES - 1);
        share.add(|| 2);
        let other = Share::of(&all);
        other.add(|| panic!("there is enough"));
        drop(share);
        other.add(|| 7);
        assert_eq!(all.0.load(Ordering::Relaxed), 7);
    }
}
