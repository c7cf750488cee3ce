//! The images that the window shows in turn.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use ash::vk;

use super::Gpu;
use crate::Pace;

/// The swapchain and what belongs to each of its images.
pub(super) struct Swapchain {
    pub(super) handle: vk::SwapchainKHR,
    pub(super) extent: vk::Extent2D,
    pub(super) images: Vec<Image>,
}

/// One image of the swapchain.
pub(super) struct Image {
    pub(super) image: vk::Image,
    pub(super) view: vk::ImageView,
    /// Signalled when the image is drawn. One for each image: only acquiring it again says that the last present is
    /// done with its semaphore.
    pub(super) drawn: vk::Semaphore,
}

/// What stays the same over all swapchains of a window.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) format: vk::SurfaceFormatKHR,
    pub(super) mode: vk::PresentModeKHR,
    pub(super) usage: vk::ImageUsageFlags,
}

impl Plan {
    /// Chooses for `gpu`; with `usage`, what the images are for besides being drawn to.
    pub(super) fn new(gpu: &Gpu, pace: Pace, usage: vk::ImageUsageFlags) -> Result<Self> {
        // SAFETY: the surface is of the device's instance.
        let formats = unsafe { gpu.surfaces.get_physical_device_surface_formats(gpu.physical, gpu.surface) }
            .context("vkGetPhysicalDeviceSurfaceFormatsKHR")?;
        let plain = [vk::Format::B8G8R8A8_UNORM, vk::Format::R8G8B8A8_UNORM];
        let Some(format) = formats.iter().find(|f| plain.contains(&f.format)).or(formats.first()) else {
            bail!("the window takes no format");
        };
        let mode = match pace {
            Pace::Fifo => vk::PresentModeKHR::FIFO,
            Pace::Mailbox => vk::PresentModeKHR::MAILBOX,
            Pace::Immediate => vk::PresentModeKHR::IMMEDIATE,
        };
        // SAFETY: as above.
        let modes =
            unsafe { gpu.surfaces.get_physical_device_surface_present_modes(gpu.physical, gpu.surface) }
                .context("vkGetPhysicalDeviceSurfacePresentModesKHR")?;
        if !modes.contains(&mode) {
            bail!("this window has no present mode {mode:?}, but {modes:?}");
        }
        Ok(Self { format: *format, mode, usage: usage | vk::ImageUsageFlags::COLOR_ATTACHMENT })
    }
}

impl Swapchain {
    /// Makes a swapchain for a window of this size in pixels; `None` while the window has no area.
    ///
    /// `old` is what it replaces. It can be used no longer, and is the caller's to destroy.
    pub(super) fn new(gpu: &Gpu, plan: &Plan, size: [u32; 2], old: Option<&Self>) -> Result<Option<Self>> {
        // SAFETY: the surface is of the device's instance.
        let can = unsafe { gpu.surfaces.get_physical_device_surface_capabilities(gpu.physical, gpu.surface) }
            .context("vkGetPhysicalDeviceSurfaceCapabilitiesKHR")?;
        if !can.supported_usage_flags.contains(plan.usage) {
            bail!("the window's images cannot be {:?}, only {:?}", plan.usage, can.supported_usage_flags);
        }
        let extent = extent(&can, size);
        if extent.width == 0 || extent.height == 0 {
            return Ok(None);
        }
        // One more than the window system keeps, so that there is one to draw to.
        let most = if can.max_image_count == 0 { u32::MAX } else { can.max_image_count };
        let alpha = [
            vk::CompositeAlphaFlagsKHR::OPAQUE,
            vk::CompositeAlphaFlagsKHR::INHERIT,
            vk::CompositeAlphaFlagsKHR::PRE_MULTIPLIED,
        ]
        .into_iter()
        .find(|alpha| can.supported_composite_alpha.contains(*alpha))
        .context("the window blends in no way that we know")?;
        let create = vk::SwapchainCreateInfoKHR::default()
            .surface(gpu.surface)
            .min_image_count((can.min_image_count + 1).min(most))
            .image_format(plan.format.format)
            .image_color_space(plan.format.color_space)
            .image_extent(extent)
            .image_array_layers(1)
            .image_usage(plan.usage)
            .image_sharing_mode(vk::SharingMode::EXCLUSIVE)
            .pre_transform(can.current_transform)
            .composite_alpha(alpha)
            .present_mode(plan.mode)
            .clipped(true)
            .old_swapchain(old.map_or(vk::SwapchainKHR::null(), |old| old.handle));
        // SAFETY: the surface supports what `create` asks for.
        let handle =
            unsafe { gpu.swapchains.create_swapchain(&create, None) }.context("vkCreateSwapchainKHR")?;
        // SAFETY: `handle` is new.
        let images = unsafe { gpu.swapchains.get_swapchain_images(handle) }?;
        let images = images.into_iter().map(|image| Image::new(gpu, plan, image)).collect::<Result<_>>()?;
        Ok(Some(Self { handle, extent, images }))
    }

