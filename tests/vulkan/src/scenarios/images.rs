//! Images in shaders: stored to, loaded from, sampled.

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Buffer;
use crate::gpu::Gpu;
use crate::gpu::Image;
use crate::gpu::ImageInfo;
use crate::gpu::KernelInfo;
use crate::gpu::Resource;
use crate::gpu::WHOLE;
use crate::gpu::extent;
use crate::gpu::layers;
use crate::shader::wgsl;

scenarios![
    storage_image_store,
    storage_image_load_and_store,
    storage_image_floats,
    storage_image_layers,
    storage_image_3d,
    sampled_image_loads,
    sampler_nearest,
    sampler_linear,
    sampler_address_modes,
    sampler_mip_levels,
    view_with_swizzle,
    view_of_another_format,
    view_of_one_layer,
    immutable_sampler,
];

const UNDEFINED: vk::ImageLayout = vk::ImageLayout::UNDEFINED;
const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;
const TO: vk::ImageLayout = vk::ImageLayout::TRANSFER_DST_OPTIMAL;
const READ: vk::ImageLayout = vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL;
const WORDS: vk::Format = vk::Format::R32_UINT;
const FLOATS: vk::Format = vk::Format::R32_SFLOAT;
const RGBA8: vk::Format = vk::Format::R8G8B8A8_UNORM;

fn all(image: &Image, mip: u32) -> vk::BufferImageCopy {
    vk::BufferImageCopy {
        image_subresource: layers(mip, 0, image.info.layers),
        image_extent: extent(image.info.size.map(|side| (side >> mip).max(1))),
        ..Default::default()
    }
}

/// Runs a kernel that stores to an image and gives the image's words.
fn stored(gpu: &Gpu, image: &Image, view: vk::ImageView, code: &str, groups: [u32; 3]) -> Result<Vec<u32>> {
    let kernel = gpu.kernel_with(KernelInfo {
        code: &wgsl(code)?,
        bindings: &[vk::DescriptorType::STORAGE_IMAGE.into()],
        ..KernelInfo::default()
    })?;
    let set = gpu.set(&kernel, &[Resource::StorageImage(view)])?;
    let texels: u32 = image.info.size.iter().product::<u32>() * image.info.layers;
    let out = gpu.buffer(u64::from(texels) * 4)?;
    gpu.run(|c| {
        c.to_layout(image.handle, UNDEFINED, GENERAL);
        c.bind(&kernel, set);
        c.dispatch(groups[0], groups[1], groups[2]);
        c.barrier();
        c.copy_image_to_buffer(image.handle, GENERAL, out.handle, &[all(image, 0)]);
    })?;
    Ok(out.words())
}

fn storage_image_store(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let image = gpu.image(ImageInfo::flat(WORDS, 64, 32).used(vk::ImageUsageFlags::STORAGE))?;
    let code = "@group(0) @binding(0) var out: texture_storage_2d<r32uint, write>;
        @compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            textureStore(out, id.xy, vec4<u32>(id.y * 1000u + id.x, 0u, 0u, 0u));
        }";
    let got = stored(&gpu, &image, gpu.view(&image)?, code, [8, 4, 1])?;
    let want: Vec<u32> = (0..2048).map(|at| at / 64 * 1000 + at % 64).collect();
    same!(got, want, "texels");
    case.digest(&got);
    Ok(())
}

fn storage_image_load_and_store(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let image = gpu.image(ImageInfo::flat(WORDS, 16, 16).used(vk::ImageUsageFlags::STORAGE))?;
    let view = gpu.view(&image)?;
    let code = wgsl(
        "@group(0) @binding(0) var cells: texture_storage_2d<r32uint, read_write>;
         @compute @workgroup_size(16, 16) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
             let old = textureLoad(cells, id.xy).x;
             textureStore(cells, id.xy, vec4<u32>(old * 2u + id.x, 0u, 0u, 0u));
         }",
    )?;
    let kernel = gpu.kernel_with(KernelInfo {
        code: &code,
        bindings: &[vk::DescriptorType::STORAGE_IMAGE.into()],
        ..KernelInfo::default()
    })?;
    let set = gpu.set(&kernel, &[Resource::StorageImage(view)])?;
    let out = gpu.buffer(1024)?;
    gpu.run(|c| {
        c.to_layout(image.handle, UNDEFINED, GENERAL);
        c.clear_color_image(image.handle, GENERAL, &vk::ClearColorValue { uint32: [5; 4] }, &[WHOLE]);
        c.bind(&kernel, set);
        for _ in 0..3 {
            c.barrier();
            c.dispatch(1, 1, 1);
        }
        c.barrier();
        c.copy_image_to_buffer(image.handle, GENERAL, out.handle, &[all(&image, 0)]);
    })?;
    let want: Vec<u32> = (0..256).map(|at| 40 + at % 16 * 7).collect();
    same!(out.words(), want, "texels");
    case.digest(&want);
    Ok(())
}

