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
use crate::descriptors::Counts;
use crate::descriptors::Layout;
use crate::descriptors::Pool;
use crate::descriptors::Room;
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
    Layout::new(
        bindings.iter().map(|binding| (binding.descriptor_type, binding.descriptor_count)),
        variable.map(|(binding, _)| (binding.descriptor_type, binding.descriptor_count)),
    )
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
        // A lost device has nothing left to destroy.
        let destroy =
            || device.post(VkOp::DESTROY_DESCRIPTOR_SET_LAYOUT, |encoder| encoder.u64(layout.as_raw()));
        device.objects.layouts.remove_after(layout.as_raw(), destroy);
    });
}

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
        let sizes = sizes.iter().map(|size| (size.ty, size.descriptor_count));
        let state = Arc::new(Pool::new(parameters.max_sets, sizes));
        let id = device.objects.descriptor_pools.insert(state).map_err(vk::Result::from)?;
        device.post(VkOp::CREATE_DESCRIPTOR_POOL, |encoder| {
            // SAFETY: the program passes a valid structure.
            unsafe { commands::encode_create_descriptor_pool(encoder, info, id) };
        })?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(pool, vk::DescriptorPool::from_raw(id)) };
        Ok(())
    })
}

fn forget_sets(device: &Device, pool: &Pool) {
    for set in pool.reset() {
        device.objects.descriptor_sets.remove(set);
    }
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
    guard(|| {
        // A lost device has nothing left to destroy.
        let destroy = || device.post(VkOp::DESTROY_DESCRIPTOR_POOL, |encoder| encoder.u64(pool.as_raw()));
        let Some((state, _)) = device.objects.descriptor_pools.remove_after(pool.as_raw(), destroy) else {
            return;
        };
        forget_sets(device, &state);
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
    guard_result(|| {
        let state = device.objects.descriptor_pools.get(pool.as_raw()).ok_or(vk::Result::ERROR_UNKNOWN)?;
        device.post(VkOp::RESET_DESCRIPTOR_POOL, |encoder| {
            // SAFETY: only values are encoded.
            unsafe { commands::encode_reset_descriptor_pool(encoder, pool, flags) };
        })?;
        forget_sets(device, &state);
        Ok(())
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
    let parameters = unsafe { &*info };
    // SAFETY: the program passes an array of the length it names; any bits are a handle.
    let places = unsafe { slice_mut(sets, parameters.descriptor_set_count) };
    places.fill(vk::DescriptorSet::null());
    guard_result(|| {
        let pool = device.objects.descriptor_pools.get(parameters.descriptor_pool.as_raw());
        let pool = pool.ok_or(vk::Result::ERROR_UNKNOWN)?;
        // SAFETY: the program passes a valid structure.
        let needs = unsafe { needs_of(device, parameters) };
        let mut ids = Vec::with_capacity(needs.len());
        for _ in &needs {
            ids.push(device.objects.descriptor_sets.insert(()).map_err(vk::Result::from)?);
        }
        // SAFETY: the program passes a valid structure.
        let body =
            |encoder: &mut Encoder| unsafe { commands::encode_allocate_descriptor_sets(encoder, info, &ids) };
        let result = match pool.allocate(&ids, &needs) {
            Err(_) => Err(vk::Result::ERROR_OUT_OF_POOL_MEMORY),
            Ok(Room::Certain) => device.post(VkOp::ALLOCATE_DESCRIPTOR_SETS, body),
            Ok(Room::AskHost) => device
                .call(VkOp::ALLOCATE_DESCRIPTOR_SETS, body, |reply| Ok(vk::Result::from_raw(reply.i32()?)))
                .and_then(|result| result.result())
                .inspect_err(|_| ids.iter().for_each(|id| pool.free(*id))),
        };
        if result.is_err() {
            for id in &ids {
                device.objects.descriptor_sets.remove(*id);
            }
            return result;
        }
        for (place, id) in places.iter_mut().zip(ids) {
            *place = vk::DescriptorSet::from_raw(id);
        }
        Ok(())
    })
}

/// # Safety
/// `info` and its chain are valid.
unsafe fn needs_of(device: &Device, info: &vk::DescriptorSetAllocateInfo<'_>) -> Vec<Counts> {
    // SAFETY: the caller passes arrays of the lengths named.
    let layouts = unsafe { slice(info.p_set_layouts, info.descriptor_set_count) };
    // SAFETY: the caller passes a valid chain.
    let variable = unsafe { find::<vk::DescriptorSetVariableDescriptorCountAllocateInfo<'_>>(info.p_next) };
    let variable = variable.map_or(&[][..], |variable| {
        // SAFETY: as above.
        unsafe { slice(variable.p_descriptor_counts, variable.descriptor_set_count) }
    });
    let needs = layouts.iter().enumerate().map(|(index, layout)| {
        let count = variable.get(index).copied().unwrap_or_default();
        device
            .objects
            .layouts
            .with(layout.as_raw(), |layout| layout.needs(count))
            .unwrap_or_else(|| Counts::from([]))
    });
    needs.collect()
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
    // SAFETY: the program passes an array of the length it names.
    let handles = unsafe { slice(sets, count) };
    guard_result(|| {
        let state = device.objects.descriptor_pools.get(pool.as_raw()).ok_or(vk::Result::ERROR_UNKNOWN)?;
        // A lost device has nothing left to free.
        let _ = device.post(VkOp::FREE_DESCRIPTOR_SETS, |encoder| {
            // SAFETY: the program passes an array of sets.
            unsafe { commands::encode_free_descriptor_sets(encoder, pool, count, sets) };
        });
        for set in handles.iter().map(|set| set.as_raw()) {
            if device.objects.descriptor_sets.remove(set).is_some() {
                state.free(set);
            }
        }
        Ok(())
    })
}

/// `vkUpdateDescriptorSets`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn update_descriptor_sets(
    device: vk::Device,
    write_count: u32,
    writes: *const vk::WriteDescriptorSet<'_>,
    copy_count: u32,
    copies: *const vk::CopyDescriptorSet<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // A lost device has nothing left to update.
        let _ = device.post(VkOp::UPDATE_DESCRIPTOR_SETS, |encoder| {
            // SAFETY: the program passes arrays of the lengths it names.
            unsafe {
                commands::encode_update_descriptor_sets(encoder, write_count, writes, copy_count, copies);
            };
        });
    });
}
