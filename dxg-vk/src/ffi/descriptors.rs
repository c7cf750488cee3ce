//! Descriptor set layouts, pools and sets.
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

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::pointers::find;
use super::pointers::put;
use super::pointers::slice;
use super::pointers::slice_mut;
use crate::descriptor_sets::Samplers;
use crate::descriptor_sets::Timing;
use crate::descriptors::Layout;
use crate::descriptors::NoSets;
use crate::descriptors::Pool;
use crate::descriptors::Room;
use crate::descriptors::Wanted;
use crate::device::Device;
use crate::generated::commands;

/// `vkCreateDescriptorSetLayout`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_descriptor_set_layout(
    device: vk::Device,
    info: *const vk::DescriptorSetLayoutCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    layout: *mut vk::DescriptorSetLayout,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        // SAFETY: the program passes a valid structure.
        let parameters = unsafe { &*info };
        // SAFETY: as above, its chain and arrays included.
        let state = unsafe { layout_of(parameters) };
        let id = device.objects.layouts.insert(Arc::new(state)).map_err(vk::Result::from)?;
        device.post(VkOp::CREATE_DESCRIPTOR_SET_LAYOUT, |encoder| {
            // SAFETY: the program passes a valid structure.
            unsafe { commands::encode_create_descriptor_set_layout(encoder, info, id) };
        })?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(layout, vk::DescriptorSetLayout::from_raw(id)) };
        Ok(())
    })
}

/// # Safety
/// `info` and its chain are valid.
unsafe fn layout_of(info: &vk::DescriptorSetLayoutCreateInfo<'_>) -> Layout {
    // SAFETY: the caller passes arrays of the lengths named.
    let bindings = unsafe { slice(info.p_bindings, info.binding_count) };
    // SAFETY: the caller passes a valid chain.
    let flags = unsafe { find::<vk::DescriptorSetLayoutBindingFlagsCreateInfo<'_>>(info.p_next) };
    // SAFETY: as above.
    let flags = flags.map_or(&[][..], |flags| unsafe { slice(flags.p_binding_flags, flags.binding_count) });
    let is_variable = |flags: &vk::DescriptorBindingFlags| {
        flags.contains(vk::DescriptorBindingFlags::VARIABLE_DESCRIPTOR_COUNT)
    };
    let variable = bindings.iter().zip(flags).find(|(_, flags)| is_variable(flags));
    let mut layout = Layout::new(
        bindings.iter().map(|binding| (binding.descriptor_type, binding.descriptor_count)),
        variable.map(|(binding, _)| (binding.descriptor_type, binding.descriptor_count)),
    );
    let late = vk::DescriptorBindingFlags::UPDATE_AFTER_BIND
        | vk::DescriptorBindingFlags::UPDATE_UNUSED_WHILE_PENDING;
    if flags.iter().any(|flags| flags.intersects(late)) {
        layout.timing = Timing::Eager;
    }
    if bindings.iter().any(|binding| !binding.p_immutable_samplers.is_null()) {
        layout.samplers = Samplers::Immutable;
    }
    layout
}

/// `vkDestroyDescriptorSetLayout`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_descriptor_set_layout(
    device: vk::Device,
    layout: vk::DescriptorSetLayout,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // Sets of it may still be bound; the host makes them while it has the layout.
        for pool in device.objects.descriptor_pools.all() {
            pool.each_unknown(&device.objects.descriptor_sets, Some(layout.as_raw()), |set| {
                // A lost device has nothing left to make.
                let _ = set.flush(&device.stream);
            });
        }
        // A lost device has nothing left to destroy.
        let destroy =
            || device.post(VkOp::DESTROY_DESCRIPTOR_SET_LAYOUT, |encoder| encoder.u64(layout.as_raw()));
        device.objects.layouts.remove_after(layout.as_raw(), destroy);
    });
}

