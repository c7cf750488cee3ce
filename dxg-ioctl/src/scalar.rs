//! The scalar types that ABI structs are made of.

use std::fmt;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// A handle as it crosses the interface: 32 bits that name an object of one process, or [`RawHandle::NONE`].
///
/// Nothing is known about what it names. [`crate::handle`] takes it apart.
///
/// Source: header.
#[doc(alias = "D3DKMT_HANDLE")]
#[doc(alias = "d3dkmthandle")]
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RawHandle(pub u32);

impl RawHandle {
    /// The value that never names an object.
    pub const NONE: Self = Self(0);

    /// Whether this is [`RawHandle::NONE`].
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for RawHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawHandle({:#010x})", self.0)
    }
}

impl fmt::Display for RawHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// A locally unique identifier: names an adapter as long as the machine runs.
///
/// Source: header.
#[doc(alias = "LUID")]
#[doc(alias = "winluid")]
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct Luid {
    /// The low 32 bits.
    #[doc(alias = "LowPart")]
    pub a: u32,
    /// The high 32 bits.
    #[doc(alias = "HighPart")]
    pub b: u32,
}

impl Luid {
    /// The identifier whose 64 bits are `value`.
    pub const fn from_u64(value: u64) -> Self {
        Self { a: (value & 0xffff_ffff) as u32, b: (value >> 32) as u32 }
    }

    /// All 64 bits.
    pub const fn to_u64(self) -> u64 {
        (self.b as u64) << 32 | self.a as u64
    }
}

impl fmt::Display for Luid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.b, self.a)
    }
}

macro_rules! u64_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    };
}

u64_newtype! {
    /// An address in the GPU's virtual address space, in bytes.
    GpuVa
}

u64_newtype! {
    /// A value of a monitored fence. Values only grow; a wait for `n` ends when the fence has reached `n`.
    FenceValue
}

u64_newtype! {
    /// An address in the calling process, as the kernel ABI carries it: a number, never dereferenced here.
    UserPtr
}

impl Default for FenceValue {
    /// The value of a fence that nobody has signalled.
    fn default() -> Self {
        Self(0)
    }
}

impl UserPtr {
    /// No address.
    pub const NULL: Self = Self(0);

    /// The address of a buffer that the node will write. The buffer must outlive the call that carries this.
    pub fn to_buffer<T>(buffer: &mut [T]) -> Self {
        Self(buffer.as_mut_ptr().expose_provenance() as u64)
    }

    /// The address of a list that the node will read. The list must outlive the call that carries this.
    pub fn to_list<T>(list: &[T]) -> Self {
        Self(list.as_ptr().expose_provenance() as u64)
    }

    /// Whether this is [`UserPtr::NULL`].
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luid_halves_are_low_then_high() {
        let luid = Luid::from_u64(0x1122_3344_5566_7788);
        assert_eq!((luid.a, luid.b), (0x5566_7788, 0x1122_3344));
        assert_eq!(luid.to_u64(), 0x1122_3344_5566_7788);
        assert_eq!(luid.to_string(), "11223344-55667788");
    }

    #[test]
    fn user_ptr_of_a_buffer_is_its_address() {
        let mut buffer = [0u8; 4];
        assert_eq!(UserPtr::to_buffer(&mut buffer).0, buffer.as_ptr().addr() as u64);
        assert!(UserPtr::NULL.is_null());
    }
}
