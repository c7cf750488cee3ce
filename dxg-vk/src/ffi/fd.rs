//! File descriptors of the program as numbers.

// UNSAFETY: descriptors come from and go to the program as numbers.
#![expect(unsafe_code, reason = "the program passes descriptors as numbers")]

use std::ffi::c_int;
use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;

use ash::vk;

/// A copy of a descriptor of the program, which keeps its own.
///
/// # Errors
/// Invalid external handle when the number is no open descriptor, too many objects when there can be no copy.
pub(crate) fn copy(number: c_int) -> Result<OwnedFd, vk::Result> {
    // SAFETY: this command touches no memory, and fails for what is no descriptor.
    let copied = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if copied < 0 {
        let error = std::io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => vk::Result::ERROR_TOO_MANY_OBJECTS,
            _ => vk::Result::ERROR_INVALID_EXTERNAL_HANDLE,
        });
    }
    // SAFETY: the descriptor was made just now and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(copied) })
}

/// Closes a descriptor that the program has given up.
///
/// # Safety
/// The descriptor is open, and the program does not use it any more.
pub(crate) unsafe fn close(number: c_int) {
    // SAFETY: the caller promises that the descriptor is open and ours.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}

/// Gives a descriptor to the program.
pub(crate) fn give(descriptor: OwnedFd) -> c_int {
    descriptor.into_raw_fd()
}
