//! The caller's memory, and memory that the device maps into the caller.

// UNSAFETY: reads and writes memory at addresses that requests name, as a kernel does.
#![expect(unsafe_code, reason = "a kernel sees its callers' memory")]

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::ptr;

use dxg_ioctl::UserPtr;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

/// An errno.
pub(crate) type Fail = i32;

fn pointer<T>(at: UserPtr) -> Result<*mut T, Fail> {
    let address = usize::try_from(at.0).map_err(|_| libc::EFAULT)?;
    if address == 0 { Err(libc::EFAULT) } else { Ok(ptr::with_exposed_provenance_mut(address)) }
}

/// Copies values in. The test under way vouches for the address, as a program does to a kernel.
pub(crate) fn read<T: FromBytes + IntoBytes + Clone>(at: UserPtr, count: usize) -> Result<Vec<T>, Fail> {
    let mut values = vec![T::new_zeroed(); count];
    if count != 0 {
        let bytes = values.as_mut_slice().as_mut_bytes();
        let from = pointer::<u8>(at)?;
        // SAFETY: the caller of the request says that so much memory is readable there; `bytes` is ours.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }
    Ok(values)
}

/// Copies values out. As [`read`].
pub(crate) fn write<T: IntoBytes + Immutable>(at: UserPtr, values: &[T]) -> Result<(), Fail> {
    if !values.is_empty() {
        let bytes = values.as_bytes();
        let to = pointer::<u8>(at)?;
        // SAFETY: the caller of the request says that so much memory is writable there; `bytes` is ours.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }
    Ok(())
}

/// A duplicate of a descriptor of the caller.
pub(crate) fn descriptor(number: u64) -> Result<OwnedFd, Fail> {
    let number = i32::try_from(number).ok().filter(|number| *number >= 0).ok_or(libc::EBADF)?;
    // SAFETY: the caller of the request says that the descriptor is open for the length of it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned().map_err(|_| libc::EBADF)
}

/// Memory of the device, mapped into the caller.
#[derive(Clone, Debug)]
pub(crate) struct DeviceMemory(pub(crate) SharedSlice);

impl DeviceMemory {
    pub(crate) fn new(size_bytes: u64) -> Result<Self, Fail> {
        let memory = create_sealed("fake-dxg-memory", size_bytes).map_err(|_| libc::ENOMEM)?;
        let len = usize::try_from(size_bytes).map_err(|_| libc::ENOMEM)?;
        let mapping = Mapping::map(memory.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy);
        Ok(Self(SharedSlice::whole(&mapping.map_err(|_| libc::ENOMEM)?)))
    }

    pub(crate) fn address(&self) -> UserPtr {
        UserPtr(self.0.as_ptr().expose_provenance() as u64)
    }
}
