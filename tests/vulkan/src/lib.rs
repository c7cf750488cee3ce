//! Vulkan programs that check themselves, and what compares their runs.
//!
//! The program `vk-scenarios` runs unmodified natively and over the driver; the tests compare what it prints. The
//! scenarios are in [`scenarios`], the layer over Vulkan they are written on is private.

mod gpu;
mod shader;

pub mod bench;
pub mod comparison;
pub mod device_info;
pub mod scenarios;
pub mod stage;
