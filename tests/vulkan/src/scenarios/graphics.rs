//! Drawing: vertices, fixed functions and what a draw is given, one thing at a time.

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Commands;
use crate::gpu::Gpu;
use crate::gpu::ImageInfo;
use crate::gpu::Raster;
use crate::gpu::RasterInfo;
use crate::gpu::Resource;
use crate::gpu::Target;
use crate::shader::wgsl;

scenarios![
    draw_triangle,
    draw_vertex_buffers,
    draw_indexed_restarts,
    draw_push_constants,
    draw_samples_a_texture,
    draw_dynamic_offsets,
    draw_indirect,
    draw_depth_test,
    draw_stencil_test,
    draw_blending,
    draw_logic_op,
    draw_multisampled,
    draw_several_targets,
    draw_viewports_and_scissors,
    draw_dynamic_state,
    draw_stores_to_buffer,
];

const RGBA8: vk::Format = vk::Format::R8G8B8A8_UNORM;
const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;
const COLOR: vk::ImageAspectFlags = vk::ImageAspectFlags::COLOR;
const SIDE: u32 = 64;
const BLACK: [f32; 4] = [0.0, 0.0, 0.0, 1.0];

/// A vertex shader that covers the left half with two triangles, and a fragment shader of one expression.
pub(super) fn half(fragment: &str) -> Result<Vec<u32>> {
    wgsl(&format!(
        "@vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {{
             var at = array<vec2<f32>, 6>(vec2(-1.0, -1.0), vec2(0.0, -1.0), vec2(-1.0, 1.0),
                                          vec2(-1.0, 1.0), vec2(0.0, -1.0), vec2(0.0, 1.0));
             return vec4(at[i], 0.5, 1.0);
         }}
         @fragment fn fs(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {{ return {fragment}; }}"
    ))
}

/// Draws into a fresh cleared target and gives its words.
fn picture(gpu: &Gpu, draw: impl FnOnce(&Commands<'_>)) -> Result<Vec<u32>> {
    let target = gpu.target(RGBA8, SIDE)?;
    let out = gpu.buffer(u64::from(SIDE * SIDE) * 4)?;
    gpu.run(|c| {
        c.fresh(&target);
        c.draw_into(&target, BLACK, || draw(c));
        c.take(&target, COLOR, out);
    })?;
    Ok(out.words())
}

fn at(words: &[u32], x: u32, y: u32) -> u32 {
    words[(y * SIDE + x) as usize]
}

const OPAQUE: u32 = 0xff00_0000;

fn draw_triangle(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = wgsl(
        "struct Out { @builtin(position) at: vec4<f32>, @location(0) color: vec3<f32> }
         @vertex fn vs(@builtin(vertex_index) i: u32) -> Out {
             var at = array<vec2<f32>, 3>(vec2(0.0, -0.9), vec2(0.9, 0.9), vec2(-0.9, 0.9));
             var color = array<vec3<f32>, 3>(vec3(1.0, 0.0, 0.0), vec3(0.0, 1.0, 0.0), vec3(0.0, 0.0, 1.0));
             return Out(vec4(at[i], 0.0, 1.0), color[i]);
         }
         @fragment fn fs(in: Out) -> @location(0) vec4<f32> { return vec4(in.color, 1.0); }",
    )?;
    let raster = gpu.raster(RasterInfo::plain(&code, &[RGBA8]))?;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        c.draw(3, 1, 0, 0);
    })?;
    same!(at(&words, 0, 0), OPAQUE, "the corner");
    let middle = at(&words, SIDE / 2, SIDE / 2);
    ensure!(middle.to_le_bytes().iter().take(3).all(|part| *part > 30), "the middle is a mix: {middle:#x}");
    let drawn = words.iter().filter(|word| **word != OPAQUE).count();
    // Half of the square of 0.9 times the side.
    ensure!((1550..1770).contains(&drawn), "{drawn} pixels are drawn");
    case.digest(&words);
    Ok(())
}

