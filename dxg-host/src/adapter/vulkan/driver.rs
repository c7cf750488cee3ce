//! The Vulkan library of the host, one instance, and the one physical device that a worker offers.
//!
//! *Why.* A worker loads its driver before it has a client, so that a client's first call finds it warm. Nothing here is
//! ever unloaded: drivers leave thread-local destructors behind, and the process ends with its one session.

use std::ffi::CStr;
use std::path::Path;

use ash::vk;
use uuid::Uuid;

use super::super::AdapterIdentity;
use super::super::AdapterKind;
use super::super::Heap;
use crate::failure::Fault;

/// The Vulkan loader of the system.
pub(crate) const LIBRARY: &str = "libvulkan.so.1";
/// The mathematical functions of the C library.
const MATH: &str = "libm.so.6";
/// Newest version of the core interface that is asked of a driver.
pub(crate) const API_VERSION: u32 = vk::API_VERSION_1_3;
/// `driverName` of this project's own driver, which must never be behind itself.
pub(crate) const OWN_DRIVER_NAME: &CStr = c"dxg";

/// A Vulkan library with an instance made from it. It stays loaded until the process ends.
pub(crate) struct Library {
    pub(crate) entry: ash::Entry,
    pub(crate) instance: ash::Instance,
    /// Version that the instance was made with.
    pub(crate) api_version: u32,
}

/// One physical device, with what is asked of it all the time.
pub(crate) struct Driver {
    pub(crate) library: Library,
    pub(crate) physical_device: vk::PhysicalDevice,
    pub(crate) identity: AdapterIdentity,
    /// Core version of the device as far as this host uses it.
    pub(crate) api_version: u32,
    pub(crate) memory: vk::PhysicalDeviceMemoryProperties,
    pub(crate) extensions: Vec<vk::ExtensionProperties>,
    pub(crate) queue_families: Vec<vk::QueueFamilyProperties>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Driver").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Makes the mathematical functions visible to every library of the process.
///
/// *Why.* Drivers that compile shaders for the CPU let the code call functions such as `powf` and look for them in the whole
/// process. The programs that they are made for have them; a function that is missing is a call of address 0.
fn share_math() {
    use libloading::os::unix::Library;
    use libloading::os::unix::RTLD_GLOBAL;
    use libloading::os::unix::RTLD_NOW;

    // SAFETY:
    // - loading runs the library's constructors: it is a part of the C library.
    match unsafe { Library::open(Some(MATH), RTLD_NOW | RTLD_GLOBAL) } {
        // It lives as long as the process.
        Ok(library) => std::mem::forget(library),
        Err(error) => tracing::debug!(%error, "no mathematical functions for drivers"),
    }
}

impl Library {
    /// Loads `path` and makes the instance.
    ///
    /// # Errors
    /// When there is no such library, it is no Vulkan library, or it makes no instance.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let fault = |error: &dyn std::fmt::Display| {
            Fault::new("open the Vulkan library", format!("{}: {error}", path.display()))
        };
        share_math();
        // SAFETY:
        // - loading runs the library's constructors: it is the system's Vulkan loader (or what a test names), in a
        //   process of its own that holds nothing but the adapter.
        let library = unsafe { libloading::Library::new(path) }.map_err(|error| fault(&error))?;
        // The library lives as long as the process.
        let library: &'static libloading::Library = Box::leak(Box::new(library));
        // SAFETY:
        // - the symbol of that name is a `PFN_vkGetInstanceProcAddr` in every Vulkan library.
        let get_instance_proc_addr =
            unsafe { library.get::<vk::PFN_vkGetInstanceProcAddr>(b"vkGetInstanceProcAddr\0") }
                .map_err(|error| fault(&error))?;
        let static_fn = ash::StaticFn { get_instance_proc_addr: *get_instance_proc_addr };
        // SAFETY:
        // - the function stays valid: the library is never unloaded.
        let entry = unsafe { ash::Entry::from_static_fn(static_fn) };

