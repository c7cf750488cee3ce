//! A thread that looks at what rings no bell: cells and numbers that streams wait for, grids that run for too long.
//!
//! *Why.* A cell can be waited for by its futex, numbers in plain memory cannot: they are looked at again and again, less and less
//! often. The same thread looks after grids, every few milliseconds while there are any, and sleeps otherwise.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::cell;
use dxg_wire::cell::CELL_BYTES;
use dxg_wire::cell::FenceCell;
use dxg_wire::shm;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

use super::context::Context;
use super::pool;
use super::queue::Queue;
use super::result;
use super::work::Awaited;

/// Between two looks at running grids.
const TICK: Duration = Duration::from_millis(5);
/// Without grids for so long, the thread sleeps until there is one.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks at numbers in memory: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_micros(20);
const LONGEST_LOOK: Duration = Duration::from_millis(1);

/// Nanoseconds of the monotonic clock.
pub(super) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// A stream that waits for a cell.
#[derive(Clone)]
struct CellWait {
    cell: FenceCell,
    value: u64,
    queue: Arc<Queue>,
}

/// A stream that waits for a number in memory.
#[derive(Clone)]
struct ValueWait {
    awaited: Awaited,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct State {
    cells: Vec<CellWait>,
    values: Vec<ValueWait>,
    contexts: Vec<Weak<Context>>,
    is_closing: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Grows when the thread should look again.
    control: FenceCell,
    pokes: AtomicU64,
    /// A grid began to run since the last look.
    activity: AtomicBool,
    /// The thread does not look after grids at the moment.
    dozes: AtomicBool,
    pool: pool::Handle,
}

/// The thread; it ends when this is dropped.
pub(super) struct Watch(Arc<Shared>);

impl Watch {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread or memory for it.
    pub(super) fn start(pool: pool::Handle) -> io::Result<Self> {
        let memory = shm::create_sealed("dxg-watch", 4096).map_err(io::Error::other)?;
        let memory = Mapping::map(memory.as_fd(), 0, 4096, Access::ReadWrite, Populate::Prefault)
            .map_err(io::Error::other)?;
        let memory = SharedSlice::whole(&memory).sub(0, CELL_BYTES).map_err(io::Error::other)?;
        let control = FenceCell::new(memory).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            control,
            pokes: AtomicU64::new(0),
            activity: AtomicBool::new(false),
            dozes: AtomicBool::new(false),
            pool,
        });
        let runs = Arc::clone(&shared);
        thread::Builder::new().name("cuda watch".to_owned()).spawn(move || runs.run())?;
        Ok(Self(shared))
    }

    /// A grid begins to run.
    pub(super) fn note_activity(&self) {
        if self.0.activity.load(Ordering::Relaxed) {
            return;
        }
        self.0.activity.store(true, Ordering::SeqCst);
        if self.0.dozes.load(Ordering::SeqCst) {
            self.poke();
        }
    }

    /// Makes the thread look at once.
    pub(super) fn poke(&self) {
        self.0.poke();
    }

    /// Wakes a parked stream once a cell is at least at a value.
    pub(super) fn wait_cell(&self, cell: FenceCell, value: u64, queue: &Arc<Queue>) {
        self.0.state.lock().cells.push(CellWait { cell, value, queue: Arc::clone(queue) });
        self.poke();
    }

    /// Wakes a parked stream once a number is as wanted.
    pub(super) fn wait_value(&self, awaited: Awaited, queue: &Arc<Queue>) {
        self.0.state.lock().values.push(ValueWait { awaited, queue: Arc::clone(queue) });
        self.poke();
    }

    /// Looks after a context.
    pub(super) fn add_context(&self, context: &Arc<Context>) {
        self.0.state.lock().contexts.push(Arc::downgrade(context));
    }

    /// Forgets a context, and its streams that wait.
    pub(super) fn remove_context(&self, context: &Arc<Context>) {
        let is_its = |queue: &Queue| Arc::ptr_eq(&queue.context, context);
        let mut state = self.0.state.lock();
        state.contexts.retain(|other| other.upgrade().is_some_and(|other| !Arc::ptr_eq(&other, context)));
        let cells: Vec<CellWait> = state.cells.extract_if(.., |wait| is_its(&wait.queue)).collect();
        let values: Vec<ValueWait> = state.values.extract_if(.., |wait| is_its(&wait.queue)).collect();
        drop(state);
        drop((cells, values));
        self.poke();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.state.lock().is_closing = true;
        self.poke();
    }
}

impl Shared {
    fn poke(&self) {
        self.control.publish(self.pokes.fetch_add(1, Ordering::AcqRel) + 1);
    }

    fn run(&self) {
        let mut last_active = Instant::now();
        let mut look = FIRST_LOOK;
        loop {
            let seen = self.pokes.load(Ordering::Acquire);
            if self.activity.swap(false, Ordering::SeqCst) {
                last_active = Instant::now();
            }
            let mut state = self.state.lock();
            if state.is_closing {
                return;
            }
            let woken = state.take_reached();
            let cells: Vec<(FenceCell, u64)> =
                state.cells.iter().map(|wait| (wait.cell.clone(), wait.value)).collect();
            let has_values = !state.values.is_empty();
            let contexts: Vec<Arc<Context>> = state.contexts.iter().filter_map(Weak::upgrade).collect();
            drop(state);
            look = if woken.is_empty() { (look * 2).min(LONGEST_LOOK) } else { FIRST_LOOK };
            woken.iter().for_each(Queue::wake);
            drop(woken);
            let is_active =
                last_active.elapsed() < QUIET || contexts.iter().any(|context| context.has_grids());
            if is_active {
                contexts.iter().for_each(|context| context.watch_grids());
                self.pool.relieve();
            }
            drop(contexts);
            if !is_active {
                self.dozes.store(true, Ordering::SeqCst);
                if self.activity.load(Ordering::SeqCst) {
                    self.dozes.store(false, Ordering::SeqCst);
                    continue;
                }
            }
            let pause = if has_values { Some(look) } else { is_active.then_some(TICK) };
            let deadline = pause.map(|pause| Instant::now() + pause);
            let mut waits: Vec<(&FenceCell, u64)> = vec![(&self.control, seen + 1)];
            waits.extend(cells.iter().map(|(cell, value)| (cell, *value)));
            cell::wait_any(&waits, deadline, Duration::ZERO, &|| false);
            self.dozes.store(false, Ordering::SeqCst);
        }
    }
}

impl State {
    /// Streams whose wait is over, or has become pointless.
    fn take_reached(&mut self) -> Vec<Arc<Queue>> {
        let is_pointless = |queue: &Queue| queue.context.is_failed();
        let mut woken: Vec<Arc<Queue>> = self
            .cells
            .extract_if(.., |wait| wait.cell.value() >= wait.value || is_pointless(&wait.queue))
            .map(|wait| wait.queue)
            .collect();
        let is_over = |wait: &mut ValueWait| {
            is_pointless(&wait.queue)
                || match wait.awaited.is_there(&wait.queue) {
                    Ok(is_there) => is_there,
                    Err(gone) => {
                        let why = format_args!("no memory at {:#x}", gone.address);
                        wait.queue.context.fail(result::ILLEGAL_ADDRESS, &why);
                        true
                    }
                }
        };
        woken.extend(self.values.extract_if(.., is_over).map(|wait| wait.queue));
        woken
    }
}
