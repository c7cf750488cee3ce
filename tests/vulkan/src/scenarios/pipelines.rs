//! Making pipelines: constants, caches, feedback, and the ways to dispatch.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Binding;
use crate::gpu::Gpu;
use crate::gpu::KernelInfo;
use crate::shader;
use crate::shader::wgsl;

scenarios![
    push_constants,
    push_constants_in_pieces,
    specialization_constants,
    specialization_defaults,
    pipeline_cache_round_trip,
    pipeline_cache_merge,
    pipeline_cache_ignores_foreign_data,
    pipeline_creation_feedback,
    several_pipelines_per_call,
    pipelines_1000_per_call,
    pipeline_derivative,
    module_destroyed_before_use,
    pipeline_churn,
    layouts_shared_by_pipelines,
    dispatch_indirect,
    dispatch_base,
    dispatch_of_no_groups,
];

/// Writes its number plus a pushed base.
const INDEX: &str = "
    struct Push { base: u32, step: u32 }
    var<immediate> push: Push;
    @group(0) @binding(0) var<storage, read_write> out: array<u32>;
    @compute @workgroup_size(16) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        out[id.x] = push.base + id.x * push.step;
    }";

/// Writes `id * FACTOR`.
fn times(factor: u32) -> Result<Vec<u32>> {
    wgsl(&format!(
        "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(16) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
             out[id.x] = id.x * {factor}u;
         }}"
    ))
}

fn push_constants(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let storage = [Binding::from(vk::DescriptorType::STORAGE_BUFFER)];
    let kernel = gpu.kernel_with(KernelInfo {
        code: &wgsl(INDEX)?,
        bindings: &storage,
        push_bytes: 8,
        ..KernelInfo::default()
    })?;
    let buffer = gpu.buffer(256)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        c.push(&kernel, &[1000_u32, 3]);
        c.dispatch(4, 1, 1);
    })?;
    let want: Vec<u32> = (0..64).map(|i| 1000 + i * 3).collect();
    same!(buffer.words(), want, "words");
    case.digest(&want);
    Ok(())
}

fn push_constants_in_pieces(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let storage = [Binding::from(vk::DescriptorType::STORAGE_BUFFER)];
    let kernel = gpu.kernel_with(KernelInfo {
        code: &wgsl(INDEX)?,
        bindings: &storage,
        push_bytes: gpu.limits.max_push_constants_size,
        ..KernelInfo::default()
    })?;
    let buffer = gpu.buffer(128)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        c.push(&kernel, &[1_u32, 1]);
        c.push_constants(kernel.layout, vk::ShaderStageFlags::COMPUTE, 4, bytemuck::bytes_of(&7_u32));
        c.dispatch(2, 1, 1);
    })?;
    let want: Vec<u32> = (0..32).map(|i| 1 + i * 7).collect();
    same!(buffer.words(), want, "words");
    case.digest(&want);
    Ok(())
}

/// Runs the specialised kernel over 64 invocations.
fn specialized(gpu: &Gpu, info: Option<&vk::SpecializationInfo<'_>>, groups: u32) -> Result<Vec<u32>> {
    let storage = [Binding::from(vk::DescriptorType::STORAGE_BUFFER)];
    let code = shader::specialized()?;
    let info = KernelInfo { code: &code, bindings: &storage, specialization: info, ..KernelInfo::default() };
    let kernel = gpu.kernel_with(info)?;
    let buffer = gpu.buffer(256)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        c.dispatch(groups, 1, 1);
    })?;
    Ok(buffer.words())
}

fn specialization_constants(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let entry = |constant_id, offset| vk::SpecializationMapEntry { constant_id, offset, size: 4 };
    let entries = [entry(1, 0), entry(0, 8), entry(2, 4)];
    let data = [99_u32, 32, 12];
    let info = vk::SpecializationInfo::default().map_entries(&entries).data(bytemuck::cast_slice(&data));
    let words = specialized(&gpu, Some(&info), 2)?;
    let want: Vec<u32> = (0..64).map(|i| 12_099 + i).collect();
    same!(words, want, "words");
    case.digest(&words);
    Ok(())
}

