//! Memory of the program that devices import.

use std::alloc::Layout;
use std::alloc::alloc_zeroed;
use std::alloc::dealloc;
use std::ptr;
use std::ptr::NonNull;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::prelude::VkResult;
use ash::vk;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::mm::mmap_anonymous;
use rustix::mm::munmap;

use super::Gpu;
use super::Physical;

/// The kind of handle that a pointer is.
pub(crate) const HOST_ALLOCATION: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

/// Whole pages from the program's allocator. They must be freed by every device before they are dropped.
pub(crate) struct HostRange {
    start: NonNull<u8>,
    layout: Layout,
    origin: Origin,
}

/// Where a range is from.
enum Origin {
    Allocator,
    SharedMapping,
}

impl HostRange {
    /// `len` zero bytes, aligned to `alignment`.
    pub(crate) fn new(len: usize, alignment: u64) -> Result<Self> {
        ensure!(len > 0, "an empty range");
        let layout = Layout::from_size_align(len, usize::try_from(alignment)?)?;
        // SAFETY: the size is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        Ok(Self { start: NonNull::new(start).context("no memory")?, layout, origin: Origin::Allocator })
    }

    /// `len` zero bytes of a mapping that a child after fork would share.
    pub(crate) fn shared(len: usize) -> Result<Self> {
        let layout = Layout::from_size_align(len, 4096)?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address where nothing is.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), len, rights, MapFlags::SHARED) }?;
        let start = NonNull::new(start.cast()).context("no memory")?;
        Ok(Self { start, layout, origin: Origin::SharedMapping })
    }

    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.layout.size()), "outside the range");
        self.start.as_ptr().wrapping_add(offset)
    }

    /// Writes through the program's own pointer.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: the range was checked; the device does not use it now.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(offset, bytes.len()), bytes.len()) };
    }

    /// Reads through the program's own pointer.
    pub(crate) fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        // SAFETY: the range was checked; the device does not use it now.
        unsafe { std::ptr::copy_nonoverlapping(self.at(offset, len), bytes.as_mut_ptr(), len) };
        bytes
    }
}

impl Drop for HostRange {
    fn drop(&mut self) {
        match self.origin {
            // SAFETY: it came from the allocator with this layout.
            Origin::Allocator => unsafe { dealloc(self.start.as_ptr(), self.layout) },
            Origin::SharedMapping => {
                // SAFETY: it is a mapping of this length that nothing uses any more.
                let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.layout.size()) };
                assert_eq!(unmapped, Ok(()), "unmapping");
            }
        }
    }
}

impl Physical {
    /// What pointers of the program must be aligned to.
    pub(crate) fn host_pointer_alignment(&self) -> u64 {
        let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
        self.properties2(&mut vk::PhysicalDeviceProperties2::default().push_next(&mut host));
        host.min_imported_host_pointer_alignment
    }

    /// `vkGetPhysicalDeviceExternalBufferProperties`.
    pub(crate) fn external_buffer(
        &self,
        info: &vk::PhysicalDeviceExternalBufferInfo<'_>,
    ) -> vk::ExternalMemoryProperties {
        let mut out = vk::ExternalBufferProperties::default();
        // SAFETY: the physical device lives as long as its instance; `info` is complete.
        unsafe {
            self.instance.raw.get_physical_device_external_buffer_properties(self.raw, info, &mut out);
        }
        out.external_memory_properties
    }
}

impl Gpu {
    /// Memory types that a range can be imported as.
    pub(crate) fn host_pointer_types(&self, range: &HostRange) -> VkResult<u32> {
        let host = self.external_memory_host.as_ref().ok_or(vk::Result::ERROR_EXTENSION_NOT_PRESENT)?;
        let mut out = vk::MemoryHostPointerPropertiesEXT::default();
        let call = host.fp().get_memory_host_pointer_properties_ext;
        let at = range.at(0, 1).cast_const().cast();
        // SAFETY: the extension is enabled, the pointer is of a live range.
        unsafe { call(host.device(), HOST_ALLOCATION, at, &mut out) }.result()?;
        Ok(out.memory_type_bits)
    }

    /// The whole range as memory of a type.
    pub(crate) fn import_as(&self, range: &HostRange, kind: u32) -> VkResult<vk::DeviceMemory> {
        self.import_part(range, 0, range.layout.size(), kind)
    }

    /// `len` bytes of a range from `offset` as memory of a type.
    pub(crate) fn import_part(
        &self,
        range: &HostRange,
        offset: usize,
        len: usize,
        kind: u32,
    ) -> VkResult<vk::DeviceMemory> {
        let mut import = vk::ImportMemoryHostPointerInfoEXT::default()
            .handle_type(HOST_ALLOCATION)
            .host_pointer(range.at(offset, len).cast());
        let info = vk::MemoryAllocateInfo::default().allocation_size(len as u64).memory_type_index(kind);
        self.allocate_memory(&info.push_next(&mut import))
    }

    /// A buffer over `len` bytes of a range from `offset`, and its memory.
    pub(crate) fn import(
        &self,
        range: &HostRange,
        offset: usize,
        len: usize,
    ) -> Result<(vk::Buffer, vk::DeviceMemory)> {
        let size = u64::try_from(len)?;
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(HOST_ALLOCATION);
        let usage = vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST;
        let create = vk::BufferCreateInfo::default().size(size).usage(usage).push_next(&mut external);
        let buffer = self.create_buffer(&create).context("vkCreateBuffer")?;
        let needs = self.get_buffer_memory_requirements(buffer);
        let types = self.host_pointer_types(range).context("vkGetMemoryHostPointerPropertiesEXT")?;
        let mut import = vk::ImportMemoryHostPointerInfoEXT::default()
            .handle_type(HOST_ALLOCATION)
            .host_pointer(range.at(offset, len).cast());
        let allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(size)
            .memory_type_index(self.host_memory_type(types & needs.memory_type_bits)?)
            .push_next(&mut import);
        let memory = self.allocate_memory(&allocate).context("vkAllocateMemory")?;
        self.bind_buffer_memory(buffer, memory, 0)?;
        Ok((buffer, memory))
    }

    /// Destroys what [`Self::import`] made.
    pub(crate) fn forget(&self, (buffer, memory): (vk::Buffer, vk::DeviceMemory)) {
        self.destroy(buffer);
        self.destroy(memory);
    }
}
