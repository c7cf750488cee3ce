//! Graphics pipelines, and the render passes that say which of a pipeline's pointers count.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::time::Instant;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::pointers::find;
use super::pointers::optional;
use super::pointers::put;
use super::pointers::slice;
use super::pointers::slice_mut;
use crate::device::Device;
use crate::generated::commands;
use crate::generated::structs;
use crate::pipeline_scrub::Scrubbed;
use crate::subpasses::Attachment;
use crate::subpasses::SubpassUses;

fn use_of(is_used: impl Iterator<Item = u32>) -> Attachment {
    let mut attachments = is_used;
    if attachments.any(|attachment| attachment != vk::ATTACHMENT_UNUSED) {
        Attachment::Used
    } else {
        Attachment::Unused
    }
}

/// `vkCreateRenderPass`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_render_pass(
    device: vk::Device,
    info: *const vk::RenderPassCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    pass: *mut vk::RenderPass,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let parameters = unsafe { &*info };
    // SAFETY: the program passes an array of the length it names.
    let subpasses = unsafe { slice(parameters.p_subpasses, parameters.subpass_count) };
    guard_result(|| {
        let uses = subpasses.iter().map(|subpass| {
            // SAFETY: the program passes an array of the length it names.
            let color = unsafe { slice(subpass.p_color_attachments, subpass.color_attachment_count) };
            // SAFETY: the program passes null or a valid structure.
            let depth = unsafe { optional(subpass.p_depth_stencil_attachment) };
            SubpassUses {
                color: use_of(color.iter().map(|reference| reference.attachment)),
                depth_stencil: use_of(depth.into_iter().map(|reference| reference.attachment)),
            }
        });
        let id = device.objects.render_passes.insert(uses.collect()).map_err(vk::Result::from)?;
        // SAFETY: the program passes a valid structure.
        let body = |encoder: &mut Encoder| unsafe { commands::encode_create_render_pass(encoder, info, id) };
        device.post(VkOp::CREATE_RENDER_PASS, body)?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(pass, vk::RenderPass::from_raw(id)) };
        Ok(())
    })
}

/// `vkCreateRenderPass2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_render_pass2(
    device: vk::Device,
    info: *const vk::RenderPassCreateInfo2<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    pass: *mut vk::RenderPass,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let parameters = unsafe { &*info };
    // SAFETY: the program passes an array of the length it names.
    let subpasses = unsafe { slice(parameters.p_subpasses, parameters.subpass_count) };
    guard_result(|| {
        let uses = subpasses.iter().map(|subpass| {
            // SAFETY: the program passes an array of the length it names.
            let color = unsafe { slice(subpass.p_color_attachments, subpass.color_attachment_count) };
            // SAFETY: the program passes null or a valid structure.
            let depth = unsafe { optional(subpass.p_depth_stencil_attachment) };
            SubpassUses {
                color: use_of(color.iter().map(|reference| reference.attachment)),
                depth_stencil: use_of(depth.into_iter().map(|reference| reference.attachment)),
            }
        });
        let id = device.objects.render_passes.insert(uses.collect()).map_err(vk::Result::from)?;
        // SAFETY: the program passes a valid structure.
        let body = |encoder: &mut Encoder| unsafe { commands::encode_create_render_pass2(encoder, info, id) };
        device.post(VkOp::CREATE_RENDER_PASS2, body)?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(pass, vk::RenderPass::from_raw(id)) };
        Ok(())
    })
}

/// `vkDestroyRenderPass`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_render_pass(
    device: vk::Device,
    pass: vk::RenderPass,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // A lost device has nothing left to destroy.
        let destroy = || device.post(VkOp::DESTROY_RENDER_PASS, |encoder| encoder.u64(pass.as_raw()));
        device.objects.render_passes.remove_after(pass.as_raw(), destroy);
    });
}

/// What the pipeline's subpass, or its dynamic rendering, writes to.
///
/// # Safety
/// `info` and its chain are valid.
unsafe fn uses_of(device: &Device, info: &vk::GraphicsPipelineCreateInfo<'_>) -> SubpassUses {
    if !info.render_pass.is_null() {
        let uses = device.objects.render_passes.get(info.render_pass.as_raw());
        return uses.and_then(|uses| uses.get(info.subpass as usize).copied()).unwrap_or(SubpassUses::ALL);
    }
    // SAFETY: the caller passes a valid chain.
    let Some(rendering) = (unsafe { find::<vk::PipelineRenderingCreateInfo<'_>>(info.p_next) }) else {
        return SubpassUses::default();
    };
    let has_depth = rendering.depth_attachment_format != vk::Format::UNDEFINED
        || rendering.stencil_attachment_format != vk::Format::UNDEFINED;
    SubpassUses {
        color: if rendering.color_attachment_count > 0 { Attachment::Used } else { Attachment::Unused },
        depth_stencil: if has_depth { Attachment::Used } else { Attachment::Unused },
    }
}

/// `vkCreateGraphicsPipelines`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_graphics_pipelines(
    device: vk::Device,
    cache: vk::PipelineCache,
    count: u32,
    infos: *const vk::GraphicsPipelineCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    pipelines: *mut vk::Pipeline,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes an array of the length it names.
    let infos = unsafe { slice(infos, count) };
    // SAFETY: the program passes an array of the length it names; any bits are a handle.
    let places = unsafe { slice_mut(pipelines, count) };
    places.fill(vk::Pipeline::null());
    let mut result = vk::Result::SUCCESS;
    let status = guard_result(|| {
        let scrub = |info| {
            // SAFETY: a valid structure of the program, its chain included.
            let uses = unsafe { uses_of(device, info) };
            // SAFETY: as above.
            unsafe { Scrubbed::new(info, uses) }
        };
        let scrubbed: Vec<Scrubbed<'_>> = infos.iter().map(scrub).collect();
        let infos: Vec<_> = scrubbed.iter().map(Scrubbed::info).collect();
        let mut ids = Vec::with_capacity(infos.len());
        for _ in &infos {
            ids.push(device.new_id(ObjectKind::PIPELINE)?);
        }
        let body = |encoder: &mut Encoder| {
            // SAFETY: the structures live here, what they point to is the program's.
            unsafe {
                commands::encode_create_graphics_pipelines(encoder, cache, count, infos.as_ptr(), &ids);
            };
        };
        let began = Instant::now();
        let outcome = device.call(VkOp::CREATE_GRAPHICS_PIPELINES, body, |reply| {
            // SAFETY: the program passes an array of the length it names.
            unsafe { commands::reply_create_graphics_pipelines(reply, places.as_mut_ptr(), places.len()) }
        });
        if outcome.is_err() {
            places.fill(vk::Pipeline::null());
        }
        for (place, id) in places.iter().zip(ids) {
            if place.as_raw() != id {
                device.free_id(ObjectKind::PIPELINE, id);
            }
        }
        for info in &infos {
            // SAFETY: the chain is the program's, feedback in it may be written.
            unsafe { structs::tell_pipeline_feedback(info.p_next, began) };
        }
        result = outcome?;
        Ok(())
    });
    if status == vk::Result::SUCCESS { result } else { status }
}
