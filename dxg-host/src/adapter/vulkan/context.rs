//! What a request of the registry runs in, and how it can fail.

use ash::vk;
use bumpalo::Bump;
use dxg_wire::generated::vulkan::VkOp;
use thiserror::Error;

use super::objects::Objects;
use super::reader::ReadError;
use super::table::BadId;
use crate::generated::vulkan::native::DeviceFns;
use crate::generated::vulkan::native::InstanceFns;

/// A request that nobody waits for failed in the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsyncFailure {
    /// The request.
    pub(crate) op: VkOp,
    /// What the driver said.
    pub(crate) result: vk::Result,
}

/// Why a request was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum DispatchError {
    /// No honest guest sends it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The number is no command of this stream.
    #[error("{0:?} is no command of this stream")]
    Unknown(VkOp),
    /// The driver has no such function: an extension that the guest was not offered.
    #[error("the driver has no {0}")]
    Missing(&'static str),
}

impl From<BadId> for DispatchError {
    fn from(bad: BadId) -> Self {
        Self::Read(ReadError::Id(bad))
    }
}

/// What requests of a device's stream run in.
pub(crate) struct DeviceContext<'c> {
    /// The driver.
    pub(crate) fns: &'c DeviceFns,
    /// The native device.
    pub(crate) device: vk::Device,
    /// The objects of the stream.
    pub(crate) objects: &'c mut Objects,
    /// Memory for one entry, from [`super::reader::arena`]; the caller resets it after each.
    pub(crate) bump: &'c Bump,
    /// Set by a request that failed with nobody waiting for its result.
    pub(crate) failure: Option<AsyncFailure>,
}

/// What requests of an instance's stream run in.
pub(crate) struct InstanceContext<'c> {
    /// The driver.
    pub(crate) fns: &'c InstanceFns,
    /// The physical device behind the virtual GPU.
    pub(crate) physical_device: vk::PhysicalDevice,
    /// Objects of the stream: none, for requests to be read like a device's.
    pub(crate) objects: Objects,
    /// Memory for one entry, from [`super::reader::arena`]; the caller resets it after each.
    pub(crate) bump: &'c Bump,
    /// Set by a request that failed with nobody waiting for its result.
    pub(crate) failure: Option<AsyncFailure>,
}
