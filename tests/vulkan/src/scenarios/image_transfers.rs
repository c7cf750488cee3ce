//! Images copied, cleared and blitted.

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Buffer;
use crate::gpu::Commands;
use crate::gpu::Gpu;
use crate::gpu::Image;
use crate::gpu::ImageInfo;
use crate::gpu::WHOLE;
use crate::gpu::extent;
use crate::gpu::layers;

scenarios![
    image_round_trip,
    image_round_trip_formats,
    image_rows_with_gaps,
    image_regions,
    image_copy,
    image_copy2_with_offsets,
    image_copy_between_formats,
    image_clear,
    image_clear_formats,
    image_blit_scaling,
    image_blit_flip,
    image_blit_between_formats,
    image_mip_levels,
    image_mip_chain_by_blits,
    image_array_layers,
    image_1d,
    image_3d,
    image_linear_tiling,
    image_layouts,
];

const UNDEFINED: vk::ImageLayout = vk::ImageLayout::UNDEFINED;
const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;
const TO: vk::ImageLayout = vk::ImageLayout::TRANSFER_DST_OPTIMAL;
const FROM: vk::ImageLayout = vk::ImageLayout::TRANSFER_SRC_OPTIMAL;
const RGBA8: vk::Format = vk::Format::R8G8B8A8_UNORM;
const ORIGIN: vk::Offset3D = vk::Offset3D { x: 0, y: 0, z: 0 };

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i.wrapping_mul(37) >> 2) as u8).collect()
}

/// All of one mip level, packed at an offset of a buffer.
fn level(info: &ImageInfo, mip: u32, offset: u64) -> vk::BufferImageCopy {
    vk::BufferImageCopy {
        buffer_offset: offset,
        image_subresource: layers(mip, 0, info.layers),
        image_extent: extent(info.size.map(|side| (side >> mip).max(1))),
        ..Default::default()
    }
}

fn upload(c: &Commands<'_>, from: Buffer, image: &Image) {
    c.to_layout(image.handle, UNDEFINED, TO);
    c.copy_buffer_to_image(from.handle, image.handle, TO, &[level(&image.info, 0, 0)]);
}

fn download(c: &Commands<'_>, image: &Image, layout: vk::ImageLayout, to: Buffer) {
    c.to_layout(image.handle, layout, FROM);
    c.copy_image_to_buffer(image.handle, FROM, to.handle, &[level(&image.info, 0, 0)]);
}

/// Puts bytes into an image and takes them out again.
fn round_trip(gpu: &Gpu, info: ImageInfo, input: &[u8]) -> Result<()> {
    let image = gpu.image(info)?;
    let (from, to) = (gpu.buffer_of(input)?, gpu.buffer(input.len() as u64)?);
    gpu.run(|c| {
        upload(c, from, &image);
        download(c, &image, TO, to);
    })?;
    ensure!(to.read::<u8>(0, input.len()) == input, "{info:?}: bytes differ");
    Ok(())
}

fn image_round_trip(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input = bytes(250 * 130 * 4);
    round_trip(&gpu, ImageInfo::flat(RGBA8, 250, 130), &input)?;
    case.digest(&input);
    Ok(())
}

fn image_round_trip_formats(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let formats = [
        (vk::Format::R8_UNORM, 1),
        (vk::Format::R8G8_UINT, 2),
        (vk::Format::R5G6B5_UNORM_PACK16, 2),
        (vk::Format::R16_SFLOAT, 2),
        (vk::Format::B8G8R8A8_UNORM, 4),
        (vk::Format::A2B10G10R10_UNORM_PACK32, 4),
        (vk::Format::R32_UINT, 4),
        (vk::Format::R16G16B16A16_UINT, 8),
        (vk::Format::R32G32_SFLOAT, 8),
        (vk::Format::R32G32B32A32_UINT, 16),
    ];
    for (format, width) in formats {
        let there = gpu.physical.format(format).optimal_tiling_features;
        ensure!(there.contains(vk::FormatFeatureFlags::TRANSFER_SRC), "{format:?} must be there");
        round_trip(&gpu, ImageInfo::flat(format, 33, 17), &bytes(33 * 17 * width))?;
        case.digest_text(&there);
    }
    Ok(())
}

