//! The host's Vulkan driver as an adapter.

pub(crate) mod context;
pub(crate) mod objects;
pub(crate) mod reader;
pub(crate) mod table;
