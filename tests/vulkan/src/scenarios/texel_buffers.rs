//! Buffers read and written as texels.

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::BufferInfo;
use crate::gpu::Gpu;
use crate::gpu::KernelInfo;
use crate::gpu::Resource;
use crate::shader;

scenarios![texel_buffer_copy, texel_buffer_formats, texel_buffer_ranges];

const WORDS: vk::Format = vk::Format::R32_UINT;

/// Copies texels of a format, from an offset, into words.
fn copy(
    gpu: &Gpu,
    format: vk::Format,
    input: &[u8],
    offset: u64,
    count: u32,
    range: u64,
) -> Result<Vec<u32>> {
    let texels = |size_bytes, usage| {
        gpu.buffer_with(BufferInfo { size_bytes, usage, allocate: vk::MemoryAllocateFlags::empty() })
    };
    let from = texels(input.len() as u64, vk::BufferUsageFlags::UNIFORM_TEXEL_BUFFER)?;
    from.write(0, input);
    let to = texels(u64::from(count) * 4, vk::BufferUsageFlags::STORAGE_TEXEL_BUFFER)?;
    let view = |buffer: vk::Buffer, format, offset, range| -> Result<vk::BufferView> {
        let create =
            vk::BufferViewCreateInfo::default().buffer(buffer).format(format).offset(offset).range(range);
        Ok(gpu.keep(gpu.create_buffer_view(&create)?))
    };
    let from = view(from.handle, format, offset, range)?;
    let to_view = view(to.handle, WORDS, 0, vk::WHOLE_SIZE)?;
    let kernel = gpu.kernel_with(KernelInfo {
        code: &shader::copy_texels()?,
        bindings: &[
            vk::DescriptorType::UNIFORM_TEXEL_BUFFER.into(),
            vk::DescriptorType::STORAGE_TEXEL_BUFFER.into(),
        ],
        ..KernelInfo::default()
    })?;
    let set = gpu.set(&kernel, &[Resource::UniformTexels(from), Resource::StorageTexels(to_view)])?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        c.dispatch(count, 1, 1);
    })?;
    Ok(to.words())
}

fn texel_buffer_copy(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input: Vec<u32> = (0..256).map(|i: u32| i.wrapping_mul(0x0101_0107)).collect();
    let got = copy(&gpu, WORDS, bytemuck::cast_slice(&input), 0, 256, vk::WHOLE_SIZE)?;
    same!(got, input, "texels");
    case.digest(&got);
    Ok(())
}

fn texel_buffer_formats(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input: Vec<u8> = (0..=255).collect();
    let formats =
        [vk::Format::R8_UINT, vk::Format::R16_UINT, vk::Format::R8G8B8A8_UINT, vk::Format::R32G32_UINT];
    for (format, width) in formats.into_iter().zip([1_usize, 2, 4, 8]) {
        let there = gpu.physical.format(format).buffer_features;
        ensure!(
            there.contains(vk::FormatFeatureFlags::UNIFORM_TEXEL_BUFFER) || format == vk::Format::R16_UINT,
            "{format:?} must be there"
        );
        if !there.contains(vk::FormatFeatureFlags::UNIFORM_TEXEL_BUFFER) {
            continue;
        }
        let got = copy(&gpu, format, &input, 0, u32::try_from(256 / width)?, vk::WHOLE_SIZE)?;
        // The first component of each texel.
        let component = if format == vk::Format::R8G8B8A8_UINT { 1 } else { width.min(4) };
        for (word, texel) in got.iter().zip(input.chunks(width)) {
            let want = texel[..component].iter().rev().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
            same!(*word, want, "{format:?}");
        }
        case.digest(&got);
    }
    Ok(())
}

fn texel_buffer_ranges(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input: Vec<u32> = (0..1024).collect();
    let offset = gpu.limits.min_texel_buffer_offset_alignment.max(64);
    let got = copy(&gpu, WORDS, bytemuck::cast_slice(&input), offset, 32, 128)?;
    let first = u32::try_from(offset / 4)?;
    same!(got, (first..first + 32).collect::<Vec<_>>(), "texels");
    Ok(())
}
