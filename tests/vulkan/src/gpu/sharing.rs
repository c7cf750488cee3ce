//! Objects by descriptor.

use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use anyhow::Context as _;
use anyhow::Result;
use ash::prelude::VkResult;
use ash::vk;

use super::Gpu;

/// The type of memory handle that all of it is about.
pub(crate) const MEMORY_FD: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;

/// The type of semaphore handle.
const SEMAPHORE_FD: vk::ExternalSemaphoreHandleTypeFlags = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
/// The type of fence handle.
const FENCE_FD: vk::ExternalFenceHandleTypeFlags = vk::ExternalFenceHandleTypeFlags::OPAQUE_FD;

/// A descriptor that a parent process left open under a number.
pub(crate) fn inherited(number: RawFd) -> OwnedFd {
    // SAFETY: the parent says that it left this descriptor to the program, which takes it once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

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

    /// What images of a kind can be, and what memory by descriptor can do for them.
    pub(crate) fn image_memory_properties(
        &self,
        tiling: vk::ImageTiling,
        handle_type: vk::ExternalMemoryHandleTypeFlags,
    ) -> VkResult<vk::ExternalMemoryProperties> {
        let mut asked = vk::PhysicalDeviceExternalImageFormatInfo::default().handle_type(handle_type);
        let info = vk::PhysicalDeviceImageFormatInfo2::default()
            .format(vk::Format::R8G8B8A8_UNORM)
            .ty(vk::ImageType::TYPE_2D)
            .tiling(tiling)
            .usage(vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::TRANSFER_DST)
            .push_next(&mut asked);
        let mut external = vk::ExternalImageFormatProperties::default();
        let mut out = vk::ImageFormatProperties2::default().push_next(&mut external);
        let instance = &self.physical.instance.raw;
        // SAFETY: both chains hold structures of Vulkan 1.1.
        unsafe { instance.get_physical_device_image_format_properties2(self.physical.raw, &info, &mut out) }?;
        Ok(external.external_memory_properties)
    }

    /// What memory by descriptor can do for buffers.
    pub(crate) fn buffer_memory_properties(
        &self,
        handle_type: vk::ExternalMemoryHandleTypeFlags,
    ) -> vk::ExternalMemoryProperties {
        let info = vk::PhysicalDeviceExternalBufferInfo::default()
            .usage(vk::BufferUsageFlags::STORAGE_BUFFER)
            .handle_type(handle_type);
        let mut out = vk::ExternalBufferProperties::default();
        let instance = &self.physical.instance.raw;
        // SAFETY: the physical device lives as long as its instance.
        unsafe {
            instance.get_physical_device_external_buffer_properties(self.physical.raw, &info, &mut out);
        }
        out.external_memory_properties
    }

    /// What semaphores by this kind of handle can do.
    pub(crate) fn semaphore_properties(
        &self,
        handle_type: vk::ExternalSemaphoreHandleTypeFlags,
    ) -> vk::ExternalSemaphoreProperties<'static> {
        let info = vk::PhysicalDeviceExternalSemaphoreInfo::default().handle_type(handle_type);
        let mut out = vk::ExternalSemaphoreProperties::default();
        let instance = &self.physical.instance.raw;
        // SAFETY: the physical device lives as long as its instance.
        unsafe {
            instance.get_physical_device_external_semaphore_properties(self.physical.raw, &info, &mut out);
        }
        out
    }

    /// What fences by this kind of handle can do.
    pub(crate) fn fence_properties(
        &self,
        handle_type: vk::ExternalFenceHandleTypeFlags,
    ) -> vk::ExternalFenceProperties<'static> {
        let info = vk::PhysicalDeviceExternalFenceInfo::default().handle_type(handle_type);
        let mut out = vk::ExternalFenceProperties::default();
        let instance = &self.physical.instance.raw;
        // SAFETY: the physical device lives as long as its instance.
        unsafe {
            instance.get_physical_device_external_fence_properties(self.physical.raw, &info, &mut out);
        }
        out
    }

    /// A semaphore that can be shared: a timeline semaphore where it has a value.
    pub(crate) fn shareable_semaphore(&self, initial: Option<u64>) -> Result<vk::Semaphore> {
        let mut export = vk::ExportSemaphoreCreateInfo::default().handle_types(SEMAPHORE_FD);
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(initial.unwrap_or(0));
        let mut create = vk::SemaphoreCreateInfo::default().push_next(&mut export);
        if initial.is_some() {
            create = create.push_next(&mut kind);
        }
        Ok(self.keep(self.create_semaphore(&create).context("vkCreateSemaphore")?))
    }

    /// A descriptor of a semaphore.
    pub(crate) fn semaphore_fd(&self, semaphore: vk::Semaphore) -> Result<OwnedFd> {
        let info = vk::SemaphoreGetFdInfoKHR::default().semaphore(semaphore).handle_type(SEMAPHORE_FD);
        let calls = ash::khr::external_semaphore_fd::Device::new(&self.physical.instance.raw, &self.raw);
        // SAFETY: the semaphore is alive and can be shared.
        let number = unsafe { calls.get_semaphore_fd(&info) }.context("vkGetSemaphoreFdKHR")?;
        // SAFETY: the driver has given the descriptor to the program.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Imports a payload into a semaphore; the descriptor comes back where the driver does not take it.
    pub(crate) fn import_semaphore(
        &self,
        semaphore: vk::Semaphore,
        descriptor: OwnedFd,
        flags: vk::SemaphoreImportFlags,
    ) -> Result<(), (vk::Result, OwnedFd)> {
        let info = vk::ImportSemaphoreFdInfoKHR::default()
            .semaphore(semaphore)
            .flags(flags)
            .handle_type(SEMAPHORE_FD)
            .fd(descriptor.as_raw_fd());
        let calls = ash::khr::external_semaphore_fd::Device::new(&self.physical.instance.raw, &self.raw);
        // SAFETY: the semaphore is alive and no submission names it.
        match unsafe { calls.import_semaphore_fd(&info) } {
            Ok(()) => {
                // The driver's now.
                let _ = descriptor.into_raw_fd();
                Ok(())
            }
            Err(error) => Err((error, descriptor)),
        }
    }

    /// A fence that can be shared.
    pub(crate) fn shareable_fence(&self, flags: vk::FenceCreateFlags) -> Result<vk::Fence> {
        let mut export = vk::ExportFenceCreateInfo::default().handle_types(FENCE_FD);
        let create = vk::FenceCreateInfo::default().flags(flags).push_next(&mut export);
        Ok(self.keep(self.create_fence(&create).context("vkCreateFence")?))
    }

    /// A descriptor of a fence.
    pub(crate) fn fence_fd(&self, fence: vk::Fence) -> Result<OwnedFd> {
        let info = vk::FenceGetFdInfoKHR::default().fence(fence).handle_type(FENCE_FD);
        let calls = ash::khr::external_fence_fd::Device::new(&self.physical.instance.raw, &self.raw);
        // SAFETY: the fence is alive and can be shared.
        let number = unsafe { calls.get_fence_fd(&info) }.context("vkGetFenceFdKHR")?;
        // SAFETY: the driver has given the descriptor to the program.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Imports a payload into a fence; the descriptor comes back where the driver does not take it.
    pub(crate) fn import_fence(
        &self,
        fence: vk::Fence,
        descriptor: OwnedFd,
        flags: vk::FenceImportFlags,
    ) -> Result<(), (vk::Result, OwnedFd)> {
        let info = vk::ImportFenceFdInfoKHR::default()
            .fence(fence)
            .flags(flags)
            .handle_type(FENCE_FD)
            .fd(descriptor.as_raw_fd());
        let calls = ash::khr::external_fence_fd::Device::new(&self.physical.instance.raw, &self.raw);
        // SAFETY: the fence is alive and no submission names it.
        match unsafe { calls.import_fence_fd(&info) } {
            Ok(()) => {
                // The driver's now.
                let _ = descriptor.into_raw_fd();
                Ok(())
            }
            Err(error) => Err((error, descriptor)),
        }
    }
}
