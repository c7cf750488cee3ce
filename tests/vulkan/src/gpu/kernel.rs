//! Compute pipelines and the descriptor sets they read.

use anyhow::Context as _;
use anyhow::Result;
use ash::vk;

use super::Buffer;
use super::Gpu;

/// A compute pipeline with its layouts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub(crate) pipeline: vk::Pipeline,
    pub(crate) layout: vk::PipelineLayout,
    pub(crate) set_layout: vk::DescriptorSetLayout,
}

/// One binding of set 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) kind: vk::DescriptorType,
    pub(crate) count: u32,
}

impl From<vk::DescriptorType> for Binding {
    fn from(kind: vk::DescriptorType) -> Self {
        Self { kind, count: 1 }
    }
}

/// What a kernel is made of.
#[derive(Clone, Copy, Default)]
pub(crate) struct KernelInfo<'a> {
    pub(crate) code: &'a [u32],
    /// Binding `i` is element `i`.
    pub(crate) bindings: &'a [Binding],
    /// Flags of the set layout.
    pub(crate) set_flags: vk::DescriptorSetLayoutCreateFlags,
    pub(crate) push_bytes: u32,
    pub(crate) specialization: Option<&'a vk::SpecializationInfo<'a>>,
    pub(crate) flags: vk::PipelineCreateFlags,
    pub(crate) cache: vk::PipelineCache,
}

/// What a binding of a set points to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    Storage(Buffer),
    Uniform(Buffer),
    StorageImage(vk::ImageView),
    SampledImage(vk::ImageView),
    Sampler(vk::Sampler),
    UniformTexels(vk::BufferView),
    StorageTexels(vk::BufferView),
}

impl Gpu {
    /// A shader module.
    pub(crate) fn module(&self, code: &[u32]) -> Result<vk::ShaderModule> {
        let create = vk::ShaderModuleCreateInfo::default().code(code);
        Ok(self.keep(self.create_shader_module(&create).context("vkCreateShaderModule")?))
    }

    /// A set layout whose binding `i` is element `i`.
    pub(crate) fn set_layout(
        &self,
        bindings: &[Binding],
        flags: vk::DescriptorSetLayoutCreateFlags,
    ) -> Result<vk::DescriptorSetLayout> {
        let bindings: Vec<_> = bindings
            .iter()
            .zip(0..)
            .map(|(binding, index)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(index)
                    .descriptor_type(binding.kind)
                    .descriptor_count(binding.count)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings).flags(flags);
        Ok(self.keep(self.create_descriptor_set_layout(&create)?))
    }

    /// A pipeline layout of these sets and push constants from 0.
    pub(crate) fn pipeline_layout(
        &self,
        sets: &[vk::DescriptorSetLayout],
        push_bytes: u32,
    ) -> Result<vk::PipelineLayout> {
        let ranges =
            [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(push_bytes)];
        let mut create = vk::PipelineLayoutCreateInfo::default().set_layouts(sets);
        if push_bytes > 0 {
            create = create.push_constant_ranges(&ranges);
        }
        Ok(self.keep(self.create_pipeline_layout(&create)?))
    }

    /// A pipeline from a module and a layout.
    pub(crate) fn pipeline(&self, code: &[u32], layout: vk::PipelineLayout) -> Result<vk::Pipeline> {
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(self.module(code)?)
            .name(c"main");
        let create = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
        let made = self.create_compute_pipelines(vk::PipelineCache::null(), &create);
        Ok(self.keep(made.context("vkCreateComputePipelines")?[0]))
    }

