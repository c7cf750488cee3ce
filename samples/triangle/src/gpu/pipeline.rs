//! The pipeline that draws the triangle, and its shader.

use anyhow::Context as _;
use anyhow::Result;
use ash::vk;

/// The shader's push constants, as the shader lays them out.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct View {
    turn: [f32; 2],
    aspect: f32,
    /// A structure with a `vec2` is a multiple of 8 bytes long.
    padding: u32,
}

impl View {
    /// The frame's angle, in a window of this size.
    pub(super) fn of(frame: u64, [width, height]: [u32; 2]) -> Self {
        // 360 frames are a whole turn.
        let angle = (frame % 360) as f32 * std::f32::consts::TAU / 360.0;
        Self { turn: [angle.cos(), angle.sin()], aspect: height as f32 / width as f32, padding: 0 }
    }
}

/// Compiles the shader's text to SPIR-V.
fn shader() -> Result<Vec<u32>> {
    let module = naga::front::wgsl::parse_str(include_str!("../triangle.wgsl"))?;
    let capabilities = naga::valid::Capabilities::all();
    let info =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities).validate(&module)?;
    let mut options = naga::back::spv::Options { lang_version: (1, 3), ..Default::default() };
    // The shader speaks Vulkan's coordinates already: y goes down.
    options.flags.remove(naga::back::spv::WriterFlags::ADJUST_COORDINATE_SPACE);
    Ok(naga::back::spv::write_vec(&module, &info, &options, None)?)
}

/// The pipeline and its layout.
pub(super) struct Pipeline {
    pub(super) layout: vk::PipelineLayout,
    pub(super) pipeline: vk::Pipeline,
}

impl Pipeline {
    /// Makes the pipeline for pictures of `format`.
    pub(super) fn new(device: &ash::Device, format: vk::Format) -> Result<Self> {
        let code = shader()?;
        let ranges = [vk::PushConstantRange::default()
            .stage_flags(vk::ShaderStageFlags::VERTEX)
            .size(u32::try_from(size_of::<View>())?)];
        let create = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&ranges);
        // SAFETY: `create` and what it points to live through the call.
        let layout = unsafe { device.create_pipeline_layout(&create, None) }?;
        let create = vk::ShaderModuleCreateInfo::default().code(&code);
        // SAFETY: the code is valid SPIR-V, as its compiler has checked.
        let module = unsafe { device.create_shader_module(&create, None) }?;
        let pipeline = Self::create(device, format, layout, module);
        // SAFETY: pipelines keep what they need of the module.
        unsafe { device.destroy_shader_module(module, None) };
        Ok(Self { layout, pipeline: pipeline? })
    }

    fn create(
        device: &ash::Device,
        format: vk::Format,
        layout: vk::PipelineLayout,
        module: vk::ShaderModule,
    ) -> Result<vk::Pipeline> {
        let stage =
            |stage, name| vk::PipelineShaderStageCreateInfo::default().stage(stage).module(module).name(name);
        let stages =
            [stage(vk::ShaderStageFlags::VERTEX, c"corner"), stage(vk::ShaderStageFlags::FRAGMENT, c"fill")];
        let vertices = vk::PipelineVertexInputStateCreateInfo::default();
        let assembly = vk::PipelineInputAssemblyStateCreateInfo::default()
            .topology(vk::PrimitiveTopology::TRIANGLE_LIST);
        // The window changes its size, so both come with the commands.
        let viewport = vk::PipelineViewportStateCreateInfo::default().viewport_count(1).scissor_count(1);
        let raster = vk::PipelineRasterizationStateCreateInfo::default().line_width(1.0);
        let samples = vk::PipelineMultisampleStateCreateInfo::default()
            .rasterization_samples(vk::SampleCountFlags::TYPE_1);
        let attachments =
            [vk::PipelineColorBlendAttachmentState::default()
                .color_write_mask(vk::ColorComponentFlags::RGBA)];
        let blend = vk::PipelineColorBlendStateCreateInfo::default().attachments(&attachments);
        let states = [vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR];
        let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&states);
        let formats = [format];
        let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
        let create = [vk::GraphicsPipelineCreateInfo::default()
            .stages(&stages)
            .vertex_input_state(&vertices)
            .input_assembly_state(&assembly)
            .viewport_state(&viewport)
            .rasterization_state(&raster)
            .multisample_state(&samples)
            .color_blend_state(&blend)
            .dynamic_state(&dynamic)
            .layout(layout)
            .push_next(&mut rendering)];
        // SAFETY: the shader's interface is what `layout` says.
        let pipelines = unsafe { device.create_graphics_pipelines(vk::PipelineCache::null(), &create, None) };
        Ok(pipelines.map_err(|(_, result)| result).context("vkCreateGraphicsPipelines")?[0])
    }

    /// Destroys both; no command uses them any more.
    pub(super) fn destroy(&self, device: &ash::Device) {
        // SAFETY: the caller has waited.
        unsafe { device.destroy_pipeline(self.pipeline, None) };
        // SAFETY: as above.
        unsafe { device.destroy_pipeline_layout(self.layout, None) };
    }
}
