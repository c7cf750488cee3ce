//! Every format in every use that the device offers for it: written, read back, compared.
//!
//! What is written in one way and has only one right reading is checked here. What a shader makes of a format is the
//! driver's business; the digest says whether two runs saw the same.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::vk;
use ash::vk::FormatFeatureFlags as Feature;
use ash::vk::ImageUsageFlags as Usage;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;
use crate::gpu::ImageInfo;
use crate::gpu::KernelInfo;
use crate::gpu::RasterInfo;
use crate::gpu::Resource;
use crate::gpu::Target;
use crate::gpu::WHOLE;
use crate::gpu::extent;
use crate::shader::Texels;
use crate::shader::fetch_texels;
use crate::shader::read_texels;
use crate::shader::wgsl;
use crate::shader::write_texels;

scenarios![
    formats_copied,
    formats_copied_linear,
    formats_cleared,
    formats_blitted,
    formats_drawn,
    formats_drawn_depth,
    formats_sampled,
    formats_stored,
    formats_texel_buffers,
    formats_vertices,
];

const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;
/// Sides of images: whole blocks of most compressed formats.
const SIDE: u32 = 24;

/// The formats of Vulkan 1.3 that have one plane.
fn formats() -> impl Iterator<Item = vk::Format> {
    let core = vk::Format::R4G4_UNORM_PACK8.as_raw()..=vk::Format::ASTC_12X12_SRGB_BLOCK.as_raw();
    let later = [vk::Format::A4R4G4B4_UNORM_PACK16, vk::Format::A4B4G4R4_UNORM_PACK16];
    core.map(vk::Format::from_raw).chain(later)
}

/// What the name of a format says about its layout.
#[derive(Clone, Copy, Debug)]
struct Layout {
    block: [u32; 2],
    bytes: u32,
    texels: Texels,
}

fn layout(format: vk::Format) -> Layout {
    let name = format!("{format:?}");
    let texels = match () {
        () if name.contains("UINT") && !name.starts_with('D') => Texels::Unsigned,
        () if name.contains("SINT") => Texels::Signed,
        () => Texels::Float,
    };
    let (block, bytes) = if let Some(size) = name.strip_prefix("ASTC_") {
        let (width, rest) = size.split_once('X').unwrap_or(("4", "4"));
        let height = rest.split('_').next().unwrap_or("4");
        ([width, height].map(|side| side.parse().unwrap_or(4)), 16)
    } else if name.ends_with("_BLOCK") {
        let small = ["BC1_", "BC4_", "ETC2_R8G8B8_", "ETC2_R8G8B8A1_", "EAC_R11_"];
        ([4, 4], if small.iter().any(|start| name.starts_with(start)) { 8 } else { 16 })
    } else {
        let bits: u32 = name
            .split('_')
            .filter(|part| !part.starts_with("PACK"))
            .flat_map(|part| part.split(|c: char| !c.is_ascii_digit()))
            .filter_map(|digits| digits.parse::<u32>().ok())
            .sum();
        ([1, 1], bits.div_ceil(8))
    };
    Layout { block, bytes, texels }
}

/// Bytes that are numbers in every format: no infinities.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at.wrapping_mul(29) % 59) as u8).collect()
}

/// The aspects that are copied one by one, each with its bytes per texel.
fn aspects(format: vk::Format, layout: Layout) -> Vec<(vk::ImageAspectFlags, u32)> {
    use vk::ImageAspectFlags as Aspect;
    match format {
        vk::Format::D16_UNORM => vec![(Aspect::DEPTH, 2)],
        vk::Format::X8_D24_UNORM_PACK32 | vk::Format::D32_SFLOAT => vec![(Aspect::DEPTH, 4)],
        vk::Format::S8_UINT => vec![(Aspect::STENCIL, 1)],
        vk::Format::D16_UNORM_S8_UINT => vec![(Aspect::DEPTH, 2), (Aspect::STENCIL, 1)],
        vk::Format::D24_UNORM_S8_UINT | vk::Format::D32_SFLOAT_S8_UINT => {
            vec![(Aspect::DEPTH, 4), (Aspect::STENCIL, 1)]
        }
        _ => vec![(Aspect::COLOR, layout.bytes)],
    }
}

