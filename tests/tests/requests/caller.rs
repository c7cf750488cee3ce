//! A caller with a small memory of its own.

use std::os::fd::OwnedFd;

use dxg_core::CallError;
use dxg_core::CallerMemory;
use dxg_core::UserPtr;
use dxg_ioctl::Errno;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

/// Where the memory begins for the caller; no address of this process.
const BASE: u64 = 0x10_0000;
/// The number of the caller's first descriptor.
const FIRST_DESCRIPTOR: u64 = 100;
const FAULT: CallError = CallError::Os(Errno::EFAULT);

/// What a request may point to.
#[derive(Default)]
pub(crate) struct Caller {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Caller {
    /// Puts values into the memory and says where.
    pub(crate) fn put<T: IntoBytes + Immutable>(&mut self, values: &[T]) -> UserPtr {
        let at = BASE + self.bytes.len() as u64;
        self.bytes.extend_from_slice(values.as_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        UserPtr(at)
    }

    /// Room for so many bytes.
    pub(crate) fn room(&mut self, len: usize) -> UserPtr {
        self.put(&vec![0_u8; len])
    }

    /// Whether another caller's memory holds the same.
    pub(crate) fn has_memory_of(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }

    /// Gives the caller a descriptor.
    pub(crate) fn give(&mut self, descriptor: OwnedFd) -> u64 {
        self.descriptors.push(descriptor);
        FIRST_DESCRIPTOR + self.descriptors.len() as u64 - 1
    }

    fn range(&self, at: UserPtr, len: usize) -> Result<std::ops::Range<usize>, CallError> {
        let start = usize::try_from(at.0.checked_sub(BASE).ok_or(FAULT)?).map_err(|_| FAULT)?;
        let end = start.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(FAULT)?;
        Ok(start..end)
    }
}

impl CallerMemory for Caller {
    fn read(&self, at: UserPtr, into: &mut [u8]) -> Result<(), CallError> {
        into.copy_from_slice(&self.bytes[self.range(at, into.len())?]);
        Ok(())
    }

    fn write(&mut self, at: UserPtr, from: &[u8]) -> Result<(), CallError> {
        let range = self.range(at, from.len())?;
        self.bytes[range].copy_from_slice(from);
        Ok(())
    }

    fn descriptor(&self, number: u64) -> Result<OwnedFd, CallError> {
        let at = number.checked_sub(FIRST_DESCRIPTOR).and_then(|at| usize::try_from(at).ok());
        let found = at.and_then(|at| self.descriptors.get(at)).ok_or(CallError::Os(Errno::EBADF))?;
        found.try_clone().map_err(|_| CallError::Os(Errno::ENOMEM))
    }

    fn install(&mut self, descriptor: OwnedFd) -> u64 {
        self.give(descriptor)
    }
}
