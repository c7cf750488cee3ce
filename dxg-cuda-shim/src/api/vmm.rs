//! Addresses and physical memory apart from each other.

use std::os::fd::IntoRawFd;
use std::sync::Arc;

use crate::arena::Kind;
use crate::current;
use crate::driver;
use crate::driver::device;
use crate::external::Memory;
use crate::ffi::descriptors;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUmemAccess_flags;
use crate::generated::enums::CUmemAllocationGranularity_flags;
use crate::generated::enums::CUmemAllocationHandleType as H;
use crate::generated::enums::CUmemAllocationType;
use crate::generated::enums::CUmemLocationType;
use crate::generated::enums::CUresult;
use crate::generated::structs::CUmemAccessDesc;
use crate::generated::structs::CUmemAllocationProp;
use crate::generated::structs::CUmemLocation;
use crate::places;
use crate::tables;
use crate::tables::Physical;
use crate::types::Answer;
use crate::types::CUdevice;
use crate::types::CUdeviceptr;

/// Sizes and offsets are multiples of this.
const GRANULE_BYTES: usize = 2 << 20;

fn is_granular(bytes: usize) -> bool {
    bytes != 0 && bytes.is_multiple_of(GRANULE_BYTES)
}

/// Checks what a program wants of physical memory.
fn checked(prop: &CUmemAllocationProp) -> Answer<&'static Arc<crate::device::Device>> {
    let is_usual =
        prop.kind == CUmemAllocationType::PINNED && prop.location.kind == CUmemLocationType::DEVICE;
    if !is_usual {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if prop.requested_handle_types.0 & !H::POSIX_FILE_DESCRIPTOR.0 != 0 {
        return Err(CUresult::ERROR_NOT_SUPPORTED);
    }
    device(CUdevice(prop.location.id))
}

/// `cuMemGetAllocationGranularity`.
pub fn granularity(
    out: Mut<usize>,
    prop: Ref<CUmemAllocationProp>,
    _option: CUmemAllocationGranularity_flags,
) -> Answer {
    driver::driver()?;
    checked(&prop.read()?)?;
    out.set(GRANULE_BYTES)
}

