//! Render passes: subpasses, framebuffers, views, secondary command buffers, and what counts or gates draws.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::graphics::half;
use super::same;
use super::scenarios;
use crate::gpu::Commands;
use crate::gpu::Gpu;
use crate::gpu::ImageInfo;
use crate::gpu::RasterInfo;
use crate::gpu::Target;
use crate::gpu::WHOLE;
use crate::shader::capture_positions;
use crate::shader::double_input_attachment;
use crate::shader::wgsl;

scenarios![
    render_pass_clears_and_stores,
    render_pass_loads,
    render_pass_input_attachment,
    render_pass_imageless,
    render_pass_secondary,
    rendering_secondary,
    rendering_suspended,
    multiview,
    clear_attachments,
    occlusion_query,
    pipeline_statistics_query,
    conditional_rendering,
    transform_feedback,
];

const RGBA8: vk::Format = vk::Format::R8G8B8A8_UNORM;
const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;
const COLOR: vk::ImageAspectFlags = vk::ImageAspectFlags::COLOR;
const SIDE: u32 = 32;
const PIXELS: u64 = (SIDE * SIDE) as u64;
const ALL_STAGES: vk::PipelineStageFlags = vk::PipelineStageFlags::ALL_COMMANDS;

/// An attachment in the general layout.
fn attachment(load: vk::AttachmentLoadOp) -> vk::AttachmentDescription {
    vk::AttachmentDescription::default()
        .format(RGBA8)
        .samples(vk::SampleCountFlags::TYPE_1)
        .load_op(load)
        .store_op(vk::AttachmentStoreOp::STORE)
        .initial_layout(GENERAL)
        .final_layout(GENERAL)
}

fn reference(attachment: u32) -> [vk::AttachmentReference; 1] {
    [vk::AttachmentReference { attachment, layout: GENERAL }]
}

/// A pass of one subpass with one color attachment.
fn simple_pass(gpu: &Gpu, load: vk::AttachmentLoadOp) -> Result<vk::RenderPass> {
    let (attachments, color) = ([attachment(load)], reference(0));
    let subpass = [vk::SubpassDescription::default().color_attachments(&color)];
    let create = vk::RenderPassCreateInfo::default().attachments(&attachments).subpasses(&subpass);
    Ok(gpu.keep(gpu.create_render_pass(&create)?))
}

fn framebuffer(gpu: &Gpu, pass: vk::RenderPass, views: &[vk::ImageView]) -> Result<vk::Framebuffer> {
    let create = vk::FramebufferCreateInfo::default()
        .render_pass(pass)
        .attachments(views)
        .width(SIDE)
        .height(SIDE)
        .layers(1);
    Ok(gpu.keep(gpu.create_framebuffer(&create)?))
}

const GREY: vk::ClearValue = vk::ClearValue { color: vk::ClearColorValue { float32: [0.2; 4] } };

/// A pass over all of a target, with `draw` in its first subpass.
fn in_pass(
    c: &Commands<'_>,
    pass: vk::RenderPass,
    buffer: vk::Framebuffer,
    target: &Target,
    contents: vk::SubpassContents,
    draw: impl FnOnce(),
) {
    let clears = [GREY, GREY];
    let begin = vk::RenderPassBeginInfo::default()
        .render_pass(pass)
        .framebuffer(buffer)
        .render_area(target.area())
        .clear_values(&clears);
    c.begin_render_pass(&begin, contents);
    draw();
    c.end_render_pass();
    c.barrier();
}

fn count(words: &[u32], color: u32) -> usize {
    words.iter().filter(|word| **word == color).count()
}

const CLEARED: u32 = 0x3333_3333;
const RED: u32 = 0xff00_00ff;
const INLINE: vk::SubpassContents = vk::SubpassContents::INLINE;

fn render_pass_clears_and_stores(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pass = simple_pass(&gpu, vk::AttachmentLoadOp::CLEAR)?;
    let code = half("vec4(1.0, 0.0, 0.0, 1.0)")?;
    let raster = gpu.raster(RasterInfo { subpass: Some((pass, 0)), ..RasterInfo::plain(&code, &[RGBA8]) })?;
    let target = gpu.target(RGBA8, SIDE)?;
    let buffer = framebuffer(&gpu, pass, &[target.view])?;
    let out = gpu.buffer(PIXELS * 4)?;
    gpu.run(|c| {
        c.fresh(&target);
        in_pass(c, pass, buffer, &target, INLINE, || {
            c.bind_raster(&raster);
            c.view_all(target.area());
            c.draw(6, 1, 0, 0);
        });
        c.take(&target, COLOR, out);
    })?;
    same!(count(&out.words(), RED), 512, "pixels drawn");
    same!(count(&out.words(), CLEARED), 512, "pixels cleared");
    case.digest(&out.words());
    Ok(())
}

