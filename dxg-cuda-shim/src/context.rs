//! Contexts: a ring, the memory, the streams, and how work is put on them.
//!
//! *Locks.* The order's, then those of the arena, then the ring's batch. Nothing of the program is called under any of them.

#![forbid(unsafe_code)]

use std::any::Any;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::ThreadId;

use dxg_wire::cuda;
use dxg_wire::cuda::op;
use parking_lot::Mutex;
use parking_lot::MutexGuard;

use crate::arena::Arena;
use crate::arena::Kind;
use crate::arena::Residence;
use crate::cells::Cells;
use crate::device::Device;
use crate::fifo::Fifo;
use crate::generated::enums::CUlimit;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::host_calls::HostCalls;
use crate::lane::Blocking;
use crate::lane::Lane;
use crate::link::Link;
use crate::registered::Pieces;
use crate::ring::Batch;
use crate::ring::Ring;
use crate::types::Answer;
use crate::work;
use crate::work::HostCall;
use crate::work::Launch;
use crate::work::Work;

static IDS: AtomicU64 = AtomicU64::new(1);
static LANE_IDS: AtomicU64 = AtomicU64::new(3);
/// Numbers that streams may have on the host.
const LANES: u32 = 1 << 16;
/// Bytes that `malloc` of kernels takes from, unless a limit says otherwise.
const HEAP_BYTES: u64 = 8 << 20;
/// Bytes that kernels print to, unless a limit says otherwise.
const FIFO_BYTES: u64 = 1 << 20;
/// Ranges that the host is asked for.
const RANGE_TRIES: usize = 16;
/// Work is posted when there are so many bytes of it, for the host to begin: first a few, then more each time.
const FIRST_PART_BYTES: usize = 512;
const MOST_PART_BYTES: usize = 16 << 10;
/// Places for values of conditions that are made at once, and how far they are apart.
const VALUES: u64 = 64;
const VALUE_STRIDE_BYTES: u64 = 64;
/// Things that wait for work are looked through when there are so many.
const MANY_KEPT: usize = 256;

/// An open ring with its range, before or after there is a context over it.
#[derive(Debug)]
pub struct Opened {
    ring: Ring,
    arena: Arena,
    /// What the host says of its device.
    pub description: cuda::Description,
}

impl Opened {
    /// Opens a context on the host.
    ///
    /// # Errors
    /// Why there is none.
    pub fn new(link: Box<dyn Link>, compute_capability: u32) -> Answer<Self> {
        let quota_bytes = link.quota_bytes();
        let ring = Ring::over(link)?;
        // Ranges that are free here and not on the host; kept so that each try is another.
        let mut taken = Vec::new();
        let (range, description) = loop {
            let range = crate::arena::reserve(quota_bytes).ok_or(CUresult::ERROR_OUT_OF_MEMORY)?;
            let open = cuda::Open {
                version: cuda::VERSION,
                compute_capability,
                range_start: range.start(),
                range_bytes: range.bytes(),
                status_io: ring.status_io(),
            };
            let description = ring.call(op::OPEN, |to| open.encode(to), cuda::Description::decode)?;
            if CUresult(description.result) != CUresult::ERROR_OUT_OF_MEMORY || taken.len() >= RANGE_TRIES {
                break (range, description);
            }
            taken.push(range);
        };
        if description.result != 0 {
            tracing::error!(result = ?CUresult(description.result), "the host has no context for us");
            return Err(CUresult(description.result));
        }
        let residence = match (description.version, description.memory_kind) {
            (cuda::VERSION, cuda::memory_kind::SHARED) => Residence::Shared,
            (cuda::VERSION, cuda::memory_kind::REMOTE) => Residence::Remote,
            (version, memory_kind) => {
                tracing::error!(version, memory_kind, "the host's memory is not for this library");
                return Err(CUresult::ERROR_NOT_SUPPORTED);
            }
        };
        Ok(Self { ring, arena: Arena::new(range, residence), description })
    }
}

