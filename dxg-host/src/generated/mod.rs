//! Code that `cargo xtask gen` writes.

pub(crate) mod vulkan;
