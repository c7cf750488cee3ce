//! What a stream stands on: the guest's end of a ring, and memory to lease.
//!
//! *Why.* A session with a daemon is one such thing; a thread of a test is another.

use std::fmt;
use std::sync::Arc;

use ash::vk;
use dxg_core::ErrorKind;
use dxg_core::Sleeper;
use dxg_core::StreamHandle;
use dxg_core::Streams;
use dxg_wire::session::IoAddress;
use dxg_wire::session::StreamKind;
use dxg_wire::shm::SharedSlice;
use dxg_wire::stream::Producer;
use tracing::debug;
use tracing::warn;

use crate::heap::Lessor;

/// A leased block. Dropping it gives it back.
#[derive(Debug)]
pub struct Block {
    memory: SharedSlice,
    io_base: IoAddress,
    _lease: Option<dxg_core::Block>,
}

impl Block {
    /// A block that is mapped as `memory` and that the host knows at `io_base`.
    #[must_use]
    pub fn new(memory: SharedSlice, io_base: IoAddress) -> Self {
        Self { memory, io_base, _lease: None }
    }

    /// A block of a session with a daemon.
    #[must_use]
    pub fn of_lease(lease: dxg_core::Block) -> Self {
        Self { memory: lease.memory().clone(), io_base: lease.io_base(), _lease: Some(lease) }
    }

    /// Where it is mapped.
    #[must_use]
    pub fn memory(&self) -> &SharedSlice {
        &self.memory
    }

    /// Where the host finds it.
    #[must_use]
    pub fn io_base(&self) -> IoAddress {
        self.io_base
    }
}

/// The guest's end of a stream, and its session.
pub trait Link: fmt::Debug + Send + Sync {
    /// The ring.
    fn producer(&self) -> &Producer;

    /// Leases a block.
    ///
    /// # Errors
    /// Out of memory or device lost.
    fn lease(&self, size_bytes: u64) -> Result<Block, vk::Result>;

    /// Whether the host is gone.
    fn is_lost(&self) -> bool;

    /// Wakes `sleeper`, for as long as it lives, when the host goes.
    fn wake_when_lost(&self, sleeper: Arc<dyn Sleeper>);
}

impl Lessor for dyn Link + '_ {
    type Block = Block;
    type Error = vk::Result;

    fn lease(&self, size_bytes: u64) -> Result<Block, vk::Result> {
        Link::lease(self, size_bytes)
    }
}

/// Why a lease failed, in the words of Vulkan.
pub fn lease_failure(error: &dxg_core::Error) -> vk::Result {
    match error.kind() {
        ErrorKind::DeviceLost | ErrorKind::WrongProcess => vk::Result::ERROR_DEVICE_LOST,
        ErrorKind::Quota => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
        _ => vk::Result::ERROR_OUT_OF_HOST_MEMORY,
    }
}

/// A stream of a session with a daemon.
#[derive(Debug)]
pub struct HostLink {
    handle: StreamHandle,
    streams: Streams,
}

impl HostLink {
    /// Opens a stream.
    ///
    /// # Errors
    /// `ERROR_INCOMPATIBLE_DRIVER` when the adapter has no such streams, `ERROR_INITIALIZATION_FAILED` when the host refuses it, device
    /// lost when it is gone.
    pub fn open(streams: &Streams, kind: StreamKind, ring_bytes: u32) -> Result<Self, vk::Result> {
        let handle = streams.open(kind, ring_bytes).map_err(|error| {
            // An adapter without streams of a kind is no failure: whoever asked says what it means.
            if error.kind() != ErrorKind::NotSupported {
                warn!(?kind, %error, "no stream");
            }
            match error.kind() {
                ErrorKind::NotSupported => vk::Result::ERROR_INCOMPATIBLE_DRIVER,
                ErrorKind::DeviceLost | ErrorKind::WrongProcess => vk::Result::ERROR_DEVICE_LOST,
                _ => vk::Result::ERROR_INITIALIZATION_FAILED,
            }
        })?;
        Ok(Self { handle, streams: streams.clone() })
    }
}

impl Link for HostLink {
    fn producer(&self) -> &Producer {
        &self.handle.producer
    }

    fn lease(&self, size_bytes: u64) -> Result<Block, vk::Result> {
        let lease = self.streams.lease(size_bytes).map_err(|error| {
            debug!(size_bytes, %error, "no block");
            lease_failure(&error)
        })?;
        Ok(Block::of_lease(lease))
    }

    fn is_lost(&self) -> bool {
        self.streams.is_lost()
    }

    fn wake_when_lost(&self, sleeper: Arc<dyn Sleeper>) {
        self.streams.wake_when_lost(&sleeper);
    }
}
