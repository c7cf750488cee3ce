//! Pools: memory that is allocated and freed in the order of a stream.
//!
//! *Why.* What is freed on a stream may be used again at once by a later allocation on the same stream, and by others once the
//! stream has come there. Until then it waits here.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::arena::Kind;
use crate::context::Context;
use crate::device::Device;
use crate::generated::enums::CUmemPool_attribute as P;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUmemoryPool;
use crate::lane::Lane;
use crate::tables;
use crate::types::Answer;

#[derive(Debug)]
struct Freed {
    context: Arc<Context>,
    lane: Arc<Lane>,
    sequence: u64,
    address: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    freed: Vec<Freed>,
    /// What is allocated: whose, and how much.
    live: HashMap<u64, (u64, u64)>,
    used: u64,
    used_high: u64,
    reserved_high: u64,
    attributes: HashMap<i32, u64>,
}

/// A pool.
#[derive(Debug)]
pub struct Pool {
    /// Its device.
    pub device: Arc<Device>,
    /// Types of handles it may be exported as.
    pub handle_types: i32,
    state: Mutex<State>,
}

impl Pool {
    /// An empty one.
    #[must_use]
    pub fn new(device: &Arc<Device>, handle_types: i32) -> Self {
        Self { device: Arc::clone(device), handle_types, state: Mutex::default() }
    }

    /// Allocates for work that comes later on a stream.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn allocate(&self, context: &Arc<Context>, lane: &Arc<Lane>, bytes: u64) -> Answer<u64> {
        let mut state = self.state.lock();
        let again = state.freed.iter().position(|freed| {
            let fits = freed.bytes >= bytes && freed.bytes <= bytes.saturating_mul(2);
            fits && freed.context.id == context.id
                && (Arc::ptr_eq(&freed.lane, lane) || freed.lane.is_done(freed.sequence))
        });
        let (address, taken) = match again {
            Some(at) => {
                let freed = state.freed.swap_remove(at);
                (freed.address, freed.bytes)
            }
            None => {
                reclaim(&mut state, |_| true);
                drop(state);
                let made = self.allocate_fresh(context, bytes)?;
                state = self.state.lock();
                (made, bytes)
            }
        };
        state.live.insert(address, (context.id, taken));
        state.used += taken;
        state.used_high = state.used_high.max(state.used);
        let reserved = state.reserved();
        state.reserved_high = state.reserved_high.max(reserved);
        Ok(address)
    }

    fn allocate_fresh(&self, context: &Arc<Context>, bytes: u64) -> Answer<u64> {
        let made = context.arena.allocate(&context.ring, bytes, Kind::Pooled, 0);
        if made != Err(CUresult::ERROR_OUT_OF_MEMORY) {
            return made;
        }
        // What is freed and not yet passed may be all that is missing.
        context.synchronize_all()?;
        self.trim();
        context.arena.allocate(&context.ring, bytes, Kind::Pooled, 0)
    }

    /// Frees once work on a stream has come so far. Whether it was of this pool.
    pub fn free(&self, context: &Arc<Context>, lane: &Arc<Lane>, address: u64) -> bool {
        let state = &mut *self.state.lock();
        let Some((_, bytes)) = state.live.remove(&address) else { return false };
        state.used = state.used.saturating_sub(bytes);
        let (context, lane, sequence) = (Arc::clone(context), Arc::clone(lane), lane.last());
        state.freed.push(Freed { context, lane, sequence, address, bytes });
        true
    }

    /// Frees at once what no work uses any more. Whether it was of this pool.
    pub fn forget_address(&self, address: u64) -> bool {
        let state = &mut *self.state.lock();
        let Some((_, bytes)) = state.live.remove(&address) else { return false };
        state.used = state.used.saturating_sub(bytes);
        true
    }

    /// Whether an address was allocated from it.
    #[must_use]
    pub fn holds(&self, start: u64) -> bool {
        self.state.lock().live.contains_key(&start)
    }

    /// Gives back what was freed and that the streams have passed.
    pub fn trim(&self) {
        reclaim(&mut self.state.lock(), |_| true);
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
            | P::REUSE_ALLOW_INTERNAL_DEPENDENCIES => *state.attributes.get(&attribute.0).unwrap_or(&1),
            P::RELEASE_THRESHOLD => *state.attributes.get(&attribute.0).unwrap_or(&0),
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
}

impl State {
    fn reserved(&self) -> u64 {
        self.used + self.freed.iter().map(|freed| freed.bytes).sum::<u64>()
    }
}

fn reclaim(state: &mut State, is_wanted: impl Fn(&Freed) -> bool) {
    for freed in state.freed.extract_if(.., |freed| is_wanted(freed) && freed.lane.is_done(freed.sequence)) {
        let _ = freed.context.arena.free(&freed.context.ring, freed.address, &[Kind::Pooled]);
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
    let made = tables::POOLS.insert(Arc::new(Pool::new(device, 0)))?;
    let kept = *device.default_pool.get_or_init(|| made);
    if kept != made {
        let _ = tables::POOLS.remove(made);
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
    for pool in tables::POOLS.all() {
        let state = &mut *pool.state.lock();
        state.freed.retain(|freed| freed.context.id != context.id);
        state.live.retain(|_, (owner, _)| *owner != context.id);
        state.used = state.live.values().map(|(_, bytes)| bytes).sum();
    }
}
