//! The Vulkan registry on the host's side.

pub(crate) mod dispatch;
mod extensions;
pub(crate) mod native;
pub(crate) mod structs;

pub(crate) use extensions::FORWARDED_EXTENSIONS;
