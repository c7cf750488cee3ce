//! Threads that run streams and grids: one for each core, and more where streams would wait for each other's threads.
//!
//! *Order.* A thread takes a stream that is ready first, the most urgent one, and otherwise helps with a grid. Where all threads are in
//! grids, one is called back for a stream that becomes ready. Blocks are not interrupted; where they run for long, another thread is
//! started, so that a stream always comes forward however long the others take.
//!
//! *Locks.* One mutex, held for looking only.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Condvar;
use parking_lot::Mutex;

use super::grid::Grid;
use super::grid::Left;
use super::queue::Queue;
use super::work;

/// How long a ready stream may wait for a thread before another one is started.
const PATIENCE: Duration = Duration::from_millis(20);
/// Most threads beyond one for each core: CUDA's devices run as many grids at once.
const MOST_EXTRA: usize = 128;
/// Least threads: a grid that waits for what another stream does must not keep it from being done.
const LEAST: usize = 2;

#[derive(Default)]
struct State {
    /// By urgency, then by age.
    ready: BTreeMap<(i32, u64), Arc<Queue>>,
    next: u64,
    /// When the first of `ready` began to wait, or one was taken last.
    waiting_since: Option<Instant>,
    /// Grids that have not ended.
    grids: Vec<Arc<Grid>>,
    /// Threads that sleep and that nobody has woken yet.
    idle: usize,
    extra: usize,
    is_closing: bool,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    threads: usize,
}

/// A way to the pool for whoever watches it.
#[derive(Clone)]
pub(super) struct Handle(Arc<Shared>);

/// The threads; they end when this is dropped and no work is left.
pub(super) struct Pool(Arc<Shared>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    /// Sleeps while there is no work.
    Always,
    /// Ends when there is no work.
    WhileBusy,
}

impl Pool {
    /// Starts a thread for each core that this process may use.
    ///
    /// # Errors
    /// When not even the least number of threads can be started.
    pub(super) fn start() -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from).max(LEAST);
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), threads });
        // Threads that are started end again if one of them cannot be.
        let pool = Self(shared);
        for number in 0..threads {
            pool.0.start(format!("cuda {number}"), Stay::Always)?;
        }
        Ok(pool)
    }

    /// A way to it that does not keep its threads alive.
    pub(super) fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.0))
    }

    /// Threads that a grid is shared out to.
    pub(super) fn threads(&self) -> usize {
        self.0.threads
    }

    /// A stream has work and no thread.
    pub(super) fn submit(&self, queue: Arc<Queue>) {
        let mut state = self.0.state.lock();
        let number = state.next;
        state.next += 1;
        if state.ready.is_empty() {
            state.waiting_since = Some(Instant::now());
        }
        state.ready.insert((queue.priority, number), queue);
        if state.idle > 0 {
            state.idle -= 1;
            drop(state);
            self.0.work.notify_one();
            return;
        }
        let busiest = state.grids.iter().max_by_key(|grid| grid.thread_count());
        if let Some(grid) = busiest {
            grid.recall();
        }
    }

    /// A grid runs and has blocks for more than its first thread.
    pub(super) fn open(&self, grid: &Arc<Grid>) {
        grid.opened();
        let wanted = usize::try_from(grid.wants_helpers()).unwrap_or(usize::MAX);
        let mut state = self.0.state.lock();
        state.grids.push(Arc::clone(grid));
        let helpers = wanted.min(state.idle);
        state.idle -= helpers;
        drop(state);
        for _ in 0..helpers {
            self.0.work.notify_one();
        }
    }
}

impl Pool {
    /// A grid that was opened has ended.
    pub(super) fn close(&self, grid: &Grid) {
        let mut state = self.0.state.lock();
        let at = state.grids.iter().position(|other| std::ptr::eq(&**other, grid));
        let closed = at.map(|at| state.grids.swap_remove(at));
        drop(state);
        // With it may go its context, and with that everything.
        drop(closed);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_closing = true;
        state.idle = 0;
        drop(state);
        self.0.work.notify_all();
    }
}

impl Handle {
    /// Starts another thread if a stream has waited for one for long.
    pub(super) fn relieve(&self) {
        let mut state = self.0.state.lock();
        let waits = state.waiting_since.is_some_and(|since| since.elapsed() >= PATIENCE);
        if !waits || state.extra >= MOST_EXTRA {
            return;
        }
        state.extra += 1;
        state.waiting_since = Some(Instant::now());
        drop(state);
        if let Err(error) = self.0.start("cuda extra".to_owned(), Stay::WhileBusy) {
            tracing::warn!(%error, "no thread for a stream that waits");
            self.0.state.lock().extra -= 1;
        }
    }
}

/// What a thread does next.
enum Next {
    Stream(Arc<Queue>),
    Help(Arc<Grid>),
}

impl Shared {
    fn start(self: &Arc<Self>, name: String, stay: Stay) -> io::Result<()> {
        let shared = Arc::clone(self);
        thread::Builder::new().name(name).spawn(move || shared.run(stay))?;
        Ok(())
    }

    fn run(&self, stay: Stay) {
        while let Some(next) = self.next(stay) {
            match next {
                Next::Stream(queue) => work::run(&queue),
                Next::Help(grid) => {
                    if grid.take_part() == Left::Last {
                        work::after_grid(&grid);
                    }
                }
            }
        }
    }

    fn next(&self, stay: Stay) -> Option<Next> {
        let mut state = self.state.lock();
        loop {
            if let Some((_, queue)) = state.ready.pop_first() {
                state.waiting_since = (!state.ready.is_empty()).then(Instant::now);
                return Some(Next::Stream(queue));
            }
            if let Some(grid) = state.grid_to_help() {
                return Some(Next::Help(grid));
            }
            match stay {
                Stay::WhileBusy => {
                    state.extra -= 1;
                    return None;
                }
                Stay::Always if state.is_closing => return None,
                Stay::Always => {
                    state.idle += 1;
                    // Whoever notifies has counted us out.
                    self.work.wait(&mut state);
                }
            }
        }
    }
}

impl State {
    /// The most urgent grid that has blocks left, or lacks a thread to end it.
    fn grid_to_help(&mut self) -> Option<Arc<Grid>> {
        self.grids.retain(|grid| grid.thread_count().is_some());
        let needs = |grid: &&Arc<Grid>| {
            let threads = grid.thread_count();
            if grid.is_exhausted() {
                threads == Some(0)
            } else {
                threads == Some(0) || grid.wants_helpers() > 0 && grid.has_room()
            }
        };
        let best =
            self.grids.iter().filter(needs).min_by_key(|grid| (grid.queue().priority, grid.thread_count()));
        best.map(Arc::clone)
    }
}
