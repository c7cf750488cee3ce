//! Windows of an X server, surfaces, and swapchains.

use std::sync::Arc;

use anyhow::Context as _;
use anyhow::Result;
use ash::prelude::VkResult;
use ash::vk;
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto;
use x11rb::protocol::xproto::ConnectionExt as _;
use x11rb::xcb_ffi::XCBConnection;

use super::Gpu;
use super::Instance;

/// A window of its own connection.
pub(crate) struct Window {
    connection: XCBConnection,
    window: xproto::Window,
}

impl Window {
    /// A window that is shown, if there is an X server.
    pub(crate) fn open(width: u16, height: u16) -> Option<Self> {
        let (connection, screen) = XCBConnection::connect(None).ok()?;
        let root = connection.setup().roots.get(screen)?.clone();
        let window = connection.generate_id().ok()?;
        let kind = xproto::WindowClass::INPUT_OUTPUT;
        let aux = xproto::CreateWindowAux::new().override_redirect(1);
        let depth = root.root_depth;
        let created = connection.create_window(
            depth,
            window,
            root.root,
            0,
            0,
            width,
            height,
            0,
            kind,
            root.root_visual,
            &aux,
        );
        created.ok()?.check().ok()?;
        connection.map_window(window).ok()?.check().ok()?;
        Some(Self { connection, window })
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<()> {
        let change = xproto::ConfigureWindowAux::new().width(width).height(height);
        Ok(self.connection.configure_window(self.window, &change)?.check()?)
    }

    /// Ends the window under its surface.
    pub(crate) fn destroy(&self) -> Result<()> {
        Ok(self.connection.destroy_window(self.window)?.check()?)
    }

    /// What is to be seen, without the byte that no display shows.
    pub(crate) fn pixels(&self) -> Result<Vec<u32>> {
        let geometry = self.connection.get_geometry(self.window)?.reply()?;
        let (width, height) = (geometry.width, geometry.height);
        let format = xproto::ImageFormat::Z_PIXMAP;
        let image = self.connection.get_image(format, self.window, 0, 0, width, height, u32::MAX)?.reply()?;
        let words = image.data.chunks_exact(4).map(|word| word.try_into().map(u32::from_le_bytes));
        Ok(words.map(|word| word.map(|word| word & 0x00ff_ffff)).collect::<Result<_, _>>()?)
    }
}

/// A surface; destroyed when dropped.
pub(crate) struct Surface {
    instance: Arc<Instance>,
    calls: ash::khr::surface::Instance,
    pub(crate) raw: vk::SurfaceKHR,
}

impl Surface {
    fn of(instance: &Arc<Instance>, raw: vk::SurfaceKHR) -> Self {
        let calls = ash::khr::surface::Instance::new(&instance.entry, &instance.raw);
        Self { instance: Arc::clone(instance), calls, raw }
    }

    /// The surface of a window.
    pub(crate) fn of_window(instance: &Arc<Instance>, window: &Window) -> Result<Self> {
        let calls = ash::khr::xcb_surface::Instance::new(&instance.entry, &instance.raw);
        let info = vk::XcbSurfaceCreateInfoKHR::default()
            .connection(window.connection.get_raw_xcb_connection())
            .window(window.window);
        // SAFETY: the connection stays open while the surface lives.
        let raw = unsafe { calls.create_xcb_surface(&info, None) }.context("vkCreateXcbSurfaceKHR")?;
        Ok(Self::of(instance, raw))
    }

    /// A surface that nobody sees.
    pub(crate) fn headless(instance: &Arc<Instance>) -> Result<Self> {
        let calls = ash::ext::headless_surface::Instance::new(&instance.entry, &instance.raw);
        let info = vk::HeadlessSurfaceCreateInfoEXT::default();
        // SAFETY: the structure is complete.
        let raw =
            unsafe { calls.create_headless_surface(&info, None) }.context("vkCreateHeadlessSurfaceEXT")?;
        Ok(Self::of(instance, raw))
    }

