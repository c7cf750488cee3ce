//! Buffers with memory of their own, mapped, and mapping by hand.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::prelude::VkResult;
use ash::vk;

use super::Gpu;

/// What most buffers here are used for.
const USUAL: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(
    vk::BufferUsageFlags::STORAGE_BUFFER.as_raw()
        | vk::BufferUsageFlags::UNIFORM_BUFFER.as_raw()
        | vk::BufferUsageFlags::INDIRECT_BUFFER.as_raw()
        | vk::BufferUsageFlags::VERTEX_BUFFER.as_raw()
        | vk::BufferUsageFlags::INDEX_BUFFER.as_raw()
        | vk::BufferUsageFlags::TRANSFER_SRC.as_raw()
        | vk::BufferUsageFlags::TRANSFER_DST.as_raw(),
);

/// Memory that the host writes and reads without flushing.
const HOST: vk::MemoryPropertyFlags = vk::MemoryPropertyFlags::from_raw(
    vk::MemoryPropertyFlags::HOST_VISIBLE.as_raw() | vk::MemoryPropertyFlags::HOST_COHERENT.as_raw(),
);

/// A buffer that is mapped whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    pub(crate) handle: vk::Buffer,
    pub(crate) memory: vk::DeviceMemory,
    pub(crate) size_bytes: u64,
    address: usize,
}

/// What a buffer is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferInfo {
    pub(crate) size_bytes: u64,
    pub(crate) usage: vk::BufferUsageFlags,
    pub(crate) allocate: vk::MemoryAllocateFlags,
}

impl Gpu {
    /// The first memory type among `bits` that has `flags`.
    pub(crate) fn memory_type(&self, bits: u32, flags: vk::MemoryPropertyFlags) -> Option<u32> {
        let types = self.memory.memory_types_as_slice().iter().zip(0..);
        types
            .filter(|(_, index)| bits >> index & 1 == 1)
            .find(|(kind, _)| kind.property_flags.contains(flags))
            .map(|(_, index)| index)
    }

    /// The memory type for mapped buffers among `bits`.
    pub(crate) fn host_memory_type(&self, bits: u32) -> Result<u32> {
        self.memory_type(bits, HOST).context("no host-visible coherent memory")
    }

    /// A mapped buffer for the usual uses; its contents are zero.
    pub(crate) fn buffer(&self, size_bytes: u64) -> Result<Buffer> {
        self.buffer_with(BufferInfo { size_bytes, usage: USUAL, allocate: vk::MemoryAllocateFlags::empty() })
    }

    /// A mapped buffer with these contents.
    pub(crate) fn buffer_of<T: bytemuck::NoUninit>(&self, contents: &[T]) -> Result<Buffer> {
        let buffer = self.buffer(u64::try_from(size_of_val(contents))?)?;
        buffer.write(0, contents);
        Ok(buffer)
    }

    /// A mapped buffer; its contents are zero.
    pub(crate) fn buffer_with(&self, info: BufferInfo) -> Result<Buffer> {
        let create = vk::BufferCreateInfo::default().size(info.size_bytes).usage(info.usage);
        let handle = self.keep(self.create_buffer(&create).context("vkCreateBuffer")?);
        let needs = self.get_buffer_memory_requirements(handle);
        let memory_type = self.host_memory_type(needs.memory_type_bits)?;
        let mut flags = vk::MemoryAllocateFlagsInfo::default().flags(info.allocate);
        let mut allocate =
            vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(memory_type);
        if !info.allocate.is_empty() {
            allocate = allocate.push_next(&mut flags);
        }
        let memory = self.keep(self.allocate_memory(&allocate).context("vkAllocateMemory")?);
        self.bind_buffer_memory(handle, memory, 0)?;
        let address = self.map(memory, 0, vk::WHOLE_SIZE)?;
        let buffer = Buffer { handle, memory, size_bytes: info.size_bytes, address };
        buffer.write(0, &vec![0_u8; usize::try_from(info.size_bytes)?]);
        Ok(buffer)
    }

    /// Maps memory and gives the address.
    pub(crate) fn map(&self, memory: vk::DeviceMemory, offset: u64, size: u64) -> VkResult<usize> {
        // SAFETY: the scenario maps host-visible memory that is not mapped, inside its size.
        let address = unsafe { self.raw.map_memory(memory, offset, size, vk::MemoryMapFlags::empty()) }?;
        Ok(address as usize)
    }

    /// Unmaps memory.
    pub(crate) fn unmap(&self, memory: vk::DeviceMemory) {
        // SAFETY: the scenario unmaps what it mapped and forgets the address.
        unsafe { self.raw.unmap_memory(memory) };
    }

    /// `vkFlushMappedMemoryRanges`.
    pub(crate) fn flush(&self, ranges: &[vk::MappedMemoryRange<'_>]) -> VkResult<()> {
        // SAFETY: the ranges are mapped.
        unsafe { self.raw.flush_mapped_memory_ranges(ranges) }
    }

    /// `vkInvalidateMappedMemoryRanges`.
    pub(crate) fn invalidate(&self, ranges: &[vk::MappedMemoryRange<'_>]) -> VkResult<()> {
        // SAFETY: the ranges are mapped.
        unsafe { self.raw.invalidate_mapped_memory_ranges(ranges) }
    }

    /// Writes through a buffer of memory that was mapped by hand: `memory` mapped from `offset` for `bytes`.
    pub(crate) fn write_mapped(&self, memory: vk::DeviceMemory, offset: u64, bytes: &[u8]) -> Result<()> {
        ensure!(!bytes.is_empty(), "nothing to map");
        let address = self.map(memory, offset, u64::try_from(bytes.len())?)?;
        // SAFETY: the mapping is as long as `bytes` and is ours alone.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        self.unmap(memory);
        Ok(())
    }

    /// Reads memory that is not mapped.
    pub(crate) fn read_mapped(&self, memory: vk::DeviceMemory, offset: u64, len: usize) -> Result<Vec<u8>> {
        ensure!(len > 0, "nothing to map");
        let address = self.map(memory, offset, u64::try_from(len)?)?;
        let mut bytes = vec![0; len];
        // SAFETY: the mapping is as long as `bytes`; the device is done with it.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), len) };
        self.unmap(memory);
        Ok(bytes)
    }
}

impl Buffer {
    fn check(&self, offset_bytes: usize, len: usize) {
        let end = offset_bytes.checked_add(len).and_then(|end| u64::try_from(end).ok());
        assert!(end.is_some_and(|end| end <= self.size_bytes), "outside the buffer");
    }

    /// Writes at an offset.
    pub(crate) fn write<T: bytemuck::NoUninit>(&self, offset_bytes: usize, values: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        self.check(offset_bytes, bytes.len());
        let to = (self.address + offset_bytes) as *mut u8;
        // SAFETY: the range lies inside the mapping, which lives as long as the buffer's device.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Reads values from an offset.
    pub(crate) fn read<T: bytemuck::Pod>(&self, offset_bytes: usize, count: usize) -> Vec<T> {
        let mut values = vec![T::zeroed(); count];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
        self.check(offset_bytes, bytes.len());
        let from = (self.address + offset_bytes) as *const u8;
        // SAFETY: the range lies inside the mapping, which lives as long as the buffer's device.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        values
    }

    /// The whole buffer as 32-bit words.
    pub(crate) fn words(&self) -> Vec<u32> {
        self.read(0, usize::try_from(self.size_bytes / 4).unwrap_or(0))
    }
}
