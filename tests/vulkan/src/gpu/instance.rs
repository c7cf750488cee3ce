//! The loader and an instance.

use std::ffi::CStr;
use std::ffi::CString;

use anyhow::Context as _;
use anyhow::Result;
use ash::prelude::VkResult;
use ash::vk;

/// An instance; destroyed when dropped.
pub(crate) struct Instance {
    pub(super) entry: ash::Entry,
    pub(super) raw: ash::Instance,
    /// Whether `VK_EXT_debug_utils` is enabled.
    pub(crate) has_debug_utils: bool,
    /// Whether there are surfaces that nobody sees.
    pub(crate) has_headless: bool,
    /// Whether there are surfaces of X servers.
    pub(crate) has_xcb: bool,
}

impl Instance {
    /// Makes an instance of Vulkan 1.3 with debug names where the loader offers them.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: the loader library is the system's; loading it runs its constructors only.
        let entry = unsafe { ash::Entry::load() }.context("no Vulkan loader (libvulkan.so.1) here")?;
        // SAFETY: no layer is named.
        let offered = unsafe { entry.enumerate_instance_extension_properties(None) }?;
        let debug = ash::ext::debug_utils::NAME;
        let has_debug_utils =
            offered.iter().any(|extension| extension.extension_name_as_c_str() == Ok(debug));
        let has = |name: &CStr| offered.iter().any(|one| one.extension_name_as_c_str() == Ok(name));
        let wanted =
            [debug, ash::khr::surface::NAME, ash::khr::xcb_surface::NAME, ash::ext::headless_surface::NAME];
        let extensions: Vec<_> = wanted.into_iter().filter(|name| has(name)).map(CStr::as_ptr).collect();
        let has_headless = has(ash::ext::headless_surface::NAME);
        let has_xcb = has(ash::khr::xcb_surface::NAME);
        let application =
            vk::ApplicationInfo::default().application_name(c"vk-scenarios").api_version(vk::API_VERSION_1_3);
        let create = vk::InstanceCreateInfo::default()
            .application_info(&application)
            .enabled_extension_names(&extensions);
        // SAFETY: `create` and what it points to live through the call.
        let raw = unsafe { entry.create_instance(&create, None) }.context("vkCreateInstance")?;
        Ok(Self { entry, raw, has_debug_utils, has_headless, has_xcb })
    }

    /// The physical devices, in the loader's order.
    pub(crate) fn physical_devices(&self) -> VkResult<Vec<vk::PhysicalDevice>> {
        // SAFETY: the instance is alive.
        unsafe { self.raw.enumerate_physical_devices() }
    }

    /// The physical device groups.
    pub(crate) fn groups(&self) -> VkResult<Vec<vk::PhysicalDeviceGroupProperties<'static>>> {
        // SAFETY: the instance is alive.
        let count = unsafe { self.raw.enumerate_physical_device_groups_len() }?;
        let mut groups = vec![vk::PhysicalDeviceGroupProperties::default(); count];
        // SAFETY: `groups` has as many elements as the instance said.
        unsafe { self.raw.enumerate_physical_device_groups(&mut groups) }?;
        Ok(groups)
    }

    /// `vkEnumeratePhysicalDevices` with room for `room` devices: its result and how many it wrote.
    pub(crate) fn physical_devices_within(&self, room: u32) -> (vk::Result, u32) {
        let mut count = room;
        let mut out = vec![vk::PhysicalDevice::null(); room as usize];
        let call = self.raw.fp_v1_0().enumerate_physical_devices;
        // SAFETY: `out` has room for `count` handles.
        let result = unsafe { call(self.raw.handle(), &mut count, out.as_mut_ptr()) };
        (result, count)
    }

    /// The address of an instance function, if it has one.
    pub(crate) fn instance_function(&self, name: &CStr) -> Option<usize> {
        // SAFETY: the instance is alive and the name ends with NUL.
        let found = unsafe { self.entry.get_instance_proc_addr(self.raw.handle(), name.as_ptr()) };
        found.map(|function| function as usize)
    }

    /// The address of a function that needs no instance, if it has one.
    pub(crate) fn global_function(&self, name: &CStr) -> Option<usize> {
        // SAFETY: the null instance asks for global functions; the name ends with NUL.
        let found = unsafe { self.entry.get_instance_proc_addr(vk::Instance::null(), name.as_ptr()) };
        found.map(|function| function as usize)
    }

    /// Gives an object a debug name, if the extension is enabled.
    pub(crate) fn name_object(
        &self,
        device: &ash::Device,
        handle: impl vk::Handle,
        name: &str,
    ) -> Result<()> {
        if !self.has_debug_utils {
            return Ok(());
        }
        let name = CString::new(name)?;
        let utils = ash::ext::debug_utils::Device::new(&self.raw, device);
        let info = vk::DebugUtilsObjectNameInfoEXT::default().object_handle(handle).object_name(&name);
        // SAFETY: the object is alive, as its maker still holds it.
        unsafe { utils.set_debug_utils_object_name(&info) }?;
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: devices hold the instance in an `Arc`, so none is left.
        unsafe { self.raw.destroy_instance(None) };
    }
}
