//! The answers that this crate gives itself, in the terms of the kernel driver, and what they mean.

use std::io;

use dxg_ioctl::CallError;
use dxg_ioctl::Errno;
use dxg_ioctl::NtStatus;

use crate::ErrorKind;

/// An argument, a handle or the state of an object is wrong.
pub(crate) const INVALID: CallError = CallError::Os(Errno::EINVAL);
/// Out of memory.
pub(crate) const NO_MEMORY: CallError = CallError::Os(Errno::ENOMEM);
/// An address is not the caller's.
pub(crate) const FAULT: CallError = CallError::Os(Errno::EFAULT);
/// A descriptor is not the caller's, or the process could not be made known.
pub(crate) const BAD_DESCRIPTOR: CallError = CallError::Os(Errno::EBADF);
/// Something does not fit: a buffer of the caller, or a completion that is too short.
pub(crate) const OVERFLOW: CallError = CallError::Os(Errno::EOVERFLOW);
/// The device is gone.
pub(crate) const LOST: CallError = CallError::Os(Errno::ENODEV);
/// Not a request of this node, or not from the process that opened it.
pub(crate) const NOT_A_REQUEST: CallError = CallError::Os(Errno::ENOTTY);
/// Not done by this node.
pub(crate) const UNSUPPORTED: CallError = CallError::Os(Errno::EPERM);
/// There is no such thing.
pub(crate) const NOT_FOUND: CallError = CallError::Os(Errno::ENOENT);
/// A ring stayed full.
pub(crate) const AGAIN: CallError = CallError::Os(Errno::EAGAIN);

/// What the system said, as a node says it.
pub(crate) fn from_io(error: &io::Error) -> CallError {
    CallError::Os(Errno(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// A status of the host, as the driver answers it: failures become an errno, anything else is passed on.
pub(crate) fn of_status(status: NtStatus) -> Result<NtStatus, CallError> {
    match status.to_errno() {
        None => Ok(status),
        Some(errno) => Err(CallError::Os(errno)),
    }
}

/// The class of an answer. A failure status and the errno that the driver would make of it are of one class.
pub(crate) fn kind_of(error: CallError) -> ErrorKind {
    match error.errno() {
        Errno::ENODEV | Errno::EIO => ErrorKind::DeviceLost,
        Errno::ENOMEM => ErrorKind::OutOfMemory,
        Errno::EINVAL | Errno::EFAULT | Errno::EBADF | Errno::EPROTOTYPE => ErrorKind::InvalidArgument,
        Errno::ENOENT => ErrorKind::NotFound,
        Errno::EPERM | Errno::ENOSYS | Errno::EOPNOTSUPP => ErrorKind::NotSupported,
        Errno::EACCES => ErrorKind::Permission,
        Errno::EAGAIN | Errno::EINPROGRESS => ErrorKind::Busy,
        Errno::EOVERFLOW => ErrorKind::Size,
        Errno::ENOTTY => ErrorKind::WrongProcess,
        Errno(libc::ECONNREFUSED | libc::ECONNRESET | libc::EPIPE | libc::ENXIO | libc::ETIMEDOUT) => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_status_pending_is_passed_on() {
        assert_eq!(of_status(NtStatus::PENDING), Ok(NtStatus::PENDING));
    }

    #[test]
    fn of_status_failures_become_what_the_driver_makes_of_them() {
        assert_eq!(of_status(NtStatus::DEVICE_REMOVED), Err(LOST));
        assert_eq!(of_status(NtStatus(0xc000_9999)), Err(INVALID));
    }

    #[test]
    fn kind_of_classes_status_and_errno_alike() {
        for (error, kind) in [
            (CallError::Status(NtStatus::DEVICE_REMOVED), ErrorKind::DeviceLost),
            (LOST, ErrorKind::DeviceLost),
            (NO_MEMORY, ErrorKind::OutOfMemory),
            (CallError::Status(NtStatus::INVALID_PARAMETER), ErrorKind::InvalidArgument),
            (UNSUPPORTED, ErrorKind::NotSupported),
            (NOT_A_REQUEST, ErrorKind::WrongProcess),
            (OVERFLOW, ErrorKind::Size),
            (AGAIN, ErrorKind::Busy),
            (CallError::Os(Errno(libc::ECONNREFUSED)), ErrorKind::Unavailable),
            (CallError::Os(Errno(libc::EXDEV)), ErrorKind::Other),
        ] {
            assert_eq!(kind_of(error), kind, "{error}");
        }
    }
}