fn all(aspect: vk::ImageAspectFlags) -> vk::BufferImageCopy {
    vk::BufferImageCopy {
        image_subresource: vk::ImageSubresourceLayers {
            aspect_mask: aspect,
            layer_count: 1,
            ..Default::default()
        },
        image_extent: extent([SIDE, SIDE, 1]),
        ..Default::default()
    }
}

/// How many bytes an aspect takes in a buffer.
fn packed(layout: Layout, bytes: u32) -> u32 {
    SIDE.div_ceil(layout.block[0]) * SIDE.div_ceil(layout.block[1]) * bytes
}

/// Whether the device has images of a format with these uses.
fn has(gpu: &Gpu, info: &ImageInfo) -> bool {
    let ask = vk::PhysicalDeviceImageFormatInfo2::default()
        .format(info.format)
        .ty(info.kind)
        .tiling(info.tiling)
        .usage(info.usage)
        .flags(info.flags);
    gpu.physical.image_format(&ask).is_ok()
}

/// The formats with these features in optimal tiling, and an image that can be used so.
fn with(gpu: &Gpu, features: Feature, usage: Usage) -> Vec<(vk::Format, Layout, ImageInfo)> {
    formats()
        .filter(|format| gpu.physical.format(*format).optimal_tiling_features.contains(features))
        .map(|format| (format, layout(format), ImageInfo::flat(format, SIDE, SIDE).used(usage)))
        .filter(|(.., info)| has(gpu, info))
        .collect()
}

fn is_color(info: &ImageInfo) -> bool {
    info.aspects() == vk::ImageAspectFlags::COLOR
}

/// The texels of a color target in the general layout.
fn taken(gpu: &Gpu, target: &Target, layout: Layout) -> Result<Vec<u8>> {
    let size = packed(layout, layout.bytes);
    let out = gpu.buffer(u64::from(size))?;
    gpu.run(|c| c.take(target, vk::ImageAspectFlags::COLOR, out))?;
    Ok(out.read(0, size as usize))
}

fn copied(case: &mut Case, gpu: &Gpu, info: ImageInfo) -> Result<()> {
    let layout = layout(info.format);
    let image = gpu.image(info)?;
    for (aspect, bytes) in aspects(info.format, layout) {
        let size = packed(layout, bytes) as usize;
        let (from, to) = (gpu.buffer_of(&pattern(size))?, gpu.buffer(size as u64)?);
        gpu.run(|c| {
            c.to_layout_of(image.handle, info.aspects(), vk::ImageLayout::UNDEFINED, GENERAL);
            c.copy_buffer_to_image(from.handle, image.handle, GENERAL, &[all(aspect)]);
            c.barrier();
            c.copy_image_to_buffer(image.handle, GENERAL, to.handle, &[all(aspect)]);
        })?;
        let mut got: Vec<u8> = to.read(0, size);
        let mut want = pattern(size);
        let name = format!("{:?}", info.format);
        if name.contains("D24") && aspect == vk::ImageAspectFlags::DEPTH {
            // The upper byte of 24 bits is nobody's.
            for bytes in [&mut got, &mut want] {
                bytes.iter_mut().skip(3).step_by(4).for_each(|byte| *byte = 0);
            }
        }
        ensure!(got == want, "{name} {aspect:?} {:?}: other bytes came back", info.tiling);
        case.digest(&got);
    }
    Ok(())
}

fn formats_copied(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let there = with(&gpu, Feature::TRANSFER_SRC | Feature::TRANSFER_DST, Usage::empty());
    ensure!(there.len() > 40, "only {} formats can be copied", there.len());
    for (.., info) in there {
        copied(case, &gpu, info)?;
    }
    Ok(())
}