fn draw_vertex_buffers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = wgsl(
        "struct Out { @builtin(position) at: vec4<f32>, @location(0) color: vec4<f32> }
         @vertex fn vs(@location(0) at: vec2<f32>, @location(1) offset: vec2<f32>, @location(2) color: vec4<f32>) -> Out {
             return Out(vec4(at + offset, 0.0, 1.0), color);
         }
         @fragment fn fs(in: Out) -> @location(0) vec4<f32> { return in.color; }",
    )?;
    let buffers = [
        vk::VertexInputBindingDescription { binding: 0, stride: 8, input_rate: vk::VertexInputRate::VERTEX },
        vk::VertexInputBindingDescription {
            binding: 3,
            stride: 16,
            input_rate: vk::VertexInputRate::INSTANCE,
        },
    ];
    let attribute = |location, binding, format, offset| vk::VertexInputAttributeDescription {
        location,
        binding,
        format,
        offset,
    };
    let attributes = [
        attribute(0, 0, vk::Format::R32G32_SFLOAT, 0),
        attribute(1, 3, vk::Format::R32G32_SFLOAT, 0),
        attribute(2, 3, RGBA8, 8),
    ];
    let raster = gpu.raster(RasterInfo {
        vertex_buffers: &buffers,
        attributes: &attributes,
        topology: vk::PrimitiveTopology::TRIANGLE_STRIP,
        ..RasterInfo::plain(&code, &[RGBA8])
    })?;
    // Two vertices in front that no draw uses.
    let corners = [[9.0_f32; 2], [9.0; 2], [-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]];
    let corners = gpu.buffer_of(&corners)?;
    let place = |x: f32, y: f32, color: u32| [x.to_bits(), y.to_bits(), color, 0];
    let places = [place(9.0, 9.0, 0), place(-0.5, -0.5, 0xff00_00ff), place(0.5, 0.5, 0xff00_ff00)];
    let places = gpu.buffer_of(&places)?;
    let indices = gpu.buffer_of(&[7_u16, 7, 0, 1, 2, 3])?;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        c.bind_vertex_buffers(0, &[corners.handle], &[0]);
        c.bind_vertex_buffers(3, &[places.handle], &[0]);
        c.bind_index_buffer(indices.handle, 4, vk::IndexType::UINT16);
        c.draw_indexed(4, 2, 0, 2, 1);
    })?;
    let quarter = SIDE / 4;
    let colors: Vec<u32> = [1, 3].into_iter().map(|n| at(&words, n * quarter, n * quarter)).collect();
    let mut sorted = colors.clone();
    sorted.sort_unstable();
    let drawn = words.iter().filter(|word| **word != OPAQUE).count();
    same!(drawn, 512, "pixels of two squares");
    case.digest(&words);
    case.digest(&sorted);
    Ok(())
}

fn draw_indexed_restarts(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = wgsl(
        "@vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
             return vec4(f32(i % 8u) / 4.0 - 1.0, f32(i / 8u) / 4.0 - 1.0, 0.0, 1.0);
         }
         @fragment fn fs() -> @location(0) vec4<f32> { return vec4(1.0); }",
    )?;
    let raster = gpu.raster(RasterInfo {
        topology: vk::PrimitiveTopology::TRIANGLE_STRIP,
        restart: true,
        ..RasterInfo::plain(&code, &[RGBA8])
    })?;
    let indices = gpu.buffer_of(&[0_u32, 1, 8, 9, u32::MAX, 18, 19, 26, 27, u32::MAX, 36, 37, 44, 45])?;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        c.bind_index_buffer(indices.handle, 0, vk::IndexType::UINT32);
        c.draw_indexed(14, 1, 0, 0, 0);
    })?;
    let drawn = words.iter().filter(|word| **word != OPAQUE).count();
    same!(drawn, 3 * 64, "pixels of three squares");
    case.digest(&words);
    Ok(())
}

fn draw_push_constants(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = wgsl(
        "struct Push { color: vec4<f32>, x: f32, y: f32 }
         var<immediate> push: Push;
         @vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
             let corner = vec2(f32(i & 1u), f32(i >> 1u)) / 4.0;
             return vec4(vec2(push.x, push.y) + corner, 0.0, 1.0);
         }
         @fragment fn fs() -> @location(0) vec4<f32> { return push.color; }",
    )?;
    let raster = gpu.raster(RasterInfo {
        push_bytes: 32,
        topology: vk::PrimitiveTopology::TRIANGLE_STRIP,
        ..RasterInfo::plain(&code, &[RGBA8])
    })?;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        for tile in 0..64_u32 {
            let (x, y) = ((tile % 8) as f32, (tile / 8) as f32);
            let push = [x / 8.0, y / 8.0, 0.5, 1.0, x / 4.0 - 1.0, y / 4.0 - 1.0, 0.0, 0.0_f32];
            c.push_raster(&raster, &push);
            c.draw(4, 1, 0, 0);
        }
    })?;
    let mut colors = words.clone();
    colors.sort_unstable();
    colors.dedup();
    same!(colors.len(), 64, "colors");
    case.digest(&words);
    Ok(())
}

