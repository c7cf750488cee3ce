//! Command pools and command buffers.
//!
//! *Why.* Recording is an append to a private buffer. The end of recording puts the whole on the device's stream, where
//! the host replays it at once into its own command buffer, so that a submission names command buffers only. A long recording
//! goes in parts, which the host replays while the program records the next.
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
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::op;

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::handles;
use super::pointers::put;
use super::pointers::slice;
use super::pointers::slice_mut;
use crate::device::Device;
use crate::generated::commands;
use crate::generated::structs;
use crate::parts::Parts;
use crate::parts::Recording;

/// Longer recordings go through leased memory instead of the ring.
const MAX_INLINE_BYTES: usize = 32 << 10;
/// A recording of so many bytes goes to the host in parts.
const PART_BYTES: usize = 64 << 10;
/// A recording that was longer gives its memory back when the command buffer is reset.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// A command buffer.
#[derive(Debug)]
pub(crate) struct CommandBuffer {
    /// Its id on the wire.
    pub(crate) id: u64,
    /// The entries recorded since it began, or since the last part.
    recording: Encoder,
    parts: Parts,
    device: Arc<Device>,
    level: vk::CommandBufferLevel,
    /// `VkCommandBufferBeginInfo` of the recording, encoded.
    begin: Encoder,
}

impl CommandBuffer {
    /// The device.
    #[inline]
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Where the next command is appended.
    #[inline]
    pub(crate) fn recording(&mut self) -> &mut Encoder {
        if self.recording.len() >= PART_BYTES {
            self.send_full_part();
        }
        &mut self.recording
    }

    #[cold]
    fn send_full_part(&mut self) {
        let Self { id, begin, recording: entries, .. } = self;
        self.parts.send(&self.device.stream, Recording { id: *id, begin, entries });
    }

    /// Gives up what the host has of an unfinished recording.
    fn abandon(&mut self) -> Result<(), vk::Result> {
        self.parts.abandon(&self.device.stream, self.id)
    }

    /// Forgets a recording, and its memory if there is much of it.
    fn forget(&mut self) {
        if self.recording.len() > MAX_KEPT_BYTES {
            self.recording = Encoder::new();
        } else {
            self.recording.clear();
        }
    }

    /// Puts the finished recording on the stream.
    fn end(&mut self) -> Result<(), vk::Result> {
        let Self { id, begin, recording: entries, .. } = self;
        let ended = self.parts.end(&self.device.stream, Recording { id: *id, begin, entries });
        if let Some(ended) = ended {
            return ended;
        }
        let stream = &self.device.stream;
        let recording = self.recording.as_slice();
        if recording.len() <= MAX_INLINE_BYTES {
            stream.post(VkOp(op::RECORD), |encoder| {
                encoder.u64(self.id);
                encoder.bytes(self.begin.as_slice());
                encoder.u32(0);
                encoder.count(recording.len());
                encoder.bytes(recording);
            })?;
            return Ok(());
        }
        let piece = stream.stage(recording)?;
        let io_address = piece.block.io_base().0 + piece.offset_bytes;
        let position = stream.post(VkOp(op::RECORD), |encoder| {
            encoder.u64(self.id);
            encoder.bytes(self.begin.as_slice());
            encoder.u32(1);
            encoder.u64(io_address);
            encoder.u64(recording.len() as u64);
        })?;
        stream.heap.give(piece, position);
        Ok(())
    }
}

/// `vkCreateCommandPool`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_command_pool(
    device: vk::Device,
    info: *const vk::CommandPoolCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    pool: *mut vk::CommandPool,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        let id = device.objects.command_pools.insert(Arc::default()).map_err(vk::Result::from)?;
        // SAFETY: the program passes a valid structure.
        let body = |encoder: &mut Encoder| unsafe { commands::encode_create_command_pool(encoder, info, id) };
        device.post(VkOp::CREATE_COMMAND_POOL, body)?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(pool, vk::CommandPool::from_raw(id)) };
        Ok(())
    })
}

/// `vkDestroyCommandPool`: its command buffers go with it.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_command_pool(
    device: vk::Device,
    pool: vk::CommandPool,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // A lost device has nothing left to destroy.
        let destroy = || device.post(VkOp::DESTROY_COMMAND_POOL, |encoder| encoder.u64(pool.as_raw()));
        let Some((state, _)) = device.objects.command_pools.remove_after(pool.as_raw(), destroy) else {
            return;
        };
        for buffer in state.take_all() {
            // SAFETY: the pool held it, so it is live, and a destroyed pool's command buffers are not used any more.
            unsafe { retire(device, buffer) };
        }
    });
}

/// Ends the command buffers of every pool of a device that is going away. Each holds on to the device.
pub(crate) fn retire_all(device: &Device) {
    for pool in device.objects.command_pools.take_all() {
        for buffer in pool.take_all() {
            // SAFETY: the pool held it, so it is live, and a destroyed device's command buffers are not used any more.
            unsafe { retire(device, buffer) };
        }
    }
}

