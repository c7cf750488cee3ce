//! What an address is.

use std::sync::Arc;

use crate::arena::Allocation;
use crate::arena::Kind;
use crate::context::Context;
use crate::driver;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::generated::enums::CUmemorytype;
use crate::generated::enums::CUpointer_attribute as P;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUmemoryPool;
use crate::places;
use crate::pool;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdeviceptr;

/// What is known of an address.
struct Known {
    context: Arc<Context>,
    allocation: Allocation,
    /// Where the program has it.
    host: Option<u64>,
    /// Where the device has it.
    device: u64,
}

fn known(address: u64) -> Option<Known> {
    if let Some((context, allocation)) = places::find(address) {
        let registered = context.registered.find_device(address);
        let host = match allocation.kind {
            Kind::Host | Kind::Managed => Some(address),
            Kind::Registered => registered.map(|piece| piece.host + (address - piece.device)),
            _ => None,
        };
        return Some(Known { context, allocation, host, device: address });
    }
    tables::contexts().into_iter().find_map(|context| {
        let piece = context.registered.find(address)?;
        let device = piece.device + (address - piece.host);
        let mut allocation = context.arena.find(device)?;
        (allocation.start, allocation.bytes) = (piece.host, piece.bytes);
        Some(Known { context, allocation, host: Some(address), device })
    })
}

fn is_host(kind: Kind) -> bool {
    matches!(kind, Kind::Host | Kind::Registered)
}

/// Writes an attribute; what is not known is said to be nothing.
fn write(data: Address, attribute: P, known: Option<&Known>) -> Answer {
    let number = |value: i32| data.typed::<i32>().set(value);
    let word = |value: u64| data.typed::<u64>().set(value);
    let byte = |value: bool| data.typed::<u8>().set(u8::from(value));
    let kind = known.map(|known| known.allocation.kind);
    match attribute {
        P::CONTEXT => {
            let name = known.and_then(|known| known.context.name.get().copied());
            data.typed::<CUcontext>().set(name.unwrap_or_default())
        }
        P::MEMORY_TYPE => number(match kind {
            None => 0,
            Some(kind) if is_host(kind) => CUmemorytype::HOST.0,
            Some(_) => CUmemorytype::DEVICE.0,
        }),
        P::DEVICE_POINTER => word(known.map_or(0, |known| known.device)),
        P::HOST_POINTER => word(known.and_then(|known| known.host).unwrap_or(0)),
        P::SYNC_MEMOPS => number(0),
        P::BUFFER_ID => word(known.map_or(0, |known| known.allocation.id)),
        P::IS_MANAGED => byte(kind == Some(Kind::Managed)),
        P::DEVICE_ORDINAL => number(known.map_or(-2, |known| known.context.device.number().0)),
        P::IS_LEGACY_CUDA_IPC_CAPABLE => byte(kind == Some(Kind::Device)),
        P::RANGE_START_ADDR => word(known.map_or(0, |known| known.allocation.start)),
        P::RANGE_SIZE => word(known.map_or(0, |known| known.allocation.bytes)),
        P::MAPPED => byte(known.is_some()),
        P::ALLOWED_HANDLE_TYPES => word(u64::from(matches!(kind, Some(Kind::Mapped | Kind::Shared)))),
        P::ACCESS_FLAGS => number(if known.is_some() { 3 } else { 0 }),
        P::MEMPOOL_HANDLE => {
            let start = known
                .filter(|known| pool::KINDS.contains(&known.allocation.kind))
                .map(|known| known.allocation.start);
            let pool = start.and_then(|start| tables::POOLS.all().into_iter().find(|pool| pool.holds(start)));
            let name = pool.and_then(|pool| tables::POOLS.name_of(&pool));
            data.typed::<CUmemoryPool>().set(name.unwrap_or_default())
        }
        P::MAPPING_SIZE => word(known.map_or(0, |known| known.allocation.bytes)),
        P::MAPPING_BASE_ADDR => word(known.map_or(0, |known| known.allocation.start)),
        P::MEMORY_BLOCK_ID => word(known.map_or(0, |known| known.allocation.id)),
        P::IS_GPU_DIRECT_RDMA_CAPABLE | P::IS_HW_DECOMPRESS_CAPABLE => byte(false),
        _ => Err(CUresult::ERROR_INVALID_VALUE),
    }
}

/// `cuPointerGetAttribute`. Of memory that is the program's alone nothing is known, which is an error.
pub fn attribute(data: Address, attribute: P, ptr: CUdeviceptr) -> Answer {
    driver::driver()?;
    data.given()?;
    let known = known(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    write(data, attribute, Some(&known))
}

/// `cuPointerGetAttributes`: here unknown memory is no error.
pub fn attributes(count: u32, attributes: Mut<P>, data: Mut<Address>, ptr: CUdeviceptr) -> Answer {
    driver::driver()?;
    let known = known(ptr.0);
    let (attributes, data) = (attributes.list(count as usize)?, data.list(count as usize)?);
    for (attribute, data) in attributes.into_iter().zip(data) {
        write(data.given()?, attribute, known.as_ref())?;
    }
    Ok(())
}

/// `cuPointerSetAttribute`: copies are as synchronous as they are.
pub fn set_attribute(value: Address, attribute: P, ptr: CUdeviceptr) -> Answer {
    driver::driver()?;
    value.given()?;
    known(ptr.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    if attribute == P::SYNC_MEMOPS { Ok(()) } else { Err(CUresult::ERROR_INVALID_VALUE) }
}
