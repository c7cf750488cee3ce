//! Code that `cargo xtask gen` writes.

pub mod vulkan;