fn image_rows_with_gaps(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { layers: 2, ..ImageInfo::flat(RGBA8, 8, 4) };
    let image = gpu.image(info)?;
    let (pitch, rows) = (20, 7);
    let input = bytes(pitch * rows * 4 * 2);
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(8 * 4 * 4 * 2)?);
    gpu.run(|c| {
        c.to_layout(image.handle, UNDEFINED, TO);
        let region = vk::BufferImageCopy {
            buffer_row_length: pitch as u32,
            buffer_image_height: rows as u32,
            ..level(&info, 0, 0)
        };
        c.copy_buffer_to_image(from.handle, image.handle, TO, &[region]);
        download(c, &image, TO, to);
    })?;
    let mut want = Vec::new();
    for layer in 0..2 {
        for row in 0..4 {
            want.extend_from_slice(&input[(layer * rows + row) * pitch * 4..][..32]);
        }
    }
    same!(to.read::<u8>(0, 256), want, "bytes");
    case.digest(&want);
    Ok(())
}

fn image_regions(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let image = gpu.image(ImageInfo::flat(vk::Format::R32_UINT, 16, 16))?;
    let input: Vec<u32> = (0..256).collect();
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(1024)?);
    // Sixteen tiles of 4 by 4, each from a packed piece of the buffer.
    let regions: Vec<_> = (0..16_u32)
        .map(|i| vk::BufferImageCopy {
            buffer_offset: u64::from(i) * 64,
            image_subresource: layers(0, 0, 1),
            image_offset: vk::Offset3D { x: (i % 4 * 4) as i32, y: (i / 4 * 4) as i32, z: 0 },
            image_extent: extent([4, 4, 1]),
            ..Default::default()
        })
        .collect();
    gpu.run(|c| {
        c.to_layout(image.handle, UNDEFINED, TO);
        c.copy_buffer_to_image(from.handle, image.handle, TO, &regions);
        download(c, &image, TO, to);
    })?;
    let want: Vec<u32> = (0..256)
        .map(|at: u32| {
            let (x, y) = (at % 16, at / 16);
            (y / 4 * 4 + x / 4) * 16 + y % 4 * 4 + x % 4
        })
        .collect();
    same!(to.words(), want, "texels");
    case.digest(&want);
    Ok(())
}

fn image_copy(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo::flat(RGBA8, 40, 30);
    let images = [gpu.image(info)?, gpu.image(info)?];
    let input = bytes(40 * 30 * 4);
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(input.len() as u64)?);
    gpu.run(|c| {
        upload(c, from, &images[0]);
        c.to_layout(images[0].handle, TO, FROM);
        c.to_layout(images[1].handle, UNDEFINED, TO);
        let region = vk::ImageCopy {
            src_subresource: layers(0, 0, 1),
            dst_subresource: layers(0, 0, 1),
            extent: extent(info.size),
            ..Default::default()
        };
        c.copy_image(images[0].handle, FROM, images[1].handle, TO, &[region]);
        download(c, &images[1], TO, to);
    })?;
    same!(to.read::<u8>(0, input.len()), input, "bytes");
    Ok(())
}

fn image_copy2_with_offsets(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo::flat(vk::Format::R32_UINT, 8, 8);
    let images = [gpu.image(info)?, gpu.image(info)?];
    let input: Vec<u32> = (0..64).collect();
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(256)?);
    let regions = [vk::ImageCopy2::default()
        .src_subresource(layers(0, 0, 1))
        .src_offset(vk::Offset3D { x: 1, y: 2, z: 0 })
        .dst_subresource(layers(0, 0, 1))
        .dst_offset(vk::Offset3D { x: 4, y: 4, z: 0 })
        .extent(extent([3, 4, 1]))];
    gpu.run(|c| {
        upload(c, from, &images[0]);
        c.to_layout(images[0].handle, TO, GENERAL);
        c.to_layout(images[1].handle, UNDEFINED, GENERAL);
        c.clear_color_image(images[1].handle, GENERAL, &vk::ClearColorValue { uint32: [500; 4] }, &[WHOLE]);
        c.barrier();
        let copy = vk::CopyImageInfo2::default()
            .src_image(images[0].handle)
            .src_image_layout(GENERAL)
            .dst_image(images[1].handle)
            .dst_image_layout(GENERAL)
            .regions(&regions);
        c.copy_image2(&copy);
        download(c, &images[1], GENERAL, to);
    })?;
    let inside = |x, y| (4..7).contains(&x) && (4..8).contains(&y);
    let want: Vec<u32> = (0..64)
        .map(|at| (at % 8, at / 8))
        .map(|(x, y)| if inside(x, y) { (y - 2) * 8 + x - 3 } else { 500 })
        .collect();
    same!(to.words(), want, "texels");
    case.digest(&want);
    Ok(())
}

