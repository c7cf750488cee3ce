//! Descriptor sets: kinds, writing, copying, pools.

use anyhow::Result;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Binding;
use crate::gpu::Buffer;
use crate::gpu::Gpu;
use crate::gpu::Kernel;
use crate::gpu::KernelInfo;
use crate::gpu::Resource;
use crate::shader::wgsl;

scenarios![
    uniform_buffers,
    dynamic_offsets,
    descriptor_ranges,
    descriptor_array,
    descriptor_array_written_in_parts,
    descriptor_set_copies,
    update_template,
    push_descriptors,
    inline_uniform_block,
    several_sets,
    sets_rebound_between_dispatches,
    descriptor_pool_reset,
    descriptor_sets_freed_and_made_again,
    set_layout_destroyed_before_use,
    layout_support,
    update_after_bind,
];

const STORAGE: vk::DescriptorType = vk::DescriptorType::STORAGE_BUFFER;

/// `out[i] = in[i] * 2 + 1` for 16 words.
const DOUBLE: &str = "
    @group(0) @binding(0) var<storage, read_write> input: array<u32>;
    @group(0) @binding(1) var<storage, read_write> to: array<u32>;
    @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) {
        to[i] = input[i] * 2u + 1u;
    }";

fn numbers(from: u32) -> Vec<u32> {
    (from..from + 16).collect()
}

fn doubled(from: u32) -> Vec<u32> {
    (from..from + 16).map(|x| x * 2 + 1).collect()
}

fn info(buffer: Buffer, offset: u64, range: u64) -> [vk::DescriptorBufferInfo; 1] {
    [vk::DescriptorBufferInfo { buffer: buffer.handle, offset, range }]
}

/// Runs a kernel with one set.
fn run(gpu: &Gpu, kernel: &Kernel, set: vk::DescriptorSet) -> Result<()> {
    gpu.run(|c| {
        c.bind(kernel, set);
        c.dispatch(1, 1, 1);
    })
}

fn uniform_buffers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = wgsl(
        "struct Values { scale: u32, table: array<vec4<u32>, 4> }
         @group(0) @binding(0) var<uniform> values: Values;
         @group(0) @binding(1) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = values.table[i / 4u][i % 4u] * values.scale;
         }",
    )?;
    let bindings = [Binding::from(vk::DescriptorType::UNIFORM_BUFFER), STORAGE.into()];
    let kernel = gpu.kernel_with(KernelInfo { code: &code, bindings: &bindings, ..KernelInfo::default() })?;
    let mut values = vec![3_u32, 0, 0, 0];
    values.extend(numbers(10));
    let (uniform, out) = (gpu.buffer_of(&values)?, gpu.buffer(64)?);
    let set = gpu.set(&kernel, &[Resource::Uniform(uniform), Resource::Storage(out)])?;
    run(&gpu, &kernel, set)?;
    same!(out.words(), numbers(10).iter().map(|x| x * 3).collect::<Vec<_>>(), "words");
    case.digest(&out.words());
    Ok(())
}

fn dynamic_offsets(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let bindings = [Binding::from(vk::DescriptorType::STORAGE_BUFFER_DYNAMIC); 2];
    let kernel =
        gpu.kernel_with(KernelInfo { code: &wgsl(DOUBLE)?, bindings: &bindings, ..KernelInfo::default() })?;
    let (from, to) = (gpu.buffer(4096)?, gpu.buffer(4096)?);
    let set = gpu.empty_set(kernel.set_layout)?;
    for (buffer, binding) in [from, to].into_iter().zip(0..) {
        let infos = info(buffer, 256, 64);
        let write = vk::WriteDescriptorSet::default()
            .dst_set(set)
            .dst_binding(binding)
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER_DYNAMIC)
            .buffer_info(&infos);
        gpu.update_descriptor_sets(&[write], &[]);
    }
    let places = [(0_u32, 1024_u32), (512, 0), (2048, 3328)];
    for ((at, _), first) in places.iter().zip([5, 100, 900]) {
        from.write(256 + *at as usize, &numbers(first));
    }
    gpu.run(|c| {
        c.bind_pipeline(kernel.pipeline);
        for (from, to) in places {
            c.bind_sets(kernel.layout, 0, &[set], &[from, to]);
            c.dispatch(1, 1, 1);
        }
    })?;
    for ((_, at), first) in places.iter().zip([5, 100, 900]) {
        same!(to.read::<u32>(256 + *at as usize, 16), doubled(first), "offset {at}");
    }
    case.digest(&to.words());
    Ok(())
}

