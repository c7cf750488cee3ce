//! A Vulkan driver (ICD) whose GPU is a virtual GPU of a host daemon.

mod forward;
mod generated;
mod proc_address;
