//! Writes to descriptor sets, as they travel, and the commands that bind sets.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::c_void;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;

use super::command::CommandBuffer;
use super::forward;
use super::guard::guard;
use super::handles;
use super::pointers::find;
use super::pointers::slice;
use crate::device::Device;
use crate::generated::commands;

/// What the descriptors of a type are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `VkDescriptorBufferInfo`.
    Buffers,
    /// `VkDescriptorImageInfo`.
    Images,
    /// `VkBufferView`.
    Texels,
    /// Bytes.
    Inline,
    /// What goes to the host as the program's structures.
    Other,
}

impl Class {
    #[inline]
    pub(super) fn of(kind: vk::DescriptorType) -> Self {
        match kind {
            vk::DescriptorType::UNIFORM_BUFFER
            | vk::DescriptorType::STORAGE_BUFFER
            | vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC
            | vk::DescriptorType::STORAGE_BUFFER_DYNAMIC => Self::Buffers,
            vk::DescriptorType::SAMPLER
            | vk::DescriptorType::COMBINED_IMAGE_SAMPLER
            | vk::DescriptorType::SAMPLED_IMAGE
            | vk::DescriptorType::STORAGE_IMAGE
            | vk::DescriptorType::INPUT_ATTACHMENT => Self::Images,
            vk::DescriptorType::UNIFORM_TEXEL_BUFFER | vk::DescriptorType::STORAGE_TEXEL_BUFFER => {
                Self::Texels
            }
            vk::DescriptorType::INLINE_UNIFORM_BLOCK => Self::Inline,
            _ => Self::Other,
        }
    }
}

/// What a write says before its descriptors.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) binding: u32,
    pub(super) element: u32,
    pub(super) count: u32,
    pub(super) kind: vk::DescriptorType,
}

impl Head {
    #[inline]
    fn words(self) -> [u32; 4] {
        [self.binding, self.element, self.count, self.kind.as_raw().cast_unsigned()]
    }

    #[inline]
    pub(super) fn put(self, encoder: &mut Encoder) {
        encoder.put_u32s(self.words());
    }
}

fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

/// Puts a buffer's range.
#[inline]
pub(super) fn put_buffer(encoder: &mut Encoder, info: &vk::DescriptorBufferInfo) {
    encoder.u64s(&[info.buffer.as_raw(), info.offset, info.range]);
}

/// Puts what has a meaning in this type of descriptor.
#[inline]
pub(super) fn put_image(encoder: &mut Encoder, kind: vk::DescriptorType, info: &vk::DescriptorImageInfo) {
    let has_sampler =
        matches!(kind, vk::DescriptorType::SAMPLER | vk::DescriptorType::COMBINED_IMAGE_SAMPLER);
    let sampler = if has_sampler { info.sampler.as_raw() } else { 0 };
    let (view, layout) = match kind {
        vk::DescriptorType::SAMPLER => (0, 0),
        _ => (info.image_view.as_raw(), info.image_layout.as_raw()),
    };
    encoder.put_u32s([low(sampler), high(sampler), low(view), high(view), layout.cast_unsigned()]);
}