    /// A kernel with one set.
    pub(crate) fn kernel_with(&self, info: KernelInfo<'_>) -> Result<Kernel> {
        let set_layout = self.set_layout(info.bindings, info.set_flags)?;
        let layout = self.pipeline_layout(&[set_layout], info.push_bytes)?;
        let mut stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(self.module(info.code)?)
            .name(c"main");
        if let Some(specialization) = info.specialization {
            stage = stage.specialization_info(specialization);
        }
        let create = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout).flags(info.flags)];
        let made = self.create_compute_pipelines(info.cache, &create);
        let pipeline = self.keep(made.context("vkCreateComputePipelines")?[0]);
        Ok(Kernel { pipeline, layout, set_layout })
    }

    /// A kernel whose bindings are storage buffers.
    pub(crate) fn kernel(&self, code: &[u32], storage_buffers: usize) -> Result<Kernel> {
        let bindings = vec![Binding::from(vk::DescriptorType::STORAGE_BUFFER); storage_buffers];
        self.kernel_with(KernelInfo { code, bindings: &bindings, ..KernelInfo::default() })
    }

    /// A pool with room for `sets` sets of each kind here.
    pub(crate) fn descriptor_pool(&self, sets: u32, each: u32) -> Result<vk::DescriptorPool> {
        let kinds = [
            vk::DescriptorType::STORAGE_BUFFER,
            vk::DescriptorType::UNIFORM_BUFFER,
            vk::DescriptorType::STORAGE_BUFFER_DYNAMIC,
            vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC,
            vk::DescriptorType::STORAGE_IMAGE,
            vk::DescriptorType::SAMPLED_IMAGE,
            vk::DescriptorType::SAMPLER,
            vk::DescriptorType::UNIFORM_TEXEL_BUFFER,
            vk::DescriptorType::STORAGE_TEXEL_BUFFER,
            vk::DescriptorType::INPUT_ATTACHMENT,
            vk::DescriptorType::COMBINED_IMAGE_SAMPLER,
        ];
        let sizes = kinds.map(|ty| vk::DescriptorPoolSize { ty, descriptor_count: sets * each });
        let create = vk::DescriptorPoolCreateInfo::default()
            .flags(vk::DescriptorPoolCreateFlags::FREE_DESCRIPTOR_SET)
            .max_sets(sets)
            .pool_sizes(&sizes);
        Ok(self.keep(self.create_descriptor_pool(&create)?))
    }

    /// An unwritten set of a layout, in a pool of its own.
    pub(crate) fn empty_set(&self, layout: vk::DescriptorSetLayout) -> Result<vk::DescriptorSet> {
        let pool = self.descriptor_pool(1, 16)?;
        let layouts = [layout];
        let allocate = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
        Ok(self.allocate_descriptor_sets(&allocate)?[0])
    }

    /// A set of a kernel whose binding `i` is resource `i`.
    pub(crate) fn set(&self, kernel: &Kernel, resources: &[Resource]) -> Result<vk::DescriptorSet> {
        let set = self.empty_set(kernel.set_layout)?;
        for (resource, binding) in resources.iter().zip(0..) {
            self.write_descriptor(set, binding, *resource);
        }
        Ok(set)
    }

    /// A set of storage buffers.
    pub(crate) fn storage_set(&self, kernel: &Kernel, buffers: &[Buffer]) -> Result<vk::DescriptorSet> {
        let resources: Vec<_> = buffers.iter().map(|buffer| Resource::Storage(*buffer)).collect();
        self.set(kernel, &resources)
    }

    /// Writes one descriptor.
    pub(crate) fn write_descriptor(&self, set: vk::DescriptorSet, binding: u32, resource: Resource) {
        let whole = |buffer: Buffer| {
            [vk::DescriptorBufferInfo { buffer: buffer.handle, offset: 0, range: vk::WHOLE_SIZE }]
        };
        let image = |image_view: vk::ImageView, sampler: vk::Sampler, image_layout: vk::ImageLayout| {
            [vk::DescriptorImageInfo { image_view, sampler, image_layout }]
        };
        let write = vk::WriteDescriptorSet::default().dst_set(set).dst_binding(binding);
        let update = |write: vk::WriteDescriptorSet<'_>| self.update_descriptor_sets(&[write], &[]);
        let (no_view, no_sampler) = (vk::ImageView::null(), vk::Sampler::null());
        match resource {
            Resource::Storage(buffer) => {
                update(write.descriptor_type(vk::DescriptorType::STORAGE_BUFFER).buffer_info(&whole(buffer)))
            }
            Resource::Uniform(buffer) => {
                update(write.descriptor_type(vk::DescriptorType::UNIFORM_BUFFER).buffer_info(&whole(buffer)))
            }
            Resource::StorageImage(view) => {
                update(write.descriptor_type(vk::DescriptorType::STORAGE_IMAGE).image_info(&image(
                    view,
                    no_sampler,
                    vk::ImageLayout::GENERAL,
                )))
            }
            Resource::SampledImage(view) => {
                update(write.descriptor_type(vk::DescriptorType::SAMPLED_IMAGE).image_info(&image(
                    view,
                    no_sampler,
                    vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
                )))
            }
            Resource::Sampler(sampler) => {
                update(write.descriptor_type(vk::DescriptorType::SAMPLER).image_info(&image(
                    no_view,
                    sampler,
                    vk::ImageLayout::UNDEFINED,
                )))
            }
            Resource::UniformTexels(view) => update(
                write.descriptor_type(vk::DescriptorType::UNIFORM_TEXEL_BUFFER).texel_buffer_view(&[view]),
            ),
            Resource::StorageTexels(view) => update(
                write.descriptor_type(vk::DescriptorType::STORAGE_TEXEL_BUFFER).texel_buffer_view(&[view]),
            ),
        }
    }
}
