//! The device's calls under their own names.

use ash::prelude::VkResult;
use ash::vk;

use super::Gpu;

/// A handle that one call destroys.
pub(crate) trait Object: Copy + Send + 'static {
    /// Destroys it.
    fn destroy(self, gpu: &Gpu);
}

/// Objects with a call that makes and one that destroys them.
macro_rules! objects {
    ($($handle:ident($info:ident): $create:ident, $destroy:ident;)*) => {
        $(
            impl Object for vk::$handle {
                fn destroy(self, gpu: &Gpu) {
                    gpu.$destroy(self);
                }
            }
        )*
        impl Gpu {
            $(
                pub(crate) fn $create(&self, info: &vk::$info<'_>) -> VkResult<vk::$handle> {
                    // SAFETY: the device is alive; the scenario describes a valid object.
                    unsafe { self.raw.$create(info, None) }
                }

                pub(crate) fn $destroy(&self, handle: vk::$handle) {
                    // SAFETY: the handle is of this device; the scenario no longer uses it, nor does the device.
                    unsafe { self.raw.$destroy(handle, None) };
                }
            )*
        }
    };
}

objects! {
    Buffer(BufferCreateInfo): create_buffer, destroy_buffer;
    BufferView(BufferViewCreateInfo): create_buffer_view, destroy_buffer_view;
    CommandPool(CommandPoolCreateInfo): create_command_pool, destroy_command_pool;
    DescriptorPool(DescriptorPoolCreateInfo): create_descriptor_pool, destroy_descriptor_pool;
    DescriptorSetLayout(DescriptorSetLayoutCreateInfo): create_descriptor_set_layout, destroy_descriptor_set_layout;
    DescriptorUpdateTemplate(DescriptorUpdateTemplateCreateInfo):
        create_descriptor_update_template, destroy_descriptor_update_template;
    DeviceMemory(MemoryAllocateInfo): allocate_memory, free_memory;
    Framebuffer(FramebufferCreateInfo): create_framebuffer, destroy_framebuffer;
    RenderPass(RenderPassCreateInfo): create_render_pass, destroy_render_pass;
    Event(EventCreateInfo): create_event, destroy_event;
    Fence(FenceCreateInfo): create_fence, destroy_fence;
    Image(ImageCreateInfo): create_image, destroy_image;
    ImageView(ImageViewCreateInfo): create_image_view, destroy_image_view;
    PipelineCache(PipelineCacheCreateInfo): create_pipeline_cache, destroy_pipeline_cache;
    PipelineLayout(PipelineLayoutCreateInfo): create_pipeline_layout, destroy_pipeline_layout;
    PrivateDataSlot(PrivateDataSlotCreateInfo): create_private_data_slot, destroy_private_data_slot;
    QueryPool(QueryPoolCreateInfo): create_query_pool, destroy_query_pool;
    Sampler(SamplerCreateInfo): create_sampler, destroy_sampler;
    Semaphore(SemaphoreCreateInfo): create_semaphore, destroy_semaphore;
    ShaderModule(ShaderModuleCreateInfo): create_shader_module, destroy_shader_module;
}

impl Object for vk::Pipeline {
    fn destroy(self, gpu: &Gpu) {
        // SAFETY: the handle is of this device; the scenario no longer uses it, nor does the device.
        unsafe { gpu.raw.destroy_pipeline(self, None) };
    }
}

/// Calls that are passed on as they are.
macro_rules! calls {
    ($(fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $out:ty)?;)*) => {
        impl Gpu {
            $(
                pub(crate) fn $name(&self, $($argument: $kind),*) $(-> $out)? {
                    // SAFETY: the device is alive; the scenario keeps the call's valid usage.
                    unsafe { self.raw.$name($($argument),*) }
                }
            )*
        }
    };
}

