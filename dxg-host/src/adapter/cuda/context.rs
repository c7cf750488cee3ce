//! One CUDA context: what all its streams share.
//!
//! *Failure.* The first error sticks. From then on work completes without running, and the guest reads the error in the status
//! block, where it is written before any cell moves on.
//!
//! *The end.* A context that ends stops its grids, lets everything that is queued complete without running, and waits until no thread
//! works for it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dxg_wire::cuda::status;
use dxg_wire::shm::SharedSlice;
use parking_lot::Condvar;
use parking_lot::Mutex;

use super::super::SessionCalls;
use super::charge::Account;
use super::engine::Engine;
use super::fifo::Fifo;
use super::grid::Grid;
use super::heap::Heap;
use super::memory::Memory;
use super::module::CHARGED_BYTES;
use super::queue::Queue;
use super::settings::Settings;
use super::workspace::Workspaces;

/// Errors of kernels that one worker tells everybody of.
const LOUD_ERRORS: u32 = 8;
/// Entries that wait, of all streams and by their weight, before no more are taken from the ring.
const MOST_WAITING: usize = 1 << 16;

/// What the streams of a context share.
pub(super) struct Context {
    pub(super) engine: Arc<Engine>,
    pub(super) memory: Memory,
    pub(super) settings: Settings,
    pub(super) calls: Arc<dyn SessionCalls>,
    /// What its modules take.
    pub(super) modules: Arc<Account>,
    pub(super) workspaces: Workspaces,
    status: SharedSlice,
    /// The sticky `CUresult`; 0 for none.
    error: AtomicU32,
    ended: AtomicBool,
    /// Set once nothing of it runs any more: it has failed or ended.
    pub(super) given_up: Arc<AtomicBool>,
    /// The client has closed the stream; a thread that runs a grid may be the one that would have seen it.
    pub(super) closing: Arc<AtomicBool>,
    fifo: Mutex<Option<Fifo>>,
    heap: Mutex<Option<Heap>>,
    grids: Mutex<Vec<Arc<Grid>>>,
    queues: Mutex<Vec<Weak<Queue>>>,
    next_grid: AtomicU64,
    /// Streams that a thread has or will have.
    active: AtomicUsize,
    waiting: AtomicUsize,
    changed: Condvar,
    change: Mutex<()>,
}

/// What a context is made of.
pub(super) struct Parts {
    pub(super) engine: Arc<Engine>,
    pub(super) memory: Memory,
    pub(super) workspaces: Workspaces,
    pub(super) status: SharedSlice,
    pub(super) settings: Settings,
    pub(super) calls: Arc<dyn SessionCalls>,
    pub(super) closing: Arc<AtomicBool>,
}