#[derive(Debug, Default)]
struct Order {
    /// Streams that go with the legacy one.
    blocking: Vec<Arc<Lane>>,
    /// All others.
    others: Vec<Arc<Lane>>,
    /// Streams that are destroyed and still have work.
    ending: Vec<Arc<Lane>>,
    /// Numbers that are free again, oldest first.
    numbers: VecDeque<u32>,
    next_number: u32,
}

impl Order {
    fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.blocking.iter().chain(&self.others).chain(&self.ending)
    }
}

/// Work in the making, for one stream or several: while it lives, nobody else's comes between.
#[derive(Debug)]
pub struct Posting<'a> {
    context: &'a Context,
    order: MutexGuard<'a, Order>,
    batch: Batch<'a>,
    part_bytes: usize,
    /// Streams that have new work, with its last number.
    ahead: Vec<(Arc<Lane>, u64)>,
}

impl Posting<'_> {
    /// The stream with its next number.
    fn next(&mut self, lane: &Arc<Lane>) -> Answer<u64> {
        if self.batch.len() > self.part_bytes {
            self.push()?;
            self.part_bytes = (self.part_bytes * 2).min(MOST_PART_BYTES);
        }
        let sequence = self.begin(lane);
        *sequence += 1;
        Ok(*sequence)
    }

    /// Puts work on a stream.
    ///
    /// # Errors
    /// The device is gone.
    pub fn put(&mut self, lane: &Arc<Lane>, work: &Work) -> Answer {
        let sequence = self.next(lane)?;
        work.put(&mut self.batch, lane.number, sequence);
        Ok(())
    }

    /// Puts a grid on a stream.
    ///
    /// # Errors
    /// The device is gone.
    pub fn launch(&mut self, lane: &Arc<Lane>, launch: &Launch) -> Answer {
        let sequence = self.next(lane)?;
        work::put_launch(launch, &mut self.batch, lane.number, sequence);
        Ok(())
    }

    /// Makes a stream wait for work of another.
    ///
    /// # Errors
    /// The device is gone.
    pub fn wait(&mut self, lane: &Arc<Lane>, other: &Arc<Lane>, sequence: u64) -> Answer {
        if Arc::ptr_eq(lane, other) || other.is_done(sequence) {
            return Ok(());
        }
        self.put(lane, &Work::Wait(Arc::clone(other), sequence))
    }

    /// The number of the last work on a stream.
    #[must_use]
    pub fn last(&self, lane: &Arc<Lane>) -> u64 {
        let found = self.ahead.iter().find(|(one, _)| Arc::ptr_eq(one, lane));
        found.map_or_else(|| lane.last(), |(_, sequence)| *sequence)
    }

    /// Makes a stream wait for what the legacy stream has, if it goes with that. Answers the place of its last number.
    pub fn begin(&mut self, lane: &Arc<Lane>) -> &mut u64 {
        let Self { context, order, batch, ahead, .. } = self;
        let at = ahead.iter().position(|(one, _)| Arc::ptr_eq(one, lane)).unwrap_or_else(|| {
            let mut sequence = lane.last();
            put_legacy_waits(order, &context.legacy, lane, batch, &mut sequence);
            ahead.push((Arc::clone(lane), sequence));
            ahead.len() - 1
        });
        &mut ahead[at].1
    }

    fn push(&mut self) -> Answer {
        self.batch.push()?;
        for (lane, sequence) in &self.ahead {
            lane.last.store(*sequence, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Posts all of it.
    ///
    /// # Errors
    /// The device is gone.
    pub fn finish(mut self) -> Answer {
        self.push()
    }
}

/// Something that must stay until work is complete.
struct Kept {
    lane: Arc<Lane>,
    sequence: u64,
    _thing: Arc<dyn Any + Send + Sync>,
}

/// A context.
pub struct Context {
    /// Its name, set once it has one.
    pub name: OnceLock<CUcontext>,
    /// A number of its own in the process.
    pub id: u64,
    /// Its device.
    pub device: Arc<Device>,
    /// Flags of `cuCtxCreate`.
    pub flags: AtomicU32,
    /// The ring.
    pub ring: Arc<Ring>,
    /// Its memory.
    pub arena: Arena,
    /// Places for progress and times.
    pub cells: Cells,
    /// The legacy default stream.
    pub legacy: Arc<Lane>,
    order: Mutex<Order>,
    per_thread: Mutex<HashMap<ThreadId, Arc<Lane>>>,
    kept: Mutex<Vec<Kept>>,
    host_calls: HostCalls,
    fifo: Mutex<Option<Fifo>>,
    heap: Mutex<Option<u64>>,
    limits: Mutex<HashMap<i32, u64>>,
    /// Memory of the program that the device has.
    pub registered: Pieces,
    /// Streams for branches of graphs that nobody has now.
    tracks: Mutex<Vec<Arc<Lane>>>,
    /// Places for values of conditions that nobody has now.
    values: Mutex<Vec<u64>>,
    destroyed: AtomicBool,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Context {
    /// A context over an open ring.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn new(device: Arc<Device>, opened: Opened, flags: u32) -> Answer<Arc<Self>> {
        let Opened { ring, arena, .. } = opened;
        let cells = Cells::default();
        let mut order = Order::default();
        let legacy = make_lane(&ring, &cells, &mut order, Blocking::Legacy, 0)?;
        let ring = Arc::new(ring);
        Ok(Arc::new(Self {
            name: OnceLock::new(),
            id: IDS.fetch_add(1, Ordering::Relaxed),
            device,
            flags: AtomicU32::new(flags),
            host_calls: HostCalls::new(Arc::clone(&ring)),
            ring,
            arena,
            cells,
            legacy,
            order: Mutex::new(order),
            per_thread: Mutex::default(),
            kept: Mutex::default(),
            fifo: Mutex::default(),
            heap: Mutex::default(),
            limits: Mutex::default(),
            registered: Pieces::default(),
            tracks: Mutex::default(),
            values: Mutex::default(),
            destroyed: AtomicBool::new(false),
        }))
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// Destroyed; what its work has met; the loss of the host.
    #[inline]
    pub fn check(&self) -> Answer {
        if self.destroyed.load(Ordering::Relaxed) {
            return Err(CUresult::ERROR_CONTEXT_IS_DESTROYED);
        }
        self.ring.check()
    }

    /// Whether it was destroyed.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::Relaxed)
    }

    /// Ends it: what it has is gone.
    pub fn destroy(&self) {
        if self.destroyed.swap(true, Ordering::Relaxed) {
            return;
        }
        for lane in self.lanes() {
            crate::capture::leave(&lane);
        }
        // What still runs uses the memory. An error of the work is no reason to keep it.
        let _ = self.settle();
        self.host_calls.stop();
        self.flush_prints();
        crate::tables::forget(self);
        self.kept.lock().clear();
        self.arena.clear(&self.ring);
        // Memory of the program is given back when the host has let go of it.
        let _ = self.ring.drain();
        self.arena.reclaim(&self.ring);
        self.registered.clear();
    }

    /// Makes a stream.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn new_lane(&self, blocking: Blocking, priority: i32) -> Answer<Arc<Lane>> {
        self.check()?;
        let order = &mut *self.order.lock();
        order.reap();
        make_lane(&self.ring, &self.cells, order, blocking, priority)
    }

    /// Ends a stream; what is queued on it still runs.
    pub fn end_lane(&self, lane: &Arc<Lane>) {
        let order = &mut *self.order.lock();
        order.blocking.retain(|other| !Arc::ptr_eq(other, lane));
        order.others.retain(|other| !Arc::ptr_eq(other, lane));
        order.ending.push(Arc::clone(lane));
        let message = cuda::StreamRef { stream: lane.number };
        // A host that is gone has no streams.
        let _ = self.ring.post(op::DESTROY_STREAM, |to| message.encode(to));
        order.reap();
    }

    /// The calling thread's default stream.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn per_thread_lane(&self) -> Answer<Arc<Lane>> {
        let mut lanes = self.per_thread.lock();
        let thread = std::thread::current().id();
        if let Some(lane) = lanes.get(&thread) {
            return Ok(Arc::clone(lane));
        }
        let lane = self.new_lane(Blocking::Yes, 0)?;
        lanes.insert(thread, Arc::clone(&lane));
        Ok(lane)
    }

    /// Puts work on a stream. Answers the number of the last.
    ///
    /// # Errors
    /// What earlier work has met; the device is gone.
    pub fn submit(&self, lane: &Arc<Lane>, works: &[Work]) -> Answer<u64> {
        let order = self.order.lock();
        self.submit_in(&order, lane, works)
    }

    /// Begins to put work on streams.
    ///
    /// # Errors
    /// What earlier work has met; the device is gone.
    pub fn posting(&self) -> Answer<Posting<'_>> {
        let order = self.order.lock();
        self.check()?;
        Ok(Posting {
            context: self,
            order,
            batch: self.ring.batch(),
            part_bytes: FIRST_PART_BYTES,
            ahead: Vec::new(),
        })
    }

    /// Streams for the branches of a graph: nobody else has them until they are given back.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn take_tracks(&self, count: usize) -> Answer<Vec<Arc<Lane>>> {
        let mut tracks = {
            let mut free = self.tracks.lock();
            let kept = free.len().saturating_sub(count);
            free.split_off(kept)
        };
        while tracks.len() < count {
            tracks.push(self.new_lane(Blocking::No, 0)?);
        }
        Ok(tracks)
    }

    /// Gives them back. What is queued on them still runs.
    pub fn give_tracks(&self, tracks: Vec<Arc<Lane>>) {
        self.tracks.lock().extend(tracks);
    }

    /// A place that kernels see for a value of four bytes.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn take_value(&self) -> Answer<u64> {
        let mut values = self.values.lock();
        if values.is_empty() {
            let start = self.arena.allocate(&self.ring, VALUES * VALUE_STRIDE_BYTES, Kind::Own, 0)?;
            values.extend((0..VALUES).rev().map(|at| start + at * VALUE_STRIDE_BYTES));
        }
        values.pop().ok_or(CUresult::ERROR_OUT_OF_MEMORY)
    }

    /// Gives it back, for others of its kind.
    pub fn give_value(&self, place: u64) {
        self.values.lock().push(place);
    }

    fn submit_in(&self, order: &Order, lane: &Arc<Lane>, works: &[Work]) -> Answer<u64> {
        self.check()?;
        let mut batch = self.ring.batch();
        let mut sequence = lane.last();
        put_legacy_waits(order, &self.legacy, lane, &mut batch, &mut sequence);
        for work in works {
            sequence += 1;
            work.put(&mut batch, lane.number, sequence);
        }
        batch.push()?;
        lane.last.store(sequence, Ordering::Relaxed);
        Ok(sequence)
    }

    /// Puts a call of the program's on a stream.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_call(&self, lane: &Arc<Lane>, call: HostCall) -> Answer<u64> {
        let order = self.order.lock();
        let number = lane.host_calls.load(Ordering::Relaxed) + 1;
        let wait = [Work::WaitCell(lane.host_done.io(), number)];
        let sequence = self.submit_in(&order, lane, &wait)?;
        lane.host_calls.store(number, Ordering::Relaxed);
        self.host_calls.push(lane, sequence - 1, number, call)?;
        Ok(sequence)
    }

    /// Keeps something until work is complete.
    pub fn keep(&self, lane: &Arc<Lane>, sequence: u64, thing: Arc<dyn Any + Send + Sync>) {
        if lane.is_done(sequence) {
            return;
        }
        let mut kept = self.kept.lock();
        kept.push(Kept { lane: Arc::clone(lane), sequence, _thing: thing });
        let over = if kept.len() >= MANY_KEPT { take_over(&mut kept) } else { Vec::new() };
        drop(kept);
        drop(over);
    }

    /// Waits until work is complete, and says what it has met.
    ///
    /// # Errors
    /// That; the device is gone.
    pub fn wait(&self, lane: &Lane, sequence: u64) -> Answer {
        self.ring.wait(lane.progress.words(), sequence, None)?;
        self.flush_prints();
        self.check()
    }

    /// Waits for all that is on a stream.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn synchronize(&self, lane: &Lane) -> Answer {
        self.wait(lane, lane.last())
    }

    /// Waits for all work of the context.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn synchronize_all(&self) -> Answer {
        self.settle()?;
        self.flush_prints();
        self.check()
    }

    fn settle(&self) -> Answer {
        let targets: Vec<(Arc<Lane>, u64)> = {
            let order = self.order.lock();
            order.lanes().map(|lane| (Arc::clone(lane), lane.last())).collect()
        };
        for (lane, sequence) in targets {
            self.ring.wait(lane.progress.words(), sequence, None)?;
        }
        let over = take_over(&mut self.kept.lock());
        drop(over);
        Ok(())
    }

    /// Waits for what a call on the legacy default stream comes after.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn synchronize_for(&self, lane: &Arc<Lane>) -> Answer {
        if lane.blocking == Blocking::Legacy {
            let targets: Vec<(Arc<Lane>, u64)> = {
                let order = self.order.lock();
                order.blocking.iter().map(|lane| (Arc::clone(lane), lane.last())).collect()
            };
            for (lane, sequence) in targets {
                self.ring.wait(lane.progress.words(), sequence, None)?;
            }
        } else if lane.blocking == Blocking::Yes {
            self.ring.wait(self.legacy.progress.words(), self.legacy.last(), None)?;
        }
        self.synchronize(lane)
    }

    /// Whether a call on a stream would wait for nothing.
    #[must_use]
    pub fn is_ready_for(&self, lane: &Arc<Lane>) -> bool {
        let order = self.order.lock();
        let others_are = match lane.blocking {
            Blocking::No => true,
            Blocking::Yes => self.legacy.is_idle(),
            Blocking::Legacy => order.blocking.iter().all(|lane| lane.is_idle()),
        };
        others_are && lane.is_idle()
    }

    /// Streams at this moment.
    #[must_use]
    pub fn lanes(&self) -> Vec<Arc<Lane>> {
        self.order.lock().lanes().map(Arc::clone).collect()
    }

    /// Prints what kernels have printed.
    pub fn flush_prints(&self) {
        if self.ring.take_printed()
            && let Some(fifo) = &*self.fifo.lock()
        {
            fifo.drain(&crate::ffi::print::to_stdout);
        }
    }

    /// Gives kernels what they print to and allocate from, before the first that might.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn equip(&self) -> Answer {
        if self.arena.residence() == Residence::Remote {
            // The driver's kernels print and allocate as it has it.
            return Ok(());
        }
        let mut fifo = self.fifo.lock();
        if fifo.is_none() {
            let bytes = self.limit(CUlimit::PRINTF_FIFO_SIZE)?;
            let made = Fifo::new(self.ring.link().lease(Fifo::lease_bytes(bytes))?)?;
            let message = cuda::SetFifo { io: made.io(), bytes: made.bytes() };
            self.ring.post(op::SET_FIFO, |to| message.encode(to))?;
            *fifo = Some(made);
        }
        drop(fifo);
        let mut heap = self.heap.lock();
        if heap.is_none() {
            let bytes = self.limit(CUlimit::MALLOC_HEAP_SIZE)?;
            let address = self.arena.allocate(&self.ring, bytes, Kind::Own, 0)?;
            let message = cuda::SetHeap { address, bytes };
            self.ring.post(op::SET_HEAP, |to| message.encode(to))?;
            *heap = Some(address);
        }
        Ok(())
    }

    /// A limit.
    ///
    /// # Errors
    /// Unsupported limit.
    pub fn limit(&self, limit: CUlimit) -> Answer<u64> {
        if let Some(value) = self.limits.lock().get(&limit.0) {
            return Ok(*value);
        }
        match limit {
            CUlimit::STACK_SIZE => Ok(1024),
            CUlimit::PRINTF_FIFO_SIZE => Ok(FIFO_BYTES),
            CUlimit::MALLOC_HEAP_SIZE => Ok(HEAP_BYTES),
            CUlimit::MAX_L2_FETCH_GRANULARITY => Ok(64),
            CUlimit::PERSISTING_L2_CACHE_SIZE => Ok(0),
            _ => Err(CUresult::ERROR_UNSUPPORTED_LIMIT),
        }
    }

    /// Sets a limit.
    ///
    /// # Errors
    /// Unsupported limit; invalid value once kernels were loaded that may print or allocate.
    pub fn set_limit(&self, limit: CUlimit, value: u64) -> Answer {
        self.limit(limit)?;
        let is_in_use = match limit {
            CUlimit::PRINTF_FIFO_SIZE => self.fifo.lock().is_some(),
            CUlimit::MALLOC_HEAP_SIZE => self.heap.lock().is_some(),
            _ => false,
        };
        if is_in_use && self.limit(limit)? != value {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        let value = match limit {
            CUlimit::PRINTF_FIFO_SIZE => value.clamp(4096, 64 << 20),
            CUlimit::MALLOC_HEAP_SIZE => value.max(4096),
            _ => value,
        };
        self.limits.lock().insert(limit.0, value);
        let message = cuda::SetLimit { limit: limit.0 as u32, value };
        self.ring.post(op::SET_LIMIT, |to| message.encode(to)).map(drop)
    }
}

