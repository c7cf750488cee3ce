//! The memory of a context: a range of addresses, blocks that the host sees mapped into it, and what programs have allocated.
//!
//! *Why.* Guest and host see device memory at the same addresses, so allocating is bookkeeping here. Only blocks cost a lease; small
//! allocations share one.
//!
//! *Invariants.* Memory is unmapped only when no queued work uses it: callers wait for that first. A window that the host has still
//! to unmap stays leased until it has read so.
//!
//! *Locks.* One, held while commands are posted, so that nobody uses a block before it is mapped.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dxg_wire::cuda::Allocate;
use dxg_wire::cuda::Allocated;
use dxg_wire::cuda::Free;
use dxg_wire::cuda::Map;
use dxg_wire::cuda::Unmap;
use dxg_wire::cuda::op;
use parking_lot::Mutex;

use crate::ffi::memory::Reserved;
use crate::generated::enums::CUresult;
use crate::link::LEASE_BYTES;
use crate::link::Window;
use crate::ranges::Ranges;
use crate::ring::Ring;
use crate::types::Answer;

/// The alignment of every allocation.
pub const ALIGN_BYTES: u64 = 256;
/// Blocks lie at multiples of this.
const BLOCK_ALIGN_BYTES: u64 = 1 << 16;
/// Shared blocks: the largest allocation that lies in one, and its bytes.
const CLASSES: [(u64, u64); 2] = [(64 << 10, 2 << 20), (4 << 20, 32 << 20)];
/// Where ranges are looked for: first far from all else, then where processes end at 2^39, as on small aarch64 machines.
const FIRST_RANGES: [u64; 2] = [0x2000_0000_0000, 0x0020_0000_0000];
/// How far apart.
const RANGE_STEP: u64 = 0x0010_0000_0000;
/// How many places are tried.
const RANGE_TRIES: u64 = 256;
/// How often the host's driver is asked for memory at another address.
const ADDRESS_TRIES: usize = 8;
/// The smallest range that is of use.
const LEAST_RANGE_BYTES: u64 = 1 << 30;

static IDS: AtomicU64 = AtomicU64::new(1);

/// What an allocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cuMemAlloc`.
    Device,
    /// `cuMemHostAlloc`.
    Host,
    /// `cuMemAllocManaged`.
    Managed,
    /// `cuMemAllocAsync`.
    Pooled,
    /// The same, of a pool that other processes may open or that is of another process.
    Shared,
    /// Memory of a node of a graph.
    Graph,
    /// Memory of the program, given to the device.
    Registered,
    /// Memory of another process, by IPC handle.
    Imported,
    /// A mapping of physical memory.
    Mapped,
    /// Memory of another API.
    External,
    /// The driver's own: staging, variables of modules, images.
    Own,
}

/// An allocation.
#[derive(Clone, Copy, Debug)]
pub struct Allocation {
    /// Its first byte.
    pub start: u64,
    /// Bytes that were asked for.
    pub bytes: u64,
    /// What it is.
    pub kind: Kind,
    /// Flags of the call that made it.
    pub flags: u32,
    /// A number of its own among all allocations of the process.
    pub id: u64,
    /// Bytes that it takes.
    taken: u64,
    block: u64,
}

impl Allocation {
    /// Whether an address is in it.
    #[must_use]
    pub fn holds(&self, address: u64) -> bool {
        address >= self.start && address - self.start < self.bytes.max(1)
    }
}

/// Where device memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// In blocks that guest and host both see.
    Shared,
    /// Behind a driver of the host, which says where: only work reaches it. What is mapped in the range is host memory.
    Remote,
}

/// What a block consists of.
#[derive(Debug)]
enum Backing {
    /// Memory of a window, from an offset on, that is mapped in the range.
    Window(Window, u64),
    /// Memory of the host's driver. Its addresses are kept from the memory of the program, as far as they are whole pages.
    Driver { _kept: Option<Reserved> },
    /// A variable of a module in memory of the host's driver.
    Variable,
}

impl Backing {
    fn is_remote(&self) -> bool {
        !matches!(self, Self::Window(..))
    }
}

#[derive(Debug)]
struct Block {
    bytes: u64,
    backing: Backing,
    free: Ranges,
    class: Option<usize>,
}

#[derive(Debug)]
struct State {
    space: Ranges,
    blocks: BTreeMap<u64, Block>,
    allocations: BTreeMap<u64, Allocation>,
    reservations: BTreeMap<u64, u64>,
    retired: Vec<(u64, Window)>,
    used_bytes: u64,
}

