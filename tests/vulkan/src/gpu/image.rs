//! Images with memory of their own.

use anyhow::Context as _;
use anyhow::Result;
use ash::vk;

use super::Gpu;

/// An image with its memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    pub(crate) handle: vk::Image,
    pub(crate) memory: vk::DeviceMemory,
    pub(crate) info: ImageInfo,
}

/// What an image is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageInfo {
    pub(crate) kind: vk::ImageType,
    pub(crate) format: vk::Format,
    pub(crate) size: [u32; 3],
    pub(crate) mips: u32,
    pub(crate) layers: u32,
    pub(crate) tiling: vk::ImageTiling,
    pub(crate) usage: vk::ImageUsageFlags,
    pub(crate) flags: vk::ImageCreateFlags,
    pub(crate) samples: vk::SampleCountFlags,
}

impl ImageInfo {
    /// A plain image of two dimensions for copies.
    pub(crate) fn flat(format: vk::Format, width: u32, height: u32) -> Self {
        Self {
            kind: vk::ImageType::TYPE_2D,
            format,
            size: [width, height, 1],
            mips: 1,
            layers: 1,
            tiling: vk::ImageTiling::OPTIMAL,
            usage: vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::TRANSFER_DST,
            flags: vk::ImageCreateFlags::empty(),
            samples: vk::SampleCountFlags::TYPE_1,
        }
    }

    /// The same with more uses.
    pub(crate) fn used(self, usage: vk::ImageUsageFlags) -> Self {
        Self { usage: self.usage | usage, ..self }
    }

    /// The aspects of its format.
    pub(crate) fn aspects(&self) -> vk::ImageAspectFlags {
        match self.format {
            vk::Format::D16_UNORM | vk::Format::X8_D24_UNORM_PACK32 | vk::Format::D32_SFLOAT => {
                vk::ImageAspectFlags::DEPTH
            }
            vk::Format::S8_UINT => vk::ImageAspectFlags::STENCIL,
            vk::Format::D16_UNORM_S8_UINT
            | vk::Format::D24_UNORM_S8_UINT
            | vk::Format::D32_SFLOAT_S8_UINT => vk::ImageAspectFlags::DEPTH | vk::ImageAspectFlags::STENCIL,
            _ => vk::ImageAspectFlags::COLOR,
        }
    }

    /// As Vulkan wants it.
    pub(crate) fn create_info(&self) -> vk::ImageCreateInfo<'static> {
        vk::ImageCreateInfo::default()
            .image_type(self.kind)
            .format(self.format)
            .extent(extent(self.size))
            .mip_levels(self.mips)
            .array_layers(self.layers)
            .samples(self.samples)
            .tiling(self.tiling)
            .usage(self.usage)
            .flags(self.flags)
    }
}

/// An extent.
pub(crate) fn extent(size: [u32; 3]) -> vk::Extent3D {
    vk::Extent3D { width: size[0], height: size[1], depth: size[2] }
}

/// Layers of one mip level.
pub(crate) fn layers(mip_level: u32, first: u32, count: u32) -> vk::ImageSubresourceLayers {
    vk::ImageSubresourceLayers {
        aspect_mask: vk::ImageAspectFlags::COLOR,
        mip_level,
        base_array_layer: first,
        layer_count: count,
    }
}

/// All of a color image.
pub(crate) const WHOLE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: vk::REMAINING_MIP_LEVELS,
    base_array_layer: 0,
    layer_count: vk::REMAINING_ARRAY_LAYERS,
};

impl Gpu {
    /// An image in memory of the first type that fits and has `flags`.
    pub(crate) fn image_in(&self, info: ImageInfo, flags: vk::MemoryPropertyFlags) -> Result<Image> {
        let handle = self.keep(self.create_image(&info.create_info()).context("vkCreateImage")?);
        let needs = self.get_image_memory_requirements(handle);
        let memory_type =
            self.memory_type(needs.memory_type_bits, flags).context("no memory type for the image")?;
        let allocate =
            vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(memory_type);
        let memory = self.keep(self.allocate_memory(&allocate).context("vkAllocateMemory")?);
        self.bind_image_memory(handle, memory, 0)?;
        Ok(Image { handle, memory, info })
    }

    /// An image.
    pub(crate) fn image(&self, info: ImageInfo) -> Result<Image> {
        self.image_in(info, vk::MemoryPropertyFlags::empty())
    }

    /// A view of a part of an image.
    pub(crate) fn view_of(
        &self,
        image: &Image,
        kind: vk::ImageViewType,
        range: vk::ImageSubresourceRange,
    ) -> Result<vk::ImageView> {
        let create = vk::ImageViewCreateInfo::default()
            .image(image.handle)
            .view_type(kind)
            .format(image.info.format)
            .subresource_range(range);
        Ok(self.keep(self.create_image_view(&create)?))
    }

    /// A view of all of a flat image.
    pub(crate) fn view(&self, image: &Image) -> Result<vk::ImageView> {
        let range = vk::ImageSubresourceRange { aspect_mask: image.info.aspects(), ..WHOLE };
        self.view_of(image, vk::ImageViewType::TYPE_2D, range)
    }
}
