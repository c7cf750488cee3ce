//! Buffers and images on imported memory: what a guest calls an opaque descriptor is a host pointer here.
//!
//! *Why.* Memory that guests share, and on most devices all memory that they map, reaches the driver as imported host
//! pointers. Vulkan wants buffers and images on imported memory to say so when they are created, whether or not the program
//! knows: a program that asks for opaque descriptors says so itself, for any other it is said here. Buffers always; images
//! only where every memory type is imported, because drivers lay out images for sharing differently.

use ash::vk;
use dxg_wire::quick_map::QuickMap;

use super::chain::Chain;
use super::driver::Driver;
use super::memory::HostPointers;

/// What imported memory is for the driver.
const HOST_POINTER: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;
/// Answers kept of each kind; beyond that they are asked again.
const MAX_KNOWN: usize = 4096;

/// What images of a kind are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ImageKind {
    format: vk::Format,
    kind: vk::ImageType,
    tiling: vk::ImageTiling,
    usage: vk::ImageUsageFlags,
    flags: vk::ImageCreateFlags,
}

/// Which buffers and images can be on imported memory, as far as it was asked.
#[derive(Debug)]
pub(crate) struct Imports {
    /// Whether host pointers are imported at all.
    any: bool,
    /// Whether every memory type is imported.
    all: bool,
    buffers: QuickMap<(vk::BufferCreateFlags, vk::BufferUsageFlags), bool>,
    images: QuickMap<ImageKind, bool>,
}

impl Imports {
    /// Nothing asked yet.
    pub(crate) fn new(driver: &Driver, host_pointers: HostPointers) -> Self {
        let types = 0..driver.memory.memory_type_count;
        let is_imported = |index| 1_u32.checked_shl(index).is_some_and(|bit| host_pointers.types & bit != 0);
        Self {
            any: host_pointers.types != 0,
            all: types.clone().all(is_imported),
            buffers: QuickMap::default(),
            images: QuickMap::default(),
        }
    }

    /// Says of a buffer that its memory is imported, where the driver allows that. `own` is for the chain.
    pub(crate) fn of_buffer(
        &mut self,
        driver: &Driver,
        info: &mut vk::BufferCreateInfo<'static>,
        own: &mut vk::ExternalMemoryBufferCreateInfo<'static>,
    ) {
        let key = (info.flags, info.usage);
        let known = self.buffers.get(&key).copied();
        let can = self.any && known.unwrap_or_else(|| imports_buffers(driver, key));
        if known.is_none() {
            remember(&mut self.buffers, key, can);
        }
        let types = if can { HOST_POINTER } else { vk::ExternalMemoryHandleTypeFlags::empty() };
        // SAFETY:
        // - the chain was decoded for this call and is used by nothing else.
        let mut chain = unsafe { Chain::new(info.p_next) };
        if let Some(external) = chain.find::<vk::ExternalMemoryBufferCreateInfo<'_>>() {
            external.handle_types = types;
        } else if can {
            own.handle_types = types;
            own.p_next = info.p_next;
            info.p_next = (&raw const *own).cast();
        }
    }

    /// Says of an image that its memory is imported, where the driver allows that and it is so. `own` is for the chain.
    pub(crate) fn of_image(
        &mut self,
        driver: &Driver,
        info: &mut vk::ImageCreateInfo<'static>,
        own: &mut vk::ExternalMemoryImageCreateInfo<'static>,
    ) {
        // SAFETY:
        // - the chain was decoded for this call and is used by nothing else.
        let mut chain = unsafe { Chain::new(info.p_next) };
        let external = chain.find::<vk::ExternalMemoryImageCreateInfo<'_>>();
        let asked = external.as_ref().is_some_and(|external| !external.handle_types.is_empty());
        // What is in such an image before its first use is not the driver's to know.
        let may = self.any && info.initial_layout == vk::ImageLayout::UNDEFINED && (asked || self.all);
        let can = may && self.imports_image(driver, info);
        let types = if can { HOST_POINTER } else { vk::ExternalMemoryHandleTypeFlags::empty() };
        if let Some(external) = external {
            external.handle_types = types;
        } else if can {
            own.handle_types = types;
            own.p_next = info.p_next;
            info.p_next = (&raw const *own).cast();
        }
    }

    fn imports_image(&mut self, driver: &Driver, info: &vk::ImageCreateInfo<'_>) -> bool {
        let vk::ImageCreateInfo { format, tiling, usage, flags, .. } = *info;
        let key = ImageKind { format, kind: info.image_type, tiling, usage, flags };
        let known = self.images.get(&key).copied();
        let can = known.unwrap_or_else(|| imports_images(driver, key));
        if known.is_none() {
            remember(&mut self.images, key, can);
        }
        can
    }
}

fn remember<K: Eq + std::hash::Hash>(known: &mut QuickMap<K, bool>, key: K, can: bool) {
    if known.len() >= MAX_KNOWN {
        known.clear();
    }
    known.insert(key, can);
}

fn is_importable(properties: vk::ExternalMemoryProperties) -> bool {
    properties.external_memory_features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE)
        && properties.compatible_handle_types.contains(HOST_POINTER)
}

fn imports_buffers(driver: &Driver, (flags, usage): (vk::BufferCreateFlags, vk::BufferUsageFlags)) -> bool {
    let info =
        vk::PhysicalDeviceExternalBufferInfo::default().flags(flags).usage(usage).handle_type(HOST_POINTER);
    let mut properties = vk::ExternalBufferProperties::default();
    let instance = &driver.library.instance;
    // SAFETY:
    // - the device came from this instance and is of version 1.1 or newer; both structures live through the call.
    unsafe {
        instance.get_physical_device_external_buffer_properties(
            driver.physical_device,
            &info,
            &mut properties,
        );
    }
    is_importable(properties.external_memory_properties)
}

fn imports_images(driver: &Driver, image: ImageKind) -> bool {
    let mut asked = vk::PhysicalDeviceExternalImageFormatInfo::default().handle_type(HOST_POINTER);
    let info = vk::PhysicalDeviceImageFormatInfo2::default()
        .format(image.format)
        .ty(image.kind)
        .tiling(image.tiling)
        .usage(image.usage)
        .flags(image.flags)
        .push_next(&mut asked);
    let mut external = vk::ExternalImageFormatProperties::default();
    let mut properties = vk::ImageFormatProperties2::default().push_next(&mut external);
    let instance = &driver.library.instance;
    // SAFETY:
    // - the device came from this instance and is of version 1.1 or newer; all structures live through the call.
    let answer = unsafe {
        instance.get_physical_device_image_format_properties2(driver.physical_device, &info, &mut properties)
    };
    answer.is_ok() && is_importable(external.external_memory_properties)
}

/// Makes a guest's question about images a question about imported memory, where it asks about opaque descriptors.
pub(crate) fn of_question(info: &vk::PhysicalDeviceImageFormatInfo2<'_>) {
    // SAFETY:
    // - the chain was decoded for this call and is used by nothing else.
    let mut chain = unsafe { Chain::new(info.p_next) };
    if let Some(external) = chain.find::<vk::PhysicalDeviceExternalImageFormatInfo<'_>>()
        && external.handle_type == vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD
    {
        external.handle_type = HOST_POINTER;
    }
}
