//! Dispatchable handles: pointers to a word that the Vulkan loader writes to, followed by a number of ours.

use std::sync::OnceLock;

use ash::vk;
use ash::vk::Handle;

use crate::state::QUEUES;

/// What the loader expects in the first word of a new dispatchable object.
const LOADER_MAGIC: usize = 0x01CD_C0DE;

/// What a dispatchable handle points to. The loader writes the first word.
#[repr(C)]
pub(crate) struct Dispatchable {
    loader_word: usize,
    number: u64,
}

/// Makes a handle for `number`; [`retire`] ends it.
pub(crate) fn publish<H: Handle>(number: u64) -> H {
    let object = Box::new(Dispatchable { loader_word: LOADER_MAGIC, number });
    H::from_raw(Box::into_raw(object) as u64)
}

/// The number of a handle; 0 for the null handle.
///
/// # Safety
/// The handle is null or a live one that [`publish`] made.
pub(crate) unsafe fn number<H: Handle>(handle: H) -> u64 {
    let pointer = handle.as_raw() as *const Dispatchable;
    // SAFETY:
    // - the caller says that it is null or points to a live object.
    unsafe { pointer.as_ref() }.map_or(0, |object| object.number)
}

/// Ends a handle and gives its number; 0 for the null handle.
///
/// # Safety
/// The handle is null or a live one that [`publish`] made, and nobody uses it after this.
pub(crate) unsafe fn retire<H: Handle>(handle: H) -> u64 {
    let pointer = handle.as_raw() as *mut Dispatchable;
    if pointer.is_null() {
        return 0;
    }
    // SAFETY:
    // - not null, so it came out of the box that `publish` made, and nobody else has it.
    unsafe { Box::from_raw(pointer) }.number
}

/// The driver's one physical device.
pub(crate) fn physical_device() -> vk::PhysicalDevice {
    static HANDLE: OnceLock<u64> = OnceLock::new();
    vk::PhysicalDevice::from_raw(*HANDLE.get_or_init(|| publish::<vk::PhysicalDevice>(0).as_raw()))
}

/// A queue, by its index over all families.
pub(crate) fn queue(index: usize) -> vk::Queue {
    static HANDLES: [OnceLock<u64>; QUEUES] = [const { OnceLock::new() }; QUEUES];
    let number = u64::try_from(index).unwrap_or(u64::MAX);
    let handle =
        HANDLES.get(index).map(|handle| handle.get_or_init(|| publish::<vk::Queue>(number).as_raw()));
    vk::Queue::from_raw(handle.copied().unwrap_or_default())
}
