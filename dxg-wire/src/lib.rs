//! What crosses from guest to host: VMBus rings, dxgvmbus messages, API command streams and the shared memory
//! primitives below them.
//!
//! The session protocol around the rings is in [`session`], shared memory and descriptor passing in [`shm`]. [`vmbus`]
//! carries dxgvmbus [`messages`], [`stream`] carries API commands in the encoding of [`codec`], and [`cell`] tells both
//! sides how far the device is. [`control`] is what the daemon says about itself.

pub mod cell;
pub mod code;
pub mod codec;
pub mod control;
pub mod cuda;
pub mod doorbell;
pub mod generated;
pub mod messages;
pub mod quick_map;
pub mod runtime_dir;
pub mod session;
pub mod shared_object;
pub mod shm;
pub mod spin;
pub mod stream;
pub mod transfer;
pub mod vmbus;
pub mod vulkan;
