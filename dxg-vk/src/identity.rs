//! Who a device is: the identifiers by which programs tell devices and drivers apart.
//!
//! *Why.* Two processes share an object only where both see the same device and the same driver. What the host's device says
//! of itself would let a program take another virtual GPU of the same host, or the host's own driver, for this one.

use ash::vk;
use dxg_core::Streams;
use dxg_core::Uuid;

/// This driver, in this version: a UUID of version 8, whose bits are ours to choose.
const DRIVER_UUID: [u8; vk::UUID_SIZE] = {
    let [major, minor, patch] = [
        number(env!("CARGO_PKG_VERSION_MAJOR")),
        number(env!("CARGO_PKG_VERSION_MINOR")),
        number(env!("CARGO_PKG_VERSION_PATCH")),
    ];
    let ([a, b], [c, d], [e, f]) = (major.to_be_bytes(), minor.to_be_bytes(), patch.to_be_bytes());
    [b'd', b'x', b'g', b'-', b'v', b'k', 0x80, 0, 0x80, 0, a, b, c, d, e, f]
};

/// A decimal number of the version.
const fn number(text: &str) -> u16 {
    let bytes = text.as_bytes();
    let (mut value, mut at) = (0, 0);
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as u16;
        at += 1;
    }
    value
}

/// The identifiers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device_uuid: [u8; vk::UUID_SIZE],
    luid: [u8; vk::LUID_SIZE],
}

impl Identity {
    /// Those of a virtual GPU.
    #[must_use]
    pub fn of(streams: &Streams) -> Self {
        Self::new(streams.vgpu_uuid(), streams.adapter_luid().to_u64())
    }

    fn new(uuid: Uuid, luid: u64) -> Self {
        Self { device_uuid: uuid.0, luid: luid.to_le_bytes() }
    }

    /// Puts them where `VK_KHR_external_memory_capabilities` asks.
    pub fn fill(&self, ids: &mut vk::PhysicalDeviceIDProperties<'_>) {
        ids.device_uuid = self.device_uuid;
        ids.driver_uuid = DRIVER_UUID;
        ids.device_luid = self.luid;
        ids.device_luid_valid = vk::TRUE;
        ids.device_node_mask = 1;
    }

    /// Puts them where Vulkan 1.2 asks.
    pub fn fill_core(&self, ids: &mut vk::PhysicalDeviceVulkan11Properties<'_>) {
        ids.device_uuid = self.device_uuid;
        ids.driver_uuid = DRIVER_UUID;
        ids.device_luid = self.luid;
        ids.device_luid_valid = vk::TRUE;
        ids.device_node_mask = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_says_the_same_in_both_structures() {
        let identity = Identity::new(Uuid([7; 16]), 0x0102_0304_0506_0708);
        let mut ids = vk::PhysicalDeviceIDProperties::default();
        let mut core = vk::PhysicalDeviceVulkan11Properties::default();
        identity.fill(&mut ids);
        identity.fill_core(&mut core);
        assert_eq!((ids.device_uuid, ids.device_luid), ([7; 16], [8, 7, 6, 5, 4, 3, 2, 1]));
        assert_eq!((ids.device_luid_valid, ids.device_node_mask), (vk::TRUE, 1));
        assert_eq!((core.device_uuid, core.device_luid), (ids.device_uuid, ids.device_luid));
        assert_eq!((core.driver_uuid, core.device_node_mask), (ids.driver_uuid, ids.device_node_mask));
        assert_eq!(core.device_luid_valid, vk::TRUE);
    }

    #[test]
    fn driver_uuid_is_one_of_version_8() {
        assert_eq!((DRIVER_UUID[6] >> 4, DRIVER_UUID[8] >> 6), (8, 0b10));
        assert_eq!(number("120"), 120);
    }
}
