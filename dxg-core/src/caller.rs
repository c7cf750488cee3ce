//! The caller's memory and descriptors, as a request names them.
//!
//! *Why.* A request of the kernel ABI is a fixed structure whose fields may be addresses of more memory, and addresses
//! inside that memory. The kernel node needs true addresses. The host node is ordinary code in this process and must not
//! turn a number into memory. [`Buffers`] serves both: it hands out the true address of a slice that it borrows, and finds the slice
//! again by the address. A server of other processes implements [`CallerMemory`] with reads of foreign memory.
//!
//! *Invariants.* In this crate every non-null address in a request that goes to a kernel node came from the [`Buffers`] of that
//! call, with the mutability that the node needs: what the node writes was given as [`Buffers::inout`].

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use dxg_ioctl::CallError;
use dxg_ioctl::UserPtr;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use crate::errno;

/// What a node reads and writes besides the request itself: memory and descriptors of whoever makes the request.
///
/// For [`Node::answer`](crate::Node::answer): a front end that serves programs implements this with their memory.
pub trait CallerMemory {
    /// Copies memory of the caller in.
    ///
    /// # Errors
    ///
    /// EFAULT where it is not the caller's.
    fn read(&self, at: UserPtr, into: &mut [u8]) -> Result<(), CallError>;
    /// Copies bytes out to the caller.
    ///
    /// # Errors
    ///
    /// EFAULT where it may not be written.
    fn write(&mut self, at: UserPtr, from: &[u8]) -> Result<(), CallError>;
    /// A duplicate of the caller's descriptor `number`.
    ///
    /// # Errors
    ///
    /// EBADF where it has none.
    fn descriptor(&self, number: u64) -> Result<OwnedFd, CallError>;
    /// Gives the caller a descriptor and answers its number.
    fn install(&mut self, descriptor: OwnedFd) -> u64;
}