/// # Safety
/// `buffer` is a live command buffer of the device that nothing uses any more; its destruction was posted.
unsafe fn retire(device: &Device, buffer: vk::CommandBuffer) {
    device.private_data.forget(vk::ObjectType::COMMAND_BUFFER, buffer.as_raw());
    // SAFETY: as the caller promises.
    let state = unsafe { handles::retire::<CommandBuffer>(buffer) };
    device.free_id(ObjectKind::COMMAND_BUFFER, state.id);
}

/// `vkResetCommandPool`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn reset_command_pool(
    device: vk::Device,
    pool: vk::CommandPool,
    flags: vk::CommandPoolResetFlags,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        // SAFETY: only values are encoded.
        let body =
            |encoder: &mut Encoder| unsafe { commands::encode_reset_command_pool(encoder, pool, flags) };
        device.post(VkOp::RESET_COMMAND_POOL, body)?;
        let Some(state) = device.objects.command_pools.get(pool.as_raw()) else { return Ok(()) };
        state.each(|buffer| {
            // SAFETY: the pool holds it, so it is live; who resets a pool uses its command buffers in this thread alone.
            let object = unsafe { handles::object_mut::<CommandBuffer>(buffer) };
            // The host has nothing of it any more.
            object.parts.forget();
            object.forget();
        });
        Ok(())
    })
}

/// `vkAllocateCommandBuffers`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn allocate_command_buffers(
    device: vk::Device,
    info: *const vk::CommandBufferAllocateInfo<'_>,
    buffers: *mut vk::CommandBuffer,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let parameters = unsafe { &*info };
    // SAFETY: the program passes an array of the length it names; any bits are a handle.
    let places = unsafe { slice_mut(buffers, parameters.command_buffer_count) };
    places.fill(vk::CommandBuffer::null());
    guard_result(|| {
        let pool = device.objects.command_pools.get(parameters.command_pool.as_raw());
        let pool = pool.ok_or(vk::Result::ERROR_UNKNOWN)?;
        let mut ids = Vec::with_capacity(places.len());
        for _ in 0..places.len() {
            ids.push(device.new_id(ObjectKind::COMMAND_BUFFER)?);
        }
        device.post(VkOp::ALLOCATE_COMMAND_BUFFERS, |encoder| {
            // SAFETY: the program passes a valid structure.
            unsafe { commands::encode_allocate_command_buffers(encoder, info, &ids) };
        })?;
        for (place, id) in places.iter_mut().zip(ids) {
            *place = handles::publish(CommandBuffer {
                id,
                recording: Encoder::new(),
                parts: Parts::default(),
                device: Arc::clone(device),
                level: parameters.level,
                begin: Encoder::new(),
            });
            pool.insert(*place);
        }
        Ok(())
    })
}

/// `vkFreeCommandBuffers`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn free_command_buffers(
    device: vk::Device,
    pool: vk::CommandPool,
    count: u32,
    buffers: *const vk::CommandBuffer,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes an array of the length it names.
    let handles = unsafe { slice(buffers, count) };
    guard(|| {
        let Some(state) = device.objects.command_pools.get(pool.as_raw()) else { return };
        // A lost device has nothing left to free.
        let _ = device.post(VkOp::FREE_COMMAND_BUFFERS, |encoder| {
            // SAFETY: the program passes an array of command buffers that are null or live.
            unsafe { commands::encode_free_command_buffers(encoder, pool, count, buffers) };
        });
        for buffer in handles.iter().filter(|buffer| state.remove(**buffer)) {
            // SAFETY: the pool held it, so it is live, and the program does not use it any more.
            unsafe { retire(device, *buffer) };
        }
    });
}

/// `vkBeginCommandBuffer`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn begin_command_buffer(
    buffer: vk::CommandBuffer,
    info: *const vk::CommandBufferBeginInfo<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let object = unsafe { handles::object_mut::<CommandBuffer>(buffer) };
    // SAFETY: the program passes a valid structure, which is copied with its chain.
    let mut info = unsafe { info.read() };
    if object.level == vk::CommandBufferLevel::PRIMARY {
        // Ignored for primary command buffers, so it may point anywhere.
        info.p_inheritance_info = std::ptr::null();
    }
    guard_result(|| {
        object.forget();
        // To begin is to reset what was not ended.
        object.abandon()?;
        object.begin.clear();
        // SAFETY: the program's structure, less what is to be ignored.
        unsafe { structs::enc_command_buffer_begin_info(&mut object.begin, &info) };
        object.device.check()
    })
}

/// `vkEndCommandBuffer`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn end_command_buffer(buffer: vk::CommandBuffer) -> vk::Result {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let object = unsafe { handles::object_mut::<CommandBuffer>(buffer) };
    guard_result(|| object.end())
}

/// `vkResetCommandBuffer`. The host's command buffer is reset when it begins anew.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn reset_command_buffer(
    buffer: vk::CommandBuffer,
    _flags: vk::CommandBufferResetFlags,
) -> vk::Result {
    // SAFETY: the program passes a live command buffer that it uses in this thread alone.
    let object = unsafe { handles::object_mut::<CommandBuffer>(buffer) };
    guard_result(|| {
        object.forget();
        object.abandon()
    })
}
