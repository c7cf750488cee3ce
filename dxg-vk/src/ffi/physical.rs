//! Physical devices: queries, answered from the description or remembered.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::c_char;
use std::ffi::c_void;

use ash::vk;
use dxg_wire::codec::Decoder;

use super::forward;
use super::guard::guard;
use super::host_pointers::alignment_bytes;
use super::pointers::enumerate;
use super::pointers::find_mut;
use super::pointers::put;
use super::pointers::slice_mut;
use super::pointers::text;
use crate::description::Format;
use crate::description::Structures;
use crate::generated::structs;
use crate::memory::fill_budget;

/// Fills the structures of the caller's chain that the description knows; the others stay as they are.
///
/// # Safety
/// `next` is null or begins a chain of Vulkan structures that may be written.
unsafe fn fill_chain(mut next: *mut c_void, known: &Structures) {
    // SAFETY: every link of a chain begins with the fields of `BaseOutStructure`; null ends it.
    while let Some(base) = unsafe { next.cast::<vk::BaseOutStructure<'_>>().as_ref() } {
        if let Some(body) = known.get(&base.s_type.as_raw()) {
            // SAFETY: the link is a structure of the type it names and may be written. A host that encodes it wrongly is
            // seen by the decoder; what was filled until then stays.
            let _ = unsafe { structs::fill_chain_body(&mut Decoder::new(body), next.cast()) };
        }
        next = base.p_next.cast();
    }
}

/// `vkGetPhysicalDeviceProperties`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_properties(
    device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a place for the answer.
    unsafe { put(properties, physical.description.properties) };
}

/// `vkGetPhysicalDeviceProperties2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_properties2(
    device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a structure to be filled.
    let properties = unsafe { &mut *properties };
    guard(|| {
        properties.properties = physical.description.properties;
        // SAFETY: the program passes a chain of structures to be filled.
        unsafe { fill_chain(properties.p_next, &physical.description.property_structures) };
        // SAFETY: as above.
        if let Some(ids) = unsafe { find_mut::<vk::PhysicalDeviceIDProperties<'_>>(properties.p_next) } {
            physical.identity.fill(ids);
        }
        // SAFETY: as above.
        if let Some(core) = unsafe { find_mut::<vk::PhysicalDeviceVulkan11Properties<'_>>(properties.p_next) }
        {
            physical.identity.fill_core(core);
        }
        // SAFETY: as above.
        let host =
            unsafe { find_mut::<vk::PhysicalDeviceExternalMemoryHostPropertiesEXT<'_>>(properties.p_next) };
        if let Some(host) = host {
            host.min_imported_host_pointer_alignment = alignment_bytes(&physical.description);
        }
    });
}

/// `vkGetPhysicalDeviceFeatures`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_features(
    device: vk::PhysicalDevice,
    features: *mut vk::PhysicalDeviceFeatures,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a place for the answer.
    unsafe { put(features, physical.description.features) };
}

/// `vkGetPhysicalDeviceFeatures2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_features2(
    device: vk::PhysicalDevice,
    features: *mut vk::PhysicalDeviceFeatures2<'_>,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a structure to be filled.
    let features = unsafe { &mut *features };
    guard(|| {
        features.features = physical.description.features;
        // SAFETY: the program passes a chain of structures to be filled.
        unsafe { fill_chain(features.p_next, &physical.description.feature_structures) };
        // SAFETY: as above.
        let private_data = unsafe { find_mut::<vk::PhysicalDevicePrivateDataFeatures<'_>>(features.p_next) };
        if let Some(private_data) = private_data {
            private_data.private_data = vk::TRUE;
        }
        // SAFETY: as above.
        let present_id = unsafe { find_mut::<vk::PhysicalDevicePresentIdFeaturesKHR<'_>>(features.p_next) };
        if let Some(present_id) = present_id {
            present_id.present_id = vk::TRUE;
        }
        // SAFETY: as above.
        let present_wait =
            unsafe { find_mut::<vk::PhysicalDevicePresentWaitFeaturesKHR<'_>>(features.p_next) };
        if let Some(present_wait) = present_wait {
            present_wait.present_wait = vk::TRUE;
        }
    });
}

/// `vkGetPhysicalDeviceMemoryProperties`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_memory_properties(
    device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceMemoryProperties,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a place for the answer.
    unsafe { put(properties, physical.description.memory) };
}

/// `vkGetPhysicalDeviceMemoryProperties2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_memory_properties2(
    device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceMemoryProperties2<'_>,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a structure to be filled.
    let properties = unsafe { &mut *properties };
    properties.memory_properties = physical.description.memory;
    let next = properties.p_next;
    // SAFETY: the program passes a chain of structures to be filled.
    if let Some(budget) = unsafe { find_mut::<vk::PhysicalDeviceMemoryBudgetPropertiesEXT<'_>>(next) } {
        let heaps = physical.description.memory.memory_heaps_as_slice();
        fill_budget(budget, heaps, physical.streams.budget_bytes(), |heap| physical.usages.used(heap));
    }
}

