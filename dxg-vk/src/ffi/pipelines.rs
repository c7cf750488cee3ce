//! Graphics pipelines, and the render passes that say which of a pipeline's pointers count.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::pointers::find;
use super::pointers::put;
use super::pointers::slice;
use super::pointers::slice_mut;
use crate::device::Device;
use crate::generated::commands;
use crate::pipeline_scrub::Scrubbed;
use crate::pipeline_scrub::SubpassUses;

fn is_used(attachment: u32) -> bool {
    attachment != vk::ATTACHMENT_UNUSED
}
