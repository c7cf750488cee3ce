//! Queues: submission, sparse binding, waiting.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::op;
use tracing::debug;

use super::fence;
use super::forward;
use super::guard::guard_result;
use super::pointers::find;
use super::pointers::slice;
use super::sync_fd;
use crate::device::Device;
use crate::external::payload::Use;
use crate::external::semaphore::Act;
use crate::external::semaphore::resolve as resolve_use;
use crate::generated::structs;
use crate::queue::Queue;
use crate::wait;
use crate::wait::Target;
use crate::wait::Which;

/// What a queue handle means.
#[derive(Debug)]
pub(crate) struct QueueObject {
    /// The device.
    pub(crate) device: Arc<Device>,
    /// Position of the queue in [`Device::queues`].
    pub(crate) position: usize,
}

impl QueueObject {
    fn queue(&self) -> Result<&Queue, vk::Result> {
        self.device.queues.get(self.position).ok_or(vk::Result::ERROR_DEVICE_LOST)
    }
}

/// A semaphore with a value and stages, in a submission.
struct SemaphoreUse {
    semaphore: u64,
    value: u64,
    stages: u64,
}

/// One batch of a submission.
struct Batch {
    flags: u32,
    waits: Vec<SemaphoreUse>,
    command_buffers: Vec<u64>,
    signals: Vec<SemaphoreUse>,
}

impl Batch {
    /// Whether nothing is to be done and nobody told.
    fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.command_buffers.is_empty() && self.signals.is_empty()
    }

    fn encode(&self, encoder: &mut Encoder) {
        encoder.u32(self.flags);
        encode_uses(encoder, &self.waits);
        encoder.u32(count(self.command_buffers.len()));
        for id in &self.command_buffers {
            encoder.u64(*id);
        }
        encode_uses(encoder, &self.signals);
    }
}

