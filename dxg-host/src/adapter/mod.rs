//! What a worker runs behind its session: one adapter, chosen when the worker starts.
//!
//! *Why.* Everything that differs between host drivers is behind [`Adapter`]; broker and session see only this trait
//! and the [`AdapterIdentity`] that a disposable probe process reports.
//!
//! *Invariants.* An adapter serves one client, once, and holds memory only through that client's [`Windows`] and
//! [`SessionCalls`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dxg_wire::control;
use dxg_wire::session::Reason;
use dxg_wire::session::StreamKind;
use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use crate::failure::Fault;
use crate::failure::Violation;

pub use choice::AdapterChoice;
pub use choice::UnknownAdapter;
pub use windows::Windows;

pub(crate) mod answer;
pub(crate) mod cell;
mod choice;
mod windows;

pub mod cuda;
pub mod null;
pub mod probe;
pub mod vulkan;

/// What kind of device an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A renderer on the CPU.
    Cpu,
    /// A virtual device, or none at all.
    Virtual,
}

/// One heap of an adapter's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heap {
    /// Bytes in the heap.
    pub size_bytes: u64,
    /// Whether the heap is the device's own memory.
    pub device_local: bool,
}

/// Who an adapter is: what the probe reports and what queries answer from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterIdentity {
    /// Name for people.
    pub name: String,
    /// PCI vendor id, or the driver's stand-in for one.
    pub vendor_id: u32,
    /// PCI device id.
    pub device_id: u32,
    /// PCI subsystem id, 0 where there is none.
    pub subsystem_id: u32,
    /// PCI revision, 0 where there is none.
    pub revision: u32,
    /// Name of the host driver.
    pub driver_name: String,
    /// Version of the host driver, in the driver's own encoding.
    pub driver_version: u32,
    /// The driver's line about itself.
    pub driver_info: String,
    /// What kind of device it is.
    pub kind: AdapterKind,
    /// The device's identity, stable over restarts.
    pub device_uuid: Uuid,
    /// Its memory.
    pub heaps: Vec<Heap>,
}

impl AdapterIdentity {
    /// Bytes of the heaps that are the device's own, or of all heaps where none is.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let sum = |device_local: bool| {
            self.heaps
                .iter()
                .filter(|heap| heap.device_local == device_local)
                .fold(0_u64, |sum, heap| sum.saturating_add(heap.size_bytes))
        };
        match sum(true) {
            0 => sum(false),
            local => local,
        }
    }

    /// What the control protocol says of it.
    pub(crate) fn describe(&self, choice: AdapterChoice) -> control::Adapter {
        control::Adapter {
            name: self.name.clone(),
            kind: match choice {
                AdapterChoice::None => "none".to_owned(),
                AdapterChoice::Cpu => "cpu".to_owned(),
                AdapterChoice::Cuda(_) => "cuda".to_owned(),
                AdapterChoice::Vulkan(_) => "vulkan".to_owned(),
            },
            vendor_id: self.vendor_id,
            device_id: self.device_id,
            driver_name: self.driver_name.clone(),
            driver_version: self.driver_info.clone(),
            heaps: self
                .heaps
                .iter()
                .map(|heap| control::Heap { size_bytes: heap.size_bytes, device_local: heap.device_local })
                .collect(),
        }
    }
}

/// What an adapter may ask of the session that it serves.
pub trait SessionCalls: Send + Sync {
    /// Charges driver memory that has no window to the client, before it is allocated.
    ///
    /// # Errors
    /// [`Reason::QUOTA`] when the client is at its quota; another reason when the session is ending.
    fn charge(&self, size_bytes: u64) -> Result<(), Reason>;

    /// Gives a charge back.
    fn uncharge(&self, size_bytes: u64);

    /// Ends the session: what its client has started cannot be stopped otherwise. A worker goes with its session and does not come
    /// back from this; where there is none, nothing happens.
    fn lose(&self, _why: &str) {}
}

/// What one command stream runs with.
pub struct StreamSeat {
    /// What the stream speaks.
    pub kind: StreamKind,
    /// The commands, in order.
    pub consumer: dxg_wire::stream::Consumer,
    /// The client's memory.
    pub windows: Arc<Windows>,
    /// The way to the broker.
    pub calls: Arc<dyn SessionCalls>,
    /// Set when the client has closed the stream; the consumer's doorbell rings with it.
    pub closing: Arc<AtomicBool>,
    /// What the administrator decided about CUDA.
    pub cuda: cuda::Settings,
}

/// Why a command stream ended before its client closed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamEnd {
    /// The adapter has no stream of this kind.
    #[error("the adapter has no such stream")]
    Unsupported,
    /// The client broke the protocol: the session ends.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The driver failed: the device is lost.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A host driver, loaded into this worker.
pub trait Adapter: Send + Sync {
    /// Who it is.
    fn identity(&self) -> &AdapterIdentity;

    /// Whether [`Adapter::run_stream`] serves streams of this kind.
    fn serves(&self, kind: StreamKind) -> bool;

    /// Runs one command stream on the calling thread until its client closes it.
    ///
    /// # Errors
    /// Why it ended early; `Ok` means that the consumer was closed and everything of the stream is released.
    fn run_stream(&self, seat: StreamSeat) -> Result<(), StreamEnd>;
}
