//! The driver in this process: the devices that there are.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::OnceLock;

use dxg_core::ForkGeneration;
use dxg_core::Transport;
use parking_lot::Mutex;

use crate::device::Device;
use crate::ffi::exit;
use crate::generated::enums::CUresult;
use crate::settings;
use crate::types::Answer;
use crate::types::CUdevice;

static DRIVER: OnceLock<Driver> = OnceLock::new();
static INITIALISING: Mutex<()> = Mutex::new(());

/// What `cuInit` found.
#[derive(Debug)]
pub struct Driver {
    generation: ForkGeneration,
    devices: Vec<Arc<Device>>,
}

/// Whether this process is a child of one that had initialised.
#[must_use]
pub fn is_forked() -> bool {
    DRIVER.get().is_some_and(|driver| !driver.generation.is_current())
}

/// The driver.
///
/// # Errors
/// Not initialised.
pub fn driver() -> Answer<&'static Driver> {
    DRIVER.get().ok_or(CUresult::ERROR_NOT_INITIALIZED)
}

/// Finds the devices, once.
///
/// # Errors
/// No device.
pub fn initialise() -> Answer {
    crate::log::start();
    if DRIVER.get().is_some() {
        return Ok(());
    }
    let _one = INITIALISING.lock();
    if DRIVER.get().is_some() {
        return Ok(());
    }
    let candidates: Vec<_> =
        dxg_core::enumerate().into_iter().filter(|one| one.transport() == Transport::Host).collect();
    let found = candidates.len();
    let visible = settings::visible(candidates);
    let mut devices = Vec::new();
    for candidate in &visible {
        match Device::connect(candidate, devices.len()) {
            Ok(device) => devices.push(Arc::new(device)),
            Err(error) => tracing::warn!(path = %candidate.path().display(), ?error, "device left out"),
        }
    }
    if devices.is_empty() {
        tracing::error!(
            found,
            visible = visible.len(),
            "no CUDA device: start dxgd, or run the program with `dxgctl run`; DXG_RUNTIME_DIR, DXG_VISIBLE_DEVICES and \
             CUDA_VISIBLE_DEVICES say which virtual GPUs are looked at"
        );
        return Err(CUresult::ERROR_NO_DEVICE);
    }
    adopt(devices);
    Ok(())
}

/// Takes devices as those of this process.
fn adopt(devices: Vec<Arc<Device>>) {
    exit::watch();
    // Another thread cannot have been faster: the caller holds the lock.
    let _ = DRIVER.set(Driver { generation: ForkGeneration::current(), devices });
}

impl Driver {
    /// The devices.
    #[must_use]
    pub fn devices(&self) -> &[Arc<Device>] {
        &self.devices
    }

    /// A device.
    ///
    /// # Errors
    /// Invalid device.
    pub fn device(&self, device: CUdevice) -> Answer<&Arc<Device>> {
        let index = usize::try_from(device.0).map_err(|_| CUresult::ERROR_INVALID_DEVICE)?;
        self.devices.get(index).ok_or(CUresult::ERROR_INVALID_DEVICE)
    }
}

/// A device of the driver.
///
/// # Errors
/// Not initialised, invalid device.
pub fn device(device: CUdevice) -> Answer<&'static Arc<Device>> {
    driver()?.device(device)
}

/// A driver with one device of a test's host, for tests that call the API.
#[cfg(test)]
pub(crate) fn for_tests() -> &'static Driver {
    let _one = INITIALISING.lock();
    if DRIVER.get().is_none() {
        adopt(vec![crate::fake_host::device()]);
    }
    DRIVER.get().unwrap()
}
