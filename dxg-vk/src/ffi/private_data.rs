//! Private data, which lives in the guest alone. A slot handle is a pointer to a [`PrivateSlot`].
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::collections::HashMap;

use ash::vk;
use ash::vk::Handle;
use parking_lot::Mutex;

use super::guard::guard;
use super::guard::guard_result;
use super::pointers::put;

/// The values of one slot, by type and handle of the object.
#[derive(Debug, Default)]
struct PrivateSlot {
    values: Mutex<HashMap<(i32, u64), u64>>,
}

/// # Safety
/// `slot` is a live slot.
unsafe fn slot_of<'a>(slot: vk::PrivateDataSlot) -> &'a PrivateSlot {
    let pointer = slot.as_raw() as *const PrivateSlot;
    // SAFETY: the caller passes a live slot, which is a pointer that `create_private_data_slot` made.
    unsafe { &*pointer }
}

/// `vkCreatePrivateDataSlot`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_private_data_slot(
    _device: vk::Device,
    _info: *const vk::PrivateDataSlotCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    slot: *mut vk::PrivateDataSlot,
) -> vk::Result {
    let pointer = Box::into_raw(Box::<PrivateSlot>::default());
    // SAFETY: the program passes a place for the handle.
    unsafe { put(slot, vk::PrivateDataSlot::from_raw(pointer as u64)) };
    vk::Result::SUCCESS
}

/// `vkDestroyPrivateDataSlot`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_private_data_slot(
    _device: vk::Device,
    slot: vk::PrivateDataSlot,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if !slot.is_null() {
        // SAFETY: not null, so a pointer that `create_private_data_slot` made with `Box::into_raw`, and nothing uses it any
        // more.
        drop(unsafe { Box::from_raw(slot.as_raw() as *mut PrivateSlot) });
    }
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
        slot.values.lock().insert((kind.as_raw(), object), value);
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
        let found = slot.values.lock().get(&(kind.as_raw(), object)).copied();
        // SAFETY: the program passes a place for the value.
        unsafe { put(value, found.unwrap_or_default()) };
    });
}
