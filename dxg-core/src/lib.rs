//! Safe objects over a node of the dxg interface.
//!
//! A **node** answers requests of the kernel ABI. There are two kinds: the kernel's device file, and a virtual GPU of the
//! daemon, for which this crate does in user space what the driver does in the kernel. Programs see no difference.
//!
//! Where to look:
//!
//! - [`enumerate`] lists the nodes that this process may open; [`Candidate::open`] opens one. [`Node`] is an open node.
//! - [`Adapter`], [`Device`], [`Context`], [`HwQueue`], [`PagingQueue`], [`Allocation`], [`Resource`] and [`Fence`] are its
//!   objects. Each keeps what it was made from alive, and is freed when the last handle to it is dropped.
//! - [`Streams`] opens API command streams and leases memory. Only virtual GPUs have it.
//! - [`Error`] says what failed; [`Error::kind`] is its class.
//!
//! # Example
//!
//! ```no_run
//! use dxg_core::FenceValue;
//!
//! for candidate in dxg_core::enumerate() {
//!     let node = candidate.open()?;
//!     let adapter = node.first_adapter()?;
//!     let device = adapter.create_device()?;
//!     let fence = device.create_fence(FenceValue(0))?;
//!     fence.signal(FenceValue(1))?;
//!     fence.wait(FenceValue(1), None)?;
//!     println!("{}: {}", adapter.luid(), fence.value().0);
//! }
//! # Ok::<(), dxg_core::Error>(())
//! ```
//!
//! # Invariants
//!
//! - There is no global state but the count of forks ([`ForkGeneration`]): everything hangs on a [`Node`], and several nodes live
//!   in one process.
//! - Everything is `Send` and `Sync`.
//! - Once a node is lost, every call and wait on it says [`ErrorKind::DeviceLost`]; dropping objects stays harmless.
//! - Memory that the device can write is only copied to and from, never borrowed.

mod adapter;
mod adopted;
mod allocation;
mod caller;
mod context;
mod device;
mod discover;
mod errno;
mod error;
mod fence;
mod fork;
mod host;
mod kernel;
mod maps;
mod node;
mod paging;
mod residency;
mod resource;
mod signals;
mod streams;
mod system_memory;
mod view;
mod wait;

pub use dxg_ioctl::CallError;
pub use dxg_ioctl::FenceValue;
pub use dxg_ioctl::GpuVa;
pub use dxg_ioctl::Ioctl;
pub use dxg_ioctl::Luid;
pub use dxg_ioctl::RawHandle;
pub use dxg_ioctl::UserPtr;
pub use dxg_ioctl::abi;
pub use dxg_ioctl::adapter_info;
pub use dxg_wire::session::IoAddress;
pub use dxg_wire::session::Reason;
pub use dxg_wire::session::StreamKind;

pub use crate::adapter::Adapter;
pub use crate::adapter::EscapeTarget;
pub use crate::adapter::VaRange;
pub use crate::adapter::VideoMemory;
pub use crate::adopted::AdoptedMemory;
pub use crate::allocation::Allocation;
pub use crate::allocation::AllocationOptions;
pub use crate::allocation::Backing;
pub use crate::allocation::MappedAllocation;
pub use crate::caller::CallerMemory;
pub use crate::context::Context;
pub use crate::context::ContextOptions;
pub use crate::context::HwQueue;
pub use crate::context::QueueSubmission;
pub use crate::context::Submission;
pub use crate::device::Device;
pub use crate::discover::Candidate;
pub use crate::discover::KERNEL_DEVICE;
pub use crate::discover::NotAUuid;
pub use crate::discover::RUNTIME_DIR;
pub use crate::discover::Uuid;
pub use crate::discover::VISIBLE_DEVICES;
pub use crate::discover::enumerate;
pub use crate::error::Error;
pub use crate::error::ErrorKind;
pub use crate::fence::Fence;
pub use crate::fence::QueueFence;
pub use crate::fork::ForkGeneration;
pub use crate::host::ConnectOptions;
pub use crate::host::LostReason;
pub use crate::node::Node;
pub use crate::node::Transport;
pub use crate::paging::MapVa;
pub use crate::paging::PagingQueue;
pub use crate::paging::PagingWork;
pub use crate::residency::Subjects;
pub use crate::resource::Resource;
pub use crate::resource::ResourceOptions;
pub use crate::resource::ResourceSharing;
pub use crate::resource::SharedInfo;
pub use crate::signals::spawn_without_signals;
pub use crate::streams::Block;
pub use crate::streams::Sleeper;
pub use crate::streams::StreamHandle;
pub use crate::streams::Streams;
pub use crate::streams::Window;
pub use crate::system_memory::SystemMemory;
pub use crate::wait::WaitOutcome;
pub use crate::wait::wait_all;
pub use crate::wait::wait_any;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_shared_between_threads<T: Send + Sync>() {}

    #[test]
    fn every_object_is_send_and_sync() {
        is_shared_between_threads::<(Node, Adapter, Device, Context, HwQueue, PagingQueue)>();
        is_shared_between_threads::<(Allocation, MappedAllocation, Resource, SystemMemory, AdoptedMemory)>();
        is_shared_between_threads::<(Fence, QueueFence, Streams, StreamHandle, Block, Error)>();
    }
}
