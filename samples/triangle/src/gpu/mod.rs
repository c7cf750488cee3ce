//! The Vulkan half of the program: instance, surface and device.

// UNSAFETY: every Vulkan call is unsafe in `ash`; each block below makes one call.
#![expect(unsafe_code, reason = "Vulkan is called through ash, whose commands are unsafe functions")]

mod frames;
mod keep;
mod pipeline;
mod swapchain;

use std::ffi::CStr;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use ash::khr;
use ash::vk;
use winit::raw_window_handle::HasDisplayHandle as _;
use winit::raw_window_handle::HasWindowHandle as _;
use winit::window::Window;

pub(crate) use self::frames::Drawn;
pub(crate) use self::frames::Last;
pub(crate) use self::frames::Renderer;

/// What to do where no driver is found.
const NO_DRIVER: &str = "no Vulkan driver that can draw in a window; install your GPU's, or Mesa's for the CPU \
                         (Debian: mesa-vulkan-drivers); `vulkaninfo --summary` lists what the loader finds";

/// A device, and the window's surface.
pub(crate) struct Gpu {
    /// The loader's library: the function pointers below lead into it.
    _entry: ash::Entry,
    instance: ash::Instance,
    surfaces: khr::surface::Instance,
    surface: vk::SurfaceKHR,
    physical: vk::PhysicalDevice,
    device: ash::Device,
    swapchains: khr::swapchain::Device,
    family: u32,
    queue: vk::Queue,
    name: String,
}

impl Gpu {
    /// Opens the first device that can draw in `window`, which must outlive the result.
    pub(crate) fn new(window: &Window) -> Result<Self> {
        // SAFETY: the loader library is the system's and is called as its documentation says.
        let entry = unsafe { ash::Entry::load() }
            .context("no Vulkan loader (libvulkan.so.1) on this machine; Debian calls it libvulkan1")?;
        let display = window.display_handle().context("the window has no display")?.as_raw();
        let handle = window.window_handle().context("the window has no handle")?.as_raw();
        let instance = instance(&entry, ash_window::enumerate_required_extensions(display)?)?;
        let surfaces = khr::surface::Instance::new(&entry, &instance);
        // SAFETY: the window is alive, and the instance has the extension of its window system.
        let surface = unsafe { ash_window::create_surface(&entry, &instance, display, handle, None) };
        let surface = match surface {
            Ok(surface) => surface,
            Err(error) => {
                // SAFETY: the instance has no objects.
                unsafe { instance.destroy_instance(None) };
                return Err(error).context("cannot draw in this window");
            }
        };
        match Self::device(&instance, &surfaces, surface) {
            Ok((physical, family, name, device)) => {
                let swapchains = khr::swapchain::Device::new(&instance, &device);
                // SAFETY: the device was created with this queue.
                let queue = unsafe { device.get_device_queue(family, 0) };
                Ok(Self {
                    _entry: entry,
                    instance,
                    surfaces,
                    surface,
                    physical,
                    device,
                    swapchains,
                    family,
                    queue,
                    name,
                })
            }
            Err(error) => {
                // SAFETY: nothing was made of the surface.
                unsafe { surfaces.destroy_surface(surface, None) };
                // SAFETY: the instance has no objects any more.
                unsafe { instance.destroy_instance(None) };
                Err(error)
            }
        }
    }

    /// The device's name, as its driver tells it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Finds and opens a device that draws and presents with one queue.
    fn device(
        instance: &ash::Instance,
        surfaces: &khr::surface::Instance,
        surface: vk::SurfaceKHR,
    ) -> Result<(vk::PhysicalDevice, u32, String, ash::Device)> {
        let mut seen = Vec::new();
        // SAFETY: `instance` is alive.
        for physical in unsafe { instance.enumerate_physical_devices() }.context(NO_DRIVER)? {
            // SAFETY: `physical` is one of `instance`.
            let properties = unsafe { instance.get_physical_device_properties(physical) };
            let name = properties.device_name_as_c_str().unwrap_or(c"?").to_string_lossy().into_owned();
            match family(instance, surfaces, surface, physical)? {
                Ok(_) if properties.api_version < vk::API_VERSION_1_3 => {
                    seen.push(format!("{name}: older than Vulkan 1.3"));
                }
                Ok(family) => return Ok((physical, family, name, open(instance, physical, family)?)),
                Err(lack) => seen.push(format!("{name}: {lack}")),
            }
        }
        if seen.is_empty() {
            bail!("{NO_DRIVER}");
        }
        bail!("no device draws in this window: {}", seen.join("; "));
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: the renderer has destroyed what it made of the device.
        unsafe { self.device.destroy_device(None) };
        // SAFETY: the surface's swapchain went with the renderer.
        unsafe { self.surfaces.destroy_surface(self.surface, None) };
        // SAFETY: the instance has no objects any more.
        unsafe { self.instance.destroy_instance(None) };
    }
}

fn instance(entry: &ash::Entry, wanted: &[*const std::ffi::c_char]) -> Result<ash::Instance> {
    // SAFETY: no layer is named.
    let offered = unsafe { entry.enumerate_instance_extension_properties(None) }.context(NO_DRIVER)?;
    for name in wanted {
        // SAFETY: `ash-window` gives static strings.
        let name = unsafe { CStr::from_ptr(*name) };
        if !offered.iter().any(|offer| offer.extension_name_as_c_str() == Ok(name)) {
            bail!("{} is missing: {NO_DRIVER}", name.to_string_lossy());
        }
    }
    let application =
        vk::ApplicationInfo::default().application_name(c"triangle").api_version(vk::API_VERSION_1_3);
    let create =
        vk::InstanceCreateInfo::default().application_info(&application).enabled_extension_names(wanted);
    // SAFETY: `create` and what it points to live through the call.
    unsafe { entry.create_instance(&create, None) }.context(NO_DRIVER)
}

/// A queue family that draws and presents, or what the device lacks.
fn family(
    instance: &ash::Instance,
    surfaces: &khr::surface::Instance,
    surface: vk::SurfaceKHR,
    physical: vk::PhysicalDevice,
) -> Result<Result<u32, &'static str>> {
    // SAFETY: `physical` is one of `instance`.
    let extensions = unsafe { instance.enumerate_device_extension_properties(physical) }?;
    if !extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(khr::swapchain::NAME)) {
        return Ok(Err("it has no VK_KHR_swapchain"));
    }
    // SAFETY: `physical` is one of `instance`.
    let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
    for (index, family) in (0..).zip(&families) {
        // SAFETY: the surface is of `instance`, the family one of the device's.
        let presents = unsafe { surfaces.get_physical_device_surface_support(physical, index, surface) }?;
        if presents && family.queue_flags.contains(vk::QueueFlags::GRAPHICS) {
            return Ok(Ok(index));
        }
    }
    Ok(Err("no queue both draws and presents here"))
}

fn open(instance: &ash::Instance, physical: vk::PhysicalDevice, family: u32) -> Result<ash::Device> {
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
    let extensions = [khr::swapchain::NAME.as_ptr()];
    let mut features =
        vk::PhysicalDeviceVulkan13Features::default().dynamic_rendering(true).synchronization2(true);
    let create = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&extensions)
        .push_next(&mut features);
    // SAFETY: `create` and what it points to live through the call.
    unsafe { instance.create_device(physical, &create, None) }.context("vkCreateDevice")
}