calls! {
    fn allocate_command_buffers(info: &vk::CommandBufferAllocateInfo<'_>) -> VkResult<Vec<vk::CommandBuffer>>;
    fn allocate_descriptor_sets(info: &vk::DescriptorSetAllocateInfo<'_>) -> VkResult<Vec<vk::DescriptorSet>>;
    fn begin_command_buffer(buffer: vk::CommandBuffer, info: &vk::CommandBufferBeginInfo<'_>) -> VkResult<()>;
    fn bind_buffer_memory(buffer: vk::Buffer, memory: vk::DeviceMemory, offset: u64) -> VkResult<()>;
    fn bind_buffer_memory2(infos: &[vk::BindBufferMemoryInfo<'_>]) -> VkResult<()>;
    fn bind_image_memory(image: vk::Image, memory: vk::DeviceMemory, offset: u64) -> VkResult<()>;
    fn bind_image_memory2(infos: &[vk::BindImageMemoryInfo<'_>]) -> VkResult<()>;
    fn device_wait_idle() -> VkResult<()>;
    fn end_command_buffer(buffer: vk::CommandBuffer) -> VkResult<()>;
    fn free_command_buffers(pool: vk::CommandPool, buffers: &[vk::CommandBuffer]);
    fn free_descriptor_sets(pool: vk::DescriptorPool, sets: &[vk::DescriptorSet]) -> VkResult<()>;
    fn get_buffer_device_address(info: &vk::BufferDeviceAddressInfo<'_>) -> u64;
    fn get_buffer_memory_requirements(buffer: vk::Buffer) -> vk::MemoryRequirements;
    fn get_buffer_memory_requirements2(
        info: &vk::BufferMemoryRequirementsInfo2<'_>, out: &mut vk::MemoryRequirements2<'_>);
    fn get_descriptor_set_layout_support(
        info: &vk::DescriptorSetLayoutCreateInfo<'_>, out: &mut vk::DescriptorSetLayoutSupport<'_>);
    fn get_device_buffer_memory_requirements(
        info: &vk::DeviceBufferMemoryRequirements<'_>, out: &mut vk::MemoryRequirements2<'_>);
    fn get_device_image_memory_requirements(
        info: &vk::DeviceImageMemoryRequirements<'_>, out: &mut vk::MemoryRequirements2<'_>);
    fn get_event_status(event: vk::Event) -> VkResult<bool>;
    fn get_fence_status(fence: vk::Fence) -> VkResult<bool>;
    fn get_image_memory_requirements(image: vk::Image) -> vk::MemoryRequirements;
    fn get_image_memory_requirements2(
        info: &vk::ImageMemoryRequirementsInfo2<'_>, out: &mut vk::MemoryRequirements2<'_>);
    fn get_image_subresource_layout(image: vk::Image, which: vk::ImageSubresource) -> vk::SubresourceLayout;
    fn get_pipeline_cache_data(cache: vk::PipelineCache) -> VkResult<Vec<u8>>;
    fn get_semaphore_counter_value(semaphore: vk::Semaphore) -> VkResult<u64>;
    fn merge_pipeline_caches(into: vk::PipelineCache, from: &[vk::PipelineCache]) -> VkResult<()>;
    fn queue_submit(queue: vk::Queue, batches: &[vk::SubmitInfo<'_>], fence: vk::Fence) -> VkResult<()>;
    fn queue_submit2(queue: vk::Queue, batches: &[vk::SubmitInfo2<'_>], fence: vk::Fence) -> VkResult<()>;
    fn queue_wait_idle(queue: vk::Queue) -> VkResult<()>;
    fn reset_command_buffer(buffer: vk::CommandBuffer, flags: vk::CommandBufferResetFlags) -> VkResult<()>;
    fn reset_command_pool(pool: vk::CommandPool, flags: vk::CommandPoolResetFlags) -> VkResult<()>;
    fn reset_descriptor_pool(pool: vk::DescriptorPool, flags: vk::DescriptorPoolResetFlags) -> VkResult<()>;
    fn reset_event(event: vk::Event) -> VkResult<()>;
    fn reset_fences(fences: &[vk::Fence]) -> VkResult<()>;
    fn reset_query_pool(pool: vk::QueryPool, first: u32, count: u32);
    fn set_event(event: vk::Event) -> VkResult<()>;
    fn signal_semaphore(info: &vk::SemaphoreSignalInfo<'_>) -> VkResult<()>;
    fn trim_command_pool(pool: vk::CommandPool, flags: vk::CommandPoolTrimFlags);
    fn update_descriptor_sets(writes: &[vk::WriteDescriptorSet<'_>], copies: &[vk::CopyDescriptorSet<'_>]);
    fn wait_for_fences(fences: &[vk::Fence], all: bool, timeout_ns: u64) -> VkResult<()>;
    fn wait_semaphores(info: &vk::SemaphoreWaitInfo<'_>, timeout_ns: u64) -> VkResult<()>;
}

impl Gpu {
    /// Makes compute pipelines in one call.
    pub(crate) fn create_compute_pipelines(
        &self,
        cache: vk::PipelineCache,
        infos: &[vk::ComputePipelineCreateInfo<'_>],
    ) -> VkResult<Vec<vk::Pipeline>> {
        // SAFETY: the shaders' interfaces are what the layouts say.
        unsafe { self.raw.create_compute_pipelines(cache, infos, None) }.map_err(|(_, result)| result)
    }

    /// Updates a set through a template of descriptors that are buffers.
    pub(crate) fn update_with_template(
        &self,
        set: vk::DescriptorSet,
        template: vk::DescriptorUpdateTemplate,
        data: &[vk::DescriptorBufferInfo],
    ) {
        // SAFETY: the template's entries lie inside `data`, as the scenario that wrote both says.
        unsafe { self.raw.update_descriptor_set_with_template(set, template, data.as_ptr().cast()) };
    }

    /// The results of queries as 64-bit numbers; the result code says whether all were there.
    pub(crate) fn query_results(
        &self,
        pool: vk::QueryPool,
        first: u32,
        out: &mut [[u64; 2]],
        flags: vk::QueryResultFlags,
    ) -> VkResult<()> {
        // SAFETY: each element has room for one number and its availability.
        unsafe { self.raw.get_query_pool_results(pool, first, out, flags | vk::QueryResultFlags::TYPE_64) }
    }

    /// The results of queries of one number each.
    pub(crate) fn query_numbers<T: bytemuck::Pod>(
        &self,
        pool: vk::QueryPool,
        first: u32,
        out: &mut [T],
        flags: vk::QueryResultFlags,
    ) -> VkResult<()> {
        // SAFETY: each element has the width that `flags` says.
        unsafe { self.raw.get_query_pool_results(pool, first, out, flags) }
    }

    /// Keeps a number beside an object.
    pub(crate) fn set_private(
        &self,
        handle: impl vk::Handle,
        slot: vk::PrivateDataSlot,
        data: u64,
    ) -> VkResult<()> {
        // SAFETY: the object and the slot are alive.
        unsafe { self.raw.set_private_data(handle, slot, data) }
    }

    /// The number kept beside an object.
    pub(crate) fn private(&self, handle: impl vk::Handle, slot: vk::PrivateDataSlot) -> u64 {
        // SAFETY: the object and the slot are alive.
        unsafe { self.raw.get_private_data(handle, slot) }
    }

    /// Writes through an update that `VkWriteDescriptorSet` cannot say in safe words: an inline uniform block.
    pub(crate) fn write_inline_block(&self, set: vk::DescriptorSet, binding: u32, data: &[u8]) {
        let mut block = vk::WriteDescriptorSetInlineUniformBlock::default().data(data);
        let mut write = vk::WriteDescriptorSet::default()
            .dst_set(set)
            .dst_binding(binding)
            .descriptor_type(vk::DescriptorType::INLINE_UNIFORM_BLOCK)
            .push_next(&mut block);
        write.descriptor_count = u32::try_from(data.len()).unwrap_or(0);
        self.update_descriptor_sets(&[write], &[]);
    }
}
