//! Descriptor sets, and the writes to them that the host has not heard of.
//!
//! *Why.* Programs make and write far more sets than commands use, over and over. A set and its writes stay here until a
//! command buffer binds the set; they then travel in one piece, ahead of the recording. Vulkan lets a program change a set
//! until it is bound and not after, so nothing can tell the difference. Sets of layouts that may be updated after binding
//! are told to the host at once.
//!
//! *Invariants.* A slot belongs to one pool until the pool ends; its generation only grows. `DIRTY` is cleared only after
//! what was pending is on the stream, so whoever sees a clean set may put commands behind it that use it.
//!
//! *Locks.* Each slot's pending writes have one; the stream's are taken in it. The list of free slots has one, in no other.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use ash::vk;
use dxg_wire::codec::Encoder;
use dxg_wire::codec::NULL;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::op;
use dxg_wire::vulkan::set_flags;
use parking_lot::Mutex;

use crate::ffi::guard::contain;
use crate::ids::TableFull;
use crate::stream::Stream;

const CHUNK_SLOTS: usize = 1024;
const CHUNKS: usize = 1024;
/// More bytes of writes than this are sent without waiting for the set to be bound.
const MAX_PENDING_BYTES: usize = 16 << 10;

/// The set is allocated.
const LIVE: u32 = 1;
/// The host has the set.
const KNOWN: u32 = 2;
/// There is something that the host has not heard of.
const DIRTY: u32 = 4;
/// Whatever happens to the set goes to the host at once.
const EAGER: u32 = 8;
/// The layout has immutable samplers.
const IMMUTABLE: u32 = 16;

/// When the host hears of changes to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// When it is bound.
    Deferred,
    /// At once.
    Eager,
}

/// Whether a layout has immutable samplers; what the program writes in their place has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samplers {
    /// None.
    Written,
    /// Some.
    Immutable,
}

/// What a set is allocated with.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The pool's id.
    pub pool: u64,
    /// The layout's id.
    pub layout: u64,
    /// Descriptors of the variable binding, where the program says so.
    pub variable: Option<u32>,
    /// Where the pool keeps it.
    pub place: u32,
    /// When the host hears of it.
    pub timing: Timing,
    /// What its samplers are.
    pub samplers: Samplers,
}

/// One set, or room for one.
#[derive(Debug, Default)]
pub struct Slot {
    generation: AtomicU32,
    state: AtomicU32,
    pool: AtomicU64,
    layout: AtomicU64,
    variable: AtomicU32,
    place: AtomicU32,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    /// The generation that the writes are of; those of an earlier one are forgotten.
    generation: u32,
    count: u32,
    writes: Encoder,
}

impl Slot {
    /// Begins a new set; `None` when the slot is worn out.
    fn begin(&self, index: u32, origin: &Origin) -> Option<u64> {
        let generation = self.generation.load(Ordering::Relaxed).checked_add(1)?;
        self.generation.store(generation, Ordering::Relaxed);
        self.pool.store(origin.pool, Ordering::Relaxed);
        self.layout.store(origin.layout, Ordering::Relaxed);
        self.variable.store(origin.variable.unwrap_or(NULL), Ordering::Relaxed);
        self.place.store(origin.place, Ordering::Relaxed);
        let eager = if origin.timing == Timing::Eager { EAGER } else { 0 };
        let immutable = if origin.samplers == Samplers::Immutable { IMMUTABLE } else { 0 };
        self.state.store(LIVE | DIRTY | eager | immutable, Ordering::Release);
        Some(u64::from(generation) << 32 | u64::from(index + 1))
    }

    /// Ends the set. Whether the host has it.
    pub fn end(&self) -> bool {
        // The owner of the pool is alone with it, so nobody changes it meanwhile.
        let state = self.state.load(Ordering::Acquire);
        self.state.store(0, Ordering::Release);
        state & KNOWN != 0
    }

    /// Where the pool keeps it.
    #[must_use]
    pub fn place(&self) -> u32 {
        self.place.load(Ordering::Relaxed)
    }

    /// The id of its layout.
    #[must_use]
    pub fn layout(&self) -> u64 {
        self.layout.load(Ordering::Relaxed)
    }

    /// Whether the host has not heard of everything.
    #[inline]
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.state.load(Ordering::Acquire) & DIRTY != 0
    }

    /// Whether the host has never heard of the set.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.state.load(Ordering::Acquire) & (LIVE | KNOWN) == LIVE
    }

    /// Whether the set is told to the host at once.
    #[must_use]
    pub fn is_eager(&self) -> bool {
        self.state.load(Ordering::Acquire) & EAGER != 0
    }

    fn id(&self, index: u32) -> u64 {
        u64::from(self.generation.load(Ordering::Relaxed)) << 32 | u64::from(index + 1)
    }
}

/// A live set.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    slot: &'a Slot,
    index: u32,
}

