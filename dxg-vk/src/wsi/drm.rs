//! Formats of Wayland buffers, in the words of Vulkan.
//!
//! *Source.* `wl_shm.format` in `wayland.xml`: the codes of `drm_fourcc.h`, but for the two that every compositor has, which
//! are 0 and 1. Components are named from the highest bit of a little-endian word down.

use std::collections::BTreeSet;

use ash::vk;

/// A code made of four letters.
const fn fourcc(code: [u8; 4]) -> u32 {
    u32::from_le_bytes(code)
}

/// Pixels of four bytes: as a compositor calls them with alpha and without, and as Vulkan does.
struct Pixels {
    with_alpha: u32,
    opaque: u32,
    formats: &'static [vk::Format],
}

const PIXELS: &[Pixels] = &[
    Pixels { with_alpha: 0, opaque: 1, formats: &[vk::Format::B8G8R8A8_SRGB, vk::Format::B8G8R8A8_UNORM] },
    Pixels {
        with_alpha: fourcc(*b"AB24"),
        opaque: fourcc(*b"XB24"),
        formats: &[vk::Format::R8G8B8A8_SRGB, vk::Format::R8G8B8A8_UNORM],
    },
    Pixels {
        with_alpha: fourcc(*b"AR30"),
        opaque: fourcc(*b"XR30"),
        formats: &[vk::Format::A2R10G10B10_UNORM_PACK32],
    },
    Pixels {
        with_alpha: fourcc(*b"AB30"),
        opaque: fourcc(*b"XB30"),
        formats: &[vk::Format::A2B10G10R10_UNORM_PACK32],
    },
];

/// What can be shown by a compositor that takes these, in either way of treating alpha.
#[must_use]
pub fn formats(offered: &BTreeSet<u32>) -> Vec<vk::Format> {
    let both = |pixels: &&Pixels| offered.contains(&pixels.with_alpha) && offered.contains(&pixels.opaque);
    PIXELS.iter().filter(both).flat_map(|pixels| pixels.formats).copied().collect()
}

/// What a compositor that takes these calls a format; `None` when it does not take it.
#[must_use]
pub fn number(format: vk::Format, alpha: vk::CompositeAlphaFlagsKHR, offered: &BTreeSet<u32>) -> Option<u32> {
    let pixels = PIXELS.iter().find(|pixels| pixels.formats.contains(&format))?;
    let is_opaque = alpha == vk::CompositeAlphaFlagsKHR::OPAQUE;
    let number = if is_opaque { pixels.opaque } else { pixels.with_alpha };
    offered.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPAQUE: vk::CompositeAlphaFlagsKHR = vk::CompositeAlphaFlagsKHR::OPAQUE;
    const PRE_MULTIPLIED: vk::CompositeAlphaFlagsKHR = vk::CompositeAlphaFlagsKHR::PRE_MULTIPLIED;

    #[test]
    fn what_every_compositor_has_is_bgra() {
        let offered = BTreeSet::from([0, 1]);
        assert_eq!(formats(&offered), [vk::Format::B8G8R8A8_SRGB, vk::Format::B8G8R8A8_UNORM]);
        assert_eq!(number(vk::Format::B8G8R8A8_UNORM, PRE_MULTIPLIED, &offered), Some(0));
        assert_eq!(number(vk::Format::B8G8R8A8_SRGB, OPAQUE, &offered), Some(1));
        assert_eq!(number(vk::Format::R8G8B8A8_UNORM, OPAQUE, &offered), None);
        assert_eq!(number(vk::Format::R16G16_UNORM, OPAQUE, &offered), None);
    }

    #[test]
    fn codes_are_those_of_the_protocol() {
        // From wayland.xml.
        let (abgr8888, xbgr8888, argb2101010, xrgb2101010) =
            (0x3432_4241, 0x3432_4258, 0x3033_5241, 0x3033_5258);
        let offered = BTreeSet::from([abgr8888, xbgr8888, argb2101010, xrgb2101010]);
        assert_eq!(number(vk::Format::R8G8B8A8_SRGB, PRE_MULTIPLIED, &offered), Some(abgr8888));
        assert_eq!(number(vk::Format::R8G8B8A8_SRGB, OPAQUE, &offered), Some(xbgr8888));
        assert_eq!(number(vk::Format::A2R10G10B10_UNORM_PACK32, OPAQUE, &offered), Some(xrgb2101010));
        assert_eq!(number(vk::Format::A2R10G10B10_UNORM_PACK32, PRE_MULTIPLIED, &offered), Some(argb2101010));
    }

    #[test]
    fn format_without_one_of_its_ways_of_alpha_is_not_offered() {
        assert!(formats(&BTreeSet::from([0, fourcc(*b"XB24")])).is_empty());
    }
}
