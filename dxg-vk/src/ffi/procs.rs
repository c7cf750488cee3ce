//! Commands by name.
//!
//! *Why.* What a look-up answers depends on whom it is for: global commands need no instance; an instance has its version's
//! and its extensions' commands and, since devices come later, every device command that some device could have; a device has
//! what its version and its enabled extensions bring and nothing else.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: function addresses change their type on the way to the program, which knows each by its name.
#![expect(unsafe_code, reason = "commands are found as untyped function pointers")]

use std::ffi::CStr;
use std::ffi::c_char;

use ash::vk;
use ash::vk::Handle;

use super::binding;
use super::command;
use super::descriptor_writes;
use super::descriptors;
use super::device;
use super::event;
use super::fence;
use super::forward;
use super::guard::guard;
use super::handles;
use super::host_pointers;
use super::instance;
use super::instance::Instance;
use super::memory;
use super::memory_fd;
use super::physical;
use super::pipelines;
use super::pointers::text;
use super::private_data;
use super::queries;
use super::queries_physical;
use super::queue;
use super::resources;
use super::semaphore;
use super::sync_fd;
use super::templates;
use super::wsi;
use crate::device::Device;
use crate::generated::proc_addr::CUSTOM;
use crate::generated::proc_addr::PROCS;
use crate::proc_address::Level;
use crate::proc_address::Requires;

/// A command: its address, what it belongs to, and what brings it.
#[derive(Clone, Copy)]
struct Command {
    address: *const (),
    level: Level,
    requires: &'static [Requires],
}

impl Command {
    fn pointer(self) -> vk::PFN_vkVoidFunction {
        // SAFETY: a function's address, not null. It is called as what its name says, which is the type it was taken from.
        let function = unsafe { std::mem::transmute::<*const (), unsafe extern "system" fn()>(self.address) };
        Some(function)
    }

    /// Whether any of what brings the command is there.
    fn is_brought(self, version: u32, has_extension: impl Fn(&str) -> bool) -> bool {
        self.requires.iter().any(|requires| match requires {
            Requires::Version(needed) => strip_patch(version) >= strip_patch(*needed),
            Requires::Extension(name) => has_extension(name),
        })
    }
}