impl Context {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let Parts { engine, memory, workspaces, status, settings, calls, closing } = parts;
        let context = Arc::new(Self {
            engine,
            memory,
            settings,
            modules: Account::new(&calls, CHARGED_BYTES),
            calls,
            workspaces,
            status,
            error: AtomicU32::new(0),
            ended: AtomicBool::new(false),
            given_up: Arc::default(),
            closing,
            fifo: Mutex::new(None),
            heap: Mutex::new(None),
            grids: Mutex::default(),
            queues: Mutex::default(),
            next_grid: AtomicU64::new(1),
            active: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            changed: Condvar::new(),
            change: Mutex::new(()),
        });
        context.engine.watch.add_context(&context);
        context
    }

    /// Whether work is only to be completed.
    pub(super) fn is_failed(&self) -> bool {
        self.error.load(Ordering::Acquire) != 0 || self.ended.load(Ordering::Acquire)
    }

    /// Makes an error stick, unless one does already.
    pub(super) fn fail(&self, result: i32, why: &dyn std::fmt::Display) {
        let result = result.cast_unsigned();
        if self.error.compare_exchange(0, result, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        if let Ok(word) = self.status.atomic_u32(status::ERROR as usize) {
            word.store(result, Ordering::SeqCst);
        }
        static ERRORS: AtomicU32 = AtomicU32::new(0);
        if ERRORS.fetch_add(1, Ordering::Relaxed) < LOUD_ERRORS {
            tracing::warn!(result, %why, "CUDA context failed");
        } else {
            tracing::debug!(result, %why, "CUDA context failed");
        }
        self.given_up.store(true, Ordering::Release);
        // Streams that wait for cells, memory or code have nothing to wait for any more.
        self.engine.watch.poke();
        self.all_queues().iter().for_each(Queue::wake_from_code);
    }

    /// A stream gets a thread, now or soon.
    pub(super) fn enter(&self) {
        self.active.fetch_add(1, Ordering::AcqRel);
    }

    /// It has none any more.
    pub(super) fn leave(&self) {
        if self.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tell_change();
        }
    }

    /// An entry of this weight is queued.
    pub(super) fn queued(&self, weight: usize) {
        self.waiting.fetch_add(weight, Ordering::AcqRel);
    }

    /// Entries of this weight are taken out of a queue.
    pub(super) fn taken(&self, weight: usize) {
        let before = self.waiting.fetch_sub(weight, Ordering::AcqRel);
        if before >= MOST_WAITING && before - weight < MOST_WAITING {
            self.tell_change();
        }
    }

    fn tell_change(&self) {
        drop(self.change.lock());
        self.changed.notify_all();
    }

    /// Waits while more is queued than should be, unless the client closes the stream meanwhile.
    pub(super) fn wait_for_room(&self) {
        if self.waiting.load(Ordering::Acquire) < MOST_WAITING {
            return;
        }
        let mut change = self.change.lock();
        let is_full = || self.waiting.load(Ordering::Acquire) >= MOST_WAITING;
        while is_full() && !self.closing.load(Ordering::Acquire) {
            self.changed.wait_for(&mut change, dxg_wire::shm::futex::SLICE);
        }
    }

    /// Ends the context: see the module.
    pub(super) fn end(self: &Arc<Self>) {
        self.ended.store(true, Ordering::Release);
        self.given_up.store(true, Ordering::Release);
        self.stop_grids();
        self.engine.watch.remove_context(self);
        let queues = self.all_queues();
        // Streams that wait for each other keep each other, unless they are parted.
        queues.iter().for_each(|queue| queue.give_up());
        let mut change = self.change.lock();
        while self.active.load(Ordering::Acquire) != 0 {
            self.stop_grids();
            self.changed.wait_for(&mut change, Duration::from_millis(20));
        }
    }

    fn all_queues(&self) -> Vec<Arc<Queue>> {
        self.queues.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether the client is gone, so that nothing of it should run on.
    pub(super) fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.closing.load(Ordering::Acquire)
    }

    /// A stream was made.
    pub(super) fn add_queue(&self, queue: &Arc<Queue>) {
        let mut queues = self.queues.lock();
        // Now and then: to look at all for each would take long where they are many.
        if queues.len().is_power_of_two() {
            queues.retain(|queue| queue.strong_count() != 0);
        }
        queues.push(Arc::downgrade(queue));
    }

    /// The number of a new grid.
    pub(super) fn grid_number(&self) -> u64 {
        self.next_grid.fetch_add(1, Ordering::Relaxed)
    }

    /// A grid begins to run.
    pub(super) fn grid_begins(&self, grid: Arc<Grid>) {
        self.grids.lock().push(grid);
    }

    /// A grid has ended.
    pub(super) fn grid_ends(&self, grid: &Grid) {
        let mut grids = self.grids.lock();
        let at = grids.iter().position(|other| std::ptr::eq(&**other, grid));
        if let Some(at) = at {
            grids.swap_remove(at);
        }
    }

    /// Whether grids run.
    pub(super) fn has_grids(&self) -> bool {
        !self.grids.lock().is_empty()
    }

    fn stop_grids(&self) {
        self.grids.lock().iter().for_each(|grid| grid.stop());
    }

    /// Stops what has run for too long, and everything once the client is gone.
    pub(super) fn watch_grids(&self) {
        if self.is_over() {
            return self.stop_grids();
        }
        let Some(limit) = self.settings.watchdog else { return };
        self.grids.lock().iter().filter(|grid| grid.has_run_for() >= limit).for_each(|grid| grid.stop());
    }

    /// Sets or takes away where kernels print to.
    pub(super) fn set_fifo(&self, fifo: Option<Fifo>) {
        *self.fifo.lock() = fifo;
    }

    /// Sets or takes away the heap of kernels.
    pub(super) fn set_heap(&self, heap: Option<Heap>) {
        *self.heap.lock() = heap;
    }

    /// Prints for a kernel.
    pub(super) fn print(&self, text: &[u8]) {
        let mut fifo = self.fifo.lock();
        if fifo.as_mut().is_some_and(|fifo| fifo.push(text))
            && let Ok(printed) = self.status.atomic_u32(status::PRINTED as usize)
        {
            printed.store(1, Ordering::Release);
        }
    }

    /// Allocates for a kernel.
    pub(super) fn allocate(&self, bytes: u64) -> u64 {
        self.heap.lock().as_mut().map_or(0, |heap| heap.allocate(bytes))
    }

    /// Frees for a kernel.
    pub(super) fn release(&self, address: u64) -> bool {
        self.heap.lock().as_mut().is_some_and(|heap| heap.release(address))
    }

    /// The addresses that kernels may use.
    pub(super) fn addresses(&self) -> Range<u64> {
        self.memory.range()
    }
}
