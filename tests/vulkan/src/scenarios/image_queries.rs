//! What images need and how they lie in memory.

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;
use crate::gpu::ImageInfo;

scenarios![
    image_requirements_three_ways,
    image_dedicated_allocation,
    image_subresource_layouts,
    images_and_buffers_in_one_allocation,
    image_churn,
];

fn kinds() -> Vec<ImageInfo> {
    let mut kinds = Vec::new();
    for format in [vk::Format::R8_UNORM, vk::Format::R8G8B8A8_UNORM, vk::Format::R32G32B32A32_SFLOAT] {
        let flat = ImageInfo::flat(format, 100, 60);
        kinds.extend([
            flat,
            ImageInfo { mips: 5, ..flat },
            ImageInfo { layers: 7, ..flat },
            ImageInfo { kind: vk::ImageType::TYPE_3D, size: [20, 30, 9], ..flat },
            ImageInfo { kind: vk::ImageType::TYPE_1D, size: [77, 1, 1], ..flat },
            ImageInfo { tiling: vk::ImageTiling::LINEAR, ..flat },
            flat.used(vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::STORAGE),
        ]);
    }
    kinds
}

fn image_requirements_three_ways(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for info in kinds() {
        let create = info.create_info();
        let image = gpu.keep(gpu.create_image(&create)?);
        let first = gpu.get_image_memory_requirements(image);
        let mut second = vk::MemoryRequirements2::default();
        let asked = vk::ImageMemoryRequirementsInfo2::default().image(image);
        gpu.get_image_memory_requirements2(&asked, &mut second);
        let mut third = vk::MemoryRequirements2::default();
        let asked = vk::DeviceImageMemoryRequirements::default().create_info(&create);
        gpu.get_device_image_memory_requirements(&asked, &mut third);
        let first = format!("{first:?}");
        same!(first, format!("{:?}", second.memory_requirements), "{info:?}");
        same!(first, format!("{:?}", third.memory_requirements), "{info:?}");
        case.digest_text(&first);
    }
    Ok(())
}

fn image_dedicated_allocation(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo::flat(vk::Format::R8G8B8A8_UNORM, 64, 64);
    let image = gpu.keep(gpu.create_image(&info.create_info())?);
    let mut dedicated = vk::MemoryDedicatedRequirements::default();
    let mut needs = vk::MemoryRequirements2::default().push_next(&mut dedicated);
    gpu.get_image_memory_requirements2(&vk::ImageMemoryRequirementsInfo2::default().image(image), &mut needs);
    let needs = needs.memory_requirements;
    let memory_type = gpu.memory_type(needs.memory_type_bits, vk::MemoryPropertyFlags::empty());
    let mut for_image = vk::MemoryDedicatedAllocateInfo::default().image(image);
    let allocate = vk::MemoryAllocateInfo::default()
        .allocation_size(needs.size)
        .memory_type_index(memory_type.unwrap_or(0))
        .push_next(&mut for_image);
    let memory = gpu.keep(gpu.allocate_memory(&allocate)?);
    gpu.bind_image_memory2(&[vk::BindImageMemoryInfo::default().image(image).memory(memory)])?;
    works(&gpu, image, info)?;
    case.digest(&[dedicated.prefers_dedicated_allocation, dedicated.requires_dedicated_allocation]);
    Ok(())
}

/// Clears an image and looks at it.
fn works(gpu: &Gpu, image: vk::Image, info: ImageInfo) -> Result<()> {
    let out = gpu.buffer(u64::from(info.size[0] * info.size[1] * 4))?;
    let (undefined, general) = (vk::ImageLayout::UNDEFINED, vk::ImageLayout::GENERAL);
    gpu.run(|c| {
        c.to_layout(image, undefined, general);
        let color = vk::ClearColorValue { float32: [1.0, 1.0, 0.0, 0.0] };
        c.clear_color_image(image, general, &color, &[crate::gpu::WHOLE]);
        c.barrier();
        let region = vk::BufferImageCopy {
            image_subresource: crate::gpu::layers(0, 0, 1),
            image_extent: crate::gpu::extent(info.size),
            ..Default::default()
        };
        c.copy_image_to_buffer(image, general, out.handle, &[region]);
    })?;
    ensure!(out.words().iter().all(|word| *word == 0xffff), "texels differ");
    Ok(())
}

fn image_subresource_layouts(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for (width, height) in [(1, 1), (50, 20), (64, 64), (333, 7)] {
        let info = ImageInfo {
            tiling: vk::ImageTiling::LINEAR,
            ..ImageInfo::flat(vk::Format::R8G8B8A8_UNORM, width, height)
        };
        let image = gpu.keep(gpu.create_image(&info.create_info())?);
        let which =
            vk::ImageSubresource { aspect_mask: vk::ImageAspectFlags::COLOR, mip_level: 0, array_layer: 0 };
        let layout = gpu.get_image_subresource_layout(image, which);
        ensure!(layout.row_pitch >= u64::from(width) * 4, "{layout:?}");
        ensure!(layout.size >= layout.row_pitch * u64::from(height - 1) + u64::from(width) * 4, "{layout:?}");
        case.digest_text(&layout);
    }
    Ok(())
}

fn images_and_buffers_in_one_allocation(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let info = ImageInfo::flat(vk::Format::R8G8B8A8_UNORM, 32, 32);
    let images =
        (0..8).map(|_| Ok(gpu.keep(gpu.create_image(&info.create_info())?))).collect::<Result<Vec<_>>>()?;
    let needs = gpu.get_image_memory_requirements(images[0]);
    let stride = needs.size.next_multiple_of(needs.alignment.max(gpu.limits.buffer_image_granularity));
    let memory_type = gpu.memory_type(needs.memory_type_bits, vk::MemoryPropertyFlags::empty());
    let allocate = vk::MemoryAllocateInfo::default()
        .allocation_size(stride * 8)
        .memory_type_index(memory_type.unwrap_or(0));
    let memory = gpu.keep(gpu.allocate_memory(&allocate)?);
    for (image, i) in images.iter().zip(0..) {
        gpu.bind_image_memory(*image, memory, i * stride)?;
    }
    for image in images {
        works(&gpu, image, info)?;
    }
    Ok(())
}

fn image_churn(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for side in 1..1000 {
        let info = ImageInfo::flat(vk::Format::R8G8B8A8_UNORM, side % 64 + 1, side % 31 + 1);
        let image = gpu.create_image(&info.create_info())?;
        ensure!(gpu.get_image_memory_requirements(image).size > 0, "an image of no bytes");
        gpu.destroy(image);
    }
    gpu.destroy(vk::Image::null());
    Ok(())
}
