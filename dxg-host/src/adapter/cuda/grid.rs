//! A grid that runs: threads take part, and the last to leave ends it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dxg_ptx::exec::Blocks;
use dxg_ptx::exec::Fault;
use dxg_ptx::exec::FaultKind;
use dxg_ptx::exec::Host;
use dxg_ptx::exec::Launch;
use dxg_ptx::exec::Residency;
use parking_lot::Mutex;

use super::charge::Charge;
use super::context::Context;
use super::module::Placed;
use super::queue::Queue;
use super::result;
use super::work::Kernel;
use super::workspace::Workspace;

/// A grid that is expected to take no longer than this is run by whoever has it: to wake others takes as long.
pub(super) const SHORT: Duration = Duration::from_micros(20);
/// Most threads of a block.
const MOST_THREADS: u64 = 1024;
/// Most threads of a block along x and y, and along z.
const MOST_ALONG: [u32; 3] = [1024, 1024, 64];
/// Most blocks along x, y and z.
const MOST_BLOCKS: [u32; 3] = [0x7FFF_FFFF, 65_535, 65_535];
/// Most blocks of a cooperative grid, all of which are there at once: more than fit on any device.
const MOST_TOGETHER: u64 = 4096;
/// Most shared memory of a block.
pub(super) const MOST_SHARED_BYTES: u64 = 227 << 10;
/// Most local memory of a block's threads together, which each thread of the pool holds while it runs one.
const MOST_LOCAL_BYTES: u64 = 256 << 20;
/// As much as that is not charged to the client.
const FREE_LOCAL_BYTES: u64 = 1 << 20;

/// A launch that cannot be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) result: i32,
    pub(super) why: &'static str,
}

/// What is known of how long grids of a function take.
#[derive(Debug, Default)]
pub(super) struct Cost {
    /// Nanoseconds of 1024 threads of a grid, one after the other; 0 where nothing is known.
    per_threads: AtomicU64,
    /// The first grid has run. It met neither code nor data in the caches, and is no measure.
    is_warm: AtomicBool,
}

impl Cost {
    /// How long one thread of the host would need for a grid, going by earlier ones.
    pub(super) fn estimate(&self, launch: &Launch) -> Option<Duration> {
        let known = self.per_threads.load(Ordering::Relaxed);
        let threads = threads(launch);
        (known != 0).then(|| Duration::from_nanos(known.saturating_mul(threads) / 1024))
    }

    fn learn(&self, launch: &Launch, busy: Duration) {
        if !self.is_warm.swap(true, Ordering::Relaxed) {
            return;
        }
        let busy = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        let seen = busy.saturating_mul(1024) / threads(launch);
        let known = self.per_threads.load(Ordering::Relaxed);
        // A grid that took long is remembered for a while: to hold up the ring is worse than to wake a thread.
        let next = if known == 0 { seen } else { seen.max(known - known / 8) };
        self.per_threads.store(next.max(1), Ordering::Relaxed);
    }
}

fn threads(launch: &Launch) -> u64 {
    launch.block_count().saturating_mul(launch.thread_count()).max(1)
}

/// How a thread left a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The grid has ended with it: its stream goes on, on this thread.
    Last,
    /// Others are still at it, or it had ended before.
    Others,
}

#[derive(Debug, Default)]
struct State {
    threads: usize,
    has_ended: bool,
}

/// What a grid holds.
#[derive(Debug)]
struct Held {
    workspace: Option<Workspace>,
    _charge: Charge,
}

/// A running grid.
pub(super) struct Grid {
    queue: Arc<Queue>,
    sequence: u64,
    kernel: Kernel,
    blocks: Blocks,
    /// What it holds until it ends.
    held: Mutex<Option<Held>>,
    /// Threads that its charge is for.
    most_threads: usize,
    stop: AtomicBool,
    /// The pool knows it.
    is_open: AtomicBool,
    state: Mutex<State>,
    busy_ns: AtomicU64,
    since: Instant,
}