fn formats_copied_linear(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for format in formats() {
        let features = gpu.physical.format(format).linear_tiling_features;
        let info = ImageInfo { tiling: vk::ImageTiling::LINEAR, ..ImageInfo::flat(format, SIDE, SIDE) };
        if features.contains(Feature::TRANSFER_SRC | Feature::TRANSFER_DST) && has(&gpu, &info) {
            copied(case, &gpu, info)?;
        }
    }
    Ok(())
}

/// A color that is in the range of each kind.
fn color(texels: Texels) -> vk::ClearColorValue {
    match texels {
        Texels::Float => vk::ClearColorValue { float32: [0.25, 0.5, 0.75, 1.0] },
        Texels::Unsigned => vk::ClearColorValue { uint32: [1, 2, 3, 1] },
        Texels::Signed => vk::ClearColorValue { int32: [-1, 0, -2, 1] },
    }
}

fn formats_cleared(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let there = with(&gpu, Feature::TRANSFER_SRC | Feature::COLOR_ATTACHMENT, Usage::COLOR_ATTACHMENT);
    for (format, layout, info) in there {
        let targets = [gpu.target_with(info)?, gpu.target_with(info)?];
        let color = color(layout.texels);
        gpu.run(|c| {
            targets.iter().for_each(|target| c.fresh(target));
            c.clear_color_image(targets[0].image.handle, GENERAL, &color, &[WHOLE]);
            c.draw_with(targets[1].area(), &[targets[1].cleared(vk::ClearValue { color })], None, || {});
        })?;
        let [command, attachment] = [taken(&gpu, &targets[0], layout)?, taken(&gpu, &targets[1], layout)?];
        ensure!(command == attachment, "{format:?}: two ways to clear differ");
        ensure!(command.iter().any(|byte| *byte != 0), "{format:?} is not cleared");
        case.digest(&command);
    }
    Ok(())
}

fn formats_blitted(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for (format, layout, info) in with(&gpu, Feature::BLIT_SRC | Feature::BLIT_DST, Usage::empty()) {
        if !is_color(&info) {
            continue;
        }
        let (from, to) = (gpu.image(info)?, gpu.target_with(info.used(Usage::SAMPLED))?);
        let size = packed(layout, layout.bytes) as usize;
        let bytes = gpu.buffer_of(&pattern(size))?;
        gpu.run(|c| {
            c.to_layout(from.handle, vk::ImageLayout::UNDEFINED, GENERAL);
            c.fresh(&to);
            c.copy_buffer_to_image(bytes.handle, from.handle, GENERAL, &[all(vk::ImageAspectFlags::COLOR)]);
            c.barrier();
            let end = vk::Offset3D { x: SIDE as i32, y: SIDE as i32, z: 1 };
            let turned = vk::Offset3D { x: 0, y: 0, z: 1 };
            let region = vk::ImageBlit {
                src_subresource: crate::gpu::layers(0, 0, 1),
                src_offsets: [vk::Offset3D::default(), end],
                dst_subresource: crate::gpu::layers(0, 0, 1),
                // Upside down in both directions.
                dst_offsets: [vk::Offset3D { z: 0, ..end }, turned],
            };
            let handle = to.image.handle;
            c.blit_image(from.handle, GENERAL, handle, GENERAL, &[region], vk::Filter::NEAREST);
            c.barrier();
        })?;
        let got = taken(&gpu, &to, layout)?;
        ensure!(got.iter().any(|byte| *byte != 0), "{format:?}: nothing was blitted");
        case.digest(&got);
    }
    Ok(())
}

/// What covers everything in a color that depends on the place.
fn cover(texels: Texels) -> Result<Vec<u32>> {
    let (kind, value) = match texels {
        Texels::Float => ("vec4<f32>", "vec4(at.x / 24.0, at.y / 24.0, 0.5, 1.0)"),
        Texels::Unsigned => ("vec4<u32>", "vec4(u32(at.x), u32(at.y), 1u, 0u)"),
        Texels::Signed => ("vec4<i32>", "vec4(i32(at.x) - 12, i32(at.y), -1, 0)"),
    };
    wgsl(&format!(
        "@vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {{
             return vec4(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.5, 1.0);
         }}
         @fragment fn fs(@builtin(position) at: vec4<f32>) -> @location(0) {kind} {{ return {value}; }}"
    ))
}