/// Pools of more sets or descriptors are made with an answer: the host's driver may have no memory for them.
const SURE_DESCRIPTORS: u32 = 1 << 16;

/// `vkCreateDescriptorPool`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_descriptor_pool(
    device: vk::Device,
    info: *const vk::DescriptorPoolCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    pool: *mut vk::DescriptorPool,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let parameters = unsafe { &*info };
    // SAFETY: the program passes an array of the length it names.
    let sizes = unsafe { slice(parameters.p_pool_sizes, parameters.pool_size_count) };
    guard_result(|| {
        let total =
            sizes.iter().fold(parameters.max_sets, |sum, size| sum.saturating_add(size.descriptor_count));
        let sizes = sizes.iter().map(|size| (size.ty, size.descriptor_count));
        let state = Arc::new(Pool::new(parameters.max_sets, sizes));
        let id = device.objects.descriptor_pools.insert(Arc::clone(&state)).map_err(vk::Result::from)?;
        state.name(id);
        let body = |encoder: &mut Encoder| {
            // SAFETY: the program passes a valid structure.
            unsafe { commands::encode_create_descriptor_pool(encoder, info, id) };
        };
        let made = if total <= SURE_DESCRIPTORS {
            device.post(VkOp::CREATE_DESCRIPTOR_POOL, body)
        } else {
            let answer = device
                .call(VkOp::CREATE_DESCRIPTOR_POOL, body, |reply| Ok(vk::Result::from_raw(reply.i32()?)));
            answer.and_then(vk::Result::result)
        };
        made.inspect_err(|_| drop(device.objects.descriptor_pools.remove(id)))?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(pool, vk::DescriptorPool::from_raw(Arc::as_ptr(&state) as u64)) };
        Ok(())
    })
}

/// The pool behind a handle, which is a pointer to what the device's table holds.
///
/// # Safety
/// The handle is a live pool.
unsafe fn pool_of<'a>(pool: vk::DescriptorPool) -> &'a Pool {
    let pointer = pool.as_raw() as *const Pool;
    // SAFETY: the caller passes a live pool: what `create_descriptor_pool` pointed to, still in the device's table.
    unsafe { &*pointer }
}

/// `vkDestroyDescriptorPool`: its sets go with it.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_descriptor_pool(
    device: vk::Device,
    pool: vk::DescriptorPool,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    if pool.is_null() {
        return;
    }
    // SAFETY: not null, so the program passes a live pool.
    let id = unsafe { pool_of(pool) }.id();
    guard(|| {
        // A lost device has nothing left to destroy.
        let destroy = || device.post(VkOp::DESTROY_DESCRIPTOR_POOL, |encoder| encoder.u64(id));
        if let Some((state, _)) = device.objects.descriptor_pools.remove_after(id, destroy) {
            state.end(&device.objects.descriptor_sets);
        }
    });
}

/// `vkResetDescriptorPool`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn reset_descriptor_pool(
    device: vk::Device,
    pool: vk::DescriptorPool,
    flags: vk::DescriptorPoolResetFlags,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a live pool.
    let state = unsafe { pool_of(pool) };
    guard_result(|| {
        if !state.reset(&device.objects.descriptor_sets) {
            return Ok(());
        }
        device.post(VkOp::RESET_DESCRIPTOR_POOL, |encoder| {
            let pool = vk::DescriptorPool::from_raw(state.id());
            // SAFETY: only values are encoded.
            unsafe { commands::encode_reset_descriptor_pool(encoder, pool, flags) };
        })
    })
}

