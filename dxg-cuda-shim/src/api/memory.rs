//! Memory: device, pitched, pinned, registered, managed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::arena::Kind;
use crate::capture;
use crate::context::Context;
use crate::current;
use crate::driver;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::generated::enums::CUmem_advise;
use crate::generated::enums::CUmem_range_attribute as R;
use crate::generated::enums::CUmemLocationType;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUmemLocation;
use crate::lane::Blocking;
use crate::places;
use crate::pool;
use crate::registered;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdevice;
use crate::types::CUdeviceptr;

/// Rows of pitched memory are multiples of this.
const PITCH_BYTES: usize = 512;
/// Flags of `cuMemHostAlloc`.
const HOST_FLAGS: u32 = 7;
/// Flags of `cuMemHostRegister`.
const REGISTER_FLAGS: u32 = 15;
/// `CU_DEVICE_CPU`.
const HOST: i32 = -1;
/// `CU_MEM_ATTACH_GLOBAL`, `..._HOST`, `..._SINGLE`.
const ATTACH_GLOBAL: u32 = 1;
const ATTACH_HOST: u32 = 2;
const ATTACH_SINGLE: u32 = 4;
/// No device: `CU_DEVICE_INVALID`, for the last place of a prefetch that was not.
const NO_PLACE: i32 = -2;

