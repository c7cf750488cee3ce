//! Pools and allocation in the order of a stream.

use std::os::fd::IntoRawFd;
use std::sync::Arc;

use crate::arena::Kind;
use crate::context::Context;
use crate::current;
use crate::driver;
use crate::driver::device;
use crate::ffi::descriptors;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUmemAccess_flags;
use crate::generated::enums::CUmemAllocationHandleType as H;
use crate::generated::enums::CUmemAllocationType;
use crate::generated::enums::CUmemLocationType;
use crate::generated::enums::CUmemPool_attribute as P;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUmemoryPool;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUmemAccessDesc;
use crate::generated::structs::CUmemLocation;
use crate::generated::structs::CUmemPoolProps;
use crate::generated::structs::CUmemPoolPtrExportData;
use crate::graph::Params;
use crate::lane::Lane;
use crate::places;
use crate::pool;
use crate::pool::Pool;
use crate::pool::Scope;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdevice;
use crate::types::CUdeviceptr;

/// `cuDeviceGetDefaultMemPool`.
pub fn default(out: Mut<CUmemoryPool>, dev: CUdevice) -> Answer {
    out.given()?.set(pool::default_pool(device(dev)?)?)
}

/// `cuDeviceGetMemPool`.
pub fn current(out: Mut<CUmemoryPool>, dev: CUdevice) -> Answer {
    out.given()?.set(pool::current_pool(device(dev)?)?)
}

/// `cuDeviceSetMemPool`.
pub fn set_current(dev: CUdevice, pool: CUmemoryPool) -> Answer {
    let device = device(dev)?;
    let object = tables::POOLS.get(pool)?;
    if object.device.ordinal != device.ordinal || matches!(object.scope, Scope::Imported(_)) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    *device.current_pool.lock() = Some(pool);
    Ok(())
}