fn storage_image_floats(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let image = gpu.image(ImageInfo::flat(RGBA8, 16, 16).used(vk::ImageUsageFlags::STORAGE))?;
    let code = "@group(0) @binding(0) var out: texture_storage_2d<rgba8unorm, write>;
        @compute @workgroup_size(16, 16) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            textureStore(out, id.xy, vec4<f32>(f32(id.x) / 255.0, f32(id.y) / 255.0, 1.0, 0.0));
        }";
    let got = stored(&gpu, &image, gpu.view(&image)?, code, [1, 1, 1])?;
    let want: Vec<u32> = (0..256).map(|at| (at % 16) | ((at / 16) << 8) | 0xff_0000).collect();
    same!(got, want, "texels");
    case.digest(&got);
    Ok(())
}

fn storage_image_layers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { layers: 4, ..ImageInfo::flat(WORDS, 8, 8).used(vk::ImageUsageFlags::STORAGE) };
    let image = gpu.image(info)?;
    let view = gpu.view_of(&image, vk::ImageViewType::TYPE_2D_ARRAY, WHOLE)?;
    let code = "@group(0) @binding(0) var out: texture_storage_2d_array<r32uint, write>;
        @compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            textureStore(out, id.xy, id.z, vec4<u32>(id.z * 64u + id.y * 8u + id.x, 0u, 0u, 0u));
        }";
    let got = stored(&gpu, &image, view, code, [1, 1, 4])?;
    same!(got, (0..256).collect::<Vec<u32>>(), "texels");
    Ok(())
}

fn storage_image_3d(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let flat = ImageInfo::flat(WORDS, 8, 8).used(vk::ImageUsageFlags::STORAGE);
    let image = gpu.image(ImageInfo { kind: vk::ImageType::TYPE_3D, size: [8, 8, 4], ..flat })?;
    let view = gpu.view_of(&image, vk::ImageViewType::TYPE_3D, WHOLE)?;
    let code = "@group(0) @binding(0) var out: texture_storage_3d<r32uint, write>;
        @compute @workgroup_size(4, 4, 4) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            textureStore(out, id, vec4<u32>(id.z * 64u + id.y * 8u + id.x + 7u, 0u, 0u, 0u));
        }";
    let got = stored(&gpu, &image, view, code, [2, 2, 1])?;
    same!(got, (7..263).collect::<Vec<u32>>(), "texels");
    Ok(())
}

/// An image that can be sampled and holds these values, one list for each mip level.
fn filled<T: bytemuck::NoUninit>(gpu: &Gpu, info: ImageInfo, levels: &[&[T]]) -> Result<Image> {
    let image = gpu.image(info.used(vk::ImageUsageFlags::SAMPLED))?;
    let buffers = levels.iter().map(|level| gpu.buffer_of(level)).collect::<Result<Vec<_>>>()?;
    gpu.run(|c| {
        c.to_layout(image.handle, UNDEFINED, TO);
        for (buffer, mip) in buffers.iter().zip(0..) {
            c.copy_buffer_to_image(buffer.handle, image.handle, TO, &[all(&image, mip)]);
        }
        c.to_layout(image.handle, TO, READ);
    })?;
    Ok(image)
}

/// Runs a kernel with a sampled image, a sampler and an output of `count` floats.
fn sampled(gpu: &Gpu, view: vk::ImageView, sampler: vk::Sampler, body: &str, count: u32) -> Result<Vec<f32>> {
    let code = wgsl(&format!(
        "@group(0) @binding(0) var image: texture_2d<f32>;
         @group(0) @binding(1) var how: sampler;
         @group(0) @binding(2) var<storage, read_write> out: array<f32>;
         fn at(x: f32, y: f32) -> f32 {{ return textureSampleLevel(image, how, vec2<f32>(x, y), 0.0).x; }}
         @compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
             let i = id.x;
             {body}
         }}"
    ))?;
    let kernel = gpu.kernel_with(KernelInfo {
        code: &code,
        bindings: &[
            vk::DescriptorType::SAMPLED_IMAGE.into(),
            vk::DescriptorType::SAMPLER.into(),
            vk::DescriptorType::STORAGE_BUFFER.into(),
        ],
        ..KernelInfo::default()
    })?;
    let out: Buffer = gpu.buffer(u64::from(count) * 4)?;
    let resources = [Resource::SampledImage(view), Resource::Sampler(sampler), Resource::Storage(out)];
    let set = gpu.set(&kernel, &resources)?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        c.dispatch(count, 1, 1);
    })?;
    Ok(out.read(0, count as usize))
}

