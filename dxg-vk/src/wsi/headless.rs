//! A surface that nobody looks at.

use ash::vk;

use super::Capabilities;
use super::Picture;
use super::PictureFormat;
use super::Presenter;
use super::Shown;
use super::Window;

/// The surface.
#[derive(Debug)]
pub struct Headless;

impl Window for Headless {
    fn capabilities(&self) -> Result<Capabilities, vk::Result> {
        let composite_alpha = vk::CompositeAlphaFlagsKHR::OPAQUE | vk::CompositeAlphaFlagsKHR::INHERIT;
        Ok(Capabilities { extent: None, composite_alpha, min_images: 1 })
    }

    fn formats(&self) -> Result<Vec<vk::Format>, vk::Result> {
        Ok(vec![vk::Format::B8G8R8A8_SRGB, vk::Format::B8G8R8A8_UNORM])
    }

    fn present_modes(&self) -> &'static [vk::PresentModeKHR] {
        &[vk::PresentModeKHR::MAILBOX, vk::PresentModeKHR::FIFO]
    }

    fn wants_pictures(&self) -> bool {
        false
    }

    fn presenter(&self, _: PictureFormat, _: Vec<Picture>) -> Result<Box<dyn Presenter>, vk::Result> {
        Ok(Box::new(Nobody { shown: Vec::new() }))
    }
}

struct Nobody {
    shown: Vec<usize>,
}

impl Presenter for Nobody {
    fn show(&mut self, image: usize, _damage: &[vk::RectLayerKHR]) -> Shown {
        self.shown.push(image);
        Shown::Optimal
    }

    fn released(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.shown)
    }
}
