//! The library, its one instance and its one physical device.
//!
//! # Safety
//!
//! Every command is called as the Vulkan specification says: handles are live and of the right type, and pointers are
//! valid for what the command does with them.

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_void;
use std::ptr;

use ash::vk;

use crate::device;
use crate::handles;
use crate::state::MEMORY_ALLOCATIONS;

/// Alignment of imported host pointers.
const ALIGNMENT: u64 = 4096;
const MEMORY_BYTES: u64 = 1 << 30;

/// Erases the type of a function of the driver.
macro_rules! void {
    ($function:expr) => {{
        let address: *const () = $function as *const ();
        // SAFETY:
        // - it is the address of a function; whoever calls it gives it its type again, by its name.
        unsafe { std::mem::transmute::<*const (), unsafe extern "system" fn()>(address) }
    }};
}
pub(crate) use void;

/// Copies a list as the enumerating commands do.
///
/// # Safety
/// `count` is writable; `to` is null or has room for as many values as `count` says.
unsafe fn enumerate<T: Copy>(from: &[T], count: *mut u32, to: *mut T) -> vk::Result {
    let have = u32::try_from(from.len()).unwrap_or(u32::MAX);
    if to.is_null() {
        // SAFETY:
        // - the caller says that it is writable.
        unsafe { *count = have };
        return vk::Result::SUCCESS;
    }
    // SAFETY:
    // - the caller says that it is readable.
    let room = unsafe { *count };
    let copied = room.min(have);
    for (index, value) in from.iter().enumerate().take(copied as usize) {
        // SAFETY:
        // - `index` is below the room that the caller has.
        unsafe { to.wrapping_add(index).write(*value) };
    }
    // SAFETY:
    // - the caller says that it is writable.
    unsafe { *count = copied };
    if copied < have { vk::Result::INCOMPLETE } else { vk::Result::SUCCESS }
}

fn extension(name: &CStr) -> vk::ExtensionProperties {
    let mut extension = vk::ExtensionProperties::default().spec_version(1);
    for (to, from) in extension.extension_name.iter_mut().zip(name.to_bytes_with_nul()) {
        *to = c_char::from_ne_bytes([*from]);
    }
    extension
}

fn queue_families() -> [vk::QueueFamilyProperties; 2] {
    let family = |flags, count| {
        vk::QueueFamilyProperties::default()
            .queue_flags(flags)
            .queue_count(count)
            .min_image_transfer_granularity(vk::Extent3D { width: 1, height: 1, depth: 1 })
    };
    [
        family(vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER, 2),
        family(vk::QueueFlags::TRANSFER, 1),
    ]
}

unsafe extern "system" fn enumerate_instance_version(version: *mut u32) -> vk::Result {
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *version = vk::API_VERSION_1_3 };
    vk::Result::SUCCESS
}

unsafe extern "system" fn enumerate_instance_extensions(
    _layer: *const c_char,
    count: *mut u32,
    to: *mut vk::ExtensionProperties,
) -> vk::Result {
    // SAFETY:
    // - the caller keeps to the rules of the command.
    unsafe { enumerate(&[], count, to) }
}

unsafe extern "system" fn create_instance(
    _info: *const vk::InstanceCreateInfo<'_>,
    _allocator: *const c_void,
    instance: *mut vk::Instance,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *instance = handles::publish(0) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_instance(instance: vk::Instance, _allocator: *const c_void) {
    // SAFETY:
    // - the caller passes null or a live instance and does not use it after this.
    unsafe { handles::retire(instance) };
}

unsafe extern "system" fn enumerate_physical_devices(
    _instance: vk::Instance,
    count: *mut u32,
    to: *mut vk::PhysicalDevice,
) -> vk::Result {
    // SAFETY:
    // - the caller keeps to the rules of the command.
    unsafe { enumerate(&[handles::physical_device()], count, to) }
}

unsafe extern "system" fn enumerate_device_extensions(
    _device: vk::PhysicalDevice,
    _layer: *const c_char,
    count: *mut u32,
    to: *mut vk::ExtensionProperties,
) -> vk::Result {
    // SAFETY:
    // - the caller keeps to the rules of the command.
    unsafe { enumerate(&[extension(ash::ext::external_memory_host::NAME)], count, to) }
}

unsafe extern "system" fn properties(_device: vk::PhysicalDevice, to: *mut vk::PhysicalDeviceProperties) {
    let mut properties = vk::PhysicalDeviceProperties::default()
        .api_version(vk::API_VERSION_1_3)
        .device_type(vk::PhysicalDeviceType::CPU);
    properties.limits.max_memory_allocation_count = MEMORY_ALLOCATIONS;
    for (to, from) in properties.device_name.iter_mut().zip(c"fake".to_bytes_with_nul()) {
        *to = c_char::from_ne_bytes([*from]);
    }
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *to = properties };
}