fn image_copy_between_formats(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let images = [
        gpu.image(ImageInfo::flat(vk::Format::R32_UINT, 16, 16))?,
        gpu.image(ImageInfo::flat(vk::Format::R8G8B8A8_UINT, 16, 16))?,
    ];
    let input = bytes(1024);
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(1024)?);
    gpu.run(|c| {
        upload(c, from, &images[0]);
        c.to_layout(images[0].handle, TO, FROM);
        c.to_layout(images[1].handle, UNDEFINED, TO);
        let region = vk::ImageCopy {
            src_subresource: layers(0, 0, 1),
            dst_subresource: layers(0, 0, 1),
            extent: extent([16, 16, 1]),
            ..Default::default()
        };
        c.copy_image(images[0].handle, FROM, images[1].handle, TO, &[region]);
        download(c, &images[1], TO, to);
    })?;
    same!(to.read::<u8>(0, 1024), input, "bytes as they were");
    Ok(())
}

fn image_clear(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { mips: 3, layers: 2, ..ImageInfo::flat(RGBA8, 16, 16) };
    let image = gpu.image(info)?;
    let to = gpu.buffer(2 * 1024)?;
    let color = |value| vk::ClearColorValue { float32: value };
    gpu.run(|c| {
        c.to_layout(image.handle, UNDEFINED, TO);
        c.clear_color_image(image.handle, TO, &color([1.0, 0.0, 1.0, 0.0]), &[WHOLE]);
        c.barrier();
        let one = vk::ImageSubresourceRange { base_array_layer: 1, layer_count: 1, level_count: 1, ..WHOLE };
        c.clear_color_image(image.handle, TO, &color([0.0, 1.0, 0.0, 1.0]), &[one]);
        download(c, &image, TO, to);
    })?;
    let want = [[0x00ff_00ff_u32; 256], [0xff00_ff00; 256]].concat();
    same!(to.words(), want, "texels");
    case.digest(&want);
    Ok(())
}

fn image_clear_formats(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let cases = [
        (vk::Format::R32_SINT, vk::ClearColorValue { int32: [-5, 0, 0, 0] }, vec![251, 255, 255, 255]),
        (vk::Format::R8_UINT, vk::ClearColorValue { uint32: [200, 1, 1, 1] }, vec![200]),
        (vk::Format::R16G16_UINT, vk::ClearColorValue { uint32: [258, 3, 0, 0] }, vec![2, 1, 3, 0]),
        (vk::Format::R32_SFLOAT, vk::ClearColorValue { float32: [0.5, 0.0, 0.0, 0.0] }, vec![0, 0, 0, 0x3f]),
        (
            vk::Format::B8G8R8A8_UNORM,
            vk::ClearColorValue { float32: [1.0, 0.0, 0.0, 1.0] },
            vec![0, 0, 255, 255],
        ),
    ];
    for (format, color, texel) in cases {
        let image = gpu.image(ImageInfo::flat(format, 4, 4))?;
        let to = gpu.buffer(16 * texel.len() as u64)?;
        gpu.run(|c| {
            c.to_layout(image.handle, UNDEFINED, TO);
            c.clear_color_image(image.handle, TO, &color, &[WHOLE]);
            download(c, &image, TO, to);
        })?;
        same!(to.read::<u8>(0, 16 * texel.len()), texel.repeat(16), "{format:?}");
    }
    Ok(())
}

