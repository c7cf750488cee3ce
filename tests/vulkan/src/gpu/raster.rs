//! Graphics pipelines and what they draw into.

use anyhow::Context as _;
use anyhow::Result;
use ash::vk;

use super::Binding;
use super::Buffer;
use super::Commands;
use super::Gpu;
use super::Image;
use super::ImageInfo;
use super::extent;

/// A graphics pipeline with its layouts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raster {
    pub(crate) pipeline: vk::Pipeline,
    pub(crate) layout: vk::PipelineLayout,
    pub(crate) set_layout: vk::DescriptorSetLayout,
}

/// What a graphics pipeline is made of; viewport and scissor are dynamic unless `dynamic` says how they are.
#[derive(Clone, Copy)]
pub(crate) struct RasterInfo<'a> {
    /// A module with the entry points `vs` and, unless there are no fragments, `fs`.
    pub(crate) code: &'a [u32],
    pub(crate) has_fragments: bool,
    /// A module of its own for `fs`.
    pub(crate) fragment_code: Option<&'a [u32]>,
    /// Binding `i` of set 0 is element `i`, for all stages.
    pub(crate) bindings: &'a [Binding],
    /// Push constants of all stages.
    pub(crate) push_bytes: u32,
    pub(crate) vertex_buffers: &'a [vk::VertexInputBindingDescription],
    pub(crate) attributes: &'a [vk::VertexInputAttributeDescription],
    pub(crate) topology: vk::PrimitiveTopology,
    pub(crate) restart: bool,
    pub(crate) rasterization: vk::PipelineRasterizationStateCreateInfo<'a>,
    pub(crate) samples: vk::SampleCountFlags,
    pub(crate) depth: vk::PipelineDepthStencilStateCreateInfo<'a>,
    /// Blending of all color attachments.
    pub(crate) blend: vk::PipelineColorBlendAttachmentState,
    pub(crate) logic: Option<vk::LogicOp>,
    pub(crate) colors: &'a [vk::Format],
    pub(crate) depth_format: vk::Format,
    /// A subpass instead of the formats above.
    pub(crate) subpass: Option<(vk::RenderPass, u32)>,
    pub(crate) dynamic: &'a [vk::DynamicState],
}

/// Every component of a color.
pub(crate) const RGBA: vk::ColorComponentFlags = vk::ColorComponentFlags::RGBA;

impl<'a> RasterInfo<'a> {
    /// Triangles of one color attachment, as plain as can be.
    pub(crate) fn plain(code: &'a [u32], colors: &'a [vk::Format]) -> Self {
        Self {
            code,
            has_fragments: true,
            fragment_code: None,
            bindings: &[],
            push_bytes: 0,
            vertex_buffers: &[],
            attributes: &[],
            topology: vk::PrimitiveTopology::TRIANGLE_LIST,
            restart: false,
            rasterization: vk::PipelineRasterizationStateCreateInfo::default().line_width(1.0),
            samples: vk::SampleCountFlags::TYPE_1,
            depth: vk::PipelineDepthStencilStateCreateInfo::default(),
            blend: vk::PipelineColorBlendAttachmentState::default().color_write_mask(RGBA),
            logic: None,
            colors,
            depth_format: vk::Format::UNDEFINED,
            subpass: None,
            dynamic: &[vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR],
        }
    }
}