fn draw_samples_a_texture(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let texture = gpu.image(ImageInfo::flat(RGBA8, 8, 8).used(vk::ImageUsageFlags::SAMPLED))?;
    let texels: Vec<u32> = (0..64).map(|i| OPAQUE | (i * 4) | ((255 - i * 4) << 8)).collect();
    let from = gpu.buffer_of(&texels)?;
    let sampler = gpu.keep(gpu.create_sampler(&vk::SamplerCreateInfo::default())?);
    let code = wgsl(
        "@group(0) @binding(0) var image: texture_2d<f32>;
         @group(0) @binding(1) var nearest: sampler;
         @vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
             return vec4(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
         }
         @fragment fn fs(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {
             return textureSample(image, nearest, at.xy / 64.0);
         }",
    )?;
    let raster = gpu.raster(RasterInfo {
        bindings: &[vk::DescriptorType::SAMPLED_IMAGE.into(), vk::DescriptorType::SAMPLER.into()],
        ..RasterInfo::plain(&code, &[RGBA8])
    })?;
    let set = gpu.empty_set(raster.set_layout)?;
    gpu.write_descriptor(set, 0, Resource::SampledImage(gpu.view(&texture)?));
    gpu.write_descriptor(set, 1, Resource::Sampler(sampler));
    gpu.run(|c| {
        let (to, read) = (vk::ImageLayout::TRANSFER_DST_OPTIMAL, vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL);
        c.to_layout(texture.handle, vk::ImageLayout::UNDEFINED, to);
        let all = vk::BufferImageCopy {
            image_subresource: crate::gpu::layers(0, 0, 1),
            image_extent: crate::gpu::extent([8, 8, 1]),
            ..Default::default()
        };
        c.copy_buffer_to_image(from.handle, texture.handle, to, &[all]);
        c.to_layout(texture.handle, to, read);
    })?;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        c.bind_raster_set(&raster, set, &[]);
        c.draw(3, 1, 0, 0);
    })?;
    for (word, index) in words.iter().zip(0..) {
        let (x, y): (u32, u32) = (index % SIDE, index / SIDE);
        same!(*word, texels[(y / 8 * 8 + x / 8) as usize], "the texel at {x}, {y}");
    }
    case.digest(&words);
    Ok(())
}

fn draw_dynamic_offsets(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = wgsl(
        "@group(0) @binding(0) var<uniform> color: vec4<f32>;
         @vertex fn vs(@builtin(vertex_index) i: u32, @builtin(instance_index) row: u32) -> @builtin(position) vec4<f32> {
             return vec4(f32(i & 1u) * 2.0 - 1.0, f32(row + (i >> 1u)) / 4.0 - 1.0, 0.0, 1.0);
         }
         @fragment fn fs() -> @location(0) vec4<f32> { return color; }",
    )?;
    let kind = vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC;
    let raster = gpu.raster(RasterInfo {
        bindings: &[kind.into()],
        topology: vk::PrimitiveTopology::TRIANGLE_STRIP,
        ..RasterInfo::plain(&code, &[RGBA8])
    })?;
    let step = gpu.limits.min_uniform_buffer_offset_alignment.max(16);
    let colors = gpu.buffer(step * 8)?;
    for row in 0..8_u32 {
        let color = [row as f32 / 8.0, 1.0 - row as f32 / 8.0, 0.25, 1.0_f32];
        colors.write(usize::try_from(step)? * row as usize, &[color]);
    }
    let set = gpu.empty_set(raster.set_layout)?;
    let buffer = [vk::DescriptorBufferInfo { buffer: colors.handle, offset: 0, range: 16 }];
    gpu.update_descriptor_sets(
        &[vk::WriteDescriptorSet::default().dst_set(set).descriptor_type(kind).buffer_info(&buffer)],
        &[],
    );
    let step = u32::try_from(step)?;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        for row in 0..8 {
            c.bind_raster_set(&raster, set, &[row * step]);
            c.draw(4, 1, 0, row);
        }
    })?;
    let mut colors = words.clone();
    colors.sort_unstable();
    colors.dedup();
    same!(colors.len(), 8, "colors");
    case.digest(&words);
    Ok(())
}