/// `cuMemGetInfo_v2`.
pub fn info(free: Mut<usize>, total: Mut<usize>) -> Answer {
    let context = current::context()?;
    let bytes = context.device.memory_bytes;
    let budget = context.ring.link().budget_bytes().min(bytes);
    let used: u64 = tables::contexts()
        .iter()
        .filter(|other| other.device.ordinal == context.device.ordinal)
        .map(|other| other.arena.used_bytes())
        .sum();
    let used = used.saturating_add(context.device.physical_bytes.load(Ordering::Relaxed));
    free.put(usize::try_from(budget.saturating_sub(used)).unwrap_or(usize::MAX));
    total.put(usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(())
}

fn allocate(context: &Arc<Context>, bytes: usize, kind: Kind, flags: u32) -> Answer<u64> {
    capture::check_unseen()?;
    if bytes == 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let first = context.arena.allocate(&context.ring, bytes as u64, kind, flags);
    if first != Err(CUresult::ERROR_OUT_OF_MEMORY) {
        return first;
    }
    // What pools and blocks hold without use may be all that is missing.
    context.synchronize_all()?;
    pool::every().iter().for_each(|pool| pool.release(0));
    context.arena.trim(&context.ring);
    context.ring.drain()?;
    context.arena.reclaim(&context.ring);
    context.arena.allocate(&context.ring, bytes as u64, kind, flags)
}

/// `cuMemAlloc_v2`.
pub fn alloc(out: Mut<CUdeviceptr>, bytes: usize) -> Answer {
    let context = current::context()?;
    out.given()?.set(CUdeviceptr(allocate(&context, bytes, Kind::Device, 0)?))
}

/// `cuMemAllocPitch_v2`.
pub fn alloc_pitch(
    out: Mut<CUdeviceptr>,
    pitch: Mut<usize>,
    width: usize,
    height: usize,
    element_bytes: u32,
) -> Answer {
    let context = current::context()?;
    if !matches!(element_bytes, 4 | 8 | 16) || width == 0 || height == 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let row = width.checked_next_multiple_of(PITCH_BYTES).ok_or(CUresult::ERROR_OUT_OF_MEMORY)?;
    let bytes = row.checked_mul(height).ok_or(CUresult::ERROR_OUT_OF_MEMORY)?;
    out.given()?;
    pitch.given()?.set(row)?;
    out.set(CUdeviceptr(allocate(&context, bytes, Kind::Device, 0)?))
}

/// `cuMemFree_v2`.
pub fn free(ptr: CUdeviceptr) -> Answer {
    driver::driver()?;
    if ptr.0 == 0 {
        return Ok(());
    }
    const KINDS: [Kind; 6] =
        [Kind::Device, Kind::Managed, Kind::Pooled, Kind::Shared, Kind::External, Kind::Graph];
    free_kinds(ptr.0, &KINDS)
}

/// Frees once nothing runs any more.
fn free_kinds(address: u64, kinds: &[Kind]) -> Answer {
    capture::check_unseen()?;
    let context = places::owner(address).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let found =
        context.arena.find(address).filter(|found| found.start == address && kinds.contains(&found.kind));
    let found = found.ok_or(CUresult::ERROR_INVALID_VALUE)?;
    context.synchronize_all()?;
    if found.kind == Kind::Graph {
        // It stays with its graph.
        return Ok(());
    }
    if pool::KINDS.contains(&found.kind) {
        pool::every().iter().any(|pool| pool.forget_address(address));
    }
    context.arena.free(&context.ring, address, kinds)?;
    super::ipc::freed();
    Ok(())
}

/// `cuMemGetAddressRange_v2`.
pub fn address_range(base: Mut<CUdeviceptr>, size: Mut<usize>, ptr: CUdeviceptr) -> Answer {
    driver::driver()?;
    let (_, found) = places::find(ptr.0).ok_or(CUresult::ERROR_NOT_FOUND)?;
    base.put(CUdeviceptr(found.start));
    size.put(found.bytes as usize);
    Ok(())
}

/// `cuMemHostAlloc`.
pub fn host_alloc(out: Mut<Address>, bytes: usize, flags: u32) -> Answer {
    let context = current::context()?;
    out.given()?;
    if flags & !HOST_FLAGS != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let at = allocate(&context, bytes, Kind::Host, flags)?;
    out.set(Address(at as usize))
}

/// `cuMemAllocHost_v2`.
pub fn alloc_host(out: Mut<Address>, bytes: usize) -> Answer {
    host_alloc(out, bytes, 0)
}

/// `cuMemFreeHost`.
pub fn free_host(ptr: Address) -> Answer {
    driver::driver()?;
    free_kinds(ptr.given()?.0 as u64, &[Kind::Host])
}

/// `cuMemHostGetDevicePointer_v2`.
pub fn host_device_pointer(out: Mut<CUdeviceptr>, ptr: Address, flags: u32) -> Answer {
    let context = current::context()?;
    out.given()?;
    let address = ptr.given()?.0 as u64;
    if flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if let Some(piece) = context.registered.find(address) {
        return out.set(CUdeviceptr(piece.device + (address - piece.host)));
    }
    let (_, found) = places::find(address).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    if !matches!(found.kind, Kind::Host | Kind::Managed) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    out.set(CUdeviceptr(address))
}

/// `cuMemHostGetFlags`.
pub fn host_flags(flags: Mut<u32>, ptr: Address) -> Answer {
    let context = current::context()?;
    let address = ptr.given()?.0 as u64;
    if let Some(piece) = context.registered.find(address) {
        return flags.set(piece.flags);
    }
    let (_, found) = places::find(address).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    // All of it is mapped, whether it was asked for or not.
    if found.kind == Kind::Host { flags.set(found.flags | 2) } else { Err(CUresult::ERROR_INVALID_VALUE) }
}

/// `cuMemHostRegister` and `_v2`.
pub fn host_register(ptr: Address, bytes: usize, flags: u32) -> Answer {
    let context = current::context()?;
    ptr.given()?;
    if flags & !REGISTER_FLAGS != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if places::find(ptr.0 as u64).is_some() {
        return Err(CUresult::ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    }
    capture::check_unseen()?;
    registered::register(&context, ptr, bytes as u64, flags)
}

/// `cuMemHostUnregister`.
pub fn host_unregister(ptr: Address) -> Answer {
    let context = current::context()?;
    ptr.given()?;
    capture::check_unseen()?;
    registered::unregister(&context, ptr)
}

/// `cuMemAllocManaged`.
pub fn alloc_managed(out: Mut<CUdeviceptr>, bytes: usize, flags: u32) -> Answer {
    let context = current::context()?;
    out.given()?;
    if !matches!(flags, 1 | 2) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    context.device.want_shared_memory()?;
    out.set(CUdeviceptr(allocate(&context, bytes, Kind::Managed, flags)?))
}

/// Managed memory that holds a piece.
///
/// # Errors
/// Invalid value where other memory is, or for no bytes.
pub(super) fn managed(address: u64, bytes: usize) -> Answer<Arc<Context>> {
    driver::driver()?;
    let (context, found) = places::find(address).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let end = (address - found.start).checked_add(bytes as u64);
    let fits = found.kind == Kind::Managed && end.is_some_and(|end| end <= found.bytes);
    if fits && bytes != 0 { Ok(context) } else { Err(CUresult::ERROR_INVALID_VALUE) }
}

/// A device, or the host.
fn check_device(device: CUdevice) -> Answer {
    if device.0 == HOST { driver::driver().map(drop) } else { driver::device(device).map(drop) }
}

/// A place that memory can be at, or none.
///
/// # Errors
/// Invalid value, invalid device.
pub(super) fn check_location(location: CUmemLocation) -> Answer {
    match location.kind {
        CUmemLocationType::DEVICE => driver::device(CUdevice(location.id)).map(drop),
        CUmemLocationType::NONE
        | CUmemLocationType::HOST
        | CUmemLocationType::HOST_NUMA
        | CUmemLocationType::HOST_NUMA_CURRENT => Ok(()),
        _ => Err(CUresult::ERROR_INVALID_VALUE),
    }
}

/// Whether advice is about a place.
fn wants_place(advice: CUmem_advise) -> Answer<bool> {
    match advice {
        CUmem_advise::SET_PREFERRED_LOCATION
        | CUmem_advise::SET_ACCESSED_BY
        | CUmem_advise::UNSET_ACCESSED_BY => Ok(true),
        CUmem_advise::SET_READ_MOSTLY
        | CUmem_advise::UNSET_READ_MOSTLY
        | CUmem_advise::UNSET_PREFERRED_LOCATION => Ok(false),
        _ => Err(CUresult::ERROR_INVALID_VALUE),
    }
}

/// `cuMemPrefetchAsync`: the memory is where it shall be.
pub fn prefetch(ptr: CUdeviceptr, bytes: usize, to: CUdevice, stream: CUstream) -> Answer {
    current::stream(stream)?;
    managed(ptr.0, bytes)?;
    check_device(to)
}

/// `cuMemPrefetchAsync_v2`.
pub fn prefetch_v2(
    ptr: CUdeviceptr,
    bytes: usize,
    to: CUmemLocation,
    flags: u32,
    stream: CUstream,
) -> Answer {
    current::stream(stream)?;
    if flags != 0 || to.kind == CUmemLocationType::NONE {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    managed(ptr.0, bytes)?;
    check_location(to)
}

/// `cuMemAdvise`: there is one place only.
pub fn advise(ptr: CUdeviceptr, bytes: usize, advice: CUmem_advise, device: CUdevice) -> Answer {
    managed(ptr.0, bytes)?;
    if wants_place(advice)? { check_device(device) } else { Ok(()) }
}

/// `cuMemAdvise_v2`.
pub fn advise_v2(ptr: CUdeviceptr, bytes: usize, advice: CUmem_advise, to: CUmemLocation) -> Answer {
    managed(ptr.0, bytes)?;
    match (wants_place(advice)?, to.kind) {
        (true, CUmemLocationType::NONE) => Err(CUresult::ERROR_INVALID_VALUE),
        (true, _) => check_location(to),
        _ => Ok(()),
    }
}

/// `cuMemRangeGetAttribute`.
pub fn range_attribute(
    data: Address,
    data_bytes: usize,
    attribute: R,
    ptr: CUdeviceptr,
    bytes: usize,
) -> Answer {
    data.given()?;
    managed(ptr.0, bytes)?;
    let value = match attribute {
        R::READ_MOSTLY => 0,
        R::PREFERRED_LOCATION | R::LAST_PREFETCH_LOCATION | R::ACCESSED_BY => NO_PLACE,
        _ => return Err(CUresult::ERROR_NOT_SUPPORTED),
    };
    if data_bytes < 4 || !data_bytes.is_multiple_of(4) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    (0..data_bytes / 4).try_for_each(|at| data.typed::<i32>().set_at(at, value))
}

/// `cuMemRangeGetAttributes`.
pub fn range_attributes(
    data: Mut<Address>,
    sizes: Mut<usize>,
    attributes: Mut<R>,
    count: usize,
    ptr: CUdeviceptr,
    bytes: usize,
) -> Answer {
    let (data, sizes) = (data.list(count)?, sizes.list(count)?);
    for ((data, size), attribute) in data.into_iter().zip(sizes).zip(attributes.list(count)?) {
        range_attribute(data, size, attribute, ptr, bytes)?;
    }
    Ok(())
}

/// `cuStreamAttachMemAsync`: managed memory belongs to everybody.
pub fn attach(stream: CUstream, ptr: CUdeviceptr, bytes: usize, flags: u32) -> Answer {
    let (_, lane) = current::stream(stream)?;
    super::stream::not_captured(&lane)?;
    let (_, found) = places::find(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let is_whole = found.start == ptr.0 && (bytes == 0 || bytes as u64 == found.bytes);
    let is_for_one = flags == ATTACH_SINGLE;
    let is_right = matches!(flags, ATTACH_GLOBAL | ATTACH_HOST | ATTACH_SINGLE)
        && !(is_for_one && lane.blocking == Blocking::Legacy);
    if found.kind == Kind::Managed && is_whole && is_right {
        Ok(())
    } else {
        Err(CUresult::ERROR_INVALID_VALUE)
    }
}
