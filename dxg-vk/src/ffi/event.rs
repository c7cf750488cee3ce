//! Events.
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
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;

use super::command::CommandBuffer;
use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::handles;
use super::pointers::put;
use crate::device::Device;
use crate::events::Status;
use crate::generated::commands;

/// `vkCreateEvent`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_event(
    device: vk::Device,
    info: *const vk::EventCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    event: *mut vk::Event,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        let id = device.objects.events.insert()?;
        // SAFETY: the program passes a valid structure.
        let body = |encoder: &mut Encoder| unsafe { commands::encode_create_event(encoder, info, id) };
        device.post(VkOp::CREATE_EVENT, body)?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(event, vk::Event::from_raw(id)) };
        Ok(())
    })
}

/// `vkDestroyEvent`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_event(
    device: vk::Device,
    event: vk::Event,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if event.is_null() {
        return;
    }
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // A lost device has nothing left to destroy.
        let _ = device.post(VkOp::DESTROY_EVENT, |encoder| encoder.u64(event.as_raw()));
        device.objects.events.remove(event.as_raw());
    });
}

/// `vkGetEventStatus`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_event_status(device: vk::Device, event: vk::Event) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    let known = match device.objects.events.status(event.as_raw()) {
        Status::Set => vk::Result::EVENT_SET,
        Status::Reset => vk::Result::EVENT_RESET,
        Status::Hosts => return guard(|| ask(device, event)),
    };
    device.check().map_or_else(|error| error, |()| known)
}

/// The status that the host's device sees, after everything that was posted.
fn ask(device: &Device, event: vk::Event) -> vk::Result {
    let status = device.call(
        VkOp::GET_EVENT_STATUS,
        |encoder| encoder.u64(event.as_raw()),
        |reply| Ok(vk::Result::from_raw(reply.i32()?)),
    );
    status.unwrap_or_else(|error| error)
}

/// `vkSetEvent`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn set_event(device: vk::Device, event: vk::Event) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        device.post_now(VkOp::SET_EVENT, |encoder| encoder.u64(event.as_raw()))?;
        device.objects.events.set(event.as_raw());
        Ok(())
    })
}

/// `vkResetEvent`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn reset_event(device: vk::Device, event: vk::Event) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        device.post_now(VkOp::RESET_EVENT, |encoder| encoder.u64(event.as_raw()))?;
        device.objects.events.reset(event.as_raw());
        Ok(())
    })
}

/// Where a command that changes an event is appended; the guest does not know the event's status any more.
///
/// # Safety
/// The handle is a live command buffer, externally synchronised as Vulkan demands of recording.
unsafe fn record<'a>(buffer: vk::CommandBuffer, event: vk::Event) -> &'a mut Encoder {
    // SAFETY: as the caller promises.
    let object = unsafe { handles::object_mut::<CommandBuffer>(buffer) };
    object.device().objects.events.record(event.as_raw());
    object.recording()
}

/// `vkCmdSetEvent`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn cmd_set_event(
    buffer: vk::CommandBuffer,
    event: vk::Event,
    stages: vk::PipelineStageFlags,
) {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let encoder = unsafe { record(buffer, event) };
    commands::encode_cmd_set_event(encoder, event, stages);
}

/// `vkCmdSetEvent2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn cmd_set_event2(
    buffer: vk::CommandBuffer,
    event: vk::Event,
    dependencies: *const vk::DependencyInfo<'_>,
) {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let encoder = unsafe { record(buffer, event) };
    // SAFETY: the program passes a valid structure.
    unsafe { commands::encode_cmd_set_event2(encoder, event, dependencies) };
}

/// `vkCmdResetEvent`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn cmd_reset_event(
    buffer: vk::CommandBuffer,
    event: vk::Event,
    stages: vk::PipelineStageFlags,
) {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let encoder = unsafe { record(buffer, event) };
    commands::encode_cmd_reset_event(encoder, event, stages);
}

/// `vkCmdResetEvent2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn cmd_reset_event2(
    buffer: vk::CommandBuffer,
    event: vk::Event,
    stages: vk::PipelineStageFlags2,
) {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let encoder = unsafe { record(buffer, event) };
    commands::encode_cmd_reset_event2(encoder, event, stages);
}