fn sampler(gpu: &Gpu, filter: vk::Filter, mode: vk::SamplerAddressMode) -> Result<vk::Sampler> {
    let create = vk::SamplerCreateInfo::default()
        .mag_filter(filter)
        .min_filter(filter)
        .mipmap_mode(vk::SamplerMipmapMode::NEAREST)
        .address_mode_u(mode)
        .address_mode_v(mode)
        .address_mode_w(mode)
        .max_lod(vk::LOD_CLAMP_NONE)
        .border_color(vk::BorderColor::FLOAT_OPAQUE_WHITE);
    Ok(gpu.keep(gpu.create_sampler(&create)?))
}

const CLAMP: vk::SamplerAddressMode = vk::SamplerAddressMode::CLAMP_TO_EDGE;

/// A row of 4 floats: 1, 2, 4, 8.
fn row(gpu: &Gpu) -> Result<vk::ImageView> {
    gpu.view(&filled(gpu, ImageInfo::flat(FLOATS, 4, 1), &[&[1.0_f32, 2.0, 4.0, 8.0]])?)
}

fn sampled_image_loads(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let values: Vec<f32> = (0..64_u16).map(f32::from).collect();
    let view = gpu.view(&filled(&gpu, ImageInfo::flat(FLOATS, 8, 8), &[&values])?)?;
    let how = sampler(&gpu, vk::Filter::NEAREST, CLAMP)?;
    let body =
        "out[i] = textureLoad(image, vec2<u32>(i % 8u, i / 8u), 0).x + f32(textureDimensions(image).x);";
    let got = sampled(&gpu, view, how, body, 64)?;
    same!(got, values.iter().map(|x| x + 8.0).collect::<Vec<_>>(), "texels");
    Ok(())
}

fn sampler_nearest(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let how = sampler(&gpu, vk::Filter::NEAREST, CLAMP)?;
    let got = sampled(&gpu, row(&gpu)?, how, "out[i] = at((f32(i) + 0.5) / 8.0, 0.5);", 8)?;
    same!(got, [1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0], "samples");
    case.digest(&got);
    Ok(())
}

fn sampler_linear(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let there = gpu.physical.format(FLOATS).optimal_tiling_features;
    case.need(
        there.contains(vk::FormatFeatureFlags::SAMPLED_IMAGE_FILTER_LINEAR),
        "linear filter of floats",
    )?;
    let how = sampler(&gpu, vk::Filter::LINEAR, CLAMP)?;
    // Halfway between the middles of texels, where every device has the same weights.
    let got = sampled(&gpu, row(&gpu)?, how, "out[i] = at(f32(i + 1u) / 4.0, 0.5);", 3)?;
    same!(got, [1.5, 3.0, 6.0], "samples");
    case.digest(&got);
    Ok(())
}

fn sampler_address_modes(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let view = row(&gpu)?;
    let modes = [
        (CLAMP, [1.0, 1.0, 8.0, 8.0]),
        (vk::SamplerAddressMode::REPEAT, [4.0, 8.0, 1.0, 2.0]),
        (vk::SamplerAddressMode::MIRRORED_REPEAT, [2.0, 1.0, 8.0, 4.0]),
        (vk::SamplerAddressMode::CLAMP_TO_BORDER, [1.0, 1.0, 1.0, 1.0]),
    ];
    for (mode, want) in modes {
        let how = sampler(&gpu, vk::Filter::NEAREST, mode)?;
        let body = "let place = array<f32, 4>(-0.375, -0.125, 1.125, 1.375); out[i] = at(place[i], 0.5);";
        let got = sampled(&gpu, view, how, body, 4)?;
        same!(got, want, "{mode:?}");
    }
    Ok(())
}

fn sampler_mip_levels(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { mips: 3, ..ImageInfo::flat(FLOATS, 4, 4) };
    let image = filled(&gpu, info, &[&[1.0_f32; 16], &[2.0; 4], &[3.0; 1]])?;
    let how = sampler(&gpu, vk::Filter::NEAREST, CLAMP)?;
    let body = "out[i] = textureSampleLevel(image, how, vec2<f32>(0.5, 0.5), f32(i)).x;";
    same!(sampled(&gpu, gpu.view(&image)?, how, body, 4)?, [1.0, 2.0, 3.0, 3.0], "all levels");
    let range = vk::ImageSubresourceRange { base_mip_level: 1, level_count: 1, ..WHOLE };
    let one = gpu.view_of(&image, vk::ImageViewType::TYPE_2D, range)?;
    same!(sampled(&gpu, one, how, body, 4)?, [2.0; 4], "a view of one level");
    Ok(())
}

