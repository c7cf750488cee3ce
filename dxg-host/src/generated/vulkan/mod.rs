//! The Vulkan registry on the host's side.

pub(crate) mod dispatch;
pub(crate) mod native;
pub(crate) mod structs;
