//! Memory and events of other processes, by handles of 64 bytes.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;

use parking_lot::Mutex;

use crate::arena::Kind;
use crate::context::Context;
use crate::current;
use crate::driver;
use crate::event::DISABLE_TIMING;
use crate::event::Event;
use crate::event::INTERPROCESS;
use crate::external;
use crate::external::Memory;
use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUevent;
use crate::generated::structs::CUipcEventHandle;
use crate::generated::structs::CUipcMemHandle;
use crate::ipc;
use crate::ipc::Ticket;
use crate::places;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdeviceptr;

/// A block that others can open.
struct SharedBlock {
    ticket: Ticket,
    /// Its memory: when that is gone, another block may be at the same IO address.
    memory: Weak<dyn Any + Send + Sync>,
}

/// Blocks that are shared: by context and IO address.
static SHARED: Mutex<Option<HashMap<(u64, u64), SharedBlock>>> = Mutex::new(None);
/// Memory of others that is open: by handle and context, with the address and how often.
type Open = HashMap<(Ticket, u64), (u64, u32)>;

static OPEN: Mutex<Option<Open>> = Mutex::new(None);

/// Makes the block at an address one that others can open. What it holds moves; its addresses stay.
fn share(context: &Context, address: u64) -> Answer<(Ticket, u64)> {
    let mut shared = SHARED.lock();
    let shared = shared.get_or_insert_default();
    let (window, start, bytes) = context.arena.block(address).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    forget_gone(shared);
    if let Some(block) = shared.get(&(context.id, window.io))
        && Weak::ptr_eq(&block.memory, &Arc::downgrade(&window.keep))
    {
        return Ok((block.ticket, start));
    }
    context.synchronize_all()?;
    let moved = Memory::create(&context.device, bytes)?;
    let held = memory::read(Address(start as usize), bytes as usize);
    moved.window.memory.copy_in(0, &held).map_err(|_| CUresult::ERROR_OUT_OF_MEMORY)?;
    let ticket = ipc::publish(moved.share()?, 0, bytes)?;
    let (io, memory) = (moved.window.io, Arc::downgrade(&moved.window.keep));
    if let Err(error) = context.arena.replace(&context.ring, start, moved.window.clone()) {
        ipc::withdraw(&ticket);
        return Err(error);
    }
    if let Some(gone) = shared.insert((context.id, io), SharedBlock { ticket, memory }) {
        ipc::withdraw(&gone.ticket);
    }
    Ok((ticket, start))
}

/// Hands out no more what is freed.
fn forget_gone(shared: &mut HashMap<(u64, u64), SharedBlock>) {
    shared.retain(|_, block| {
        let is_there = block.memory.strong_count() > 0;
        if !is_there {
            ipc::withdraw(&block.ticket);
        }
        is_there
    });
}

/// Memory was freed: what of it was handed out is so no more.
pub(super) fn freed() {
    if let Some(shared) = &mut *SHARED.lock() {
        forget_gone(shared);
    }
}

/// `cuIpcGetMemHandle`.
pub fn memory_handle(out: Mut<CUipcMemHandle>, ptr: CUdeviceptr) -> Answer {
    driver::driver()?;
    out.given()?;
    let (context, found) = places::find(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    context.device.want_shared_memory()?;
    if found.kind != Kind::Device {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let (ticket, start) = share(&context, found.start)?;
    let ticket = ipc::again(ticket, found.start - start, found.bytes);
    out.set(CUipcMemHandle { reserved: ticket.encode() })
}

/// `cuIpcOpenMemHandle` and `_v2`.
pub fn open_memory(out: Mut<CUdeviceptr>, handle: CUipcMemHandle, flags: u32) -> Answer {
    let context = current::context()?;
    out.given()?;
    if flags & !1 != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let ticket = Ticket::decode(&handle.reserved)?;
    let mut open = OPEN.lock();
    let open = open.get_or_insert_default();
    if let Some((address, count)) = open.get_mut(&(ticket, context.id)) {
        *count += 1;
        return out.set(CUdeviceptr(*address));
    }
    let memory = Memory::open(&context.device, ipc::fetch(&ticket)?, 0)?;
    let whole = memory.window.bytes();
    let end = ticket.offset.checked_add(ticket.bytes).filter(|end| *end <= whole);
    end.ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let at =
        context.arena.map_window(&context.ring, memory.window.clone(), (0, whole), None, Kind::Imported)?;
    open.insert((ticket, context.id), (at + ticket.offset, 1));
    out.set(CUdeviceptr(at + ticket.offset))
}

/// `cuIpcCloseMemHandle`.
pub fn close_memory(ptr: CUdeviceptr) -> Answer {
    driver::driver()?;
    let (context, found) = places::find(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    if found.kind != Kind::Imported {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let mut open = OPEN.lock();
    let open = open.get_or_insert_default();
    let key = open.iter().find(|((_, owner), (address, _))| *owner == context.id && *address == ptr.0);
    let key = *key.ok_or(CUresult::ERROR_INVALID_VALUE)?.0;
    if let Some((_, count)) = open.get_mut(&key)
        && *count > 1
    {
        *count -= 1;
        return Ok(());
    }
    open.remove(&key);
    context.synchronize_all()?;
    context.arena.free(&context.ring, found.start, &[Kind::Imported]).map(drop)
}

/// `cuIpcGetEventHandle`.
pub fn event_handle(out: Mut<CUipcEventHandle>, event: CUevent) -> Answer {
    driver::driver()?;
    out.given()?;
    let event = tables::EVENTS.get(event)?;
    let shared = event.shared.as_ref().ok_or(CUresult::ERROR_INVALID_HANDLE)?;
    let descriptor = shared.fence.share().map_err(|error| crate::link::failure(&error))?;
    out.set(CUipcEventHandle { reserved: ipc::publish(descriptor, 0, 0)?.encode() })
}

/// `cuIpcOpenEventHandle`.
pub fn open_event(out: Mut<CUevent>, handle: CUipcEventHandle) -> Answer {
    let context = current::context()?;
    out.given()?;
    let descriptor = ipc::fetch(&Ticket::decode(&handle.reserved)?)?;
    let shared = external::open_shared_event(&context.device, &descriptor)?;
    let event = Event::new(&context, INTERPROCESS | DISABLE_TIMING, Some(shared));
    out.set(tables::EVENTS.insert(Arc::new(event))?)
}
