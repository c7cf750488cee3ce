//! Graphics pipeline parameters without the pointers that Vulkan says to ignore.
//!
//! *Why.* Programs leave rubbish in pointers that do not count. Forwarding follows pointers, so those must go first.

// UNSAFETY: looks at structures of the program to see which others count.
#![expect(unsafe_code, reason = "parameters of the program are pointers")]

use std::ptr;

use ash::vk;

use super::pointers::find;
use super::pointers::optional;
use super::pointers::slice;
use crate::subpasses::Attachment;
use crate::subpasses::SubpassUses;

/// Parameters of which every pointer counts.
#[derive(Debug)]
pub(crate) struct Scrubbed<'a> {
    info: vk::GraphicsPipelineCreateInfo<'a>,
    viewport: Option<Box<vk::PipelineViewportStateCreateInfo<'a>>>,
}

/// Which states a pipeline library leaves out.
fn library_parts(info: &vk::GraphicsPipelineCreateInfo<'_>) -> vk::GraphicsPipelineLibraryFlagsEXT {
    // SAFETY: the caller of `Scrubbed::new` vouches for the chain.
    let library = unsafe { find::<vk::GraphicsPipelineLibraryCreateInfoEXT<'_>>(info.p_next) };
    // SAFETY: as above.
    let linked = unsafe { find::<vk::PipelineLibraryCreateInfoKHR<'_>>(info.p_next) };
    match (library, linked) {
        (Some(library), _) => library.flags,
        // A pipeline linked from libraries without parts of its own has its state in them.
        (None, Some(linked)) if linked.library_count > 0 => vk::GraphicsPipelineLibraryFlagsEXT::empty(),
        _ => {
            vk::GraphicsPipelineLibraryFlagsEXT::VERTEX_INPUT_INTERFACE
                | vk::GraphicsPipelineLibraryFlagsEXT::PRE_RASTERIZATION_SHADERS
                | vk::GraphicsPipelineLibraryFlagsEXT::FRAGMENT_SHADER
                | vk::GraphicsPipelineLibraryFlagsEXT::FRAGMENT_OUTPUT_INTERFACE
        }
    }
}

impl<'a> Scrubbed<'a> {
    /// Takes out of `info` what does not count in a subpass that has these attachments.
    ///
    /// # Safety
    /// `info` is as Vulkan demands of `vkCreateGraphicsPipelines`.
    pub(crate) unsafe fn new(info: &vk::GraphicsPipelineCreateInfo<'a>, uses: SubpassUses) -> Self {
        let mut info = *info;
        let parts = library_parts(&info);
        let has_vertex_input = parts.contains(vk::GraphicsPipelineLibraryFlagsEXT::VERTEX_INPUT_INTERFACE);
        let has_pre_rasterization =
            parts.contains(vk::GraphicsPipelineLibraryFlagsEXT::PRE_RASTERIZATION_SHADERS);
        let has_fragment = parts.contains(vk::GraphicsPipelineLibraryFlagsEXT::FRAGMENT_SHADER);
        let has_output = parts.contains(vk::GraphicsPipelineLibraryFlagsEXT::FRAGMENT_OUTPUT_INTERFACE);
        if !has_pre_rasterization && !has_fragment {
            info.stage_count = 0;
            info.p_stages = ptr::null();
        }
        // SAFETY: the caller vouches for the arrays; an absent one has no elements.
        let stages = unsafe { slice(info.p_stages, info.stage_count) };
        let stages = stages.iter().fold(vk::ShaderStageFlags::empty(), |all, stage| all | stage.stage);
        // SAFETY: the caller vouches for the structure.
        let dynamic = unsafe { optional(info.p_dynamic_state) };
        // SAFETY: as above.
        let dynamic = dynamic
            .map_or(&[][..], |state| unsafe { slice(state.p_dynamic_states, state.dynamic_state_count) });
        let is_dynamic = |state: vk::DynamicState| dynamic.contains(&state);

        let is_mesh = stages.contains(vk::ShaderStageFlags::MESH_EXT);
        if !has_vertex_input || is_mesh {
            info.p_vertex_input_state = ptr::null();
            info.p_input_assembly_state = ptr::null();
        }
        if is_dynamic(vk::DynamicState::VERTEX_INPUT_EXT) {
            info.p_vertex_input_state = ptr::null();
        }
        let tessellation =
            vk::ShaderStageFlags::TESSELLATION_CONTROL | vk::ShaderStageFlags::TESSELLATION_EVALUATION;
        if !has_pre_rasterization || !stages.contains(tessellation) {
            info.p_tessellation_state = ptr::null();
        }
        if !has_pre_rasterization {
            info.p_rasterization_state = ptr::null();
        }
        // SAFETY: the caller vouches for the structure where it counts, and it counts here.
        let rasterization = unsafe { optional(info.p_rasterization_state) };
        let discards = rasterization.is_some_and(|state| state.rasterizer_discard_enable == vk::TRUE)
            && !is_dynamic(vk::DynamicState::RASTERIZER_DISCARD_ENABLE);
        if discards || !has_pre_rasterization {
            info.p_viewport_state = ptr::null();
        }
        if discards || !(has_fragment || has_output) {
            info.p_multisample_state = ptr::null();
        }
        if discards || !has_fragment || uses.depth_stencil == Attachment::Unused {
            info.p_depth_stencil_state = ptr::null();
        }
        if discards || !has_output || uses.color == Attachment::Unused {
            info.p_color_blend_state = ptr::null();
        }
        // SAFETY: the caller vouches for the structure where it counts, and it counts here.
        let viewport = unsafe { optional(info.p_viewport_state) }.map(|state| {
            let mut state = Box::new(*state);
            if is_dynamic(vk::DynamicState::VIEWPORT) || is_dynamic(vk::DynamicState::VIEWPORT_WITH_COUNT) {
                state.p_viewports = ptr::null();
            }
            if is_dynamic(vk::DynamicState::SCISSOR) || is_dynamic(vk::DynamicState::SCISSOR_WITH_COUNT) {
                state.p_scissors = ptr::null();
            }
            state
        });
        Self { info, viewport }
    }

    /// The parameters. They point into `self`.
    pub(crate) fn info(&self) -> vk::GraphicsPipelineCreateInfo<'_> {
        let mut info = self.info;
        if let Some(viewport) = &self.viewport {
            info.p_viewport_state = &raw const **viewport;
        }
        info
    }
}