impl Gpu {
    /// A graphics pipeline.
    pub(crate) fn raster(&self, info: RasterInfo<'_>) -> Result<Raster> {
        let bindings: Vec<_> = info
            .bindings
            .iter()
            .zip(0..)
            .map(|(binding, index)| {
                let stages = match binding.kind {
                    vk::DescriptorType::INPUT_ATTACHMENT => vk::ShaderStageFlags::FRAGMENT,
                    _ => vk::ShaderStageFlags::ALL_GRAPHICS,
                };
                vk::DescriptorSetLayoutBinding::default()
                    .binding(index)
                    .descriptor_type(binding.kind)
                    .descriptor_count(binding.count)
                    .stage_flags(stages)
            })
            .collect();
        let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        let set_layout = self.keep(self.create_descriptor_set_layout(&create)?);
        let set_layouts = [set_layout];
        let ranges = [vk::PushConstantRange::default()
            .stage_flags(vk::ShaderStageFlags::ALL_GRAPHICS)
            .size(info.push_bytes)];
        let mut create = vk::PipelineLayoutCreateInfo::default().set_layouts(&set_layouts);
        if info.push_bytes > 0 {
            create = create.push_constant_ranges(&ranges);
        }
        let layout = self.keep(self.create_pipeline_layout(&create)?);
        let module = self.module(info.code)?;
        let stage = |stage, module, name| {
            vk::PipelineShaderStageCreateInfo::default().stage(stage).module(module).name(name)
        };
        let mut stages = vec![stage(vk::ShaderStageFlags::VERTEX, module, c"vs")];
        if info.has_fragments {
            let module = info.fragment_code.map_or(Ok(module), |code| self.module(code))?;
            stages.push(stage(vk::ShaderStageFlags::FRAGMENT, module, c"fs"));
        }
        let vertices = vk::PipelineVertexInputStateCreateInfo::default()
            .vertex_binding_descriptions(info.vertex_buffers)
            .vertex_attribute_descriptions(info.attributes);
        let assembly = vk::PipelineInputAssemblyStateCreateInfo::default()
            .topology(info.topology)
            .primitive_restart_enable(info.restart);
        let counted = info.dynamic.contains(&vk::DynamicState::VIEWPORT_WITH_COUNT);
        let count = u32::from(!counted);
        let viewport =
            vk::PipelineViewportStateCreateInfo::default().viewport_count(count).scissor_count(count);
        let multisample =
            vk::PipelineMultisampleStateCreateInfo::default().rasterization_samples(info.samples);
        let blends = vec![info.blend; info.colors.len()];
        let blending = vk::PipelineColorBlendStateCreateInfo::default()
            .attachments(&blends)
            .logic_op_enable(info.logic.is_some())
            .logic_op(info.logic.unwrap_or(vk::LogicOp::COPY));
        let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(info.dynamic);
        let with_stencil = info.depth_format == vk::Format::D32_SFLOAT_S8_UINT;
        let stencil_format = if with_stencil { info.depth_format } else { vk::Format::UNDEFINED };
        let mut rendering = vk::PipelineRenderingCreateInfo::default()
            .color_attachment_formats(info.colors)
            .depth_attachment_format(info.depth_format)
            .stencil_attachment_format(stencil_format);
        let mut create = vk::GraphicsPipelineCreateInfo::default()
            .stages(&stages)
            .vertex_input_state(&vertices)
            .input_assembly_state(&assembly)
            .viewport_state(&viewport)
            .rasterization_state(&info.rasterization)
            .multisample_state(&multisample)
            .depth_stencil_state(&info.depth)
            .color_blend_state(&blending)
            .dynamic_state(&dynamic)
            .layout(layout);
        create = match info.subpass {
            Some((pass, subpass)) => create.render_pass(pass).subpass(subpass),
            None => create.push_next(&mut rendering),
        };
        // SAFETY: the device is alive; the scenario describes a valid pipeline.
        let made = unsafe { self.raw.create_graphics_pipelines(vk::PipelineCache::null(), &[create], None) };
        let pipeline =
            made.map_err(|(_, result)| result).context("vkCreateGraphicsPipelines")?.first().copied();
        let pipeline = self.keep(pipeline.context("no pipeline")?);
        Ok(Raster { pipeline, layout, set_layout })
    }

    /// A color image to draw into and to take out.
    pub(crate) fn target(&self, format: vk::Format, side: u32) -> Result<Target> {
        self.target_with(ImageInfo::flat(format, side, side).used(vk::ImageUsageFlags::COLOR_ATTACHMENT))
    }

    /// An image to draw into.
    pub(crate) fn target_with(&self, info: ImageInfo) -> Result<Target> {
        let image = self.image(info)?;
        Ok(Target { image, view: self.view(&image)? })
    }
}

/// An image with a view, to draw into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) image: Image,
    pub(crate) view: vk::ImageView,
}