/// What of a window is mapped, and where.
#[derive(Clone, Copy, Debug)]
struct Part {
    offset: u64,
    bytes: u64,
    at: Option<u64>,
    class: Option<usize>,
}

/// The memory of one context.
#[derive(Debug)]
pub struct Arena {
    range: Reserved,
    residence: Residence,
    state: Mutex<State>,
}

/// Reserves a range for a quota of so many bytes.
#[must_use]
pub fn reserve(quota_bytes: u64) -> Option<Reserved> {
    let mut bytes = quota_bytes.saturating_mul(4).clamp(64 << 30, 1 << 40).next_power_of_two();
    while bytes >= LEAST_RANGE_BYTES {
        let step = RANGE_STEP.max(bytes);
        let mut places = FIRST_RANGES
            .into_iter()
            .flat_map(|first| (0..RANGE_TRIES).map(move |index| first + index * step));
        let found = places.find_map(|start| Reserved::at(start, bytes));
        if found.is_some() {
            return found;
        }
        bytes /= 2;
    }
    None
}

impl Arena {
    /// An empty one over a range.
    #[must_use]
    pub fn new(range: Reserved, residence: Residence) -> Self {
        let state = State {
            space: Ranges::new(range.start(), range.bytes()),
            blocks: BTreeMap::new(),
            allocations: BTreeMap::new(),
            reservations: BTreeMap::new(),
            retired: Vec::new(),
            used_bytes: 0,
        };
        Self { range, residence, state: Mutex::new(state) }
    }

    /// The range.
    #[must_use]
    pub fn range(&self) -> &Reserved {
        &self.range
    }

    /// Where device memory is.
    #[must_use]
    pub fn residence(&self) -> Residence {
        self.residence
    }

    /// Whether an address is in the range, or of memory of the host's driver.
    #[inline]
    #[must_use]
    pub fn holds(&self, address: u64) -> bool {
        address.wrapping_sub(self.range.start()) < self.range.bytes()
            || (self.residence == Residence::Remote && self.is_remote(address))
    }

    /// Whether an address is of memory that this process does not see.
    #[must_use]
    pub fn is_remote(&self, address: u64) -> bool {
        let state = self.state.lock();
        let block = state.blocks.range(..=address).next_back();
        block.is_some_and(|(start, block)| address - start < block.bytes && block.backing.is_remote())
    }

    /// Variables of a module are where the host's driver has put them.
    pub fn add_variables(&self, variables: impl Iterator<Item = (u64, u64)>) {
        let state = &mut *self.state.lock();
        for (start, bytes) in variables.filter(|(_, bytes)| *bytes != 0) {
            let block = Block { bytes, backing: Backing::Variable, free: Ranges::default(), class: None };
            state.blocks.entry(start).or_insert(block);
        }
    }

    /// They are gone.
    pub fn remove_variables(&self, variables: impl Iterator<Item = u64>) {
        let state = &mut *self.state.lock();
        for start in variables {
            if state.blocks.get(&start).is_some_and(|block| matches!(block.backing, Backing::Variable)) {
                state.blocks.remove(&start);
            }
        }
    }