fn draw_indirect(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.multi_draw_indirect, "multiDrawIndirect")?;
    case.need(gpu.features.draw_indirect_first_instance, "drawIndirectFirstInstance")?;
    let code = wgsl(
        "struct Out { @builtin(position) at: vec4<f32>, @location(0) @interpolate(flat) cell: u32 }
         @vertex fn vs(@builtin(vertex_index) i: u32, @builtin(instance_index) cell: u32) -> Out {
             let corner = vec2(f32((cell % 8u) + (i & 1u)), f32((cell / 8u) + (i >> 1u))) / 4.0 - 1.0;
             return Out(vec4(corner, 0.0, 1.0), cell);
         }
         @fragment fn fs(in: Out) -> @location(0) vec4<f32> { return vec4(f32(in.cell + 1u) / 64.0, 1.0, 0.0, 1.0); }",
    )?;
    let raster = gpu.raster(RasterInfo {
        topology: vk::PrimitiveTopology::TRIANGLE_STRIP,
        ..RasterInfo::plain(&code, &[RGBA8])
    })?;
    // Vertices, instances, first vertex, first instance; a word of padding.
    let plain: Vec<[u32; 5]> = (0..4).map(|row| [4, 2, 0, row * 16, 0]).collect();
    let plain = gpu.buffer_of(&plain)?;
    let indexed = gpu.buffer_of(&[[4_u32, 1, 0, 0, 10], [4, 3, 0, 0, 20]])?;
    let counted = gpu.buffer_of(&[[4_u32, 1, 0, 40], [4, 1, 0, 42], [4, 1, 0, 44]])?;
    let count = gpu.buffer_of(&[0_u32, 2])?;
    let indices = gpu.buffer_of(&[0_u32, 1, 2, 3])?;
    let has_count = gpu.features12.draw_indirect_count != 0;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        c.draw_indirect(plain.handle, 0, 4, 20);
        c.bind_index_buffer(indices.handle, 0, vk::IndexType::UINT32);
        c.draw_indexed_indirect(indexed.handle, 0, 2, 20);
        if has_count {
            c.draw_indirect_count(counted.handle, 0, count.handle, 4, 3, 16);
        }
    })?;
    let drawn = words.iter().filter(|word| **word != OPAQUE).count();
    same!(drawn, (8 + 4 + if has_count { 2 } else { 0 }) * 64, "pixels of the cells");
    case.digest(&words);
    Ok(())
}

/// A raster whose triangles lie at the depth in the push constants, and whose color is there too.
fn at_depth(info: impl FnOnce(RasterInfo<'_>) -> Result<Raster>) -> Result<Raster> {
    let code = wgsl(
        "struct Push { color: vec4<f32>, scale: f32, depth: f32 }
         var<immediate> push: Push;
         @vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
             let corner = vec2(f32(i & 1u), f32(i >> 1u)) * 2.0 - 1.0;
             return vec4(corner * push.scale, push.depth, 1.0);
         }
         @fragment fn fs() -> @location(0) vec4<f32> { return push.color; }",
    )?;
    info(RasterInfo {
        push_bytes: 32,
        topology: vk::PrimitiveTopology::TRIANGLE_STRIP,
        ..RasterInfo::plain(&code, &[RGBA8])
    })
}

fn square(c: &Commands<'_>, raster: &Raster, color: [f32; 4], scale: f32, depth: f32) {
    let [r, g, b, a] = color;
    c.push_raster(raster, &[r, g, b, a, scale, depth, 0.0, 0.0]);
    c.draw(4, 1, 0, 0);
}

const RED: [f32; 4] = [1.0, 0.0, 0.0, 1.0];
const GREEN: [f32; 4] = [0.0, 1.0, 0.0, 1.0];
const BLUE: [f32; 4] = [0.0, 0.0, 1.0, 1.0];

fn depth_target(gpu: &Gpu, format: vk::Format) -> Result<Target> {
    gpu.target_with(ImageInfo::flat(format, SIDE, SIDE).used(vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT))
}

