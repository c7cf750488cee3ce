//! Commands whose result the specification makes certain: they are posted and succeed.
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

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::pointers::find;
use super::pointers::slice;
use super::wsi;
use crate::generated::commands;

/// `vkBindBufferMemory`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn bind_buffer_memory(
    device: vk::Device,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    offset_bytes: vk::DeviceSize,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        // SAFETY: only values are encoded.
        let body = |encoder: &mut Encoder| unsafe {
            commands::encode_bind_buffer_memory(encoder, buffer, memory, offset_bytes);
        };
        device.post(VkOp::BIND_BUFFER_MEMORY, body)
    })
}

/// `vkBindBufferMemory2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn bind_buffer_memory2(
    device: vk::Device,
    count: u32,
    infos: *const vk::BindBufferMemoryInfo<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        // SAFETY: the program passes an array of the length it names.
        let body =
            |encoder: &mut Encoder| unsafe { commands::encode_bind_buffer_memory2(encoder, count, infos) };
        device.post(VkOp::BIND_BUFFER_MEMORY2, body)
    })
}

/// `vkBindImageMemory`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn bind_image_memory(
    device: vk::Device,
    image: vk::Image,
    memory: vk::DeviceMemory,
    offset_bytes: vk::DeviceSize,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        // SAFETY: only values are encoded.
        let body = |encoder: &mut Encoder| unsafe {
            commands::encode_bind_image_memory(encoder, image, memory, offset_bytes);
        };
        device.post(VkOp::BIND_IMAGE_MEMORY, body)
    })
}

/// The memory of a swapchain's image, where one is named.
///
/// # Safety
/// `info` and its chain are valid.
unsafe fn of_swapchain(mut info: vk::BindImageMemoryInfo<'_>) -> vk::BindImageMemoryInfo<'_> {
    // SAFETY: the caller passes a valid chain.
    let of = unsafe { find::<vk::BindImageMemorySwapchainInfoKHR<'_>>(info.p_next) };
    if let Some(of) = of.filter(|of| !of.swapchain.is_null()) {
        // SAFETY: the program passes a live swapchain.
        info.memory = unsafe { wsi::memory_of(of.swapchain, of.image_index) };
        info.memory_offset = 0;
    }
    info
}

/// `vkBindImageMemory2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn bind_image_memory2(
    device: vk::Device,
    count: u32,
    infos: *const vk::BindImageMemoryInfo<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes an array of the length it names.
    let infos = unsafe { slice(infos, count) };
    guard_result(|| {
        // SAFETY: each element is a valid structure of the program.
        let infos: Vec<_> = infos.iter().map(|info| unsafe { of_swapchain(*info) }).collect();
        // SAFETY: an array of this length.
        let body = |encoder: &mut Encoder| unsafe {
            commands::encode_bind_image_memory2(encoder, count, infos.as_ptr());
        };
        device.post(VkOp::BIND_IMAGE_MEMORY2, body)
    })
}

/// `vkTrimCommandPool`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn trim_command_pool(
    device: vk::Device,
    pool: vk::CommandPool,
    flags: vk::CommandPoolTrimFlags,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // SAFETY: only values are encoded.
        let body =
            |encoder: &mut Encoder| unsafe { commands::encode_trim_command_pool(encoder, pool, flags) };
        // A lost device has nothing to trim.
        let _ = device.post(VkOp::TRIM_COMMAND_POOL, body);
    });
}
