//! Semaphores and fences by descriptor: `VK_KHR_external_semaphore_fd` and `VK_KHR_external_fence_fd`.
//!
//! *Why opaque descriptors only.* A sync file is an object of a kernel driver, and there may be none below this one.
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
use dxg_wire::generated::vulkan::VkOp;
use parking_lot::Mutex;

use super::fd;
use super::fence::fence_of;
use super::forward;
use super::guard::guard_result;
use super::pointers::put;
use crate::device::Device;
use crate::external::page::Kind;
use crate::external::payload::Payload;
use crate::external::payload::Payloads;
use crate::external::payload::Permanence;
use crate::external::semaphore::External;
use crate::external::semaphore::Native;
use crate::external::semaphore::Semaphore;
use crate::fence::Fence;

const SEMAPHORE_FD: vk::ExternalSemaphoreHandleTypeFlags = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
const FENCE_FD: vk::ExternalFenceHandleTypeFlags = vk::ExternalFenceHandleTypeFlags::OPAQUE_FD;

/// Makes a semaphore that can be shared: a timeline semaphore where it has a value.
pub(crate) fn new_semaphore(
    device: &Device,
    exported: vk::ExternalSemaphoreHandleTypeFlags,
    initial: Option<u64>,
) -> Result<vk::Semaphore, vk::Result> {
    if exported != SEMAPHORE_FD {
        return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
    }
    let payload = match initial {
        Some(value) => Payload::create(device, Kind::Timeline, value),
        None => Payload::create(device, Kind::Binary, 0),
    }?;
    let external = External { native: None, payloads: Mutex::new(Payloads::born(Arc::clone(&payload))) };
    match device.objects.semaphores.insert(Semaphore::External(Arc::new(external))) {
        Ok(id) => Ok(vk::Semaphore::from_raw(id)),
        Err(full) => {
            payload.retire(device);
            Err(full.into())
        }
    }
}

/// Makes a fence that can be shared; signalled for 1, unsignalled for 0.
pub(crate) fn new_fence(
    device: &Device,
    exported: vk::ExternalFenceHandleTypeFlags,
    initial: u64,
) -> Result<Fence, vk::Result> {
    if exported != FENCE_FD {
        return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
    }
    Payload::create(device, Kind::Fence, initial).map(Fence::born_shared)
}

fn external_of(device: &Device, semaphore: vk::Semaphore) -> Option<Arc<External>> {
    let external = device.objects.semaphores.with(semaphore.as_raw(), |semaphore| match semaphore {
        Semaphore::External(external) => Some(Arc::clone(external)),
        _ => None,
    });
    external.flatten()
}

/// Whether a semaphore has a payload that others share.
pub(crate) fn is_shared(device: &Device, semaphore: vk::Semaphore) -> bool {
    device.may_share_sync() && external_of(device, semaphore).is_some()
}

/// Destroys a semaphore that has payloads which others share; `false`, and nothing done, for any other.
pub(crate) fn destroy_semaphore(device: &Device, semaphore: vk::Semaphore) -> bool {
    let Some(external) = external_of(device, semaphore) else { return false };
    external.payloads.lock().retire(device);
    let id = semaphore.as_raw();
    let destroy = || match external.native {
        Some(_) => device.stream.post(VkOp::DESTROY_SEMAPHORE, |encoder| encoder.u64(id)).ok(),
        None => None,
    };
    let removed = device.objects.semaphores.remove_after(id, destroy);
    if let (Some((_, Some(position))), Some(Native::Timeline(cell))) = (removed, &external.native) {
        device.cells.give(cell.clone(), position);
    }
    true
}

/// `vkGetSemaphoreFdKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_semaphore_fd_khr(
    device: vk::Device,
    info: *const vk::SemaphoreGetFdInfoKHR<'_>,
    descriptor: *mut c_int,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    guard_result(|| {
        let external = external_of(device, info.semaphore);
        let payload = external.and_then(|external| external.payloads.lock().current().cloned());
        // A semaphore that was not made to be shared is the program's mistake, for which Vulkan promises nothing.
        let given = fd::give(payload.ok_or(vk::Result::ERROR_UNKNOWN)?.share()?);
        // SAFETY: the program passes a place for the descriptor.
        unsafe { put(descriptor, given) };
        Ok(())
    })
}

/// `vkImportSemaphoreFdKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn import_semaphore_fd_khr(
    device: vk::Device,
    info: *const vk::ImportSemaphoreFdInfoKHR<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    guard_result(|| {
        let is_temporary = info.flags.contains(vk::SemaphoreImportFlags::TEMPORARY);
        let permanence = if is_temporary { Permanence::Temporary } else { Permanence::Permanent };
        import_semaphore(device, info, permanence)?;
        // SAFETY: the descriptor was found open, and with this success it is the driver's.
        unsafe { fd::close(info.fd) };
        Ok(())
    })
}

fn import_semaphore(
    device: &Device,
    info: &vk::ImportSemaphoreFdInfoKHR<'_>,
    permanence: Permanence,
) -> Result<(), vk::Result> {
    let id = info.semaphore.as_raw();
    let known = device.objects.semaphores.get(id).ok_or(vk::Result::ERROR_UNKNOWN)?;
    let kind = kind_of(&known)?;
    // Timeline semaphores are shared for good or not at all.
    if info.handle_type != SEMAPHORE_FD || (kind == Kind::Timeline && permanence == Permanence::Temporary) {
        return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
    }
    let payload = Payload::open(device, kind, fd::copy(info.fd)?)?;
    let external = match known {
        Semaphore::External(external) => external,
        Semaphore::Timeline(cell) => make_external(device, id, Native::Timeline(cell)),
        Semaphore::Binary | Semaphore::Payload => make_external(device, id, Native::Binary),
    };
    external.payloads.lock().import(device, payload, permanence);
    Ok(())
}

fn kind_of(semaphore: &Semaphore) -> Result<Kind, vk::Result> {
    match semaphore {
        Semaphore::Binary => Ok(Kind::Binary),
        Semaphore::Timeline(_) => Ok(Kind::Timeline),
        Semaphore::External(external) => {
            let payloads = external.payloads.lock();
            match (&external.native, payloads.current()) {
                (Some(Native::Timeline(_)), _) => Ok(Kind::Timeline),
                (Some(Native::Binary), _) => Ok(Kind::Binary),
                (None, Some(payload)) => Ok(payload.kind()),
                (None, None) => Err(vk::Result::ERROR_UNKNOWN),
            }
        }
        Semaphore::Payload => Err(vk::Result::ERROR_UNKNOWN),
    }
}

/// From here on the semaphore has payloads that others share.
fn make_external(device: &Device, id: u64, native: Native) -> Arc<External> {
    let external = Arc::new(External { native: Some(native), payloads: Mutex::default() });
    device.objects.semaphores.change(id, |semaphore| *semaphore = Semaphore::External(Arc::clone(&external)));
    external
}

/// `vkGetFenceFdKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_fence_fd_khr(
    _device: vk::Device,
    info: *const vk::FenceGetFdInfoKHR<'_>,
    descriptor: *mut c_int,
) -> vk::Result {
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: the program passes a live fence.
    let fence = unsafe { fence_of(info.fence) };
    guard_result(|| {
        // As for a semaphore.
        let given = fd::give(fence.payload().ok_or(vk::Result::ERROR_UNKNOWN)?.share()?);
        // SAFETY: the program passes a place for the descriptor.
        unsafe { put(descriptor, given) };
        Ok(())
    })
}

/// `vkImportFenceFdKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn import_fence_fd_khr(
    device: vk::Device,
    info: *const vk::ImportFenceFdInfoKHR<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: the program passes a live fence.
    let fence = unsafe { fence_of(info.fence) };
    guard_result(|| {
        if info.handle_type != FENCE_FD {
            return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
        }
        let is_temporary = info.flags.contains(vk::FenceImportFlags::TEMPORARY);
        let permanence = if is_temporary { Permanence::Temporary } else { Permanence::Permanent };
        let payload = Payload::open(device, Kind::Fence, fd::copy(info.fd)?)?;
        fence.import(device, payload, permanence);
        // SAFETY: the descriptor was found open, and with this success it is the driver's.
        unsafe { fd::close(info.fd) };
        Ok(())
    })
}