/// Draws with depth and stencil; gives colors, and the words of one aspect of the other target.
fn with_depth(
    gpu: &Gpu,
    depth: &Target,
    aspect: vk::ImageAspectFlags,
    draw: impl FnOnce(&Commands<'_>),
) -> Result<(Vec<u32>, Vec<u8>)> {
    let target = gpu.target(RGBA8, SIDE)?;
    let pixels = u64::from(SIDE * SIDE);
    let (out, depths) = (gpu.buffer(pixels * 4)?, gpu.buffer(pixels * 4)?);
    let clear = vk::ClearValue { depth_stencil: vk::ClearDepthStencilValue { depth: 1.0, stencil: 3 } };
    gpu.run(|c| {
        c.fresh(&target);
        c.fresh(depth);
        let black = vk::ClearValue { color: vk::ClearColorValue { float32: BLACK } };
        c.draw_with(target.area(), &[target.cleared(black)], Some(&depth.cleared(clear)), || draw(c));
        c.take(&target, COLOR, out);
        c.take(depth, aspect, depths);
    })?;
    let width = if aspect == vk::ImageAspectFlags::STENCIL { 1 } else { 4 };
    Ok((out.words(), depths.read(0, (SIDE * SIDE * width) as usize)))
}

const DEPTH: vk::Format = vk::Format::D32_SFLOAT_S8_UINT;

fn draw_depth_test(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let there = gpu.physical.format(DEPTH).optimal_tiling_features;
    case.need(there.contains(vk::FormatFeatureFlags::DEPTH_STENCIL_ATTACHMENT), "depth with stencil")?;
    let test = vk::PipelineDepthStencilStateCreateInfo::default()
        .depth_test_enable(true)
        .depth_write_enable(true)
        .depth_compare_op(vk::CompareOp::LESS);
    let raster = at_depth(|info| gpu.raster(RasterInfo { depth: test, depth_format: DEPTH, ..info }))?;
    let depth = depth_target(&gpu, DEPTH)?;
    let (words, depths) = with_depth(&gpu, &depth, vk::ImageAspectFlags::DEPTH, |c| {
        c.bind_raster(&raster);
        square(c, &raster, RED, 0.5, 0.25);
        square(c, &raster, GREEN, 1.0, 0.5);
        square(c, &raster, BLUE, 0.25, 0.75);
    })?;
    same!(at(&words, 0, 0), 0xff00_ff00, "the far square");
    same!(at(&words, SIDE / 2, SIDE / 2), 0xff00_00ff, "the near square");
    let near = depths.chunks_exact(4).filter(|word| *word == 0.25_f32.to_le_bytes()).count();
    same!(near, 1024, "near depths");
    case.digest(&words);
    case.digest(&depths);
    Ok(())
}

fn draw_stencil_test(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let there = gpu.physical.format(DEPTH).optimal_tiling_features;
    case.need(there.contains(vk::FormatFeatureFlags::DEPTH_STENCIL_ATTACHMENT), "depth with stencil")?;
    let face = vk::StencilOpState {
        fail_op: vk::StencilOp::INVERT,
        pass_op: vk::StencilOp::INCREMENT_AND_CLAMP,
        depth_fail_op: vk::StencilOp::ZERO,
        compare_op: vk::CompareOp::EQUAL,
        compare_mask: 0xff,
        write_mask: 0xff,
        reference: 0,
    };
    let test =
        vk::PipelineDepthStencilStateCreateInfo::default().stencil_test_enable(true).front(face).back(face);
    let raster = at_depth(|info| {
        let dynamic =
            [vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR, vk::DynamicState::STENCIL_REFERENCE];
        gpu.raster(RasterInfo { depth: test, depth_format: DEPTH, dynamic: &dynamic, ..info })
    })?;
    let depth = depth_target(&gpu, DEPTH)?;
    let (words, stencils) = with_depth(&gpu, &depth, vk::ImageAspectFlags::STENCIL, |c| {
        c.bind_raster(&raster);
        c.set_stencil_reference(vk::StencilFaceFlags::FRONT_AND_BACK, 3);
        square(c, &raster, RED, 0.5, 0.5);
        square(c, &raster, GREEN, 1.0, 0.5);
        c.set_stencil_reference(vk::StencilFaceFlags::FRONT_AND_BACK, 4);
        square(c, &raster, BLUE, 0.25, 0.5);
    })?;
    // Red makes 4 of 3; green inverts those and makes 4 of the others; blue inverts what is not 4.
    same!(at(&words, 0, 0), 0xff00_ff00, "outside");
    same!(at(&words, SIDE / 2, SIDE / 2), 0xff00_00ff, "inside");
    same!(stencils[0], 4, "stencil outside");
    same!(stencils[(SIDE / 2 * SIDE + SIDE / 2) as usize], 4, "stencil inverted twice");
    case.digest(&words);
    case.digest(&stencils);
    Ok(())
}

fn draw_blending(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let blend = vk::PipelineColorBlendAttachmentState::default()
        .blend_enable(true)
        .src_color_blend_factor(vk::BlendFactor::SRC_ALPHA)
        .dst_color_blend_factor(vk::BlendFactor::CONSTANT_COLOR)
        .color_blend_op(vk::BlendOp::ADD)
        .src_alpha_blend_factor(vk::BlendFactor::ONE)
        .dst_alpha_blend_factor(vk::BlendFactor::ONE)
        .alpha_blend_op(vk::BlendOp::MIN)
        .color_write_mask(
            vk::ColorComponentFlags::R | vk::ColorComponentFlags::G | vk::ColorComponentFlags::A,
        );
    let raster = at_depth(|info| {
        let dynamic =
            [vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR, vk::DynamicState::BLEND_CONSTANTS];
        gpu.raster(RasterInfo { blend, dynamic: &dynamic, ..info })
    })?;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        c.set_blend_constants(&[0.5, 0.25, 1.0, 1.0]);
        square(c, &raster, [1.0, 0.0, 1.0, 1.0], 1.0, 0.5);
        square(c, &raster, [0.0, 1.0, 1.0, 0.5], 0.5, 0.5);
    })?;
    let [r, g, b, a] = at(&words, SIDE / 2, SIDE / 2).to_le_bytes();
    ensure!((127..=128).contains(&r) && (127..=128).contains(&g), "blended to {r} and {g}");
    same!(b, 0, "a component that is not written");
    ensure!((127..=128).contains(&a), "the smaller alpha: {a}");
    same!(at(&words, 0, 0), 0xff00_00ff, "outside");
    case.digest(&words);
    Ok(())
}