    /// Bytes that are allocated.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes
    }

    /// Allocates. The bytes are whatever they are.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn allocate(&self, ring: &Ring, bytes: u64, kind: Kind, flags: u32) -> Answer<u64> {
        let state = &mut *self.state.lock();
        let taken =
            bytes.max(1).checked_next_multiple_of(ALIGN_BYTES).ok_or(CUresult::ERROR_OUT_OF_MEMORY)?;
        let class = CLASSES.iter().position(|(most, _)| taken <= *most);
        let is_remote =
            self.residence == Residence::Remote && matches!(kind, Kind::Device | Kind::Pooled | Kind::Graph);
        let shared = state.blocks.iter_mut().filter(|(_, block)| {
            class.is_some() && block.class == class && block.backing.is_remote() == is_remote
        });
        let found = shared.into_iter().find_map(|(start, block)| {
            let at = block.free.take(taken, ALIGN_BYTES)?;
            Some((*start, at))
        });
        let (block, start) = match found {
            Some(found) => found,
            None if is_remote => {
                let exact = taken.next_multiple_of(LEASE_BYTES);
                let shared = class.and_then(|index| Some((CLASSES.get(index)?.1, Some(index))));
                let whole = shared.and_then(|(bytes, class)| allocate_remote(state, ring, bytes, class).ok());
                let start = match whole {
                    Some(start) => start,
                    None => allocate_remote(state, ring, exact, None)?,
                };
                let block = state.blocks.get_mut(&start).ok_or(CUresult::ERROR_UNKNOWN)?;
                (start, block.free.take(taken, ALIGN_BYTES).ok_or(CUresult::ERROR_OUT_OF_MEMORY)?)
            }
            None => {
                let exact = taken.next_multiple_of(LEASE_BYTES);
                let shared = class.and_then(|index| {
                    let window = ring.link().lease(CLASSES.get(index)?.1).ok()?;
                    Some((window, Some(index)))
                });
                // Near the quota there may be room for the piece, if not for a block to share.
                let (window, class) = match shared {
                    Some(shared) => shared,
                    None => (ring.link().lease(exact)?, None),
                };
                let bytes = if class.is_some() { window.bytes() } else { exact.min(window.bytes()) };
                let start = self.map(state, ring, window, Part { offset: 0, bytes, at: None, class })?;
                let block = state.blocks.get_mut(&start).ok_or(CUresult::ERROR_UNKNOWN)?;
                (start, block.free.take(taken, ALIGN_BYTES).ok_or(CUresult::ERROR_OUT_OF_MEMORY)?)
            }
        };
        state.used_bytes += taken;
        state.enter(start, bytes, taken, kind, flags, block);
        Ok(start)
    }

    /// Maps a window of somebody's as an allocation, at an address or at any.
    ///
    /// # Errors
    /// Out of memory, or the device is gone; invalid value where something else is mapped.
    pub fn map_window(
        &self,
        ring: &Ring,
        window: Window,
        part: (u64, u64),
        at: Option<u64>,
        kind: Kind,
    ) -> Answer<u64> {
        let state = &mut *self.state.lock();
        let (offset, bytes) = part;
        let mapped = bytes.checked_next_multiple_of(4096).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        let start = self.map(state, ring, window, Part { offset, bytes: mapped, at, class: None })?;
        if let Some(block) = state.blocks.get_mut(&start) {
            block.free = Ranges::default();
        }
        state.enter(start, bytes, mapped, kind, 0, start);
        Ok(start)
    }

    /// The first bytes of an allocation that is a mapping of its own are none of the program's: it begins behind them.
    pub fn begin_at(&self, start: u64, skipped: u64) {
        let state = &mut *self.state.lock();
        if skipped != 0
            && let Some(mut allocation) = state.allocations.remove(&start)
        {
            allocation.start += skipped;
            allocation.bytes -= skipped;
            state.allocations.insert(allocation.start, allocation);
        }
    }

    fn map(&self, state: &mut State, ring: &Ring, window: Window, part: Part) -> Answer<u64> {
        let Part { offset, bytes, at, class } = part;
        state.reclaim(ring.consumed());
        if offset.checked_add(bytes).is_none_or(|end| end > window.bytes()) {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        let start = match at {
            Some(at) => at,
            None => state.space.take(bytes, BLOCK_ALIGN_BYTES).ok_or(CUresult::ERROR_OUT_OF_MEMORY)?,
        };
        let from = window.memory.as_ptr().wrapping_add(offset as usize);
        let mapped = self.range.alias(from, start, bytes);
        let posted = mapped.map_err(|error| {
            tracing::warn!(%error, bytes, "no mapping");
            CUresult::ERROR_OUT_OF_MEMORY
        });
        let posted = posted.and_then(|()| {
            let message = Map { address: start, io: window.io + offset, bytes };
            ring.post(op::MAP, |to| message.encode(to))
        });
        if let Err(error) = posted {
            self.range.clear(start, bytes);
            if at.is_none() {
                state.space.give(start, bytes);
            }
            return Err(error);
        }
        let free = Ranges::new(start, bytes);
        state.blocks.insert(start, Block { bytes, backing: Backing::Window(window, offset), free, class });
        Ok(start)
    }

    fn unmap(&self, state: &mut State, ring: &Ring, start: u64) {
        let Some(block) = state.blocks.remove(&start) else { return };
        let window = match block.backing {
            Backing::Window(window, _) => window,
            Backing::Driver { _kept } => return free_remote(ring, start),
            Backing::Variable => return,
        };
        let message = Unmap { address: start, bytes: block.bytes };
        // A host that is gone maps nothing.
        let position = ring.post(op::UNMAP, |to| message.encode(to)).unwrap_or(0);
        self.range.clear(start, block.bytes);
        state.retired.push((position, window));
        if !state.is_reserved(start) {
            state.space.give(start, block.bytes);
        }
        state.reclaim(ring.consumed());
    }

    /// Frees an allocation that starts at `start` and is of one of `kinds`. No work uses it any more.
    ///
    /// # Errors
    /// Invalid value when there is none.
    pub fn free(&self, ring: &Ring, start: u64, kinds: &[Kind]) -> Answer<Allocation> {
        let state = &mut *self.state.lock();
        let found = state.allocations.get(&start).filter(|found| kinds.contains(&found.kind));
        let allocation = *found.ok_or(CUresult::ERROR_INVALID_VALUE)?;
        state.allocations.remove(&start);
        let is_ours = matches!(
            allocation.kind,
            Kind::Mapped | Kind::Imported | Kind::External | Kind::Registered | Kind::Shared
        );
        let Some(block) = state.blocks.get_mut(&allocation.block) else { return Ok(allocation) };
        let (class, is_remote) = (block.class, block.backing.is_remote());
        if !is_ours {
            block.free.give(allocation.start, allocation.taken);
            state.used_bytes = state.used_bytes.saturating_sub(allocation.taken);
        }
        let is_unused = is_ours || block.free.free_bytes() == block.bytes;
        // One unused shared block of each class is kept: programs that allocate and free in a loop would lease each time.
        let spare = |other: &Block| {
            let is_alike = other.class == class && other.backing.is_remote() == is_remote;
            is_alike && other.free.free_bytes() == other.bytes
        };
        let is_spare = class.is_some() && state.blocks.values().filter(|other| spare(other)).count() <= 1;
        if is_unused && !is_spare {
            self.unmap(state, ring, allocation.block);
        }
        Ok(allocation)
    }

    /// Gives back blocks that nothing lies in.
    pub fn trim(&self, ring: &Ring) {
        let state = &mut *self.state.lock();
        let unused: Vec<u64> = state
            .blocks
            .iter()
            .filter(|(_, block)| block.class.is_some() && block.free.free_bytes() == block.bytes)
            .map(|(start, _)| *start)
            .collect();
        for start in unused {
            self.unmap(state, ring, start);
        }
    }

    /// Lets go of memory that the host has unmapped.
    pub fn reclaim(&self, ring: &Ring) {
        self.state.lock().reclaim(ring.consumed());
    }

    /// Frees everything: the context is over.
    pub fn clear(&self, ring: &Ring) {
        let state = &mut *self.state.lock();
        state.allocations.clear();
        let blocks: Vec<u64> = state.blocks.keys().copied().collect();
        for start in blocks {
            self.unmap(state, ring, start);
        }
        state.used_bytes = 0;
    }

    /// The allocation that an address is in.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<Allocation> {
        let state = self.state.lock();
        let (_, allocation) = state.allocations.range(..=address).next_back()?;
        allocation.holds(address).then_some(*allocation)
    }

    /// Bytes of all allocations of a kind.
    #[must_use]
    pub fn kind_bytes(&self, kind: Kind) -> u64 {
        let state = self.state.lock();
        state.allocations.values().filter(|one| one.kind == kind).map(|one| one.taken).sum()
    }

    /// Whether all bytes of a piece are mapped.
    #[must_use]
    pub fn is_mapped(&self, address: u64, bytes: u64) -> bool {
        let state = self.state.lock();
        let (mut at, Some(end)) = (address, address.checked_add(bytes)) else { return false };
        while at < end {
            let Some((start, block)) = state.blocks.range(..=at).next_back() else { return false };
            if at - start >= block.bytes {
                return false;
            }
            at = start + block.bytes;
        }
        true
    }

    /// Where the host sees an address.
    #[must_use]
    pub fn io(&self, address: u64) -> Option<u64> {
        let state = self.state.lock();
        let (start, block) = state.blocks.range(..=address).next_back()?;
        let Backing::Window(window, offset) = &block.backing else { return None };
        (address - start < block.bytes).then(|| window.io + offset + (address - start))
    }

    /// The window that an address is mapped from, the address of its first mapped byte, and the mapped bytes.
    #[must_use]
    pub fn block(&self, address: u64) -> Option<(Window, u64, u64)> {
        let state = self.state.lock();
        let (start, block) = state.blocks.range(..=address).next_back()?;
        let Backing::Window(window, _) = &block.backing else { return None };
        (address - start < block.bytes).then(|| (window.clone(), *start, block.bytes))
    }

    /// Puts another window, with the same bytes, in the place of a block's. No work is under way.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn replace(&self, ring: &Ring, start: u64, window: Window) -> Answer {
        let state = &mut *self.state.lock();
        let block = state.blocks.get_mut(&start).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        let bytes = block.bytes;
        let Backing::Window(old, 0) = &mut block.backing else { return Err(CUresult::ERROR_INVALID_VALUE) };
        if window.bytes() < bytes {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        self.range.alias(window.memory.as_ptr(), start, bytes).map_err(|_| CUresult::ERROR_OUT_OF_MEMORY)?;
        let (unmap, map) = (Unmap { address: start, bytes }, Map { address: start, io: window.io, bytes });
        let mut batch = ring.batch();
        batch.put(op::UNMAP, |to| unmap.encode(to));
        batch.put(op::MAP, |to| map.encode(to));
        let position = batch.push()?;
        drop(batch);
        let old = std::mem::replace(old, window);
        state.retired.push((position, old));
        Ok(())
    }

    /// Reserves addresses without memory.
    ///
    /// # Errors
    /// Out of memory when there are none.
    pub fn reserve_addresses(&self, bytes: u64, alignment: u64, wanted: u64) -> Answer<u64> {
        let state = &mut *self.state.lock();
        let is_wanted = wanted != 0 && wanted.is_multiple_of(alignment) && state.space.take_at(wanted, bytes);
        let start = if is_wanted { Some(wanted) } else { state.space.take(bytes, alignment) };
        let start = start.ok_or(CUresult::ERROR_OUT_OF_MEMORY)?;
        state.reservations.insert(start, bytes);
        Ok(start)
    }

    /// Gives reserved addresses back.
    ///
    /// # Errors
    /// Invalid value unless it is all of a reservation and nothing is mapped there.
    pub fn release_addresses(&self, start: u64, bytes: u64) -> Answer {
        let state = &mut *self.state.lock();
        let is_one = state.reservations.get(&start) == Some(&bytes);
        let is_used = state.blocks.range(start..start.saturating_add(bytes)).next().is_some();
        if !is_one || is_used {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        state.reservations.remove(&start);
        state.space.give(start, bytes);
        Ok(())
    }

    /// Whether a piece lies in a reservation and nothing is mapped there.
    #[must_use]
    pub fn is_vacant(&self, start: u64, bytes: u64) -> bool {
        let state = self.state.lock();
        let Some(end) = start.checked_add(bytes) else { return false };
        let reserved = state.reservations.range(..=start).next_back();
        let before = state.blocks.range(..end).next_back();
        reserved.is_some_and(|(at, length)| end <= at + length)
            && before.is_none_or(|(at, block)| at + block.bytes <= start)
    }
}

