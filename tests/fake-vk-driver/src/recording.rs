//! Command pools with their command buffers, and descriptor sets: nothing is recorded and nothing described.
//!
//! # Safety
//!
//! Every command is called as the Vulkan specification says: handles are live and of the right type, and pointers are
//! valid for what the command does with them.

use std::collections::HashMap;
use std::ffi::CStr;
use std::ffi::c_void;
use std::slice;
use std::sync::LazyLock;

use ash::vk;
use ash::vk::Handle;
use parking_lot::Mutex;

use crate::handles;
use crate::instance::void;
use crate::state::SETS_THAT_FAIL;
use crate::state::STATE;

/// The command buffers of each pool, by raw handles.
static POOLS: LazyLock<Mutex<HashMap<u64, Vec<u64>>>> = LazyLock::new(Mutex::default);

/// # Safety
/// The handle is of a live command buffer that nobody uses after this.
unsafe fn retire(buffer: u64) {
    // SAFETY:
    // - the caller says so.
    STATE.destroy(unsafe { handles::retire(vk::CommandBuffer::from_raw(buffer)) });
}

unsafe extern "system" fn create_command_pool(
    _device: vk::Device,
    _info: *const vk::CommandPoolCreateInfo<'_>,
    _allocator: *const c_void,
    pool: *mut vk::CommandPool,
) -> vk::Result {
    let handle = STATE.create();
    POOLS.lock().insert(handle, Vec::new());
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *pool = vk::CommandPool::from_raw(handle) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_command_pool(
    _device: vk::Device,
    pool: vk::CommandPool,
    _allocator: *const c_void,
) {
    for buffer in POOLS.lock().remove(&pool.as_raw()).unwrap_or_default() {
        // SAFETY:
        // - the pool had it, and its buffers end with it.
        unsafe { retire(buffer) };
    }
    STATE.destroy(pool.as_raw());
}

unsafe extern "system" fn reset_command_pool(
    _device: vk::Device,
    _pool: vk::CommandPool,
    _flags: vk::CommandPoolResetFlags,
) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn allocate_command_buffers(
    _device: vk::Device,
    info: *const vk::CommandBufferAllocateInfo<'_>,
    to: *mut vk::CommandBuffer,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a valid structure.
    let info = unsafe { &*info };
    let mut pools = POOLS.lock();
    let pool = pools.entry(info.command_pool.as_raw()).or_default();
    for index in 0..info.command_buffer_count as usize {
        let buffer = handles::publish::<vk::CommandBuffer>(STATE.create());
        pool.push(buffer.as_raw());
        // SAFETY:
        // - the caller gives an array of as many places as it asks for.
        unsafe { to.wrapping_add(index).write(buffer) };
    }
    vk::Result::SUCCESS
}

unsafe extern "system" fn free_command_buffers(
    _device: vk::Device,
    pool: vk::CommandPool,
    count: u32,
    buffers: *const vk::CommandBuffer,
) {
    if count == 0 {
        return;
    }
    // SAFETY:
    // - the caller gives an array of that length.
    let buffers = unsafe { slice::from_raw_parts(buffers, count as usize) };
    let mut pools = POOLS.lock();
    let pool = pools.entry(pool.as_raw()).or_default();
    for buffer in buffers {
        if let Some(at) = pool.iter().position(|have| *have == buffer.as_raw()) {
            // SAFETY:
            // - the pool had it, and it is out of the pool.
            unsafe { retire(pool.swap_remove(at)) };
        }
    }
}

unsafe extern "system" fn begin_command_buffer(
    _buffer: vk::CommandBuffer,
    _info: *const vk::CommandBufferBeginInfo<'_>,
) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn end_command_buffer(_buffer: vk::CommandBuffer) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn reset_command_buffer(
    _buffer: vk::CommandBuffer,
    _flags: vk::CommandBufferResetFlags,
) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn create_descriptor_pool(
    _device: vk::Device,
    info: *const vk::DescriptorPoolCreateInfo<'_>,
    _allocator: *const c_void,
    pool: *mut vk::DescriptorPool,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a valid structure.
    if unsafe { &*info }.max_sets == SETS_THAT_FAIL {
        return vk::Result::ERROR_OUT_OF_HOST_MEMORY;
    }
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *pool = vk::DescriptorPool::from_raw(STATE.create()) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_descriptor_pool(
    _device: vk::Device,
    pool: vk::DescriptorPool,
    _allocator: *const c_void,
) {
    STATE.destroy(pool.as_raw());
}

unsafe extern "system" fn reset_descriptor_pool(
    _device: vk::Device,
    _pool: vk::DescriptorPool,
    _flags: vk::DescriptorPoolResetFlags,
) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn create_descriptor_set_layout(
    _device: vk::Device,
    _info: *const vk::DescriptorSetLayoutCreateInfo<'_>,
    _allocator: *const c_void,
    layout: *mut vk::DescriptorSetLayout,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *layout = vk::DescriptorSetLayout::from_raw(STATE.create()) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_descriptor_set_layout(
    _device: vk::Device,
    layout: vk::DescriptorSetLayout,
    _allocator: *const c_void,
) {
    STATE.destroy(layout.as_raw());
}

/// Sets go with their pool and are numbers: they do not count.
unsafe extern "system" fn allocate_descriptor_sets(
    _device: vk::Device,
    info: *const vk::DescriptorSetAllocateInfo<'_>,
    to: *mut vk::DescriptorSet,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a valid structure.
    let count = unsafe { &*info }.descriptor_set_count as usize;
    for index in 0..count {
        let set = vk::DescriptorSet::from_raw(STATE.number());
        // SAFETY:
        // - the caller gives an array of as many places as it asks for.
        unsafe { to.wrapping_add(index).write(set) };
    }
    vk::Result::SUCCESS
}

unsafe extern "system" fn free_descriptor_sets(
    _device: vk::Device,
    _pool: vk::DescriptorPool,
    _count: u32,
    _sets: *const vk::DescriptorSet,
) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn update_descriptor_sets(
    _device: vk::Device,
    _write_count: u32,
    _writes: *const vk::WriteDescriptorSet<'_>,
    _copy_count: u32,
    _copies: *const vk::CopyDescriptorSet<'_>,
) {
}

/// The functions of this module, by name.
pub(crate) fn find(name: &CStr) -> vk::PFN_vkVoidFunction {
    Some(match name.to_bytes() {
        b"vkCreateCommandPool" => void!(create_command_pool),
        b"vkDestroyCommandPool" => void!(destroy_command_pool),
        b"vkResetCommandPool" => void!(reset_command_pool),
        b"vkAllocateCommandBuffers" => void!(allocate_command_buffers),
        b"vkFreeCommandBuffers" => void!(free_command_buffers),
        b"vkBeginCommandBuffer" => void!(begin_command_buffer),
        b"vkEndCommandBuffer" => void!(end_command_buffer),
        b"vkResetCommandBuffer" => void!(reset_command_buffer),
        b"vkCreateDescriptorPool" => void!(create_descriptor_pool),
        b"vkDestroyDescriptorPool" => void!(destroy_descriptor_pool),
        b"vkResetDescriptorPool" => void!(reset_descriptor_pool),
        b"vkCreateDescriptorSetLayout" => void!(create_descriptor_set_layout),
        b"vkDestroyDescriptorSetLayout" => void!(destroy_descriptor_set_layout),
        b"vkAllocateDescriptorSets" => void!(allocate_descriptor_sets),
        b"vkFreeDescriptorSets" => void!(free_descriptor_sets),
        b"vkUpdateDescriptorSets" => void!(update_descriptor_sets),
        _ => return None,
    })
}
