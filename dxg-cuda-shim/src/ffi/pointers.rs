//! Pointers that a program gave: addresses with a type, which may be null.
//!
//! *Why.* Every function of the API takes pointers. What a program must guarantee of them is the same everywhere: a pointer that
//! is not null may be read, or written, for as long as the call lasts, for as many elements as the call says. These types stand
//! for that promise, so that what implements the API is safe code.

// UNSAFETY: reads and writes memory of the program that it named by address.
#![expect(unsafe_code, reason = "the program's pointers are read and written")]

use std::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

use crate::generated::enums::CUresult;
use crate::types::Answer;

/// An address in the program, without a type. May be null.
#[repr(transparent)]
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Address(pub usize);

impl Address {
    /// No address.
    pub const NULL: Self = Self(0);

    /// Whether it is null.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The same as an error where it is null.
    ///
    /// # Errors
    /// Invalid value.
    pub fn given(self) -> Answer<Self> {
        if self.is_null() { Err(CUresult::ERROR_INVALID_VALUE) } else { Ok(self) }
    }

    /// The same with a type.
    #[must_use]
    pub fn typed<T>(self) -> Mut<T> {
        Mut { address: self, of: PhantomData }
    }

    /// The same with a type, to be read only.
    #[must_use]
    pub fn typed_const<T>(self) -> Ref<T> {
        Ref { address: self, of: PhantomData }
    }

    /// A bound: the address so many bytes later.
    #[must_use]
    pub fn plus(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// `T *`.
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Mut<T> {
    address: Address,
    of: PhantomData<fn(T)>,
}

/// `const T *`.
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ref<T> {
    address: Address,
    of: PhantomData<fn(T)>,
}

/// `const char *`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Text(Address);

macro_rules! pointer {
    ($name:ident) => {
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $name<T> {}

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.address.fmt(f)
            }
        }

        impl<T: Copy> $name<T> {
            /// No pointer.
            pub const NULL: Self = Self { address: Address::NULL, of: PhantomData };

            /// Whether it is null.
            #[must_use]
            pub fn is_null(self) -> bool {
                self.address.is_null()
            }

            /// Where it points.
            #[must_use]
            pub fn address(self) -> Address {
                self.address
            }

            /// What is there; nothing where it is null.
            #[must_use]
            pub fn get(self) -> Option<T> {
                self.at(0)
            }

            /// What is at an index; nothing where it is null.
            #[must_use]
            pub fn at(self, index: usize) -> Option<T> {
                if self.is_null() {
                    return None;
                }
                let place = ptr::with_exposed_provenance::<T>(self.address.0).wrapping_add(index);
                // SAFETY: the program promises that a pointer that is not null can be read for as many elements as the call
                // says, and callers ask for no other index. C programs may leave it misaligned.
                Some(unsafe { place.read_unaligned() })
            }

            /// What is there.
            ///
            /// # Errors
            /// Invalid value for null.
            pub fn read(self) -> Answer<T> {
                self.get().ok_or(CUresult::ERROR_INVALID_VALUE)
            }

            /// So many elements; null is good for none only.
            ///
            /// # Errors
            /// Invalid value for null.
            pub fn list(self, count: usize) -> Answer<Vec<T>> {
                (0..count).map(|index| self.at(index).ok_or(CUresult::ERROR_INVALID_VALUE)).collect()
            }
        }
    };
}

pointer!(Mut);
pointer!(Ref);

#[cfg(test)]
impl<T> Ref<T> {
    /// A pointer of a test.
    pub(crate) fn at_address(address: Address) -> Self {
        Self { address, of: PhantomData }
    }
}

impl<T: Copy> Mut<T> {
    /// Writes; null is an error.
    ///
    /// # Errors
    /// Invalid value for null.
    pub fn set(self, value: T) -> Answer {
        self.set_at(0, value)
    }

    /// Writes where there is a place.
    pub fn put(self, value: T) {
        // Null is legal where this is used.
        let _ = self.set_at(0, value);
    }

    /// Writes at an index; null is an error.
    ///
    /// # Errors
    /// Invalid value for null.
    pub fn set_at(self, index: usize, value: T) -> Answer {
        self.address.given()?;
        let place = ptr::with_exposed_provenance_mut::<T>(self.address.0).wrapping_add(index);
        // SAFETY: the program promises that a pointer that is not null can be written for as many elements as the call says, and
        // callers ask for no other index. C programs may leave it misaligned.
        unsafe { place.write_unaligned(value) };
        Ok(())
    }

    /// Null is an error.
    ///
    /// # Errors
    /// Invalid value for null.
    pub fn given(self) -> Answer<Self> {
        self.address.given().map(|_| self)
    }
}

impl Mut<u8> {
    /// Writes text with a final zero, cut to `capacity` bytes in all.
    pub fn put_text(self, text: &[u8], capacity: usize) {
        if self.is_null() || capacity == 0 {
            return;
        }
        let kept = text.get(..capacity - 1).unwrap_or(text);
        super::memory::write(self.address, kept);
        super::memory::write(self.address.plus(kept.len()), &[0]);
    }
}

impl Text {
    /// The bytes before the final zero.
    ///
    /// # Errors
    /// Invalid value for null.
    pub fn bytes(self) -> Answer<Vec<u8>> {
        self.0.given()?;
        // SAFETY: the program promises that a string that is not null ends with a zero and is not changed during the call; the
        // reference does not outlive the copy.
        let text = unsafe { CStr::from_ptr(ptr::with_exposed_provenance(self.0.0)) };
        Ok(text.to_bytes().to_vec())
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Where it points.
    #[must_use]
    pub fn address(self) -> Address {
        self.0
    }

    /// A string at an address.
    #[must_use]
    pub fn of(address: Address) -> Self {
        Self(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_read_as_nothing_and_refused_where_a_place_is_needed() {
        let null = Mut::<u32>::NULL;
        assert_eq!(null.get(), None);
        assert_eq!(null.set(1), Err(CUresult::ERROR_INVALID_VALUE));
        null.put(1);
        assert_eq!(null.list(0), Ok(Vec::new()));
        assert!(null.list(1).is_err());
    }

    #[test]
    fn put_text_is_cut_and_ends_with_zero() {
        let mut place = [7_u8; 4];
        let at = Address(place.as_mut_ptr().expose_provenance()).typed::<u8>();
        at.put_text(b"abcdef", 3);
        assert_eq!(place, *b"ab\0\x07");
    }
}
