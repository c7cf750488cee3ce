//! Device memory: the driver's own, charged to the client, or the client's own block, imported.
//!
//! *Invariants.* A charge comes before the allocation and goes with it. Imported memory stays mapped in the worker until
//! the driver has freed its side, even when the client gives the block back before.

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::sync::Arc;

use ash::vk;
use dxg_wire::session::IoAddress;
use dxg_wire::shm;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;

use super::super::SessionCalls;
use super::super::Windows;
use super::chain::Chain;
use super::driver::Driver;
use crate::failure::Violation;

const OP: &str = "ALLOCATE_MEMORY";

/// What one piece of device memory holds besides the native object.
#[derive(Debug)]
pub(crate) enum Holding {
    /// Bytes that are charged to the client.
    Charged(u64),
    /// Memory of the client that the driver uses.
    Imported(#[expect(dead_code, reason = "held, not used: it keeps the mapping alive")] SharedSlice),
}

/// How host pointers are imported on this device.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostPointers {
    /// Memory types that host pointers can be imported as; none where the device imports none.
    pub(crate) types: u32,
    /// Addresses and sizes of imported memory are multiples of this.
    pub(crate) alignment: u64,
}

/// Why there is no memory.
#[derive(Debug)]
pub(crate) enum AllocateError {
    /// The client asked for what no honest client asks for.
    Violation(Violation),
    /// The driver's answer, or ours in its place.
    Refused(vk::Result),
}

/// Where the memory comes from.
pub(crate) struct Sources<'a> {
    pub(crate) driver: &'a Driver,
    pub(crate) windows: &'a Windows,
    pub(crate) calls: &'a Arc<dyn SessionCalls>,
    pub(crate) host_pointers: HostPointers,
}

impl Sources<'_> {
    /// Allocates what `info` asks for, in the client's memory at `address` where that is not 0.
    ///
    /// # Errors
    /// [`AllocateError`]; then nothing is held or charged.
    pub(crate) fn allocate(
        &self,
        device: &ash::Device,
        info: &vk::MemoryAllocateInfo<'static>,
        address: IoAddress,
    ) -> Result<(vk::DeviceMemory, Holding), AllocateError> {
        if usize::try_from(info.memory_type_index)
            .ok()
            .and_then(|index| self.driver.memory.memory_types_as_slice().get(index))
            .is_none()
        {
            return Err(AllocateError::Violation(Violation::new(OP, "no such memory type")));
        }
        // SAFETY:
        // - the chain was decoded for this call and is used by nothing else.
        let mut chain = unsafe { Chain::new(info.p_next) };
        if !chain.types().all(is_harmless) {
            return Err(AllocateError::Violation(Violation::new(OP, "extension of the allocation")));
        }
        if let Some(export) = chain.find::<vk::ExportMemoryAllocateInfo<'_>>() {
            // A program may name no type of handle; one that names some finds out in the guest that there are none.
            export.handle_types = vk::ExternalMemoryHandleTypeFlags::empty();
        }
        if address == IoAddress(0) { self.own(device, info) } else { self.import(device, info, address) }
    }

    fn own(
        &self,
        device: &ash::Device,
        info: &vk::MemoryAllocateInfo<'static>,
    ) -> Result<(vk::DeviceMemory, Holding), AllocateError> {
        let size_bytes = info.allocation_size;
        if let Err(reason) = self.calls.charge(size_bytes) {
            tracing::debug!(size_bytes, reason = reason.name(), "device memory refused");
            return Err(AllocateError::Refused(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        }
        // SAFETY:
        // - `info` was decoded whole into memory that outlives the call, and its type and chain were checked.
        match unsafe { device.allocate_memory(info, None) } {
            Ok(memory) => Ok((memory, Holding::Charged(size_bytes))),
            Err(result) => {
                self.calls.uncharge(size_bytes);
                Err(AllocateError::Refused(result))
            }
        }
    }

    fn import(
        &self,
        device: &ash::Device,
        info: &vk::MemoryAllocateInfo<'static>,
        address: IoAddress,
    ) -> Result<(vk::DeviceMemory, Holding), AllocateError> {
        let HostPointers { types, alignment } = self.host_pointers;
        // Vulkan dedicates no host pointer to a resource. The guest's memory of its own is dedicated anyway.
        // SAFETY:
        // - the chain was decoded for this call and is used by nothing else.
        let mut chain = unsafe { Chain::new(info.p_next) };
        if let Some(dedicated) = chain.find::<vk::MemoryDedicatedAllocateInfo<'_>>() {
            dedicated.buffer = vk::Buffer::null();
            dedicated.image = vk::Image::null();
        }
        if 1_u32.checked_shl(info.memory_type_index).unwrap_or(0) & types == 0 {
            return Err(AllocateError::Violation(Violation::new(OP, "memory type that imports nothing")));
        }
        let violation = |what| AllocateError::Violation(Violation::new(OP, what));
        let size_bytes = info
            .allocation_size
            .checked_next_multiple_of(alignment.max(1))
            .ok_or_else(|| violation("size of the allocation"))?;
        let memory =
            self.windows.resolve(address, size_bytes).ok_or_else(|| violation("no window at the address"))?;
        let pointer = memory.as_ptr();
        let misaligned =
            u64::try_from(pointer.addr()).map_or(true, |at| !at.is_multiple_of(alignment.max(1)));
        if misaligned || size_bytes == 0 {
            return Err(violation("alignment of the address"));
        }
        let mut import = vk::ImportMemoryHostPointerInfoEXT::default()
            .handle_type(vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT)
            .host_pointer(pointer.cast::<c_void>());
        import.p_next = info.p_next;
        let info = vk::MemoryAllocateInfo {
            allocation_size: size_bytes,
            p_next: (&raw const import).cast(),
            ..*info
        };
        // SAFETY:
        // - `info` was decoded whole into memory that outlives the call, and its type and chain were checked;
        // - the pointer is of a mapping with room for `size_bytes`, which `Holding` keeps until the memory is freed.
        match unsafe { device.allocate_memory(&info, None) } {
            Ok(native) => Ok((native, Holding::Imported(memory))),
            Err(result) => Err(AllocateError::Refused(result)),
        }
    }
}