/// Blits one image onto another, all of it to a box of the other, and gives the other's bytes.
fn blit(
    gpu: &Gpu,
    from: ImageInfo,
    input: &[u8],
    to: ImageInfo,
    corners: [vk::Offset3D; 2],
    texel_bytes: u64,
) -> Result<Vec<u8>> {
    let images = [gpu.image(from)?, gpu.image(to)?];
    let size = u64::from(to.size[0]) * u64::from(to.size[1]) * texel_bytes;
    let (buffer, out) = (gpu.buffer_of(input)?, gpu.buffer(size)?);
    let end = |size: [u32; 3]| vk::Offset3D { x: size[0] as i32, y: size[1] as i32, z: 1 };
    gpu.run(|c| {
        upload(c, buffer, &images[0]);
        c.to_layout(images[0].handle, TO, FROM);
        c.to_layout(images[1].handle, UNDEFINED, TO);
        let region = vk::ImageBlit {
            src_subresource: layers(0, 0, 1),
            src_offsets: [ORIGIN, end(from.size)],
            dst_subresource: layers(0, 0, 1),
            dst_offsets: corners,
        };
        c.blit_image(images[0].handle, FROM, images[1].handle, TO, &[region], vk::Filter::NEAREST);
        download(c, &images[1], TO, out);
    })?;
    Ok(out.read(0, usize::try_from(size)?))
}

fn image_blit_scaling(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input = bytes(4 * 4 * 4);
    let corners = [ORIGIN, vk::Offset3D { x: 16, y: 16, z: 1 }];
    let (small, large) = (ImageInfo::flat(RGBA8, 4, 4), ImageInfo::flat(RGBA8, 16, 16));
    let got = blit(&gpu, small, &input, large, corners, 4)?;
    for (texel, at) in got.chunks(4).zip(0..) {
        let (x, y) = (at % 16 / 4, at / 16 / 4);
        same!(*texel, input[(y * 4 + x) * 4..][..4], "texel {at}");
    }
    case.digest(&got);
    Ok(())
}

fn image_blit_flip(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input = bytes(8 * 8 * 4);
    let corners = [vk::Offset3D { x: 8, y: 0, z: 0 }, vk::Offset3D { x: 0, y: 8, z: 1 }];
    let info = ImageInfo::flat(RGBA8, 8, 8);
    let got = blit(&gpu, info, &input, info, corners, 4)?;
    for (texel, at) in got.chunks(4).zip(0..) {
        same!(*texel, input[(at / 8 * 8 + 7 - at % 8) * 4..][..4], "texel {at}");
    }
    case.digest(&got);
    Ok(())
}

fn image_blit_between_formats(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input = bytes(8 * 8 * 4);
    let corners = [ORIGIN, vk::Offset3D { x: 8, y: 8, z: 1 }];
    let to = ImageInfo::flat(vk::Format::B8G8R8A8_UNORM, 8, 8);
    let got = blit(&gpu, ImageInfo::flat(RGBA8, 8, 8), &input, to, corners, 4)?;
    let want: Vec<u8> = input.chunks(4).flat_map(|texel| [texel[2], texel[1], texel[0], texel[3]]).collect();
    same!(got, want, "bytes with red and blue exchanged");
    case.digest(&got);
    Ok(())
}

fn image_mip_levels(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { mips: 5, ..ImageInfo::flat(vk::Format::R32_UINT, 16, 16) };
    let image = gpu.image(info)?;
    let input: Vec<u32> = (0..341).collect();
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(341 * 4)?);
    let places = [0, 256, 320, 336, 340];
    let regions: Vec<_> = places.iter().zip(0..).map(|(at, mip)| level(&info, mip, at * 4)).collect();
    gpu.run(|c| {
        c.to_layout(image.handle, UNDEFINED, TO);
        c.copy_buffer_to_image(from.handle, image.handle, TO, &regions);
        c.to_layout(image.handle, TO, FROM);
        c.copy_image_to_buffer(image.handle, FROM, to.handle, &regions);
    })?;
    same!(to.words(), input, "texels");
    Ok(())
}

fn image_mip_chain_by_blits(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { mips: 4, ..ImageInfo::flat(RGBA8, 8, 8) };
    let image = gpu.image(info)?;
    let to = gpu.buffer(4)?;
    gpu.run(|c| {
        c.to_layout(image.handle, UNDEFINED, GENERAL);
        let first = vk::ImageSubresourceRange { level_count: 1, ..WHOLE };
        c.clear_color_image(
            image.handle,
            GENERAL,
            &vk::ClearColorValue { float32: [0.0, 1.0, 0.0, 1.0] },
            &[first],
        );
        for mip in 1..4 {
            c.barrier();
            let side = |mip: u32| vk::Offset3D { x: 8 >> mip, y: 8 >> mip, z: 1 };
            let region = vk::ImageBlit {
                src_subresource: layers(mip - 1, 0, 1),
                src_offsets: [ORIGIN, side(mip - 1)],
                dst_subresource: layers(mip, 0, 1),
                dst_offsets: [ORIGIN, side(mip)],
            };
            c.blit_image(image.handle, GENERAL, image.handle, GENERAL, &[region], vk::Filter::LINEAR);
        }
        c.barrier();
        c.copy_image_to_buffer(image.handle, GENERAL, to.handle, &[level(&info, 3, 0)]);
    })?;
    same!(to.words(), [0xff00_ff00], "the last level");
    Ok(())
}

