//! Vulkan programs that check themselves, and what compares their runs.
//!
//! The program `vk-scenarios` runs unmodified natively and over the driver; the tests compare what it prints. The
//! scenarios are in [`scenarios`], the layer over Vulkan they are written on is private.
//!
//! *Valid usage.* `VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation vk-scenarios run all` prints what the validation layer
//! has to say; the test `validation` compares it with what it says natively. With version 1.3.239 that is: `allocation_larger_than_the_heap` asks for more than there is, which is
//! its point; and the layer itself times out in the timeline scenarios whose values pass the one waited for, where it
//! says that this is most likely a mistake of its own.

mod gpu;
mod shader;

pub mod bench;
pub mod comparison;
pub mod device_info;
pub mod life;
pub mod scenarios;
pub mod sharing;
pub mod stage;
pub mod validation;