/// Whether a structure of an allocation names no memory of this process.
fn is_harmless(structure: vk::StructureType) -> bool {
    matches!(
        structure,
        vk::StructureType::DEDICATED_ALLOCATION_MEMORY_ALLOCATE_INFO_NV
            | vk::StructureType::EXPORT_MEMORY_ALLOCATE_INFO
            | vk::StructureType::MEMORY_ALLOCATE_FLAGS_INFO
            | vk::StructureType::MEMORY_DEDICATED_ALLOCATE_INFO
            | vk::StructureType::MEMORY_OPAQUE_CAPTURE_ADDRESS_ALLOCATE_INFO
            | vk::StructureType::MEMORY_PRIORITY_ALLOCATE_INFO_EXT
    )
}

/// Finds out which memory types import host pointers, on a device made for the question.
pub(crate) fn probe_host_pointers(driver: &Driver) -> HostPointers {
    if !driver.has_extension(ash::ext::external_memory_host::NAME) {
        return HostPointers::default();
    }
    let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut host);
    // SAFETY:
    // - the device has the extension that the structure belongs to, and is of version 1.1 or newer.
    unsafe {
        driver.library.instance.get_physical_device_properties2(driver.physical_device, &mut properties);
    }
    let alignment = host.min_imported_host_pointer_alignment;
    let types = match importable_types(driver, alignment) {
        Ok(types) => types,
        Err(error) => {
            tracing::warn!(%error, "host pointers cannot be imported");
            0
        }
    };
    HostPointers { types, alignment }
}

fn importable_types(driver: &Driver, alignment: u64) -> Result<u32, vk::Result> {
    let failed = vk::Result::ERROR_INITIALIZATION_FAILED;
    let len = usize::try_from(alignment.max(1 << 16)).map_err(|_| failed)?;
    let block = shm::create_sealed("host pointer probe", alignment.max(1 << 16)).map_err(|_| failed)?;
    let mapping =
        Mapping::map(block.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).map_err(|_| failed)?;
    let priorities = [1.0];
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&priorities)];
    let names = [ash::ext::external_memory_host::NAME.as_ptr()];
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&names);
    // SAFETY:
    // - family 0 exists on every device, and the device has the one extension that is named.
    let device = unsafe { driver.library.instance.create_device(driver.physical_device, &info, None) }?;
    let host = ash::ext::external_memory_host::Device::new(&driver.library.instance, &device);
    let mut properties = vk::MemoryHostPointerPropertiesEXT::default();
    // SAFETY:
    // - the extension is enabled on the device; the pointer is of a mapping as large as the alignment at least.
    let answer = unsafe {
        (host.fp().get_memory_host_pointer_properties_ext)(
            device.handle(),
            vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT,
            mapping.as_ptr().cast_const().cast(),
            &raw mut properties,
        )
    };
    // SAFETY:
    // - nothing was made of the device, and nothing uses it after this.
    unsafe { device.destroy_device(None) };
    answer.result_with_success(properties.memory_type_bits)
}
