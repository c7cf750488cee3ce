//! Memory of the program that becomes device memory where it lies (`VK_EXT_external_memory_host`).
//!
//! *Why.* The host's driver can use pages only that the host sees, so the program's pages move onto a leased block and stay
//! at their addresses. One range may be imported again while it is: pages move once, and move back with their last user.
//!
//! *Locks.* One for the ranges of a virtual GPU, held while pages move there or back: one of two imports of the same range
//! sees what the other did.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers, and memory of the program by its address.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::Weak;

use ash::vk;
use dxg_core::AdoptedMemory;
use dxg_core::ErrorKind;
use dxg_core::Streams;
use dxg_wire::session::IoAddress;
use parking_lot::Mutex;
use tracing::debug;

use super::forward;
use super::guard::guard_result;
use crate::description::Description;
use crate::device::Device;
use crate::ranges::GRANULE_BYTES;

/// The kind of handle that a host pointer is.
pub(crate) const HOST_ALLOCATION: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

/// The ranges of the program that a virtual GPU has.
#[derive(Clone, Debug, Default)]
pub struct HostPointers {
    taken: Arc<Mutex<Vec<Weak<AdoptedMemory>>>>,
}

/// Pages of the program as device memory. They are the program's alone again when the last of a range is dropped.
#[derive(Debug)]
pub struct HostPages {
    /// Empty only while it is dropped.
    memory: Option<Arc<AdoptedMemory>>,
    offset_bytes: u64,
    among: HostPointers,
}

impl HostPointers {
    /// Takes the pages at `start`.
    ///
    /// # Errors
    /// Invalid external handle when they are not memory that can be moved; as a lease otherwise.
    ///
    /// # Safety
    /// The pages are as `vkAllocateMemory` wants imported host pointers: mapped, and left so until the memory is freed.
    unsafe fn take(
        &self,
        streams: &Streams,
        start: NonNull<u8>,
        size_bytes: u64,
    ) -> Result<HostPages, vk::Result> {
        let mut taken = self.taken.lock();
        taken.retain(|memory| memory.strong_count() > 0);
        let known = taken.iter().filter_map(Weak::upgrade);
        if let Some((memory, offset_bytes)) = known
            .filter_map(|memory| offset_in(&memory, start, size_bytes).map(|offset| (memory, offset)))
            .next()
        {
            return Ok(HostPages { memory: Some(memory), offset_bytes, among: self.clone() });
        }
        // SAFETY: the caller promises memory that stays, which programs that import it access as memory of a device.
        let memory = unsafe { AdoptedMemory::adopt_for_streams(streams, start, size_bytes) };
        let memory = Arc::new(memory.map_err(|error| {
            debug!(%error, size_bytes, "host pointer not imported");
            refusal(&error)
        })?);
        taken.push(Arc::downgrade(&memory));
        Ok(HostPages { memory: Some(memory), offset_bytes: 0, among: self.clone() })
    }

    fn has(&self, start: NonNull<u8>, size_bytes: u64) -> bool {
        let taken = self.taken.lock();
        taken.iter().filter_map(Weak::upgrade).any(|memory| offset_in(&memory, start, size_bytes).is_some())
    }
}

fn refusal(error: &dxg_core::Error) -> vk::Result {
    match error.kind() {
        ErrorKind::DeviceLost | ErrorKind::WrongProcess => vk::Result::ERROR_DEVICE_LOST,
        ErrorKind::Quota => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
        ErrorKind::OutOfMemory => vk::Result::ERROR_OUT_OF_HOST_MEMORY,
        _ => vk::Result::ERROR_INVALID_EXTERNAL_HANDLE,
    }
}

/// Where a range begins in memory that holds it whole.
fn offset_in(memory: &AdoptedMemory, start: NonNull<u8>, size_bytes: u64) -> Option<u64> {
    let offset = (start.as_ptr().addr()).checked_sub(memory.start().as_ptr().addr())?;
    let offset = u64::try_from(offset).ok()?;
    (offset.checked_add(size_bytes)? <= memory.size_bytes()).then_some(offset)
}

impl HostPages {
    /// Takes the pages that the program names for an allocation of `size_bytes`.
    ///
    /// # Errors
    /// Invalid external handle when they are not memory that can be moved; as a lease otherwise.
    ///
    /// # Safety
    /// `import` is valid usage of an allocation of that size.
    pub(crate) unsafe fn import(
        device: &Device,
        import: &vk::ImportMemoryHostPointerInfoEXT<'_>,
        size_bytes: u64,
    ) -> Result<Self, vk::Result> {
        let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
        let start = NonNull::new(import.p_host_pointer.cast::<u8>()).ok_or(invalid)?;
        if import.handle_type != HOST_ALLOCATION {
            return Err(invalid);
        }
        let physical = &device.physical;
        let alignment = alignment_bytes(&physical.description);
        // Pages that are here already say nothing of where in them a range begins.
        let is_aligned = (start.as_ptr().addr() as u64).is_multiple_of(alignment);
        if !is_aligned || size_bytes == 0 || !size_bytes.is_multiple_of(alignment) {
            return Err(invalid);
        }
        // SAFETY: the caller promises pages that stay mapped until the memory is freed.
        unsafe { physical.host_pointers.take(&physical.streams, start, size_bytes) }
    }

    /// Where the host finds them; `None` where there is no host.
    pub(crate) fn io_address(&self) -> Option<IoAddress> {
        let base = self.memory.as_ref()?.io_base()?;
        Some(IoAddress(base.0.checked_add(self.offset_bytes)?))
    }

    /// Where they have always been.
    pub(crate) fn address(&self) -> Option<*mut u8> {
        let offset = usize::try_from(self.offset_bytes).ok()?;
        Some(self.memory.as_ref()?.start().as_ptr().wrapping_add(offset))
    }
}

impl Drop for HostPages {
    fn drop(&mut self) {
        // Nobody may look for the range while it moves back.
        let _taken = self.among.taken.lock();
        self.memory = None;
    }
}

/// What host pointers are aligned to.
pub(crate) fn alignment_bytes(description: &Description) -> u64 {
    description.import_alignment_bytes.max(GRANULE_BYTES)
}

/// `vkGetMemoryHostPointerPropertiesEXT`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_memory_host_pointer_properties_ext(
    device: vk::Device,
    kind: vk::ExternalMemoryHandleTypeFlags,
    pointer: *const c_void,
    properties: *mut vk::MemoryHostPointerPropertiesEXT<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a structure to be filled.
    let properties = unsafe { &mut *properties };
    guard_result(|| {
        let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
        let start = NonNull::new(pointer.cast_mut().cast::<u8>()).ok_or(invalid)?;
        let is_known = || device.physical.host_pointers.has(start, GRANULE_BYTES);
        if kind != HOST_ALLOCATION || !(AdoptedMemory::can_be(start, GRANULE_BYTES) || is_known()) {
            return Err(invalid);
        }
        let description = &device.physical.description;
        let types = (0..description.memory.memory_type_count).filter(|kind| description.is_imported(*kind));
        properties.memory_type_bits = types.fold(0, |bits, kind| bits | 1 << kind);
        Ok(())
    })
}