/// `cuMemAddressReserve`. Addresses are of the current context's range.
pub fn reserve(
    out: Mut<CUdeviceptr>,
    bytes: usize,
    alignment: usize,
    wanted: CUdeviceptr,
    flags: u64,
) -> Answer {
    let context = current::context()?;
    out.given()?;
    context.device.want_shared_memory()?;
    let alignment = alignment.max(GRANULE_BYTES);
    if !is_granular(bytes) || flags != 0 || !alignment.is_power_of_two() {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let start = context.arena.reserve_addresses(bytes as u64, alignment as u64, wanted.0)?;
    out.set(CUdeviceptr(start))
}

/// `cuMemAddressFree`.
pub fn release_addresses(ptr: CUdeviceptr, bytes: usize) -> Answer {
    driver::driver()?;
    let context = places::owner(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    context.arena.release_addresses(ptr.0, bytes as u64)
}

/// `cuMemCreate`.
pub fn create(out: Mut<u64>, bytes: usize, prop: Ref<CUmemAllocationProp>, flags: u64) -> Answer {
    driver::driver()?;
    out.given()?;
    let prop = prop.read()?;
    let device = checked(&prop)?;
    device.want_shared_memory()?;
    if !is_granular(bytes) || flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let memory = if prop.requested_handle_types == H::NONE {
        let context = match current::get()?.filter(|context| context.device.ordinal == device.ordinal) {
            Some(context) => context,
            None => device.primary_context(&mut device.primary.lock())?,
        };
        Memory::private(device, context.ring.link().lease(bytes as u64)?, bytes as u64)
    } else {
        Memory::create(device, bytes as u64)?
    };
    out.set(tables::PHYSICAL.insert(Arc::new(memory))?.0)
}

/// `cuMemRelease`. What is mapped stays until it is unmapped.
pub fn release(handle: u64) -> Answer {
    driver::driver()?;
    tables::PHYSICAL.remove(Physical(handle)).map(drop).map_err(|_| CUresult::ERROR_INVALID_VALUE)
}

fn physical(handle: u64) -> Answer<Arc<Memory>> {
    driver::driver()?;
    tables::PHYSICAL.find(Physical(handle)).ok_or(CUresult::ERROR_INVALID_VALUE)
}

/// `cuMemMap`.
pub fn map(ptr: CUdeviceptr, bytes: usize, offset: usize, handle: u64, flags: u64) -> Answer {
    let memory = physical(handle)?;
    let context = places::owner(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    context.check()?;
    let end = (offset as u64).checked_add(bytes as u64).filter(|end| *end <= memory.window.bytes());
    let fits = is_granular(bytes) && offset.is_multiple_of(GRANULE_BYTES) && end.is_some() && flags == 0;
    if !fits || !context.arena.is_vacant(ptr.0, bytes as u64) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if memory.device.ordinal != context.device.ordinal {
        return Err(CUresult::ERROR_INVALID_DEVICE);
    }
    let part = (offset as u64, bytes as u64);
    let window =
        crate::link::Window { keep: Arc::clone(&memory) as crate::link::Keep, ..memory.window.clone() };
    context.arena.map_window(&context.ring, window, part, Some(ptr.0), Kind::Mapped).map(drop)
}

/// `cuMemUnmap`.
pub fn unmap(ptr: CUdeviceptr, bytes: usize) -> Answer {
    driver::driver()?;
    let context = places::owner(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    context.synchronize_all()?;
    let end = ptr.0.checked_add(bytes as u64).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let mut at = ptr.0;
    let mut pieces = Vec::new();
    while at < end {
        let found = context.arena.find(at).filter(|found| found.kind == Kind::Mapped && found.start == at);
        let found = found.filter(|found| found.bytes <= end - at).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        pieces.push(at);
        at += found.bytes;
    }
    for piece in pieces {
        context.arena.free(&context.ring, piece, &[Kind::Mapped])?;
    }
    Ok(())
}

/// `cuMemSetAccess`: a device sees its own memory, and no other's.
pub fn set_access(ptr: CUdeviceptr, bytes: usize, list: Ref<CUmemAccessDesc>, count: usize) -> Answer {
    driver::driver()?;
    let context = places::owner(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    if !context.arena.is_mapped(ptr.0, bytes as u64) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    for access in list.list(count)? {
        let is_host = matches!(
            access.location.kind,
            CUmemLocationType::HOST | CUmemLocationType::HOST_NUMA | CUmemLocationType::HOST_NUMA_CURRENT
        );
        let is_own = access.location.kind == CUmemLocationType::DEVICE
            && device(CUdevice(access.location.id))?.ordinal == context.device.ordinal;
        if !is_own && !is_host {
            return Err(CUresult::ERROR_INVALID_DEVICE);
        }
    }
    Ok(())
}

/// `cuMemGetAccess`.
pub fn access(flags: Mut<u64>, location: Ref<CUmemLocation>, ptr: CUdeviceptr) -> Answer {
    driver::driver()?;
    let location = location.read()?;
    let (context, _) = places::find(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let is_own = location.kind == CUmemLocationType::DEVICE
        && device(CUdevice(location.id))?.ordinal == context.device.ordinal;
    let access = if is_own { CUmemAccess_flags::READWRITE } else { CUmemAccess_flags::NONE };
    flags.set(access.0 as u64)
}

/// `cuMemExportToShareableHandle`.
pub fn export(out: Address, handle: u64, kind: H, flags: u64) -> Answer {
    let memory = physical(handle)?;
    out.given()?;
    if flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if kind != H::POSIX_FILE_DESCRIPTOR {
        return Err(CUresult::ERROR_NOT_SUPPORTED);
    }
    out.typed::<i32>().set(memory.share()?.into_raw_fd())
}

/// `cuMemImportFromShareableHandle`. The descriptor stays the program's.
pub fn import(out: Mut<u64>, os_handle: Address, kind: H) -> Answer {
    let context = current::context()?;
    out.given()?;
    if kind != H::POSIX_FILE_DESCRIPTOR {
        return Err(CUresult::ERROR_NOT_SUPPORTED);
    }
    let descriptor = descriptors::duplicate(os_handle.0 as u32 as i32)?;
    let memory = Memory::open(&context.device, descriptor, 0)?;
    out.set(tables::PHYSICAL.insert(Arc::new(memory))?.0)
}

/// `cuMemGetAllocationPropertiesFromHandle`.
pub fn properties(out: Mut<CUmemAllocationProp>, handle: u64) -> Answer {
    let memory = physical(handle)?;
    let mut prop: CUmemAllocationProp = zerocopy::FromZeros::new_zeroed();
    prop.kind = CUmemAllocationType::PINNED;
    prop.location = CUmemLocation { kind: CUmemLocationType::DEVICE, id: memory.device.number().0 };
    if memory.can_be_shared() {
        prop.requested_handle_types = H::POSIX_FILE_DESCRIPTOR;
    }
    out.set(prop)
}

/// `cuMemRetainAllocationHandle`.
pub fn retain(out: Mut<u64>, address: Address) -> Answer {
    driver::driver()?;
    out.given()?;
    let (context, found) = places::find(address.0 as u64).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    if found.kind != Kind::Mapped {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let (window, ..) = context.arena.block(found.start).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let memory = window.keep.downcast::<Memory>().map_err(|_| CUresult::ERROR_INVALID_VALUE)?;
    out.set(tables::PHYSICAL.insert(memory)?.0)
}