    /// Destroys it; the device is idle.
    pub(super) fn destroy(&self, gpu: &Gpu) {
        for image in &self.images {
            // SAFETY: the device is idle.
            unsafe { gpu.device.destroy_image_view(image.view, None) };
            // SAFETY: as above.
            unsafe { gpu.device.destroy_semaphore(image.drawn, None) };
        }
        // SAFETY: as above.
        unsafe { gpu.swapchains.destroy_swapchain(self.handle, None) };
    }
}

impl Image {
    fn new(gpu: &Gpu, plan: &Plan, image: vk::Image) -> Result<Self> {
        let range = vk::ImageSubresourceRange::default()
            .aspect_mask(vk::ImageAspectFlags::COLOR)
            .level_count(1)
            .layer_count(1);
        let create = vk::ImageViewCreateInfo::default()
            .image(image)
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(plan.format.format)
            .subresource_range(range);
        // SAFETY: the image is the swapchain's, of this format.
        let view = unsafe { gpu.device.create_image_view(&create, None) }?;
        // SAFETY: no extension structures are needed.
        let drawn = unsafe { gpu.device.create_semaphore(&vk::SemaphoreCreateInfo::default(), None) }?;
        Ok(Self { image, view, drawn })
    }
}

/// The swapchain's size: the surface's own where it has one, else the window's, within the limits.
fn extent(can: &vk::SurfaceCapabilitiesKHR, [width, height]: [u32; 2]) -> vk::Extent2D {
    if width == 0 || height == 0 {
        return vk::Extent2D::default();
    }
    // This value says that the surface takes the size of what is shown in it, as on Wayland.
    if can.current_extent.width != u32::MAX {
        return can.current_extent;
    }
    let (min, max) = (can.min_image_extent, can.max_image_extent);
    vk::Extent2D {
        width: width.max(min.width).min(max.width),
        height: height.max(min.height).min(max.height),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(current: u32) -> vk::SurfaceCapabilitiesKHR {
        vk::SurfaceCapabilitiesKHR {
            current_extent: vk::Extent2D { width: current, height: current },
            min_image_extent: vk::Extent2D { width: 1, height: 1 },
            max_image_extent: vk::Extent2D { width: 300, height: 300 },
            ..Default::default()
        }
    }

    #[test]
    fn extent_is_the_surfaces_where_it_has_one() {
        assert_eq!(extent(&capabilities(70), [64, 48]), vk::Extent2D { width: 70, height: 70 });
    }

    #[test]
    fn extent_is_the_windows_within_the_limits_where_the_surface_has_none() {
        assert_eq!(extent(&capabilities(u32::MAX), [64, 4800]), vk::Extent2D { width: 64, height: 300 });
    }

    #[test]
    fn extent_of_a_minimised_window_is_nothing() {
        assert_eq!(extent(&capabilities(u32::MAX), [0, 48]), vk::Extent2D::default());
        assert_eq!(extent(&capabilities(0), [64, 48]), vk::Extent2D::default());
    }
}
