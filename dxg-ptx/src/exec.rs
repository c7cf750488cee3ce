//! Running grids: what every executor takes and answers, and what it needs from its host.
//!
//! *Why.* The interpreter and native code run the same programs for the same callers; a test can swap them.
//!
//! *Threads.* A grid is run by any number of threads that each call [`Executable::run`] with the same [`Blocks`]; each takes
//! blocks until none is left.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::ir::FuncId;
use crate::ir::Module;
use crate::ir::Place;

/// A grid to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared_bytes: u32,
    /// The parameter block; shorter than the entry's is an error of the caller.
    pub params: Vec<u8>,
    /// `%gridid`.
    pub grid_id: u64,
    /// What `%envreg1` and `%envreg2` say (high and low half): the workspace of a cooperative launch, or 0.
    pub workspace: u64,
    /// Whether all blocks must make progress together.
    pub residency: Residency,
}

/// Whether blocks may wait for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// They may not: any order is good.
    #[default]
    Independent,
    /// They may: every block gets its turn until all are done.
    Cooperative,
}

impl Launch {
    /// Blocks of the grid.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.grid.iter().map(|&extent| u64::from(extent)).fold(1, u64::saturating_mul)
    }

    /// Threads of a block.
    #[must_use]
    pub fn thread_count(&self) -> u64 {
        self.block.iter().map(|&extent| u64::from(extent)).fold(1, u64::saturating_mul)
    }

    /// The x, y, z of a block by its number; x counts fastest.
    #[must_use]
    pub fn block_index(&self, number: u64) -> [u32; 3] {
        let [x, y] = [u64::from(self.grid[0].max(1)), u64::from(self.grid[1].max(1))];
        let low = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        [low(number % x), low(number / x % y), low(number / x / y)]
    }
}

/// The blocks of a grid that no thread has taken yet.
#[derive(Debug)]
pub struct Blocks {
    next: AtomicU64,
    count: u64,
    /// How many are taken at once.
    step: u64,
    /// How many threads are to leave before all blocks are taken.
    recalled: AtomicU32,
}

impl Blocks {
    /// All blocks of a launch for `threads` threads.
    #[must_use]
    pub fn of(launch: &Launch, threads: usize) -> Self {
        let count = launch.block_count();
        let shares = u64::try_from(threads.max(1)).unwrap_or(1);
        let step = match launch.residency {
            // Few enough at a time that threads end together, many enough that taking them costs nothing.
            Residency::Independent => (count / shares / 8).clamp(1, 64),
            // Each thread keeps its share until the end.
            Residency::Cooperative => count.div_ceil(shares).max(1),
        };
        Self { next: AtomicU64::new(0), count, step, recalled: AtomicU32::new(0) }
    }

    /// Some blocks by number, or none when all are taken or the thread is called back.
    pub fn take(&self) -> Option<Range<u64>> {
        if self.recalled.load(Ordering::Relaxed) != 0 && self.obey_recall() {
            return None;
        }
        let start = self.next.fetch_add(self.step, Ordering::Relaxed);
        (start < self.count).then(|| start..self.count.min(start + self.step))
    }

    fn obey_recall(&self) -> bool {
        let one_less = |recalled: u32| recalled.checked_sub(1);
        self.recalled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Calls one thread back: it leaves the grid although blocks are left, which others, or the same one later, will take.
    pub fn recall(&self) {
        self.recalled.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether all blocks are taken.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.count
    }

    /// Lets nobody take blocks any more.
    pub fn cancel(&self) {
        self.next.store(self.count, Ordering::Relaxed);
    }
}

/// What running code asks of its host.
pub trait Host: Sync {
    /// The addresses that kernels may use as global memory; parts of it may be unmapped. Everything else is an illegal address.
    fn memory(&self) -> Range<u64>;

    /// Whether all of these bytes are mapped, if the host can tell cheaply; asked by the interpreter only.
    fn is_mapped(&self, address: u64, bytes: u64) -> bool;

    /// Takes the text of one `printf`.
    fn print(&self, text: &[u8]);

    /// `malloc` of a kernel: an address aligned to 16, or 0.
    fn allocate(&self, bytes: u64) -> u64;

    /// `free` of a kernel. Whether it was allocated.
    fn release(&self, address: u64) -> bool;

    /// Set from any thread when the grid is to end with [`FaultKind::Stopped`].
    fn stop(&self) -> &AtomicBool;
}

/// How a grid failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An address that is not memory.
    IllegalAddress {
        /// Which, as a generic address, where it is known.
        address: Option<u64>,
    },
    /// An address that is not a multiple of the access.
    Misaligned {
        /// Which.
        address: u64,
    },
    /// An address of the wrong space, such as an atomic on local memory.
    InvalidSpace,
    /// `__assertfail`; its message was printed.
    Assert,
    /// `trap` or `brkpt`.
    Trap,
    /// An indirect call or branch to what is no function or block.
    InvalidTarget,
    /// The stack of a thread is full.
    StackOverflow,
    /// Threads wait for a barrier that cannot come about any more.
    Deadlock,
    /// The host said so.
    Stopped,
    /// What the launch asks cannot be done: more threads or shared memory than there may be, too few parameter bytes.
    Launch,
}

/// Where a grid failed, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?} in {function} at {place}, block {block:?}, thread {thread:?}")]
pub struct Fault {
    /// How.
    pub kind: FaultKind,
    /// In which function; empty if unknown.
    pub function: String,
    /// At which place in its text; 0 if unknown.
    pub place: Place,
    /// In which block.
    pub block: [u32; 3],
    /// In which thread, where it is known.
    pub thread: Option<[u32; 3]>,
}

/// Where the variables of a module lie: the address of each that is in global or constant space, by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// 0 for shared variables.
    pub addresses: Vec<u64>,
}

/// What an entry needs of its launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Static shared memory.
    pub shared_bytes: u32,
    /// Local memory of a thread without recursion.
    pub local_bytes: u32,
    /// Constant variables within reach.
    pub const_bytes: u32,
    /// Registers of a thread, estimated.
    pub registers: u32,
}

/// Something that can run the entries of one module, placed in memory.
pub trait Executable: Send + Sync {
    /// The module.
    fn module(&self) -> &Module;

    /// What an entry needs.
    fn needs(&self, entry: FuncId) -> Needs;

    /// Runs blocks of a grid on the calling thread until none is left.
    ///
    /// # Errors
    /// What went wrong. The other threads should be stopped by [`Blocks::cancel`] and the host's `stop`.
    fn run(&self, entry: FuncId, launch: &Launch, blocks: &Blocks, host: &dyn Host) -> Result<(), Fault>;
}
