//! Descriptor update templates, which live in the guest alone: an update with one becomes ordinary writes.
//!
//! A template handle is a pointer to a [`Template`].
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers; the data of an update is untyped memory.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::c_void;

use ash::vk;
use ash::vk::Handle;

use super::descriptor_writes::Class;
use super::descriptor_writes::post_as_they_are;
use super::descriptor_writes::put_entry;
use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::pointers::put;
use super::pointers::slice;
use crate::generated::commands;

/// A template.
#[derive(Debug)]
struct Template {
    bind_point: vk::PipelineBindPoint,
    entries: Vec<vk::DescriptorUpdateTemplateEntry>,
    /// How many entries there are.
    count: u32,
    /// Whether each entry can be kept until the set is bound.
    is_plain: bool,
}

/// The descriptors of one write, gathered from the data of an update.
enum Gathered {
    Images(Vec<vk::DescriptorImageInfo>),
    Buffers(Vec<vk::DescriptorBufferInfo>),
    Texels(Vec<vk::BufferView>),
    Inline(*const c_void),
    Structures(Vec<vk::AccelerationStructureKHR>),
}

/// # Safety
/// `template` is a live template.
unsafe fn template_of<'a>(template: vk::DescriptorUpdateTemplate) -> &'a Template {
    let pointer = template.as_raw() as *const Template;
    // SAFETY: the caller passes a live template, which is a pointer that `create_descriptor_update_template` made.
    unsafe { &*pointer }
}

/// Reads `entry.descriptor_count` values that lie `entry.stride` apart.
///
/// # Safety
/// `data` holds them where the entry says.
unsafe fn gather_values<T>(entry: &vk::DescriptorUpdateTemplateEntry, data: *const c_void) -> Vec<T> {
    let first = data.cast::<u8>().wrapping_add(entry.offset);
    let value = |index: u32| {
        let place = first.wrapping_add(entry.stride.wrapping_mul(index as usize)).cast::<T>();
        // SAFETY: the caller promises a value at this place; the program's data need not be aligned.
        unsafe { place.read_unaligned() }
    };
    (0..entry.descriptor_count).map(value).collect()
}

/// # Safety
/// `data` is what the template describes.
unsafe fn gather(entry: &vk::DescriptorUpdateTemplateEntry, data: *const c_void) -> Gathered {
    match entry.descriptor_type {
        vk::DescriptorType::SAMPLER
        | vk::DescriptorType::COMBINED_IMAGE_SAMPLER
        | vk::DescriptorType::SAMPLED_IMAGE
        | vk::DescriptorType::STORAGE_IMAGE
        | vk::DescriptorType::INPUT_ATTACHMENT => {
            // SAFETY: the type says what the data holds.
            Gathered::Images(unsafe { gather_values(entry, data) })
        }
        vk::DescriptorType::UNIFORM_TEXEL_BUFFER | vk::DescriptorType::STORAGE_TEXEL_BUFFER => {
            // SAFETY: the type says what the data holds.
            Gathered::Texels(unsafe { gather_values(entry, data) })
        }
        vk::DescriptorType::INLINE_UNIFORM_BLOCK => {
            Gathered::Inline(data.cast::<u8>().wrapping_add(entry.offset).cast())
        }
        vk::DescriptorType::ACCELERATION_STRUCTURE_KHR => {
            // SAFETY: the type says what the data holds.
            Gathered::Structures(unsafe { gather_values(entry, data) })
        }
        _ => {
            // SAFETY: the other types are buffers.
            Gathered::Buffers(unsafe { gather_values(entry, data) })
        }
    }
}