fn draw_logic_op(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.logic_op, "logicOp")?;
    let raster = at_depth(|info| gpu.raster(RasterInfo { logic: Some(vk::LogicOp::XOR), ..info }))?;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        square(c, &raster, [1.0, 1.0, 0.0, 0.0], 1.0, 0.5);
        square(c, &raster, [1.0, 0.0, 1.0, 0.0], 0.5, 0.5);
    })?;
    same!(at(&words, 0, 0), 0xff00_ffff, "once");
    same!(at(&words, SIDE / 2, SIDE / 2), 0xffff_ff00, "twice");
    case.digest(&words);
    Ok(())
}

fn draw_multisampled(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let samples = vk::SampleCountFlags::TYPE_4;
    case.need(gpu.limits.framebuffer_color_sample_counts.contains(samples), "4 samples")?;
    let raster = at_depth(|info| gpu.raster(RasterInfo { samples, ..info }))?;
    let info = ImageInfo { samples, ..ImageInfo::flat(RGBA8, SIDE, SIDE) };
    let many = gpu.target_with(info.used(vk::ImageUsageFlags::COLOR_ATTACHMENT))?;
    let (one, again) = (gpu.target(RGBA8, SIDE)?, gpu.target(RGBA8, SIDE)?);
    let (out, out_again) = (gpu.buffer(u64::from(SIDE * SIDE) * 4)?, gpu.buffer(u64::from(SIDE * SIDE) * 4)?);
    gpu.run(|c| {
        for target in [&many, &one, &again] {
            c.fresh(target);
        }
        let black = vk::ClearValue { color: vk::ClearColorValue { float32: BLACK } };
        let color = many
            .cleared(black)
            .resolve_mode(vk::ResolveModeFlags::AVERAGE)
            .resolve_image_view(one.view)
            .resolve_image_layout(GENERAL);
        c.draw_with(many.area(), &[color], None, || {
            c.bind_raster(&raster);
            // Edges in the middle of pixels.
            square(c, &raster, RED, 1.0 - 1.0 / SIDE as f32, 0.5);
        });
        let region = vk::ImageResolve {
            src_subresource: crate::gpu::layers(0, 0, 1),
            dst_subresource: crate::gpu::layers(0, 0, 1),
            extent: crate::gpu::extent([SIDE, SIDE, 1]),
            ..Default::default()
        };
        c.resolve_image(many.image.handle, GENERAL, again.image.handle, GENERAL, &[region]);
        c.barrier();
        c.take(&one, COLOR, out);
        c.take(&again, COLOR, out_again);
    })?;
    let words = out.words();
    same!(at(&words, SIDE / 2, SIDE / 2), 0xff00_00ff, "inside");
    let [edge, ..] = at(&words, 0, SIDE / 2).to_le_bytes();
    ensure!(edge > 0 && edge < 255, "the edge is a mix: {edge}");
    same!(out_again.words(), words, "both ways to resolve");
    case.digest(&words);
    Ok(())
}