        // SAFETY:
        // - the call has no requirements; where the function is missing, it answers `None`.
        let version = unsafe { entry.try_enumerate_instance_version() }.map_err(|error| fault(&error))?;
        let api_version = version.unwrap_or(vk::API_VERSION_1_0).min(API_VERSION);
        let application = vk::ApplicationInfo::default()
            .application_name(c"dxgd worker")
            .engine_name(c"dxg")
            .api_version(api_version);
        // SAFETY:
        // - no layer is named; the call writes no further than the count it was given.
        let offered =
            unsafe { entry.enumerate_instance_extension_properties(None) }.map_err(|error| fault(&error))?;
        let wanted = [
            ash::khr::get_physical_device_properties2::NAME,
            ash::khr::external_memory_capabilities::NAME,
            ash::khr::portability_enumeration::NAME,
        ];
        let names: Vec<_> = wanted
            .into_iter()
            .filter(|name| offered.iter().any(|offer| offer.extension_name_as_c_str() == Ok(*name)))
            .map(CStr::as_ptr)
            .collect();
        let portability = names.contains(&ash::khr::portability_enumeration::NAME.as_ptr());
        let info = vk::InstanceCreateInfo::default()
            .flags(if portability {
                vk::InstanceCreateFlags::ENUMERATE_PORTABILITY_KHR
            } else {
                vk::InstanceCreateFlags::empty()
            })
            .application_info(&application)
            .enabled_extension_names(&names);
        // SAFETY:
        // - `info` and what it points to live until the call returns, and name only extensions that are offered.
        let instance = unsafe { entry.create_instance(&info, None) }.map_err(|error| fault(&error))?;
        Ok(Self { entry, instance, api_version })
    }

    /// The physical devices that may be offered: not our own, and with what submission needs.
    ///
    /// # Errors
    /// When the driver fails to enumerate.
    pub(crate) fn devices(&self) -> Result<Vec<(vk::PhysicalDevice, AdapterIdentity)>, Fault> {
        // SAFETY:
        // - the instance is alive: it is never destroyed.
        let devices = unsafe { self.instance.enumerate_physical_devices() }
            .map_err(|error| Fault::new("enumerate physical devices", error))?;
        Ok(devices.into_iter().filter_map(|device| Some((device, self.identity(device)?))).collect())
    }

    /// Who `device` is; `None` for a device that is not offered.
    fn identity(&self, device: vk::PhysicalDevice) -> Option<AdapterIdentity> {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut ids = vk::PhysicalDeviceIDProperties::default();
        // SAFETY:
        // - `device` came from this instance.
        let core = unsafe { self.instance.get_physical_device_properties(device) };
        let version = core.api_version.min(self.api_version);
        if version < vk::API_VERSION_1_1 {
            tracing::debug!(version, "device skipped: older than Vulkan 1.1");
            return None;
        }
        let extensions = self.extensions(device)?;
        let has = |name: &CStr| extensions.iter().any(|have| have.extension_name_as_c_str() == Ok(name));
        if version < vk::API_VERSION_1_2 && !has(ash::khr::timeline_semaphore::NAME) {
            tracing::debug!(version, "device skipped: no timeline semaphores");
            return None;
        }
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut ids);
        if version >= vk::API_VERSION_1_2 || has(ash::khr::driver_properties::NAME) {
            properties = properties.push_next(&mut driver);
        }
        // SAFETY:
        // - the device is of version 1.1 or newer, and each structure of the chain is of its version or extensions.
        unsafe { self.instance.get_physical_device_properties2(device, &mut properties) };
        if driver.driver_name_as_c_str() == Ok(OWN_DRIVER_NAME) {
            return None;
        }
        // SAFETY:
        // - `device` came from this instance.
        let memory = unsafe { self.instance.get_physical_device_memory_properties(device) };
        let text = |field: Result<&CStr, std::ffi::FromBytesUntilNulError>| {
            field.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
        };
        Some(AdapterIdentity {
            name: text(core.device_name_as_c_str()),
            vendor_id: core.vendor_id,
            device_id: core.device_id,
            subsystem_id: 0,
            revision: 0,
            driver_name: text(driver.driver_name_as_c_str()),
            driver_version: core.driver_version,
            driver_info: text(driver.driver_info_as_c_str()),
            kind: match core.device_type {
                vk::PhysicalDeviceType::DISCRETE_GPU => AdapterKind::Discrete,
                vk::PhysicalDeviceType::INTEGRATED_GPU => AdapterKind::Integrated,
                vk::PhysicalDeviceType::CPU => AdapterKind::Cpu,
                _ => AdapterKind::Virtual,
            },
            device_uuid: Uuid::from_bytes(ids.device_uuid),
            heaps: memory
                .memory_heaps_as_slice()
                .iter()
                .map(|heap| Heap {
                    size_bytes: heap.size,
                    device_local: heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL),
                })
                .collect(),
        })
    }

    fn extensions(&self, device: vk::PhysicalDevice) -> Option<Vec<vk::ExtensionProperties>> {
        // SAFETY:
        // - `device` came from this instance.
        unsafe { self.instance.enumerate_device_extension_properties(device) }
            .inspect_err(|error| tracing::warn!(%error, "device skipped: its extensions cannot be listed"))
            .ok()
    }
}

