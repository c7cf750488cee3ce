//! What a physical device says about itself.

use std::ffi::CStr;
use std::ffi::CString;
use std::sync::Arc;

use anyhow::Context as _;
use anyhow::Result;
use ash::prelude::VkResult;
use ash::vk;

use super::Instance;

/// A physical device with its instance.
#[derive(Clone)]
pub(crate) struct Physical {
    pub(crate) instance: Arc<Instance>,
    pub(crate) raw: vk::PhysicalDevice,
}

impl Physical {
    /// Makes an instance and takes its device of this number.
    pub(crate) fn open(index: usize) -> Result<Self> {
        Self::of(Arc::new(Instance::new()?), index)
    }

    /// Takes a device of an instance.
    pub(crate) fn of(instance: Arc<Instance>, index: usize) -> Result<Self> {
        let devices = instance.physical_devices().context("vkEnumeratePhysicalDevices")?;
        let raw =
            *devices.get(index).with_context(|| format!("{} devices, none is {index}", devices.len()))?;
        Ok(Self { instance, raw })
    }

    /// The properties of Vulkan 1.0.
    pub(crate) fn properties(&self) -> vk::PhysicalDeviceProperties {
        // SAFETY: the physical device lives as long as its instance.
        unsafe { self.instance.raw.get_physical_device_properties(self.raw) }
    }

    /// Fills a chain of properties.
    pub(crate) fn properties2(&self, chain: &mut vk::PhysicalDeviceProperties2<'_>) {
        // SAFETY: as above; the chain holds structures of Vulkan 1.3.
        unsafe { self.instance.raw.get_physical_device_properties2(self.raw, chain) };
    }

    /// The features of Vulkan 1.0.
    pub(crate) fn features(&self) -> vk::PhysicalDeviceFeatures {
        // SAFETY: the physical device lives as long as its instance.
        unsafe { self.instance.raw.get_physical_device_features(self.raw) }
    }

    /// Fills a chain of features.
    pub(crate) fn features2(&self, chain: &mut vk::PhysicalDeviceFeatures2<'_>) {
        // SAFETY: as above; the chain holds structures of Vulkan 1.3.
        unsafe { self.instance.raw.get_physical_device_features2(self.raw, chain) };
    }

    /// The queue families.
    pub(crate) fn queue_families(&self) -> Vec<vk::QueueFamilyProperties> {
        // SAFETY: the physical device lives as long as its instance.
        unsafe { self.instance.raw.get_physical_device_queue_family_properties(self.raw) }
    }

    /// The queue families, asked the newer way.
    pub(crate) fn queue_families2(&self) -> Vec<vk::QueueFamilyProperties> {
        // SAFETY: the physical device lives as long as its instance.
        let count = unsafe { self.instance.raw.get_physical_device_queue_family_properties2_len(self.raw) };
        let mut families = vec![vk::QueueFamilyProperties2::default(); count];
        // SAFETY: `families` has as many elements as the device said.
        unsafe { self.instance.raw.get_physical_device_queue_family_properties2(self.raw, &mut families) };
        families.iter().map(|family| family.queue_family_properties).collect()
    }

    /// Heaps and types.
    pub(crate) fn memory(&self) -> vk::PhysicalDeviceMemoryProperties {
        // SAFETY: the physical device lives as long as its instance.
        unsafe { self.instance.raw.get_physical_device_memory_properties(self.raw) }
    }

    /// Heaps and types, asked the newer way.
    pub(crate) fn memory2(&self) -> vk::PhysicalDeviceMemoryProperties {
        let mut memory = vk::PhysicalDeviceMemoryProperties2::default();
        // SAFETY: the physical device lives as long as its instance; the chain is empty.
        unsafe { self.instance.raw.get_physical_device_memory_properties2(self.raw, &mut memory) };
        memory.memory_properties
    }

    /// Heaps and types with a chain.
    pub(crate) fn memory2_chain(&self, chain: &mut vk::PhysicalDeviceMemoryProperties2<'_>) {
        // SAFETY: the physical device lives as long as its instance; the device has the structures of the chain.
        unsafe { self.instance.raw.get_physical_device_memory_properties2(self.raw, chain) };
    }

