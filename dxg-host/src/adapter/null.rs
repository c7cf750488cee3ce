//! The adapter for a machine without a driver: system memory, and no command streams.
//!
//! *Why.* Objects, memory, fences and sharing need no driver. This adapter serves them where none is installed, and it
//! is what tests of the protocol run on.

use dxg_wire::session::StreamKind;
use uuid::Uuid;

use super::Adapter;
use super::AdapterIdentity;
use super::AdapterKind;
use super::Heap;
use super::StreamEnd;
use super::StreamSeat;

/// Names the device UUID of this adapter; any fixed value does.
const NAMESPACE: Uuid = Uuid::from_u128(0x6478_675f_6e75_6c6c_8000_0000_0000_0001);

/// An adapter without a driver.
#[derive(Debug)]
pub struct NullAdapter {
    identity: AdapterIdentity,
}

impl NullAdapter {
    /// The adapter of this machine.
    #[must_use]
    pub fn open() -> Self {
        Self { identity: identity() }
    }
}

impl Adapter for NullAdapter {
    fn identity(&self) -> &AdapterIdentity {
        &self.identity
    }

    fn serves(&self, _kind: StreamKind) -> bool {
        false
    }

    fn run_stream(&self, _seat: StreamSeat) -> Result<(), StreamEnd> {
        Err(StreamEnd::Unsupported)
    }
}

/// What the probe reports for this adapter.
#[must_use]
pub fn identity() -> AdapterIdentity {
    let info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit.max(1));
    AdapterIdentity {
        name: "dxg memory adapter".to_owned(),
        vendor_id: 0,
        device_id: 0,
        subsystem_id: 0,
        revision: 0,
        driver_name: "none".to_owned(),
        driver_version: 1,
        driver_info: "system memory, no command streams".to_owned(),
        kind: AdapterKind::Virtual,
        device_uuid: Uuid::new_v5(&NAMESPACE, b"system memory"),
        heaps: vec![Heap { size_bytes: info.totalram.saturating_mul(unit), device_local: false }],
    }
}