fn specialization_defaults(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let words = specialized(&gpu, None, 64)?;
    let want: Vec<u32> = (0..64).map(|i| 7005 + i).collect();
    same!(words, want, "words");
    case.digest(&words);
    Ok(())
}

/// Runs `times(factor)` made with a cache.
fn run_with_cache(gpu: &Gpu, cache: vk::PipelineCache, factor: u32) -> Result<()> {
    let storage = [Binding::from(vk::DescriptorType::STORAGE_BUFFER)];
    let code = times(factor)?;
    let kernel =
        gpu.kernel_with(KernelInfo { code: &code, bindings: &storage, cache, ..KernelInfo::default() })?;
    let buffer = gpu.buffer(64)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        c.dispatch(1, 1, 1);
    })?;
    same!(buffer.words(), (0..16).map(|i| i * factor).collect::<Vec<u32>>(), "words");
    Ok(())
}

fn cache(gpu: &Gpu, data: &[u8]) -> Result<vk::PipelineCache> {
    let create = vk::PipelineCacheCreateInfo::default().initial_data(data);
    Ok(gpu.keep(gpu.create_pipeline_cache(&create)?))
}

/// The version, vendor and device that a cache's data begins with.
fn header(gpu: &Gpu, data: &[u8]) -> Result<[u32; 3]> {
    let words: Vec<u32> = data
        .get(..16)
        .context("cache data without a header")?
        .chunks(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    let properties = gpu.physical.properties();
    same!(words[2..4], [properties.vendor_id, properties.device_id], "vendor and device of the header");
    same!(data.get(16..32), Some(&properties.pipeline_cache_uuid[..]), "UUID of the header");
    Ok([words[1], words[2], words[3]])
}

fn pipeline_cache_round_trip(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let first = cache(&gpu, &[])?;
    run_with_cache(&gpu, first, 5)?;
    let data = gpu.get_pipeline_cache_data(first)?;
    case.digest(&header(&gpu, &data)?);
    let second = cache(&gpu, &data)?;
    run_with_cache(&gpu, second, 5)?;
    run_with_cache(&gpu, second, 6)?;
    header(&gpu, &gpu.get_pipeline_cache_data(second)?)?;
    Ok(())
}

fn pipeline_cache_merge(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let caches = [cache(&gpu, &[])?, cache(&gpu, &[])?, cache(&gpu, &[])?];
    for (cache, factor) in caches.iter().zip(2..) {
        run_with_cache(&gpu, *cache, factor)?;
    }
    gpu.merge_pipeline_caches(caches[0], &caches[1..])?;
    for factor in 2..5 {
        run_with_cache(&gpu, caches[0], factor)?;
    }
    case.digest(&header(&gpu, &gpu.get_pipeline_cache_data(caches[0])?)?);
    Ok(())
}

fn pipeline_cache_ignores_foreign_data(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let own = gpu.get_pipeline_cache_data(cache(&gpu, &[])?)?;
    let mut foreign = own.clone();
    // Another vendor: an implementation has to start empty.
    foreign.get_mut(8..12).context("cache data without a header")?.fill(0x5a);
    run_with_cache(&gpu, cache(&gpu, &foreign)?, 9)
}

fn pipeline_creation_feedback(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let set_layout = gpu.set_layout(
        &[vk::DescriptorType::STORAGE_BUFFER.into()],
        vk::DescriptorSetLayoutCreateFlags::empty(),
    )?;
    let layout = gpu.pipeline_layout(&[set_layout], 0)?;
    let mut whole = vk::PipelineCreationFeedback::default();
    let mut stages = [vk::PipelineCreationFeedback::default()];
    let mut feedback = vk::PipelineCreationFeedbackCreateInfo::default()
        .pipeline_creation_feedback(&mut whole)
        .pipeline_stage_creation_feedbacks(&mut stages);
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(gpu.module(&times(3)?)?)
        .name(c"main");
    let create =
        [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout).push_next(&mut feedback)];
    gpu.keep(gpu.create_compute_pipelines(vk::PipelineCache::null(), &create)?[0]);
    ensure!(whole.flags.contains(vk::PipelineCreationFeedbackFlags::VALID), "no feedback");
    ensure!(whole.duration > 0, "made in no time");
    let known = vk::PipelineCreationFeedbackFlags::VALID
        | vk::PipelineCreationFeedbackFlags::APPLICATION_PIPELINE_CACHE_HIT
        | vk::PipelineCreationFeedbackFlags::BASE_PIPELINE_ACCELERATION;
    ensure!(known.contains(whole.flags), "flags {:?}", whole.flags);
    Ok(())
}