    /// What a format can do.
    pub(crate) fn format(&self, format: vk::Format) -> vk::FormatProperties {
        // SAFETY: the format is one of Vulkan 1.3.
        unsafe { self.instance.raw.get_physical_device_format_properties(self.raw, format) }
    }

    /// What a format can do, asked the newer way.
    pub(crate) fn format2(&self, format: vk::Format) -> vk::FormatProperties {
        let mut out = vk::FormatProperties2::default();
        // SAFETY: the format is one of Vulkan 1.3; the chain is empty.
        unsafe { self.instance.raw.get_physical_device_format_properties2(self.raw, format, &mut out) };
        out.format_properties
    }

    /// What images of a kind can be.
    pub(crate) fn image_format(
        &self,
        info: &vk::PhysicalDeviceImageFormatInfo2<'_>,
    ) -> VkResult<vk::ImageFormatProperties> {
        let mut out = vk::ImageFormatProperties2::default();
        // SAFETY: `info` is complete, the chains are empty.
        unsafe { self.instance.raw.get_physical_device_image_format_properties2(self.raw, info, &mut out) }?;
        Ok(out.image_format_properties)
    }

    /// The same question in its first form.
    pub(crate) fn image_format_1_0(
        &self,
        info: &vk::PhysicalDeviceImageFormatInfo2<'_>,
    ) -> VkResult<vk::ImageFormatProperties> {
        let (format, kind, tiling) = (info.format, info.ty, info.tiling);
        // SAFETY: the values are ones of Vulkan 1.0.
        unsafe {
            self.instance.raw.get_physical_device_image_format_properties(
                self.raw, format, kind, tiling, info.usage, info.flags,
            )
        }
    }

    /// The same question in both forms, with `before` where the answers go: result and place of each.
    pub(crate) fn image_format_over(
        &self,
        info: &vk::PhysicalDeviceImageFormatInfo2<'_>,
        before: vk::ImageFormatProperties,
    ) -> [(vk::Result, vk::ImageFormatProperties); 2] {
        let mut first = before;
        let call = self.instance.raw.fp_v1_0().get_physical_device_image_format_properties;
        let (format, kind, tiling) = (info.format, info.ty, info.tiling);
        // SAFETY: the values are ones of Vulkan 1.0; `first` is ours.
        let result = unsafe { call(self.raw, format, kind, tiling, info.usage, info.flags, &raw mut first) };
        let mut second = vk::ImageFormatProperties2 { image_format_properties: before, ..Default::default() };
        // SAFETY: `info` is complete, the chains are empty.
        let result2 = unsafe {
            self.instance.raw.get_physical_device_image_format_properties2(self.raw, info, &mut second)
        };
        let result2 = result2.err().unwrap_or(vk::Result::SUCCESS);
        [(result, first), (result2, second.image_format_properties)]
    }

    /// The names of the device extensions.
    pub(crate) fn extensions(&self) -> VkResult<Vec<CString>> {
        // SAFETY: the physical device lives as long as its instance.
        let found = unsafe { self.instance.raw.enumerate_device_extension_properties(self.raw) }?;
        Ok(found.iter().filter_map(|one| one.extension_name_as_c_str().ok().map(CStr::to_owned)).collect())
    }

    /// `vkEnumerateDeviceExtensionProperties` with room for `room` of them, or only counting: result, count, names.
    pub(crate) fn extensions_within(&self, room: Option<u32>) -> (vk::Result, u32, Vec<CString>) {
        let mut out = vec![vk::ExtensionProperties::default(); room.unwrap_or(0) as usize];
        let mut count = room.unwrap_or(0);
        let to = if room.is_some() { out.as_mut_ptr() } else { std::ptr::null_mut() };
        let call = self.instance.raw.fp_v1_0().enumerate_device_extension_properties;
        // SAFETY: `to` is null or has room for `count` elements; no layer is named.
        let result = unsafe { call(self.raw, std::ptr::null(), &mut count, to) };
        let names = out.iter().take(count as usize);
        let names = names.filter_map(|one| one.extension_name_as_c_str().ok().map(CStr::to_owned)).collect();
        (result, count, names)
    }
}