fn render_pass_loads(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pass = simple_pass(&gpu, vk::AttachmentLoadOp::LOAD)?;
    let code = half("vec4(1.0, 0.0, 0.0, 1.0)")?;
    let raster = gpu.raster(RasterInfo { subpass: Some((pass, 0)), ..RasterInfo::plain(&code, &[RGBA8]) })?;
    let target = gpu.target(RGBA8, SIDE)?;
    let buffer = framebuffer(&gpu, pass, &[target.view])?;
    let out = gpu.buffer(PIXELS * 4)?;
    gpu.run(|c| {
        c.fresh(&target);
        c.clear_color_image(
            target.image.handle,
            GENERAL,
            &vk::ClearColorValue { float32: [1.0; 4] },
            &[WHOLE],
        );
        c.barrier();
        in_pass(c, pass, buffer, &target, INLINE, || {
            c.bind_raster(&raster);
            c.view_all(target.area());
            c.draw(6, 1, 0, 0);
        });
        c.take(&target, COLOR, out);
    })?;
    same!(count(&out.words(), RED), 512, "pixels drawn");
    same!(count(&out.words(), u32::MAX), 512, "pixels loaded");
    case.digest(&out.words());
    Ok(())
}

fn render_pass_input_attachment(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let attachments = [attachment(vk::AttachmentLoadOp::CLEAR), attachment(vk::AttachmentLoadOp::CLEAR)];
    let (first, second) = (reference(0), reference(1));
    let subpasses = [
        vk::SubpassDescription::default().color_attachments(&first),
        vk::SubpassDescription::default().color_attachments(&second).input_attachments(&first),
    ];
    let dependency = [vk::SubpassDependency::default()
        .src_subpass(0)
        .dst_subpass(1)
        .src_stage_mask(vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT)
        .dst_stage_mask(vk::PipelineStageFlags::FRAGMENT_SHADER)
        .src_access_mask(vk::AccessFlags::COLOR_ATTACHMENT_WRITE)
        .dst_access_mask(vk::AccessFlags::INPUT_ATTACHMENT_READ)];
    let create = vk::RenderPassCreateInfo::default()
        .attachments(&attachments)
        .subpasses(&subpasses)
        .dependencies(&dependency);
    let pass = gpu.keep(gpu.create_render_pass(&create)?);
    let code = half("vec4(0.2, 0.4, 0.1, 0.4)")?;
    let doubling = double_input_attachment()?;
    let first = gpu.raster(RasterInfo { subpass: Some((pass, 0)), ..RasterInfo::plain(&code, &[RGBA8]) })?;
    let second = gpu.raster(RasterInfo {
        subpass: Some((pass, 1)),
        fragment_code: Some(&doubling),
        bindings: &[vk::DescriptorType::INPUT_ATTACHMENT.into()],
        ..RasterInfo::plain(&code, &[RGBA8])
    })?;
    let between = gpu.target_with(
        ImageInfo::flat(RGBA8, SIDE, SIDE)
            .used(vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::INPUT_ATTACHMENT),
    )?;
    let target = gpu.target(RGBA8, SIDE)?;
    let set = gpu.empty_set(second.set_layout)?;
    let image =
        [vk::DescriptorImageInfo { image_view: between.view, image_layout: GENERAL, ..Default::default() }];
    gpu.update_descriptor_sets(
        &[vk::WriteDescriptorSet::default()
            .dst_set(set)
            .descriptor_type(vk::DescriptorType::INPUT_ATTACHMENT)
            .image_info(&image)],
        &[],
    );
    let buffer = framebuffer(&gpu, pass, &[between.view, target.view])?;
    let out = gpu.buffer(PIXELS * 4)?;
    gpu.run(|c| {
        c.fresh(&between);
        c.fresh(&target);
        in_pass(c, pass, buffer, &target, INLINE, || {
            c.bind_raster(&first);
            c.view_all(target.area());
            c.draw(6, 1, 0, 0);
            c.next_subpass(INLINE);
            c.bind_raster(&second);
            c.bind_raster_set(&second, set, &[]);
            c.draw(6, 1, 0, 0);
        });
        c.take(&target, COLOR, out);
    })?;
    same!(count(&out.words(), CLEARED), 512, "pixels cleared");
    let doubled = out.words()[0].to_le_bytes();
    ensure!(
        doubled.iter().zip([102, 204, 51, 204]).all(|(got, want)| got.abs_diff(want) <= 2),
        "twice the first subpass: {doubled:?}"
    );
    case.digest(&out.words());
    Ok(())
}

