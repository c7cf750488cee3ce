//! The requests of the node: numbers, arguments, and the table of them all.
//!
//! A request number carries its own description: bits 31:30 are 3 (the argument is read and written), bits 29:16 the
//! size of the argument, bits 15:8 the magic 0x47, bits 7:0 which request it is. The node refuses a number that
//! differs in any of these with ENOTTY.
//!
//! Source: header.

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

use crate::generated::requests::TABLE;

/// The request number of an `ioctl` call on a node.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ioctl(pub u32);

impl Ioctl {
    /// Bits 15:8 of every request of a node.
    pub const MAGIC: u8 = 0x47;

    /// Bits 31:30: the argument is read and written.
    const READ_WRITE: u32 = 3 << 30;

    /// The number of the request `nr` with an argument of `size_bytes`.
    ///
    /// # Panics
    ///
    /// Panics when the size does not fit its 14 bits; meant for constants.
    pub const fn encode(nr: u8, size_bytes: usize) -> Self {
        assert!(size_bytes < 1 << 14, "the argument of a request has less than 16384 bytes");
        Self(Self::READ_WRITE | (size_bytes as u32) << 16 | (Self::MAGIC as u32) << 8 | nr as u32)
    }

    /// Which request this is: the low 8 bits.
    pub const fn nr(self) -> u8 {
        (self.0 & 0xff) as u8
    }

    /// The size of the argument in bytes, as the number says.
    pub const fn size_bytes(self) -> usize {
        ((self.0 >> 16) & 0x3fff) as usize
    }

    /// Whether direction and magic are those of a node's requests.
    pub const fn is_node_request(self) -> bool {
        self.0 & Self::READ_WRITE == Self::READ_WRITE && (self.0 >> 8) & 0xff == Self::MAGIC as u32
    }

    /// Every known request, by number: those the driver answers and those that only the library sends.
    pub fn table() -> &'static [RequestInfo] {
        &TABLE
    }

    /// The row of this request. `None` when any part of the number is not what the table says.
    pub fn info(self) -> Option<&'static RequestInfo> {
        Self::table()
            .binary_search_by_key(&self.nr(), |row| row.ioctl.nr())
            .ok()
            .map(|i| &TABLE[i])
            .filter(|row| row.ioctl == self)
    }
}

/// Who knows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// The driver answers it.
    Driver,
    /// The library sends it and the driver answers ENOTTY. Its argument's layout is not known here.
    LibraryOnly,
}

/// One row of the request table.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo {
    /// The request number.
    pub ioctl: Ioctl,
    /// The name in the header (`LX_DXCREATEDEVICE`), or of the library function where the header has none.
    pub name: &'static str,
    /// The name of the constant of [`Ioctl`].
    pub constant: &'static str,
    /// The type in [`crate::abi`] that is the argument.
    pub argument: Option<&'static str>,
    /// The size of the argument.
    pub size_bytes: usize,
    /// Which field names the object that the request is for, in words.
    pub selected_by: &'static str,
    /// Who knows it.
    pub support: Support,
}

/// What to do when a signal ends the call early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInterrupt {
    /// Report EINTR. The node reports it only to a caller that is dying, or the request may have had its effect.
    Report,
    /// Ask again: the request is a wait, and a wait that was given up leaves nothing behind.
    Repeat,
}

pub(crate) mod sealed {
    /// Keeps [`super::Request`] to the types of this crate, so that number and size always match.
    pub trait Sealed {}
}

/// An argument struct and the request it belongs to.
///
/// Implemented by generated code only, where the number is asserted to carry the size of the struct.
pub trait Request: sealed::Sealed + FromBytes + IntoBytes + Immutable + KnownLayout + Copy {
    /// The request number.
    const IOCTL: Ioctl;
    /// The name in the header.
    const NAME: &'static str;
    /// What to do on EINTR.
    const ON_INTERRUPT: OnInterrupt;
}

/// A request whose argument holds no address, so that the node writes nothing but the argument itself.
pub trait PlainRequest: Request {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_finds_exact_numbers_only() {
        assert_eq!(Ioctl::CREATE_DEVICE.info().unwrap().argument, Some("CreateDevice"));
        assert!(Ioctl(Ioctl::CREATE_DEVICE.0 ^ 1 << 16).info().is_none());
        assert!(Ioctl::encode(0x4a, 8).info().is_none());
        assert!(Ioctl::encode(0, 8).info().is_none());
    }

    #[test]
    fn numbers_of_other_drivers_are_told_apart() {
        assert!(Ioctl::LOCK2.is_node_request());
        assert!(!Ioctl(0x5401).is_node_request());
    }
}
