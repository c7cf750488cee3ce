//! The program's pointers as values and slices.

// UNSAFETY: every function here reads or writes memory that the program names by pointer.
#![expect(unsafe_code, reason = "arguments of the program are pointers")]

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_void;

use ash::vk;

/// The elements at `pointer`; none for a null pointer or a count of 0.
///
/// # Safety
/// A pointer that is not null names `count` elements that stay as they are for `'a`.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, count: u32) -> &'a [T] {
    if pointer.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: not null, and the caller promises `count` live elements.
    unsafe { std::slice::from_raw_parts(pointer, count as usize) }
}

/// The elements at `pointer`, to be written.
///
/// # Safety
/// A pointer that is not null names `count` initialised elements that nothing else uses for `'a`.
pub(crate) unsafe fn slice_mut<'a, T>(pointer: *mut T, count: u32) -> &'a mut [T] {
    if pointer.is_null() || count == 0 {
        return &mut [];
    }
    // SAFETY: not null, and the caller promises `count` elements for our use alone.
    unsafe { std::slice::from_raw_parts_mut(pointer, count as usize) }
}

/// The value at `pointer`, unless it is null.
///
/// # Safety
/// A pointer that is not null names a value that stays as it is for `'a`.
pub(crate) unsafe fn optional<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: null is `None`; otherwise the caller promises a live value.
    unsafe { pointer.as_ref() }
}

/// Writes a result of the call.
///
/// # Safety
/// `pointer` may be written with a `T`.
pub(crate) unsafe fn put<T>(pointer: *mut T, value: T) {
    // SAFETY: the caller promises that the place may be written.
    unsafe { pointer.write(value) };
}

/// A zero-terminated string of the program; `None` for a null pointer.
///
/// # Safety
/// A pointer that is not null names a zero-terminated string that stays as it is for `'a`.
pub(crate) unsafe fn text<'a>(pointer: *const c_char) -> Option<&'a CStr> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller promises the terminator.
    Some(unsafe { CStr::from_ptr(pointer) })
}

/// The strings of an array of pointers.
///
/// # Safety
/// `pointer` is null or names `count` zero-terminated strings that stay as they are for `'a`.
pub(crate) unsafe fn texts<'a>(pointer: *const *const c_char, count: u32) -> Vec<&'a CStr> {
    // SAFETY: the caller promises `count` pointers.
    let pointers = unsafe { slice(pointer, count) };
    // SAFETY: the caller promises that each names a string.
    pointers.iter().filter_map(|pointer| unsafe { text(*pointer) }).collect()
}

/// The structure of type `S` in an extension chain.
///
/// # Safety
/// `next` is null or begins a chain of Vulkan structures that stay as they are for `'a`.
pub(crate) unsafe fn find<'a, S: vk::TaggedStructure>(mut next: *const c_void) -> Option<&'a S> {
    loop {
        // SAFETY: every link of a chain begins with the fields of `BaseInStructure`; null is `None`.
        let base = unsafe { next.cast::<vk::BaseInStructure<'_>>().as_ref() }?;
        if base.s_type == S::STRUCTURE_TYPE {
            // SAFETY: the structure type says that the link is an `S`.
            return unsafe { next.cast::<S>().as_ref() };
        }
        next = base.p_next.cast();
    }
}

/// The structure of type `S` in an extension chain, to be written.
///
/// # Safety
/// `next` is null or begins a chain of Vulkan structures that nothing else uses for `'a`.
pub(crate) unsafe fn find_mut<'a, S: vk::TaggedStructure>(mut next: *mut c_void) -> Option<&'a mut S> {
    loop {
        // SAFETY: every link of a chain begins with the fields of `BaseOutStructure`; null is `None`.
        let base = unsafe { next.cast::<vk::BaseOutStructure<'_>>().as_ref() }?;
        if base.s_type == S::STRUCTURE_TYPE {
            // SAFETY: the structure type says that the link is an `S`.
            return unsafe { next.cast::<S>().as_mut() };
        }
        next = base.p_next.cast();
    }
}

/// Fills the caller's array in the way of the `vkEnumerate*` and `vkGet*` commands: count only for a null array, else as
/// many as fit.
///
/// # Safety
/// `count` is valid; `array` is null or has room for `*count` elements.
pub(crate) unsafe fn enumerate<T: Copy>(values: &[T], count: *mut u32, array: *mut T) -> vk::Result {
    let total = u32::try_from(values.len()).unwrap_or(u32::MAX);
    if array.is_null() {
        // SAFETY: the caller promises that the count may be written.
        unsafe { put(count, total) };
        return vk::Result::SUCCESS;
    }
    // SAFETY: the caller promises that the count may be read.
    let room = unsafe { count.read() };
    let written = room.min(total);
    for (index, value) in values.iter().take(written as usize).enumerate() {
        // SAFETY: `index` is below the room of the array.
        let place = unsafe { array.add(index) };
        // SAFETY: the caller promises that the elements may be written.
        unsafe { put(place, *value) };
    }
    // SAFETY: the caller promises that the count may be written.
    unsafe { put(count, written) };
    if written < total { vk::Result::INCOMPLETE } else { vk::Result::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enumerate_null_array_gives_the_count() {
        let mut count = 99;
        // SAFETY: `count` is ours, the array is null.
        let result = unsafe { enumerate(&[1, 2, 3], &mut count, std::ptr::null_mut()) };
        assert_eq!((result, count), (vk::Result::SUCCESS, 3));
    }

    #[test]
    fn enumerate_small_array_is_incomplete_and_not_overrun() {
        let (mut count, mut room) = (2, [0; 3]);
        // SAFETY: the array has room for more than `count` elements.
        let result = unsafe { enumerate(&[1, 2, 3], &mut count, room.as_mut_ptr()) };
        assert_eq!((result, count, room), (vk::Result::INCOMPLETE, 2, [1, 2, 0]));
    }

    #[test]
    fn find_second_link_is_found_and_others_are_not() {
        let timeline = vk::SemaphoreTypeCreateInfo::default().initial_value(7);
        let first =
            vk::ExportSemaphoreCreateInfo { p_next: (&raw const timeline).cast(), ..Default::default() };
        let chain = (&raw const first).cast();
        // SAFETY: the chain is two live structures.
        let found = unsafe { find::<vk::SemaphoreTypeCreateInfo<'_>>(chain) };
        assert_eq!(found.map(|found| found.initial_value), Some(7));
        // SAFETY: as above.
        let absent = unsafe { find::<vk::MemoryAllocateInfo<'_>>(chain) };
        assert!(absent.is_none());
    }
}
