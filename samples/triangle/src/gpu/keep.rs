//! A copy of a frame that the CPU can read.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use ash::vk;

use super::Gpu;
use super::swapchain::Swapchain;
use crate::picture::Picture;

/// A buffer with a frame's pixels, once the frame's commands are done.
pub(super) struct Kept {
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    extent: vk::Extent2D,
    /// Where red, green and blue are in a pixel's four bytes.
    order: [usize; 3],
}

impl Kept {
    /// Makes room for a frame of `extent`.
    pub(super) fn new(gpu: &Gpu, extent: vk::Extent2D, format: vk::Format) -> Result<Self> {
        let order = match format {
            vk::Format::B8G8R8A8_UNORM | vk::Format::B8G8R8A8_SRGB => [2, 1, 0],
            vk::Format::R8G8B8A8_UNORM | vk::Format::R8G8B8A8_SRGB => [0, 1, 2],
            other => bail!("a frame in format {other:?} cannot be written to a PNG"),
        };
        let bytes = u64::from(extent.width) * u64::from(extent.height) * 4;
        let create = vk::BufferCreateInfo::default().size(bytes).usage(vk::BufferUsageFlags::TRANSFER_DST);
        // SAFETY: `create` is complete.
        let buffer = unsafe { gpu.device.create_buffer(&create, None) }?;
        // SAFETY: `buffer` is of this device.
        let needs = unsafe { gpu.device.get_buffer_memory_requirements(buffer) };
        // SAFETY: `physical` is one of `instance`.
        let types = unsafe { gpu.instance.get_physical_device_memory_properties(gpu.physical) };
        let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let index = (0..types.memory_type_count)
            .find(|i| {
                needs.memory_type_bits >> i & 1 == 1
                    && types.memory_types[*i as usize].property_flags.contains(wanted)
            })
            .context("no host-visible memory for a buffer")?;
        let allocate = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(index);
        // SAFETY: `allocate` is complete.
        let memory = unsafe { gpu.device.allocate_memory(&allocate, None) }?;
        // SAFETY: both are of this device, neither is bound, the size fits.
        unsafe { gpu.device.bind_buffer_memory(buffer, memory, 0) }?;
        Ok(Self { buffer, memory, extent, order })
    }

    /// Records the copy; the image is a transfer's source.
    pub(super) fn record(&self, gpu: &Gpu, cb: vk::CommandBuffer, swapchain: &Swapchain, index: usize) {
        let layers =
            vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1);
        let regions =
            [vk::BufferImageCopy::default().image_subresource(layers).image_extent(self.extent.into())];
        let (image, layout) = (swapchain.images[index].image, vk::ImageLayout::TRANSFER_SRC_OPTIMAL);
        // SAFETY: recording; the buffer holds the whole image.
        unsafe { gpu.device.cmd_copy_image_to_buffer(cb, image, layout, self.buffer, &regions) };
        let barrier = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::COPY)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::HOST)
            .dst_access_mask(vk::AccessFlags2::HOST_READ)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
        // SAFETY: recording.
        unsafe { gpu.device.cmd_pipeline_barrier2(cb, &dependency) };
    }

    /// The picture; the frame's commands are done.
    pub(super) fn read(&self, gpu: &Gpu) -> Result<Picture> {
        let size = [self.extent.width, self.extent.height];
        let bytes = u64::from(size[0]) * u64::from(size[1]) * 4;
        // SAFETY: the memory is host-visible and not mapped.
        let data = unsafe { gpu.device.map_memory(self.memory, 0, bytes, vk::MemoryMapFlags::empty()) }?;
        // SAFETY: the mapping is `bytes` long, the GPU is done with it, and it is not written while we look.
        let pixels = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), usize::try_from(bytes)?) };
        let pixels = pixels.chunks_exact(4).flat_map(|pixel| self.order.map(|i| pixel[i])).collect();
        // SAFETY: it was mapped above, and nobody looks at it any more.
        unsafe { gpu.device.unmap_memory(self.memory) };
        Ok(Picture { size, pixels })
    }

    /// Destroys it; no command uses it any more.
    pub(super) fn destroy(&self, gpu: &Gpu) {
        // SAFETY: the caller has waited.
        unsafe { gpu.device.destroy_buffer(self.buffer, None) };
        // SAFETY: as above.
        unsafe { gpu.device.free_memory(self.memory, None) };
    }
}
