//! NTSTATUS and errno, and how each becomes the other.
//!
//! The host answers with a status. The driver turns a failure into an errno ([`HOST_STATUS_TO_ERRNO`]) and the library
//! turns that into a status again ([`ERRNO_TO_STATUS`]). Both maps lose information: many failures become
//! EINVAL and come back as [`NtStatus::INVALID_PARAMETER`].
//!
//! Source: observed.

use std::fmt;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// A status of the host. Failures have the top bit set; everything else is success of some kind.
///
/// Source: header.
#[doc(alias = "NTSTATUS")]
#[doc(alias = "ntstatus")]
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NtStatus(pub u32);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl NtStatus {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name of a known status, without `STATUS_`.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// Done.
    SUCCESS = 0;
    /// A wait ended without its event. A success-class value.
    TIMEOUT = 0x0000_0102;
    /// Accepted, done later: a paging fence tells when.
    PENDING = 0x0000_0103;
    /// Failed, and nothing more is known.
    UNSUCCESSFUL = 0xC000_0001;
    /// The host does not implement it.
    NOT_IMPLEMENTED = 0xC000_0002;
    /// No such handle.
    INVALID_HANDLE = 0xC000_0008;
    /// An argument is wrong.
    INVALID_PARAMETER = 0xC000_000D;
    /// Out of memory.
    NO_MEMORY = 0xC000_0017;
    /// Not an operation of this object.
    ILLEGAL_INSTRUCTION = 0xC000_001D;
    /// Not allowed.
    ACCESS_DENIED = 0xC000_0022;
    /// The answer does not fit.
    BUFFER_TOO_SMALL = 0xC000_0023;
    /// The handle names an object of another kind.
    OBJECT_TYPE_MISMATCH = 0xC000_0024;
    /// The name is not one.
    OBJECT_NAME_INVALID = 0xC000_0033;
    /// Nothing has that name.
    OBJECT_NAME_NOT_FOUND = 0xC000_0034;
    /// Something has that name already.
    OBJECT_NAME_COLLISION = 0xC000_0035;
    /// Not supported here.
    NOT_SUPPORTED = 0xC000_00BB;
    /// The device is gone; every later call on it says so too.
    DEVICE_REMOVED = 0xC000_02B6;
    /// The allocation is in use.
    GRAPHICS_ALLOCATION_BUSY = 0xC01E_0102;
}

impl NtStatus {
    /// Whether this is not a failure.
    pub const fn is_success(self) -> bool {
        self.0 >> 31 == 0
    }