fn draw_several_targets(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let formats = [RGBA8, vk::Format::R32_UINT, vk::Format::R16G16B16A16_SFLOAT, vk::Format::R8_SINT];
    let code = wgsl(
        "struct Out { @location(0) a: vec4<f32>, @location(1) b: u32, @location(2) c: vec4<f32>, @location(3) d: i32 }
         @vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
             return vec4(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
         }
         @fragment fn fs(@builtin(position) at: vec4<f32>) -> Out {
             let n = u32(at.x) + u32(at.y) * 64u;
             return Out(vec4(at.x / 64.0, 0.0, 0.0, 1.0), n * 1000u, vec4(at.xy, -1.0, 0.5), -i32(n % 100u));
         }",
    )?;
    let raster = gpu.raster(RasterInfo::plain(&code, &formats))?;
    let targets = formats.iter().map(|format| gpu.target(*format, SIDE)).collect::<Result<Vec<_>>>()?;
    let outs = [4, 4, 8, 1].map(|width| gpu.buffer(u64::from(SIDE * SIDE * width)));
    let outs = outs.into_iter().collect::<Result<Vec<_>>>()?;
    gpu.run(|c| {
        targets.iter().for_each(|target| c.fresh(target));
        let clear = vk::ClearValue { color: vk::ClearColorValue { uint32: [7; 4] } };
        let colors: Vec<_> = targets.iter().map(|target| target.cleared(clear)).collect();
        c.draw_with(targets[0].area(), &colors, None, || {
            c.bind_raster(&raster);
            c.draw(3, 1, 0, 0);
        });
        for (target, out) in targets.iter().zip(&outs) {
            c.take(target, COLOR, *out);
        }
    })?;
    let want: Vec<u32> = (0..SIDE * SIDE).map(|n| n * 1000).collect();
    same!(outs[1].words(), want, "numbers");
    let signed: Vec<i8> = outs[3].read(0, (SIDE * SIDE) as usize);
    same!(signed[199], -99, "a signed number");
    for out in &outs {
        case.digest(&out.read::<u8>(0, usize::try_from(out.size_bytes)?));
    }
    Ok(())
}

fn draw_viewports_and_scissors(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let raster = at_depth(|info| gpu.raster(info))?;
    let words = picture(&gpu, |c| {
        c.bind_raster(&raster);
        let viewport =
            vk::Viewport { x: 16.0, y: 8.0, width: 32.0, height: 48.0, min_depth: 0.0, max_depth: 1.0 };
        c.set_viewport(0, &[viewport]);
        square(c, &raster, RED, 1.0, 0.5);
        let scissor = vk::Rect2D {
            offset: vk::Offset2D { x: 20, y: 20 },
            extent: vk::Extent2D { width: 8, height: 4 },
        };
        c.set_scissor(0, &[scissor]);
        square(c, &raster, GREEN, 1.0, 0.5);
        // Upside down.
        c.set_viewport(0, &[vk::Viewport { y: 56.0, height: -48.0, ..viewport }]);
        square(c, &raster, BLUE, 0.01, 0.5);
    })?;
    let count = |color: u32| words.iter().filter(|word| **word == color).count();
    same!(count(0xff00_ff00), 32, "pixels inside of the scissor");
    same!(count(0xff00_00ff), 32 * 48 - 32, "pixels inside of the viewport");
    case.digest(&words);
    Ok(())
}