impl Driver {
    /// Loads the library at `path` and takes the device with this UUID, or the first one that may be offered.
    ///
    /// # Errors
    /// When the library fails or the device is not there.
    pub(crate) fn open(path: &Path, device_uuid: Option<Uuid>) -> Result<Self, Fault> {
        let library = Library::open(path)?;
        let (physical_device, identity) = library
            .devices()?
            .into_iter()
            .find(|(_, identity)| device_uuid.is_none_or(|uuid| uuid == identity.device_uuid))
            .ok_or_else(|| Fault::new("open the Vulkan adapter", "no such device"))?;
        let extensions = library
            .extensions(physical_device)
            .ok_or_else(|| Fault::new("open the Vulkan adapter", "the device lists no extensions"))?;
        // SAFETY:
        // - the device came from this instance.
        let memory = unsafe { library.instance.get_physical_device_memory_properties(physical_device) };
        // SAFETY:
        // - the device came from this instance.
        let properties = unsafe { library.instance.get_physical_device_properties(physical_device) };
        // SAFETY:
        // - the device came from this instance.
        let queue_families =
            unsafe { library.instance.get_physical_device_queue_family_properties(physical_device) };
        let api_version = properties.api_version.min(library.api_version);
        Ok(Self { library, physical_device, identity, api_version, memory, extensions, queue_families })
    }

    /// Whether the device offers the extension.
    pub(crate) fn has_extension(&self, name: &CStr) -> bool {
        self.extensions.iter().any(|have| have.extension_name_as_c_str() == Ok(name))
    }

    /// Whether the device has what came with core version `core` (0: none), or with one of `extensions`.
    pub(crate) fn offers(&self, core: u32, extensions: &[&CStr]) -> bool {
        (core != 0 && core <= self.api_version) || extensions.iter().any(|name| self.has_extension(name))
    }
}

#[cfg(test)]
mod tests {
    use libloading::os::unix::Library;

    use super::share_math;

    #[test]
    fn compiled_shaders_find_the_mathematical_functions_in_the_process() {
        share_math();
        let process = Library::this();
        for name in [c"powf", c"exp2f", c"sinf", c"fmodf"] {
            // SAFETY:
            // - the symbol is only looked for, and is a function in every C library.
            let found = unsafe { process.get::<unsafe extern "C" fn()>(name.to_bytes_with_nul()) };
            assert!(found.is_ok(), "{name:?}");
        }
    }
}
