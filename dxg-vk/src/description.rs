//! What a physical device is: the host's description, fetched once.
//!
//! *Why.* Properties, features, limits, formats and queue families do not change, so they are answered here. Structures of
//! extension chains are kept as the host encoded them, by type, and decoded into the caller's structure when asked for.

use std::collections::HashMap;

use ash::vk;

/// A body of an extension structure, encoded, by the structure's type.
pub type Structures = HashMap<i32, Box<[u8]>>;

/// A queue family.
#[derive(Clone, Debug, Default)]
pub struct QueueFamily {
    /// Its core properties.
    pub properties: vk::QueueFamilyProperties,
    /// What extension structures say of it.
    pub structures: Structures,
}

/// What a format can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Format {
    /// In 32 bits each.
    pub properties: vk::FormatProperties,
    /// Linear images, in 64 bits.
    pub linear: vk::FormatFeatureFlags2,
    /// Optimal images, in 64 bits.
    pub optimal: vk::FormatFeatureFlags2,
    /// Buffers, in 64 bits.
    pub buffer: vk::FormatFeatureFlags2,
}

/// A physical device, described.
#[derive(Debug, Default)]
pub struct Description {
    /// The version of Vulkan that it offers: the host's, at most ours.
    pub api_version: u32,
    /// Core properties.
    pub properties: vk::PhysicalDeviceProperties,
    /// Core features.
    pub features: vk::PhysicalDeviceFeatures,
    /// Memory types and heaps.
    pub memory: vk::PhysicalDeviceMemoryProperties,
    /// Memory types whose memory is ours and imported by the host.
    pub imported_types: u32,
    /// Alignment of imported memory.
    pub import_alignment_bytes: u64,
    /// Queue families.
    pub families: Vec<QueueFamily>,
    /// Extensions on offer.
    pub extensions: Vec<vk::ExtensionProperties>,
    /// Extension structures of the properties.
    pub property_structures: Structures,
    /// Extension structures of the features.
    pub feature_structures: Structures,
    /// Formats that can do anything.
    pub formats: HashMap<vk::Format, Format>,
    /// Largest allocation the host allows.
    pub max_allocation_bytes: u64,
}

impl Description {
    /// A memory type.
    #[must_use]
    pub fn memory_type(&self, index: u32) -> Option<vk::MemoryType> {
        self.memory.memory_types_as_slice().get(index as usize).copied()
    }

    /// Bytes of a memory heap; 0 for none.
    #[must_use]
    pub fn heap_bytes(&self, index: u32) -> u64 {
        self.memory.memory_heaps_as_slice().get(index as usize).map_or(0, |heap| heap.size)
    }

    /// Whether memory of this type is ours: the program can map it.
    #[must_use]
    pub fn is_imported(&self, index: u32) -> bool {
        self.memory_type(index).is_some_and(|kind| {
            kind.property_flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE)
                && self.imported_types.checked_shr(index).unwrap_or_default() & 1 == 1
        })
    }

    /// Takes host visibility from memory types that the host cannot share with us.
    pub fn hide_unshared_memory(&mut self) {
        let visible = vk::MemoryPropertyFlags::HOST_VISIBLE
            | vk::MemoryPropertyFlags::HOST_COHERENT
            | vk::MemoryPropertyFlags::HOST_CACHED;
        for index in 0..self.memory.memory_type_count {
            if !self.is_imported(index)
                && let Some(kind) = self.memory.memory_types.get_mut(index as usize)
            {
                kind.property_flags &= !visible;
            }
        }
    }

    /// Whether an extension is on offer.
    #[must_use]
    pub fn has_extension(&self, name: &str) -> bool {
        self.extensions.iter().any(|extension| {
            extension.extension_name_as_c_str().is_ok_and(|have| have.to_bytes() == name.as_bytes())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hide_unshared_memory_leaves_shared_types_visible() {
        let mut description = Description { imported_types: 0b01, ..Description::default() };
        description.memory.memory_type_count = 2;
        for kind in &mut description.memory.memory_types[..2] {
            kind.property_flags =
                vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::DEVICE_LOCAL;
        }
        description.hide_unshared_memory();
        assert!(description.is_imported(0));
        assert!(!description.is_imported(1));
        let hidden = description.memory.memory_types[1].property_flags;
        assert_eq!(hidden, vk::MemoryPropertyFlags::DEVICE_LOCAL);
    }

    #[test]
    fn memory_type_out_of_range_is_none() {
        let description = Description { imported_types: u32::MAX, ..Description::default() };
        assert!(description.memory_type(0).is_none());
        assert!(!description.is_imported(99));
        assert_eq!(description.heap_bytes(3), 0);
    }
}
