//! Pools: memory that is allocated and freed in the order of a stream.
//!
//! *Why.* What is freed on a stream may be used again at once by a later allocation on the same stream, and by others once the
//! stream has come there. Until then it waits here, and after that for as long as the pool may keep so much.
//!
//! *Others.* Memory of a pool that can be exported is an object that can be shared, one for each allocation. The pool's descriptor
//! names the pool and the socket on which this process hands such objects out; what it says of a pointer names the object.
//! A pool of another process allocates nothing: it holds what was imported.
//!
//! *Locks.* One for each pool, held while memory is given back, and never while anything is waited for.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use dxg_wire::shm::create_sealed_with;
use parking_lot::Mutex;

use crate::arena::Kind;
use crate::context::Context;
use crate::device::Device;
use crate::external::Memory;
use crate::generated::enums::CUmemPool_attribute as P;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUmemoryPool;
use crate::ipc;
use crate::ipc::Ticket;
use crate::lane::Lane;
use crate::tables;
use crate::types::Answer;
use crate::work::Work;

/// Kinds of memory that pools have.
pub const KINDS: [Kind; 2] = [Kind::Pooled, Kind::Shared];
/// What the descriptor of a pool begins with; then the device's UUID, and a ticket whose object is the pool's number.
const MAGIC: [u8; 8] = *b"DXGPOOL1";
const TICKET_AT: usize = 24;
const IDENTITY_BYTES: usize = 88;
/// Where in what is said of a pointer the pool's number is: behind the ticket.
const POOL_AT: usize = 48;

/// Pools that have a name or memory.
static EVERY: Mutex<Vec<Arc<Pool>>> = Mutex::new(Vec::new());
/// How many pieces are freed and kept: usually none, which is what most calls need to know.
static KEPT: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct Freed {
    owner: Arc<Context>,
    lane: Arc<Lane>,
    sequence: u64,
    address: u64,
    bytes: u64,
    memory: Option<Arc<Memory>>,
}

#[derive(Debug)]
struct Live {
    owner: Arc<Context>,
    bytes: u64,
    /// What others can open.
    memory: Option<Arc<Memory>>,
    /// How they do, once they may.
    ticket: Option<Ticket>,
}

#[derive(Debug, Default)]
struct State {
    freed: Vec<Freed>,
    /// What is allocated.
    live: HashMap<u64, Live>,
    used: u64,
    used_high: u64,
    reserved_high: u64,
    attributes: HashMap<i32, u64>,
}

/// Whose a pool is, and whether others see its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This process alone.
    Private,
    /// This process, and others may import it.
    Exported,
    /// Another process; with what its descriptor says.
    Imported(Ticket),
}

/// A pool.
#[derive(Debug)]
pub struct Pool {
    /// Its device.
    pub device: Arc<Device>,
    /// Whose it is.
    pub scope: Scope,
    /// The most bytes it may have; 0: as many as there are.
    pub max_bytes: u64,
    /// A number that nobody guesses, for its descriptor; 0: none yet.
    number: AtomicU64,
    is_over: AtomicBool,
    state: Mutex<State>,
}

impl Pool {
    /// An empty one.
    #[must_use]
    pub fn new(device: &Arc<Device>, scope: Scope, max_bytes: u64) -> Arc<Self> {
        let pool = Arc::new(Self {
            device: Arc::clone(device),
            scope,
            max_bytes,
            number: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            state: Mutex::default(),
        });
        EVERY.lock().push(Arc::clone(&pool));
        pool
    }

