//! Device memory by descriptor: `VK_KHR_external_memory_fd`.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::c_int;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;

use super::fd;
use super::forward;
use super::guard::guard_result;
use super::pointers::find;
use super::pointers::put;
use crate::device::Device;
use crate::external::SharedMemory;
use crate::external::label::Label;

/// The one type of handle there is.
pub(crate) const OPAQUE_FD: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;

/// What the chain of an allocation says of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The memory stays here.
    Private,
    /// The memory may be shared.
    Shareable,
    /// The memory is what this descriptor names.
    Imported(c_int),
}

/// # Errors
/// Invalid external handle when the chain names a type of handle that is not offered.
///
/// # Safety
/// `info` and its chain are valid.
pub(crate) unsafe fn origin(info: &vk::MemoryAllocateInfo<'_>) -> Result<Origin, vk::Result> {
    // SAFETY: the caller passes a valid chain.
    let import = unsafe { find::<vk::ImportMemoryFdInfoKHR<'_>>(info.p_next) };
    // SAFETY: as above.
    let export = unsafe { find::<vk::ExportMemoryAllocateInfo<'_>>(info.p_next) };
    let exported = export.map_or(vk::ExternalMemoryHandleTypeFlags::empty(), |export| export.handle_types);
    let imported = import.filter(|import| !import.handle_type.is_empty());
    match imported {
        _ if !(exported & !OPAQUE_FD).is_empty() => Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE),
        Some(import) if import.handle_type == OPAQUE_FD => Ok(Origin::Imported(import.fd)),
        Some(_) => Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE),
        None if exported.is_empty() => Ok(Origin::Private),
        None => Ok(Origin::Shareable),
    }
}

/// Memory of so many bytes that is shared or can be; `None` for memory that stays here.
pub(crate) fn shared(
    device: &Device,
    info: &vk::MemoryAllocateInfo<'_>,
    origin: Origin,
) -> Result<Option<Arc<SharedMemory>>, vk::Result> {
    if origin == Origin::Private {
        return Ok(None);
    }
    let physical = &device.physical;
    if !physical.description.is_imported(info.memory_type_index) {
        return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
    }
    let alignment = physical.description.import_alignment_bytes.max(1);
    let whole_bytes = info
        .allocation_size
        .checked_next_multiple_of(alignment)
        .ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?;
    let label = Label {
        device: physical.streams.vgpu_uuid().0,
        size_bytes: info.allocation_size,
        memory_type: info.memory_type_index,
    };
    let on = physical.exchange.device(&physical.streams)?;
    let memory = match origin {
        Origin::Imported(descriptor) => SharedMemory::open(&on, &label, whole_bytes, fd::copy(descriptor)?),
        _ => SharedMemory::create(&on, &label, whole_bytes),
    };
    memory.map(Arc::new).map(Some)
}

/// `vkGetMemoryFdKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_memory_fd_khr(
    device: vk::Device,
    info: *const vk::MemoryGetFdInfoKHR<'_>,
    descriptor: *mut c_int,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    guard_result(|| {
        let shared = device.objects.memory.with(info.memory.as_raw(), |memory| memory.shared.clone());
        // Memory that was not made to be shared is the program's mistake, for which Vulkan promises nothing.
        let shared = shared.flatten().ok_or(vk::Result::ERROR_UNKNOWN)?;
        let given = fd::give(shared.share()?);
        // SAFETY: the program passes a place for the descriptor.
        unsafe { put(descriptor, given) };
        Ok(())
    })
}

/// `vkGetMemoryFdPropertiesKHR`: opaque descriptors have no such properties, and there are no others.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_memory_fd_properties_khr(
    _device: vk::Device,
    _handle_type: vk::ExternalMemoryHandleTypeFlags,
    _descriptor: c_int,
    _properties: *mut vk::MemoryFdPropertiesKHR<'_>,
) -> vk::Result {
    vk::Result::ERROR_INVALID_EXTERNAL_HANDLE
}