/// Runs `use_writes` with the writes that an update of `set` with `data` means.
///
/// # Safety
/// `data` is what the template describes.
unsafe fn with_writes(
    template: &Template,
    set: vk::DescriptorSet,
    data: *const c_void,
    use_writes: impl FnOnce(&[vk::WriteDescriptorSet<'_>]),
) {
    // SAFETY: as the caller promises.
    let gathered: Vec<Gathered> =
        template.entries.iter().map(|entry| unsafe { gather(entry, data) }).collect();
    let entries = || template.entries.iter().zip(&gathered);
    let inline: Vec<_> = entries()
        .map(|(entry, gathered)| {
            let mut block = vk::WriteDescriptorSetInlineUniformBlock::default();
            if let Gathered::Inline(bytes) = gathered {
                block.data_size = entry.descriptor_count;
                block.p_data = *bytes;
            }
            block
        })
        .collect();
    let structures: Vec<_> = entries()
        .map(|(_, gathered)| {
            let mut write = vk::WriteDescriptorSetAccelerationStructureKHR::default();
            if let Gathered::Structures(structures) = gathered {
                write = write.acceleration_structures(structures);
            }
            write
        })
        .collect();
    let writes: Vec<_> = entries()
        .zip(inline.iter().zip(&structures))
        .map(|((entry, gathered), (inline, structures))| {
            let mut write = vk::WriteDescriptorSet {
                dst_set: set,
                dst_binding: entry.dst_binding,
                dst_array_element: entry.dst_array_element,
                descriptor_count: entry.descriptor_count,
                descriptor_type: entry.descriptor_type,
                ..Default::default()
            };
            match gathered {
                Gathered::Images(images) => write.p_image_info = images.as_ptr(),
                Gathered::Buffers(buffers) => write.p_buffer_info = buffers.as_ptr(),
                Gathered::Texels(views) => write.p_texel_buffer_view = views.as_ptr(),
                Gathered::Inline(_) => write.p_next = std::ptr::from_ref(inline).cast(),
                Gathered::Structures(_) => write.p_next = std::ptr::from_ref(structures).cast(),
            }
            write
        })
        .collect();
    use_writes(&writes);
}

/// `vkCreateDescriptorUpdateTemplate`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_descriptor_update_template(
    _device: vk::Device,
    info: *const vk::DescriptorUpdateTemplateCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    template: *mut vk::DescriptorUpdateTemplate,
) -> vk::Result {
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: the program passes an array of the length it names.
    let entries = unsafe { slice(info.p_descriptor_update_entries, info.descriptor_update_entry_count) };
    guard_result(|| {
        let state = Template {
            bind_point: info.pipeline_bind_point,
            entries: entries.to_vec(),
            count: info.descriptor_update_entry_count,
            is_plain: entries.iter().all(|entry| Class::of(entry.descriptor_type) != Class::Other),
        };
        let pointer = Box::into_raw(Box::new(state));
        // SAFETY: the program passes a place for the handle.
        unsafe { put(template, vk::DescriptorUpdateTemplate::from_raw(pointer as u64)) };
        Ok(())
    })
}

/// `vkDestroyDescriptorUpdateTemplate`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_descriptor_update_template(
    device: vk::Device,
    template: vk::DescriptorUpdateTemplate,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if !template.is_null() {
        // SAFETY: the program passes a live device.
        let device = unsafe { forward::device(device) };
        device.private_data.forget(vk::ObjectType::DESCRIPTOR_UPDATE_TEMPLATE, template.as_raw());
        // SAFETY: not null, so a pointer that `create_descriptor_update_template` made with `Box::into_raw`, and nothing
        // uses it any more.
        drop(unsafe { Box::from_raw(template.as_raw() as *mut Template) });
    }
}

/// `vkUpdateDescriptorSetWithTemplate`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn update_descriptor_set_with_template(
    device: vk::Device,
    set: vk::DescriptorSet,
    template: vk::DescriptorUpdateTemplate,
    data: *const c_void,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a live template.
    let template = unsafe { template_of(template) };
    guard(|| {
        let known = device.objects.descriptor_sets.get(set.as_raw());
        // A lost device has nothing left to update.
        let _ = match known {
            Some(set) if template.is_plain => set.write(&device.stream, template.count, |encoder| {
                for entry in &template.entries {
                    // SAFETY: the program passes the data that the template describes; a plain one is of these types.
                    unsafe { put_entry(encoder, entry, data) };
                }
            }),
            _ => {
                let mut posted = Ok(());
                let post = |writes: &[vk::WriteDescriptorSet<'_>]| {
                    // SAFETY: the writes and what they point to live until `with_writes` returns.
                    posted = unsafe { post_as_they_are(device, writes, &[]) };
                };
                // SAFETY: the program passes the data that the template describes.
                unsafe { with_writes(template, set, data, post) };
                posted
            }
        };
    });
}

/// `vkCmdPushDescriptorSetWithTemplateKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn cmd_push_descriptor_set_with_template_khr(
    buffer: vk::CommandBuffer,
    template: vk::DescriptorUpdateTemplate,
    layout: vk::PipelineLayout,
    set: u32,
    data: *const c_void,
) {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let recording = unsafe { forward::record(buffer) };
    // SAFETY: the program passes a live template.
    let template = unsafe { template_of(template) };
    guard(|| {
        let push = |writes: &[vk::WriteDescriptorSet<'_>]| {
            let count = u32::try_from(writes.len()).unwrap_or(u32::MAX);
            // SAFETY: the writes and what they point to live until `with_writes` returns.
            unsafe {
                commands::encode_cmd_push_descriptor_set_khr(
                    recording,
                    template.bind_point,
                    layout,
                    set,
                    count,
                    writes.as_ptr(),
                );
            };
        };
        // SAFETY: the program passes the data that the template describes.
        unsafe { with_writes(template, vk::DescriptorSet::null(), data, push) };
    });
}