fn take_over(kept: &mut Vec<Kept>) -> Vec<Kept> {
    kept.extract_if(.., |one| one.lane.is_done(one.sequence)).collect()
}

/// Work on a stream that goes with the legacy one waits for that, and the other way round.
fn put_legacy_waits(
    order: &Order,
    legacy: &Arc<Lane>,
    lane: &Arc<Lane>,
    batch: &mut Batch<'_>,
    sequence: &mut u64,
) {
    let mut wait = |other: &Arc<Lane>, seen: &AtomicU64| {
        let last = other.last();
        if seen.load(Ordering::Relaxed) >= last {
            return;
        }
        seen.store(last, Ordering::Relaxed);
        if !other.is_done(last) {
            *sequence += 1;
            Work::Wait(Arc::clone(other), last).put(batch, lane.number, *sequence);
        }
    };
    match lane.blocking {
        Blocking::No => {}
        Blocking::Yes => wait(legacy, &lane.saw_legacy),
        Blocking::Legacy => {
            for other in order.blocking.iter().filter(|other| other.blocking == Blocking::Yes) {
                wait(other, &other.legacy_saw);
            }
        }
    }
}

fn make_lane(
    ring: &Ring,
    cells: &Cells,
    order: &mut Order,
    blocking: Blocking,
    priority: i32,
) -> Answer<Arc<Lane>> {
    let number = if order.next_number < LANES {
        order.next_number += 1;
        order.next_number - 1
    } else {
        order.numbers.pop_front().ok_or(CUresult::ERROR_OUT_OF_MEMORY)?
    };
    let progress = cells.take(ring.link())?;
    let message = cuda::CreateStream { stream: number, priority, progress_io: progress.io() };
    ring.post(op::CREATE_STREAM, |to| message.encode(to))?;
    let lane = Arc::new(Lane {
        number,
        id: if blocking == Blocking::Legacy { 1 } else { LANE_IDS.fetch_add(1, Ordering::Relaxed) },
        blocking,
        priority,
        progress,
        last: AtomicU64::new(0),
        saw_legacy: AtomicU64::new(0),
        legacy_saw: AtomicU64::new(0),
        host_calls: AtomicU64::new(0),
        host_done: cells.take(ring.link())?,
        capture: Mutex::default(),
        is_capturing: AtomicBool::new(false),
    });
    let list = if blocking == Blocking::No { &mut order.others } else { &mut order.blocking };
    list.push(Arc::clone(&lane));
    Ok(lane)
}

impl Order {
    /// Forgets streams that are destroyed and have no work any more.
    fn reap(&mut self) {
        let Self { ending, numbers, .. } = self;
        ending.retain(|lane| {
            let is_over = lane.is_idle();
            if is_over {
                numbers.push_back(lane.number);
            }
            !is_over
        });
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.host_calls.stop();
    }
}