/// Puts a write whose type is not [`Class::Other`].
///
/// # Safety
/// The write and what it points to are valid.
#[inline]
unsafe fn put_write(encoder: &mut Encoder, write: &vk::WriteDescriptorSet<'_>) {
    let kind = write.descriptor_type;
    let count = write.descriptor_count;
    let head = Head { binding: write.dst_binding, element: write.dst_array_element, count, kind };
    match Class::of(kind) {
        Class::Buffers => {
            // SAFETY: the caller passes an array of this length for this type.
            let infos = unsafe { slice(write.p_buffer_info, count) };
            if let [info] = infos {
                let [binding, element, count, kind] = head.words();
                let (buffer, offset, range) = (info.buffer.as_raw(), info.offset, info.range);
                // The most frequent write there is, in one step.
                return encoder.put_u32s([
                    binding,
                    element,
                    count,
                    kind,
                    low(buffer),
                    high(buffer),
                    low(offset),
                    high(offset),
                    low(range),
                    high(range),
                ]);
            }
            head.put(encoder);
            infos.iter().for_each(|info| put_buffer(encoder, info));
        }
        Class::Images => {
            head.put(encoder);
            // SAFETY: as above.
            let infos = unsafe { slice(write.p_image_info, count) };
            infos.iter().for_each(|info| put_image(encoder, kind, info));
        }
        Class::Texels => {
            head.put(encoder);
            // SAFETY: as above.
            let views = unsafe { slice(write.p_texel_buffer_view, count) };
            views.iter().for_each(|view| encoder.u64(view.as_raw()));
        }
        Class::Inline => {
            // SAFETY: the caller passes a valid chain.
            let block = unsafe { find::<vk::WriteDescriptorSetInlineUniformBlock<'_>>(write.p_next) };
            // SAFETY: the caller passes as many bytes as the block says.
            let bytes = block.map_or(&[][..], |block| unsafe { slice(block.p_data.cast(), block.data_size) });
            put_inline(encoder, head, bytes);
        }
        Class::Other => {}
    }
}

/// Puts a write of bytes.
pub(super) fn put_inline(encoder: &mut Encoder, head: Head, bytes: &[u8]) {
    let count = u32::try_from(bytes.len()).unwrap_or_default();
    Head { count, ..head }.put(encoder);
    encoder.bytes(bytes);
}

/// Writes that go to the host as they are, at once.
///
/// # Safety
/// The writes and copies are valid.
pub(super) unsafe fn post_as_they_are(
    device: &Device,
    writes: &[vk::WriteDescriptorSet<'_>],
    copies: &[vk::CopyDescriptorSet<'_>],
) -> Result<(), vk::Result> {
    for set in writes
        .iter()
        .map(|write| write.dst_set)
        .chain(copies.iter().flat_map(|copy| [copy.src_set, copy.dst_set]))
    {
        flush(device, set)?;
    }
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    device.post(VkOp::UPDATE_DESCRIPTOR_SETS, |encoder| {
        // SAFETY: as the caller promises.
        unsafe {
            commands::encode_update_descriptor_sets(
                encoder,
                count(writes.len()),
                writes.as_ptr(),
                count(copies.len()),
                copies.as_ptr(),
            );
        };
    })
}

/// Tells the host what it has not heard of a set; null is none.
#[inline]
pub(super) fn flush(device: &Device, set: vk::DescriptorSet) -> Result<(), vk::Result> {
    match device.objects.descriptor_sets.get(set.as_raw()) {
        Some(set) => set.flush(&device.stream),
        None => Ok(()),
    }
}

/// `vkUpdateDescriptorSets`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn update_descriptor_sets(
    device: vk::Device,
    write_count: u32,
    writes: *const vk::WriteDescriptorSet<'_>,
    copy_count: u32,
    copies: *const vk::CopyDescriptorSet<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes an array of the length it names.
    let writes = unsafe { slice(writes, write_count) };
    // SAFETY: as above.
    let copies = unsafe { slice(copies, copy_count) };
    // Not guarded, as in `allocate_descriptor_sets`; what goes to the host is.
    for write in writes {
        let set = device.objects.descriptor_sets.get(write.dst_set.as_raw());
        // A lost device has nothing left to update.
        let _ = match set {
            Some(set) if Class::of(write.descriptor_type) != Class::Other => {
                // SAFETY: the program passes valid writes.
                set.write(&device.stream, 1, |encoder| unsafe { put_write(encoder, write) })
            }
            // SAFETY: as above.
            _ => unsafe { post_as_they_are(device, std::slice::from_ref(write), &[]) },
        };
    }
    if !copies.is_empty() {
        // SAFETY: the program passes valid copies. A lost device has nothing left to update.
        let _ = unsafe { post_as_they_are(device, &[], copies) };
    }
}

/// Puts one entry of a template with the data of an update.
///
/// # Safety
/// `data` holds what the entry says, and its type is not [`Class::Other`].
pub(super) unsafe fn put_entry(
    encoder: &mut Encoder,
    entry: &vk::DescriptorUpdateTemplateEntry,
    data: *const c_void,
) {
    let kind = entry.descriptor_type;
    let count = entry.descriptor_count;
    let head = Head { binding: entry.dst_binding, element: entry.dst_array_element, count, kind };
    let first = data.cast::<u8>().wrapping_add(entry.offset);
    let place = |index: u32| first.wrapping_add(entry.stride.wrapping_mul(index as usize));
    let class = Class::of(kind);
    if class == Class::Inline {
        // SAFETY: the caller promises so many bytes.
        return put_inline(encoder, head, unsafe { slice(first, count) });
    }
    head.put(encoder);
    for index in 0..count {
        match class {
            Class::Buffers => {
                // SAFETY: the caller promises a value at this place; the program's data need not be aligned.
                let info = unsafe { place(index).cast::<vk::DescriptorBufferInfo>().read_unaligned() };
                put_buffer(encoder, &info);
            }
            Class::Images => {
                // SAFETY: as above.
                let info = unsafe { place(index).cast::<vk::DescriptorImageInfo>().read_unaligned() };
                put_image(encoder, kind, &info);
            }
            Class::Texels => {
                // SAFETY: as above.
                let view = unsafe { place(index).cast::<vk::BufferView>().read_unaligned() };
                encoder.u64(view.as_raw());
            }
            Class::Inline | Class::Other => {}
        }
    }
}

/// Tells the host of sets that a command is about to bind.
#[inline]
fn flush_all(buffer: &CommandBuffer, sets: &[vk::DescriptorSet]) {
    for set in sets {
        // The end of the recording says that the device is lost.
        let _ = flush(buffer.device(), *set);
    }
}

/// `vkCmdBindDescriptorSets`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn cmd_bind_descriptor_sets(
    buffer: vk::CommandBuffer,
    bind_point: vk::PipelineBindPoint,
    layout: vk::PipelineLayout,
    first: u32,
    count: u32,
    sets: *const vk::DescriptorSet,
    offset_count: u32,
    offsets: *const u32,
) {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let object = unsafe { handles::object_mut::<CommandBuffer>(buffer) };
    guard(|| {
        // SAFETY: the program passes an array of the length it names.
        flush_all(object, unsafe { slice(sets, count) });
        let encoder = object.recording();
        // SAFETY: as above.
        unsafe {
            commands::encode_cmd_bind_descriptor_sets(
                encoder,
                bind_point,
                layout,
                first,
                count,
                sets,
                offset_count,
                offsets,
            );
        };
    });
}

/// `vkCmdBindDescriptorSets2KHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn cmd_bind_descriptor_sets2_khr(
    buffer: vk::CommandBuffer,
    info: *const vk::BindDescriptorSetsInfoKHR<'_>,
) {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let object = unsafe { handles::object_mut::<CommandBuffer>(buffer) };
    guard(|| {
        // SAFETY: the program passes a valid structure.
        let parameters = unsafe { &*info };
        // SAFETY: as above, its array included.
        flush_all(object, unsafe { slice(parameters.p_descriptor_sets, parameters.descriptor_set_count) });
        // SAFETY: as above.
        unsafe { commands::encode_cmd_bind_descriptor_sets2_khr(object.recording(), info) };
    });
}
