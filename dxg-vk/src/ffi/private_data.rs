//! Private data, which lives in the guest alone. A slot handle is a pointer to a [`Slot`].
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

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::pointers::put;
use crate::private_data::Slot;

/// # Safety
/// `slot` is a live slot.
unsafe fn slot_of<'a>(slot: vk::PrivateDataSlot) -> &'a Slot {
    let pointer = slot.as_raw() as *const Slot;
    // SAFETY: the caller passes a live slot, which is a pointer that `create_private_data_slot` made.
    unsafe { &*pointer }
}

/// `vkCreatePrivateDataSlot`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_private_data_slot(
    device: vk::Device,
    _info: *const vk::PrivateDataSlotCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    slot: *mut vk::PrivateDataSlot,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        let pointer = Arc::into_raw(device.private_data.open());
        // SAFETY: the program passes a place for the handle.
        unsafe { put(slot, vk::PrivateDataSlot::from_raw(pointer as u64)) };
        Ok(())
    })
}

/// `vkDestroyPrivateDataSlot`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_private_data_slot(
    device: vk::Device,
    slot: vk::PrivateDataSlot,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if slot.is_null() {
        return;
    }
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // SAFETY: not null, so a pointer that `create_private_data_slot` made with `Arc::into_raw`, and nothing uses it any
        // more.
        let state = unsafe { Arc::from_raw(slot.as_raw() as *const Slot) };
        device.private_data.close(&state);
        device.private_data.forget(vk::ObjectType::PRIVATE_DATA_SLOT, slot.as_raw());
    });
}

/// `vkSetPrivateData`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn set_private_data(
    _device: vk::Device,
    kind: vk::ObjectType,
    object: u64,
    slot: vk::PrivateDataSlot,
    value: u64,
) -> vk::Result {
    // SAFETY: the program passes a live slot.
    let slot = unsafe { slot_of(slot) };
    guard_result(|| {
        slot.set(kind, object, value);
        Ok(())
    })
}

/// `vkGetPrivateData`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_private_data(
    _device: vk::Device,
    kind: vk::ObjectType,
    object: u64,
    slot: vk::PrivateDataSlot,
    value: *mut u64,
) {
    // SAFETY: the program passes a live slot.
    let slot = unsafe { slot_of(slot) };
    guard(|| {
        // SAFETY: the program passes a place for the value.
        unsafe { put(value, slot.get(kind, object)) };
    });
}
