//! Fences, which live in the guest alone. A fence handle is a pointer to a [`Fence`].
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

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::pointers::find;
use super::pointers::put;
use super::pointers::slice;
use super::sync_fd;
use crate::device::Device;
use crate::fence::Fence;
use crate::fence::Point;
use crate::fence::State;
use crate::wait;
use crate::wait::Outcome;
use crate::wait::Target;
use crate::wait::Which;

/// # Safety
/// `fence` is a live fence.
pub(crate) unsafe fn fence_of<'a>(fence: vk::Fence) -> &'a Fence {
    let pointer = fence.as_raw() as *const Fence;
    // SAFETY: the caller passes a live fence, which is a pointer that `create_fence` made from a box.
    unsafe { &*pointer }
}

/// Makes a fence pending.
///
/// # Safety
/// `fence` is a live fence.
pub(crate) unsafe fn pend(fence: vk::Fence, point: Point) {
    // SAFETY: the caller passes a live fence.
    let fence = unsafe { fence_of(fence) };
    // What others share is signalled by the submission itself.
    if fence.state() != State::Shared {
        fence.set(State::Pending(point));
    }
}

/// Signals a fence now.
///
/// # Safety
/// `fence` is a live fence.
pub(crate) unsafe fn signal(fence: vk::Fence) {
    // SAFETY: the caller passes a live fence.
    let fence = unsafe { fence_of(fence) };
    fence.set(State::Signaled);
}

fn target(device: &Device, point: Point) -> Result<Target, vk::Result> {
    let queue = device.queues.get(usize::from(point.queue)).ok_or(vk::Result::ERROR_DEVICE_LOST)?;
    Ok(Target { cell: queue.progress.clone(), value: point.sequence })
}

/// What a payload reaches that others share.
fn shared_target(fence: &Fence) -> Option<Target> {
    let payload = fence.payload()?;
    Some(Target { cell: payload.cell().clone(), value: payload.fence_target() })
}

/// `vkCreateFence`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_fence(
    device: vk::Device,
    info: *const vk::FenceCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    fence: *mut vk::Fence,
) -> vk::Result {
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    let is_signaled = info.flags.contains(vk::FenceCreateFlags::SIGNALED);
    // SAFETY: the program passes a valid chain.
    let export = unsafe { find::<vk::ExportFenceCreateInfo<'_>>(info.p_next) };
    let exported = export.map_or(vk::ExternalFenceHandleTypeFlags::empty(), |export| export.handle_types);
    if !exported.is_empty() {
        // SAFETY: the program passes a live device.
        let device = unsafe { forward::device(device) };
        return guard_result(|| {
            let made = sync_fd::new_fence(device, exported, u64::from(is_signaled))?;
            let pointer = Box::into_raw(Box::new(made));
            // SAFETY: the program passes a place for the handle.
            unsafe { put(fence, vk::Fence::from_raw(pointer as u64)) };
            Ok(())
        });
    }
    let state = if is_signaled { State::Signaled } else { State::Unsignaled };
    let pointer = Box::into_raw(Box::new(Fence::new(state)));
    // SAFETY: the program passes a place for the handle.
    unsafe { put(fence, vk::Fence::from_raw(pointer as u64)) };
    vk::Result::SUCCESS
}

/// `vkDestroyFence`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_fence(
    device: vk::Device,
    fence: vk::Fence,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if !fence.is_null() {
        // SAFETY: the program passes a live device.
        let device = unsafe { forward::device(device) };
        device.private_data.forget(vk::ObjectType::FENCE, fence.as_raw());
        // SAFETY: not null, so a pointer that `create_fence` made with `Box::into_raw`, and nothing uses it any more.
        let fence = unsafe { Box::from_raw(fence.as_raw() as *mut Fence) };
        if device.may_share_sync() {
            guard(|| fence.retire(device));
        }
    }
}

/// `vkResetFences`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn reset_fences(
    _device: vk::Device,
    count: u32,
    fences: *const vk::Fence,
) -> vk::Result {
    // SAFETY: the program passes an array of the length it names.
    for fence in unsafe { slice(fences, count) } {
        // SAFETY: each element is a live fence.
        let fence = unsafe { fence_of(*fence) };
        fence.reset();
    }
    vk::Result::SUCCESS
}

/// `vkGetFenceStatus`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_fence_status(device: vk::Device, fence: vk::Fence) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a live fence.
    let fence = unsafe { fence_of(fence) };
    match fence.state() {
        State::Signaled => vk::Result::SUCCESS,
        State::Unsignaled => device.check().err().unwrap_or(vk::Result::NOT_READY),
        State::Pending(point) => match device.queues.get(usize::from(point.queue)) {
            Some(queue) if queue.progress.value() >= point.sequence => vk::Result::SUCCESS,
            _ => device.check().err().unwrap_or(vk::Result::NOT_READY),
        },
        State::Shared => match shared_target(fence) {
            Some(target) if target.is_reached() => vk::Result::SUCCESS,
            _ => device.check().err().unwrap_or(vk::Result::NOT_READY),
        },
    }
}

/// `vkWaitForFences`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn wait_for_fences(
    device: vk::Device,
    count: u32,
    fences: *const vk::Fence,
    wait_all: vk::Bool32,
    timeout_ns: u64,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes an array of the length it names.
    let fences = unsafe { slice(fences, count) };
    // SAFETY: each element is a live fence.
    let fences: Vec<&Fence> = fences.iter().map(|fence| unsafe { fence_of(*fence) }).collect();
    let which = if wait_all == vk::TRUE { Which::All } else { Which::Any };
    let mut timed_out = false;
    let result = guard_result(|| {
        timed_out = wait_for(device, &fences, which, timeout_ns)? == Outcome::TimedOut;
        Ok(())
    });
    if timed_out { vk::Result::TIMEOUT } else { result }
}

fn wait_for(
    device: &Device,
    fences: &[&Fence],
    which: Which,
    timeout_ns: u64,
) -> Result<Outcome, vk::Result> {
    let deadline = wait::deadline(timeout_ns);
    loop {
        let states: Vec<State> = fences.iter().map(|fence| fence.state()).collect();
        let any_signaled = states.contains(&State::Signaled);
        let any_unsignaled = states.contains(&State::Unsignaled);
        let mut targets = Vec::with_capacity(states.len());
        for (fence, state) in fences.iter().zip(&states) {
            match state {
                State::Pending(point) => targets.push(target(device, *point)?),
                State::Shared => targets.extend(shared_target(fence)),
                State::Unsignaled | State::Signaled => {}
            }
        }
        match which {
            Which::Any if any_signaled => return Ok(Outcome::Reached),
            // A fence that another thread submits meanwhile ends the wait as well, and no cell says so.
            Which::Any if any_unsignaled && !targets.is_empty() => {
                let turn = wait::turn(deadline);
                match wait::wait(&targets, which, Some(turn), device)? {
                    Outcome::TimedOut if deadline.is_none_or(|deadline| turn < deadline) => continue,
                    outcome => return Ok(outcome),
                }
            }
            Which::Any if !targets.is_empty() => {
                return wait::wait(&targets, which, deadline, device);
            }
            Which::All if !any_unsignaled => return wait::wait(&targets, which, deadline, device),
            _ => {}
        }
        // Nothing that was submitted can end this wait; another thread may still submit.
        device.check()?;
        if wait::pause(deadline) == Outcome::TimedOut {
            return Ok(Outcome::TimedOut);
        }
    }
}
