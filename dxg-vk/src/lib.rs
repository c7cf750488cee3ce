//! A Vulkan driver (ICD) whose GPU is a virtual GPU of a host daemon.

mod ffi;
mod generated;

pub(crate) use ffi::forward;
pub(crate) use ffi::proc_address;