fn several_pipelines_per_call(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let set_layout = gpu.set_layout(
        &[vk::DescriptorType::STORAGE_BUFFER.into()],
        vk::DescriptorSetLayoutCreateFlags::empty(),
    )?;
    let layout = gpu.pipeline_layout(&[set_layout], 0)?;
    let modules = (1..9).map(|factor| gpu.module(&times(factor)?)).collect::<Result<Vec<_>>>()?;
    let infos: Vec<_> = modules
        .iter()
        .map(|module| {
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(*module)
                .name(c"main");
            vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)
        })
        .collect();
    let pipelines = gpu.create_compute_pipelines(vk::PipelineCache::null(), &infos)?;
    same!(pipelines.len(), 8, "pipelines");
    for (pipeline, factor) in pipelines.iter().zip(1_u32..) {
        gpu.keep(*pipeline);
        let buffer = gpu.buffer(64)?;
        let set = gpu.empty_set(set_layout)?;
        gpu.write_descriptor(set, 0, crate::gpu::Resource::Storage(buffer));
        gpu.run(|c| {
            c.bind_pipeline(*pipeline);
            c.bind_sets(layout, 0, &[set], &[]);
            c.dispatch(1, 1, 1);
        })?;
        same!(buffer.words(), (0..16).map(|i| i * factor).collect::<Vec<u32>>(), "pipeline {factor}");
        case.digest(&buffer.words());
    }
    Ok(())
}

fn pipelines_1000_per_call(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let set_layout = gpu.set_layout(
        &[vk::DescriptorType::STORAGE_BUFFER.into()],
        vk::DescriptorSetLayoutCreateFlags::empty(),
    )?;
    let layout = gpu.pipeline_layout(&[set_layout], 0)?;
    let module = gpu.module(&times(3)?)?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(c"main");
    let infos = vec![vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout); 1000];
    let pipelines = gpu.create_compute_pipelines(vk::PipelineCache::null(), &infos)?;
    same!(pipelines.len(), 1000, "pipelines");
    for pipeline in &pipelines {
        gpu.destroy(*pipeline);
    }
    gpu.run(|_| ())
}

fn pipeline_derivative(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let storage = [Binding::from(vk::DescriptorType::STORAGE_BUFFER)];
    let base = gpu.kernel_with(KernelInfo {
        code: &times(2)?,
        bindings: &storage,
        flags: vk::PipelineCreateFlags::ALLOW_DERIVATIVES,
        ..KernelInfo::default()
    })?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(gpu.module(&times(11)?)?)
        .name(c"main");
    let create = [vk::ComputePipelineCreateInfo::default()
        .flags(vk::PipelineCreateFlags::DERIVATIVE)
        .stage(stage)
        .layout(base.layout)
        .base_pipeline_handle(base.pipeline)
        .base_pipeline_index(-1)];
    let child = gpu.keep(gpu.create_compute_pipelines(vk::PipelineCache::null(), &create)?[0]);
    let buffer = gpu.buffer(64)?;
    let set = gpu.storage_set(&base, &[buffer])?;
    gpu.run(|c| {
        c.bind_pipeline(child);
        c.bind_sets(base.layout, 0, &[set], &[]);
        c.dispatch(1, 1, 1);
    })?;
    same!(buffer.words(), (0..16).map(|i| i * 11).collect::<Vec<u32>>(), "words");
    case.digest(&buffer.words());
    Ok(())
}