    /// The program has no name for it any more: it goes with the last of its memory.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.release(0);
        forget_empty();
    }

    /// Allocates for work that comes later on a stream.
    ///
    /// # Errors
    /// Out of memory, or the device is gone; invalid value for a pool of another process.
    pub fn allocate(&self, context: &Arc<Context>, lane: &Arc<Lane>, bytes: u64) -> Answer<u64> {
        if matches!(self.scope, Scope::Imported(_)) {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        if let Some(address) = self.reuse(context, lane, bytes, Reuse::AsIs)? {
            return Ok(address);
        }
        if self.max_bytes != 0 {
            // What is kept makes room for what is wanted.
            self.release(self.max_bytes.saturating_sub(bytes));
        }
        let made = self.allocate_fresh(context, bytes);
        let (address, memory) = match made {
            Err(CUresult::ERROR_OUT_OF_MEMORY) => {
                if let Some(address) = self.reuse(context, lane, bytes, Reuse::Wait)? {
                    return Ok(address);
                }
                // What is freed and not yet passed may be all that is missing: of this pool, or of any.
                context.synchronize_all()?;
                if self.has_room(bytes) {
                    every().iter().for_each(|pool| pool.release(0));
                } else {
                    self.release(self.max_bytes.saturating_sub(bytes));
                }
                self.allocate_fresh(context, bytes)?
            }
            made => made?,
        };
        let owner = Arc::clone(context);
        self.state.lock().enter(address, Live { owner, bytes, memory, ticket: None });
        Ok(address)
    }

    /// Takes a piece that is freed, of the right size and in the right order.
    fn reuse(
        &self,
        context: &Arc<Context>,
        lane: &Arc<Lane>,
        bytes: u64,
        reuse: Reuse,
    ) -> Answer<Option<u64>> {
        let state = &mut *self.state.lock();
        let follows = match reuse {
            Reuse::AsIs => state.flag(P::REUSE_ALLOW_OPPORTUNISTIC),
            Reuse::Wait => state.flag(P::REUSE_ALLOW_INTERNAL_DEPENDENCIES),
        };
        let again = state.freed.iter().position(|freed| {
            let fits = freed.bytes >= bytes && freed.bytes <= bytes.saturating_mul(2);
            let is_passed = || reuse == Reuse::Wait || freed.lane.is_done(freed.sequence);
            let is_behind = Arc::ptr_eq(&freed.lane, lane) || (follows && is_passed());
            fits && freed.owner.id == context.id && is_behind
        });
        let Some(at) = again else { return Ok(None) };
        let freed = state.freed.swap_remove(at);
        KEPT.fetch_sub(1, Ordering::Relaxed);
        let Freed { owner, address, bytes, memory, .. } = freed;
        if !Arc::ptr_eq(&freed.lane, lane) && !freed.lane.is_done(freed.sequence) {
            // Streams of other contexts are waited for by their cell.
            context.submit(lane, &[Work::WaitCell(freed.lane.progress.io(), freed.sequence)])?;
        }
        state.enter(address, Live { owner, bytes, memory, ticket: None });
        Ok(Some(address))
    }

    fn has_room(&self, bytes: u64) -> bool {
        let room = self.max_bytes.checked_sub(self.state.lock().reserved());
        self.max_bytes == 0 || room.is_some_and(|room| bytes <= room)
    }

    fn allocate_fresh(&self, context: &Arc<Context>, bytes: u64) -> Answer<(u64, Option<Arc<Memory>>)> {
        if !self.has_room(bytes) {
            return Err(CUresult::ERROR_OUT_OF_MEMORY);
        }
        if self.scope == Scope::Private {
            let address = context.arena.allocate(&context.ring, bytes, Kind::Pooled, 0)?;
            return Ok((address, None));
        }
        let memory = Arc::new(Memory::create(&self.device, bytes)?);
        let window = memory.window.clone();
        let address = context.arena.map_window(&context.ring, window, (0, bytes), None, Kind::Shared)?;
        Ok((address, Some(memory)))
    }

    /// Frees once work on a stream has come so far. Whether it was of this pool.
    pub fn free(&self, lane: &Arc<Lane>, address: u64) -> bool {
        let state = &mut *self.state.lock();
        let Some(Live { owner, bytes, memory, .. }) = state.leave(address) else { return false };
        let (lane, sequence) = (Arc::clone(lane), lane.last());
        state.freed.push(Freed { owner, lane, sequence, address, bytes, memory });
        KEPT.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Frees at once what no work uses any more. Whether it was of this pool.
    pub fn forget_address(&self, address: u64) -> bool {
        self.state.lock().leave(address).is_some()
    }

    /// Whether an address was allocated from it.
    #[must_use]
    pub fn holds(&self, start: u64) -> bool {
        self.state.lock().live.contains_key(&start)
    }

    /// Gives back what was freed and that the streams have passed, until the pool has no more than so many bytes.
    pub fn release(&self, keep: u64) {
        self.release_of(keep, |_| true);
    }

    fn release_of(&self, keep: u64, is_wanted: impl Fn(&Context) -> bool) {
        let state = &mut *self.state.lock();
        let mut reserved = state.reserved();
        let State { freed, .. } = state;
        // What was freed last is what is likely to be wanted again.
        let over = freed.extract_if(.., |freed| {
            let is_over = reserved > keep && is_wanted(&freed.owner) && freed.lane.is_done(freed.sequence);
            if is_over {
                reserved -= freed.bytes.min(reserved);
            }
            is_over
        });
        for freed in over {
            KEPT.fetch_sub(1, Ordering::Relaxed);
            let _ = freed.owner.arena.free(&freed.owner.ring, freed.address, &KINDS);
        }
    }

    /// Work of a context was waited for: what is over the threshold goes back. What was imported is kept by nobody.
    fn settle(&self, context: &Context) {
        let threshold = match self.scope {
            Scope::Imported(_) => 0,
            _ if self.is_over.load(Ordering::Relaxed) => 0,
            _ => self.state.lock().value(P::RELEASE_THRESHOLD, 0),
        };
        self.release_of(threshold, |owner| owner.id == context.id);
    }

    /// An attribute.
    ///
    /// # Errors
    /// Invalid value for none.
    pub fn attribute(&self, attribute: P) -> Answer<u64> {
        let state = self.state.lock();
        Ok(match attribute {
            P::REUSE_FOLLOW_EVENT_DEPENDENCIES
            | P::REUSE_ALLOW_OPPORTUNISTIC
            | P::REUSE_ALLOW_INTERNAL_DEPENDENCIES => state.value(attribute, 1),
            P::RELEASE_THRESHOLD => state.value(attribute, 0),
            P::RESERVED_MEM_CURRENT => state.reserved(),
            P::RESERVED_MEM_HIGH => state.reserved_high,
            P::USED_MEM_CURRENT => state.used,
            P::USED_MEM_HIGH => state.used_high,
            _ => return Err(CUresult::ERROR_INVALID_VALUE),
        })
    }

    /// Sets an attribute. High marks can be set to zero only.
    ///
    /// # Errors
    /// Invalid value.
    pub fn set_attribute(&self, attribute: P, value: u64) -> Answer {
        let state = &mut *self.state.lock();
        match attribute {
            P::REUSE_FOLLOW_EVENT_DEPENDENCIES
            | P::REUSE_ALLOW_OPPORTUNISTIC
            | P::REUSE_ALLOW_INTERNAL_DEPENDENCIES
            | P::RELEASE_THRESHOLD => {
                state.attributes.insert(attribute.0, value);
            }
            P::RESERVED_MEM_HIGH if value == 0 => state.reserved_high = state.reserved(),
            P::USED_MEM_HIGH if value == 0 => state.used_high = state.used,
            _ => return Err(CUresult::ERROR_INVALID_VALUE),
        }
        Ok(())
    }

    /// A descriptor that names the pool.
    ///
    /// # Errors
    /// Invalid value unless it is for others; operating system.
    pub fn export(&self) -> Answer<OwnedFd> {
        if self.scope != Scope::Exported {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        let mut bytes = [0; IDENTITY_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..TICKET_AT].copy_from_slice(&self.device.uuid);
        bytes[TICKET_AT..].copy_from_slice(&ipc::name(self.number()?)?.encode());
        create_sealed_with("dxg-cuda-pool", &bytes).map_err(|_| CUresult::ERROR_OPERATING_SYSTEM)
    }

    fn number(&self) -> Answer<u64> {
        let made = ipc::random()?;
        let kept = self.number.compare_exchange(0, made, Ordering::Relaxed, Ordering::Relaxed);
        Ok(kept.err().unwrap_or(made))
    }

    /// What a process that has imported the pool needs to know of an allocation.
    ///
    /// # Errors
    /// Invalid value unless the pool is for others and the address is of an allocation; operating system.
    pub fn export_pointer(&self, address: u64) -> Answer<[u8; 64]> {
        if self.scope != Scope::Exported {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        let number = self.number()?;
        let state = &mut *self.state.lock();
        let live = state.live.get_mut(&address).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        let ticket = match (live.ticket, &live.memory) {
            (Some(ticket), _) => ticket,
            (None, Some(memory)) => *live.ticket.insert(ipc::publish(memory.share()?, 0, live.bytes)?),
            (None, None) => return Err(CUresult::ERROR_INVALID_VALUE),
        };
        let mut bytes = ticket.encode();
        bytes[POOL_AT..POOL_AT + 8].copy_from_slice(&number.to_le_bytes());
        Ok(bytes)
    }

    /// Maps an allocation of the process that this pool is of.
    ///
    /// # Errors
    /// Invalid value for a pool of this process or what was said of another's; invalid handle when that process is gone or has freed it.
    pub fn import_pointer(&self, context: &Arc<Context>, bytes: &[u8; 64]) -> Answer<u64> {
        let Scope::Imported(whose) = self.scope else { return Err(CUresult::ERROR_INVALID_VALUE) };
        let ticket = Ticket::decode(bytes)?;
        if !ticket.is_of(&whose) || bytes[POOL_AT..POOL_AT + 8] != whose.number().to_le_bytes() {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        let memory = Arc::new(Memory::open(&self.device, ipc::fetch(&ticket)?, ticket.bytes)?);
        let part = (0, ticket.bytes);
        let window = memory.window.clone();
        let address = context.arena.map_window(&context.ring, window, part, None, Kind::Shared)?;
        let (owner, memory) = (Arc::clone(context), Some(memory));
        self.state.lock().enter(address, Live { owner, bytes: ticket.bytes, memory, ticket: None });
        Ok(address)
    }
}

/// When a piece that was freed on another stream may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reuse {
    /// When that stream has come so far.
    AsIs,
    /// When the stream of the allocation is made to wait for it.
    Wait,
}

impl State {
    fn reserved(&self) -> u64 {
        self.used + self.freed.iter().map(|freed| freed.bytes).sum::<u64>()
    }

    fn value(&self, attribute: P, usual: u64) -> u64 {
        self.attributes.get(&attribute.0).copied().unwrap_or(usual)
    }

    fn flag(&self, attribute: P) -> bool {
        self.value(attribute, 1) != 0
    }

    fn enter(&mut self, address: u64, live: Live) {
        self.used += live.bytes;
        self.used_high = self.used_high.max(self.used);
        self.live.insert(address, live);
        self.reserved_high = self.reserved_high.max(self.reserved());
    }

    /// An allocation is no longer the program's. Others cannot open it any more; who has keeps it.
    fn leave(&mut self, address: u64) -> Option<Live> {
        let live = self.live.remove(&address)?;
        self.used = self.used.saturating_sub(live.bytes);
        if let Some(ticket) = &live.ticket {
            ipc::withdraw(ticket);
        }
        Some(live)
    }
}

/// The device and the identity that the descriptor of a pool says.
///
/// # Errors
/// Invalid value when it is of no pool; invalid device when the device is none of this process.
pub fn identify(descriptor: OwnedFd) -> Answer<(Arc<Device>, Ticket)> {
    let mut bytes = [0; IDENTITY_BYTES];
    let file = std::fs::File::from(descriptor);
    file.read_exact_at(&mut bytes, 0).map_err(|_| CUresult::ERROR_INVALID_VALUE)?;
    let ticket = bytes.last_chunk().filter(|_| bytes.starts_with(&MAGIC));
    let ticket = Ticket::decode(ticket.ok_or(CUresult::ERROR_INVALID_VALUE)?)?;
    let devices = crate::driver::driver()?.devices();
    let device = devices.iter().find(|device| bytes[8..TICKET_AT] == device.uuid);
    Ok((Arc::clone(device.ok_or(CUresult::ERROR_INVALID_DEVICE)?), ticket))
}

/// All pools, those too that have no name any more.
#[must_use]
pub fn every() -> Vec<Arc<Pool>> {
    EVERY.lock().clone()
}

fn forget_empty() {
    EVERY.lock().retain(|pool| {
        let state = pool.state.lock();
        !pool.is_over.load(Ordering::Relaxed) || !state.live.is_empty() || !state.freed.is_empty()
    });
}

/// A program has waited for work of a context: pools give back what they may not keep.
#[inline]
pub fn settle(context: &Context) {
    if KEPT.load(Ordering::Relaxed) != 0 {
        every().iter().for_each(|pool| pool.settle(context));
        forget_empty();
    }
}

/// The pool that a device has from the beginning.
///
/// # Errors
/// Out of memory.
pub fn default_pool(device: &Arc<Device>) -> Answer<CUmemoryPool> {
    if let Some(pool) = device.default_pool.get() {
        return Ok(*pool);
    }
    let made = tables::POOLS.insert(Pool::new(device, Scope::Private, 0))?;
    let kept = *device.default_pool.get_or_init(|| made);
    if kept != made
        && let Ok(pool) = tables::POOLS.remove(made)
    {
        pool.end();
    }
    Ok(kept)
}

/// The pool that a device uses now.
///
/// # Errors
/// Out of memory.
pub fn current_pool(device: &Arc<Device>) -> Answer<CUmemoryPool> {
    let current = *device.current_pool.lock();
    current.map_or_else(|| default_pool(device), Ok)
}

/// Forgets memory of a context that is over.
pub fn forget(context: &Context) {
    for pool in every() {
        let state = &mut *pool.state.lock();
        let before = state.freed.len();
        state.freed.retain(|freed| freed.owner.id != context.id);
        KEPT.fetch_sub(before - state.freed.len(), Ordering::Relaxed);
        let gone: Vec<u64> = state
            .live
            .iter()
            .filter(|(_, live)| live.owner.id == context.id)
            .map(|(address, _)| *address)
            .collect();
        for address in gone {
            state.leave(address);
        }
    }
    forget_empty();
}
