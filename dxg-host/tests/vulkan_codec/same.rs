//! Comparisons of what raw pointers lead to.

// UNSAFETY: compares structures behind raw pointers.
#![expect(unsafe_code, reason = "structures hold raw pointers")]

use core::ffi::CStr;
use core::ffi::c_char;

use ash::vk;

use crate::reader::items;
use crate::values;

pub(crate) fn same_one<T>(a: *const T, b: *const T, same: impl Fn(&T, &T) -> bool) -> bool {
    same_list(a, b, 1, same)
}

pub(crate) fn same_list<T>(a: *const T, b: *const T, count: usize, same: impl Fn(&T, &T) -> bool) -> bool {
    // SAFETY: made by the filler or the decoder: null or `count` elements.
    let a = unsafe { items(a, count) };
    // SAFETY: as above.
    let b = unsafe { items(b, count) };
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => false,
    }
}

pub(crate) fn same_blob(a: *const u8, b: *const u8, count: usize) -> bool {
    same_list(a, b, count, |a, b| a == b)
}

/// Whether two unions have the same bytes; both were written through a member that covers them.
pub(crate) fn same_bytes<T>(a: &T, b: &T) -> bool {
    same_blob((&raw const *a).cast(), (&raw const *b).cast(), size_of::<T>())
}

pub(crate) fn same_text(a: *const c_char, b: *const c_char) -> bool {
    if a.is_null() || b.is_null() {
        return a == b;
    }
    // SAFETY: made by the filler or the decoder: a string.
    let a = unsafe { CStr::from_ptr(a) };
    // SAFETY: as above.
    a == unsafe { CStr::from_ptr(b) }
}

pub(crate) fn same_texts(a: *const *const c_char, b: *const *const c_char, count: usize) -> bool {
    same_list(a, b, count, |a, b| same_text(*a, *b))
}

pub(crate) fn same_chain(a: *const vk::BaseOutStructure<'_>, b: *const vk::BaseOutStructure<'_>) -> bool {
    let (mut a, mut b) = (a, b);
    while !a.is_null() && !b.is_null() {
        // SAFETY: not null, a structure of a chain.
        let first = unsafe { &*a };
        // SAFETY: as above.
        let second = unsafe { &*b };
        // SAFETY: both are structures, of the same type.
        if first.s_type != second.s_type || !unsafe { values::same_extension(a, b) } {
            return false;
        }
        (a, b) = (first.p_next, second.p_next);
    }
    a.is_null() && b.is_null()
}
