//! Dispatchable handles: pointers to a word of the loader's followed by our object.
//!
//! *Why.* The Vulkan loader writes its dispatch table over the first word of every dispatchable object and checks before
//! that the word holds its magic number.

// UNSAFETY: turns handles, which the program passes back as plain pointers, into references to our objects.
#![expect(unsafe_code, reason = "handles of the program are pointers to our objects")]

use ash::vk;
use ash::vk::Handle;

use super::command::CommandBuffer;
use super::device::DeviceObject;
use super::instance::Instance;
use super::instance::PhysicalObject;
use super::queue::QueueObject;

/// What the loader expects in the first word of a new dispatchable object.
const LOADER_MAGIC: usize = 0x01CD_C0DE;

/// An object behind a dispatchable handle.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Dispatchable<T> {
    loader_word: usize,
    object: T,
}

/// A type that has a dispatchable handle.
pub(crate) trait Object: Sized {
    /// Its handle.
    type Handle: Handle + Copy;
}

impl Object for Instance {
    type Handle = vk::Instance;
}
impl Object for PhysicalObject {
    type Handle = vk::PhysicalDevice;
}
impl Object for DeviceObject {
    type Handle = vk::Device;
}
impl Object for QueueObject {
    type Handle = vk::Queue;
}
impl Object for CommandBuffer {
    type Handle = vk::CommandBuffer;
}

/// Moves an object behind a new handle; [`retire`] ends it.
pub(crate) fn publish<T: Object>(object: T) -> T::Handle {
    let pointer = Box::into_raw(Box::new(Dispatchable { loader_word: LOADER_MAGIC, object }));
    T::Handle::from_raw(pointer as u64)
}

/// The object behind a handle.
///
/// # Safety
/// `handle` came from [`publish`] of the same type and is not retired while the reference lives.
pub(crate) unsafe fn object<'a, T: Object>(handle: T::Handle) -> &'a T {
    let pointer = handle.as_raw() as *const Dispatchable<T>;
    // SAFETY: the caller passes a live handle, which is a pointer that `publish` made from a box of this type.
    let dispatchable = unsafe { &*pointer };
    &dispatchable.object
}

/// The object behind a handle, to be changed.
///
/// # Safety
/// As [`object`]; and no other reference to the object is alive: its handle is externally synchronised.
pub(crate) unsafe fn object_mut<'a, T: Object>(handle: T::Handle) -> &'a mut T {
    let pointer = handle.as_raw() as *mut Dispatchable<T>;
    // SAFETY: the caller passes a live handle, which is a pointer that `publish` made from a box of this type, and
    // promises that nothing else refers to the object.
    let dispatchable = unsafe { &mut *pointer };
    &mut dispatchable.object
}

/// Takes an object back from its handle, which is dead afterwards.
///
/// # Safety
/// `handle` came from [`publish`] of the same type, is not null, and nothing uses it any more.
pub(crate) unsafe fn retire<T: Object>(handle: T::Handle) -> T {
    let pointer = handle.as_raw() as *mut Dispatchable<T>;
    // SAFETY: the caller passes a live handle, which is a pointer that `publish` made with `Box::into_raw`.
    let dispatchable = unsafe { Box::from_raw(pointer) };
    dispatchable.object
}