/// `vkGetPhysicalDeviceQueueFamilyProperties`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_queue_family_properties(
    device: vk::PhysicalDevice,
    count: *mut u32,
    properties: *mut vk::QueueFamilyProperties,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    guard(|| {
        let families = physical.description.families.iter();
        let families: Vec<_> = families.map(|family| family.properties).collect();
        // SAFETY: the program passes a count and an array of that length or null. The command cannot say INCOMPLETE.
        let _ = unsafe { enumerate(&families, count, properties) };
    });
}

/// `vkGetPhysicalDeviceQueueFamilyProperties2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_queue_family_properties2(
    device: vk::PhysicalDevice,
    count: *mut u32,
    properties: *mut vk::QueueFamilyProperties2<'_>,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    guard(|| {
        let families = &physical.description.families;
        let total = u32::try_from(families.len()).unwrap_or(u32::MAX);
        if properties.is_null() {
            // SAFETY: the program passes a place for the count.
            unsafe { put(count, total) };
            return;
        }
        // SAFETY: the program passes the length of its array.
        let written = unsafe { count.read() }.min(total);
        // SAFETY: the array has at least so many structures to be filled.
        let places = unsafe { slice_mut(properties, written) };
        for (place, family) in places.iter_mut().zip(families) {
            place.queue_family_properties = family.properties;
            // SAFETY: the program passes a chain of structures to be filled.
            unsafe { fill_chain(place.p_next, &family.structures) };
        }
        // SAFETY: the program passes a place for the count.
        unsafe { put(count, written) };
    });
}

/// `vkGetPhysicalDeviceFormatProperties`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_format_properties(
    device: vk::PhysicalDevice,
    format: vk::Format,
    properties: *mut vk::FormatProperties,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    let known = physical.description.formats.get(&format).copied().unwrap_or_default();
    // SAFETY: the program passes a place for the answer.
    unsafe { put(properties, known.properties) };
}

/// `vkGetPhysicalDeviceFormatProperties2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_format_properties2(
    device: vk::PhysicalDevice,
    format: vk::Format,
    properties: *mut vk::FormatProperties2<'_>,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a structure to be filled.
    let properties = unsafe { &mut *properties };
    guard(|| {
        let known: Format = physical.description.formats.get(&format).copied().unwrap_or_default();
        properties.format_properties = known.properties;
        // SAFETY: the program passes a chain of structures to be filled.
        if let Some(wide) = unsafe { find_mut::<vk::FormatProperties3<'_>>(properties.p_next) } {
            wide.linear_tiling_features = known.linear;
            wide.optimal_tiling_features = known.optimal;
            wide.buffer_features = known.buffer;
        }
        // SAFETY: as above.
        let modifiers = unsafe { find_mut::<vk::DrmFormatModifierPropertiesListEXT<'_>>(properties.p_next) };
        if let Some(modifiers) = modifiers {
            modifiers.drm_format_modifier_count = 0;
        }
    });
}

/// `vkGetPhysicalDeviceToolProperties`: there are no tools.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_tool_properties(
    _device: vk::PhysicalDevice,
    count: *mut u32,
    _properties: *mut vk::PhysicalDeviceToolProperties<'_>,
) -> vk::Result {
    // SAFETY: the program passes a place for the count.
    unsafe { put(count, 0) };
    vk::Result::SUCCESS
}

/// `vkEnumerateDeviceExtensionProperties`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn enumerate_device_extension_properties(
    device: vk::PhysicalDevice,
    layer: *const c_char,
    count: *mut u32,
    properties: *mut vk::ExtensionProperties,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes null or a string.
    if unsafe { text(layer) }.is_some() {
        return vk::Result::ERROR_LAYER_NOT_PRESENT;
    }
    // SAFETY: the program passes a count and an array of that length or null.
    guard(|| unsafe { enumerate(&physical.description.extensions, count, properties) })
}

/// `vkEnumerateDeviceLayerProperties`: there are no layers.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn enumerate_device_layer_properties(
    _device: vk::PhysicalDevice,
    count: *mut u32,
    _properties: *mut vk::LayerProperties,
) -> vk::Result {
    // SAFETY: the program passes a place for the count.
    unsafe { put(count, 0) };
    vk::Result::SUCCESS
}
