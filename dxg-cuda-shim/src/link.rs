//! What a context stands on: the guest's end of a ring, and memory that the host sees too.
//!
//! *Why.* A session with a daemon is one such thing; a thread of a test is another.

#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use dxg_core::ErrorKind;
use dxg_core::Sleeper;
use dxg_core::StreamHandle;
use dxg_core::StreamKind;
use dxg_core::Streams;
use dxg_wire::shm::SharedSlice;
use dxg_wire::stream::Producer;

use crate::generated::enums::CUresult;
use crate::types::Answer;

/// Bytes of a ring.
const RING_BYTES: u32 = 1 << 18;
/// Leases are multiples of this.
pub const LEASE_BYTES: u64 = 1 << 16;

/// What keeps memory there.
pub type Keep = Arc<dyn Any + Send + Sync>;

/// Memory that the host sees at an IO address.
#[derive(Clone)]
pub struct Window {
    /// Where this process sees it.
    pub memory: SharedSlice,
    /// Where the host sees it.
    pub io: u64,
    /// What it belongs to: when the last is dropped, the memory goes back.
    pub keep: Keep,
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("io", &self.io).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Window {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.memory.len() as u64
    }
}

/// The guest's end of a stream, and its session.
pub trait Link: fmt::Debug + Send + Sync {
    /// The ring.
    fn producer(&self) -> &Producer;

    /// Leases memory.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    fn lease(&self, bytes: u64) -> Answer<Window>;

    /// Whether the host is gone.
    fn is_lost(&self) -> bool;

    /// Wakes `sleeper`, for as long as it lives, when the host goes.
    fn wake_when_lost(&self, sleeper: Arc<dyn Sleeper>);

    /// Bytes that this process may hold at once.
    fn quota_bytes(&self) -> u64;

    /// Bytes that this process may hold at this moment, with those that it does.
    fn budget_bytes(&self) -> u64;

    /// The session, where there is one.
    fn streams(&self) -> Option<&Streams>;
}

/// What a failure of the session is to a program.
#[must_use]
pub fn failure(error: &dxg_core::Error) -> CUresult {
    match error.kind() {
        ErrorKind::DeviceLost | ErrorKind::WrongProcess => LOST,
        ErrorKind::Quota | ErrorKind::OutOfMemory => CUresult::ERROR_OUT_OF_MEMORY,
        ErrorKind::InvalidArgument => CUresult::ERROR_INVALID_VALUE,
        _ => CUresult::ERROR_OPERATING_SYSTEM,
    }
}

/// What every call answers once the host is gone.
pub const LOST: CUresult = CUresult::ERROR_DEVICE_UNAVAILABLE;

/// A stream of a session with a daemon.
#[derive(Debug)]
pub struct HostLink {
    handle: StreamHandle,
    streams: Streams,
}

impl HostLink {
    /// Opens a CUDA stream.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open(streams: &Streams) -> Result<Self, dxg_core::Error> {
        let handle = streams.open(StreamKind::CUDA, RING_BYTES)?;
        Ok(Self { handle, streams: streams.clone() })
    }
}

impl Link for HostLink {
    fn producer(&self) -> &Producer {
        &self.handle.producer
    }

    fn lease(&self, bytes: u64) -> Answer<Window> {
        let lease = self.streams.lease(bytes).map_err(|error| {
            tracing::debug!(bytes, %error, "no memory");
            failure(&error)
        })?;
        let (memory, io) = (lease.memory().clone(), lease.io_base().0);
        Ok(Window { memory, io, keep: Arc::new(lease) })
    }

    fn is_lost(&self) -> bool {
        self.streams.is_lost()
    }

    fn wake_when_lost(&self, sleeper: Arc<dyn Sleeper>) {
        self.streams.wake_when_lost(&sleeper);
    }

    fn quota_bytes(&self) -> u64 {
        self.streams.quota_bytes()
    }

    fn budget_bytes(&self) -> u64 {
        self.streams.budget_bytes()
    }

    fn streams(&self) -> Option<&Streams> {
        Some(&self.streams)
    }
}