fn image_array_layers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { layers: 6, ..ImageInfo::flat(vk::Format::R32_UINT, 4, 4) };
    let image = gpu.image(info)?;
    let input: Vec<u32> = (0..96).collect();
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(64)?);
    gpu.run(|c| {
        upload(c, from, &image);
        c.to_layout(image.handle, TO, FROM);
        let region = vk::BufferImageCopy { image_subresource: layers(0, 4, 1), ..level(&info, 0, 0) };
        c.copy_image_to_buffer(image.handle, FROM, to.handle, &[region]);
    })?;
    same!(to.words(), input[64..80], "layer 4");
    round_trip(&gpu, info, bytemuck::cast_slice(&input))
}

fn image_1d(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { kind: vk::ImageType::TYPE_1D, layers: 3, ..ImageInfo::flat(RGBA8, 100, 1) };
    round_trip(&gpu, info, &bytes(1200))
}

fn image_3d(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo {
        kind: vk::ImageType::TYPE_3D,
        size: [12, 10, 6],
        ..ImageInfo::flat(vk::Format::R32_UINT, 12, 10)
    };
    round_trip(&gpu, info, &bytes(12 * 10 * 6 * 4))?;
    let image = gpu.image(info)?;
    let input: Vec<u32> = (0..720).collect();
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(480)?);
    gpu.run(|c| {
        upload(c, from, &image);
        c.to_layout(image.handle, TO, FROM);
        let slice = vk::BufferImageCopy {
            image_offset: vk::Offset3D { x: 0, y: 0, z: 4 },
            image_extent: extent([12, 10, 1]),
            ..level(&info, 0, 0)
        };
        c.copy_image_to_buffer(image.handle, FROM, to.handle, &[slice]);
    })?;
    same!(to.words(), input[480..600], "slice 4");
    Ok(())
}

fn image_linear_tiling(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo { tiling: vk::ImageTiling::LINEAR, ..ImageInfo::flat(RGBA8, 50, 20) };
    let there = gpu.physical.format(RGBA8).linear_tiling_features;
    case.need(there.contains(vk::FormatFeatureFlags::TRANSFER_DST), "linear images to copy to")?;
    let host = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let image = gpu.image_in(info, host)?;
    let input = bytes(50 * 20 * 4);
    let from = gpu.buffer_of(&input)?;
    gpu.run(|c| {
        upload(c, from, &image);
        c.to_layout(image.handle, TO, GENERAL);
    })?;
    let which =
        vk::ImageSubresource { aspect_mask: vk::ImageAspectFlags::COLOR, mip_level: 0, array_layer: 0 };
    let layout = gpu.get_image_subresource_layout(image.handle, which);
    ensure!(layout.row_pitch >= 200, "{layout:?}");
    for (row, y) in input.chunks(200).zip(0..) {
        let got = gpu.read_mapped(image.memory, layout.offset + y * layout.row_pitch, 200)?;
        same!(got, row, "row {y}");
    }
    case.digest(&[layout.offset, layout.row_pitch, layout.size]);
    Ok(())
}

fn image_layouts(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo::flat(RGBA8, 8, 8).used(
        vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::STORAGE | vk::ImageUsageFlags::COLOR_ATTACHMENT,
    );
    let image = gpu.image(info)?;
    let input = bytes(256);
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(256)?);
    let layouts = [
        TO,
        vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
        GENERAL,
        vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL,
        vk::ImageLayout::READ_ONLY_OPTIMAL,
        vk::ImageLayout::ATTACHMENT_OPTIMAL,
        FROM,
        GENERAL,
    ];
    gpu.run(|c| {
        upload(c, from, &image);
        for pair in layouts.windows(2) {
            c.to_layout(image.handle, pair[0], pair[1]);
        }
        download(c, &image, GENERAL, to);
    })?;
    same!(to.read::<u8>(0, 256), input, "bytes");
    Ok(())
}
