//! Objects that leave this driver by descriptor: dxg objects of a device that the session makes when the first is needed.
//!
//! *Why.* A descriptor that other processes, other APIs and `dxg-core` can open names a dxg object. What may leave says so
//! when it is created, so it is born as one: memory as a resource with one allocation, semaphores and fences as monitored
//! fences.
//!
//! *Locks.* The exchange's, held while its device is made.

use ash::vk;
use dxg_core::Device;
use dxg_core::Error;
use dxg_core::ErrorKind;
use dxg_core::Streams;
use parking_lot::Mutex;
use tracing::debug;

pub mod label;
pub mod memory;
pub mod page;
pub mod payload;
pub mod semaphore;

pub use memory::SharedMemory;

/// Where a session's objects become dxg objects.
#[derive(Debug, Default)]
pub struct Exchange {
    device: Mutex<Option<Device>>,
}

impl Exchange {
    /// The session's dxg device.
    ///
    /// # Errors
    /// Device lost, or out of memory when the host makes none.
    pub fn device(&self, streams: &Streams) -> Result<Device, vk::Result> {
        let mut device = self.device.lock();
        if let Some(device) = &*device {
            return Ok(device.clone());
        }
        let adapter = streams.node().adapter(streams.adapter_luid());
        let made = adapter.and_then(|adapter| adapter.create_device()).map_err(|error| not_made(&error))?;
        *device = Some(made.clone());
        Ok(made)
    }
}

/// What it means for a Vulkan program that no object could be made.
pub(crate) fn not_made(error: &Error) -> vk::Result {
    debug!(%error, "no shared object");
    match error.kind() {
        ErrorKind::DeviceLost | ErrorKind::WrongProcess => vk::Result::ERROR_DEVICE_LOST,
        ErrorKind::Quota => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
        _ => vk::Result::ERROR_OUT_OF_HOST_MEMORY,
    }
}

/// What it means for a Vulkan program that a descriptor could not be opened.
pub(crate) fn not_opened(error: &Error) -> vk::Result {
    debug!(%error, "descriptor not opened");
    match error.kind() {
        ErrorKind::DeviceLost | ErrorKind::WrongProcess => vk::Result::ERROR_DEVICE_LOST,
        ErrorKind::Quota | ErrorKind::OutOfMemory => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
        _ => vk::Result::ERROR_INVALID_EXTERNAL_HANDLE,
    }
}
