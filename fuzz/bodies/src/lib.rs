//! What the fuzz targets do with their bytes, one function for each.
//!
//! *Why apart.* The targets of `cargo fuzz` need a nightly compiler; these functions do not. The tests of this crate run
//! the kept inputs, and mutations of them, through the same functions with the compiler of the workspace.
//!
//! A function that returns has found nothing. What must never happen is a panic in it: a failed assertion here, or a
//! panic of the code under test.

mod command_ring;
mod control;
mod cuda_commands;
mod cuda_stream;
mod cuda_texts;
mod driver;
mod dxg_session;
mod handshake;
mod input;
mod lying;
mod messages;
mod ptx;
mod shared_object;
mod surroundings;
mod vmbus_ring;
mod vulkan_stream;

pub use command_ring::command_ring;
pub use control::control;
pub use cuda_stream::cuda_stream;
pub use dxg_session::dxg_session;
pub use handshake::handshake;
pub use messages::messages;
pub use ptx::ptx;
pub use shared_object::shared_object;
pub use vmbus_ring::vmbus_ring;
pub use vulkan_stream::vulkan_stream;

/// One target: its name, which is that of its corpus too, and its function.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Takes the bytes of one run.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "command_ring", run: command_ring },
    Target { name: "control", run: control },
    Target { name: "cuda_stream", run: cuda_stream },
    Target { name: "dxg_session", run: dxg_session },
    Target { name: "handshake", run: handshake },
    Target { name: "messages", run: messages },
    Target { name: "ptx", run: ptx },
    Target { name: "shared_object", run: shared_object },
    Target { name: "vmbus_ring", run: vmbus_ring },
    Target { name: "vulkan_stream", run: vulkan_stream },
];
