//! A Vulkan driver (ICD) whose GPU is a virtual GPU of a host daemon.
//!
//! The Vulkan loader loads this library and calls its three exported functions ([`ffi::loader`]). Each Vulkan instance
//! connects to every virtual GPU that it may use; each of those is one physical device. Commands are encoded by generated
//! code and travel in command streams ([`stream`]); memory, fences and command buffers live here, in memory that both
//! sides map, so that mapping, polling and recording need no answer from the host.
//!
//! *Unsafe.* Only in [`ffi`] and in `generated`: entry points turn the program's pointers into values and call the rest.

pub mod cells;
pub mod command_pool;
pub mod description;
pub mod descriptor_sets;
pub mod descriptors;
pub mod device;
pub mod events;
pub mod extensions;
pub mod external;
#[cfg(test)]
mod fake_host;
pub mod fence;
pub mod ffi;
mod generated;
pub mod heap;
pub mod identity;
pub mod ids;
pub mod link;
pub mod log;
pub mod memory;
mod parts;
pub mod physical;
pub mod private_data;
pub mod queue;
pub mod ranges;
pub mod replies;
pub mod requirements;
pub(crate) mod sessions;
pub mod sleepers;
pub mod stream;
pub mod subpasses;
pub mod wait;
pub mod wsi;

pub(crate) use ffi::forward;
pub(crate) use ffi::pipeline_scrub;
pub(crate) use ffi::proc_address;
