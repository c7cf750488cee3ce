//! The Vulkan adapter: command streams over any Vulkan driver of the host.
//!
//! *Why.* A worker loads the system's Vulkan library, makes one instance and takes one physical device, before it has
//! a client. Streams of the client then create native devices and run commands on them.
//!
//! *Invariants.* Whatever bytes come, they end in a typed native call, an answer or the end of the session; the driver
//! judges the rest, in a process that serves one client. Nothing the client can write is read twice.
//!
//! [`probe`] loads drivers into the calling process, so it belongs into a process that is thrown away.

// UNSAFETY: the driver is called through raw function pointers, with structures made of raw pointers.
#![expect(unsafe_code, reason = "a Vulkan driver is foreign code behind raw pointers")]

mod chain;
mod completion;
pub(crate) mod context;
mod create;
mod describe;
mod descriptor_set;
mod device;
mod driver;
mod feedback;
mod imports;
mod lost;
mod memory;
mod native;
pub(crate) mod objects;
mod pipelines;
mod queries;
mod queue;
pub(crate) mod reader;
mod retired;
mod serve;
mod server;
mod shared;
mod sparse;
mod submit;
pub(crate) mod table;
mod teardown;

use std::path::Path;
use std::sync::Arc;

use dxg_wire::session::StreamKind;
use uuid::Uuid;

use super::Adapter;
use super::AdapterIdentity;
use super::StreamEnd;
use super::StreamSeat;
use crate::failure::Fault;

use describe::describe;
use describe::offered;
use driver::Driver;
use driver::LIBRARY;
use driver::Library;
use lost::Lost;
use memory::HostPointers;
use memory::probe_host_pointers;
use serve::Loop;
use server::DeviceServer;
use server::InstanceServer;

/// The devices of the host's Vulkan drivers that can be offered. Loads the drivers into this process.
///
/// # Errors
/// When there is no Vulkan library, or it fails.
pub fn probe() -> Result<Vec<AdapterIdentity>, Fault> {
    probe_library(Path::new(LIBRARY))
}

/// [`probe`] of another library than the system's.
///
/// # Errors
/// As [`probe`].
pub fn probe_library(library: &Path) -> Result<Vec<AdapterIdentity>, Fault> {
    Ok(Library::open(library)?.devices()?.into_iter().map(|(_, identity)| identity).collect())
}

/// Loads the driver of the device with this UUID.
///
/// # Errors
/// When the library or the driver fails, or the device is not there.
pub fn open(device_uuid: Uuid) -> Result<Arc<dyn Adapter>, Fault> {
    open_library(Path::new(LIBRARY), Some(device_uuid))
}

/// [`open`] through another library than the system's; without a UUID, the first device that can be offered.
///
/// # Errors
/// As [`open`].
pub fn open_library(library: &Path, device_uuid: Option<Uuid>) -> Result<Arc<dyn Adapter>, Fault> {
    Ok(Arc::new(VulkanAdapter::new(Driver::open(library, device_uuid)?)?))
}

/// A loaded driver, described.
#[derive(Debug)]
struct VulkanAdapter {
    driver: Arc<Driver>,
    host_pointers: HostPointers,
    offered: Arc<[ash::vk::ExtensionProperties]>,
    description: Arc<[u8]>,
}

impl VulkanAdapter {
    fn new(driver: Driver) -> Result<Self, Fault> {
        let host_pointers = probe_host_pointers(&driver);
        let offered = offered(&driver);
        let description = describe(&driver, &offered, host_pointers)?;
        Ok(Self {
            driver: Arc::new(driver),
            host_pointers,
            offered: offered.into(),
            description: description.into(),
        })
    }

    fn run(&self, mut seat: StreamSeat) -> Result<(), StreamEnd> {
        let (lost, watched) = Lost::new().map_err(|error| Fault::new("start a stream", error))?;
        let lost = Arc::new(lost);
        seat.consumer.watch(watched);
        let around = Loop { windows: &seat.windows, closing: &seat.closing, lost: &lost };
        if seat.kind == StreamKind::VULKAN_INSTANCE {
            let mut server = InstanceServer::new(&self.driver, &self.description);
            return around.run(&mut seat.consumer, &mut server);
        }
        let surroundings = device::Surroundings {
            driver: Arc::clone(&self.driver),
            windows: Arc::clone(&seat.windows),
            calls: Arc::clone(&seat.calls),
            host_pointers: self.host_pointers,
        };
        let mut server = DeviceServer::new(surroundings, Arc::clone(&self.offered), Arc::clone(&lost));
        let served = around.run(&mut seat.consumer, &mut server);
        let destroyed = server.close();
        served.and(destroyed.map_err(StreamEnd::from))
    }
}

impl Adapter for VulkanAdapter {
    fn identity(&self) -> &AdapterIdentity {
        &self.driver.identity
    }

    fn serves(&self, kind: StreamKind) -> bool {
        kind == StreamKind::VULKAN_INSTANCE || kind == StreamKind::VULKAN_DEVICE
    }

    fn run_stream(&self, seat: StreamSeat) -> Result<(), StreamEnd> {
        if self.serves(seat.kind) { self.run(seat) } else { Err(StreamEnd::Unsupported) }
    }
}
