//! What crosses from guest to host: VMBus rings, dxgvmbus messages, API command streams and the shared memory
//! primitives below them.
//!
//! The session protocol around the rings is in [`session`], the messages of the control plane are in [`messages`].

mod generated;
pub mod messages;
pub mod session;
pub mod vulkan;