fn descriptor_ranges(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> input: array<u32>;
         @group(0) @binding(1) var<storage, read_write> to: array<u32>;
         @compute @workgroup_size(1) fn main() {
             to[0] = arrayLength(&input);
             to[1] = arrayLength(&to);
             to[2] = input[0];
         }",
    )?;
    let kernel = gpu.kernel(&code, 2)?;
    let (from, to) = (gpu.buffer(1024)?, gpu.buffer(1024)?);
    from.write(512, &[77_u32]);
    let set = gpu.empty_set(kernel.set_layout)?;
    let (a, b) = (info(from, 512, 128), info(to, 256, vk::WHOLE_SIZE));
    let write = vk::WriteDescriptorSet::default().dst_set(set).descriptor_type(STORAGE);
    gpu.update_descriptor_sets(&[write.buffer_info(&a), write.dst_binding(1).buffer_info(&b)], &[]);
    run(&gpu, &kernel, set)?;
    same!(to.read::<u32>(256, 3), [32, 192, 77], "lengths and a word");
    case.digest(&to.words());
    Ok(())
}

/// A kernel that sums 4 arrays of an array of descriptors.
fn array_kernel(gpu: &Gpu) -> Result<Kernel> {
    let code = wgsl(
        "enable wgpu_binding_array;
         struct Words { words: array<u32, 16> }
         @group(0) @binding(0) var<storage, read_write> input: binding_array<Words, 4>;
         @group(0) @binding(1) var<storage, read_write> to: array<u32>;
         @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) {
             var sum = 0u;
             for (var k = 0u; k < 4u; k++) { sum += input[k].words[i] * (k + 1u); }
             to[i] = sum;
         }",
    )?;
    let bindings = [Binding { kind: STORAGE, count: 4 }, STORAGE.into()];
    gpu.kernel_with(KernelInfo { code: &code, bindings: &bindings, ..KernelInfo::default() })
}

fn array_inputs(gpu: &Gpu) -> Result<([Buffer; 4], Vec<u32>)> {
    let inputs = [10, 200, 3000, 40_000].map(numbers);
    let want = (0..16).map(|i| inputs.iter().zip(1..).map(|(input, k)| input[i] * k).sum()).collect();
    let [a, b, c, d] = inputs;
    Ok(([gpu.buffer_of(&a)?, gpu.buffer_of(&b)?, gpu.buffer_of(&c)?, gpu.buffer_of(&d)?], want))
}

fn descriptor_array(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.shader_storage_buffer_array_dynamic_indexing, "dynamic indexing of buffers")?;
    let kernel = array_kernel(&gpu)?;
    let (inputs, want) = array_inputs(&gpu)?;
    let out = gpu.buffer(64)?;
    let set = gpu.empty_set(kernel.set_layout)?;
    let infos = inputs.map(|buffer| info(buffer, 0, vk::WHOLE_SIZE)[0]);
    let write = vk::WriteDescriptorSet::default().dst_set(set).descriptor_type(STORAGE);
    gpu.update_descriptor_sets(&[write.buffer_info(&infos)], &[]);
    gpu.write_descriptor(set, 1, Resource::Storage(out));
    run(&gpu, &kernel, set)?;
    same!(out.words(), want, "sums");
    case.digest(&want);
    Ok(())
}

fn descriptor_array_written_in_parts(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.shader_storage_buffer_array_dynamic_indexing, "dynamic indexing of buffers")?;
    let kernel = array_kernel(&gpu)?;
    let (inputs, want) = array_inputs(&gpu)?;
    let out = gpu.buffer(64)?;
    let set = gpu.empty_set(kernel.set_layout)?;
    let infos = inputs.map(|buffer| info(buffer, 0, vk::WHOLE_SIZE)[0]);
    let write = vk::WriteDescriptorSet::default().dst_set(set).descriptor_type(STORAGE);
    gpu.update_descriptor_sets(&[write.dst_array_element(2).buffer_info(&infos[2..])], &[]);
    // A write that runs over the end of a binding goes on in the next.
    let last = [infos[3], info(out, 0, vk::WHOLE_SIZE)[0]];
    let first = write.buffer_info(&infos[..2]);
    gpu.update_descriptor_sets(&[first, write.dst_array_element(3).buffer_info(&last)], &[]);
    run(&gpu, &kernel, set)?;
    same!(out.words(), want, "sums");
    case.digest(&want);
    Ok(())
}