/// `cuMemPoolCreate`.
pub fn create(out: Mut<CUmemoryPool>, props: Ref<CUmemPoolProps>) -> Answer {
    driver::driver()?;
    out.given()?;
    let props = props.read()?;
    if props.alloc_type != CUmemAllocationType::PINNED || props.location.kind != CUmemLocationType::DEVICE {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let device = device(CUdevice(props.location.id))?;
    let scope = match props.handle_types {
        H::NONE => Scope::Private,
        H::POSIX_FILE_DESCRIPTOR => Scope::Exported,
        _ => return Err(CUresult::ERROR_NOT_SUPPORTED),
    };
    if scope == Scope::Exported {
        device.want_shared_memory()?;
    }
    out.set(tables::POOLS.insert(Pool::new(device, scope, props.max_size as u64))?)
}

/// `cuMemPoolDestroy`.
pub fn destroy(pool: CUmemoryPool) -> Answer {
    driver::driver()?;
    let object = tables::POOLS.get(pool)?;
    if object.device.default_pool.get() == Some(&pool) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    tables::POOLS.remove(pool)?;
    let mut current = object.device.current_pool.lock();
    if *current == Some(pool) {
        *current = None;
    }
    drop(current);
    object.end();
    Ok(())
}

/// `cuMemPoolTrimTo`.
pub fn trim(pool: CUmemoryPool, keep: usize) -> Answer {
    driver::driver()?;
    tables::POOLS.get(pool)?.release(keep as u64);
    Ok(())
}

/// Whether an attribute is an `int` for the program.
fn is_int(attribute: P) -> bool {
    matches!(
        attribute,
        P::REUSE_FOLLOW_EVENT_DEPENDENCIES
            | P::REUSE_ALLOW_OPPORTUNISTIC
            | P::REUSE_ALLOW_INTERNAL_DEPENDENCIES
    )
}

/// `cuMemPoolGetAttribute`.
pub fn attribute(pool: CUmemoryPool, attribute: P, value: Address) -> Answer {
    driver::driver()?;
    value.given()?;
    let found = tables::POOLS.get(pool)?.attribute(attribute)?;
    if is_int(attribute) { value.typed::<i32>().set(found as i32) } else { value.typed::<u64>().set(found) }
}

/// `cuMemPoolSetAttribute`.
pub fn set_attribute(pool: CUmemoryPool, attribute: P, value: Address) -> Answer {
    driver::driver()?;
    let value = if is_int(attribute) {
        u64::from(value.typed::<i32>().read()? != 0)
    } else {
        value.typed::<u64>().read()?
    };
    tables::POOLS.get(pool)?.set_attribute(attribute, value)
}

/// `cuMemPoolSetAccess`: a device sees its own memory, and no other's.
pub fn set_access(pool: CUmemoryPool, list: Ref<CUmemAccessDesc>, count: usize) -> Answer {
    driver::driver()?;
    let pool = tables::POOLS.get(pool)?;
    for access in list.list(count)? {
        let is_own = access.location.kind == CUmemLocationType::DEVICE
            && device(CUdevice(access.location.id))?.ordinal == pool.device.ordinal;
        match access.flags {
            CUmemAccess_flags::NONE if is_own => return Err(CUresult::ERROR_INVALID_VALUE),
            CUmemAccess_flags::NONE => {}
            _ if is_own => {}
            _ => return Err(CUresult::ERROR_INVALID_DEVICE),
        }
    }
    Ok(())
}

/// `cuMemPoolGetAccess`.
pub fn access(flags: Mut<CUmemAccess_flags>, pool: CUmemoryPool, location: Mut<CUmemLocation>) -> Answer {
    driver::driver()?;
    let pool = tables::POOLS.get(pool)?;
    let location = location.read()?;
    let is_own = location.kind == CUmemLocationType::DEVICE
        && device(CUdevice(location.id))?.ordinal == pool.device.ordinal;
    flags.set(if is_own { CUmemAccess_flags::READWRITE } else { CUmemAccess_flags::NONE })
}

/// `cuMemPoolExportToShareableHandle`.
pub fn export(out: Address, pool: CUmemoryPool, kind: H, flags: u64) -> Answer {
    driver::driver()?;
    out.given()?;
    let pool = tables::POOLS.get(pool)?;
    if kind != H::POSIX_FILE_DESCRIPTOR || flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    out.typed::<i32>().set(pool.export()?.into_raw_fd())
}

/// `cuMemPoolImportFromShareableHandle`. The descriptor stays the program's.
pub fn import(out: Mut<CUmemoryPool>, handle: Address, kind: H, flags: u64) -> Answer {
    driver::driver()?;
    out.given()?;
    if kind != H::POSIX_FILE_DESCRIPTOR || flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let descriptor = descriptors::duplicate(handle.0 as u32 as i32)?;
    let (device, whose) = pool::identify(descriptor)?;
    device.want_shared_memory()?;
    out.set(tables::POOLS.insert(Pool::new(&device, Scope::Imported(whose), 0))?)
}

/// `cuMemPoolExportPointer`.
pub fn export_pointer(out: Mut<CUmemPoolPtrExportData>, ptr: CUdeviceptr) -> Answer {
    driver::driver()?;
    out.given()?;
    let pool = pool::every().into_iter().find(|pool| pool.holds(ptr.0));
    let reserved = pool.ok_or(CUresult::ERROR_INVALID_VALUE)?.export_pointer(ptr.0)?;
    out.set(CUmemPoolPtrExportData { reserved })
}

/// `cuMemPoolImportPointer`: mapped in the current context.
pub fn import_pointer(
    out: Mut<CUdeviceptr>,
    pool: CUmemoryPool,
    data: Mut<CUmemPoolPtrExportData>,
) -> Answer {
    let context = current::context()?;
    out.given()?;
    let pool = tables::POOLS.get(pool)?;
    if pool.device.ordinal != context.device.ordinal {
        return Err(CUresult::ERROR_INVALID_DEVICE);
    }
    out.set(CUdeviceptr(pool.import_pointer(&context, &data.read()?.reserved)?))
}

/// The device whose memory a place is; only that has pools.
fn device_at(location: Mut<CUmemLocation>, kind: CUmemAllocationType) -> Answer<CUdevice> {
    driver::driver()?;
    let location = location.read()?;
    match (location.kind, kind) {
        (CUmemLocationType::DEVICE, CUmemAllocationType::PINNED) => Ok(CUdevice(location.id)),
        _ => Err(CUresult::ERROR_NOT_SUPPORTED),
    }
}

/// `cuMemGetDefaultMemPool`.
pub fn default_at(out: Mut<CUmemoryPool>, location: Mut<CUmemLocation>, kind: CUmemAllocationType) -> Answer {
    default(out, device_at(location, kind)?)
}

/// `cuMemGetMemPool`.
pub fn current_at(out: Mut<CUmemoryPool>, location: Mut<CUmemLocation>, kind: CUmemAllocationType) -> Answer {
    current(out, device_at(location, kind)?)
}

/// `cuMemSetMemPool`.
pub fn set_current_at(location: Mut<CUmemLocation>, kind: CUmemAllocationType, pool: CUmemoryPool) -> Answer {
    set_current(device_at(location, kind)?, pool)
}

fn allocate(context: &Arc<Context>, lane: &Arc<Lane>, pool: CUmemoryPool, bytes: usize) -> Answer<u64> {
    let pool = tables::POOLS.get(pool)?;
    if bytes == 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if pool.device.ordinal != context.device.ordinal {
        return Err(CUresult::ERROR_INVALID_DEVICE);
    }
    if lane.is_capturing.load(std::sync::atomic::Ordering::Relaxed) {
        return captured(context, lane, bytes as u64);
    }
    pool.allocate(context, lane, bytes as u64)
}

/// Memory that belongs to the graph which a stream is captured to.
fn captured(context: &Arc<Context>, lane: &Arc<Lane>, bytes: u64) -> Answer<u64> {
    let address = context.arena.allocate(&context.ring, bytes, Kind::Graph, 0)?;
    let memory = Arc::new(crate::graph::GraphMemory { context: Arc::clone(context), address });
    let index = crate::capture::add_node(lane, Step::Allocated(address), Params::Alloc(address, bytes))?;
    let capture = lane.capture.lock();
    if let Some(capture) = &*capture
        && let Some(Some(node)) = capture.session.graph.nodes.lock().get_mut(index)
    {
        node.memory = Some(memory);
    }
    Ok(address)
}

/// `cuMemAllocAsync`.
pub fn alloc(out: Mut<CUdeviceptr>, bytes: usize, stream: CUstream) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let pool = pool::current_pool(&context.device)?;
    out.given()?.set(CUdeviceptr(allocate(&context, &lane, pool, bytes)?))
}

