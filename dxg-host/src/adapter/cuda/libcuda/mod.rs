//! CUDA by a driver of the host: the same streams as for the CPU, executed by NVIDIA's `libcuda.so.1`.
//!
//! *Why.* Where there is a GPU with its vendor's driver, programs of a virtual GPU should run on it. A worker loads the driver,
//! takes one device, and gives the driver what the guest puts on its streams. Memory is the driver's
//! ([`memory_kind::REMOTE`]); PTX and binaries go to the driver's compiler and linker.
//!
//! *Invariants.* Whatever bytes come, they end in a typed call, an answer or the end of the session. Addresses of copies lie in memory
//! that the guest has mapped or allocated; addresses in a kernel's parameters are for the device to judge, in a process that serves
//! one client.
//!
//! *What is unsafe* is in [`library`] (symbols) and [`driver`] (calls).

mod clock;
mod context;
mod driver;
#[cfg(test)]
mod fake;
mod lane;
mod library;
mod modules;
mod server;
mod submit;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use dxg_wire::codec::Encoder;
use dxg_wire::cuda;
use dxg_wire::cuda::Attribute;
use dxg_wire::cuda::memory_kind;
use dxg_wire::session::StreamKind;
use uuid::Uuid;

use super::super::Adapter;
use super::super::AdapterIdentity;
use super::super::AdapterKind;
use super::super::Heap;
use super::super::StreamEnd;
use super::super::StreamSeat;
use super::reader;
use super::result;
use crate::failure::Fault;

use driver::Code;
use driver::Described;
use driver::Driver;
use library::Maker;
use server::Server;

/// PCI vendor of the devices that such drivers are for.
const NVIDIA: u32 = 0x10DE;
/// Attributes are numbered from 1 on; drivers know no more than this.
const MOST_ATTRIBUTES: u32 = 160;
/// Compute capability, major and minor.
const CAPABILITY: [u32; 2] = [75, 76];
/// What needs memory that the guest reaches too: memory management by address, descriptors, handles, managed memory.
const NOT_REMOTE: &[u32] = &[83, 88, 89, 91, 100, 101, 102, 103, 104, 119, 125, 132];
/// More streams than there are threads for.
const TOO_MANY: Code = Code(result::OUT_OF_MEMORY);

/// The devices of the host's driver: the UUID that the driver gives them, and who they are. Loads the driver into this process.
///
/// # Errors
/// When there is no driver, or it finds no device to work with.
pub fn probe(library: Option<&Path>) -> Result<Vec<(Uuid, AdapterIdentity)>, Fault> {
    let driver = Driver::open(library)?;
    let devices = driver.devices().map_err(|code| Fault::new("list CUDA devices", code))?;
    Ok(devices.iter().map(|device| (device.uuid, identity(&driver, device))).collect())
}

/// Loads the driver for the device with this UUID.
///
/// # Errors
/// When the driver fails, or the device is not there.
pub fn open(library: Option<&Path>, device_uuid: Uuid) -> Result<Arc<dyn Adapter>, Fault> {
    Ok(Arc::new(Device::of(Driver::open(library)?, device_uuid)?))
}

fn identity(driver: &Driver, device: &Described) -> AdapterIdentity {
    let version = driver.version;
    AdapterIdentity {
        name: device.name.clone(),
        vendor_id: if driver.maker == Maker::Other { NVIDIA } else { 0 },
        device_id: 0,
        subsystem_id: 0,
        revision: 0,
        driver_name: "libcuda".to_owned(),
        driver_version: version.cast_unsigned(),
        driver_info: format!("CUDA {}.{}", version / 1000, version % 1000 / 10),
        kind: AdapterKind::Discrete,
        // A Vulkan adapter may be the same device; virtual GPUs are named after their adapters.
        device_uuid: Uuid::new_v5(&device.uuid, b"cuda"),
        heaps: vec![Heap { size_bytes: device.memory_bytes, device_local: true }],
    }
}

/// One device of the driver.
struct Device {
    driver: Driver,
    ordinal: i32,
    identity: AdapterIdentity,
    compute_capability: u32,
    attributes: Vec<Attribute>,
}

impl Device {
    fn of(driver: Driver, uuid: Uuid) -> Result<Self, Fault> {
        let fault = |why: &dyn std::fmt::Display| Fault::new("open the CUDA device", why);
        let devices = driver.devices().map_err(|code| fault(&code))?;
        let device = devices.into_iter().find(|device| device.uuid == uuid);
        let device = device.ok_or_else(|| fault(&"it is not there"))?;
        let attributes: Vec<Attribute> = (1..=MOST_ATTRIBUTES)
            .filter(|attribute| !NOT_REMOTE.contains(attribute))
            .filter_map(|attribute| {
                let value = driver.attribute(attribute, device.ordinal)?;
                (value != 0).then_some(Attribute { attribute, value })
            })
            .collect();
        let [major, minor] = CAPABILITY.map(|number| {
            let value = attributes.iter().find(|one| one.attribute == number).map_or(0, |one| one.value);
            u32::try_from(value).unwrap_or(0)
        });
        Ok(Self {
            driver,
            ordinal: device.ordinal,
            identity: identity(&driver, &device),
            compute_capability: major.saturating_mul(10).saturating_add(minor),
            attributes,
        })
    }

    fn describe(&self, result: i32) -> Encoder {
        let description = cuda::Description {
            result,
            version: cuda::VERSION,
            memory_kind: memory_kind::REMOTE,
            compute_capability: self.compute_capability,
            memory_bytes: self.identity.memory_bytes(),
            name: self.identity.name.clone().into_bytes(),
            attributes: cuda::List(self.attributes.clone()),
        };
        let mut reply = Encoder::new();
        description.encode(&mut reply);
        reply
    }
}

impl Adapter for Device {
    fn identity(&self) -> &AdapterIdentity {
        &self.identity
    }

    fn serves(&self, kind: StreamKind) -> bool {
        kind == StreamKind::CUDA
    }

    fn run_stream(&self, seat: StreamSeat) -> Result<(), StreamEnd> {
        if !self.serves(seat.kind) {
            return Err(StreamEnd::Unsupported);
        }
        let StreamSeat { mut consumer, windows, calls, closing, cuda, .. } = seat;
        let mut server = Server::new(self, Arc::clone(&windows), calls, Arc::clone(&closing), cuda.watchdog);
        let served = reader::run(&mut consumer, &windows, &closing, &mut server);
        server.close();
        served
    }
}
