//! What a surface can do with a device.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use ash::vk;

use super::surface::Surface;
use super::surface::surface_of;
use crate::ffi::forward;
use crate::ffi::guard::guard_result;
use crate::ffi::pointers::enumerate;
use crate::ffi::pointers::find_mut;
use crate::ffi::pointers::put;
use crate::ffi::pointers::slice_mut;
use crate::physical::Physical;

/// Most images of one swapchain: none, said as Vulkan does.
const UNLIMITED: u32 = 0;

/// `vkGetPhysicalDeviceSurfaceSupportKHR`: presenting needs a queue that can copy, and every queue can.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_physical_device_surface_support(
    device: vk::PhysicalDevice,
    family: u32,
    _surface: vk::SurfaceKHR,
    supported: *mut vk::Bool32,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    let can_copy = physical.description.families.get(family as usize).is_some_and(|family| {
        let copies = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER;
        family.properties.queue_flags.intersects(copies)
    });
    // SAFETY: the program passes a place for the answer.
    unsafe { put(supported, vk::Bool32::from(can_copy)) };
    vk::Result::SUCCESS
}

pub(super) fn capabilities(
    physical: &Physical,
    surface: &Surface,
) -> Result<vk::SurfaceCapabilitiesKHR, vk::Result> {
    let now = surface.window.capabilities()?;
    let most = physical.description.properties.limits.max_image_dimension2_d;
    let unknown = vk::Extent2D { width: u32::MAX, height: u32::MAX };
    let largest = vk::Extent2D { width: most, height: most };
    Ok(vk::SurfaceCapabilitiesKHR {
        min_image_count: now.min_images,
        max_image_count: UNLIMITED,
        current_extent: now.extent.unwrap_or(unknown),
        min_image_extent: now.extent.unwrap_or(vk::Extent2D { width: 1, height: 1 }),
        max_image_extent: now.extent.unwrap_or(largest),
        max_image_array_layers: 1,
        supported_transforms: vk::SurfaceTransformFlagsKHR::IDENTITY,
        current_transform: vk::SurfaceTransformFlagsKHR::IDENTITY,
        supported_composite_alpha: now.composite_alpha,
        supported_usage_flags: vk::ImageUsageFlags::TRANSFER_SRC
            | vk::ImageUsageFlags::TRANSFER_DST
            | vk::ImageUsageFlags::SAMPLED
            | vk::ImageUsageFlags::STORAGE
            | vk::ImageUsageFlags::COLOR_ATTACHMENT
            | vk::ImageUsageFlags::INPUT_ATTACHMENT,
    })
}

/// `vkGetPhysicalDeviceSurfaceCapabilitiesKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_physical_device_surface_capabilities(
    device: vk::PhysicalDevice,
    surface: vk::SurfaceKHR,
    answer: *mut vk::SurfaceCapabilitiesKHR,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a live surface.
    let surface = unsafe { surface_of(surface) };
    guard_result(|| {
        // SAFETY: the program passes a place for the answer.
        unsafe { put(answer, capabilities(physical, surface)?) };
        Ok(())
    })
}

/// `vkGetPhysicalDeviceSurfaceCapabilities2KHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_physical_device_surface_capabilities2(
    device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceSurfaceInfo2KHR<'_>,
    answer: *mut vk::SurfaceCapabilities2KHR<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: which names a live surface.
    let surface = unsafe { surface_of(info.surface) };
    // SAFETY: the program passes a structure to be filled.
    let answer = unsafe { &mut *answer };
    guard_result(|| {
        answer.surface_capabilities = capabilities(physical, surface)?;
        // SAFETY: the program passes a chain of structures to be filled.
        let protected = unsafe { find_mut::<vk::SurfaceProtectedCapabilitiesKHR<'_>>(answer.p_next) };
        if let Some(protected) = protected {
            protected.supports_protected = vk::FALSE;
        }
        Ok(())
    })
}

/// The formats of the surface that the device can draw into.
pub(super) fn formats(
    physical: &Physical,
    surface: &Surface,
) -> Result<Vec<vk::SurfaceFormatKHR>, vk::Result> {
    let drawn = |format: &vk::Format| {
        let features = physical.description.formats.get(format).map(|format| format.optimal);
        features.is_some_and(|features| features.contains(vk::FormatFeatureFlags2::COLOR_ATTACHMENT))
    };
    let color_space = vk::ColorSpaceKHR::SRGB_NONLINEAR;
    let formats = surface.window.formats()?.into_iter().filter(drawn);
    Ok(formats.map(|format| vk::SurfaceFormatKHR { format, color_space }).collect())
}

/// `vkGetPhysicalDeviceSurfaceFormatsKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_physical_device_surface_formats(
    device: vk::PhysicalDevice,
    surface: vk::SurfaceKHR,
    count: *mut u32,
    answer: *mut vk::SurfaceFormatKHR,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a live surface.
    let surface = unsafe { surface_of(surface) };
    let mut result = vk::Result::SUCCESS;
    let error = guard_result(|| {
        // SAFETY: the program passes a count and an array of that length or null.
        result = unsafe { enumerate(&formats(physical, surface)?, count, answer) };
        Ok(())
    });
    if error == vk::Result::SUCCESS { result } else { error }
}

/// `vkGetPhysicalDeviceSurfaceFormats2KHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_physical_device_surface_formats2(
    device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceSurfaceInfo2KHR<'_>,
    count: *mut u32,
    answer: *mut vk::SurfaceFormat2KHR<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: which names a live surface.
    let surface = unsafe { surface_of(info.surface) };
    let mut result = vk::Result::SUCCESS;
    let error = guard_result(|| {
        let formats = formats(physical, surface)?;
        let total = u32::try_from(formats.len()).unwrap_or(u32::MAX);
        let mut written = total;
        if !answer.is_null() {
            // SAFETY: the program passes the length of its array.
            written = unsafe { count.read() }.min(total);
            // SAFETY: the array has at least so many structures to be filled.
            let places = unsafe { slice_mut(answer, written) };
            for (place, format) in places.iter_mut().zip(&formats) {
                place.surface_format = *format;
            }
        }
        // SAFETY: the program passes a place for the count.
        unsafe { put(count, written) };
        if written < total {
            result = vk::Result::INCOMPLETE;
        }
        Ok(())
    });
    if error == vk::Result::SUCCESS { result } else { error }
}

/// `vkGetPhysicalDeviceSurfacePresentModesKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_physical_device_surface_present_modes(
    _device: vk::PhysicalDevice,
    surface: vk::SurfaceKHR,
    count: *mut u32,
    answer: *mut vk::PresentModeKHR,
) -> vk::Result {
    // SAFETY: the program passes a live surface.
    let surface = unsafe { surface_of(surface) };
    // SAFETY: the program passes a count and an array of that length or null.
    unsafe { enumerate(surface.window.present_modes(), count, answer) }
}