fn encode_uses(encoder: &mut Encoder, uses: &[SemaphoreUse]) {
    encoder.u32(count(uses.len()));
    for used in uses {
        encoder.u64(used.semaphore);
        encoder.u64(used.value);
        encoder.u64(used.stages);
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Puts one operation of a queue on the stream and makes `fence` pending on it.
///
/// # Safety
/// `fence` is null or a live fence.
unsafe fn advance(
    object: &QueueObject,
    op: u16,
    fence: vk::Fence,
    body: impl FnOnce(&mut Encoder),
) -> Result<(), vk::Result> {
    let queue = object.queue()?;
    let mut submitted = queue.submitted.lock();
    let sequence = *submitted + 1;
    object.device.post_now(VkOp(op), |encoder| {
        encoder.u32(queue.number);
        encoder.u64(sequence);
        body(encoder);
    })?;
    *submitted = sequence;
    if !fence.is_null() {
        let point = queue.point(sequence);
        // SAFETY: not null, so the caller passes a live fence.
        unsafe { fence::pend(fence, point) };
    }
    Ok(())
}

/// Makes `fence` pending on what was submitted before: a submission of nothing is complete with that, and stays here.
///
/// # Safety
/// `fence` is null or a live fence.
unsafe fn follow(object: &QueueObject, fence: vk::Fence) -> Result<(), vk::Result> {
    object.device.stream.check()?;
    if !fence.is_null() {
        let queue = object.queue()?;
        let point = queue.point(*queue.submitted.lock());
        // SAFETY: not null, so the caller passes a live fence.
        unsafe { fence::pend(fence, point) };
    }
    Ok(())
}

/// Names the payloads of semaphores that others share, and has the last batch signal a fence that they share.
///
/// # Safety
/// `fence` is null or a live fence.
unsafe fn resolve(device: &Device, fence: vk::Fence, batches: &mut Vec<Batch>) {
    let name = |act: Act, used: &mut SemaphoreUse| {
        let resolved = resolve_use(device, act, Use { id: used.semaphore, value: used.value });
        (used.semaphore, used.value) = (resolved.id, resolved.value);
    };
    for batch in &mut *batches {
        batch.waits.iter_mut().for_each(|used| name(Act::Wait, used));
        batch.signals.iter_mut().for_each(|used| name(Act::Signal, used));
    }
    if fence.is_null() {
        return;
    }
    // SAFETY: not null, so the caller passes a live fence.
    let Some(payload) = unsafe { fence::fence_of(fence) }.payload() else { return };
    let Use { id, value } = payload.signal(0);
    let signal =
        SemaphoreUse { semaphore: id, value, stages: vk::PipelineStageFlags2::ALL_COMMANDS.as_raw() };
    match batches.last_mut() {
        Some(last) => last.signals.push(signal),
        None => batches.push(Batch {
            flags: 0,
            waits: Vec::new(),
            command_buffers: Vec::new(),
            signals: vec![signal],
        }),
    }
}

fn submit(object: &QueueObject, fence: vk::Fence, mut batches: Vec<Batch>) -> Result<(), vk::Result> {
    if object.device.may_share_sync() {
        // SAFETY: the entry points pass on the program's fence, null or live.
        unsafe { resolve(&object.device, fence, &mut batches) };
    }
    if batches.iter().all(Batch::is_empty) {
        // SAFETY: the entry points pass on the program's fence, null or live.
        return unsafe { follow(object, fence) };
    }
    let body = |encoder: &mut Encoder| {
        encoder.u32(count(batches.len()));
        for batch in &batches {
            batch.encode(encoder);
        }
    };
    // SAFETY: the entry points pass on the program's fence, null or live.
    unsafe { advance(object, op::QUEUE_SUBMIT, fence, body) }
}

/// Submits command buffers after some semaphores and before others, all of them binary; says when that is complete.
///
/// # Errors
/// Device lost.
pub(super) fn submit_between(
    object: &QueueObject,
    waits: &[vk::Semaphore],
    command_buffers: Vec<u64>,
    signals: &[vk::Semaphore],
    fence: vk::Fence,
) -> Result<Target, vk::Result> {
    let stages = vk::PipelineStageFlags2::ALL_COMMANDS.as_raw();
    let uses = |semaphores: &[vk::Semaphore]| {
        let used = semaphores.iter();
        used.map(|semaphore| SemaphoreUse { semaphore: semaphore.as_raw(), value: 0, stages }).collect()
    };
    let batch = Batch { flags: 0, waits: uses(waits), command_buffers, signals: uses(signals) };
    submit(object, fence, vec![batch])?;
    Ok(object.queue()?.idle())
}

/// # Safety
/// As Vulkan demands of `vkQueueSubmit`.
unsafe fn batch_of(info: &vk::SubmitInfo<'_>) -> Batch {
    // SAFETY: the program passes a valid chain.
    let timeline = unsafe { find::<vk::TimelineSemaphoreSubmitInfo<'_>>(info.p_next) };
    // SAFETY: as above.
    let protected = unsafe { find::<vk::ProtectedSubmitInfo<'_>>(info.p_next) };
    let (wait_values, signal_values): (&[u64], &[u64]) = match timeline {
        Some(timeline) => {
            // SAFETY: the program passes arrays of the lengths it names.
            let waits =
                unsafe { slice(timeline.p_wait_semaphore_values, timeline.wait_semaphore_value_count) };
            let count = timeline.signal_semaphore_value_count;
            // SAFETY: as above.
            (waits, unsafe { slice(timeline.p_signal_semaphore_values, count) })
        }
        None => (&[], &[]),
    };
    // SAFETY: the program passes arrays of the lengths it names.
    let waits = unsafe { slice(info.p_wait_semaphores, info.wait_semaphore_count) };
    // SAFETY: as above.
    let stages = unsafe { slice(info.p_wait_dst_stage_mask, info.wait_semaphore_count) };
    // SAFETY: as above.
    let buffers = unsafe { slice(info.p_command_buffers, info.command_buffer_count) };
    // SAFETY: as above.
    let signals = unsafe { slice(info.p_signal_semaphores, info.signal_semaphore_count) };
    let value = |values: &[u64], index: usize| values.get(index).copied().unwrap_or_default();
    let wait_uses = waits.iter().zip(stages).enumerate().map(|(index, (semaphore, stages))| SemaphoreUse {
        semaphore: semaphore.as_raw(),
        value: value(wait_values, index),
        stages: u64::from(stages.as_raw()),
    });
    let signal_uses = signals.iter().enumerate().map(|(index, semaphore)| SemaphoreUse {
        semaphore: semaphore.as_raw(),
        value: value(signal_values, index),
        stages: vk::PipelineStageFlags2::ALL_COMMANDS.as_raw(),
    });
    let is_protected = protected.is_some_and(|protected| protected.protected_submit == vk::TRUE);
    Batch {
        flags: if is_protected { vk::SubmitFlags::PROTECTED.as_raw() } else { 0 },
        waits: wait_uses.collect(),
        // SAFETY: the program passes live command buffers.
        command_buffers: buffers
            .iter()
            .map(|buffer| unsafe { forward::command_buffer_id(*buffer) })
            .collect(),
        signals: signal_uses.collect(),
    }
}

/// # Safety
/// As Vulkan demands of `vkQueueSubmit2`.
unsafe fn batch_of_2(info: &vk::SubmitInfo2<'_>) -> Batch {
    let uses = |infos: &[vk::SemaphoreSubmitInfo<'_>]| {
        let used = infos.iter().map(|info| SemaphoreUse {
            semaphore: info.semaphore.as_raw(),
            value: info.value,
            stages: info.stage_mask.as_raw(),
        });
        used.collect()
    };
    // SAFETY: the program passes arrays of the lengths it names.
    let waits = unsafe { slice(info.p_wait_semaphore_infos, info.wait_semaphore_info_count) };
    // SAFETY: as above.
    let buffers = unsafe { slice(info.p_command_buffer_infos, info.command_buffer_info_count) };
    // SAFETY: as above.
    let signals = unsafe { slice(info.p_signal_semaphore_infos, info.signal_semaphore_info_count) };
    let id = |buffer: &vk::CommandBufferSubmitInfo<'_>| {
        // SAFETY: the program passes live command buffers.
        unsafe { forward::command_buffer_id(buffer.command_buffer) }
    };
    Batch {
        flags: info.flags.as_raw(),
        waits: uses(waits),
        command_buffers: buffers.iter().map(id).collect(),
        signals: uses(signals),
    }
}

/// `vkQueueSubmit`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn queue_submit(
    queue: vk::Queue,
    submit_count: u32,
    submits: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: the program passes a live queue.
    let object = unsafe { forward::queue(queue) };
    // SAFETY: the program passes an array of the length it names.
    let submits = unsafe { slice(submits, submit_count) };
    guard_result(|| {
        // SAFETY: each element is a submission of the program.
        let batches: Vec<Batch> = submits.iter().map(|info| unsafe { batch_of(info) }).collect();
        submit(object, fence, batches)
    })
}

/// `vkQueueSubmit2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn queue_submit2(
    queue: vk::Queue,
    submit_count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: the program passes a live queue.
    let object = unsafe { forward::queue(queue) };
    // SAFETY: the program passes an array of the length it names.
    let submits = unsafe { slice(submits, submit_count) };
    guard_result(|| {
        // SAFETY: each element is a submission of the program.
        let batches: Vec<Batch> = submits.iter().map(|info| unsafe { batch_of_2(info) }).collect();
        submit(object, fence, batches)
    })
}

/// Whether a bind waits for or signals a semaphore that others share.
fn binds_share_semaphores(device: &Device, binds: &[vk::BindSparseInfo<'_>]) -> bool {
    binds.iter().any(|bind| {
        // SAFETY: the program passes arrays of the lengths it names.
        let waits = unsafe { slice(bind.p_wait_semaphores, bind.wait_semaphore_count) };
        // SAFETY: as above.
        let signals = unsafe { slice(bind.p_signal_semaphores, bind.signal_semaphore_count) };
        waits.iter().chain(signals).any(|semaphore| sync_fd::is_shared(device, *semaphore))
    })
}

/// `vkQueueBindSparse`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn queue_bind_sparse(
    queue: vk::Queue,
    bind_count: u32,
    binds: *const vk::BindSparseInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: the program passes a live queue.
    let object = unsafe { forward::queue(queue) };
    // SAFETY: the program passes an array of the length it names.
    let binds = unsafe { slice(binds, bind_count) };
    guard_result(|| {
        let body = |encoder: &mut Encoder| {
            encoder.u32(bind_count);
            for bind in binds {
                // SAFETY: each element is a valid structure of the program.
                unsafe { structs::enc_bind_sparse_info(encoder, bind) };
            }
        };
        if object.device.may_share_sync() {
            if binds_share_semaphores(&object.device, binds) {
                // A wait for another process would have to become one of the host's before the bind.
                debug!("sparse binding with a semaphore that others share");
                return Err(vk::Result::ERROR_UNKNOWN);
            }
            // SAFETY: there is no fence.
            unsafe { advance(object, op::QUEUE_BIND_SPARSE, vk::Fence::null(), body) }?;
            // A fence that others share is signalled by a submission, in the order of the queue.
            return submit(object, fence, Vec::new());
        }
        // SAFETY: the program passes a fence that is null or live.
        unsafe { advance(object, op::QUEUE_BIND_SPARSE, fence, body) }
    })
}

/// `vkQueueWaitIdle`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn queue_wait_idle(queue: vk::Queue) -> vk::Result {
    // SAFETY: the program passes a live queue.
    let object = unsafe { forward::queue(queue) };
    guard_result(|| {
        let idle = object.queue()?.idle();
        wait::wait(&[idle], Which::All, None, &*object.device)?;
        // An idle queue of a lost device is lost all the same.
        object.device.check()
    })
}

/// `vkDeviceWaitIdle`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn device_wait_idle(device: vk::Device) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        wait::wait(&device.idle(), Which::All, None, &**device)?;
        device.check()
    })
}
