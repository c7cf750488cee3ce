//! Window systems: surfaces and swapchains, which live in the guest alone.
//!
//! *Why.* The host knows no windows of the guest. Presentable images lie in memory that this process keeps a descriptor of, so
//! that an X server or a Wayland compositor reads what the host's driver wrote without a copy in between.
//!
//! Two halves: a [`Window`] says what a surface can do and makes a [`Presenter`]; a [`Chain`](chain::Chain) decides which image is whose and
//! has a thread that waits for the device and presents. Neither knows Vulkan handles: those are in `ffi::wsi`.

pub mod chain;
pub mod headless;
pub mod pixels;

use std::fmt;
use std::os::fd::OwnedFd;

use ash::vk;

/// What a surface is right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The size of the window; `None` when the swapchain decides it.
    pub extent: Option<vk::Extent2D>,
    /// How alpha can be treated.
    pub composite_alpha: vk::CompositeAlphaFlagsKHR,
    /// Fewest images with which presenting and drawing overlap.
    pub min_images: u32,
}

/// A window of some window system.
pub trait Window: fmt::Debug + Send + Sync {
    /// What it is right now.
    ///
    /// # Errors
    /// `ERROR_SURFACE_LOST_KHR` when there is no such window any more.
    fn capabilities(&self) -> Result<Capabilities, vk::Result>;

    /// The formats it shows, the preferred one first.
    ///
    /// # Errors
    /// As [`Self::capabilities`].
    fn formats(&self) -> Result<Vec<vk::Format>, vk::Result>;

    /// The ways to present it has.
    fn present_modes(&self) -> &'static [vk::PresentModeKHR];

    /// Whether what is presented is read by somebody else: then images lie in memory of their own that can be shared.
    fn wants_pictures(&self) -> bool;

    /// Makes what shows pictures in the window; one at a time is alive.
    ///
    /// # Errors
    /// As [`Self::capabilities`], or what is missing.
    fn presenter(
        &self,
        format: PictureFormat,
        pictures: Vec<Picture>,
    ) -> Result<Box<dyn Presenter>, vk::Result>;
}

/// What all pictures of a swapchain are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureFormat {
    /// The format of the images.
    pub format: vk::Format,
    /// Their size.
    pub extent: vk::Extent2D,
    /// How alpha is treated.
    pub composite_alpha: vk::CompositeAlphaFlagsKHR,
    /// How they follow each other.
    pub mode: vk::PresentModeKHR,
}

/// The bytes of one presentable image.
#[derive(Debug)]
pub struct Picture {
    /// Memory of its own that it lies in.
    pub memory: OwnedFd,
    /// Bytes of that memory.
    pub memory_bytes: u64,
    /// The first byte of the picture.
    pub offset_bytes: u64,
    /// Bytes from row to row.
    pub row_bytes: u32,
    /// The mapping of the same memory in this process, for window systems that cannot map it.
    pub mapping: dxg_wire::shm::SharedSlice,
}

/// How presenting went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// As it should.
    Optimal,
    /// Seen, but the window has become another one: a new swapchain would fit better.
    Suboptimal,
    /// Not seen: this swapchain does not fit the window any more.
    OutOfDate,
    /// There is no such window any more.
    SurfaceLost,
}

/// Shows pictures in a window. Used by one thread at a time.
pub trait Presenter: Send {
    /// Shows picture number `image`, of which `damage` changed since it was shown last; all of it when there are none.
    /// Answers when the window system has the request; the picture may still be read until [`Self::released`] names it.
    fn show(&mut self, image: usize, damage: &[vk::RectLayerKHR]) -> Shown;

    /// Pictures that nobody reads any more since the last call, without waiting for them.
    fn released(&mut self) -> Vec<usize>;

    /// Waits a few milliseconds, at most, for a picture to be released.
    fn wait_released(&mut self) {}
}
