//! The images of a swapchain and the memory that a window system reads them from.
//!
//! *Why two ways.* Where the host's driver can draw into linear images in imported memory, the image itself lies in memory that the
//! window system maps, and nothing is copied. Elsewhere the image is the driver's own, and presenting copies it into such memory.

// UNSAFETY: calls this driver's own entry points, which take handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers")]

use std::collections::HashMap;
use std::sync::Arc;

use ash::vk;
use parking_lot::Mutex;
use tracing::debug;

use crate::device::Device;
use crate::ffi::binding;
use crate::ffi::command;
use crate::ffi::forward;
use crate::ffi::memory;
use crate::ffi::resources;
use crate::generated::entry;
use crate::link::Block;
use crate::link::lease_failure;
use crate::wsi::Picture;

const COLOR: vk::ImageSubresourceLayers = vk::ImageSubresourceLayers {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    mip_level: 0,
    base_array_layer: 0,
    layer_count: 1,
};

/// What the images of a swapchain are.
#[derive(Clone, Debug)]
pub(super) struct ImageSpec {
    pub(super) format: vk::Format,
    pub(super) extent: vk::Extent2D,
    pub(super) layers: u32,
    pub(super) usage: vk::ImageUsageFlags,
    pub(super) families: Vec<u32>,
    pub(super) flags: vk::ImageCreateFlags,
    pub(super) view_formats: Vec<vk::Format>,
    pub(super) tiling: vk::ImageTiling,
}

/// One image with its memory.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) handle: vk::Image,
    pub(super) memory: vk::DeviceMemory,
    copy: Option<Copy>,
}

/// Where an image is copied to when it is presented, and the command buffers that do it, by queue family.
#[derive(Debug)]
struct Copy {
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    commands: Mutex<HashMap<u32, (vk::CommandPool, vk::CommandBuffer)>>,
}

/// Makes the images of a swapchain one after the other; what was made is destroyed with it.
#[derive(Debug)]
pub(super) struct Images {
    device: Arc<Device>,
    handle: vk::Device,
    pub(super) spec: ImageSpec,
    pub(super) images: Vec<Image>,
}

/// Whether linear images of this format can be all that is asked of the images.
pub(super) fn can_be_linear(device: &Device, spec: &ImageSpec) -> bool {
    use vk::FormatFeatureFlags2 as Feature;
    use vk::ImageUsageFlags as Usage;
    let needs = [
        (Usage::TRANSFER_SRC, Feature::TRANSFER_SRC),
        (Usage::TRANSFER_DST, Feature::TRANSFER_DST),
        (Usage::SAMPLED, Feature::SAMPLED_IMAGE | Feature::SAMPLED_IMAGE_FILTER_LINEAR),
        (Usage::STORAGE, Feature::STORAGE_IMAGE),
        (Usage::COLOR_ATTACHMENT, Feature::COLOR_ATTACHMENT | Feature::COLOR_ATTACHMENT_BLEND),
        (Usage::INPUT_ATTACHMENT, Feature::COLOR_ATTACHMENT),
    ];
    let formats = &device.physical.description.formats;
    let Some(format) = formats.get(&spec.format) else { return false };
    spec.layers == 1
        && needs
            .iter()
            .all(|(usage, feature)| !spec.usage.contains(*usage) || format.linear.contains(*feature))
}

impl Images {
    pub(super) fn new(device: &Arc<Device>, handle: vk::Device, spec: ImageSpec) -> Self {
        Self { device: Arc::clone(device), handle, spec, images: Vec::new() }
    }