fn render_pass_imageless(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features12.imageless_framebuffer, "imagelessFramebuffer")?;
    let pass = simple_pass(&gpu, vk::AttachmentLoadOp::CLEAR)?;
    let targets = [gpu.target(RGBA8, SIDE)?, gpu.target(RGBA8, SIDE)?];
    let formats = [RGBA8];
    let image = [vk::FramebufferAttachmentImageInfo::default()
        .usage(targets[0].image.info.usage)
        .width(SIDE)
        .height(SIDE)
        .layer_count(1)
        .view_formats(&formats)];
    let mut images = vk::FramebufferAttachmentsCreateInfo::default().attachment_image_infos(&image);
    let mut create = vk::FramebufferCreateInfo::default()
        .flags(vk::FramebufferCreateFlags::IMAGELESS)
        .render_pass(pass)
        .width(SIDE)
        .height(SIDE)
        .layers(1)
        .push_next(&mut images);
    create.attachment_count = 1;
    let buffer = gpu.keep(gpu.create_framebuffer(&create)?);
    let outs = [gpu.buffer(PIXELS * 4)?, gpu.buffer(PIXELS * 4)?];
    gpu.run(|c| {
        for (target, grey) in targets.iter().zip([0.2, 0.4]) {
            c.fresh(target);
            let views = [target.view];
            let mut chosen = vk::RenderPassAttachmentBeginInfo::default().attachments(&views);
            let clears = [vk::ClearValue { color: vk::ClearColorValue { float32: [grey; 4] } }];
            let begin = vk::RenderPassBeginInfo::default()
                .render_pass(pass)
                .framebuffer(buffer)
                .render_area(target.area())
                .clear_values(&clears)
                .push_next(&mut chosen);
            c.begin_render_pass(&begin, INLINE);
            c.end_render_pass();
            c.barrier();
        }
        for (target, out) in targets.iter().zip(outs) {
            c.take(target, COLOR, out);
        }
    })?;
    same!(outs[0].words()[77], CLEARED, "the first image");
    same!(outs[1].words()[77], 0x6666_6666, "the second image");
    case.digest(&outs[1].words());
    Ok(())
}

fn render_pass_secondary(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pass = simple_pass(&gpu, vk::AttachmentLoadOp::CLEAR)?;
    let code = half("vec4(1.0, 0.0, 0.0, 1.0)")?;
    let raster = gpu.raster(RasterInfo { subpass: Some((pass, 0)), ..RasterInfo::plain(&code, &[RGBA8]) })?;
    let target = gpu.target(RGBA8, SIDE)?;
    let buffer = framebuffer(&gpu, pass, &[target.view])?;
    let inheritance = vk::CommandBufferInheritanceInfo::default().render_pass(pass).framebuffer(buffer);
    let parts = [(0, 3), (3, 3)].map(|(first, vertices)| {
        gpu.continued(&inheritance, |c| {
            c.bind_raster(&raster);
            c.view_all(target.area());
            c.draw(vertices, 1, first, 0);
        })
    });
    let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
    let out = gpu.buffer(PIXELS * 4)?;
    gpu.run(|c| {
        c.fresh(&target);
        in_pass(c, pass, buffer, &target, vk::SubpassContents::SECONDARY_COMMAND_BUFFERS, || {
            c.execute(&parts)
        });
        c.take(&target, COLOR, out);
    })?;
    same!(count(&out.words(), RED), 512, "pixels drawn");
    case.digest(&out.words());
    Ok(())
}

