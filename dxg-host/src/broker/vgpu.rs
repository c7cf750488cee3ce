//! Virtual GPUs: their identity, their socket, and who may use them.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use dxg_wire::session::Features;
use uuid::Uuid;

use super::ids::VgpuId;
use crate::adapter::AdapterChoice;
use crate::adapter::AdapterIdentity;
use crate::adapter::cuda;

/// Clients at once where nothing else is configured.
pub(super) const DEFAULT_MAX_CLIENTS: usize = 256;

/// One virtual GPU.
pub(super) struct Vgpu {
    /// Its number in this daemon.
    pub(super) id: VgpuId,
    /// Its name in the world.
    pub(super) uuid: Uuid,
    /// Its name for people.
    pub(super) name: String,
    /// What its workers load.
    pub(super) choice: AdapterChoice,
    /// The position of its adapter in the probe's answer.
    pub(super) adapter: usize,
    /// Bytes of memory of all clients together.
    pub(super) quota_bytes: u64,
    /// Bytes of memory of one client.
    pub(super) client_quota_bytes: u64,
    /// Most clients at once.
    pub(super) max_clients: usize,
    /// User ids that may connect, where limited.
    pub(super) allowed_uids: Option<Vec<u32>>,
    /// How CUDA behaves on it.
    pub(super) cuda: cuda::Settings,
    /// Where clients connect.
    pub(super) listener: OwnedFd,
    /// Path of that socket.
    pub(super) path: PathBuf,
}

impl Vgpu {
    /// Whether its configuration lets a user connect, beside the permissions of the socket.
    pub(super) fn admits(&self, uid: u32) -> bool {
        match &self.allowed_uids {
            None => true,
            Some(uids) => uids.contains(&uid),
        }
    }

    /// The features of its sessions.
    pub(super) fn offers(&self) -> Features {
        match self.choice {
            AdapterChoice::None => Features::SHARING.union(Features::BUDGET),
            AdapterChoice::Cpu | AdapterChoice::Cuda(_) | AdapterChoice::Vulkan(_) => Features::ALL,
        }
    }

    /// The LUID that user space sees: the first 8 bytes of the UUID as two little-endian words.
    pub(super) fn luid(&self) -> [u32; 2] {
        let [a, b, c, d, e, f, g, h, ..] = *self.uuid.as_bytes();
        [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
    }
}

/// The UUID of virtual GPU number `index` of an adapter: the same in each run.
pub(super) fn default_uuid(identity: &AdapterIdentity, index: usize) -> Uuid {
    Uuid::new_v5(&identity.device_uuid, format!("vgpu {index}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::null;

    #[test]
    fn default_uuid_is_stable_and_differs_by_index() {
        let identity = null::identity();
        assert_eq!(default_uuid(&identity, 0), default_uuid(&identity, 0));
        assert_ne!(default_uuid(&identity, 0), default_uuid(&identity, 1));
    }
}