impl std::fmt::Debug for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grid").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Grid {
    /// A grid that nobody runs yet.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) fn new(queue: &Arc<Queue>, sequence: u64, mut kernel: Kernel) -> Result<Arc<Self>, Refused> {
        check(&kernel.placed, kernel.function, &kernel.launch)?;
        let context = &queue.context;
        kernel.launch.grid_id = context.grid_number();
        let pool_threads = context.engine.pool.threads();
        let charge = charge(context, &kernel, pool_threads)?;
        let (threads, workspace) = match kernel.launch.residency {
            Residency::Independent => (pool_threads, None),
            // All blocks are one thread's, who shares them out.
            Residency::Cooperative => {
                let none =
                    Refused { result: result::LAUNCH_OUT_OF_RESOURCES, why: "too many cooperative grids" };
                (1, Some(context.workspaces.take().ok_or(none)?))
            }
        };
        kernel.launch.workspace = workspace.map_or(0, |workspace| workspace.address);
        let blocks = Blocks::of(&kernel.launch, threads);
        Ok(Arc::new(Self {
            queue: Arc::clone(queue),
            sequence,
            kernel,
            blocks,
            most_threads: if charge.is_nothing() { usize::MAX } else { pool_threads },
            held: Mutex::new(Some(Held { workspace, _charge: charge })),
            stop: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            state: Mutex::default(),
            busy_ns: AtomicU64::new(0),
            since: Instant::now(),
        }))
    }

    /// Its stream.
    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Its number on the stream.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The pool knows it, until it ends.
    pub(super) fn opened(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    /// How many threads it could use beside one.
    pub(super) fn wants_helpers(&self) -> u64 {
        match self.kernel.launch.residency {
            Residency::Independent => self.kernel.launch.block_count().saturating_sub(1),
            Residency::Cooperative => 0,
        }
    }

    /// Whether there is nothing left to take.
    pub(super) fn is_exhausted(&self) -> bool {
        self.blocks.is_exhausted()
    }

    /// Whether one more thread may take part: each holds memory for a block.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().threads < self.most_threads
    }

    /// How many threads take part; `None` when it has ended.
    pub(super) fn thread_count(&self) -> Option<usize> {
        let state = self.state.lock();
        (!state.has_ended).then_some(state.threads)
    }

    /// Asks one of the threads to leave before the end, for something else.
    pub(super) fn recall(&self) {
        self.blocks.recall();
    }

    /// Ends it soon, with an error of its context.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.blocks.cancel();
    }

    /// How long it has run.
    pub(super) fn has_run_for(&self) -> Duration {
        self.since.elapsed()
    }

    /// Runs blocks on this thread until none is left, or it is called back.
    pub(super) fn take_part(&self) -> Left {
        {
            let mut state = self.state.lock();
            if state.has_ended || state.threads >= self.most_threads {
                return Left::Others;
            }
            state.threads += 1;
        }
        let since = Instant::now();
        let ran = match self.kernel.launch.residency {
            Residency::Independent => self.run(&self.blocks),
            Residency::Cooperative => self.run_together(),
        };
        let busy = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.busy_ns.fetch_add(busy, Ordering::Relaxed);
        let context = &self.queue.context;
        if ran.is_ok() && self.stop.load(Ordering::Acquire) && !context.is_failed() && !context.is_over() {
            // It was stopped before its code was made or between two blocks, and nobody found a fault.
            context.fail(result::of_fault(FaultKind::Stopped), &"stopped");
        }
        if let Err(fault) = ran {
            // Other threads of a grid that failed are stopped, and a client that is gone reads no errors. The error comes
            // first: whoever is stopped by it finds it.
            let is_stopped = fault.kind == FaultKind::Stopped && context.is_failed();
            if !is_stopped && !context.is_over() {
                context.fail(result::of_fault(fault.kind), &fault);
            }
            self.stop();
        }
        let mut state = self.state.lock();
        state.threads -= 1;
        if state.threads != 0 || state.has_ended || !self.is_exhausted() {
            return Left::Others;
        }
        state.has_ended = true;
        drop(state);
        let busy = Duration::from_nanos(self.busy_ns.load(Ordering::Relaxed));
        self.kernel.placed.cost(self.kernel.function).learn(&self.kernel.launch, busy);
        self.kernel.placed.has_run(self.kernel.function, context, busy);
        if let Some(workspace) = self.held.lock().take().and_then(|held| held.workspace) {
            context.workspaces.give_back(workspace);
        }
        context.grid_ends(self);
        if self.is_open.load(Ordering::Acquire) {
            context.engine.pool.close(self);
        }
        Left::Last
    }

    fn run(&self, blocks: &Blocks) -> Result<(), Fault> {
        let Kernel { placed, function, launch } = &self.kernel;
        placed.program().run(placed.entry(*function), launch, blocks, self)
    }

    /// Runs all blocks, each on one of as many threads as can be had, which all run at once: blocks may wait for each other.
    fn run_together(&self) -> Result<(), Fault> {
        if self.blocks.take().is_none() {
            return Ok(());
        }
        let wanted = u64::try_from(self.context().engine.pool.threads()).unwrap_or(1);
        let wanted = wanted.min(self.kernel.launch.block_count());
        // How many threads there are is known once they are started; until then they wait for their shares.
        let shares = OnceLock::new();
        let run = || {
            let Some(shares) = shares.get() else { return Ok(()) };
            let ran = self.run(shares);
            if ran.is_err() {
                self.stop.store(true, Ordering::Release);
            }
            ran
        };
        thread::scope(|scope| {
            let mut started = Vec::new();
            for _ in 1..wanted {
                let (begin, begins) = mpsc::channel::<()>();
                let wait_and_run = move || {
                    // Whoever waits is told, or its channel is closed; both mean that the shares are known.
                    let _ = begins.recv();
                    run()
                };
                let thread = thread::Builder::new().name("cuda together".to_owned());
                match thread.spawn_scoped(scope, wait_and_run) {
                    Ok(thread) => started.push((begin, thread)),
                    Err(_) => break,
                }
            }
            let _ = shares.set(Blocks::of(&self.kernel.launch, started.len() + 1));
            let threads: Vec<_> = started.into_iter().map(|(_, thread)| thread).collect();
            let mut worst = run();
            for thread in threads {
                let Ok(ran) = thread.join() else { continue };
                // The first to fail has the others stopped.
                if worst.is_ok() || worst.as_ref().is_err_and(|fault| fault.kind == FaultKind::Stopped) {
                    worst = ran.and(worst);
                }
            }
            worst
        })
    }

    fn context(&self) -> &Context {
        &self.queue.context
    }
}

