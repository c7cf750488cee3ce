//! Descriptors that programs hand over by number.

// UNSAFETY: makes owners of descriptors that exist as numbers.
#![expect(unsafe_code, reason = "the API hands descriptors over as numbers")]

use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use crate::generated::enums::CUresult;
use crate::types::Answer;

/// A copy of a descriptor.
///
/// # Errors
/// Invalid value when it is none.
pub fn duplicate(number: i32) -> Answer<OwnedFd> {
    if number < 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    // SAFETY: the number is not negative; the program promises that it names an open descriptor during the call. If it does not,
    // the copy fails and nothing else is done with it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned().map_err(|_| CUresult::ERROR_INVALID_VALUE)
}

/// Closes a descriptor that a program has given away.
pub fn close(number: i32) {
    // SAFETY: an import that succeeded owns the descriptor, so nobody else uses it; it was open a moment ago.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}