fn descriptor_set_copies(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let kernel = gpu.kernel(&wgsl(DOUBLE)?, 2)?;
    let (from, to) = (gpu.buffer_of(&numbers(50))?, gpu.buffer(64)?);
    let first = gpu.storage_set(&kernel, &[from, to])?;
    let second = gpu.empty_set(kernel.set_layout)?;
    let copy = |binding| {
        vk::CopyDescriptorSet::default()
            .src_set(first)
            .src_binding(binding)
            .dst_set(second)
            .dst_binding(binding)
            .descriptor_count(1)
    };
    gpu.update_descriptor_sets(&[], &[copy(0), copy(1)]);
    run(&gpu, &kernel, second)?;
    same!(to.words(), doubled(50), "words");
    case.digest(&to.words());
    Ok(())
}

fn update_template(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let kernel = gpu.kernel(&wgsl(DOUBLE)?, 2)?;
    let stride = size_of::<vk::DescriptorBufferInfo>();
    // The data is turned round and holds one element that no entry names.
    let entry = |binding, offset| vk::DescriptorUpdateTemplateEntry {
        dst_binding: binding,
        dst_array_element: 0,
        descriptor_count: 1,
        descriptor_type: STORAGE,
        offset,
        stride,
    };
    let entries = [entry(0, 2 * stride), entry(1, 0)];
    let create = vk::DescriptorUpdateTemplateCreateInfo::default()
        .descriptor_update_entries(&entries)
        .template_type(vk::DescriptorUpdateTemplateType::DESCRIPTOR_SET)
        .descriptor_set_layout(kernel.set_layout);
    let template = gpu.keep(gpu.create_descriptor_update_template(&create)?);
    let (from, to) = (gpu.buffer_of(&numbers(70))?, gpu.buffer(64)?);
    let unused = gpu.buffer(64)?;
    let set = gpu.empty_set(kernel.set_layout)?;
    let data = [to, unused, from].map(|buffer| info(buffer, 0, vk::WHOLE_SIZE)[0]);
    gpu.update_with_template(set, template, &data);
    run(&gpu, &kernel, set)?;
    same!(to.words(), doubled(70), "words");
    same!(unused.words(), [0; 16], "words that no entry names");
    case.digest(&to.words());
    Ok(())
}

fn push_descriptors(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.has_push_descriptors(), "VK_KHR_push_descriptor")?;
    let kernel = gpu.kernel_with(KernelInfo {
        code: &wgsl(DOUBLE)?,
        bindings: &[STORAGE.into(); 2],
        set_flags: vk::DescriptorSetLayoutCreateFlags::PUSH_DESCRIPTOR_KHR,
        ..KernelInfo::default()
    })?;
    let from = [gpu.buffer_of(&numbers(1))?, gpu.buffer_of(&numbers(300))?];
    let to = [gpu.buffer(64)?, gpu.buffer(64)?];
    gpu.run(|c| {
        c.bind_pipeline(kernel.pipeline);
        for (from, to) in from.iter().zip(&to) {
            let (a, b) = (info(*from, 0, vk::WHOLE_SIZE), info(*to, 0, vk::WHOLE_SIZE));
            let write = vk::WriteDescriptorSet::default().descriptor_type(STORAGE);
            c.push_set(kernel.layout, &[write.buffer_info(&a), write.dst_binding(1).buffer_info(&b)]);
            c.dispatch(1, 1, 1);
        }
    })?;
    same!(to[0].words(), doubled(1), "first");
    same!(to[1].words(), doubled(300), "second");
    case.digest(&to[1].words());
    Ok(())
}

