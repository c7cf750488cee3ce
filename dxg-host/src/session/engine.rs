//! The engine: runs submitted work, and passes on what the timeline says.
//!
//! *Threads.* Requests change the timeline and settle it at once, so a wait that is over wakes its guest without a hop;
//! work runs on the engine's own thread. A shared fence that is waited for has a thread that watches its cell; where there
//! are too many, the engine's own thread looks at the rest now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::DeviceExecutionState;
use dxg_wire::cell::FenceCell;
use parking_lot::Condvar;
use parking_lot::Mutex;

use super::Session;
use super::device::fail_device;
use super::execute;
use super::execute::VaOperation;
use super::notify::Notifier;
use super::space::SharedSpace;
use crate::objects::timeline::EventId;
use crate::objects::timeline::Point;
use crate::objects::timeline::SyncId;
use crate::objects::timeline::Timeline;
use crate::objects::timeline::Weigh;

/// Most threads that watch shared fences.
const MAX_WATCHERS: usize = 64;
/// How often fences are looked at that have no thread.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Something for the engine to do.
pub(super) struct Work {
    /// Whose it is.
    pub(super) process: RawHandle,
    /// The device that fails with it.
    pub(super) device: RawHandle,
    /// The addresses it speaks of.
    pub(super) space: SharedSpace,
    /// What it is.
    pub(super) task: Task,
}

/// What the engine does.
pub(super) enum Task {
    /// Runs a command buffer.
    Commands {
        /// Its address.
        address: u64,
        /// Its bytes.
        size_bytes: u32,
    },
    /// Changes the address space.
    UpdateAddresses(Vec<VaOperation>),
}

impl Weigh for Work {
    fn weight(&self) -> usize {
        match &self.task {
            Task::Commands { .. } => 0,
            Task::UpdateAddresses(operations) => operations.len(),
        }
    }
}

/// A fence whose value other sessions set too.
struct Watched {
    cell: Arc<FenceCell>,
    /// Set when the fence is gone.
    gone: Arc<AtomicBool>,
    running: bool,
}

struct State {
    timeline: Timeline<Work>,
    shared: HashMap<SyncId, Watched>,
    watchers: usize,
    /// A fence is waited for that nobody watches.
    unwatched: bool,
}

/// The engine of a session.
pub(super) struct Engine {
    state: Mutex<State>,
    wake: Condvar,
    notifier: Notifier,
}

impl Engine {
    /// An engine without work.
    pub(super) fn new(notifier: Notifier) -> Self {
        let state =
            State { timeline: Timeline::default(), shared: HashMap::new(), watchers: 0, unwatched: false };
        Self { state: Mutex::new(state), wake: Condvar::new(), notifier }
    }

    /// Changes the timeline, and does what follows from it.
    pub(super) fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut Timeline<Work>) -> R) -> R {
        let mut state = self.state.lock();
        let result = change(&mut state.timeline);
        let has_work = state.timeline.settle();
        let events = state.timeline.take_events();
        self.watch(&mut state);
        drop(state);
        if has_work {
            self.wake.notify_one();
        }
        self.signal(events);
        result
    }

    fn signal(&self, events: Vec<EventId>) {
        for event in events {
            self.notifier.signal(event);
        }
    }

    /// Says that a device has changed its state.
    pub(super) fn device_changed(&self, cookie: u64) {
        self.notifier.device_changed(cookie);
    }

    /// Makes a fence known whose cell others write too.
    pub(super) fn add_shared(&self, sync: SyncId, cell: FenceCell) {
        let watched =
            Watched { cell: Arc::new(cell), gone: Arc::new(AtomicBool::new(false)), running: false };
        self.state.lock().shared.insert(sync, watched);
    }

    /// Takes a synchronization object away.
    pub(super) fn remove_sync(self: &Arc<Self>, sync: SyncId) {
        let mut state = self.state.lock();
        if let Some(watched) = state.shared.remove(&sync) {
            state.watchers -= usize::from(watched.running);
            watched.gone.store(true, Ordering::Release);
            watched.cell.wake_all();
        }
        drop(state);
        self.change(|timeline| timeline.remove(sync));
    }

    /// Starts the watchers that are missing.
    fn watch(self: &Arc<Self>, state: &mut State) {
        if state.shared.is_empty() {
            state.unwatched = false;
            return;
        }
        let awaited: Vec<Point> = state.timeline.awaited().collect();
        let was_unwatched = std::mem::take(&mut state.unwatched);
        for point in awaited {
            let Some(watched) = state.shared.get_mut(&point.sync) else { continue };
            if watched.running {
                continue;
            }
            if state.watchers >= MAX_WATCHERS {
                state.unwatched = true;
                continue;
            }
            let engine = Arc::clone(self);
            let cell = Arc::clone(&watched.cell);
            let gone = Arc::clone(&watched.gone);
            let started = thread::Builder::new()
                .name("shared fence".to_owned())
                .spawn(move || watch_cell(&engine, &cell, &gone));
            match started {
                Ok(_) => {
                    watched.running = true;
                    state.watchers += 1;
                }
                Err(_) => state.unwatched = true,
            }
        }
        if state.unwatched && !was_unwatched {
            // The engine's thread sleeps without an end.
            self.wake.notify_one();
        }
    }
}

/// Settles the timeline each time a cell grows, until its fence is gone.
fn watch_cell(engine: &Arc<Engine>, cell: &FenceCell, gone: &AtomicBool) {
    let is_gone = || gone.load(Ordering::Acquire);
    let mut seen = cell.value();
    // The cell may have grown between the wait and the start of this thread.
    engine.change(|_| ());
    while !is_gone() {
        cell.wait(seen.saturating_add(1), None, Duration::ZERO, &is_gone);
        let value = cell.value();
        if value == seen {
            if value == u64::MAX {
                return;
            }
            continue;
        }
        seen = value;
        engine.change(|_| ());
    }
}

/// What the engine does without work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// Waits for some, until the process ends.
    Wait,
    /// Comes back.
    #[cfg(feature = "fuzzing")]
    Return,
}

/// Runs work.
pub(super) fn run(session: &Arc<Session>, idle: Idle) {
    let engine = &session.engine;
    loop {
        let mut state = engine.state.lock();
        let work = state.timeline.next_work();
        let events = state.timeline.take_events();
        engine.watch(&mut state);
        match work {
            None if events.is_empty() => match idle {
                Idle::Wait if state.unwatched => {
                    engine.wake.wait_for(&mut state, LOOK_AGAIN);
                }
                Idle::Wait => engine.wake.wait(&mut state),
                #[cfg(feature = "fuzzing")]
                Idle::Return => return,
            },
            None => {
                drop(state);
                engine.signal(events);
            }
            Some((queue, work)) => {
                drop(state);
                engine.signal(events);
                if let Err(fault) = perform(engine, &work) {
                    tracing::debug!(device = %work.device, %fault, "submission failed");
                    fail_device(session, work.process, work.device, DeviceExecutionState::ERROR_DMAPAGEFAULT);
                }
                engine.change(|timeline| timeline.complete(queue));
            }
        }
    }
}

fn perform(engine: &Arc<Engine>, work: &Work) -> Result<(), execute::BadCommand> {
    match &work.task {
        Task::Commands { address, size_bytes } => {
            execute::commands(&work.space, *address, *size_bytes, &mut |point| {
                engine.change(|timeline| timeline.signal(point));
            })
        }
        Task::UpdateAddresses(operations) => {
            let mut space = work.space.lock();
            operations.iter().try_for_each(|operation| execute::update(&mut space, operation))
        }
    }
}