    /// Bits 0 to 15: which status of its facility this is.
    pub const fn code(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// Bits 16 to 28: who defines the status.
    pub const fn facility(self) -> u16 {
        (self.0 >> 16 & 0x1fff) as u16
    }

    /// Bits 30 and 31: success, information, warning, error.
    pub const fn severity(self) -> u8 {
        (self.0 >> 30) as u8
    }

    /// The status in the return value of a call.
    pub const fn from_return(value: i32) -> Self {
        Self(value.cast_unsigned())
    }

    /// The status as a signed number, as headers declare it.
    pub const fn as_i32(self) -> i32 {
        self.0.cast_signed()
    }

    /// Success statuses as `Ok`, failures as `Err`.
    pub const fn into_result(self) -> Result<Self, Self> {
        if self.is_success() { Ok(self) } else { Err(self) }
    }

    /// The errno that the driver makes of it; `None` for a success, which it passes on unchanged.
    pub fn to_errno(self) -> Option<Errno> {
        if self.is_success() {
            return None;
        }
        let known = HOST_STATUS_TO_ERRNO.iter().find(|(status, _)| *status == self);
        Some(known.map_or(Errno::EINVAL, |(_, errno)| *errno))
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NtStatus({self})")
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{:#010x} {name}", self.0),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

/// An error number of the system.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self(libc::$name);)*

            /// The name of a number that the interface uses.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(libc::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// Not permitted; also what an unsupported operation becomes.
    EPERM;
    /// No such entry.
    ENOENT;
    /// A signal ended the call.
    EINTR;
    /// Input or output error.
    EIO;
    /// No such handle or descriptor.
    EBADF;
    /// Try again: a ring stayed full.
    EAGAIN;
    /// Out of memory.
    ENOMEM;
    /// Not allowed.
    EACCES;
    /// An address is not the caller's.
    EFAULT;
    /// Exists already.
    EEXIST;
    /// The device is gone.
    ENODEV;
    /// An argument is wrong.
    EINVAL;
    /// Not a request of this node.
    ENOTTY;
    /// Not implemented.
    ENOSYS;
    /// The object is of another kind.
    EPROTOTYPE;
    /// Does not fit.
    EOVERFLOW;
    /// Not supported.
    EOPNOTSUPP;
    /// Under way.
    EINPROGRESS;
    /// The state cannot be recovered.
    ENOTRECOVERABLE;
}

impl Errno {
    /// The status that the library makes of it. Numbers without an entry, EFAULT, ENOTTY, EINTR and ENOTRECOVERABLE
    /// among them, become [`NtStatus::UNSUCCESSFUL`].
    pub fn to_status(self) -> NtStatus {
        let known = ERRNO_TO_STATUS.iter().find(|(errno, _)| *errno == self);
        known.map_or(NtStatus::UNSUCCESSFUL, |(_, status)| *status)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({self})")
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// What the driver makes of a failure of the host. Any other failure becomes EINVAL; a success is passed on.
pub const HOST_STATUS_TO_ERRNO: [(NtStatus, Errno); 14] = [
    (NtStatus::OBJECT_NAME_COLLISION, Errno::EEXIST),
    (NtStatus::NO_MEMORY, Errno::ENOMEM),
    (NtStatus::INVALID_PARAMETER, Errno::EINVAL),
    (NtStatus::OBJECT_NAME_INVALID, Errno::ENOENT),
    (NtStatus::OBJECT_NAME_NOT_FOUND, Errno::ENOENT),
    (NtStatus::BUFFER_TOO_SMALL, Errno::EOVERFLOW),
    (NtStatus::DEVICE_REMOVED, Errno::ENODEV),
    (NtStatus::ACCESS_DENIED, Errno::EACCES),
    (NtStatus::NOT_SUPPORTED, Errno::EPERM),
    (NtStatus::NOT_IMPLEMENTED, Errno::EPERM),
    (NtStatus::ILLEGAL_INSTRUCTION, Errno::EOPNOTSUPP),
    (NtStatus::INVALID_HANDLE, Errno::EBADF),
    (NtStatus::GRAPHICS_ALLOCATION_BUSY, Errno::EINPROGRESS),
    (NtStatus::OBJECT_TYPE_MISMATCH, Errno::EPROTOTYPE),
];

/// What the library makes of an errno. Any other errno becomes [`NtStatus::UNSUCCESSFUL`].
pub const ERRNO_TO_STATUS: [(Errno, NtStatus); 14] = [
    (Errno::EEXIST, NtStatus::OBJECT_NAME_COLLISION),
    (Errno::ENOMEM, NtStatus::NO_MEMORY),
    (Errno::EINVAL, NtStatus::INVALID_PARAMETER),
    (Errno::ENOENT, NtStatus::OBJECT_NAME_INVALID),
    (Errno::EAGAIN, NtStatus::TIMEOUT),
    (Errno::EOVERFLOW, NtStatus::BUFFER_TOO_SMALL),
    (Errno::ENODEV, NtStatus::DEVICE_REMOVED),
    (Errno::EACCES, NtStatus::ACCESS_DENIED),
    (Errno::ENOSYS, NtStatus::NOT_SUPPORTED),
    (Errno::EPERM, NtStatus::NOT_SUPPORTED),
    (Errno::EOPNOTSUPP, NtStatus::ILLEGAL_INSTRUCTION),
    (Errno::EBADF, NtStatus::INVALID_HANDLE),
    (Errno::EINPROGRESS, NtStatus::GRAPHICS_ALLOCATION_BUSY),
    (Errno::EPROTOTYPE, NtStatus::OBJECT_TYPE_MISMATCH),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_graphics_failure() {
        let status = NtStatus::GRAPHICS_ALLOCATION_BUSY;
        assert_eq!((status.severity(), status.facility(), status.code()), (3, 0x1e, 0x102));
    }

    #[test]
    fn success_class_statuses_have_no_errno_and_are_ok() {
        for status in [NtStatus::SUCCESS, NtStatus::TIMEOUT, NtStatus::PENDING, NtStatus(0x7fff_ffff)] {
            assert_eq!(status.to_errno(), None);
            assert_eq!(status.into_result(), Ok(status));
        }
        assert_eq!(NtStatus::UNSUCCESSFUL.into_result(), Err(NtStatus::UNSUCCESSFUL));
    }

    #[test]
    fn raw_return_value_keeps_its_bits() {
        assert_eq!(NtStatus::from_return(-0x3fff_fff3), NtStatus::INVALID_PARAMETER);
        assert_eq!(NtStatus::INVALID_PARAMETER.as_i32(), -0x3fff_fff3);
    }

    #[test]
    fn display_names_known_values_only() {
        assert_eq!(NtStatus::DEVICE_REMOVED.to_string(), "0xc00002b6 DEVICE_REMOVED");
        assert_eq!(NtStatus(0xc000_1234).to_string(), "0xc0001234");
        assert_eq!(
            (Errno::ENODEV.to_string(), Errno(4095).to_string()),
            ("ENODEV".into(), "errno 4095".into())
        );
    }
}