/// `cuMemAllocFromPoolAsync`.
pub fn alloc_from(out: Mut<CUdeviceptr>, bytes: usize, pool: CUmemoryPool, stream: CUstream) -> Answer {
    let (context, lane) = current::stream(stream)?;
    out.given()?.set(CUdeviceptr(allocate(&context, &lane, pool, bytes)?))
}

/// `cuMemFreeAsync`.
pub fn free(ptr: CUdeviceptr, stream: CUstream) -> Answer {
    let (_, lane) = current::stream(stream)?;
    if ptr.0 == 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if lane.is_capturing.load(std::sync::atomic::Ordering::Relaxed) {
        return crate::capture::add(&lane, Step::Freed(ptr.0), Params::Free(ptr.0));
    }
    if pool::every().iter().any(|pool| pool.free(&lane, ptr.0)) {
        return Ok(());
    }
    // Memory of `cuMemAlloc` may be freed here too.
    let (owner, found) = places::find(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    if found.start == ptr.0 && found.kind == Kind::Graph {
        // It stays with its graph.
        return Ok(());
    }
    if found.start != ptr.0 || !matches!(found.kind, Kind::Device | Kind::Managed) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    owner.synchronize_all()?;
    owner.arena.free(&owner.ring, ptr.0, &[Kind::Device, Kind::Managed]).map(drop)
}
