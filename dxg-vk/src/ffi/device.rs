//! Devices and their queues' handles.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::session::StreamKind;
use dxg_wire::vulkan::op;
use parking_lot::Mutex;
use tracing::debug;

use super::command;
use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::handles;
use super::pointers::put;
use super::pointers::slice;
use super::pointers::texts;
use super::queue::QueueObject;
use crate::cells::Cells;
use crate::device::Device;
use crate::device::Objects;
use crate::extensions;
use crate::generated::structs;
use crate::heap::Heap;
use crate::link::HostLink;
use crate::physical::Physical;
use crate::private_data::Slots;
use crate::queue::Queue;
use crate::stream::Stream;

/// Bytes of a device's command ring.
const RING_BYTES: u32 = 1 << 20;
/// Blocks for host-visible memory.
const MEMORY_BLOCK_BYTES: u64 = 16 << 20;

/// What a device handle means.
#[derive(Debug)]
pub(crate) struct DeviceObject {
    /// The device.
    pub(crate) device: Arc<Device>,
    queues: Vec<vk::Queue>,
}

impl Drop for DeviceObject {
    fn drop(&mut self) {
        for queue in &self.queues {
            // SAFETY: the device published it, and goes together with it.
            drop(unsafe { handles::retire::<QueueObject>(*queue) });
        }
    }
}

/// `vkCreateDevice`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_device(
    physical: vk::PhysicalDevice,
    info: *const vk::DeviceCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    device: *mut vk::Device,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let asked_version = unsafe { forward::asked_version(physical) };
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(physical) };
    // SAFETY: the program passes a valid structure, which is copied with its chain.
    let info = unsafe { info.read() };
    guard_result(|| {
        // SAFETY: as above.
        let created = unsafe { new_device(physical, asked_version, info) }?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(device, handles::publish(created)) };
        Ok(())
    })
}

/// # Safety
/// `info` and its chain are valid.
unsafe fn new_device(
    physical: &Arc<Physical>,
    asked_version: u32,
    mut info: vk::DeviceCreateInfo<'_>,
) -> Result<DeviceObject, vk::Result> {
    // SAFETY: the caller passes strings in an array of the length named.
    let wanted = unsafe { texts(info.pp_enabled_extension_names, info.enabled_extension_count) };
    let missing = wanted.iter().find(|name| !physical.description.has_extension(&name.to_string_lossy()));
    if let Some(missing) = missing {
        debug!(?missing, "extension not offered");
        return Err(vk::Result::ERROR_EXTENSION_NOT_PRESENT);
    }
    let forwarded: Vec<&CStr> =
        wanted.iter().copied().filter(|name| !extensions::is_guest_extension(name)).collect();
    let forwarded: Vec<_> = forwarded.iter().map(|name| name.as_ptr()).collect();
    info.enabled_extension_count = u32::try_from(forwarded.len()).unwrap_or_default();
    info.pp_enabled_extension_names = forwarded.as_ptr();
    without_layers(&mut info);

    let link = HostLink::open(&physical.streams, StreamKind::VULKAN_DEVICE, RING_BYTES)?;
    let stream = Stream::over(Box::new(link));
    let cells = Cells::default();
    // SAFETY: the caller passes arrays of the lengths named.
    let queues = unsafe { queues_of(&info, &stream, &cells) }?;
    let body = |encoder: &mut Encoder| {
        // SAFETY: the caller's structure; the extension names live here.
        unsafe { structs::enc_device_create_info(encoder, &info) };
        encoder.count(queues.len());
        for queue in &queues {
            encoder.u32(queue.family);
            encoder.u32(queue.index);
            encoder.u32(queue.flags.as_raw());
            encoder.u64(queue.progress.io_address());
        }
    };
    stream.call(VkOp(op::CREATE_DEVICE), body, |reply| Ok(vk::Result::from_raw(reply.i32()?)))?.result()?;

    let device = Arc::new(Device {
        physical: Arc::clone(physical),
        stream,
        queues,
        cells,
        memory_heap: Heap::new(MEMORY_BLOCK_BYTES),
        usage: physical.usages.open(physical.description.properties.limits.max_memory_allocation_count),
        objects: Objects::default(),
        private_data: Slots::default(),
        shares_sync: AtomicBool::new(false),
        extensions: wanted.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
        api_version: physical.description.api_version.min(asked_version),
    });
    let publish = |position| handles::publish(QueueObject { device: Arc::clone(&device), position });
    let queues = (0..device.queues.len()).map(publish).collect();
    Ok(DeviceObject { device, queues })
}

