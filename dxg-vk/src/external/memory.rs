//! Device memory that is a dxg resource with one allocation.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use ash::vk;
use dxg_core::AllocationOptions;
use dxg_core::Device;
use dxg_core::MappedAllocation;
use dxg_core::Resource;
use dxg_core::ResourceOptions;
use dxg_core::ResourceSharing;
use dxg_core::Window;

use super::label::Label;
use super::not_made;
use super::not_opened;
use crate::ranges::GRANULE_BYTES;

/// Memory that can be shared, or is.
#[derive(Debug)]
pub struct SharedMemory {
    /// What it was imported from: sharing it on is a copy of that.
    descriptor: Option<OwnedFd>,
    window: Window,
    _mapped: MappedAllocation,
    resource: Resource,
}

impl SharedMemory {
    /// Makes memory of at least so many bytes.
    ///
    /// # Errors
    /// Out of memory, or device lost.
    pub fn create(device: &Device, label: &Label, whole_bytes: u64) -> Result<Self, vk::Result> {
        let size_bytes = whole_bytes
            .checked_next_multiple_of(GRANULE_BYTES)
            .ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?;
        let options = ResourceOptions {
            allocations: vec![AllocationOptions::cross_adapter(size_bytes)],
            runtime_data: label.encode(),
            sharing: ResourceSharing::Shareable,
            ..ResourceOptions::default()
        };
        // There is no word for a quota on the way from the host: what is not made had no room.
        let resource = device.create_resource(options).map_err(|error| match not_made(&error) {
            vk::Result::ERROR_DEVICE_LOST => vk::Result::ERROR_DEVICE_LOST,
            _ => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
        })?;
        Self::map(resource, None)
    }

    /// Opens what a descriptor names, where it has at least `whole_bytes` bytes and `label` agrees.
    ///
    /// # Errors
    /// Invalid external handle when it names no such memory, out of memory, or device lost.
    pub fn open(
        device: &Device,
        label: &Label,
        whole_bytes: u64,
        descriptor: OwnedFd,
    ) -> Result<Self, vk::Result> {
        let resource = device.open_shared_resource(descriptor.as_fd()).map_err(|error| not_opened(&error))?;
        if resource.allocations().len() != 1 || !label.agrees_with(resource.runtime_data()) {
            return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
        }
        let memory = Self::map(resource, Some(descriptor))?;
        if (memory.window.memory.len() as u64) < whole_bytes {
            return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
        }
        Ok(memory)
    }

    fn map(resource: Resource, descriptor: Option<OwnedFd>) -> Result<Self, vk::Result> {
        let only = resource.allocations().first().ok_or(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE)?;
        let mapped = only.map().map_err(|error| not_made(&error))?;
        let window = mapped.window().ok_or(vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        Ok(Self { descriptor, window, _mapped: mapped, resource })
    }

    /// Its bytes, here and on the host.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// A descriptor that names it.
    ///
    /// # Errors
    /// Too many objects when this process or the host can have no more descriptors, or device lost.
    pub fn share(&self) -> Result<OwnedFd, vk::Result> {
        match &self.descriptor {
            Some(descriptor) => descriptor.try_clone().map_err(|_| vk::Result::ERROR_TOO_MANY_OBJECTS),
            None => self.resource.share().map_err(|error| match not_made(&error) {
                vk::Result::ERROR_DEVICE_LOST => vk::Result::ERROR_DEVICE_LOST,
                _ => vk::Result::ERROR_TOO_MANY_OBJECTS,
            }),
        }
    }
}
