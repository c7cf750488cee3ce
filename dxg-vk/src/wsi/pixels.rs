//! How pixels of window systems lie in memory, in the words of Vulkan.

use ash::vk;

/// The formats of 32-bit pixels, little end first, whose red, green and blue are under these masks; the one that is encoded as
/// displays want it first. None when no format lies so.
#[must_use]
pub fn formats_of_masks(red: u32, green: u32, blue: u32) -> &'static [vk::Format] {
    match (red, green, blue) {
        (0x00ff_0000, 0xff00, 0xff) => &[vk::Format::B8G8R8A8_SRGB, vk::Format::B8G8R8A8_UNORM],
        (0xff, 0xff00, 0x00ff_0000) => &[vk::Format::R8G8B8A8_SRGB, vk::Format::R8G8B8A8_UNORM],
        (0x3ff0_0000, 0x000f_fc00, 0x3ff) => &[vk::Format::A2R10G10B10_UNORM_PACK32],
        (0x3ff, 0x000f_fc00, 0x3ff0_0000) => &[vk::Format::A2B10G10R10_UNORM_PACK32],
        _ => &[],
    }
}

/// The part of a picture of this size that `damage` covers, layers aside; all of it when there is none.
pub fn bounds(damage: &[vk::RectLayerKHR], extent: vk::Extent2D) -> vk::Rect2D {
    let clip = |at: i64, limit: u32| u32::try_from(at.clamp(0, i64::from(limit))).unwrap_or(limit);
    let (mut left, mut top, mut right, mut bottom) = (extent.width, extent.height, 0, 0);
    for rect in damage {
        let (x, y) = (i64::from(rect.offset.x), i64::from(rect.offset.y));
        left = left.min(clip(x, extent.width));
        top = top.min(clip(y, extent.height));
        right = right.max(clip(x + i64::from(rect.extent.width), extent.width));
        bottom = bottom.max(clip(y + i64::from(rect.extent.height), extent.height));
    }
    if damage.is_empty() {
        return vk::Rect2D { offset: vk::Offset2D::default(), extent };
    }
    if left >= right || top >= bottom {
        return vk::Rect2D::default();
    }
    let place = |at: u32| i32::try_from(at).unwrap_or(i32::MAX);
    vk::Rect2D {
        offset: vk::Offset2D { x: place(left), y: place(top) },
        extent: vk::Extent2D { width: right - left, height: bottom - top },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: i32, y: i32, width: u32, height: u32) -> vk::RectLayerKHR {
        vk::RectLayerKHR { offset: vk::Offset2D { x, y }, extent: vk::Extent2D { width, height }, layer: 0 }
    }

    #[test]
    fn bounds_of_several_rectangles_hold_all_and_stay_inside() {
        let extent = vk::Extent2D { width: 100, height: 50 };
        let all = bounds(&[rect(10, 5, 10, 10), rect(90, 40, 100, 100)], extent);
        assert_eq!((all.offset.x, all.offset.y, all.extent.width, all.extent.height), (10, 5, 90, 45));
        let outside = bounds(&[rect(-20, -20, 10, 10)], extent);
        assert_eq!(outside, vk::Rect2D::default());
        assert_eq!(bounds(&[], extent).extent, extent);
        let huge = bounds(&[rect(i32::MAX, i32::MIN, u32::MAX, u32::MAX)], extent);
        assert_eq!(huge, vk::Rect2D::default());
    }

    #[test]
    fn masks_that_no_format_has_give_none() {
        assert!(formats_of_masks(0xf800, 0x7e0, 0x1f).is_empty());
        assert_eq!(formats_of_masks(0xff0000, 0xff00, 0xff)[1], vk::Format::B8G8R8A8_UNORM);
    }
}