fn view_with_swizzle(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let image = filled(&gpu, ImageInfo::flat(RGBA8, 1, 1), &[&[0_u8, 255, 0, 0]])?;
    let how = sampler(&gpu, vk::Filter::NEAREST, CLAMP)?;
    let create = vk::ImageViewCreateInfo::default()
        .image(image.handle)
        .view_type(vk::ImageViewType::TYPE_2D)
        .format(RGBA8)
        .components(vk::ComponentMapping {
            r: vk::ComponentSwizzle::G,
            g: vk::ComponentSwizzle::ONE,
            b: vk::ComponentSwizzle::ZERO,
            a: vk::ComponentSwizzle::R,
        })
        .subresource_range(WHOLE);
    let view = gpu.keep(gpu.create_image_view(&create)?);
    let body = "out[i] = textureSampleLevel(image, how, vec2<f32>(0.5, 0.5), 0.0)[i];";
    same!(sampled(&gpu, view, how, body, 4)?, [1.0, 1.0, 0.0, 0.0], "components");
    Ok(())
}

fn view_of_another_format(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { flags: vk::ImageCreateFlags::MUTABLE_FORMAT, ..ImageInfo::flat(WORDS, 4, 1) };
    let image = filled(&gpu, info, &[&[1.0_f32, -2.5, 1e10, 0.0]])?;
    let create = vk::ImageViewCreateInfo::default()
        .image(image.handle)
        .view_type(vk::ImageViewType::TYPE_2D)
        .format(FLOATS)
        .subresource_range(WHOLE);
    let view = gpu.keep(gpu.create_image_view(&create)?);
    let how = sampler(&gpu, vk::Filter::NEAREST, CLAMP)?;
    let got = sampled(&gpu, view, how, "out[i] = textureLoad(image, vec2<u32>(i, 0u), 0).x;", 4)?;
    same!(got, [1.0, -2.5, 1e10, 0.0], "words as floats");
    Ok(())
}

fn view_of_one_layer(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { layers: 3, ..ImageInfo::flat(FLOATS, 1, 1) };
    let image = filled(&gpu, info, &[&[10.0_f32, 20.0, 30.0]])?;
    let how = sampler(&gpu, vk::Filter::NEAREST, CLAMP)?;
    for (layer, want) in (0..3).zip([10.0, 20.0, 30.0]) {
        let range = vk::ImageSubresourceRange { base_array_layer: layer, layer_count: 1, ..WHOLE };
        let view = gpu.view_of(&image, vk::ImageViewType::TYPE_2D, range)?;
        same!(sampled(&gpu, view, how, "out[i] = at(0.5, 0.5);", 1)?, [want], "layer {layer}");
    }
    Ok(())
}

fn immutable_sampler(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let samplers = [sampler(&gpu, vk::Filter::NEAREST, vk::SamplerAddressMode::REPEAT)?];
    let binding = |index, kind| {
        vk::DescriptorSetLayoutBinding::default()
            .binding(index)
            .descriptor_type(kind)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    };
    let bindings = [
        binding(0, vk::DescriptorType::SAMPLED_IMAGE),
        binding(1, vk::DescriptorType::SAMPLER).immutable_samplers(&samplers),
        binding(2, vk::DescriptorType::STORAGE_BUFFER),
    ];
    let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    let set_layout = gpu.keep(gpu.create_descriptor_set_layout(&create)?);
    let layout = gpu.pipeline_layout(&[set_layout], 0)?;
    let code = wgsl(
        "@group(0) @binding(0) var image: texture_2d<f32>;
         @group(0) @binding(1) var how: sampler;
         @group(0) @binding(2) var<storage, read_write> out: array<f32>;
         @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = textureSampleLevel(image, how, vec2<f32>(1.125 + f32(i) * 0.25, 0.5), 0.0).x;
         }",
    )?;
    let pipeline = gpu.pipeline(&code, layout)?;
    let out = gpu.buffer(16)?;
    let set = gpu.empty_set(set_layout)?;
    gpu.write_descriptor(set, 0, Resource::SampledImage(row(&gpu)?));
    gpu.write_descriptor(set, 2, Resource::Storage(out));
    gpu.run(|c| {
        c.bind_pipeline(pipeline);
        c.bind_sets(layout, 0, &[set], &[]);
        c.dispatch(1, 1, 1);
    })?;
    let got = out.read::<f32>(0, 4);
    ensure!(got == [1.0, 2.0, 4.0, 8.0], "{got:?}");
    Ok(())
}
