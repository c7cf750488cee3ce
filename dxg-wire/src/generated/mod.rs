//! Code that `cargo xtask gen` writes; see the first line of each file.

pub(crate) mod messages;
pub mod vulkan;
