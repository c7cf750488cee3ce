//! A command buffer that is being recorded.

use ash::vk;

use super::Gpu;
use super::Kernel;

/// Records commands, each under its own name without `cmd_`.
pub(crate) struct Commands<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) raw: vk::CommandBuffer,
}

/// Commands that are passed on as they are.
macro_rules! commands {
    ($(fn $name:ident = $ash:ident($($argument:ident: $kind:ty),* $(,)?);)*) => {
        #[expect(clippy::too_many_arguments, reason = "the commands are Vulkan's")]
        impl Commands<'_> {
            $(
                pub(crate) fn $name(&self, $($argument: $kind),*) {
                    // SAFETY: the command buffer is being recorded; the scenario keeps the command's valid usage.
                    unsafe { self.gpu.raw.$ash(self.raw, $($argument),*) }
                }
            )*
        }
    };
}

commands! {
    fn begin_render_pass = cmd_begin_render_pass(
        info: &vk::RenderPassBeginInfo<'_>, contents: vk::SubpassContents);
    fn begin_rendering = cmd_begin_rendering(info: &vk::RenderingInfo<'_>);
    fn bind_index_buffer = cmd_bind_index_buffer(buffer: vk::Buffer, offset: u64, kind: vk::IndexType);
    fn bind_vertex_buffers = cmd_bind_vertex_buffers(first: u32, buffers: &[vk::Buffer], offsets: &[u64]);
    fn clear_attachments = cmd_clear_attachments(
        attachments: &[vk::ClearAttachment], rects: &[vk::ClearRect]);
    fn clear_depth_stencil_image = cmd_clear_depth_stencil_image(
        image: vk::Image, layout: vk::ImageLayout, value: &vk::ClearDepthStencilValue,
        ranges: &[vk::ImageSubresourceRange]);
    fn draw = cmd_draw(vertices: u32, instances: u32, first_vertex: u32, first_instance: u32);
    fn draw_indexed = cmd_draw_indexed(
        indices: u32, instances: u32, first_index: u32, vertex_offset: i32, first_instance: u32);
    fn draw_indexed_indirect = cmd_draw_indexed_indirect(
        buffer: vk::Buffer, offset: u64, draws: u32, stride: u32);
    fn draw_indirect = cmd_draw_indirect(buffer: vk::Buffer, offset: u64, draws: u32, stride: u32);
    fn draw_indirect_count = cmd_draw_indirect_count(
        buffer: vk::Buffer, offset: u64, count: vk::Buffer, count_offset: u64, most: u32, stride: u32);
    fn end_render_pass = cmd_end_render_pass();
    fn end_rendering = cmd_end_rendering();
    fn next_subpass = cmd_next_subpass(contents: vk::SubpassContents);
    fn resolve_image = cmd_resolve_image(
        from: vk::Image, from_layout: vk::ImageLayout, to: vk::Image, to_layout: vk::ImageLayout,
        regions: &[vk::ImageResolve]);
    fn set_blend_constants = cmd_set_blend_constants(constants: &[f32; 4]);
    fn set_cull_mode = cmd_set_cull_mode(mode: vk::CullModeFlags);
    fn set_depth_bias = cmd_set_depth_bias(constant: f32, clamp: f32, slope: f32);
    fn set_depth_bias_enable = cmd_set_depth_bias_enable(enable: bool);
    fn set_depth_compare_op = cmd_set_depth_compare_op(op: vk::CompareOp);
    fn set_depth_test_enable = cmd_set_depth_test_enable(enable: bool);
    fn set_depth_write_enable = cmd_set_depth_write_enable(enable: bool);
    fn set_front_face = cmd_set_front_face(face: vk::FrontFace);
    fn set_primitive_restart_enable = cmd_set_primitive_restart_enable(enable: bool);
    fn set_primitive_topology = cmd_set_primitive_topology(topology: vk::PrimitiveTopology);
    fn set_rasterizer_discard_enable = cmd_set_rasterizer_discard_enable(enable: bool);
    fn set_scissor = cmd_set_scissor(first: u32, scissors: &[vk::Rect2D]);
    fn set_scissor_with_count = cmd_set_scissor_with_count(scissors: &[vk::Rect2D]);
    fn set_stencil_compare_mask = cmd_set_stencil_compare_mask(faces: vk::StencilFaceFlags, mask: u32);
    fn set_stencil_op = cmd_set_stencil_op(
        faces: vk::StencilFaceFlags, fail: vk::StencilOp, pass: vk::StencilOp, depth_fail: vk::StencilOp,
        compare: vk::CompareOp);
    fn set_stencil_reference = cmd_set_stencil_reference(faces: vk::StencilFaceFlags, reference: u32);
    fn set_stencil_test_enable = cmd_set_stencil_test_enable(enable: bool);
    fn set_stencil_write_mask = cmd_set_stencil_write_mask(faces: vk::StencilFaceFlags, mask: u32);
    fn set_viewport = cmd_set_viewport(first: u32, viewports: &[vk::Viewport]);
    fn set_viewport_with_count = cmd_set_viewport_with_count(viewports: &[vk::Viewport]);
    fn begin_query = cmd_begin_query(pool: vk::QueryPool, query: u32, flags: vk::QueryControlFlags);
    fn blit_image = cmd_blit_image(
        from: vk::Image, from_layout: vk::ImageLayout, to: vk::Image, to_layout: vk::ImageLayout,
        regions: &[vk::ImageBlit], filter: vk::Filter);
    fn clear_color_image = cmd_clear_color_image(
        image: vk::Image, layout: vk::ImageLayout, color: &vk::ClearColorValue,
        ranges: &[vk::ImageSubresourceRange]);
    fn copy_buffer = cmd_copy_buffer(from: vk::Buffer, to: vk::Buffer, regions: &[vk::BufferCopy]);
    fn copy_buffer2 = cmd_copy_buffer2(info: &vk::CopyBufferInfo2<'_>);
    fn copy_buffer_to_image = cmd_copy_buffer_to_image(
        from: vk::Buffer, to: vk::Image, layout: vk::ImageLayout, regions: &[vk::BufferImageCopy]);
    fn copy_image = cmd_copy_image(
        from: vk::Image, from_layout: vk::ImageLayout, to: vk::Image, to_layout: vk::ImageLayout,
        regions: &[vk::ImageCopy]);
    fn copy_image2 = cmd_copy_image2(info: &vk::CopyImageInfo2<'_>);
    fn copy_image_to_buffer = cmd_copy_image_to_buffer(
        from: vk::Image, layout: vk::ImageLayout, to: vk::Buffer, regions: &[vk::BufferImageCopy]);
    fn copy_query_results = cmd_copy_query_pool_results(
        pool: vk::QueryPool, first: u32, count: u32, to: vk::Buffer, offset: u64, stride: u64,
        flags: vk::QueryResultFlags);
    fn dispatch = cmd_dispatch(x: u32, y: u32, z: u32);
    fn dispatch_base = cmd_dispatch_base(base_x: u32, base_y: u32, base_z: u32, x: u32, y: u32, z: u32);
    fn dispatch_indirect = cmd_dispatch_indirect(buffer: vk::Buffer, offset: u64);
    fn end_query = cmd_end_query(pool: vk::QueryPool, query: u32);
    fn execute = cmd_execute_commands(buffers: &[vk::CommandBuffer]);
    fn fill_buffer = cmd_fill_buffer(buffer: vk::Buffer, offset: u64, size: u64, data: u32);
    fn pipeline_barrier = cmd_pipeline_barrier(
        from: vk::PipelineStageFlags, to: vk::PipelineStageFlags, flags: vk::DependencyFlags,
        memory: &[vk::MemoryBarrier<'_>], buffers: &[vk::BufferMemoryBarrier<'_>],
        images: &[vk::ImageMemoryBarrier<'_>]);
    fn pipeline_barrier2 = cmd_pipeline_barrier2(info: &vk::DependencyInfo<'_>);
    fn push_constants = cmd_push_constants(
        layout: vk::PipelineLayout, stages: vk::ShaderStageFlags, offset: u32, data: &[u8]);
    fn reset_event = cmd_reset_event(event: vk::Event, stages: vk::PipelineStageFlags);
    fn reset_event2 = cmd_reset_event2(event: vk::Event, stages: vk::PipelineStageFlags2);
    fn reset_queries = cmd_reset_query_pool(pool: vk::QueryPool, first: u32, count: u32);
    fn set_event = cmd_set_event(event: vk::Event, stages: vk::PipelineStageFlags);
    fn set_event2 = cmd_set_event2(event: vk::Event, info: &vk::DependencyInfo<'_>);
    fn update_buffer = cmd_update_buffer(buffer: vk::Buffer, offset: u64, data: &[u8]);
    fn wait_events = cmd_wait_events(
        events: &[vk::Event], from: vk::PipelineStageFlags, to: vk::PipelineStageFlags,
        memory: &[vk::MemoryBarrier<'_>], buffers: &[vk::BufferMemoryBarrier<'_>],
        images: &[vk::ImageMemoryBarrier<'_>]);
    fn wait_events2 = cmd_wait_events2(events: &[vk::Event], infos: &[vk::DependencyInfo<'_>]);
    fn write_timestamp = cmd_write_timestamp(stage: vk::PipelineStageFlags, pool: vk::QueryPool, query: u32);
    fn write_timestamp2 = cmd_write_timestamp2(stage: vk::PipelineStageFlags2, pool: vk::QueryPool, query: u32);
}

impl Commands<'_> {
    /// Binds a pipeline that computes.
    pub(crate) fn bind_pipeline(&self, pipeline: vk::Pipeline) {
        // SAFETY: recording; the pipeline is of this device.
        unsafe { self.gpu.raw.cmd_bind_pipeline(self.raw, vk::PipelineBindPoint::COMPUTE, pipeline) };
    }

    /// Binds descriptor sets for computing.
    pub(crate) fn bind_sets(
        &self,
        layout: vk::PipelineLayout,
        first: u32,
        sets: &[vk::DescriptorSet],
        offsets: &[u32],
    ) {
        let point = vk::PipelineBindPoint::COMPUTE;
        // SAFETY: recording; the sets fit the layout.
        unsafe { self.gpu.raw.cmd_bind_descriptor_sets(self.raw, point, layout, first, sets, offsets) };
    }

    /// Binds a kernel and one set.
    pub(crate) fn bind(&self, kernel: &Kernel, set: vk::DescriptorSet) {
        self.bind_pipeline(kernel.pipeline);
        self.bind_sets(kernel.layout, 0, &[set], &[]);
    }

    /// Sets push constants of a kernel.
    pub(crate) fn push<T: bytemuck::NoUninit>(&self, kernel: &Kernel, value: &T) {
        self.push_constants(kernel.layout, vk::ShaderStageFlags::COMPUTE, 0, bytemuck::bytes_of(value));
    }

    /// Pushes descriptors; the extension is there.
    pub(crate) fn push_set(&self, layout: vk::PipelineLayout, writes: &[vk::WriteDescriptorSet<'_>]) {
        if let Some(calls) = &self.gpu.push_descriptor {
            // SAFETY: recording; the writes fit the push layout.
            unsafe {
                calls.cmd_push_descriptor_set(self.raw, vk::PipelineBindPoint::COMPUTE, layout, 0, writes)
            };
        }
    }

    /// Draws from here on only where the word in the buffer is not zero, or only where it is.
    pub(crate) fn begin_conditional(&self, buffer: vk::Buffer, offset: u64, inverted: bool) {
        let mut info = vk::ConditionalRenderingBeginInfoEXT::default().buffer(buffer).offset(offset);
        if inverted {
            info = info.flags(vk::ConditionalRenderingFlagsEXT::INVERTED);
        }
        if let Some(calls) = &self.gpu.conditional_rendering {
            // SAFETY: recording; the buffer has this use and a word at the offset.
            unsafe { (calls.fp().cmd_begin_conditional_rendering_ext)(self.raw, &info) };
        }
    }

    /// Ends what [`Self::begin_conditional`] began.
    pub(crate) fn end_conditional(&self) {
        if let Some(calls) = &self.gpu.conditional_rendering {
            // SAFETY: recording, after its beginning.
            unsafe { (calls.fp().cmd_end_conditional_rendering_ext)(self.raw) };
        }
    }

    /// Binds the buffer that captures.
    pub(crate) fn bind_feedback_buffer(&self, buffer: vk::Buffer, offset: u64, size: u64) {
        if let Some(calls) = &self.gpu.transform_feedback {
            // SAFETY: recording; the buffer has this use and size.
            unsafe {
                (calls.fp().cmd_bind_transform_feedback_buffers_ext)(self.raw, 0, 1, &buffer, &offset, &size)
            };
        }
    }

    /// Starts capturing, where a counter says or at the start.
    pub(crate) fn begin_feedback(&self, counter: Option<vk::Buffer>) {
        let counter = counter.as_slice();
        let count = u32::from(!counter.is_empty());
        if let Some(calls) = &self.gpu.transform_feedback {
            // SAFETY: recording; the counter has this use.
            unsafe {
                (calls.fp().cmd_begin_transform_feedback_ext)(self.raw, 0, count, counter.as_ptr(), &0)
            };
        }
    }

    /// Ends capturing and writes a counter.
    pub(crate) fn end_feedback(&self, counter: Option<vk::Buffer>) {
        let counter = counter.as_slice();
        let count = u32::from(!counter.is_empty());
        if let Some(calls) = &self.gpu.transform_feedback {
            // SAFETY: recording, while capturing; the counter has this use.
            unsafe { (calls.fp().cmd_end_transform_feedback_ext)(self.raw, 0, count, counter.as_ptr(), &0) };
        }
    }

    /// Orders everything before against everything after, with all writes visible.
    pub(crate) fn barrier(&self) {
        let all = vk::PipelineStageFlags::ALL_COMMANDS;
        let memory = [vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
            .dst_access_mask(vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE)];
        self.pipeline_barrier(all, all, vk::DependencyFlags::empty(), &memory, &[], &[]);
    }

    /// Makes everything before visible to the host.
    pub(crate) fn to_host(&self) {
        let memory = [vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
            .dst_access_mask(vk::AccessFlags::HOST_READ)];
        let (from, to) = (vk::PipelineStageFlags::ALL_COMMANDS, vk::PipelineStageFlags::HOST);
        self.pipeline_barrier(from, to, vk::DependencyFlags::empty(), &memory, &[], &[]);
    }

    /// Moves all of a color image to another layout.
    pub(crate) fn to_layout(&self, image: vk::Image, from: vk::ImageLayout, to: vk::ImageLayout) {
        self.to_layout_of(image, vk::ImageAspectFlags::COLOR, from, to);
    }

    /// Moves all of an image with these aspects to another layout.
    pub(crate) fn to_layout_of(
        &self,
        image: vk::Image,
        aspects: vk::ImageAspectFlags,
        from: vk::ImageLayout,
        to: vk::ImageLayout,
    ) {
        let all = vk::PipelineStageFlags::ALL_COMMANDS;
        let change = [vk::ImageMemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
            .dst_access_mask(vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE)
            .old_layout(from)
            .new_layout(to)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(image)
            .subresource_range(vk::ImageSubresourceRange {
                aspect_mask: aspects,
                base_mip_level: 0,
                level_count: vk::REMAINING_MIP_LEVELS,
                base_array_layer: 0,
                layer_count: vk::REMAINING_ARRAY_LAYERS,
            })];
        self.pipeline_barrier(all, all, vk::DependencyFlags::empty(), &[], &[], &change);
    }
}
