//! Device memory: allocation, mapping, flushing.
//!
//! *Why.* Host-visible memory is ours: a piece of a leased block, which the host imports into its driver. Allocation is a
//! command without an answer, mapping is an addition, and flushing is nothing. Memory that the program never maps is the
//! host driver's own, and asking for it waits for the answer.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::c_void;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::op;

use super::fd;
use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::host_pointers::HostPages;
use super::memory_fd;
use super::memory_fd::Origin;
use super::pointers::find;
use super::pointers::put;
use crate::device::Device;
use crate::generated::structs;
use crate::heap::Piece;
use crate::link::Block;
use crate::memory::Memory;
use crate::ranges::GRANULE_BYTES;

/// `vkAllocateMemory`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn allocate_memory(
    device: vk::Device,
    info: *const vk::MemoryAllocateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    memory: *mut vk::DeviceMemory,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    guard_result(|| {
        // SAFETY: as above.
        let handle = unsafe { allocate(device, info) }?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(memory, handle) };
        Ok(())
    })
}

/// # Safety
/// `info` and its chain are valid.
unsafe fn allocate(
    device: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
) -> Result<vk::DeviceMemory, vk::Result> {
    let description = &device.physical.description;
    let kind = description.memory_type(info.memory_type_index).ok_or(vk::Result::ERROR_UNKNOWN)?;
    let heap_bytes = description.heap_bytes(kind.heap_index);
    let size_bytes = info.allocation_size;
    // SAFETY: the caller passes a valid chain.
    let origin = unsafe { memory_fd::origin(info) }?;
    if size_bytes > description.max_allocation_bytes {
        return Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
    }
    // SAFETY: as above.
    let import = unsafe { find::<vk::ImportMemoryHostPointerInfoEXT<'_>>(info.p_next) };
    // What is imported by descriptor counts where it was made.
    let charged_bytes = if let Origin::Imported(_) = origin { 0 } else { size_bytes };
    device.usage.charge(kind.heap_index, heap_bytes, charged_bytes)?;
    let result = match import {
        // SAFETY: the caller passes valid structures.
        Some(import) if !import.handle_type.is_empty() => unsafe { import_charged(device, info, import) },
        // SAFETY: as above.
        _ => unsafe { allocate_charged(device, info, origin, charged_bytes, kind) },
    };
    match (&result, origin) {
        (Err(_), _) => device.usage.uncharge(kind.heap_index, charged_bytes),
        // SAFETY: the descriptor was found open, and with this success it is the driver's.
        (Ok(_), Origin::Imported(descriptor)) => unsafe { fd::close(descriptor) },
        _ => {}
    }
    result
}

/// # Safety
/// `info` and its chain are valid.
unsafe fn allocate_charged(
    device: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
    origin: Origin,
    charged_bytes: u64,
    kind: vk::MemoryType,
) -> Result<vk::DeviceMemory, vk::Result> {
    let shared = memory_fd::shared(device, info, origin)?;
    let is_imported = device.physical.description.is_imported(info.memory_type_index);
    let piece =
        if is_imported && shared.is_none() { Some(take_piece(device, info.allocation_size)?) } else { None };
    let size_bytes = info.allocation_size;
    let memory = Memory { piece, pages: None, shared, size_bytes, charged_bytes, heap: kind.heap_index };
    // SAFETY: the caller passes a valid structure.
    unsafe { allocate_in(device, info, memory) }
}

/// Allocates memory that is this block.
///
/// # Errors
/// Why there is none.
///
/// # Safety
/// `info` and its chain are valid; its memory type is imported and the block as large as it says.
pub(super) unsafe fn allocate_block(
    device: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
    block: Arc<Block>,
) -> Result<vk::DeviceMemory, vk::Result> {
    let description = &device.physical.description;
    let kind = description.memory_type(info.memory_type_index).ok_or(vk::Result::ERROR_UNKNOWN)?;
    let heap_bytes = description.heap_bytes(kind.heap_index);
    let size_bytes = info.allocation_size;
    device.usage.charge(kind.heap_index, heap_bytes, size_bytes)?;
    let piece = Some(Piece::whole(block, size_bytes));
    let memory = Memory {
        piece,
        pages: None,
        shared: None,
        size_bytes,
        charged_bytes: size_bytes,
        heap: kind.heap_index,
    };
    // SAFETY: the caller passes a valid structure.
    let result = unsafe { allocate_in(device, info, memory) };
    result.inspect_err(|_| device.usage.uncharge(kind.heap_index, size_bytes))
}

/// # Safety
/// `info` and its chain are valid.
unsafe fn allocate_in(
    device: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
    memory: Memory,
) -> Result<vk::DeviceMemory, vk::Result> {
    let io_address = match (&memory.shared, &memory.piece) {
        (Some(shared), _) => shared.window().io_address.0,
        (None, Some(piece)) => piece.block.io_base().0 + piece.offset_bytes,
        (None, None) => 0,
    };
    // What has a block of its own has waited for that, so it can wait for what the host's driver says of its size. The window of
    // what is shared goes on the control plane, which may be faster than the stream: the host must have seen it.
    let is_small = |piece: &Piece<Block>| device.memory_heap.is_shared(piece.size_bytes);
    let is_sure = memory.piece.as_ref().is_some_and(is_small);
    let id = device.objects.memory.insert(memory).map_err(vk::Result::from)?;
    let body = |encoder: &mut dxg_wire::codec::Encoder| {
        encoder.u64(id);
        encoder.u64(io_address);
        // SAFETY: the caller passes a valid structure.
        unsafe { structs::enc_memory_allocate_info(encoder, info) };
    };
    let op = VkOp(op::ALLOCATE_MEMORY);
    let result = if is_sure {
        device.post(op, body)
    } else {
        device
            .call(op, body, |reply| Ok(vk::Result::from_raw(reply.i32()?)))
            .and_then(|result| result.result())
    };
    match result {
        Ok(()) => Ok(vk::DeviceMemory::from_raw(id)),
        Err(error) => {
            let memory = device.objects.memory.remove(id);
            if let Some(piece) = memory.and_then(|memory| memory.piece) {
                device.memory_heap.give(piece, 0);
                device.memory_heap.reclaim(device.stream.executed());
            }
            Err(error)
        }
    }
}

/// # Safety
/// `info`, its chain, and `import`, which is of that chain, are valid.
unsafe fn import_charged(
    device: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
    import: &vk::ImportMemoryHostPointerInfoEXT<'_>,
) -> Result<vk::DeviceMemory, vk::Result> {
    let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
    let description = &device.physical.description;
    let kind = description.memory_type(info.memory_type_index).ok_or(invalid)?;
    if !description.is_imported(info.memory_type_index) {
        return Err(invalid);
    }
    // SAFETY: the caller passes a valid structure.
    let pages = unsafe { HostPages::import(device, import, info.allocation_size) }?;
    let io_address = pages.io_address().ok_or(invalid)?;
    let pages = Some(Arc::new(pages));
    let size_bytes = info.allocation_size;
    let memory = Memory {
        piece: None,
        pages,
        shared: None,
        size_bytes,
        charged_bytes: size_bytes,
        heap: kind.heap_index,
    };
    let id = device.objects.memory.insert(memory).map_err(vk::Result::from)?;
    let body = |encoder: &mut dxg_wire::codec::Encoder| {
        encoder.u64(id);
        encoder.u64(io_address.0);
        // SAFETY: the caller passes a valid structure.
        unsafe { structs::enc_memory_allocate_info(encoder, info) };
    };
    // With an answer: the program may free the memory next, and the pages go without waiting for the host.
    let result = device
        .call(VkOp(op::ALLOCATE_MEMORY), body, |reply| Ok(vk::Result::from_raw(reply.i32()?)))
        .and_then(|result| result.result());
    match result {
        Ok(()) => Ok(vk::DeviceMemory::from_raw(id)),
        Err(error) => {
            device.objects.memory.remove(id);
            Err(error)
        }
    }
}

fn take_piece(device: &Device, size_bytes: u64) -> Result<Piece<Block>, vk::Result> {
    let alignment = device.physical.description.import_alignment_bytes.max(GRANULE_BYTES);
    // The host imports whole multiples of the alignment.
    let whole =
        size_bytes.checked_next_multiple_of(alignment).ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?;
    let stream = &device.stream;
    let take = || device.memory_heap.take(stream.lease(), whole, alignment, stream.executed());
    let piece = take().or_else(|error| match error {
        vk::Result::ERROR_DEVICE_LOST => Err(error),
        _ => {
            // What the program has freed may still wait for the host to let go of it.
            stream.drain()?;
            device.memory_heap.reclaim(stream.executed());
            take()
        }
    });
    piece.map_err(|error| match error {
        vk::Result::ERROR_DEVICE_LOST => error,
        _ => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
    })
}

/// `vkFreeMemory`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn free_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // A lost device has nothing left to free; its blocks go with the device.
        let free = || device.stream.post(VkOp::FREE_MEMORY, |encoder| encoder.u64(memory.as_raw()));
        let Some((state, posted)) = device.objects.memory.remove_after(memory.as_raw(), free) else { return };
        device.usage.uncharge(state.heap, state.charged_bytes);
        if let (Ok(position), Some(piece)) = (posted, state.piece) {
            device.memory_heap.give(piece, position);
            device.memory_heap.reclaim(device.stream.executed());
        }
        if let Some(shared) = state.shared {
            // Until the host has let go of it, it counts. A lost device holds nothing.
            let _ = device.stream.drain();
            drop(shared);
        }
    });
}