impl dyn CallerMemory + '_ {
    /// Copies `len` bytes in. Callers bound `len` first.
    pub(crate) fn bytes(&self, at: UserPtr, len: usize) -> Result<Vec<u8>, CallError> {
        let mut bytes = vec![0; len];
        if len != 0 {
            self.read(at, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Copies `count` values in. Callers bound `count` first.
    pub(crate) fn array<T: FromBytes + IntoBytes + Clone>(
        &self,
        at: UserPtr,
        count: usize,
    ) -> Result<Vec<T>, CallError> {
        let mut values = vec![T::new_zeroed(); count];
        if count != 0 {
            self.read(at, values.as_mut_slice().as_mut_bytes())?;
        }
        Ok(values)
    }

    /// Copies values out.
    pub(crate) fn write_array<T: IntoBytes + Immutable>(
        &mut self,
        at: UserPtr,
        values: &[T],
    ) -> Result<(), CallError> {
        if values.is_empty() { Ok(()) } else { self.write(at, values.as_bytes()) }
    }
}

enum Region<'a> {
    In(&'a [u8]),
    InOut(&'a mut [u8]),
}

impl Region<'_> {
    fn start(&self) -> u64 {
        let pointer = match self {
            Self::In(bytes) => bytes.as_ptr(),
            Self::InOut(bytes) => bytes.as_ptr(),
        };
        pointer.expose_provenance() as u64
    }

    fn len(&self) -> usize {
        match self {
            Self::In(bytes) => bytes.len(),
            Self::InOut(bytes) => bytes.len(),
        }
    }

    /// Where `len` bytes at `at` lie in this region.
    fn offset_of(&self, at: UserPtr, len: usize) -> Option<usize> {
        let offset = usize::try_from(at.0.checked_sub(self.start())?).ok()?;
        (offset.checked_add(len)? <= self.len()).then_some(offset)
    }
}

/// The slices and descriptors of one call made by this process.
#[derive(Default)]
pub(crate) struct Buffers<'a> {
    regions: Vec<Region<'a>>,
    descriptors: Vec<BorrowedFd<'a>>,
    installed: Vec<OwnedFd>,
}

impl<'a> Buffers<'a> {
    /// No memory besides the request.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Lends memory that the node reads. Null for nothing.
    pub(crate) fn input<T: IntoBytes + Immutable + ?Sized>(&mut self, value: &'a T) -> UserPtr {
        self.lend(Region::In(value.as_bytes()))
    }

    /// Lends memory that the node reads and writes. Null for nothing.
    pub(crate) fn inout<T: FromBytes + IntoBytes + ?Sized>(&mut self, value: &'a mut T) -> UserPtr {
        let bytes = value.as_mut_bytes();
        // The kernel writes through the address that it is given; this is where that is declared.
        let _ = bytes.as_mut_ptr().expose_provenance();
        self.lend(Region::InOut(bytes))
    }

    /// Lends a descriptor and answers the number that the request carries.
    pub(crate) fn lend_descriptor(&mut self, descriptor: BorrowedFd<'a>) -> u64 {
        self.descriptors.push(descriptor);
        number_of(descriptor)
    }

    /// Takes a descriptor that the host node installed.
    pub(crate) fn take_installed(&mut self, number: u64) -> Option<OwnedFd> {
        let at = self.installed.iter().position(|fd| number_of(fd) == number)?;
        Some(self.installed.swap_remove(at))
    }

    /// The 64-bit number at an address that was lent.
    pub(crate) fn read_u64(&self, at: UserPtr) -> Result<u64, CallError> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn lend(&mut self, region: Region<'a>) -> UserPtr {
        if region.len() == 0 {
            return UserPtr::NULL;
        }
        let at = UserPtr(region.start());
        self.regions.push(region);
        at
    }
}

fn number_of(descriptor: impl AsFd) -> u64 {
    u64::try_from(descriptor.as_fd().as_raw_fd()).expect("an open descriptor has a number of 0 or more")
}

impl CallerMemory for Buffers<'_> {
    fn read(&self, at: UserPtr, into: &mut [u8]) -> Result<(), CallError> {
        let found = self.regions.iter().find_map(|region| {
            let offset = region.offset_of(at, into.len())?;
            match region {
                Region::In(bytes) => bytes.get(offset..),
                Region::InOut(bytes) => bytes.get(offset..),
            }?
            .get(..into.len())
        });
        into.copy_from_slice(found.ok_or(errno::FAULT)?);
        Ok(())
    }

    fn write(&mut self, at: UserPtr, from: &[u8]) -> Result<(), CallError> {
        let target = self.regions.iter_mut().find_map(|region| {
            let offset = region.offset_of(at, from.len())?;
            match region {
                Region::In(_) => None,
                Region::InOut(bytes) => bytes.get_mut(offset..)?.get_mut(..from.len()),
            }
        });
        target.ok_or(errno::FAULT)?.copy_from_slice(from);
        Ok(())
    }

    fn descriptor(&self, number: u64) -> Result<OwnedFd, CallError> {
        let found =
            self.descriptors.iter().find(|fd| number_of(fd) == number).ok_or(errno::BAD_DESCRIPTOR)?;
        found.try_clone_to_owned().map_err(|error| errno::from_io(&error))
    }

    fn install(&mut self, descriptor: OwnedFd) -> u64 {
        let number = number_of(&descriptor);
        self.installed.push(descriptor);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_read_inside_a_lent_slice_answers_its_bytes() {
        let data = [1u32, 2, 3];
        let mut buffers = Buffers::new();
        let at = buffers.input(&data);
        let memory: &dyn CallerMemory = &buffers;
        assert_eq!(memory.array::<u32>(UserPtr(at.0 + 4), 2).unwrap(), [2, 3]);
    }

    #[test]
    fn buffers_read_past_the_end_of_a_lent_slice_is_a_fault() {
        let data = [1u32, 2, 3];
        let mut buffers = Buffers::new();
        let at = buffers.input(&data);
        let memory: &dyn CallerMemory = &buffers;
        assert_eq!(memory.array::<u32>(UserPtr(at.0 + 4), 3).unwrap_err(), errno::FAULT);
        assert_eq!(memory.bytes(UserPtr(u64::MAX), 8).unwrap_err(), errno::FAULT);
    }

    #[test]
    fn buffers_write_to_an_input_is_a_fault_and_changes_nothing() {
        let data = [7u32];
        let mut buffers = Buffers::new();
        let at = buffers.input(&data);
        assert_eq!(buffers.write(at, &[0; 4]).unwrap_err(), errno::FAULT);
        assert_eq!(data, [7]);
    }

    #[test]
    fn buffers_write_to_an_inout_slice_reaches_the_owner() {
        let mut data = [0u32; 2];
        let mut buffers = Buffers::new();
        let at = buffers.inout(&mut data);
        buffers.write(UserPtr(at.0 + 4), &9u32.to_le_bytes()).unwrap();
        drop(buffers);
        assert_eq!(data, [0, 9]);
    }

    #[test]
    fn buffers_empty_slice_is_null() {
        let mut buffers = Buffers::new();
        assert_eq!(buffers.input::<[u8]>(&[]), UserPtr::NULL);
    }
}