/// Device layers have not existed for long, and the names may be anything.
#[expect(deprecated, reason = "the fields are still in the structure")]
fn without_layers(info: &mut vk::DeviceCreateInfo<'_>) {
    info.enabled_layer_count = 0;
    info.pp_enabled_layer_names = std::ptr::null();
}

/// # Safety
/// `info` is valid.
unsafe fn queues_of(
    info: &vk::DeviceCreateInfo<'_>,
    stream: &Stream,
    cells: &Cells,
) -> Result<Vec<Queue>, vk::Result> {
    let mut queues = Vec::new();
    // SAFETY: the caller passes an array of the length named.
    for wanted in unsafe { slice(info.p_queue_create_infos, info.queue_create_info_count) } {
        for index in 0..wanted.queue_count {
            queues.push(Queue {
                number: u32::try_from(queues.len()).map_err(|_| vk::Result::ERROR_INITIALIZATION_FAILED)?,
                family: wanted.queue_family_index,
                index,
                flags: wanted.flags,
                progress: cells.take(&stream.heap, stream.lease(), 0, stream.executed())?,
                submitted: Mutex::new(0),
            });
        }
    }
    Ok(queues)
}

/// `vkDestroyDevice`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_device(
    device: vk::Device,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if device.is_null() {
        return;
    }
    // SAFETY: not null, so a live device that the program does not use any more.
    let object = unsafe { handles::retire::<DeviceObject>(device) };
    guard(|| {
        // A lost device is gone already.
        let destroyed = object.device.call(VkOp(op::DESTROY_DEVICE), |_| (), |_| Ok(()));
        if destroyed.is_err() {
            object.device.physical.wear();
        }
        command::retire_all(&object.device);
        drop(object);
    });
}

/// # Safety
/// `device` is a live device.
unsafe fn find_queue(device: vk::Device, is_wanted: impl Fn(&Queue) -> bool) -> vk::Queue {
    // SAFETY: the caller passes a live device.
    let object = unsafe { handles::object::<DeviceObject>(device) };
    let position = object.device.queues.iter().position(is_wanted);
    position.and_then(|position| object.queues.get(position)).copied().unwrap_or_default()
}

/// `vkGetDeviceQueue`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_device_queue(
    device: vk::Device,
    family: u32,
    index: u32,
    queue: *mut vk::Queue,
) {
    let is_wanted = |queue: &Queue| queue.family == family && queue.index == index && queue.flags.is_empty();
    // SAFETY: the program passes a live device.
    let found = unsafe { find_queue(device, is_wanted) };
    // SAFETY: the program passes a place for the handle.
    unsafe { put(queue, found) };
}

/// `vkGetDeviceQueue2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_device_queue2(
    device: vk::Device,
    info: *const vk::DeviceQueueInfo2<'_>,
    queue: *mut vk::Queue,
) {
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    let is_wanted = |queue: &Queue| {
        queue.family == info.queue_family_index
            && queue.index == info.queue_index
            && queue.flags == info.flags
    };
    // SAFETY: the program passes a live device.
    let found = unsafe { find_queue(device, is_wanted) };
    // SAFETY: the program passes a place for the handle.
    unsafe { put(queue, found) };
}