fn rendering_secondary(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = half("vec4(1.0, 0.0, 0.0, 1.0)")?;
    let raster = gpu.raster(RasterInfo::plain(&code, &[RGBA8]))?;
    let target = gpu.target(RGBA8, SIDE)?;
    let formats = [RGBA8];
    let mut rendering = vk::CommandBufferInheritanceRenderingInfo::default()
        .color_attachment_formats(&formats)
        .rasterization_samples(vk::SampleCountFlags::TYPE_1);
    let inheritance = vk::CommandBufferInheritanceInfo::default().push_next(&mut rendering);
    let part = gpu.continued(&inheritance, |c| {
        c.bind_raster(&raster);
        c.view_all(target.area());
        c.draw(6, 1, 0, 0);
    })?;
    let out = gpu.buffer(PIXELS * 4)?;
    gpu.run(|c| {
        c.fresh(&target);
        let colors = [target.cleared(GREY)];
        let info = vk::RenderingInfo::default()
            .flags(vk::RenderingFlags::CONTENTS_SECONDARY_COMMAND_BUFFERS)
            .render_area(target.area())
            .layer_count(1)
            .color_attachments(&colors);
        c.begin_rendering(&info);
        c.execute(&[part]);
        c.end_rendering();
        c.barrier();
        c.take(&target, COLOR, out);
    })?;
    same!(count(&out.words(), RED), 512, "pixels drawn");
    case.digest(&out.words());
    Ok(())
}

fn rendering_suspended(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = half("vec4(1.0, 0.0, 0.0, 1.0)")?;
    let raster = gpu.raster(RasterInfo::plain(&code, &[RGBA8]))?;
    let target = gpu.target(RGBA8, SIDE)?;
    let out = gpu.buffer(PIXELS * 4)?;
    let colors = [target.cleared(GREY)];
    let info =
        vk::RenderingInfo::default().render_area(target.area()).layer_count(1).color_attachments(&colors);
    let before = gpu.recorded(|c| c.fresh(&target))?;
    let part = |flags, first| {
        gpu.recorded(|c| {
            c.begin_rendering(&info.flags(flags));
            c.bind_raster(&raster);
            c.view_all(target.area());
            c.draw(3, 1, first, 0);
            c.end_rendering();
        })
    };
    let (first, second) = (part(vk::RenderingFlags::SUSPENDING, 0)?, part(vk::RenderingFlags::RESUMING, 3)?);
    let after = gpu.recorded(|c| {
        c.barrier();
        c.take(&target, COLOR, out);
        c.to_host();
    })?;
    gpu.submit_and_wait(&[before, first, second, after])?;
    same!(count(&out.words(), RED), 512, "pixels drawn");
    same!(count(&out.words(), CLEARED), 512, "pixels cleared once");
    case.digest(&out.words());
    Ok(())
}

fn multiview(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features11.multiview, "multiview")?;
    let code = wgsl(
        "@vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
             return vec4(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
         }
         @fragment fn fs(@builtin(view_index) view: u32) -> @location(0) vec4<f32> {
             return vec4(f32(view + 1u) / 4.0, 0.0, 0.0, 1.0);
         }",
    );
    let code = code.context("a shader of several views")?;
    let (attachments, color) = ([attachment(vk::AttachmentLoadOp::CLEAR)], reference(0));
    let subpass = [vk::SubpassDescription::default().color_attachments(&color)];
    let masks = [0b1011];
    let mut views = vk::RenderPassMultiviewCreateInfo::default().view_masks(&masks);
    let create = vk::RenderPassCreateInfo::default()
        .attachments(&attachments)
        .subpasses(&subpass)
        .push_next(&mut views);
    let pass = gpu.keep(gpu.create_render_pass(&create)?);
    let raster = gpu.raster(RasterInfo { subpass: Some((pass, 0)), ..RasterInfo::plain(&code, &[RGBA8]) })?;
    let info = ImageInfo { layers: 4, ..ImageInfo::flat(RGBA8, SIDE, SIDE) };
    let image = gpu.image(info.used(vk::ImageUsageFlags::COLOR_ATTACHMENT))?;
    let target = Target { image, view: gpu.view_of(&image, vk::ImageViewType::TYPE_2D_ARRAY, WHOLE)? };
    let buffer = framebuffer(&gpu, pass, &[target.view])?;
    let out = gpu.buffer(PIXELS * 16)?;
    gpu.run(|c| {
        c.fresh(&target);
        c.clear_color_image(image.handle, GENERAL, &vk::ClearColorValue { float32: [1.0; 4] }, &[WHOLE]);
        c.barrier();
        in_pass(c, pass, buffer, &target, INLINE, || {
            c.view_all(target.area());
            c.bind_raster(&raster);
            c.draw(3, 1, 0, 0);
        });
        c.take(&target, COLOR, out);
    })?;
    let words = out.words();
    let of = |layer: u32| words[(layer * SIDE * SIDE + 5) as usize];
    same!(of(2), u32::MAX, "a layer that is no view");
    // Software renderers of 2022 draw the first view only; what the others hold is the driver's own.
    same!(of(0) & 0xff, 64, "the first view");
    case.digest(&words);
    Ok(())
}