fn draw_dynamic_state(case: &mut Case) -> Result<()> {
    use vk::DynamicState as State;
    let gpu = case.gpu()?;
    let dynamic = [
        State::VIEWPORT_WITH_COUNT,
        State::SCISSOR_WITH_COUNT,
        State::CULL_MODE,
        State::FRONT_FACE,
        State::PRIMITIVE_TOPOLOGY,
        State::DEPTH_TEST_ENABLE,
        State::DEPTH_WRITE_ENABLE,
        State::DEPTH_COMPARE_OP,
        State::STENCIL_TEST_ENABLE,
        State::STENCIL_OP,
        State::STENCIL_COMPARE_MASK,
        State::STENCIL_WRITE_MASK,
        State::STENCIL_REFERENCE,
        State::RASTERIZER_DISCARD_ENABLE,
        State::DEPTH_BIAS_ENABLE,
        State::DEPTH_BIAS,
        State::PRIMITIVE_RESTART_ENABLE,
    ];
    let raster = at_depth(|info| gpu.raster(RasterInfo { dynamic: &dynamic, depth_format: DEPTH, ..info }))?;
    let depth = depth_target(&gpu, DEPTH)?;
    let both = vk::StencilFaceFlags::FRONT_AND_BACK;
    let (words, depths) = with_depth(&gpu, &depth, vk::ImageAspectFlags::DEPTH, |c| {
        c.bind_raster(&raster);
        let area = depth.area();
        c.set_viewport_with_count(&[crate::gpu::viewport(area)]);
        c.set_scissor_with_count(&[area]);
        c.set_cull_mode(vk::CullModeFlags::NONE);
        c.set_front_face(vk::FrontFace::CLOCKWISE);
        c.set_primitive_topology(vk::PrimitiveTopology::TRIANGLE_STRIP);
        c.set_depth_test_enable(true);
        c.set_depth_write_enable(true);
        c.set_depth_compare_op(vk::CompareOp::LESS);
        c.set_stencil_test_enable(false);
        let (keep, always) = (vk::StencilOp::KEEP, vk::CompareOp::ALWAYS);
        c.set_stencil_op(both, keep, keep, keep, always);
        c.set_stencil_compare_mask(both, 0xff);
        c.set_stencil_write_mask(both, 0xff);
        c.set_stencil_reference(both, 0);
        c.set_rasterizer_discard_enable(false);
        c.set_depth_bias_enable(false);
        c.set_depth_bias(0.0, 0.0, 0.0);
        c.set_primitive_restart_enable(false);
        square(c, &raster, RED, 1.0, 0.5);
        c.set_rasterizer_discard_enable(true);
        square(c, &raster, GREEN, 1.0, 0.1);
        c.set_rasterizer_discard_enable(false);
        c.set_cull_mode(vk::CullModeFlags::FRONT_AND_BACK);
        square(c, &raster, GREEN, 1.0, 0.1);
        c.set_cull_mode(vk::CullModeFlags::NONE);
        c.set_depth_compare_op(vk::CompareOp::GREATER);
        square(c, &raster, BLUE, 0.5, 0.75);
        c.set_primitive_topology(vk::PrimitiveTopology::TRIANGLE_LIST);
        c.set_depth_test_enable(false);
        // The first three of four corners: half of a square.
        c.push_raster(&raster, &[0.0, 1.0, 1.0, 1.0, 0.25, 0.9, 0.0, 0.0_f32]);
        c.draw(3, 1, 0, 0);
    })?;
    let count = |color: u32| words.iter().filter(|word| **word == color).count();
    same!(count(0xff00_ff00), 0, "discarded and culled");
    same!(count(0xff00_00ff), 3072, "the first square");
    let half = count(0xffff_ff00);
    ensure!((110..150).contains(&half), "half of a square is {half} pixels");
    case.digest(&words);
    case.digest(&depths);
    Ok(())
}

fn draw_stores_to_buffer(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.fragment_stores_and_atomics, "fragmentStoresAndAtomics")?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> count: array<atomic<u32>, 4>;
         @vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
             return vec4(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
         }
         @fragment fn fs(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {
             atomicAdd(&count[u32(at.x) % 4u], u32(at.y));
             return vec4(1.0);
         }",
    )?;
    let raster = gpu.raster(RasterInfo {
        bindings: &[vk::DescriptorType::STORAGE_BUFFER.into()],
        ..RasterInfo::plain(&code, &[RGBA8])
    })?;
    let sums = gpu.buffer(16)?;
    let set = gpu.empty_set(raster.set_layout)?;
    gpu.write_descriptor(set, 0, Resource::Storage(sums));
    picture(&gpu, |c| {
        c.bind_raster(&raster);
        c.bind_raster_set(&raster, set, &[]);
        c.draw(3, 1, 0, 0);
    })?;
    let each = (0..SIDE).sum::<u32>() * (SIDE / 4);
    same!(sums.words(), [each; 4], "sums");
    case.digest(&sums.words());
    Ok(())
}