fn address(device: &Device, memory: vk::DeviceMemory, offset_bytes: u64) -> Result<*mut c_void, vk::Result> {
    let address = device.objects.memory.with(memory.as_raw(), |state| {
        if let Some(pages) = &state.pages {
            let offset = usize::try_from(offset_bytes).ok()?;
            return Some(pages.address()?.wrapping_add(offset).cast());
        }
        let (start, first_byte) = match (&state.shared, &state.piece) {
            (Some(shared), _) => (shared.window().memory.as_ptr(), 0),
            (None, Some(piece)) => (piece.block.memory().as_ptr(), piece.offset_bytes),
            (None, None) => return None,
        };
        let offset = usize::try_from(first_byte.checked_add(offset_bytes)?).ok()?;
        Some(start.wrapping_add(offset).cast())
    });
    address.flatten().ok_or(vk::Result::ERROR_MEMORY_MAP_FAILED)
}

/// `vkMapMemory`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn map_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    offset_bytes: vk::DeviceSize,
    _size_bytes: vk::DeviceSize,
    _flags: vk::MemoryMapFlags,
    data: *mut *mut c_void,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        let address = address(device, memory, offset_bytes)?;
        // SAFETY: the program passes a place for the address.
        unsafe { put(data, address) };
        Ok(())
    })
}

