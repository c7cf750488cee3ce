//! The raw call.
//!
//! It goes through the C library's `ioctl`, so that a program which interposes that symbol sees it.
//!
//! *Results.* The node answers 0, a positive status (of which only [`NtStatus::PENDING`] is known), or an errno. One
//! refusal of a standard allocation comes back as the raw status 0xC000000D instead, because the C library takes
//! only -4095..=-1 for errors; it is reported as the status it is.
//!
//! *Interruption.* A wait for the host's answer is not disturbed by signals, except one that kills. Only the CPU wait
//! blocks interruptibly; it is asked again ([`OnInterrupt::Repeat`]), which makes a new wait and is harmless since
//! a late wake-up of the old one is ignored.
//!
//! Source: observed.

// UNSAFETY: the one call out of Rust that this crate exists for.
#![expect(unsafe_code, reason = "calls libc::ioctl, whose effect the compiler cannot know")]

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::ptr;

use thiserror::Error;

use crate::request::OnInterrupt;
use crate::request::PlainRequest;
use crate::request::Request;
use crate::status::Errno;
use crate::status::NtStatus;

/// Why a request failed, in the terms of whoever answered.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The answer was a failure status.
    #[error("the node answered status {0}")]
    Status(NtStatus),
    /// The answer was an errno.
    #[error("the node answered {0}")]
    Os(Errno),
}

impl CallError {
    /// The status that the library would report to its caller.
    pub fn status(self) -> NtStatus {
        match self {
            Self::Status(status) => status,
            Self::Os(errno) => errno.to_status(),
        }
    }

    /// The errno that the driver would report to its caller.
    pub fn errno(self) -> Errno {
        match self {
            // Every value of this variant is a failure, and every failure has an errno.
            Self::Status(status) => status.to_errno().unwrap_or(Errno::EINVAL),
            Self::Os(errno) => errno,
        }
    }
}

/// Sends a request and returns its success status: [`NtStatus::SUCCESS`] or [`NtStatus::PENDING`].
///
/// # Safety
///
/// The node reads and writes the caller's memory at every address in `args`, and at every address in the structs
/// those point to, for the lengths that the accompanying counts and sizes say. For each of them that the request
/// uses, the memory must be valid for that, not otherwise referenced while the call runs, and, where the request hands
/// memory over (existing system memory of an allocation), for as long as the object lives. Requests that destroy
/// or unlock may remove mappings: nothing may refer to those afterwards.
pub unsafe fn call<A: Request>(node: BorrowedFd<'_>, args: &mut A) -> Result<NtStatus, CallError> {
    loop {
        // SAFETY:
        // - the descriptor is open: it is borrowed for the duration of the call.
        // - `args` is valid for reads and writes of `size_of::<A>()` bytes and not aliased: it is our `&mut`.
        // - `A::IOCTL` encodes that size, asserted where `Request` is implemented (the trait is sealed), so that the
        //   kernel goes no further; every byte pattern it may leave is a valid `A` (`FromBytes`).
        // - what `args` points to is the caller's obligation.
        let ret = unsafe { libc::ioctl(node.as_raw_fd(), A::IOCTL.0.into(), ptr::from_mut(args)) };
        let result = answer(ret, io::Error::last_os_error);
        if !is_repeated(result, A::ON_INTERRUPT) {
            return result;
        }
    }
}

/// What a return value says; `error` is asked only when there is an errno.
fn answer(ret: i32, error: impl FnOnce() -> io::Error) -> Result<NtStatus, CallError> {
    if ret == -1 {
        return Err(CallError::Os(Errno(error().raw_os_error().unwrap_or(libc::EIO))));
    }
    NtStatus::from_return(ret).into_result().map_err(CallError::Status)
}

/// Whether the call was only interrupted and may be made again.
fn is_repeated(result: Result<NtStatus, CallError>, policy: OnInterrupt) -> bool {
    policy == OnInterrupt::Repeat && result == Err(CallError::Os(Errno::EINTR))
}

/// Sends a request that holds no address: the only memory the node writes is `args`.
///
/// Destroying an object may remove a mapping that the node made for it. That mapping was only ever handed out as
/// a number; who made a reference from it answers for its end.
pub fn call_plain<A: PlainRequest>(node: BorrowedFd<'_>, args: &mut A) -> Result<NtStatus, CallError> {
    // SAFETY: `PlainRequest` is implemented only for arguments without an address, so there is no memory besides `args`
    // that could be touched through one.
    unsafe { call(node, args) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use zerocopy::FromZeros;

    use super::*;
    use crate::abi::CloseAdapter;

    #[test]
    fn call_on_a_file_that_is_no_node_is_enotty_and_leaves_the_argument() {
        let null = File::open("/dev/null").unwrap();
        let mut args = CloseAdapter::new_zeroed();
        args.adapter_handle.0 = 0x4000_0000;
        assert_eq!(call_plain(null.as_fd(), &mut args), Err(CallError::Os(Errno::ENOTTY)));
        assert_eq!(args.adapter_handle.0, 0x4000_0000);
    }

    fn errno(code: i32) -> impl FnOnce() -> io::Error {
        move || io::Error::from_raw_os_error(code)
    }

    #[test]
    fn return_values_are_statuses_and_only_minus_one_is_an_errno() {
        assert_eq!(answer(0, errno(libc::EINVAL)), Ok(NtStatus::SUCCESS));
        assert_eq!(answer(0x103, errno(libc::EINVAL)), Ok(NtStatus::PENDING));
        let raw = NtStatus::INVALID_PARAMETER.as_i32();
        assert_eq!(answer(raw, errno(libc::ENOMEM)), Err(CallError::Status(NtStatus::INVALID_PARAMETER)));
        assert_eq!(answer(-1, errno(libc::ENODEV)), Err(CallError::Os(Errno::ENODEV)));
    }

    #[test]
    fn interrupted_call_is_repeated_only_where_the_request_is_a_wait() {
        let interrupted = Err(CallError::Os(Errno::EINTR));
        assert!(is_repeated(interrupted, OnInterrupt::Repeat));
        assert!(!is_repeated(interrupted, OnInterrupt::Report));
        assert!(!is_repeated(Err(CallError::Os(Errno::EAGAIN)), OnInterrupt::Repeat));
        assert!(!is_repeated(Ok(NtStatus::SUCCESS), OnInterrupt::Repeat));
    }

    #[test]
    fn both_kinds_of_failure_have_both_codes() {
        assert_eq!(CallError::Os(Errno::ENODEV).status(), NtStatus::DEVICE_REMOVED);
        assert_eq!(CallError::Status(NtStatus::DEVICE_REMOVED).errno(), Errno::ENODEV);
    }
}
