//! The device, its queues and what is made of it.
//!
//! # Safety
//!
//! Every command is called as the Vulkan specification says: handles are live and of the right type, and pointers are
//! valid for what the command does with them.

use std::ffi::CStr;
use std::ffi::c_void;
use std::slice;
use std::time::Duration;

use ash::vk;
use ash::vk::Handle;

use crate::handles;
use crate::instance::void;
use crate::recording;
use crate::state::BUFFER_THAT_FAILS_BYTES;
use crate::state::BUFFER_THAT_LOSES_BYTES;
use crate::state::Batch;
use crate::state::Control;
use crate::state::MEMORY_THAT_FAILS_BYTES;
use crate::state::Point;
use crate::state::QUERIES_THAT_FAIL;
use crate::state::STATE;

/// The list that a count and a pointer stand for.
///
/// # Safety
/// Where the count is not 0, the pointer is of as many values, which live for `'a`.
unsafe fn list<'a, T>(pointer: *const T, count: u32) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY:
    // - the caller says so.
    unsafe { slice::from_raw_parts(pointer, count as usize) }
}

/// Queues are numbered through the families: two in the first, one in the second.
fn queue_number(family: u32, index: u32) -> usize {
    usize::try_from(family * 2 + index).unwrap_or(usize::MAX)
}

/// # Safety
/// The handle is of a live queue.
unsafe fn queue_index(queue: vk::Queue) -> usize {
    // SAFETY:
    // - the caller says that it is live.
    usize::try_from(unsafe { handles::number(queue) }).unwrap_or(usize::MAX)
}

/// `vkCreateDevice`.
pub(crate) unsafe extern "system" fn create(
    _physical_device: vk::PhysicalDevice,
    _info: *const vk::DeviceCreateInfo<'_>,
    _allocator: *const c_void,
    device: *mut vk::Device,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *device = handles::publish(STATE.create()) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy(device: vk::Device, _allocator: *const c_void) {
    // SAFETY:
    // - the caller passes null or a live device and does not use it after this.
    STATE.destroy(unsafe { handles::retire(device) });
}

unsafe extern "system" fn get_queue(_device: vk::Device, family: u32, index: u32, queue: *mut vk::Queue) {
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *queue = handles::queue(queue_number(family, index)) };
}

unsafe extern "system" fn wait_idle(_device: vk::Device) -> vk::Result {
    STATE.wait_idle()
}

