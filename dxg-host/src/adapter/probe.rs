//! What adapters this machine has: asked in a process that is thrown away.
//!
//! *Why.* Loading a driver runs foreign code. The broker therefore starts itself as `dxgd probe`, which prints one JSON
//! array of [`Found`] and exits; a driver that crashes or hangs there costs an entry in the log.

use std::path::Path;

use clap::ValueEnum;
use serde::Deserialize;
use serde::Serialize;

use super::AdapterChoice;
use super::AdapterIdentity;
use super::cuda;
use super::cuda::libcuda;
use super::null;
use super::vulkan;

/// Which adapters to look for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// Every driver that is there, and the CPU.
    #[default]
    Auto,
    /// The adapter without a driver only.
    None,
    /// The CPU only, which runs CUDA.
    Cpu,
    /// Devices of the host's CUDA driver only.
    Cuda,
    /// Vulkan devices only.
    Vulkan,
}

/// One adapter that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How a worker is told to load it.
    pub choice: AdapterChoice,
    /// Who it is.
    pub identity: AdapterIdentity,
}

/// Looks for adapters in this process. Loads drivers.
#[must_use]
pub fn probe(wanted: Wanted, host_libcuda: Option<&Path>) -> Vec<Found> {
    let mut found = Vec::new();
    // First, so that the first device of a CUDA program is a GPU where there is one: virtual GPUs of Vulkan devices run CUDA on
    // the CPU.
    if matches!(wanted, Wanted::Auto | Wanted::Cuda) {
        found.extend(probe_cuda(host_libcuda));
    }
    if matches!(wanted, Wanted::Auto | Wanted::Vulkan) {
        found.extend(probe_vulkan());
    }
    if matches!(wanted, Wanted::Auto | Wanted::Cpu) {
        found.push(Found { choice: AdapterChoice::Cpu, identity: cuda::identity() });
    }
    if wanted == Wanted::None {
        found.push(Found { choice: AdapterChoice::None, identity: null::identity() });
    }
    found
}

fn probe_cuda(library: Option<&Path>) -> Vec<Found> {
    match libcuda::probe(library) {
        Ok(devices) => devices
            .into_iter()
            .map(|(uuid, identity)| Found { choice: AdapterChoice::Cuda(uuid), identity })
            .collect(),
        Err(fault) => {
            // Most machines have none. One that was named should be there.
            match library {
                Some(_) => tracing::warn!(%fault, "no CUDA driver"),
                None => tracing::debug!(%fault, "no CUDA driver"),
            }
            Vec::new()
        }
    }
}

fn probe_vulkan() -> Vec<Found> {
    match vulkan::probe() {
        Ok(identities) => identities
            .into_iter()
            .map(|identity| Found { choice: AdapterChoice::Vulkan(identity.device_uuid), identity })
            .collect(),
        Err(fault) => {
            tracing::info!(%fault, "no Vulkan driver");
            Vec::new()
        }
    }
}