fn formats_drawn(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let there = with(&gpu, Feature::TRANSFER_SRC | Feature::COLOR_ATTACHMENT, Usage::COLOR_ATTACHMENT);
    ensure!(there.len() > 20, "only {} formats can be drawn into", there.len());
    for (format, layout, info) in there {
        let code = cover(layout.texels)?;
        let blends =
            gpu.physical.format(format).optimal_tiling_features.contains(Feature::COLOR_ATTACHMENT_BLEND);
        let blend = vk::PipelineColorBlendAttachmentState::default()
            .color_write_mask(vk::ColorComponentFlags::RGBA)
            .blend_enable(blends)
            .src_color_blend_factor(vk::BlendFactor::ONE)
            .dst_color_blend_factor(vk::BlendFactor::ONE)
            .src_alpha_blend_factor(vk::BlendFactor::ONE);
        let formats = [format];
        let raster = gpu.raster(RasterInfo { blend, ..RasterInfo::plain(&code, &formats) })?;
        let target = gpu.target_with(info)?;
        let clear = vk::ClearValue { color: color(layout.texels) };
        gpu.run(|c| {
            c.fresh(&target);
            c.draw_with(target.area(), &[target.cleared(clear)], None, || {
                c.bind_raster(&raster);
                c.draw(3, 1, 0, 0);
            });
        })?;
        case.digest(&taken(&gpu, &target, layout)?);
    }
    Ok(())
}

fn formats_drawn_depth(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let usage = Usage::DEPTH_STENCIL_ATTACHMENT;
    for (format, layout, info) in with(&gpu, Feature::DEPTH_STENCIL_ATTACHMENT, usage) {
        let target = gpu.target_with(info)?;
        let value = vk::ClearDepthStencilValue { depth: 0.25, stencil: 7 };
        let range = vk::ImageSubresourceRange { aspect_mask: info.aspects(), ..WHOLE };
        let by_command = gpu.target_with(info)?;
        gpu.run(|c| {
            c.fresh(&target);
            c.fresh(&by_command);
            c.clear_depth_stencil_image(by_command.image.handle, GENERAL, &value, &[range]);
            let cleared = target.cleared(vk::ClearValue { depth_stencil: value });
            let mut info = vk::RenderingInfo::default().render_area(target.area()).layer_count(1);
            let has = |aspect| target.image.info.aspects().contains(aspect);
            if has(vk::ImageAspectFlags::DEPTH) {
                info = info.depth_attachment(&cleared);
            }
            if has(vk::ImageAspectFlags::STENCIL) {
                info = info.stencil_attachment(&cleared);
            }
            c.begin_rendering(&info);
            c.end_rendering();
            c.barrier();
        })?;
        for (aspect, bytes) in aspects(format, layout) {
            let size = packed(layout, bytes) as usize;
            let outs = [gpu.buffer(size as u64)?, gpu.buffer(size as u64)?];
            gpu.run(|c| {
                c.take(&target, aspect, outs[0]);
                c.take(&by_command, aspect, outs[1]);
            })?;
            let [mut one, mut two] = outs.map(|out| out.read::<u8>(0, size));
            if format!("{format:?}").contains("D24") && aspect == vk::ImageAspectFlags::DEPTH {
                for bytes in [&mut one, &mut two] {
                    bytes.iter_mut().skip(3).step_by(4).for_each(|byte| *byte = 0);
                }
            }
            ensure!(one == two, "{format:?} {aspect:?}: two ways to clear differ");
            let want: &[u8] = match (format, aspect) {
                (_, vk::ImageAspectFlags::STENCIL) => &[7],
                (vk::Format::D32_SFLOAT | vk::Format::D32_SFLOAT_S8_UINT, _) => &[0, 0, 0x80, 0x3e],
                _ => &one[..bytes as usize],
            };
            same!(&one[..want.len()], want, "{format:?} {aspect:?}");
            case.digest(&one);
        }
    }
    Ok(())
}