unsafe extern "system" fn properties2(
    device: vk::PhysicalDevice,
    to: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    // SAFETY:
    // - the caller gives a structure with a valid chain.
    let to = unsafe { &mut *to };
    // SAFETY:
    // - the place is writable.
    unsafe { properties(device, &raw mut to.properties) };
    let mut next = to.p_next.cast::<vk::BaseOutStructure<'_>>();
    // SAFETY:
    // - the chain is valid and ends with null.
    while let Some(base) = unsafe { next.as_mut() } {
        next = base.p_next.cast();
        let this = ptr::from_mut(base);
        match base.s_type {
            vk::StructureType::PHYSICAL_DEVICE_ID_PROPERTIES => {
                // SAFETY:
                // - the type says what the structure is.
                unsafe {
                    (*this.cast::<vk::PhysicalDeviceIDProperties<'_>>()).device_uuid = *b"fake vk driver 0"
                };
            }
            vk::StructureType::PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES => {
                let this = this.cast::<vk::PhysicalDeviceMaintenance3Properties<'_>>();
                // SAFETY:
                // - the type says what the structure is.
                unsafe { (*this).max_memory_allocation_size = MEMORY_BYTES };
            }
            vk::StructureType::PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT => {
                let this = this.cast::<vk::PhysicalDeviceExternalMemoryHostPropertiesEXT<'_>>();
                // SAFETY:
                // - the type says what the structure is.
                unsafe { (*this).min_imported_host_pointer_alignment = ALIGNMENT };
            }
            _ => {}
        }
    }
}

unsafe extern "system" fn memory_properties(
    _device: vk::PhysicalDevice,
    to: *mut vk::PhysicalDeviceMemoryProperties,
) {
    let mut memory = vk::PhysicalDeviceMemoryProperties {
        memory_type_count: 2,
        memory_heap_count: 1,
        ..Default::default()
    };
    memory.memory_types[0].property_flags = vk::MemoryPropertyFlags::DEVICE_LOCAL;
    memory.memory_types[1].property_flags =
        vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    memory.memory_heaps[0] = vk::MemoryHeap { size: MEMORY_BYTES, flags: vk::MemoryHeapFlags::DEVICE_LOCAL };
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *to = memory };
}

unsafe extern "system" fn queue_family_properties(
    _device: vk::PhysicalDevice,
    count: *mut u32,
    to: *mut vk::QueueFamilyProperties,
) {
    // SAFETY:
    // - the caller keeps to the rules of the command, which has no result to give.
    let _ = unsafe { enumerate(&queue_families(), count, to) };
}

unsafe extern "system" fn queue_family_properties2(
    _device: vk::PhysicalDevice,
    count: *mut u32,
    to: *mut vk::QueueFamilyProperties2<'_>,
) {
    let families = queue_families();
    // SAFETY:
    // - the caller gives a writable place.
    let count = unsafe { &mut *count };
    *count = u32::try_from(families.len()).unwrap_or(0);
    if !to.is_null() {
        for (index, family) in families.into_iter().enumerate() {
            // SAFETY:
            // - the caller asked for as many as there are.
            unsafe { (*to.wrapping_add(index)).queue_family_properties = family };
        }
    }
}

unsafe extern "system" fn features(_device: vk::PhysicalDevice, _to: *mut c_void) {}

