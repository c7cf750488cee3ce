//! What generated entry points stand on: from handles to our objects.

// UNSAFETY: dereferences handles of the program through `handles`.
#![expect(unsafe_code, reason = "handles of the program are pointers to our objects")]

use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Encoder;

use super::command::CommandBuffer;
use super::device::DeviceObject;
use super::handles;
use super::instance::PhysicalObject;
use super::queue::QueueObject;
use crate::device::Device;
use crate::physical::Physical;

/// The device behind a handle.
///
/// # Safety
/// The handle is a live device.
pub(crate) unsafe fn device<'a>(handle: vk::Device) -> &'a Arc<Device> {
    // SAFETY: the caller passes a live device handle.
    let object = unsafe { handles::object::<DeviceObject>(handle) };
    &object.device
}

/// The physical device behind a handle.
///
/// # Safety
/// The handle is a live physical device.
pub(crate) unsafe fn physical_device<'a>(handle: vk::PhysicalDevice) -> &'a Arc<Physical> {
    // SAFETY: the caller passes a live physical device handle.
    unsafe { &handles::object::<PhysicalObject>(handle).physical }
}

/// The version of Vulkan that the instance of a physical device was made for.
///
/// # Safety
/// The handle is a live physical device.
pub(crate) unsafe fn asked_version(handle: vk::PhysicalDevice) -> u32 {
    // SAFETY: the caller passes a live physical device handle.
    unsafe { handles::object::<PhysicalObject>(handle) }.asked_version
}

/// The queue behind a handle.
///
/// # Safety
/// The handle is a live queue.
pub(crate) unsafe fn queue<'a>(handle: vk::Queue) -> &'a QueueObject {
    // SAFETY: the caller passes a live queue handle.
    unsafe { handles::object::<QueueObject>(handle) }
}

/// The recording of a command buffer; commands are appended.
///
/// # Safety
/// The handle is a live command buffer, externally synchronised as Vulkan demands of recording.
pub(crate) unsafe fn record<'a>(handle: vk::CommandBuffer) -> &'a mut Encoder {
    // SAFETY: the caller passes a live command buffer handle and nobody else records into it.
    let object = unsafe { handles::object_mut::<CommandBuffer>(handle) };
    object.recording()
}

/// The id of a command buffer on the wire; 0 for the null handle.
///
/// # Safety
/// The handle is null or a live command buffer.
pub(crate) unsafe fn command_buffer_id(handle: vk::CommandBuffer) -> u64 {
    if handle.is_null() {
        return 0;
    }
    // SAFETY: the handle is not null, so the caller passes a live command buffer.
    let object = unsafe { handles::object::<CommandBuffer>(handle) };
    object.id
}