/// Fills an image, and reads it with a shader into words.
fn formats_sampled(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let there = with(&gpu, Feature::SAMPLED_IMAGE | Feature::TRANSFER_DST, Usage::SAMPLED);
    ensure!(there.len() > 40, "only {} formats can be sampled", there.len());
    let kernels = Texels::ALL.map(|texels| -> Result<_> {
        let code = read_texels(texels)?;
        let bindings = [vk::DescriptorType::SAMPLED_IMAGE.into(), vk::DescriptorType::STORAGE_BUFFER.into()];
        gpu.kernel_with(KernelInfo { code: &code, bindings: &bindings, ..KernelInfo::default() })
    });
    let kernels = kernels.into_iter().collect::<Result<Vec<_>>>()?;
    for (format, layout, info) in there {
        let Some((aspect, bytes)) = aspects(format, layout).first().copied() else { continue };
        let texels = if format == vk::Format::S8_UINT { Texels::Unsigned } else { layout.texels };
        let image = gpu.image(info)?;
        let range = vk::ImageSubresourceRange { aspect_mask: aspect, ..WHOLE };
        let view = gpu.view_of(&image, vk::ImageViewType::TYPE_2D, range)?;
        let from = gpu.buffer_of(&pattern(packed(layout, bytes) as usize))?;
        let out = gpu.buffer(u64::from(SIDE * SIDE * 16))?;
        let kernel = kernels.get(texels as usize).context("a kernel for each kind")?;
        let set = gpu.set(kernel, &[Resource::SampledImage(view), Resource::Storage(out)])?;
        gpu.run(|c| {
            let read = vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL;
            let to = vk::ImageLayout::TRANSFER_DST_OPTIMAL;
            c.to_layout_of(image.handle, info.aspects(), vk::ImageLayout::UNDEFINED, to);
            c.copy_buffer_to_image(from.handle, image.handle, to, &[all(aspect)]);
            c.to_layout_of(image.handle, info.aspects(), to, read);
            c.bind(kernel, set);
            c.dispatch(SIDE, SIDE, 1);
        })?;
        let words = out.words();
        ensure!(words.iter().any(|word| *word != 0), "{format:?}: only zeros were read");
        case.digest(&words);
    }
    Ok(())
}

fn formats_stored(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.shader_storage_image_write_without_format, "writes without format")?;
    let there = with(&gpu, Feature::STORAGE_IMAGE | Feature::TRANSFER_SRC, Usage::STORAGE);
    ensure!(there.len() > 10, "only {} formats can be stored to", there.len());
    for (format, layout, info) in there {
        if !is_color(&info) {
            continue;
        }
        let code = write_texels(layout.texels)?;
        let kernel = gpu.kernel_with(KernelInfo {
            code: &code,
            bindings: &[vk::DescriptorType::STORAGE_IMAGE.into()],
            ..KernelInfo::default()
        })?;
        let target = gpu.target_with(info)?;
        let set = gpu.set(&kernel, &[Resource::StorageImage(target.view)])?;
        gpu.run(|c| {
            c.fresh(&target);
            c.bind(&kernel, set);
            c.dispatch(SIDE, SIDE, 1);
            c.barrier();
        })?;
        let got = taken(&gpu, &target, layout)?;
        ensure!(got.iter().any(|byte| *byte != 0), "{format:?}: nothing was stored");
        case.digest(&got);
    }
    Ok(())
}