impl<'a> Set<'a> {
    /// Its slot.
    #[must_use]
    pub fn slot(&self) -> &'a Slot {
        self.slot
    }

    /// Adds `count` writes that `encode` puts; see [`op::DESCRIPTOR_SET`].
    ///
    /// # Errors
    /// Device lost, where the writes go to the host at once.
    #[inline]
    pub fn write(
        &self,
        stream: &Stream,
        count: u32,
        encode: impl FnOnce(&mut Encoder),
    ) -> Result<(), vk::Result> {
        let mut pending = self.slot.pending.lock();
        let generation = self.slot.generation.load(Ordering::Relaxed);
        if pending.generation != generation {
            pending.generation = generation;
            pending.count = 0;
            pending.writes.clear();
        }
        encode(&mut pending.writes);
        pending.count += count;
        let state = self.slot.state.load(Ordering::Relaxed);
        if state & EAGER != 0 || pending.writes.len() > MAX_PENDING_BYTES {
            return self.send(stream, &mut pending);
        }
        self.slot.state.store(state | DIRTY, Ordering::Release);
        Ok(())
    }

    /// Tells the host what it has not heard of.
    ///
    /// # Errors
    /// Device lost.
    #[inline]
    pub fn flush(&self, stream: &Stream) -> Result<(), vk::Result> {
        if !self.slot.is_dirty() {
            return Ok(());
        }
        let mut pending = self.slot.pending.lock();
        // Another thread may have told it while this one waited.
        if self.slot.is_dirty() { self.send(stream, &mut pending) } else { Ok(()) }
    }

    /// Has the host make the set and waits for its answer.
    ///
    /// # Errors
    /// What the host answers, or device lost.
    pub fn flush_asking(&self, stream: &Stream) -> Result<(), vk::Result> {
        let mut pending = self.slot.pending.lock();
        let body = |encoder: &mut Encoder| self.encode(encoder, &pending);
        let result = stream
            .call(VkOp(op::DESCRIPTOR_SET), body, |reply| Ok(vk::Result::from_raw(reply.i32()?)))
            .and_then(vk::Result::result);
        self.sent(&mut pending, if result.is_ok() { KNOWN } else { 0 });
        result
    }

    #[inline(never)]
    fn send(&self, stream: &Stream, pending: &mut Pending) -> Result<(), vk::Result> {
        let body = |encoder: &mut Encoder| self.encode(encoder, pending);
        // Entry points that write and bind sets do not contain panics by themselves.
        let result = contain(|| stream.post_later(VkOp(op::DESCRIPTOR_SET), body));
        self.sent(pending, KNOWN);
        result
    }

    fn sent(&self, pending: &mut Pending, known: u32) {
        pending.count = 0;
        pending.writes.clear();
        let state = self.slot.state.load(Ordering::Relaxed);
        self.slot.state.store(state & !DIRTY | known, Ordering::Release);
    }

    fn encode(&self, encoder: &mut Encoder, pending: &Pending) {
        let slot = self.slot;
        let state = slot.state.load(Ordering::Relaxed);
        let is_new = state & KNOWN == 0;
        let new = if is_new { set_flags::NEW } else { 0 };
        let immutable = if state & IMMUTABLE != 0 { set_flags::IMMUTABLE_SAMPLERS } else { 0 };
        encoder.u64(slot.id(self.index));
        encoder.u32(new | immutable);
        if is_new {
            encoder.u64(slot.pool.load(Ordering::Relaxed));
            encoder.u64(slot.layout.load(Ordering::Relaxed));
            encoder.u32(slot.variable.load(Ordering::Relaxed));
        }
        let is_current = pending.generation == slot.generation.load(Ordering::Relaxed);
        let (count, writes) =
            if is_current { (pending.count, pending.writes.as_slice()) } else { (0, &[][..]) };
        encoder.u32(count);
        encoder.bytes(writes);
    }
}

/// The slots of a device.
#[derive(Debug)]
pub struct Sets {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    vacant: Mutex<Vacant>,
}

#[derive(Debug, Default)]
struct Vacant {
    returned: Vec<u32>,
    next: u32,
}

impl Default for Sets {
    fn default() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(), vacant: Mutex::default() }
    }
}

impl Sets {
    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot> {
        let index = index as usize;
        self.chunks.get(index / CHUNK_SLOTS)?.get()?.get(index % CHUNK_SLOTS)
    }