fn clear_attachments(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let target = gpu.target(RGBA8, SIDE)?;
    let out = gpu.buffer(PIXELS * 4)?;
    gpu.run(|c| {
        c.fresh(&target);
        c.draw_into(&target, [0.0; 4], || {
            let clear = vk::ClearAttachment { aspect_mask: COLOR, color_attachment: 0, clear_value: GREY };
            let rect = |x, y, width, height| vk::ClearRect {
                rect: vk::Rect2D { offset: vk::Offset2D { x, y }, extent: vk::Extent2D { width, height } },
                base_array_layer: 0,
                layer_count: 1,
            };
            c.clear_attachments(&[clear], &[rect(0, 0, 5, 7), rect(10, 20, 2, 3)]);
        });
        c.take(&target, COLOR, out);
    })?;
    same!(count(&out.words(), CLEARED), 41, "pixels cleared");
    case.digest(&out.words());
    Ok(())
}

fn queries(gpu: &Gpu, create: &vk::QueryPoolCreateInfo<'_>) -> Result<vk::QueryPool> {
    let pool = gpu.keep(gpu.create_query_pool(create)?);
    gpu.reset_query_pool(pool, 0, create.query_count);
    Ok(pool)
}

fn occlusion_query(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = half("vec4(1.0, 0.0, 0.0, 1.0)")?;
    let raster = gpu.raster(RasterInfo::plain(&code, &[RGBA8]))?;
    let target = gpu.target(RGBA8, SIDE)?;
    let create = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::OCCLUSION).query_count(3);
    let pool = queries(&gpu, &create)?;
    let precise = gpu.features.occlusion_query_precise != 0;
    let flags = if precise { vk::QueryControlFlags::PRECISE } else { vk::QueryControlFlags::empty() };
    let out = gpu.buffer(24)?;
    gpu.run(|c| {
        c.fresh(&target);
        c.draw_into(&target, [0.0; 4], || {
            c.bind_raster(&raster);
            for (query, vertices) in [(0, 6), (1, 3), (2, 0)] {
                c.begin_query(pool, query, flags);
                c.draw(vertices, 1, 0, 0);
                c.end_query(pool, query);
            }
        });
        let to = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
        c.copy_query_results(pool, 0, 3, out.handle, 0, 8, to);
    })?;
    let mut got = [0_u64; 3];
    gpu.query_numbers(pool, 0, &mut got, vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT)?;
    if precise {
        same!(got[0], 512, "samples of both triangles");
        ensure!((200..=300).contains(&got[1]), "samples of one triangle: {}", got[1]);
    }
    same!(got[2], 0, "samples of nothing");
    same!(out.read::<u64>(0, 3), got, "copied results");
    case.digest(&got);
    Ok(())
}

fn pipeline_statistics_query(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.pipeline_statistics_query, "pipelineStatisticsQuery")?;
    let code = half("vec4(1.0, 0.0, 0.0, 1.0)")?;
    let raster = gpu.raster(RasterInfo::plain(&code, &[RGBA8]))?;
    let target = gpu.target(RGBA8, SIDE)?;
    let create = vk::QueryPoolCreateInfo::default()
        .query_type(vk::QueryType::PIPELINE_STATISTICS)
        .query_count(1)
        .pipeline_statistics(
            vk::QueryPipelineStatisticFlags::INPUT_ASSEMBLY_VERTICES
                | vk::QueryPipelineStatisticFlags::INPUT_ASSEMBLY_PRIMITIVES,
        );
    let pool = queries(&gpu, &create)?;
    gpu.run(|c| {
        c.fresh(&target);
        c.draw_into(&target, [0.0; 4], || {
            c.bind_raster(&raster);
            c.begin_query(pool, 0, vk::QueryControlFlags::empty());
            c.draw(6, 5, 0, 0);
            c.end_query(pool, 0);
        });
    })?;
    let mut got = [[0_u64; 2]];
    gpu.query_results(pool, 0, &mut got, vk::QueryResultFlags::WAIT)?;
    same!(got, [[30, 10]], "vertices and primitives");
    case.digest(&got[0]);
    Ok(())
}

