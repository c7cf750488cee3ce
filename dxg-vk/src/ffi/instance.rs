//! Instances and the enumeration of physical devices.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::CStr;
use std::ffi::c_char;

use ash::vk;
use ash::vk::Handle;
use dxg_core::Transport;

use super::describe::API_VERSION;
use super::guard::guard;
use super::guard::guard_result;
use super::handles;
use super::pointers::enumerate;
use super::pointers::optional;
use super::pointers::put;
use super::pointers::slice_mut;
use super::pointers::text;
use super::pointers::texts;
use crate::extensions;
use crate::log;
use crate::sessions;
use crate::sessions::Shared;

/// Set by the daemon for its workers: a worker that loads this driver through the system's loader must not find itself.
const WORKER_VARIABLE: &str = "DXG_WORKER";

/// A physical device as one instance shows it.
#[derive(Debug)]
pub(crate) struct PhysicalObject {
    /// What it is, for all instances.
    pub(crate) physical: Shared,
    /// The version of Vulkan that the program asked its instance for.
    pub(crate) asked_version: u32,
}

/// An instance.
#[derive(Debug)]
pub(crate) struct Instance {
    /// The version that the program asked for; 1.0 when it named none.
    pub(crate) api_version: u32,
    /// Enabled extensions.
    pub(crate) extensions: Vec<String>,
    /// Its physical devices.
    pub(crate) devices: Vec<vk::PhysicalDevice>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        for device in &self.devices {
            // SAFETY: the instance published it, and goes together with it.
            drop(unsafe { handles::retire::<PhysicalObject>(*device) });
        }
    }
}

fn connect_all(asked_version: u32) -> Vec<vk::PhysicalDevice> {
    if std::env::var_os(WORKER_VARIABLE).is_some() {
        return Vec::new();
    }
    let candidates = dxg_core::enumerate();
    let virtual_gpus = candidates.iter().filter(|candidate| candidate.transport() == Transport::Host);
    let connected = virtual_gpus.filter_map(sessions::open);
    connected.map(|physical| handles::publish(PhysicalObject { physical, asked_version })).collect()
}

fn new_instance(api_version: u32, wanted: &[&CStr]) -> Result<Instance, vk::Result> {
    let is_offered = |name: &CStr| extensions::INSTANCE_EXTENSIONS.iter().any(|(have, _)| *have == name);
    if !wanted.iter().all(|name| is_offered(name)) {
        return Err(vk::Result::ERROR_EXTENSION_NOT_PRESENT);
    }
    let extensions = wanted.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    let api_version = if api_version == 0 { vk::API_VERSION_1_0 } else { api_version };
    Ok(Instance { api_version, extensions, devices: connect_all(api_version) })
}

/// `vkCreateInstance`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_instance(
    info: *const vk::InstanceCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    log::start();
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: the program passes null or a valid structure.
    let application = unsafe { optional(info.p_application_info) };
    // SAFETY: the program passes strings in an array of the length it names.
    let wanted = unsafe { texts(info.pp_enabled_extension_names, info.enabled_extension_count) };
    guard_result(|| {
        let created = new_instance(application.map_or(0, |application| application.api_version), &wanted)?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(instance, handles::publish(created)) };
        Ok(())
    })
}

/// `vkDestroyInstance`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_instance(
    instance: vk::Instance,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if !instance.is_null() {
        // SAFETY: not null, so a live instance that the program does not use any more.
        guard(|| drop(unsafe { handles::retire::<Instance>(instance) }));
    }
}

/// `vkEnumeratePhysicalDevices`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn enumerate_physical_devices(
    instance: vk::Instance,
    count: *mut u32,
    devices: *mut vk::PhysicalDevice,
) -> vk::Result {
    // SAFETY: the program passes a live instance.
    let instance = unsafe { handles::object::<Instance>(instance) };
    // SAFETY: the program passes a count and an array of that length or null.
    unsafe { enumerate(&instance.devices, count, devices) }
}

/// `vkEnumeratePhysicalDeviceGroups`: each device is a group of its own.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn enumerate_physical_device_groups(
    instance: vk::Instance,
    count: *mut u32,
    groups: *mut vk::PhysicalDeviceGroupProperties<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live instance.
    let instance = unsafe { handles::object::<Instance>(instance) };
    let total = u32::try_from(instance.devices.len()).unwrap_or(u32::MAX);
    if groups.is_null() {
        // SAFETY: the program passes a place for the count.
        unsafe { put(count, total) };
        return vk::Result::SUCCESS;
    }
    // SAFETY: the program passes the length of its array.
    let written = unsafe { count.read() }.min(total);
    // SAFETY: the array has at least so many structures to be filled.
    let places = unsafe { slice_mut(groups, written) };
    for (place, device) in places.iter_mut().zip(&instance.devices) {
        place.physical_device_count = 1;
        place.physical_devices = [vk::PhysicalDevice::null(); vk::MAX_DEVICE_GROUP_SIZE];
        if let Some(first) = place.physical_devices.first_mut() {
            *first = *device;
        }
        place.subset_allocation = vk::FALSE;
    }
    // SAFETY: the program passes a place for the count.
    unsafe { put(count, written) };
    if written < total { vk::Result::INCOMPLETE } else { vk::Result::SUCCESS }
}

/// `vkEnumerateInstanceVersion`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn enumerate_instance_version(version: *mut u32) -> vk::Result {
    // SAFETY: the program passes a place for the version.
    unsafe { put(version, API_VERSION) };
    vk::Result::SUCCESS
}

/// `vkEnumerateInstanceExtensionProperties`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn enumerate_instance_extension_properties(
    layer: *const c_char,
    count: *mut u32,
    properties: *mut vk::ExtensionProperties,
) -> vk::Result {
    // SAFETY: the program passes null or a string.
    if unsafe { text(layer) }.is_some() {
        return vk::Result::ERROR_LAYER_NOT_PRESENT;
    }
    let offered = extensions::INSTANCE_EXTENSIONS.iter();
    let offered: Vec<_> = offered.map(|(name, version)| extensions::properties(name, *version)).collect();
    // SAFETY: the program passes a count and an array of that length or null.
    unsafe { enumerate(&offered, count, properties) }
}

/// `vkEnumerateInstanceLayerProperties`: there are no layers.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn enumerate_instance_layer_properties(
    count: *mut u32,
    _properties: *mut vk::LayerProperties,
) -> vk::Result {
    // SAFETY: the program passes a place for the count.
    unsafe { put(count, 0) };
    vk::Result::SUCCESS
}