/// Allocates a block of the driver's memory, at an address where the program has nothing: a device pointer should not be taken for
/// one of the program's.
fn allocate_remote(state: &mut State, ring: &Ring, bytes: u64, class: Option<usize>) -> Answer<u64> {
    let mut unsuited = Vec::new();
    let found = loop {
        let ask = Allocate { bytes };
        match ring.call(op::ALLOCATE, |to| ask.encode(to), Allocated::decode) {
            Ok(Allocated { result: 0, address }) => match keep_addresses(address, bytes) {
                Some(kept) => break Ok((address, kept)),
                None if unsuited.len() < ADDRESS_TRIES => unsuited.push(address),
                None => {
                    free_remote(ring, address);
                    break Err(CUresult::ERROR_OUT_OF_MEMORY);
                }
            },
            Ok(Allocated { result, .. }) => break Err(CUresult(result)),
            Err(error) => break Err(error),
        }
    };
    unsuited.into_iter().for_each(|address| free_remote(ring, address));
    let (start, kept) = found?;
    let backing = Backing::Driver { _kept: kept };
    state.blocks.insert(start, Block { bytes, backing, free: Ranges::new(start, bytes), class });
    Ok(start)
}

fn free_remote(ring: &Ring, address: u64) {
    let message = Free { address };
    // A host that is gone has no memory.
    let _ = ring.post(op::FREE, |to| message.encode(to));
}

/// Keeps the whole pages of a piece from anybody else; `None` where somebody has them.
fn keep_addresses(start: u64, bytes: u64) -> Option<Option<Reserved>> {
    const PAGE: u64 = 4096;
    let first = start.checked_next_multiple_of(PAGE)?;
    let end = start.checked_add(bytes)? / PAGE * PAGE;
    if first >= end {
        return Some(None);
    }
    Reserved::at(first, end - first).map(Some)
}

impl State {
    fn enter(&mut self, start: u64, bytes: u64, taken: u64, kind: Kind, flags: u32, block: u64) {
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        self.allocations.insert(start, Allocation { start, bytes, kind, flags, id, taken, block });
    }

    fn is_reserved(&self, address: u64) -> bool {
        let reserved = self.reservations.range(..=address).next_back();
        reserved.is_some_and(|(at, length)| address - at < *length)
    }

    /// Lets go of windows that the host has unmapped.
    fn reclaim(&mut self, consumed: u64) {
        self.retired.retain(|(position, _)| *position > consumed);
    }
}
