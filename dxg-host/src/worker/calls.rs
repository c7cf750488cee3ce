//! What adapters may ask of the broker.

use dxg_wire::session::Reason;

use super::link::BrokerLink;
use crate::adapter::SessionCalls;

impl SessionCalls for BrokerLink {
    fn charge(&self, size_bytes: u64) -> Result<(), Reason> {
        self.charge(size_bytes)
    }

    fn uncharge(&self, size_bytes: u64) {
        self.uncharge(size_bytes);
    }

    fn lose(&self, why: &str) {
        self.end(Reason::DEVICE_LOST, why)
    }
}
