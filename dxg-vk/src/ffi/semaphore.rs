//! Semaphores. A timeline semaphore has a cell that the host keeps at its counter.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use ash::vk;
use ash::vk::Handle;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::op;

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::pointers::find;
use super::pointers::put;
use super::pointers::slice;
use super::sync_fd;
use crate::cells::Cell;
use crate::device::Device;
use crate::external::semaphore::Semaphore;
use crate::generated::structs;
use crate::wait;
use crate::wait::Outcome;
use crate::wait::Target;
use crate::wait::Which;

fn timeline(device: &Device, semaphore: vk::Semaphore) -> Result<Cell, vk::Result> {
    // A handle that is not a live timeline semaphore is the program's mistake, for which Vulkan promises nothing.
    let counter = device.objects.semaphores.with(semaphore.as_raw(), Semaphore::counter);
    counter.flatten().ok_or(vk::Result::ERROR_UNKNOWN)
}

/// `vkCreateSemaphore`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_semaphore(
    device: vk::Device,
    info: *const vk::SemaphoreCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    semaphore: *mut vk::Semaphore,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: the program passes a valid chain.
    let kind = unsafe { find::<vk::SemaphoreTypeCreateInfo<'_>>(info.p_next) };
    // SAFETY: as above.
    let export = unsafe { find::<vk::ExportSemaphoreCreateInfo<'_>>(info.p_next) };
    let exported = export.map_or(vk::ExternalSemaphoreHandleTypeFlags::empty(), |export| export.handle_types);
    let initial = kind.filter(|kind| kind.semaphore_type == vk::SemaphoreType::TIMELINE);
    guard_result(|| {
        if !exported.is_empty() {
            let made = sync_fd::new_semaphore(device, exported, initial.map(|kind| kind.initial_value))?;
            // SAFETY: the program passes a place for the handle.
            unsafe { put(semaphore, made) };
            return Ok(());
        }
        let cell = initial.map(|kind| device.new_cell(kind.initial_value)).transpose()?;
        let io_address = cell.as_ref().map_or(0, Cell::io_address);
        let kept = cell.map_or(Semaphore::Binary, Semaphore::Timeline);
        let id = device.objects.semaphores.insert(kept).map_err(vk::Result::from)?;
        device.post(VkOp(op::CREATE_SEMAPHORE), |encoder| {
            encoder.u64(id);
            encoder.u64(io_address);
            // SAFETY: the structure and its chain are valid.
            unsafe { structs::enc_semaphore_create_info(encoder, info) };
        })?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(semaphore, vk::Semaphore::from_raw(id)) };
        Ok(())
    })
}

/// `vkDestroySemaphore`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_semaphore(
    device: vk::Device,
    semaphore: vk::Semaphore,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        if device.may_share_sync() && sync_fd::destroy_semaphore(device, semaphore) {
            return;
        }
        // A lost device has nothing left to destroy.
        let destroy =
            || device.stream.post(VkOp::DESTROY_SEMAPHORE, |encoder| encoder.u64(semaphore.as_raw()));
        let removed = device.objects.semaphores.remove_after(semaphore.as_raw(), destroy);
        if let Some((Semaphore::Timeline(cell), Ok(position))) = removed {
            device.cells.give(cell, position);
        }
    });
}

/// `vkGetSemaphoreCounterValue`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_semaphore_counter_value(
    device: vk::Device,
    semaphore: vk::Semaphore,
    value: *mut u64,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        let counter = device.objects.semaphores.with(semaphore.as_raw(), |semaphore| match semaphore {
            Semaphore::Timeline(cell) => Some(cell.value()),
            other => other.counter().map(|cell| cell.value()),
        });
        let counter = counter.flatten().ok_or(vk::Result::ERROR_UNKNOWN)?;
        device.check()?;
        // SAFETY: the program passes a place for the value.
        unsafe { put(value, counter) };
        Ok(())
    })
}

/// `vkSignalSemaphore`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn signal_semaphore(
    device: vk::Device,
    info: *const vk::SemaphoreSignalInfo<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    guard_result(|| {
        let cell = timeline(device, info.semaphore)?;
        if sync_fd::is_shared(device, info.semaphore) {
            // The cell is all there is, and whoever waits for it looks at it.
            device.check()?;
            cell.words().publish(info.value);
            return Ok(());
        }
        device.post_now(VkOp(op::SIGNAL_SEMAPHORE), |encoder| {
            encoder.u64(info.semaphore.as_raw());
            encoder.u64(info.value);
        })?;
        // The counter has the value when this command returns; the host does the same when it gets there.
        cell.words().publish(info.value);
        Ok(())
    })
}

/// `vkWaitSemaphores`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn wait_semaphores(
    device: vk::Device,
    info: *const vk::SemaphoreWaitInfo<'_>,
    timeout_ns: u64,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: the program passes arrays of the length it names.
    let semaphores = unsafe { slice(info.p_semaphores, info.semaphore_count) };
    // SAFETY: as above.
    let values = unsafe { slice(info.p_values, info.semaphore_count) };
    let which = if info.flags.contains(vk::SemaphoreWaitFlags::ANY) { Which::Any } else { Which::All };
    let mut outcome = Outcome::Reached;
    let result = guard_result(|| {
        let mut targets = Vec::with_capacity(semaphores.len());
        for (semaphore, value) in semaphores.iter().zip(values) {
            targets.push(Target { cell: timeline(device, *semaphore)?, value: *value });
        }
        outcome = wait::wait(&targets, which, wait::deadline(timeout_ns), &**device)?;
        Ok(())
    });
    if outcome == Outcome::TimedOut { vk::Result::TIMEOUT } else { result }
}
