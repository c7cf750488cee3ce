//! The parts of a 32-bit handle.
//!
//! | bits  | field    | use                                                              |
//! |-------|----------|------------------------------------------------------------------|
//! | 0–5   | instance | always 0; ignored on lookup                                      |
//! | 6–29  | index    | slot in a table of the process                                   |
//! | 30–31 | unique   | reuse counter of the slot, 1 to 3; 0 marks a value that is no handle |
//!
//! Each process has two tables: one for adapters, whose handles the guest chooses, and one for all other objects, whose
//! handles the host chooses. So a handle of an adapter and a handle of a device may be equal.
//!
//! Source: header (the bits), observed (their use).

use thiserror::Error;

use crate::scalar::RawHandle;

/// Width of the instance field in bits.
pub const INSTANCE_BITS: u32 = 6;
/// Width of the index field in bits.
pub const INDEX_BITS: u32 = 24;
/// Width of the reuse counter in bits.
pub const UNIQUE_BITS: u32 = 2;
/// The largest index.
pub const INDEX_MAX: u32 = (1 << INDEX_BITS) - 1;
/// The largest reuse counter.
pub const UNIQUE_MAX: u8 = (1 << UNIQUE_BITS) - 1;

const INSTANCE_MASK: u32 = (1 << INSTANCE_BITS) - 1;

/// A number that no handle has.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError {
    /// The index does not fit its 24 bits.
    #[error("handle index {0:#x} does not fit in 24 bits")]
    Index(u32),
    /// The reuse counter is not 1, 2 or 3.
    #[error("handle reuse counter {0} is not in 1..=3")]
    Unique(u8),
}

/// A handle taken apart. Always names a possible object: the index fits and the reuse counter is 1 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandleParts {
    index: u32,
    unique: u8,
}

impl HandleParts {
    /// The parts of a handle for the slot `index`.
    pub const fn new(index: u32, unique: u8) -> Result<Self, HandleError> {
        if index > INDEX_MAX {
            return Err(HandleError::Index(index));
        }
        if unique == 0 || unique > UNIQUE_MAX {
            return Err(HandleError::Unique(unique));
        }
        Ok(Self { index, unique })
    }

    /// Takes a handle apart. The instance field is ignored, as on lookup.
    pub const fn unpack(handle: RawHandle) -> Result<Self, HandleError> {
        let unique = (handle.0 >> (INSTANCE_BITS + INDEX_BITS)) as u8;
        Self::new((handle.0 >> INSTANCE_BITS) & INDEX_MAX, unique)
    }

    /// The handle of these parts, with instance 0.
    pub const fn pack(self) -> RawHandle {
        RawHandle(self.index << INSTANCE_BITS | (self.unique as u32) << (INSTANCE_BITS + INDEX_BITS))
    }

    /// The slot in the table.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// The reuse counter of the slot.
    pub const fn unique(self) -> u8 {
        self.unique
    }

    /// The same slot after its next reuse: 1, 2, 3, 1, ...
    #[must_use]
    pub const fn next_use(self) -> Self {
        let unique = if self.unique == UNIQUE_MAX { 1 } else { self.unique + 1 };
        Self { index: self.index, unique }
    }
}

impl RawHandle {
    /// The instance field, which is 0 in every handle seen.
    pub const fn instance(self) -> u32 {
        self.0 & INSTANCE_MASK
    }

    /// The index field, whether or not the handle is one that can exist.
    pub const fn index(self) -> u32 {
        (self.0 >> INSTANCE_BITS) & INDEX_MAX
    }

    /// The reuse counter, whether or not the handle is one that can exist.
    pub const fn unique(self) -> u32 {
        self.0 >> (INSTANCE_BITS + INDEX_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_two_adapter_handles_have_the_documented_values() {
        assert_eq!(HandleParts::new(0, 1).unwrap().pack(), RawHandle(0x4000_0000));
        assert_eq!(HandleParts::new(1, 1).unwrap().pack(), RawHandle(0x4000_0040));
    }

    #[test]
    fn unpack_of_pack_is_the_same_at_the_corners() {
        for index in [0, 1, 0x12_3456, INDEX_MAX] {
            for unique in 1..=UNIQUE_MAX {
                let parts = HandleParts::new(index, unique).unwrap();
                assert_eq!(HandleParts::unpack(parts.pack()), Ok(parts));
                assert_eq!((parts.pack().index(), parts.pack().unique()), (index, u32::from(unique)));
            }
        }
    }

    #[test]
    fn zero_and_everything_without_a_reuse_counter_is_refused() {
        assert_eq!(HandleParts::unpack(RawHandle::NONE), Err(HandleError::Unique(0)));
        assert_eq!(HandleParts::unpack(RawHandle(0x3fff_ffff)), Err(HandleError::Unique(0)));
    }

    #[test]
    fn index_or_counter_out_of_range_is_refused() {
        assert_eq!(HandleParts::new(INDEX_MAX + 1, 1), Err(HandleError::Index(INDEX_MAX + 1)));
        assert_eq!(HandleParts::new(0, 0), Err(HandleError::Unique(0)));
        assert_eq!(HandleParts::new(0, 4), Err(HandleError::Unique(4)));
    }

    #[test]
    fn instance_bits_are_ignored_on_lookup() {
        let plain = HandleParts::new(7, 2).unwrap();
        assert_eq!(HandleParts::unpack(RawHandle(plain.pack().0 | 0x3f)), Ok(plain));
        assert_eq!(RawHandle(plain.pack().0 | 0x3f).instance(), 0x3f);
    }

    #[test]
    fn next_use_never_reaches_zero() {
        let mut parts = HandleParts::new(9, 1).unwrap();
        let seen: Vec<u8> = (0..4)
            .map(|_| {
                parts = parts.next_use();
                parts.unique()
            })
            .collect();
        assert_eq!(seen, [2, 3, 1, 2]);
    }
}