/// `vkAllocateDescriptorSets`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn allocate_descriptor_sets(
    device: vk::Device,
    info: *const vk::DescriptorSetAllocateInfo<'_>,
    sets: *mut vk::DescriptorSet,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: the program passes an array of the length it names; any bits are a handle.
    let places = unsafe { slice_mut(sets, info.descriptor_set_count) };
    // SAFETY: the program passes a live pool.
    let pool = unsafe { pool_of(info.descriptor_pool) };
    // SAFETY: the program passes arrays of the lengths named.
    let layouts = unsafe { slice(info.p_set_layouts, info.descriptor_set_count) };
    // SAFETY: the program passes a valid chain.
    let variable = unsafe { find::<vk::DescriptorSetVariableDescriptorCountAllocateInfo<'_>>(info.p_next) };
    let variable = variable.map_or(&[][..], |variable| {
        // SAFETY: as above.
        unsafe { slice(variable.p_descriptor_counts, variable.descriptor_set_count) }
    });
    places.fill(vk::DescriptorSet::null());
    let known = &device.objects.descriptor_sets;
    let wanted = layouts
        .iter()
        .enumerate()
        .map(|(at, layout)| Wanted { layout: layout.as_raw(), variable: variable.get(at).copied() });
    let layout = |id| device.objects.layouts.get(id);
    // Not guarded: what a guard runs takes its parameters through memory, which costs more than a lock.
    match pool.allocate(known, wanted, layout, places) {
        Ok(Room::Certain) => vk::Result::SUCCESS,
        Ok(room) => guard_result(|| tell(device, pool, places, room)),
        Err(NoSets::Exhausted) => vk::Result::ERROR_OUT_OF_POOL_MEMORY,
        Err(NoSets::TableFull(error)) => error.into(),
    }
}

/// Tells the host of new sets, those that it must hear of at once.
#[inline(never)]
fn tell(
    device: &Device,
    pool: &Pool,
    places: &mut [vk::DescriptorSet],
    room: Room,
) -> Result<(), vk::Result> {
    let known = &device.objects.descriptor_sets;
    let told = places.iter().filter_map(|set| known.get(set.as_raw())).try_for_each(|set| match room {
        Room::AskHost => set.flush_asking(&device.stream),
        Room::Tell if set.slot().is_eager() => set.flush(&device.stream),
        Room::Tell | Room::Certain => Ok(()),
    });
    if told.is_err() {
        free(device, pool, places);
        places.fill(vk::DescriptorSet::null());
    }
    told
}

/// Frees sets, on the host those that it has.
fn free(device: &Device, pool: &Pool, sets: &[vk::DescriptorSet]) {
    let known = &device.objects.descriptor_sets;
    let is_known =
        |set: &&vk::DescriptorSet| known.get(set.as_raw()).is_some_and(|set| !set.slot().is_unknown());
    let (on_host, here): (Vec<vk::DescriptorSet>, Vec<vk::DescriptorSet>) =
        sets.iter().partition(|set| is_known(set));
    for set in here {
        pool.free(known, set.as_raw());
    }
    if on_host.is_empty() {
        return;
    }
    // The host's room for these is certain as long as nothing of the pool was freed there.
    pool.each_unknown(known, None, |set| {
        // A lost device has nothing left to make.
        let _ = set.flush(&device.stream);
    });
    let count = u32::try_from(on_host.len()).unwrap_or(u32::MAX);
    // A lost device has nothing left to free.
    let _ = device.post(VkOp::FREE_DESCRIPTOR_SETS, |encoder| {
        let pool = vk::DescriptorPool::from_raw(pool.id());
        // SAFETY: the array is ours.
        unsafe { commands::encode_free_descriptor_sets(encoder, pool, count, on_host.as_ptr()) };
    });
    for set in on_host {
        pool.free(known, set.as_raw());
    }
}

/// `vkFreeDescriptorSets`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn free_descriptor_sets(
    device: vk::Device,
    pool: vk::DescriptorPool,
    count: u32,
    sets: *const vk::DescriptorSet,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    // SAFETY: the program passes a live pool.
    let pool = unsafe { pool_of(pool) };
    // SAFETY: the program passes an array of the length it names.
    let sets = unsafe { slice(sets, count) };
    guard_result(|| {
        free(device, pool, sets);
        Ok(())
    })
}