unsafe extern "system" fn format_properties(
    _device: vk::PhysicalDevice,
    _format: vk::Format,
    _to: *mut c_void,
) {
}

unsafe extern "system" fn image_format_properties(_device: vk::PhysicalDevice) -> vk::Result {
    vk::Result::ERROR_FORMAT_NOT_SUPPORTED
}

unsafe extern "system" fn sparse_image_format_properties(
    _device: vk::PhysicalDevice,
    _format: vk::Format,
    _kind: vk::ImageType,
    _samples: vk::SampleCountFlags,
    _usage: vk::ImageUsageFlags,
    _tiling: vk::ImageTiling,
    count: *mut u32,
    _to: *mut c_void,
) {
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *count = 0 };
}

unsafe extern "system" fn get_device_proc_addr(
    _device: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY:
    // - the caller gives a string.
    device::find(unsafe { CStr::from_ptr(name) })
}

unsafe extern "system" fn image_format_properties2(
    _device: vk::PhysicalDevice,
    _info: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    _properties: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    vk::Result::ERROR_FORMAT_NOT_SUPPORTED
}

/// No buffer says that its memory is imported.
unsafe extern "system" fn external_buffer_properties(
    _device: vk::PhysicalDevice,
    _info: *const vk::PhysicalDeviceExternalBufferInfo<'_>,
    properties: *mut vk::ExternalBufferProperties<'_>,
) {
    // SAFETY:
    // - the caller gives a structure to be filled.
    unsafe { (*properties).external_memory_properties = vk::ExternalMemoryProperties::default() };
}

/// The functions of the library, by name.
///
/// # Safety
/// `name` is a string.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn vkGetInstanceProcAddr(
    _instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY:
    // - the caller gives a string.
    let name = unsafe { CStr::from_ptr(name) };
    Some(match name.to_bytes() {
        b"vkGetInstanceProcAddr" => void!(vkGetInstanceProcAddr),
        b"vkGetDeviceProcAddr" => void!(get_device_proc_addr),
        b"vkEnumerateInstanceVersion" => void!(enumerate_instance_version),
        b"vkEnumerateInstanceExtensionProperties" => void!(enumerate_instance_extensions),
        b"vkCreateInstance" => void!(create_instance),
        b"vkDestroyInstance" => void!(destroy_instance),
        b"vkEnumeratePhysicalDevices" => void!(enumerate_physical_devices),
        b"vkEnumerateDeviceExtensionProperties" => void!(enumerate_device_extensions),
        b"vkGetPhysicalDeviceProperties" => void!(properties),
        b"vkGetPhysicalDeviceProperties2" => void!(properties2),
        b"vkGetPhysicalDeviceMemoryProperties" => void!(memory_properties),
        b"vkGetPhysicalDeviceQueueFamilyProperties" => void!(queue_family_properties),
        b"vkGetPhysicalDeviceQueueFamilyProperties2" => void!(queue_family_properties2),
        b"vkGetPhysicalDeviceFeatures" | b"vkGetPhysicalDeviceFeatures2" => void!(features),
        b"vkGetPhysicalDeviceFormatProperties" | b"vkGetPhysicalDeviceFormatProperties2" => {
            void!(format_properties)
        }
        b"vkGetPhysicalDeviceImageFormatProperties" => void!(image_format_properties),
        b"vkGetPhysicalDeviceSparseImageFormatProperties" => void!(sparse_image_format_properties),
        b"vkGetPhysicalDeviceImageFormatProperties2" => void!(image_format_properties2),
        b"vkGetPhysicalDeviceExternalBufferProperties" => void!(external_buffer_properties),
        b"vkCreateDevice" => void!(device::create),
        _ => return None,
    })
}

/// Agrees with the loader on a version of the driver interface.
///
/// # Safety
/// `version` is writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(
    version: *mut u32,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a place that may be read and written.
    let version = unsafe { &mut *version };
    *version = 5.min(*version);
    vk::Result::SUCCESS
}

/// The functions of the driver, by name, for the loader.
///
/// # Safety
/// `name` is a string.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY:
    // - the caller gives a string.
    unsafe { vkGetInstanceProcAddr(instance, name) }
}
