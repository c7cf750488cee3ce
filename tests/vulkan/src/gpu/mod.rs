//! A thin layer over `ash` that lets scenarios be short: a device that owns what is made on it, buffers that are
//! mapped, kernels, and every other call under its own name.
//!
//! *Why the functions are not marked unsafe.* Each Vulkan call has preconditions that nobody checks. The scenarios are
//! programs written to keep them, and the Khronos validation layer has watched every scenario keep them; a driver is
//! tested with valid programs only. What Rust itself needs (lifetimes of the device, ranges of a mapping) is checked
//! here.
//!
//! *Invariants.* A `Gpu` destroys what was given to [`Gpu::keep`], newest first, after the device is idle. A buffer of
//! this layer is mapped for as long as it lives.

// UNSAFETY: every call of Vulkan is unsafe in `ash`, and mapped memory is reached through pointers.
#![expect(unsafe_code, reason = "Vulkan is called through ash, whose commands are unsafe functions")]

mod calls;
mod commands;
mod device;
mod host_memory;
mod image;
mod instance;
mod kernel;
mod memory;
mod physical;
mod raster;
mod sharing;
mod window;

pub(crate) use self::calls::Object;
pub(crate) use self::commands::Commands;
pub(crate) use self::device::Gpu;
pub(crate) use self::device::HANG;
pub(crate) use self::device::Wanted;
pub(crate) use self::host_memory::HOST_ALLOCATION;
pub(crate) use self::host_memory::HostRange;
pub(crate) use self::image::Image;
pub(crate) use self::image::ImageInfo;
pub(crate) use self::image::WHOLE;
pub(crate) use self::image::extent;
pub(crate) use self::image::layers;
pub(crate) use self::instance::Instance;
pub(crate) use self::kernel::Binding;
pub(crate) use self::kernel::Kernel;
pub(crate) use self::kernel::KernelInfo;
pub(crate) use self::kernel::Resource;
pub(crate) use self::memory::Buffer;
pub(crate) use self::memory::BufferInfo;
pub(crate) use self::physical::Physical;
pub(crate) use self::raster::Raster;
pub(crate) use self::raster::RasterInfo;
pub(crate) use self::raster::Target;
pub(crate) use self::raster::viewport;
pub(crate) use self::sharing::MEMORY_FD;
pub(crate) use self::sharing::inherited;
pub(crate) use self::window::Chain;
pub(crate) use self::window::Surface;
pub(crate) use self::window::Window;