/// Charges the memory that a grid's blocks hold while they run, where it is much.
fn charge(context: &Context, kernel: &Kernel, threads: usize) -> Result<Charge, Refused> {
    let limits = kernel.placed.limits(kernel.function);
    let of_block = limits.local_bytes.saturating_mul(kernel.launch.thread_count());
    let bytes = match kernel.launch.residency {
        Residency::Independent if of_block <= FREE_LOCAL_BYTES => 0,
        Residency::Independent => of_block.saturating_mul(threads as u64),
        // All blocks have theirs at once.
        Residency::Cooperative => {
            let shared = limits.shared_bytes.saturating_add(kernel.launch.dynamic_shared_bytes.into());
            let all = of_block.saturating_add(shared).saturating_mul(kernel.launch.block_count());
            if all > FREE_LOCAL_BYTES.saturating_mul(threads as u64) { all } else { 0 }
        }
    };
    let refused =
        Refused { result: result::OUT_OF_MEMORY, why: "the quota has no room for the memory of blocks" };
    Charge::new(&context.calls, bytes).ok_or(refused)
}

/// Whether a launch can be run.
fn check(placed: &Placed, function: usize, launch: &Launch) -> Result<(), Refused> {
    let refused = |result, why| Err(Refused { result, why });
    let fits = |extents: [u32; 3], most: [u32; 3]| {
        extents.iter().zip(most).all(|(extent, most)| (1..=most).contains(extent))
    };
    if !fits(launch.grid, MOST_BLOCKS) || !fits(launch.block, MOST_ALONG) {
        return refused(result::INVALID_VALUE, "a grid or block of impossible extents");
    }
    let info = placed.limits(function);
    if launch.thread_count() > MOST_THREADS.min(info.most_threads) {
        return refused(result::INVALID_VALUE, "more threads in a block than the function takes");
    }
    if (launch.params.len() as u64) < info.param_bytes {
        return refused(result::INVALID_VALUE, "fewer parameter bytes than the function has");
    }
    let shared = info.shared_bytes.saturating_add(launch.dynamic_shared_bytes.into());
    if shared > MOST_SHARED_BYTES {
        return refused(result::LAUNCH_OUT_OF_RESOURCES, "more shared memory than there is");
    }
    if launch.residency == Residency::Cooperative && launch.block_count() > MOST_TOGETHER {
        return refused(result::COOPERATIVE_LAUNCH_TOO_LARGE, "more blocks than can run together");
    }
    if info.local_bytes.saturating_mul(launch.thread_count()) > MOST_LOCAL_BYTES {
        return refused(result::LAUNCH_OUT_OF_RESOURCES, "more local memory than there is");
    }
    Ok(())
}

impl Host for Grid {
    fn memory(&self) -> Range<u64> {
        self.context().addresses()
    }

    fn is_mapped(&self, address: u64, bytes: u64) -> bool {
        self.context().memory.is_mapped(address, bytes)
    }

    fn print(&self, text: &[u8]) {
        self.context().print(text);
    }

    fn allocate(&self, bytes: u64) -> u64 {
        self.context().allocate(bytes)
    }

    fn release(&self, address: u64) -> bool {
        self.context().release(address)
    }

    fn stop(&self) -> &AtomicBool {
        &self.stop
    }
}