fn formats_texel_buffers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let usage = vk::BufferUsageFlags::UNIFORM_TEXEL_BUFFER;
    let mut count = 0;
    for format in formats() {
        if !gpu.physical.format(format).buffer_features.contains(Feature::UNIFORM_TEXEL_BUFFER) {
            continue;
        }
        count += 1;
        let layout = layout(format);
        let size = u64::from(64 * layout.bytes);
        let allocate = vk::MemoryAllocateFlags::empty();
        let from = gpu.buffer_with(crate::gpu::BufferInfo { size_bytes: size, usage, allocate })?;
        from.write(0, &pattern(usize::try_from(size)?));
        let create = vk::BufferViewCreateInfo::default().buffer(from.handle).format(format).range(size);
        let view = gpu.keep(gpu.create_buffer_view(&create)?);
        let code = fetch_texels(layout.texels)?;
        let bindings =
            [vk::DescriptorType::UNIFORM_TEXEL_BUFFER.into(), vk::DescriptorType::STORAGE_BUFFER.into()];
        let kernel =
            gpu.kernel_with(KernelInfo { code: &code, bindings: &bindings, ..KernelInfo::default() })?;
        let out = gpu.buffer(64 * 16)?;
        let set = gpu.set(&kernel, &[Resource::UniformTexels(view), Resource::Storage(out)])?;
        gpu.run(|c| {
            c.bind(&kernel, set);
            c.dispatch(64, 1, 1);
        })?;
        ensure!(out.words().iter().any(|word| *word != 0), "{format:?}: only zeros were read");
        case.digest(&out.words());
    }
    ensure!(count > 20, "only {count} formats can be in texel buffers");
    Ok(())
}

fn formats_vertices(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let mut count = 0;
    for format in formats() {
        if !gpu.physical.format(format).buffer_features.contains(Feature::VERTEX_BUFFER) {
            continue;
        }
        count += 1;
        let layout = layout(format);
        let (kind, target) = match layout.texels {
            Texels::Float => ("vec4<f32>", vk::Format::R32G32B32A32_SFLOAT),
            Texels::Unsigned => ("vec4<u32>", vk::Format::R32G32B32A32_UINT),
            Texels::Signed => ("vec4<i32>", vk::Format::R32G32B32A32_SINT),
        };
        let code = wgsl(&format!(
            "struct Out {{ @builtin(position) at: vec4<f32>, @location(0) @interpolate(flat) value: {kind} }}
             @vertex fn vs(@builtin(vertex_index) i: u32, @location(0) value: {kind}) -> Out {{
                 let corner = vec2(f32(i & 1u), f32((i % 4u) >> 1u)) * 2.0 - 1.0;
                 return Out(vec4(corner, 0.0, 1.0), value);
             }}
             @fragment fn fs(in: Out) -> @location(0) {kind} {{ return in.value; }}"
        ))?;
        let stride = layout.bytes.next_multiple_of(4);
        let buffers = [vk::VertexInputBindingDescription {
            binding: 0,
            stride,
            input_rate: vk::VertexInputRate::INSTANCE,
        }];
        let attributes = [vk::VertexInputAttributeDescription { location: 0, binding: 0, format, offset: 0 }];
        let formats = [target];
        let raster = gpu.raster(RasterInfo {
            vertex_buffers: &buffers,
            attributes: &attributes,
            topology: vk::PrimitiveTopology::TRIANGLE_STRIP,
            ..RasterInfo::plain(&code, &formats)
        })?;
        let values = gpu.buffer_of(&pattern(8 * stride as usize))?;
        let target = gpu.target(target, 4)?;
        let out = gpu.buffer(16 * 16)?;
        gpu.run(|c| {
            c.fresh(&target);
            c.draw_into(&target, [0.0; 4], || {
                c.bind_raster(&raster);
                c.bind_vertex_buffers(0, &[values.handle], &[0]);
                c.draw(4, 1, 0, 3);
            });
            c.take(&target, vk::ImageAspectFlags::COLOR, out);
        })?;
        let words = out.words();
        ensure!(words.chunks(4).all(|texel| texel == &words[..4]), "{format:?}: one value for all");
        ensure!(words.iter().any(|word| *word != 0), "{format:?}: the value is zero");
        case.digest(&words);
    }
    ensure!(count > 20, "only {count} formats can be in vertex buffers");
    Ok(())
}