/// Commands of the extensions that live in the guest alone, which are not in the generated table: name, what it is an alias
/// of, level, extension.
const GUEST_PROCS: &[(&str, &str, Level, &[Requires])] = &[
    (
        "vkCreateDescriptorUpdateTemplateKHR",
        "vkCreateDescriptorUpdateTemplate",
        Level::Device,
        &[Requires::Extension("VK_KHR_descriptor_update_template")],
    ),
    (
        "vkCreatePrivateDataSlotEXT",
        "vkCreatePrivateDataSlot",
        Level::Device,
        &[Requires::Extension("VK_EXT_private_data")],
    ),
    (
        "vkDestroyDescriptorUpdateTemplateKHR",
        "vkDestroyDescriptorUpdateTemplate",
        Level::Device,
        &[Requires::Extension("VK_KHR_descriptor_update_template")],
    ),
    (
        "vkDestroyPrivateDataSlotEXT",
        "vkDestroyPrivateDataSlot",
        Level::Device,
        &[Requires::Extension("VK_EXT_private_data")],
    ),
    ("vkGetFenceFdKHR", "vkGetFenceFdKHR", Level::Device, &[Requires::Extension("VK_KHR_external_fence_fd")]),
    (
        "vkGetSemaphoreFdKHR",
        "vkGetSemaphoreFdKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_external_semaphore_fd")],
    ),
    (
        "vkImportFenceFdKHR",
        "vkImportFenceFdKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_external_fence_fd")],
    ),
    (
        "vkImportSemaphoreFdKHR",
        "vkImportSemaphoreFdKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_external_semaphore_fd")],
    ),
    (
        "vkGetMemoryFdKHR",
        "vkGetMemoryFdKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_external_memory_fd")],
    ),
    (
        "vkGetMemoryFdPropertiesKHR",
        "vkGetMemoryFdPropertiesKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_external_memory_fd")],
    ),
    (
        "vkGetMemoryHostPointerPropertiesEXT",
        "vkGetMemoryHostPointerPropertiesEXT",
        Level::Device,
        &[Requires::Extension("VK_EXT_external_memory_host")],
    ),
    (
        "vkGetPhysicalDeviceToolPropertiesEXT",
        "vkGetPhysicalDeviceToolProperties",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_EXT_tooling_info")],
    ),
    ("vkGetPrivateDataEXT", "vkGetPrivateData", Level::Device, &[Requires::Extension("VK_EXT_private_data")]),
    ("vkMapMemory2KHR", "vkMapMemory2KHR", Level::Device, &[Requires::Extension("VK_KHR_map_memory2")]),
    ("vkSetPrivateDataEXT", "vkSetPrivateData", Level::Device, &[Requires::Extension("VK_EXT_private_data")]),
    ("vkUnmapMemory2KHR", "vkUnmapMemory2KHR", Level::Device, &[Requires::Extension("VK_KHR_map_memory2")]),
    (
        "vkUpdateDescriptorSetWithTemplateKHR",
        "vkUpdateDescriptorSetWithTemplate",
        Level::Device,
        &[Requires::Extension("VK_KHR_descriptor_update_template")],
    ),
    (
        "vkAcquireNextImageKHR",
        "vkAcquireNextImageKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_swapchain")],
    ),
    (
        "vkCreateHeadlessSurfaceEXT",
        "vkCreateHeadlessSurfaceEXT",
        Level::Instance,
        &[Requires::Extension("VK_EXT_headless_surface")],
    ),
    (
        "vkCreateSwapchainKHR",
        "vkCreateSwapchainKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_swapchain")],
    ),
    (
        "vkCreateWaylandSurfaceKHR",
        "vkCreateWaylandSurfaceKHR",
        Level::Instance,
        &[Requires::Extension("VK_KHR_wayland_surface")],
    ),
    (
        "vkCreateXcbSurfaceKHR",
        "vkCreateXcbSurfaceKHR",
        Level::Instance,
        &[Requires::Extension("VK_KHR_xcb_surface")],
    ),
    (
        "vkCreateXlibSurfaceKHR",
        "vkCreateXlibSurfaceKHR",
        Level::Instance,
        &[Requires::Extension("VK_KHR_xlib_surface")],
    ),
    ("vkDestroySurfaceKHR", "vkDestroySurfaceKHR", Level::Instance, &[Requires::Extension("VK_KHR_surface")]),
    (
        "vkDestroySwapchainKHR",
        "vkDestroySwapchainKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_swapchain")],
    ),
    (
        "vkGetPhysicalDeviceSurfaceCapabilities2KHR",
        "vkGetPhysicalDeviceSurfaceCapabilities2KHR",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_KHR_get_surface_capabilities2")],
    ),
    (
        "vkGetPhysicalDeviceSurfaceCapabilitiesKHR",
        "vkGetPhysicalDeviceSurfaceCapabilitiesKHR",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_KHR_surface")],
    ),
    (
        "vkGetPhysicalDeviceSurfaceFormats2KHR",
        "vkGetPhysicalDeviceSurfaceFormats2KHR",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_KHR_get_surface_capabilities2")],
    ),
    (
        "vkGetPhysicalDeviceSurfaceFormatsKHR",
        "vkGetPhysicalDeviceSurfaceFormatsKHR",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_KHR_surface")],
    ),
    (
        "vkGetPhysicalDeviceSurfacePresentModesKHR",
        "vkGetPhysicalDeviceSurfacePresentModesKHR",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_KHR_surface")],
    ),
    (
        "vkGetPhysicalDeviceSurfaceSupportKHR",
        "vkGetPhysicalDeviceSurfaceSupportKHR",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_KHR_surface")],
    ),
    (
        "vkGetPhysicalDeviceWaylandPresentationSupportKHR",
        "vkGetPhysicalDeviceWaylandPresentationSupportKHR",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_KHR_wayland_surface")],
    ),
    (
        "vkGetPhysicalDeviceXcbPresentationSupportKHR",
        "vkGetPhysicalDeviceXcbPresentationSupportKHR",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_KHR_xcb_surface")],
    ),
    (
        "vkGetPhysicalDeviceXlibPresentationSupportKHR",
        "vkGetPhysicalDeviceXlibPresentationSupportKHR",
        Level::PhysicalDevice,
        &[Requires::Extension("VK_KHR_xlib_surface")],
    ),
    (
        "vkGetSwapchainImagesKHR",
        "vkGetSwapchainImagesKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_swapchain")],
    ),
    ("vkQueuePresentKHR", "vkQueuePresentKHR", Level::Device, &[Requires::Extension("VK_KHR_swapchain")]),
    (
        "vkWaitForPresentKHR",
        "vkWaitForPresentKHR",
        Level::Device,
        &[Requires::Extension("VK_KHR_present_wait")],
    ),
];

