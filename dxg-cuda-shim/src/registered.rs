//! Memory of the program that was given to the device where it lies.
//!
//! *Why two addresses.* The program keeps its own; the device knows the memory at an address of the context's range. Both show the
//! same bytes.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use dxg_core::AdoptedMemory;
use parking_lot::Mutex;

use crate::arena::Kind;
use crate::context::Context;
use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::generated::enums::CUresult;
use crate::link::Window;
use crate::types::Answer;

const PAGE_BYTES: u64 = 4096;

/// One piece.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Where the program has it.
    pub host: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Where the device sees `host`.
    pub device: u64,
    /// Flags of the call.
    pub flags: u32,
    mapped: u64,
    _memory: Arc<AdoptedMemory>,
}

/// The pieces of a context, by the program's address.
#[derive(Debug, Default)]
pub struct Pieces(Mutex<BTreeMap<u64, Registered>>);

impl Pieces {
    /// The piece that an address of the program is in.
    #[must_use]
    pub fn find(&self, host: u64) -> Option<Registered> {
        let pieces = self.0.lock();
        let (start, piece) = pieces.range(..=host).next_back()?;
        (host - start < piece.bytes).then(|| piece.clone())
    }

    /// The piece that an address of the device is in.
    #[must_use]
    pub fn find_device(&self, address: u64) -> Option<Registered> {
        let pieces = self.0.lock();
        pieces.values().find(|piece| address.wrapping_sub(piece.device) < piece.bytes).cloned()
    }

    /// Whether a piece overlaps one that is there.
    fn overlaps(&self, start: u64, end: u64) -> bool {
        let pieces = self.0.lock();
        let before = pieces.range(..end).next_back();
        before.is_some_and(|(at, piece)| at + piece.bytes > start)
    }

    /// Lets go of all: the context is over.
    pub fn clear(&self) {
        let pieces = std::mem::take(&mut *self.0.lock());
        drop(pieces);
    }
}

/// Gives memory of the program to the device.
///
/// # Errors
/// Invalid value for memory that cannot be given; already registered; out of memory.
pub fn register(context: &Context, host: Address, bytes: u64, flags: u32) -> Answer {
    let start = host.0 as u64;
    let end = start.checked_add(bytes).filter(|_| bytes != 0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    if context.registered.overlaps(start, end) {
        return Err(CUresult::ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    }
    let streams = context.ring.link().streams().ok_or(CUresult::ERROR_NOT_SUPPORTED)?;
    let first = start / PAGE_BYTES * PAGE_BYTES;
    let whole = end.checked_next_multiple_of(PAGE_BYTES).ok_or(CUresult::ERROR_INVALID_VALUE)? - first;
    let adopted = Arc::new(memory::adopt(streams, first, whole)?);
    let shared = adopted.window().ok_or(CUresult::ERROR_NOT_SUPPORTED)?;
    let window = Window {
        memory: shared.memory,
        io: shared.io_address.0,
        keep: Arc::clone(&adopted) as crate::link::Keep,
    };
    let mapped = context.arena.map_window(&context.ring, window, (0, whole), None, Kind::Registered)?;
    let device = mapped + (start - first);
    let piece = Registered { host: start, bytes, device, flags, mapped, _memory: adopted };
    context.registered.0.lock().insert(start, piece);
    Ok(())
}

/// Gives it back.
///
/// # Errors
/// Not registered.
pub fn unregister(context: &Context, host: Address) -> Answer {
    let start = host.0 as u64;
    if context.registered.find(start).is_none_or(|piece| piece.host != start) {
        return Err(CUresult::ERROR_HOST_MEMORY_NOT_REGISTERED);
    }
    context.synchronize_all()?;
    let piece = context.registered.0.lock().remove(&start);
    let piece = piece.ok_or(CUresult::ERROR_HOST_MEMORY_NOT_REGISTERED)?;
    context.arena.free(&context.ring, piece.mapped, &[Kind::Registered])?;
    // The host must have unmapped it before the pages are the program's alone again.
    context.ring.drain()?;
    context.arena.reclaim(&context.ring);
    drop(piece);
    Ok(())
}
