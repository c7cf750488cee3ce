//! Draws the Mandelbrot set with a Vulkan compute shader and writes a PNG.
//!
//! Plain Vulkan, nothing of ours: it runs on whatever driver the loader finds, so it shows what an unmodified program
//! does. The steps are the usual ones: instance, device, buffer, shader, pipeline, commands, submission, read back.

// UNSAFETY: every Vulkan call is unsafe in `ash`; each block below makes one call.
#![expect(unsafe_code, reason = "Vulkan is called through ash, whose commands are unsafe functions")]

use std::ffi::CStr;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;
use ash::vk;
use clap::Parser;

/// Draws the Mandelbrot set on the first Vulkan device that computes.
#[derive(Parser)]
struct Options {
    /// Where the picture goes.
    #[arg(long, default_value = "mandelbrot.png")]
    out: PathBuf,
    /// Width of the picture in pixels; it is three quarters as high.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=16384))]
    size: u32,
    /// Most iterations of a pixel.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    iterations: u32,
}

/// The shader's push constants, as the shader lays them out.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct View {
    size: [u32; 2],
    centre: [f32; 2],
    scale: f32,
    iterations: u32,
}

/// Compiles the shader's text to SPIR-V.
fn shader() -> anyhow::Result<Vec<u32>> {
    let module = naga::front::wgsl::parse_str(include_str!("mandelbrot.wgsl"))?;
    let capabilities = naga::valid::Capabilities::all();
    let info =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities).validate(&module)?;
    let options = naga::back::spv::Options { lang_version: (1, 3), ..Default::default() };
    Ok(naga::back::spv::write_vec(&module, &info, &options, None)?)
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let (width, height) = (options.size, options.size * 3 / 4);
    // SAFETY: the loader library is the system's and is called as its documentation says.
    let entry = unsafe { ash::Entry::load() }.context("no Vulkan loader (libvulkan.so.1) on this machine")?;
    let application =
        vk::ApplicationInfo::default().application_name(c"mandelbrot").api_version(vk::API_VERSION_1_1);
    let create = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: `create` and what it points to live through the call.
    let instance = unsafe { entry.create_instance(&create, None) }.context("vkCreateInstance")?;
    // SAFETY: `instance` is alive.
    let physicals = unsafe { instance.enumerate_physical_devices() }?;
    let (physical, family) = physicals
        .into_iter()
        .find_map(|physical| {
            // SAFETY: `physical` is one of `instance`.
            let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
            let family = families.iter().position(|f| f.queue_flags.contains(vk::QueueFlags::COMPUTE))?;
            Some((physical, u32::try_from(family).ok()?))
        })
        .context("no Vulkan device with a compute queue")?;
    // SAFETY: `physical` is one of `instance`.
    let properties = unsafe { instance.get_physical_device_properties(physical) };
    let name = properties.device_name_as_c_str().unwrap_or(c"?").to_string_lossy().into_owned();

    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
    let create = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
    // SAFETY: `create` and what it points to live through the call.
    let device = unsafe { instance.create_device(physical, &create, None) }.context("vkCreateDevice")?;
    // SAFETY: the device was created with this queue.
    let queue = unsafe { device.get_device_queue(family, 0) };
    let started = Instant::now();

    let bytes = u64::from(width) * u64::from(height) * 4;
    let create = vk::BufferCreateInfo::default().size(bytes).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
    // SAFETY: `create` is complete.
    let buffer = unsafe { device.create_buffer(&create, None) }?;
    // SAFETY: `buffer` is of this device.
    let needs = unsafe { device.get_buffer_memory_requirements(buffer) };
    // SAFETY: `physical` is one of `instance`.
    let memory = unsafe { instance.get_physical_device_memory_properties(physical) };
    let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let memory_type = (0..memory.memory_type_count)
        .find(|i| {
            needs.memory_type_bits >> i & 1 == 1
                && memory.memory_types[*i as usize].property_flags.contains(wanted)
        })
        .context("no host-visible memory for a storage buffer")?;
    let allocate =
        vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(memory_type);
    // SAFETY: `allocate` is complete.
    let memory = unsafe { device.allocate_memory(&allocate, None) }?;
    // SAFETY: both are of this device, neither is bound, the size fits.
    unsafe { device.bind_buffer_memory(buffer, memory, 0) }?;

    let bindings = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)];
    let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    // SAFETY: `create` and what it points to live through the call.
    let layouts = [unsafe { device.create_descriptor_set_layout(&create, None) }?];
    let ranges = [vk::PushConstantRange::default()
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
        .size(u32::try_from(size_of::<View>())?)];
    let create = vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts).push_constant_ranges(&ranges);
    // SAFETY: as above.
    let layout = unsafe { device.create_pipeline_layout(&create, None) }?;
    let code = shader()?;
    let create = vk::ShaderModuleCreateInfo::default().code(&code);
    // SAFETY: the code is valid SPIR-V, as its compiler has checked.
    let module = unsafe { device.create_shader_module(&create, None) }?;
    let entry_point: &CStr = c"main";
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(entry_point);
    let create = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
    // SAFETY: the shader's interface is what `layout` says.
    let pipelines = unsafe { device.create_compute_pipelines(vk::PipelineCache::null(), &create, None) };
    let pipeline = pipelines.map_err(|(_, result)| result).context("vkCreateComputePipelines")?[0];

    let sizes = [vk::DescriptorPoolSize { ty: vk::DescriptorType::STORAGE_BUFFER, descriptor_count: 1 }];
    let create = vk::DescriptorPoolCreateInfo::default().max_sets(1).pool_sizes(&sizes);
    // SAFETY: `create` and what it points to live through the call.
    let pool = unsafe { device.create_descriptor_pool(&create, None) }?;
    let allocate = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    // SAFETY: the pool has room for one set of this layout.
    let set = unsafe { device.allocate_descriptor_sets(&allocate) }?[0];
    let infos = [vk::DescriptorBufferInfo { buffer, offset: 0, range: vk::WHOLE_SIZE }];
    let write = vk::WriteDescriptorSet::default()
        .dst_set(set)
        .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
        .buffer_info(&infos);
    // SAFETY: the set is not in use.
    unsafe { device.update_descriptor_sets(&[write], &[]) };

    let create = vk::CommandPoolCreateInfo::default().queue_family_index(family);
    // SAFETY: `create` is complete.
    let commands = unsafe { device.create_command_pool(&create, None) }?;
    let allocate = vk::CommandBufferAllocateInfo::default().command_pool(commands).command_buffer_count(1);
    // SAFETY: the pool is of this device.
    let cb = unsafe { device.allocate_command_buffers(&allocate) }?[0];
    let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    let view =
        View { size: [width, height], centre: [-0.65, 0.0], scale: 2.5, iterations: options.iterations };
    // SAFETY: a new command buffer may be begun.
    unsafe { device.begin_command_buffer(cb, &begin) }?;
    // SAFETY: recording; the pipeline is of this device.
    unsafe { device.cmd_bind_pipeline(cb, vk::PipelineBindPoint::COMPUTE, pipeline) };
    // SAFETY: recording; the set fits the layout.
    unsafe { device.cmd_bind_descriptor_sets(cb, vk::PipelineBindPoint::COMPUTE, layout, 0, &[set], &[]) };
    // SAFETY: recording; the range is the layout's.
    unsafe {
        device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::COMPUTE, 0, bytemuck::bytes_of(&view))
    };
    // SAFETY: recording; everything the shader reads is bound.
    unsafe { device.cmd_dispatch(cb, width.div_ceil(8), height.div_ceil(8), 1) };
    let barrier = [vk::MemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::SHADER_WRITE)
        .dst_access_mask(vk::AccessFlags::HOST_READ)];
    let (from, to) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::HOST);
    // SAFETY: recording.
    unsafe { device.cmd_pipeline_barrier(cb, from, to, vk::DependencyFlags::empty(), &barrier, &[], &[]) };
    // SAFETY: recording ends.
    unsafe { device.end_command_buffer(cb) }?;
    // SAFETY: no extension structures are needed.
    let fence = unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) }?;
    let buffers = [cb];
    // SAFETY: the command buffer is recorded, the fence unsignalled.
    unsafe { device.queue_submit(queue, &[vk::SubmitInfo::default().command_buffers(&buffers)], fence) }?;
    // SAFETY: the fence was submitted.
    unsafe { device.wait_for_fences(&[fence], true, u64::MAX) }.context("vkWaitForFences")?;

    // SAFETY: the memory is host-visible and not mapped.
    let data = unsafe { device.map_memory(memory, 0, bytes, vk::MemoryMapFlags::empty()) }?;
    // SAFETY: the mapping is `bytes` long, the GPU is done with it, and it is not written while we look.
    let pixels = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), usize::try_from(bytes)?) };
    ensure!(pixels.chunks_exact(4).all(|pixel| pixel[3] == 0xff), "some pixels were not drawn");
    let file =
        File::create(&options.out).with_context(|| format!("cannot write {}", options.out.display()))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header()?.write_image_data(pixels)?;
    println!(
        "{name}: {width}x{height} in {:.1} ms -> {}",
        started.elapsed().as_secs_f64() * 1e3,
        options.out.display()
    );
    // SAFETY: the device is idle; destroying it frees what the driver holds for this short-lived process.
    unsafe { device.device_wait_idle() }?;
    Ok(())
}