/// Commands of swapchains on device groups: of version 1.1 they are a part of swapchains.
const OF_DEVICE_GROUPS: &[&str] = &[
    "vkAcquireNextImage2KHR",
    "vkGetDeviceGroupPresentCapabilitiesKHR",
    "vkGetDeviceGroupSurfacePresentModesKHR",
    "vkGetPhysicalDevicePresentRectanglesKHR",
];

/// What brings them.
const DEVICE_GROUPS: &[Requires] =
    &[Requires::Extension("VK_KHR_device_group"), Requires::Extension("VK_KHR_swapchain")];

/// A version without its patch number.
fn strip_patch(version: u32) -> u32 {
    version & !0xFFF
}

/// Finds a command by its name in the registry.
fn find(name: &CStr) -> Option<Command> {
    let name = name.to_str().ok()?;
    if let Ok(at) = CUSTOM.binary_search_by(|command| command.name.cmp(name)) {
        let custom = CUSTOM.get(at)?;
        let address = custom_address(custom.canonical)?;
        let requires = if OF_DEVICE_GROUPS.contains(&name) { DEVICE_GROUPS } else { custom.requires };
        return Some(Command { address, level: custom.level, requires });
    }
    if let Some((_, canonical, level, requires)) = GUEST_PROCS.iter().find(|command| command.0 == name) {
        return Some(Command { address: custom_address(canonical)?, level: *level, requires });
    }
    let at = PROCS.binary_search_by(|command| command.name.cmp(name)).ok()?;
    let command = PROCS.get(at)?;
    Some(Command { address: command.address.get(), level: command.level, requires: command.requires })
}

/// The commands that need no instance.
fn find_global(name: &CStr) -> vk::PFN_vkVoidFunction {
    let address = match name.to_bytes() {
        b"vkCreateInstance" => instance::create_instance as *const (),
        b"vkEnumerateInstanceExtensionProperties" => {
            instance::enumerate_instance_extension_properties as *const ()
        }
        b"vkEnumerateInstanceLayerProperties" => instance::enumerate_instance_layer_properties as *const (),
        b"vkEnumerateInstanceVersion" => instance::enumerate_instance_version as *const (),
        b"vkGetInstanceProcAddr" => get_instance_proc_addr as *const (),
        _ => return None,
    };
    Command { address, level: Level::Instance, requires: &[] }.pointer()
}

/// # Safety
/// `instance` is null or a live instance.
pub(crate) unsafe fn instance_proc(instance: vk::Instance, name: &CStr) -> vk::PFN_vkVoidFunction {
    if let Some(global) = find_global(name) {
        return Some(global);
    }
    if instance.is_null() {
        return None;
    }
    // SAFETY: not null, so a live instance.
    let instance = unsafe { handles::object::<Instance>(instance) };
    let command = find(name)?;
    let is_there = match command.level {
        Level::Instance => command.is_brought(instance.api_version, |name| has(&instance.extensions, name)),
        Level::PhysicalDevice | Level::Device => true,
    };
    is_there.then_some(command)?.pointer()
}

/// # Safety
/// `instance` is null or a live instance.
pub(crate) unsafe fn physical_device_proc(instance: vk::Instance, name: &CStr) -> vk::PFN_vkVoidFunction {
    if instance.is_null() {
        return None;
    }
    let command = find(name)?;
    (command.level == Level::PhysicalDevice).then_some(command)?.pointer()
}

fn device_proc(device: &Device, name: &CStr) -> vk::PFN_vkVoidFunction {
    let command = find(name)?;
    let is_there = command.level == Level::Device
        && command.is_brought(device.api_version, |name| device.has_extension(name));
    is_there.then_some(command)?.pointer()
}

fn has(extensions: &[String], name: &str) -> bool {
    extensions.iter().any(|have| have == name)
}

/// `vkGetInstanceProcAddr`.
///
/// # Safety
/// As the specification of this command demands.
unsafe extern "system" fn get_instance_proc_addr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: the program passes a string.
    let name = unsafe { text(name) }?;
    // SAFETY: the program passes a live instance or null.
    guard(|| unsafe { instance_proc(instance, name) })
}

