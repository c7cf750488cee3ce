//! What crosses from guest to host: VMBus rings, dxgvmbus messages, API command streams and the shared memory
//! primitives below them.
//!
//! The session protocol around the rings is in [`session`].

pub mod session;
pub mod vulkan;
