//! The dxg object model of one client, served over its two channels.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use dxg_wire::session::Bind;
use dxg_wire::shm::Mapping;

use crate::adapter::Adapter;
use crate::failure::Fault;
use crate::worker::BrokerLink;

/// The four doorbells of a session.
#[derive(Debug)]
pub struct Doorbells {
    /// Rung by the guest for the vgpu channel.
    pub vgpu_to_host: OwnedFd,
    /// Rung by us for the vgpu channel.
    pub vgpu_to_guest: OwnedFd,
    /// Rung by the guest for the global channel.
    pub global_to_host: OwnedFd,
    /// Rung by us for the global channel.
    pub global_to_guest: OwnedFd,
}

/// Starts the session's threads.
///
/// # Errors
/// When the rings are not what the binding says.
pub fn start(
    _adapter: Arc<dyn Adapter>,
    _link: Arc<BrokerLink>,
    _bind: &Bind,
    _control: &OwnedFd,
    _arena: &Arc<Mapping>,
    _doorbells: Doorbells,
) -> Result<(), Fault> {
    Ok(())
}