fn conditional_rendering(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let calls = gpu.conditional_rendering.as_ref();
    case.need(calls.is_some(), "VK_EXT_conditional_rendering")?;
    let code = half("vec4(1.0, 0.0, 0.0, 1.0)")?;
    let raster = gpu.raster(RasterInfo::plain(&code, &[RGBA8]))?;
    let target = gpu.target(RGBA8, SIDE)?;
    let conditions = gpu.buffer_with(crate::gpu::BufferInfo {
        size_bytes: 8,
        usage: vk::BufferUsageFlags::CONDITIONAL_RENDERING_EXT,
        allocate: vk::MemoryAllocateFlags::empty(),
    })?;
    conditions.write(0, &[0_u32, 1]);
    let out = gpu.buffer(PIXELS * 4)?;
    // Which condition, whether inverted: only the second and third draw.
    let cases = [(0, false), (4, false), (0, true), (4, true)];
    let mut drawn = Vec::new();
    for (offset, inverted) in cases {
        gpu.run(|c| {
            c.fresh(&target);
            c.draw_into(&target, [0.0; 4], || {
                c.bind_raster(&raster);
                c.begin_conditional(conditions.handle, offset, inverted);
                c.draw(6, 1, 0, 0);
                c.end_conditional();
            });
            c.take(&target, COLOR, out);
        })?;
        drawn.push(count(&out.words(), RED));
    }
    same!(drawn, [0, 512, 512, 0], "pixels drawn");
    case.digest_text(&drawn);
    Ok(())
}

fn transform_feedback(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.transform_feedback.is_some(), "VK_EXT_transform_feedback")?;
    let code = capture_positions()?;
    let raster = gpu.raster(RasterInfo {
        has_fragments: false,
        rasterization: vk::PipelineRasterizationStateCreateInfo::default()
            .line_width(1.0)
            .rasterizer_discard_enable(true),
        ..RasterInfo::plain(&code, &[RGBA8])
    })?;
    let target = gpu.target(RGBA8, SIDE)?;
    let buffer = |usage| {
        gpu.buffer_with(crate::gpu::BufferInfo {
            size_bytes: 256,
            usage,
            allocate: vk::MemoryAllocateFlags::empty(),
        })
    };
    let captured = buffer(vk::BufferUsageFlags::TRANSFORM_FEEDBACK_BUFFER_EXT)?;
    let counter = buffer(vk::BufferUsageFlags::TRANSFORM_FEEDBACK_COUNTER_BUFFER_EXT)?;
    gpu.run(|c| {
        c.fresh(&target);
        c.draw_into(&target, [0.0; 4], || {
            c.bind_raster(&raster);
            c.bind_feedback_buffer(captured.handle, 0, 256);
            c.begin_feedback(None);
            c.draw(6, 1, 2, 0);
            c.end_feedback(Some(counter.handle));
        });
        c.pipeline_barrier(ALL_STAGES, ALL_STAGES, vk::DependencyFlags::empty(), &[], &[], &[]);
        c.draw_into(&target, [0.0; 4], || {
            c.bind_raster(&raster);
            c.bind_feedback_buffer(captured.handle, 0, 256);
            c.begin_feedback(Some(counter.handle));
            c.draw(3, 1, 20, 0);
            c.end_feedback(Some(counter.handle));
        });
    })?;
    let floats: Vec<f32> = captured.read(0, 40);
    let first: Vec<f32> = floats.iter().step_by(4).copied().collect();
    same!(first, [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 20.0, 21.0, 22.0, 0.0], "captured");
    same!(counter.read::<u32>(0, 1), [144], "bytes captured");
    case.digest(&floats);
    Ok(())
}
