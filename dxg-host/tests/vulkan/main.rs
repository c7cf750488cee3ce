//! The Vulkan adapter from outside: streams over the drivers of this machine, and over one that fails on demand.

mod fake;
mod guest;
mod native;
mod requests;