impl Target {
    /// All of it.
    pub(crate) fn area(&self) -> vk::Rect2D {
        let [width, height, _] = self.image.info.size;
        vk::Rect2D { offset: vk::Offset2D::default(), extent: vk::Extent2D { width, height } }
    }

    /// It as an attachment that is cleared first and kept.
    pub(crate) fn cleared(&self, clear: vk::ClearValue) -> vk::RenderingAttachmentInfo<'static> {
        vk::RenderingAttachmentInfo::default()
            .image_view(self.view)
            .image_layout(vk::ImageLayout::GENERAL)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)
            .clear_value(clear)
    }
}

impl Commands<'_> {
    /// Binds a pipeline that draws.
    pub(crate) fn bind_raster(&self, raster: &Raster) {
        let point = vk::PipelineBindPoint::GRAPHICS;
        // SAFETY: recording; the pipeline is of this device.
        unsafe { self.gpu.raw.cmd_bind_pipeline(self.raw, point, raster.pipeline) };
    }

    /// Binds a set for drawing.
    pub(crate) fn bind_raster_set(&self, raster: &Raster, set: vk::DescriptorSet, offsets: &[u32]) {
        let point = vk::PipelineBindPoint::GRAPHICS;
        // SAFETY: recording; the set fits the layout.
        unsafe { self.gpu.raw.cmd_bind_descriptor_sets(self.raw, point, raster.layout, 0, &[set], offsets) };
    }

    /// Sets push constants for drawing.
    pub(crate) fn push_raster<T: bytemuck::NoUninit>(&self, raster: &Raster, value: &T) {
        self.push_constants(raster.layout, vk::ShaderStageFlags::ALL_GRAPHICS, 0, bytemuck::bytes_of(value));
    }

    /// Viewport and scissor over all of an area.
    pub(crate) fn view_all(&self, area: vk::Rect2D) {
        self.set_viewport(0, &[viewport(area)]);
        self.set_scissor(0, &[area]);
    }

    /// Draws into one cleared target, which is in the general layout before and after.
    pub(crate) fn draw_into(&self, target: &Target, clear: [f32; 4], draw: impl FnOnce()) {
        let clear = vk::ClearValue { color: vk::ClearColorValue { float32: clear } };
        self.draw_with(target.area(), &[target.cleared(clear)], None, draw);
    }

    /// Draws into attachments in the general layout.
    pub(crate) fn draw_with(
        &self,
        area: vk::Rect2D,
        colors: &[vk::RenderingAttachmentInfo<'_>],
        depth: Option<&vk::RenderingAttachmentInfo<'_>>,
        draw: impl FnOnce(),
    ) {
        let mut info =
            vk::RenderingInfo::default().render_area(area).layer_count(1).color_attachments(colors);
        if let Some(depth) = depth {
            info = info.depth_attachment(depth).stencil_attachment(depth);
        }
        self.begin_rendering(&info);
        self.view_all(area);
        draw();
        self.end_rendering();
        self.barrier();
    }

    /// Puts a target into the general layout; what it held is lost.
    pub(crate) fn fresh(&self, target: &Target) {
        let (from, to) = (vk::ImageLayout::UNDEFINED, vk::ImageLayout::GENERAL);
        self.to_layout_of(target.image.handle, target.image.info.aspects(), from, to);
    }

    /// Takes one aspect of a target in the general layout out.
    pub(crate) fn take(&self, target: &Target, aspect: vk::ImageAspectFlags, to: Buffer) {
        let region = vk::BufferImageCopy {
            image_subresource: vk::ImageSubresourceLayers {
                aspect_mask: aspect,
                mip_level: 0,
                base_array_layer: 0,
                layer_count: target.image.info.layers,
            },
            image_extent: extent(target.image.info.size),
            ..Default::default()
        };
        self.copy_image_to_buffer(target.image.handle, vk::ImageLayout::GENERAL, to.handle, &[region]);
    }
}

/// The viewport that is this area.
pub(crate) fn viewport(area: vk::Rect2D) -> vk::Viewport {
    vk::Viewport {
        x: area.offset.x as f32,
        y: area.offset.y as f32,
        width: area.extent.width as f32,
        height: area.extent.height as f32,
        min_depth: 0.0,
        max_depth: 1.0,
    }
}
