//! Objects by descriptor.

use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use anyhow::Result;
use ash::prelude::VkResult;
use ash::vk;

use super::Gpu;

/// The type of memory handle that all of it is about.
pub(crate) const MEMORY_FD: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;

/// A buffer on memory that can be shared, or was.
pub(crate) struct SharedBuffer {
    pub(crate) handle: vk::Buffer,
    pub(crate) memory: vk::DeviceMemory,
}

impl Gpu {
    fn memory_fds(&self) -> ash::khr::external_memory_fd::Device {
        ash::khr::external_memory_fd::Device::new(&self.physical.instance.raw, &self.raw)
    }

    /// A buffer without memory that can be on shared memory.
    pub(crate) fn buffer_to_share(&self, size_bytes: u64) -> Result<vk::Buffer> {
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(MEMORY_FD);
        let usage = vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST;
        let create = vk::BufferCreateInfo::default().size(size_bytes).usage(usage).push_next(&mut external);
        Ok(self.keep(self.create_buffer(&create).context("vkCreateBuffer")?))
    }

    /// A buffer on new memory that can be shared.
    pub(crate) fn shareable_buffer(&self, size_bytes: u64) -> Result<SharedBuffer> {
        let handle = self.buffer_to_share(size_bytes)?;
        let needs = self.get_buffer_memory_requirements(handle);
        let memory_type = self.host_memory_type(needs.memory_type_bits)?;
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(MEMORY_FD);
        let allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(memory_type)
            .push_next(&mut export);
        let memory = self.keep(self.allocate_memory(&allocate).context("vkAllocateMemory")?);
        self.bind_buffer_memory(handle, memory, 0)?;
        Ok(SharedBuffer { handle, memory })
    }

    /// A descriptor of memory.
    pub(crate) fn memory_fd(&self, memory: vk::DeviceMemory) -> Result<OwnedFd> {
        let info = vk::MemoryGetFdInfoKHR::default().memory(memory).handle_type(MEMORY_FD);
        // SAFETY: the memory is alive and was made to be shared.
        let number = unsafe { self.memory_fds().get_memory_fd(&info) }.context("vkGetMemoryFdKHR")?;
        // SAFETY: the driver has given the descriptor to the program.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Imports memory; the descriptor comes back where the driver does not take it.
    pub(crate) fn import_memory(
        &self,
        descriptor: OwnedFd,
        memory_bytes: u64,
        memory_type: u32,
    ) -> Result<vk::DeviceMemory, (vk::Result, OwnedFd)> {
        let number = descriptor.into_raw_fd();
        let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(MEMORY_FD).fd(number);
        let allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(memory_bytes)
            .memory_type_index(memory_type)
            .push_next(&mut import);
        let imported: VkResult<vk::DeviceMemory> = self.allocate_memory(&allocate);
        // SAFETY: an import that fails leaves the descriptor to the program.
        imported.map_err(|error| (error, unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// A buffer on memory that is imported from a descriptor.
    pub(crate) fn imported_buffer(&self, descriptor: OwnedFd, size_bytes: u64) -> Result<SharedBuffer> {
        let handle = self.buffer_to_share(size_bytes)?;
        let needs = self.get_buffer_memory_requirements(handle);
        let memory_type = self.host_memory_type(needs.memory_type_bits)?;
        let memory = self.import_memory(descriptor, needs.size, memory_type).map_err(|(error, _)| error)?;
        let memory = self.keep(memory);
        self.bind_buffer_memory(handle, memory, 0)?;
        Ok(SharedBuffer { handle, memory })
    }
}
