//! Swapchains of device groups: a virtual GPU is a group of one.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use ash::vk;

use super::surface::surface_of;
use super::surface_queries::capabilities;
use crate::ffi::forward;
use crate::ffi::guard::guard_result;
use crate::ffi::pointers::enumerate;
use crate::ffi::pointers::put;

/// `vkGetDeviceGroupPresentCapabilitiesKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_device_group_present_capabilities(
    _device: vk::Device,
    answer: *mut vk::DeviceGroupPresentCapabilitiesKHR<'_>,
) -> vk::Result {
    // SAFETY: the program passes a structure to be filled.
    let answer = unsafe { &mut *answer };
    answer.present_mask = [0; vk::MAX_DEVICE_GROUP_SIZE];
    if let Some(first) = answer.present_mask.first_mut() {
        *first = 1;
    }
    answer.modes = vk::DeviceGroupPresentModeFlagsKHR::LOCAL;
    vk::Result::SUCCESS
}

/// `vkGetDeviceGroupSurfacePresentModesKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_device_group_surface_present_modes(
    _device: vk::Device,
    _surface: vk::SurfaceKHR,
    modes: *mut vk::DeviceGroupPresentModeFlagsKHR,
) -> vk::Result {
    // SAFETY: the program passes a place for the answer.
    unsafe { put(modes, vk::DeviceGroupPresentModeFlagsKHR::LOCAL) };
    vk::Result::SUCCESS
}

/// `vkGetPhysicalDevicePresentRectanglesKHR`: all of the surface.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_physical_device_present_rectangles(
    device: vk::PhysicalDevice,
    surface: vk::SurfaceKHR,
    count: *mut u32,
    answer: *mut vk::Rect2D,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a live surface.
    let surface = unsafe { surface_of(surface) };
    let mut result = vk::Result::SUCCESS;
    let error = guard_result(|| {
        let extent = capabilities(physical, surface)?.current_extent;
        let all = vk::Rect2D { offset: vk::Offset2D::default(), extent };
        // SAFETY: the program passes a count and an array of that length or null.
        result = unsafe { enumerate(&[all], count, answer) };
        Ok(())
    });
    if error == vk::Result::SUCCESS { result } else { error }
}