fn inline_uniform_block(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features13.inline_uniform_block, "inlineUniformBlock")?;
    let code = wgsl(
        "@group(0) @binding(0) var<uniform> values: array<vec4<u32>, 4>;
         @group(0) @binding(1) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = values[i / 4u][i % 4u] + 1u;
         }",
    )?;
    let bindings = [Binding { kind: vk::DescriptorType::INLINE_UNIFORM_BLOCK, count: 64 }, STORAGE.into()];
    let kernel = gpu.kernel_with(KernelInfo { code: &code, bindings: &bindings, ..KernelInfo::default() })?;
    let mut blocks =
        vk::DescriptorPoolInlineUniformBlockCreateInfo::default().max_inline_uniform_block_bindings(1);
    let sizes = [
        vk::DescriptorPoolSize { ty: vk::DescriptorType::INLINE_UNIFORM_BLOCK, descriptor_count: 64 },
        vk::DescriptorPoolSize { ty: STORAGE, descriptor_count: 1 },
    ];
    let create =
        vk::DescriptorPoolCreateInfo::default().max_sets(1).pool_sizes(&sizes).push_next(&mut blocks);
    let pool = gpu.keep(gpu.create_descriptor_pool(&create)?);
    let layouts = [kernel.set_layout];
    let allocate = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    let set = gpu.allocate_descriptor_sets(&allocate)?[0];
    let out = gpu.buffer(64)?;
    gpu.write_inline_block(set, 0, bytemuck::cast_slice(&numbers(500)));
    gpu.write_descriptor(set, 1, Resource::Storage(out));
    run(&gpu, &kernel, set)?;
    same!(out.words(), numbers(501), "words");
    case.digest(&out.words());
    Ok(())
}

fn several_sets(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> a: array<u32>;
         @group(1) @binding(0) var<storage, read_write> b: array<u32>;
         @group(3) @binding(0) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = a[i] * 1000u + b[i];
         }",
    )?;
    let none = vk::DescriptorSetLayoutCreateFlags::empty();
    let one = gpu.set_layout(&[STORAGE.into()], none)?;
    let empty = gpu.set_layout(&[], none)?;
    let layout = gpu.pipeline_layout(&[one, one, empty, one], 0)?;
    let pipeline = gpu.pipeline(&code, layout)?;
    let (a, b, out) = (gpu.buffer_of(&numbers(1))?, gpu.buffer_of(&numbers(100))?, gpu.buffer(64)?);
    let mut sets = Vec::new();
    for buffer in [a, b, out] {
        let set = gpu.empty_set(one)?;
        gpu.write_descriptor(set, 0, Resource::Storage(buffer));
        sets.push(set);
    }
    let nothing = gpu.empty_set(empty)?;
    gpu.run(|c| {
        c.bind_pipeline(pipeline);
        c.bind_sets(layout, 1, &[sets[1], nothing, sets[2]], &[]);
        c.bind_sets(layout, 0, &[sets[0]], &[]);
        c.dispatch(1, 1, 1);
    })?;
    same!(out.words(), (0..16).map(|i| (1 + i) * 1000 + 100 + i).collect::<Vec<u32>>(), "words");
    case.digest(&out.words());
    Ok(())
}

fn sets_rebound_between_dispatches(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let kernel = gpu.kernel(&wgsl(DOUBLE)?, 2)?;
    let buffers = [gpu.buffer_of(&numbers(2))?, gpu.buffer(64)?, gpu.buffer(64)?, gpu.buffer(64)?];
    let sets = buffers.windows(2).map(|pair| gpu.storage_set(&kernel, pair)).collect::<Result<Vec<_>>>()?;
    gpu.run(|c| {
        c.bind_pipeline(kernel.pipeline);
        for set in &sets {
            c.bind_sets(kernel.layout, 0, &[*set], &[]);
            c.dispatch(1, 1, 1);
            c.barrier();
        }
    })?;
    same!(buffers[3].words(), (2..18).map(|x| x * 8 + 7).collect::<Vec<u32>>(), "three times");
    case.digest(&buffers[3].words());
    Ok(())
}

fn descriptor_pool_reset(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let kernel = gpu.kernel(&wgsl(DOUBLE)?, 2)?;
    let pool = gpu.descriptor_pool(8, 2)?;
    let layouts = [kernel.set_layout; 8];
    let allocate = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    for round in 0..20 {
        let sets = gpu.allocate_descriptor_sets(&allocate)?;
        let (from, to) = (gpu.buffer_of(&numbers(round))?, gpu.buffer(64)?);
        gpu.write_descriptor(sets[7], 0, Resource::Storage(from));
        gpu.write_descriptor(sets[7], 1, Resource::Storage(to));
        run(&gpu, &kernel, sets[7])?;
        same!(to.words(), doubled(round), "round {round}");
        gpu.reset_descriptor_pool(pool, vk::DescriptorPoolResetFlags::empty())?;
    }
    Ok(())
}