    /// The live set under an id.
    #[inline]
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Set<'_>> {
        let index = (id as u32).checked_sub(1)?;
        let slot = self.slot(index)?;
        let is_it = slot.generation.load(Ordering::Relaxed) == (id >> 32) as u32
            && slot.state.load(Ordering::Relaxed) & LIVE != 0;
        is_it.then_some(Set { slot, index })
    }

    /// The set that a slot holds now.
    #[must_use]
    pub fn at(&self, index: u32) -> Option<Set<'_>> {
        Some(Set { slot: self.slot(index)?, index })
    }

    /// Takes a slot for a pool.
    ///
    /// # Errors
    /// There are too many.
    pub fn take(&self) -> Result<u32, TableFull> {
        let mut vacant = self.vacant.lock();
        if let Some(index) = vacant.returned.pop() {
            return Ok(index);
        }
        let index = vacant.next;
        let chunk = self.chunks.get(index as usize / CHUNK_SLOTS).ok_or(TableFull)?;
        chunk.get_or_init(|| (0..CHUNK_SLOTS).map(|_| Slot::default()).collect());
        vacant.next += 1;
        Ok(index)
    }

    /// Gives slots back that hold no set any more.
    pub fn give(&self, slots: impl IntoIterator<Item = u32>) {
        self.vacant.lock().returned.extend(slots);
    }

    /// Begins a set in a slot, or in another one if that is worn out; `slot` is where.
    ///
    /// # Errors
    /// There are too many.
    #[inline]
    pub fn begin(&self, slot: &mut u32, origin: &Origin) -> Result<u64, TableFull> {
        loop {
            if let Some(id) = self.slot(*slot).ok_or(TableFull)?.begin(*slot, origin) {
                return Ok(id);
            }
            *slot = self.take()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::Act;
    use crate::fake_host::FakeHost;

    const ORIGIN: Origin = Origin {
        pool: 7,
        layout: 8,
        variable: None,
        place: 0,
        timing: Timing::Deferred,
        samplers: Samplers::Written,
    };

    /// The bodies that a host has got when the stream is drained.
    fn told(act: impl FnOnce(&Sets, &Stream)) -> Vec<Vec<u8>> {
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let log = std::sync::Arc::clone(&seen);
        let (_host, stream) = FakeHost::start(4096, move |_, body| {
            log.lock().push(body.to_vec());
            Act::Silence
        });
        act(&Sets::default(), &stream);
        stream.drain().unwrap();
        let seen = seen.lock();
        seen.clone()
    }

    #[test]
    fn write_is_told_when_the_set_is_flushed_and_only_once() {
        let bodies = told(|sets, stream| {
            let mut slot = sets.take().unwrap();
            let id = sets.begin(&mut slot, &ORIGIN).unwrap();
            let set = sets.get(id).unwrap();
            set.write(stream, 1, |encoder| encoder.u32(0xaa)).unwrap();
            set.write(stream, 1, |encoder| encoder.u32(0xbb)).unwrap();
            set.flush(stream).unwrap();
            set.flush(stream).unwrap();
        });
        assert_eq!(bodies.len(), 1);
        // Id, flags, pool, layout, variable count, write count, writes.
        assert_eq!(bodies[0][32..44], [2, 0, 0, 0, 0xaa, 0, 0, 0, 0xbb, 0, 0, 0]);
    }

    #[test]
    fn set_that_is_never_flushed_is_never_told() {
        let bodies = told(|sets, stream| {
            let mut slot = sets.take().unwrap();
            let id = sets.begin(&mut slot, &ORIGIN).unwrap();
            let set = sets.get(id).unwrap();
            set.write(stream, 1, |encoder| encoder.u32(0xaa)).unwrap();
            assert!(!set.slot().end());
            assert!(sets.get(id).is_none());
        });
        assert_eq!(bodies.len(), 0);
    }

    #[test]
    fn next_set_of_a_slot_has_no_writes_of_the_last_and_a_newer_id() {
        let bodies = told(|sets, stream| {
            let mut slot = sets.take().unwrap();
            let first = sets.begin(&mut slot, &ORIGIN).unwrap();
            sets.get(first).unwrap().write(stream, 1, |encoder| encoder.u32(0xaa)).unwrap();
            sets.get(first).unwrap().slot().end();
            let second = sets.begin(&mut slot, &ORIGIN).unwrap();
            assert_eq!(second, first + (1 << 32));
            sets.get(second).unwrap().flush(stream).unwrap();
        });
        assert_eq!(bodies.len(), 1);
        assert_eq!(bodies[0][32..36], [0; 4]);
    }

    #[test]
    fn eager_set_is_told_at_each_write() {
        let bodies = told(|sets, stream| {
            let mut slot = sets.take().unwrap();
            let origin = Origin { timing: Timing::Eager, ..ORIGIN };
            let id = sets.begin(&mut slot, &origin).unwrap();
            let set = sets.get(id).unwrap();
            set.write(stream, 1, |encoder| encoder.u32(0xaa)).unwrap();
            set.write(stream, 1, |encoder| encoder.u32(0xbb)).unwrap();
            assert!(set.slot().end());
        });
        assert_eq!(bodies.len(), 2);
        // The host has the set by then: id, flags, write count, write.
        assert_eq!(bodies[1][8..20], [0, 0, 0, 0, 1, 0, 0, 0, 0xbb, 0, 0, 0]);
    }

    #[test]
    fn worn_out_slot_is_replaced() {
        let sets = Sets::default();
        let mut slot = sets.take().unwrap();
        sets.slot(slot).unwrap().generation.store(u32::MAX, Ordering::Relaxed);
        let id = sets.begin(&mut slot, &ORIGIN).unwrap();
        assert_eq!((id, slot), (1 << 32 | 2, 1));
    }
}