unsafe extern "system" fn create_semaphore(
    _device: vk::Device,
    info: *const vk::SemaphoreCreateInfo<'_>,
    _allocator: *const c_void,
    semaphore: *mut vk::Semaphore,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a valid structure.
    let info = unsafe { &*info };
    // SAFETY:
    // - the chain of this structure has one structure at most, of this type.
    let next = unsafe { info.p_next.cast::<vk::SemaphoreTypeCreateInfo<'_>>().as_ref() };
    let timeline =
        next.filter(|kind| kind.semaphore_type == vk::SemaphoreType::TIMELINE).map(|kind| kind.initial_value);
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *semaphore = vk::Semaphore::from_raw(STATE.create_semaphore(timeline)) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_semaphore(
    _device: vk::Device,
    semaphore: vk::Semaphore,
    _allocator: *const c_void,
) {
    STATE.destroy(semaphore.as_raw());
}

unsafe extern "system" fn counter_value(
    _device: vk::Device,
    semaphore: vk::Semaphore,
    to: *mut u64,
) -> vk::Result {
    match STATE.value(semaphore.as_raw()) {
        Ok(value) => {
            // SAFETY:
            // - the caller gives a writable place.
            unsafe { *to = value };
            vk::Result::SUCCESS
        }
        Err(result) => result,
    }
}

unsafe extern "system" fn wait_semaphores(
    _device: vk::Device,
    info: *const vk::SemaphoreWaitInfo<'_>,
    timeout_ns: u64,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a valid structure.
    let info = unsafe { &*info };
    // SAFETY:
    // - the structure is valid.
    let semaphores = unsafe { list(info.p_semaphores, info.semaphore_count) };
    // SAFETY:
    // - the structure is valid.
    let values = unsafe { list(info.p_values, info.semaphore_count) };
    let points: Vec<Point> = semaphores
        .iter()
        .zip(values)
        .map(|(semaphore, value)| Point { semaphore: semaphore.as_raw(), value: *value })
        .collect();
    STATE.wait(&points, Duration::from_nanos(timeout_ns))
}

unsafe extern "system" fn signal_semaphore(
    _device: vk::Device,
    info: *const vk::SemaphoreSignalInfo<'_>,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a valid structure.
    let info = unsafe { &*info };
    STATE.signal(Point { semaphore: info.semaphore.as_raw(), value: info.value });
    vk::Result::SUCCESS
}

unsafe extern "system" fn submit2(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    _fence: vk::Fence,
) -> vk::Result {
    let point =
        |info: &vk::SemaphoreSubmitInfo<'_>| Point { semaphore: info.semaphore.as_raw(), value: info.value };
    // SAFETY:
    // - the caller gives valid structures.
    let submits = unsafe { list(submits, count) };
    let batches = submits
        .iter()
        .map(|submit| {
            // SAFETY:
            // - the structure is valid.
            let waits = unsafe { list(submit.p_wait_semaphore_infos, submit.wait_semaphore_info_count) };
            // SAFETY:
            // - the structure is valid.
            let signals =
                unsafe { list(submit.p_signal_semaphore_infos, submit.signal_semaphore_info_count) };
            Batch { waits: waits.iter().map(point).collect(), signals: signals.iter().map(point).collect() }
        })
        .collect();
    // SAFETY:
    // - the caller passes a live queue.
    STATE.submit(unsafe { queue_index(queue) }, batches)
}

/// The timeline values in a chain.
///
/// # Safety
/// The chain is valid.
unsafe fn timeline_of<'a>(next: *const c_void) -> Option<&'a vk::TimelineSemaphoreSubmitInfo<'a>> {
    let mut next = next.cast::<vk::BaseInStructure<'_>>();
    // SAFETY:
    // - the chain is valid and ends with null.
    while let Some(base) = unsafe { next.as_ref() } {
        if base.s_type == vk::StructureType::TIMELINE_SEMAPHORE_SUBMIT_INFO {
            // SAFETY:
            // - the type says what the structure is.
            return unsafe { next.cast::<vk::TimelineSemaphoreSubmitInfo<'_>>().as_ref() };
        }
        next = base.p_next;
    }
    None
}

/// Semaphores with their values; those without one are binary.
fn points(semaphores: &[vk::Semaphore], values: &[u64]) -> Vec<Point> {
    let values = values.iter().copied().chain(std::iter::repeat(0));
    let point = |(semaphore, value): (&vk::Semaphore, u64)| Point { semaphore: semaphore.as_raw(), value };
    semaphores.iter().zip(values).map(point).collect()
}

unsafe extern "system" fn bind_sparse(
    queue: vk::Queue,
    count: u32,
    binds: *const vk::BindSparseInfo<'_>,
    _fence: vk::Fence,
) -> vk::Result {
    // SAFETY:
    // - the caller gives valid structures.
    let binds = unsafe { list(binds, count) };
    let batches = binds
        .iter()
        .map(|bind| {
            // SAFETY:
            // - the chain is valid.
            let timeline = unsafe { timeline_of(bind.p_next) }.copied().unwrap_or_default();
            // SAFETY:
            // - the structure is valid.
            let waits = unsafe { list(bind.p_wait_semaphores, bind.wait_semaphore_count) };
            // SAFETY:
            // - the structure is valid.
            let wait_values =
                unsafe { list(timeline.p_wait_semaphore_values, timeline.wait_semaphore_value_count) };
            // SAFETY:
            // - the structure is valid.
            let signals = unsafe { list(bind.p_signal_semaphores, bind.signal_semaphore_count) };
            // SAFETY:
            // - the structure is valid.
            let signal_values =
                unsafe { list(timeline.p_signal_semaphore_values, timeline.signal_semaphore_value_count) };
            Batch { waits: points(waits, wait_values), signals: points(signals, signal_values) }
        })
        .collect();
    // SAFETY:
    // - the caller passes a live queue.
    STATE.submit(unsafe { queue_index(queue) }, batches)
}

unsafe extern "system" fn create_buffer(
    _device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    _allocator: *const c_void,
    buffer: *mut vk::Buffer,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a valid structure.
    let size_bytes = unsafe { &*info }.size;
    if size_bytes == BUFFER_THAT_LOSES_BYTES {
        STATE.control(Control::LOSE_DEVICE, 1);
    }
    if STATE.buffers_fail() || size_bytes == BUFFER_THAT_FAILS_BYTES {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *buffer = vk::Buffer::from_raw(STATE.create()) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_buffer(_device: vk::Device, buffer: vk::Buffer, _allocator: *const c_void) {
    STATE.destroy(buffer.as_raw());
}

unsafe extern "system" fn allocate_memory(
    _device: vk::Device,
    info: *const vk::MemoryAllocateInfo<'_>,
    _allocator: *const c_void,
    memory: *mut vk::DeviceMemory,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a valid structure.
    if unsafe { &*info }.allocation_size == MEMORY_THAT_FAILS_BYTES {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *memory = vk::DeviceMemory::from_raw(STATE.create()) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn free_memory(
    _device: vk::Device,
    memory: vk::DeviceMemory,
    _allocator: *const c_void,
) {
    STATE.destroy(memory.as_raw());
}

unsafe extern "system" fn create_query_pool(
    _device: vk::Device,
    info: *const vk::QueryPoolCreateInfo<'_>,
    _allocator: *const c_void,
    pool: *mut vk::QueryPool,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a valid structure.
    if unsafe { &*info }.query_count == QUERIES_THAT_FAIL {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { *pool = vk::QueryPool::from_raw(STATE.create()) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_query_pool(
    _device: vk::Device,
    pool: vk::QueryPool,
    _allocator: *const c_void,
) {
    STATE.destroy(pool.as_raw());
}

unsafe extern "system" fn host_pointer_properties(
    _device: vk::Device,
    _handle_type: vk::ExternalMemoryHandleTypeFlags,
    _pointer: *const c_void,
    to: *mut vk::MemoryHostPointerPropertiesEXT<'_>,
) -> vk::Result {
    // SAFETY:
    // - the caller gives a writable place.
    unsafe { (*to).memory_type_bits = 0b10 };
    vk::Result::SUCCESS
}

/// The functions of a device, by name.
pub(crate) fn find(name: &CStr) -> vk::PFN_vkVoidFunction {
    Some(match name.to_bytes() {
        b"vkDestroyDevice" => void!(destroy),
        b"vkGetDeviceQueue" => void!(get_queue),
        b"vkDeviceWaitIdle" => void!(wait_idle),
        b"vkCreateSemaphore" => void!(create_semaphore),
        b"vkDestroySemaphore" => void!(destroy_semaphore),
        b"vkGetSemaphoreCounterValue" => void!(counter_value),
        b"vkWaitSemaphores" => void!(wait_semaphores),
        b"vkSignalSemaphore" => void!(signal_semaphore),
        b"vkQueueSubmit2" => void!(submit2),
        b"vkQueueBindSparse" => void!(bind_sparse),
        b"vkCreateBuffer" => void!(create_buffer),
        b"vkDestroyBuffer" => void!(destroy_buffer),
        b"vkAllocateMemory" => void!(allocate_memory),
        b"vkFreeMemory" => void!(free_memory),
        b"vkCreateQueryPool" => void!(create_query_pool),
        b"vkDestroyQueryPool" => void!(destroy_query_pool),
        b"vkGetMemoryHostPointerPropertiesEXT" => void!(host_pointer_properties),
        _ => return recording::find(name),
    })
}