    /// The first memory type among `bits` that this process can share, or any.
    fn memory_type(&self, bits: u32, is_shared: bool) -> Result<u32, vk::Result> {
        let description = &self.device.physical.description;
        let mut types = (0..description.memory.memory_type_count).filter(|index| bits >> index & 1 == 1);
        types
            .find(|index| !is_shared || description.is_imported(*index))
            .ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)
    }

    fn create(&self) -> Result<vk::Image, vk::Result> {
        let spec = &self.spec;
        let mut list = vk::ImageFormatListCreateInfo::default().view_formats(&spec.view_formats);
        let is_shared = spec.families.len() > 1;
        let mut info = vk::ImageCreateInfo::default()
            .flags(spec.flags)
            .image_type(vk::ImageType::TYPE_2D)
            .format(spec.format)
            .extent(spec.extent.into())
            .mip_levels(1)
            .array_layers(spec.layers)
            .samples(vk::SampleCountFlags::TYPE_1)
            .tiling(spec.tiling)
            .usage(spec.usage)
            .sharing_mode(if is_shared { vk::SharingMode::CONCURRENT } else { vk::SharingMode::EXCLUSIVE });
        if is_shared {
            info = info.queue_family_indices(&spec.families);
        }
        if !spec.view_formats.is_empty() {
            info = info.push_next(&mut list);
        }
        let mut image = vk::Image::null();
        // SAFETY: a live device, a valid structure and a place for the handle.
        unsafe { resources::create_image(self.handle, &info, std::ptr::null(), &mut image) }.result()?;
        Ok(image)
    }

    /// Leases a block of its own and makes it device memory.
    fn shared_memory(
        &self,
        needs: vk::MemoryRequirements,
    ) -> Result<(vk::DeviceMemory, Picture), vk::Result> {
        let device = &self.device;
        let memory_type = self.memory_type(needs.memory_type_bits, true)?;
        let alignment = device.physical.description.import_alignment_bytes.max(4096);
        let size_bytes =
            needs.size.checked_next_multiple_of(alignment).ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?;
        let leased = device.physical.streams.lease_with_descriptor(size_bytes);
        let (lease, descriptor) = leased.map_err(|error| lease_failure(&error))?;
        let memory_bytes = lease.size_bytes();
        let block = Arc::new(Block::of_lease(lease));
        let mapping = block.memory().clone();
        let info =
            vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(memory_type);
        // SAFETY: a valid structure without chain; the block is large enough.
        let memory = unsafe { memory::allocate_block(device, &info, block) }?;
        let picture = Picture { memory: descriptor, memory_bytes, offset_bytes: 0, row_bytes: 0, mapping };
        Ok((memory, picture))
    }

    fn plain_memory(&self, needs: vk::MemoryRequirements) -> Result<vk::DeviceMemory, vk::Result> {
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(self.memory_type(needs.memory_type_bits, false)?);
        let mut memory = vk::DeviceMemory::null();
        // SAFETY: a live device, a valid structure and a place for the handle.
        unsafe { memory::allocate_memory(self.handle, &info, std::ptr::null(), &mut memory) }.result()?;
        Ok(memory)
    }

    /// Makes one image that nobody but the device sees.
    pub(super) fn add_plain(&mut self) -> Result<(), vk::Result> {
        let handle = self.create()?;
        self.images.push(Image { handle, memory: vk::DeviceMemory::null(), copy: None });
        let mut needs = vk::MemoryRequirements::default();
        // SAFETY: a live device and image, and a place for the answer.
        unsafe { resources::get_image_memory_requirements(self.handle, handle, &mut needs) };
        let memory = self.plain_memory(needs)?;
        self.bind_last(memory)
    }

    fn bind_last(&mut self, memory: vk::DeviceMemory) -> Result<(), vk::Result> {
        let Some(image) = self.images.last_mut() else { return Ok(()) };
        image.memory = memory;
        // SAFETY: live objects of one device.
        unsafe { binding::bind_image_memory(self.handle, image.handle, memory, 0) }.result()
    }

    /// Makes one image that the window system reads where it lies.
    pub(super) fn add_linear(&mut self) -> Result<Picture, vk::Result> {
        let handle = self.create()?;
        self.images.push(Image { handle, memory: vk::DeviceMemory::null(), copy: None });
        let mut needs = vk::MemoryRequirements::default();
        // SAFETY: a live device and image, and a place for the answer.
        unsafe { resources::get_image_memory_requirements(self.handle, handle, &mut needs) };
        let (memory, mut picture) = self.shared_memory(needs)?;
        self.bind_last(memory)?;
        let first = vk::ImageSubresource { aspect_mask: vk::ImageAspectFlags::COLOR, ..Default::default() };
        let mut layout = vk::SubresourceLayout::default();
        // SAFETY: a live linear image, and a place for the answer.
        unsafe { entry::get_image_subresource_layout(self.handle, handle, &first, &mut layout) };
        self.device.check()?;
        picture.offset_bytes = layout.offset;
        picture.row_bytes =
            u32::try_from(layout.row_pitch).map_err(|_| vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?;
        let rows = u64::from(self.spec.extent.height).saturating_mul(layout.row_pitch);
        if layout.row_pitch % 4 != 0 || layout.offset.saturating_add(rows) > picture.memory_bytes {
            debug!(?layout, "the rows of a linear image are of no use to a window system");
            return Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        }
        Ok(picture)
    }

    /// Makes one image that is copied when it is presented.
    pub(super) fn add_copied(&mut self) -> Result<Picture, vk::Result> {
        self.add_plain()?;
        let row_bytes = self.spec.extent.width.saturating_mul(4);
        let size = u64::from(row_bytes) * u64::from(self.spec.extent.height);
        let info = vk::BufferCreateInfo::default().size(size).usage(vk::BufferUsageFlags::TRANSFER_DST);
        let mut buffer = vk::Buffer::null();
        // SAFETY: a live device, a valid structure and a place for the handle.
        unsafe { resources::create_buffer(self.handle, &info, std::ptr::null(), &mut buffer) }.result()?;
        let copy = Copy { buffer, memory: vk::DeviceMemory::null(), commands: Mutex::default() };
        if let Some(image) = self.images.last_mut() {
            image.copy = Some(copy);
        }
        let mut needs = vk::MemoryRequirements::default();
        // SAFETY: a live device and buffer, and a place for the answer.
        unsafe { resources::get_buffer_memory_requirements(self.handle, buffer, &mut needs) };
        let (memory, mut picture) = self.shared_memory(needs)?;
        if let Some(copy) = self.images.last_mut().and_then(|image| image.copy.as_mut()) {
            copy.memory = memory;
        }
        // SAFETY: live objects of one device.
        unsafe { binding::bind_buffer_memory(self.handle, buffer, memory, 0) }.result()?;
        picture.row_bytes = row_bytes;
        Ok(picture)
    }

    /// The id of the command buffer that copies an image, for a queue of this family; none where nothing is copied.
    pub(super) fn copy_commands(&self, image: usize, family: u32) -> Result<Option<u64>, vk::Result> {
        let Some(image) = self.images.get(image) else { return Ok(None) };
        let Some(copy) = &image.copy else { return Ok(None) };
        let mut commands = copy.commands.lock();
        let buffer = match commands.get(&family) {
            Some((_, buffer)) => *buffer,
            None => {
                let (pool, buffer) = self.record_copy(image.handle, copy.buffer, family)?;
                commands.insert(family, (pool, buffer));
                buffer
            }
        };
        // SAFETY: a live command buffer.
        Ok(Some(unsafe { forward::command_buffer_id(buffer) }))
    }

    fn record_copy(
        &self,
        image: vk::Image,
        to: vk::Buffer,
        family: u32,
    ) -> Result<(vk::CommandPool, vk::CommandBuffer), vk::Result> {
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(family);
        let mut pool = vk::CommandPool::null();
        // SAFETY: a live device, a valid structure and a place for the handle.
        unsafe { command::create_command_pool(self.handle, &info, std::ptr::null(), &mut pool) }.result()?;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        let mut buffer = vk::CommandBuffer::null();
        // SAFETY: as above.
        let made = unsafe { command::allocate_command_buffers(self.handle, &info, &mut buffer) };
        // SAFETY: a live command buffer that is not recording.
        let recorded = made.result().and_then(|()| unsafe { self.record_into(buffer, image, to) });
        if let Err(error) = recorded {
            // SAFETY: a pool that nothing uses.
            unsafe { command::destroy_command_pool(self.handle, pool, std::ptr::null()) };
            return Err(error);
        }
        Ok((pool, buffer))
    }

    /// # Safety
    /// `buffer` is a live command buffer that is not recording, the others live objects of the device.
    unsafe fn record_into(
        &self,
        buffer: vk::CommandBuffer,
        image: vk::Image,
        to: vk::Buffer,
    ) -> Result<(), vk::Result> {
        let info = vk::CommandBufferBeginInfo::default();
        // SAFETY: the caller's command buffer, and a valid structure.
        unsafe { command::begin_command_buffer(buffer, &info) }.result()?;
        let (seen, source) = (vk::ImageLayout::PRESENT_SRC_KHR, vk::ImageLayout::TRANSFER_SRC_OPTIMAL);
        let change = |from, into, reads| {
            vk::ImageMemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
                .dst_access_mask(reads)
                .old_layout(from)
                .new_layout(into)
                .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .image(image)
                .subresource_range(vk::ImageSubresourceRange {
                    aspect_mask: vk::ImageAspectFlags::COLOR,
                    level_count: 1,
                    layer_count: self.spec.layers,
                    ..Default::default()
                })
        };
        let barrier = |change: vk::ImageMemoryBarrier<'_>| {
            let all = vk::PipelineStageFlags::ALL_COMMANDS;
            let none = vk::DependencyFlags::empty();
            // SAFETY: recording; one barrier of a live image.
            unsafe {
                entry::cmd_pipeline_barrier(
                    buffer,
                    all,
                    all,
                    none,
                    0,
                    std::ptr::null(),
                    0,
                    std::ptr::null(),
                    1,
                    &change,
                );
            }
        };
        barrier(change(seen, source, vk::AccessFlags::TRANSFER_READ));
        let region = vk::BufferImageCopy {
            image_subresource: COLOR,
            image_extent: self.spec.extent.into(),
            ..Default::default()
        };
        // SAFETY: recording; the buffer has room for the image.
        unsafe { entry::cmd_copy_image_to_buffer(buffer, image, source, to, 1, &region) };
        barrier(change(source, seen, vk::AccessFlags::empty()));
        // SAFETY: the caller's command buffer, recording.
        unsafe { command::end_command_buffer(buffer) }.result()
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let none = std::ptr::null();
        for image in self.images.drain(..) {
            if let Some(copy) = image.copy {
                for (pool, _) in copy.commands.into_inner().into_values() {
                    // SAFETY: ours, and nothing uses it any more.
                    unsafe { command::destroy_command_pool(self.handle, pool, none) };
                }
                // SAFETY: as above.
                unsafe { resources::destroy_buffer(self.handle, copy.buffer, none) };
                // SAFETY: as above.
                unsafe { memory::free_memory(self.handle, copy.memory, none) };
            }
            // SAFETY: as above.
            unsafe { resources::destroy_image(self.handle, image.handle, none) };
            // SAFETY: as above.
            unsafe { memory::free_memory(self.handle, image.memory, none) };
        }
    }
}