/// `vkGetDeviceProcAddr`.
///
/// # Safety
/// As the specification of this command demands.
unsafe extern "system" fn get_device_proc_addr(
    device: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a string.
    let name = unsafe { text(name) }?;
    guard(|| device_proc(device, name))
}

/// Names each command that is written by hand, by its name in the registry.
macro_rules! custom {
    ($($module:ident { $($name:literal = $function:ident),* $(,)? })*) => {
        /// The address of a command that is written by hand.
        fn custom_address(canonical: &str) -> Option<*const ()> {
            match canonical {
                "vkGetDeviceProcAddr" => Some(get_device_proc_addr as *const ()),
                $($($name => Some($module::$function as *const ()),)*)*
                _ => None,
            }
        }
    };
}

custom! {
    binding {
        "vkBindBufferMemory" = bind_buffer_memory,
        "vkBindBufferMemory2" = bind_buffer_memory2,
        "vkBindImageMemory" = bind_image_memory,
        "vkBindImageMemory2" = bind_image_memory2,
        "vkTrimCommandPool" = trim_command_pool,
    }
    command {
        "vkAllocateCommandBuffers" = allocate_command_buffers,
        "vkBeginCommandBuffer" = begin_command_buffer,
        "vkCreateCommandPool" = create_command_pool,
        "vkDestroyCommandPool" = destroy_command_pool,
        "vkEndCommandBuffer" = end_command_buffer,
        "vkFreeCommandBuffers" = free_command_buffers,
        "vkResetCommandBuffer" = reset_command_buffer,
        "vkResetCommandPool" = reset_command_pool,
    }
    descriptors {
        "vkAllocateDescriptorSets" = allocate_descriptor_sets,
        "vkCreateDescriptorPool" = create_descriptor_pool,
        "vkCreateDescriptorSetLayout" = create_descriptor_set_layout,
        "vkDestroyDescriptorPool" = destroy_descriptor_pool,
        "vkDestroyDescriptorSetLayout" = destroy_descriptor_set_layout,
        "vkFreeDescriptorSets" = free_descriptor_sets,
        "vkResetDescriptorPool" = reset_descriptor_pool,
    }
    descriptor_writes {
        "vkCmdBindDescriptorSets" = cmd_bind_descriptor_sets,
        "vkCmdBindDescriptorSets2KHR" = cmd_bind_descriptor_sets2_khr,
        "vkUpdateDescriptorSets" = update_descriptor_sets,
    }
    device {
        "vkCreateDevice" = create_device,
        "vkDestroyDevice" = destroy_device,
        "vkGetDeviceQueue" = get_device_queue,
        "vkGetDeviceQueue2" = get_device_queue2,
    }
    event {
        "vkCmdResetEvent" = cmd_reset_event,
        "vkCmdResetEvent2" = cmd_reset_event2,
        "vkCmdSetEvent" = cmd_set_event,
        "vkCmdSetEvent2" = cmd_set_event2,
        "vkCreateEvent" = create_event,
        "vkDestroyEvent" = destroy_event,
        "vkGetEventStatus" = get_event_status,
        "vkResetEvent" = reset_event,
        "vkSetEvent" = set_event,
    }
    fence {
        "vkCreateFence" = create_fence,
        "vkDestroyFence" = destroy_fence,
        "vkGetFenceStatus" = get_fence_status,
        "vkResetFences" = reset_fences,
        "vkWaitForFences" = wait_for_fences,
    }
    host_pointers {
        "vkGetMemoryHostPointerPropertiesEXT" = get_memory_host_pointer_properties_ext,
    }
    instance {
        "vkDestroyInstance" = destroy_instance,
        "vkEnumeratePhysicalDeviceGroups" = enumerate_physical_device_groups,
        "vkEnumeratePhysicalDevices" = enumerate_physical_devices,
    }
    memory {
        "vkAllocateMemory" = allocate_memory,
        "vkFlushMappedMemoryRanges" = flush_mapped_memory_ranges,
        "vkFreeMemory" = free_memory,
        "vkGetDeviceMemoryCommitment" = get_device_memory_commitment,
        "vkInvalidateMappedMemoryRanges" = invalidate_mapped_memory_ranges,
        "vkMapMemory" = map_memory,
        "vkMapMemory2KHR" = map_memory2_khr,
        "vkUnmapMemory" = unmap_memory,
        "vkUnmapMemory2KHR" = unmap_memory2_khr,
    }
    memory_fd {
        "vkGetMemoryFdKHR" = get_memory_fd_khr,
        "vkGetMemoryFdPropertiesKHR" = get_memory_fd_properties_khr,
    }
    physical {
        "vkEnumerateDeviceExtensionProperties" = enumerate_device_extension_properties,
        "vkEnumerateDeviceLayerProperties" = enumerate_device_layer_properties,
        "vkGetPhysicalDeviceFeatures" = get_physical_device_features,
        "vkGetPhysicalDeviceFeatures2" = get_physical_device_features2,
        "vkGetPhysicalDeviceFormatProperties" = get_physical_device_format_properties,
        "vkGetPhysicalDeviceFormatProperties2" = get_physical_device_format_properties2,
        "vkGetPhysicalDeviceMemoryProperties" = get_physical_device_memory_properties,
        "vkGetPhysicalDeviceMemoryProperties2" = get_physical_device_memory_properties2,
        "vkGetPhysicalDeviceProperties" = get_physical_device_properties,
        "vkGetPhysicalDeviceProperties2" = get_physical_device_properties2,
        "vkGetPhysicalDeviceQueueFamilyProperties" = get_physical_device_queue_family_properties,
        "vkGetPhysicalDeviceQueueFamilyProperties2" = get_physical_device_queue_family_properties2,
        "vkGetPhysicalDeviceToolProperties" = get_physical_device_tool_properties,
    }
    pipelines {
        "vkCreateGraphicsPipelines" = create_graphics_pipelines,
        "vkCreateRenderPass" = create_render_pass,
        "vkCreateRenderPass2" = create_render_pass2,
        "vkDestroyRenderPass" = destroy_render_pass,
    }
    private_data {
        "vkCreatePrivateDataSlot" = create_private_data_slot,
        "vkDestroyPrivateDataSlot" = destroy_private_data_slot,
        "vkGetPrivateData" = get_private_data,
        "vkSetPrivateData" = set_private_data,
    }
    queries {
        "vkGetBufferDeviceAddress" = get_buffer_device_address,
        "vkGetQueryPoolResults" = get_query_pool_results,
    }
    queries_physical {
        "vkGetPhysicalDeviceCalibrateableTimeDomainsKHR" = get_physical_device_calibrateable_time_domains_khr,
        "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR" = get_physical_device_cooperative_matrix_properties_khr,
        "vkGetPhysicalDeviceFragmentShadingRatesKHR" = get_physical_device_fragment_shading_rates_khr,
        "vkGetPhysicalDeviceMultisamplePropertiesEXT" = get_physical_device_multisample_properties_ext,
        "vkGetPhysicalDeviceExternalBufferProperties" = get_physical_device_external_buffer_properties,
        "vkGetPhysicalDeviceExternalFenceProperties" = get_physical_device_external_fence_properties,
        "vkGetPhysicalDeviceExternalSemaphoreProperties" = get_physical_device_external_semaphore_properties,
        "vkGetPhysicalDeviceImageFormatProperties" = get_physical_device_image_format_properties,
        "vkGetPhysicalDeviceImageFormatProperties2" = get_physical_device_image_format_properties2,
        "vkGetPhysicalDeviceSparseImageFormatProperties" = get_physical_device_sparse_image_format_properties,
        "vkGetPhysicalDeviceSparseImageFormatProperties2" = get_physical_device_sparse_image_format_properties2,
    }
    queue {
        "vkDeviceWaitIdle" = device_wait_idle,
        "vkQueueBindSparse" = queue_bind_sparse,
        "vkQueueSubmit" = queue_submit,
        "vkQueueSubmit2" = queue_submit2,
        "vkQueueWaitIdle" = queue_wait_idle,
    }
    resources {
        "vkCreateBuffer" = create_buffer,
        "vkCreateImage" = create_image,
        "vkDestroyBuffer" = destroy_buffer,
        "vkDestroyImage" = destroy_image,
        "vkGetBufferMemoryRequirements" = get_buffer_memory_requirements,
        "vkGetBufferMemoryRequirements2" = get_buffer_memory_requirements2,
        "vkGetDeviceBufferMemoryRequirements" = get_device_buffer_memory_requirements,
        "vkGetDeviceImageMemoryRequirements" = get_device_image_memory_requirements,
        "vkGetDeviceImageSparseMemoryRequirements" = get_device_image_sparse_memory_requirements,
        "vkGetImageMemoryRequirements" = get_image_memory_requirements,
        "vkGetImageMemoryRequirements2" = get_image_memory_requirements2,
        "vkGetImageSparseMemoryRequirements" = get_image_sparse_memory_requirements,
        "vkGetImageSparseMemoryRequirements2" = get_image_sparse_memory_requirements2,
    }
    semaphore {
        "vkCreateSemaphore" = create_semaphore,
        "vkDestroySemaphore" = destroy_semaphore,
        "vkGetSemaphoreCounterValue" = get_semaphore_counter_value,
        "vkSignalSemaphore" = signal_semaphore,
        "vkWaitSemaphores" = wait_semaphores,
    }
    sync_fd {
        "vkGetFenceFdKHR" = get_fence_fd_khr,
        "vkGetSemaphoreFdKHR" = get_semaphore_fd_khr,
        "vkImportFenceFdKHR" = import_fence_fd_khr,
        "vkImportSemaphoreFdKHR" = import_semaphore_fd_khr,
    }
    templates {
        "vkCmdPushDescriptorSetWithTemplateKHR" = cmd_push_descriptor_set_with_template_khr,
        "vkCreateDescriptorUpdateTemplate" = create_descriptor_update_template,
        "vkDestroyDescriptorUpdateTemplate" = destroy_descriptor_update_template,
        "vkUpdateDescriptorSetWithTemplate" = update_descriptor_set_with_template,
    }
    wsi {
        "vkAcquireNextImage2KHR" = acquire_next_image2,
        "vkAcquireNextImageKHR" = acquire_next_image,
        "vkCreateHeadlessSurfaceEXT" = create_headless_surface,
        "vkCreateSwapchainKHR" = create_swapchain,
        "vkCreateWaylandSurfaceKHR" = create_wayland_surface,
        "vkCreateXcbSurfaceKHR" = create_xcb_surface,
        "vkCreateXlibSurfaceKHR" = create_xlib_surface,
        "vkDestroySurfaceKHR" = destroy_surface,
        "vkDestroySwapchainKHR" = destroy_swapchain,
        "vkGetDeviceGroupPresentCapabilitiesKHR" = get_device_group_present_capabilities,
        "vkGetDeviceGroupSurfacePresentModesKHR" = get_device_group_surface_present_modes,
        "vkGetPhysicalDevicePresentRectanglesKHR" = get_physical_device_present_rectangles,
        "vkGetPhysicalDeviceSurfaceCapabilities2KHR" = get_physical_device_surface_capabilities2,
        "vkGetPhysicalDeviceSurfaceCapabilitiesKHR" = get_physical_device_surface_capabilities,
        "vkGetPhysicalDeviceSurfaceFormats2KHR" = get_physical_device_surface_formats2,
        "vkGetPhysicalDeviceSurfaceFormatsKHR" = get_physical_device_surface_formats,
        "vkGetPhysicalDeviceSurfacePresentModesKHR" = get_physical_device_surface_present_modes,
        "vkGetPhysicalDeviceSurfaceSupportKHR" = get_physical_device_surface_support,
        "vkGetPhysicalDeviceWaylandPresentationSupportKHR" = wayland_presentation_support,
        "vkGetPhysicalDeviceXcbPresentationSupportKHR" = xcb_presentation_support,
        "vkGetPhysicalDeviceXlibPresentationSupportKHR" = xlib_presentation_support,
        "vkGetSwapchainImagesKHR" = get_swapchain_images,
        "vkQueuePresentKHR" = queue_present,
        "vkWaitForPresentKHR" = wait_for_present,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapchains_bring_the_commands_for_device_groups() {
        for name in [
            c"vkAcquireNextImage2KHR",
            c"vkGetDeviceGroupPresentCapabilitiesKHR",
            c"vkGetDeviceGroupSurfacePresentModesKHR",
            c"vkGetPhysicalDevicePresentRectanglesKHR",
        ] {
            let command = find(name).unwrap();
            assert!(command.is_brought(vk::API_VERSION_1_1, |name| name == "VK_KHR_swapchain"), "{name:?}");
            assert!(
                command.is_brought(vk::API_VERSION_1_0, |name| name == "VK_KHR_device_group"),
                "{name:?}"
            );
            assert!(!command.is_brought(vk::API_VERSION_1_3, |_| false), "{name:?}");
        }
    }
}