/// `vkMapMemory2KHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn map_memory2_khr(
    device: vk::Device,
    info: *const vk::MemoryMapInfoKHR<'_>,
    data: *mut *mut c_void,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    guard_result(|| {
        let address = address(device, info.memory, info.offset)?;
        // SAFETY: the program passes a place for the address.
        unsafe { put(data, address) };
        Ok(())
    })
}

/// `vkUnmapMemory`: memory stays mapped for its life.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn unmap_memory(_device: vk::Device, _memory: vk::DeviceMemory) {}

/// `vkUnmapMemory2KHR`: memory stays mapped for its life.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn unmap_memory2_khr(
    _device: vk::Device,
    _info: *const vk::MemoryUnmapInfoKHR<'_>,
) -> vk::Result {
    vk::Result::SUCCESS
}

/// `vkFlushMappedMemoryRanges`: both sides see the same pages.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn flush_mapped_memory_ranges(
    _device: vk::Device,
    _count: u32,
    _ranges: *const vk::MappedMemoryRange<'_>,
) -> vk::Result {
    vk::Result::SUCCESS
}

/// `vkInvalidateMappedMemoryRanges`: both sides see the same pages.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn invalidate_mapped_memory_ranges(
    _device: vk::Device,
    _count: u32,
    _ranges: *const vk::MappedMemoryRange<'_>,
) -> vk::Result {
    vk::Result::SUCCESS
}

/// `vkGetDeviceMemoryCommitment`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_device_memory_commitment(
    device: vk::Device,
    memory: vk::DeviceMemory,
    committed_bytes: *mut vk::DeviceSize,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // Lazily allocated memory is committed as a whole at most.
        let size_bytes = device.objects.memory.with(memory.as_raw(), |state| state.size_bytes);
        // SAFETY: the program passes a place for the size.
        unsafe { put(committed_bytes, size_bytes.unwrap_or_default()) };
    });
}