fn module_destroyed_before_use(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let set_layout = gpu.set_layout(
        &[vk::DescriptorType::STORAGE_BUFFER.into()],
        vk::DescriptorSetLayoutCreateFlags::empty(),
    )?;
    let layout = gpu.pipeline_layout(&[set_layout], 0)?;
    let module = gpu.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&times(4)?))?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(c"main");
    let create = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
    let pipeline = gpu.keep(gpu.create_compute_pipelines(vk::PipelineCache::null(), &create)?[0]);
    gpu.destroy(module);
    let buffer = gpu.buffer(64)?;
    let set = gpu.empty_set(set_layout)?;
    gpu.write_descriptor(set, 0, crate::gpu::Resource::Storage(buffer));
    gpu.run(|c| {
        c.bind_pipeline(pipeline);
        c.bind_sets(layout, 0, &[set], &[]);
        c.dispatch(1, 1, 1);
    })?;
    same!(buffer.words(), (0..16).map(|i| i * 4).collect::<Vec<u32>>(), "words");
    Ok(())
}

fn pipeline_churn(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let set_layout = gpu.set_layout(
        &[vk::DescriptorType::STORAGE_BUFFER.into()],
        vk::DescriptorSetLayoutCreateFlags::empty(),
    )?;
    let layout = gpu.pipeline_layout(&[set_layout], 0)?;
    let module = gpu.module(&times(6)?)?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(c"main");
    for _ in 0..100 {
        let create = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
        gpu.destroy(gpu.create_compute_pipelines(vk::PipelineCache::null(), &create)?[0]);
    }
    gpu.destroy(vk::Pipeline::null());
    Ok(())
}

fn layouts_shared_by_pipelines(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let first = gpu.kernel(&times(2)?, 1)?;
    let buffers = [gpu.buffer(64)?, gpu.buffer(64)?];
    let pipelines = [first.pipeline, gpu.pipeline(&times(3)?, first.layout)?];
    let sets = [gpu.storage_set(&first, &buffers[..1])?, gpu.storage_set(&first, &buffers[1..])?];
    gpu.run(|c| {
        for (pipeline, set) in pipelines.iter().zip(sets) {
            c.bind_pipeline(*pipeline);
            c.bind_sets(first.layout, 0, &[set], &[]);
            c.dispatch(1, 1, 1);
        }
    })?;
    for (buffer, factor) in buffers.iter().zip(2..) {
        same!(buffer.words(), (0..16).map(|i| i * factor).collect::<Vec<u32>>(), "factor {factor}");
        case.digest(&buffer.words());
    }
    Ok(())
}

fn dispatch_indirect(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let kernel = gpu.kernel(&times(1)?, 1)?;
    let buffer = gpu.buffer(16 * 16 * 4)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    let sizes = gpu.buffer_of(&[99_u32, 99, 99, 1, 1, 1])?;
    gpu.run(|c| {
        // The size is decided by an earlier command, as a program would do on the device.
        c.update_buffer(sizes.handle, 12, bytemuck::cast_slice(&[7_u32]));
        c.barrier();
        c.bind(&kernel, set);
        c.dispatch_indirect(sizes.handle, 12);
    })?;
    let want: Vec<u32> = (0..256).map(|i| if i < 7 * 16 { i } else { 0 }).collect();
    same!(buffer.words(), want, "words");
    case.digest(&want);
    Ok(())
}

fn dispatch_base(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let storage = [Binding::from(vk::DescriptorType::STORAGE_BUFFER)];
    let kernel = gpu.kernel_with(KernelInfo {
        code: &times(2)?,
        bindings: &storage,
        flags: vk::PipelineCreateFlags::DISPATCH_BASE,
        ..KernelInfo::default()
    })?;
    let buffer = gpu.buffer(16 * 8 * 4)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        c.dispatch_base(2, 0, 0, 3, 1, 1);
    })?;
    let want: Vec<u32> = (0..128).map(|i| if (32..80).contains(&i) { i * 2 } else { 0 }).collect();
    same!(buffer.words(), want, "words");
    case.digest(&want);
    Ok(())
}

fn dispatch_of_no_groups(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let kernel = gpu.kernel(&times(2)?, 1)?;
    let buffer = gpu.buffer(64)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    let sizes = gpu.buffer_of(&[0_u32, 1, 1])?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        c.dispatch(0, 1, 1);
        c.dispatch(1, 0, 1);
        c.dispatch(0, 0, 0);
        c.dispatch_indirect(sizes.handle, 0);
    })?;
    same!(buffer.words(), [0; 16], "words");
    Ok(())
}