    /// What it is right now.
    pub(crate) fn capabilities(&self, gpu: &Gpu) -> VkResult<vk::SurfaceCapabilitiesKHR> {
        // SAFETY: a device of the surface's instance.
        unsafe { self.calls.get_physical_device_surface_capabilities(gpu.physical.raw, self.raw) }
    }

    /// Its formats.
    pub(crate) fn formats(&self, gpu: &Gpu) -> VkResult<Vec<vk::SurfaceFormatKHR>> {
        // SAFETY: as above.
        unsafe { self.calls.get_physical_device_surface_formats(gpu.physical.raw, self.raw) }
    }

    /// The ways to present.
    pub(crate) fn modes(&self, gpu: &Gpu) -> VkResult<Vec<vk::PresentModeKHR>> {
        // SAFETY: as above.
        unsafe { self.calls.get_physical_device_surface_present_modes(gpu.physical.raw, self.raw) }
    }

    /// Whether a queue family presents to it.
    pub(crate) fn is_supported(&self, gpu: &Gpu) -> VkResult<bool> {
        // SAFETY: as above.
        unsafe { self.calls.get_physical_device_surface_support(gpu.physical.raw, gpu.family, self.raw) }
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        let _ = &self.instance;
        // SAFETY: its swapchains are gone before it.
        unsafe { self.calls.destroy_surface(self.raw, None) };
    }
}

/// A swapchain with its images; destroyed when dropped.
pub(crate) struct Chain<'a> {
    gpu: &'a Gpu,
    calls: &'a ash::khr::swapchain::Device,
    pub(crate) raw: vk::SwapchainKHR,
    pub(crate) images: Vec<vk::Image>,
}

impl<'a> Chain<'a> {
    /// A swapchain as `info` says.
    pub(crate) fn new(gpu: &'a Gpu, info: &vk::SwapchainCreateInfoKHR<'_>) -> Result<Self> {
        let calls = gpu.swapchain.as_ref().context("no VK_KHR_swapchain")?;
        // SAFETY: the surface and the old swapchain are alive.
        let raw = unsafe { calls.create_swapchain(info, None) }.context("vkCreateSwapchainKHR")?;
        // SAFETY: a live swapchain.
        let images = unsafe { calls.get_swapchain_images(raw) };
        let mut made = Self { gpu, calls, raw, images: Vec::new() };
        made.images = images?;
        Ok(made)
    }

    /// `vkAcquireNextImageKHR`.
    pub(crate) fn acquire(
        &self,
        timeout_ns: u64,
        semaphore: vk::Semaphore,
        fence: vk::Fence,
    ) -> VkResult<(u32, bool)> {
        // SAFETY: the semaphore and the fence are unsignalled.
        unsafe { self.calls.acquire_next_image(self.raw, timeout_ns, semaphore, fence) }
    }

    /// `vkQueuePresentKHR`, with an id where the device has such.
    pub(crate) fn present(&self, image: u32, waits: &[vk::Semaphore], id: u64) -> VkResult<bool> {
        let (chains, images, ids) = ([self.raw], [image], [id]);
        let mut with_id = vk::PresentIdKHR::default().present_ids(&ids);
        let mut info =
            vk::PresentInfoKHR::default().wait_semaphores(waits).swapchains(&chains).image_indices(&images);
        if self.gpu.present_wait.is_some() {
            info = info.push_next(&mut with_id);
        }
        // SAFETY: an acquired image, in the layout for it.
        unsafe { self.calls.queue_present(self.gpu.queue, &info) }
    }

    /// `vkWaitForPresentKHR`, where the device has it.
    pub(crate) fn wait_for(&self, id: u64, timeout_ns: u64) -> Option<VkResult<()>> {
        let calls = self.gpu.present_wait.as_ref()?;
        // SAFETY: a live swapchain.
        Some(unsafe { calls.wait_for_present(self.raw, id, timeout_ns) })
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        // SAFETY: the device is idle.
        unsafe { self.calls.destroy_swapchain(self.raw, None) };
    }
}