fn descriptor_sets_freed_and_made_again(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let kernel = gpu.kernel(&wgsl(DOUBLE)?, 2)?;
    let pool = gpu.descriptor_pool(4, 2)?;
    let layouts = [kernel.set_layout; 4];
    let allocate =
        |count| vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts[..count]);
    let mut sets = gpu.allocate_descriptor_sets(&allocate(4))?;
    for round in 0..50 {
        gpu.free_descriptor_sets(pool, &[sets[1], vk::DescriptorSet::null(), sets[3]])?;
        let fresh = gpu.allocate_descriptor_sets(&allocate(2))?;
        (sets[1], sets[3]) = (fresh[0], fresh[1]);
        let (from, to) = (gpu.buffer_of(&numbers(round))?, gpu.buffer(64)?);
        gpu.write_descriptor(sets[3], 0, Resource::Storage(from));
        gpu.write_descriptor(sets[3], 1, Resource::Storage(to));
        run(&gpu, &kernel, sets[3])?;
        same!(to.words(), doubled(round), "round {round}");
    }
    gpu.free_descriptor_sets(pool, &sets)?;
    Ok(())
}

fn set_layout_destroyed_before_use(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let kernel = gpu.kernel(&wgsl(DOUBLE)?, 2)?;
    let bindings = [0, 1].map(|binding| {
        vk::DescriptorSetLayoutBinding::default()
            .binding(binding)
            .descriptor_type(STORAGE)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    });
    let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    let twin = gpu.create_descriptor_set_layout(&create)?;
    let (from, to) = (gpu.buffer_of(&numbers(8))?, gpu.buffer(64)?);
    let set = gpu.empty_set(twin)?;
    gpu.write_descriptor(set, 0, Resource::Storage(from));
    gpu.write_descriptor(set, 1, Resource::Storage(to));
    // The set fits any layout that is defined the same way, also after its own is gone.
    gpu.destroy(twin);
    run(&gpu, &kernel, set)?;
    same!(to.words(), doubled(8), "words");
    Ok(())
}

fn layout_support(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let bindings = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(STORAGE)
        .descriptor_count(4)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)];
    let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    let mut support = vk::DescriptorSetLayoutSupport::default();
    gpu.get_descriptor_set_layout_support(&create, &mut support);
    same!(support.supported, vk::TRUE, "a layout every device supports");
    Ok(())
}

fn update_after_bind(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let there = gpu.features12.descriptor_binding_storage_buffer_update_after_bind;
    case.need(there, "descriptorBindingStorageBufferUpdateAfterBind")?;
    let flags = [vk::DescriptorBindingFlags::UPDATE_AFTER_BIND; 2];
    let mut flags = vk::DescriptorSetLayoutBindingFlagsCreateInfo::default().binding_flags(&flags);
    let bindings = [0, 1].map(|binding| {
        vk::DescriptorSetLayoutBinding::default()
            .binding(binding)
            .descriptor_type(STORAGE)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    });
    let create = vk::DescriptorSetLayoutCreateInfo::default()
        .flags(vk::DescriptorSetLayoutCreateFlags::UPDATE_AFTER_BIND_POOL)
        .bindings(&bindings)
        .push_next(&mut flags);
    let set_layout = gpu.keep(gpu.create_descriptor_set_layout(&create)?);
    let layout = gpu.pipeline_layout(&[set_layout], 0)?;
    let pipeline = gpu.pipeline(&wgsl(DOUBLE)?, layout)?;
    let sizes = [vk::DescriptorPoolSize { ty: STORAGE, descriptor_count: 2 }];
    let create = vk::DescriptorPoolCreateInfo::default()
        .flags(vk::DescriptorPoolCreateFlags::UPDATE_AFTER_BIND)
        .max_sets(1)
        .pool_sizes(&sizes);
    let pool = gpu.keep(gpu.create_descriptor_pool(&create)?);
    let layouts = [set_layout];
    let allocate = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    let set = gpu.allocate_descriptor_sets(&allocate)?[0];
    let commands = gpu.recorded(|c| {
        c.bind_pipeline(pipeline);
        c.bind_sets(layout, 0, &[set], &[]);
        c.dispatch(1, 1, 1);
        c.to_host();
    })?;
    for first in [3, 33] {
        let (from, to) = (gpu.buffer_of(&numbers(first))?, gpu.buffer(64)?);
        gpu.write_descriptor(set, 0, Resource::Storage(from));
        gpu.write_descriptor(set, 1, Resource::Storage(to));
        gpu.submit_and_wait(&[commands])?;
        same!(to.words(), doubled(first), "words");
    }
    Ok(())
}
