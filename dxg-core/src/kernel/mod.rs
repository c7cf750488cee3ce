//! The kernel node: a device file and `ioctl`.

// UNSAFETY: requests with addresses, and the descriptors and mappings that the kernel makes for this process.
#![expect(unsafe_code, reason = "the kernel acts on addresses and descriptor numbers")]

mod view;

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use dxg_ioctl::CallError;
use dxg_ioctl::NtStatus;
use dxg_ioctl::Request;
use dxg_ioctl::UserPtr;
use dxg_ioctl::sys;

use crate::caller::Buffers;
use crate::errno;
use crate::maps;

pub(crate) use self::view::KernelView;

/// An open device file.
#[derive(Debug)]
pub(crate) struct KernelNode {
    device: OwnedFd,
}

impl KernelNode {
    /// Opens the device read-only, as the driver's own library does: the mode has no effect on what is allowed.
    pub(crate) fn open(path: &Path) -> Result<Self, CallError> {
        let device = std::fs::File::open(path).map_err(|error| errno::from_io(&error))?;
        Ok(Self { device: device.into() })
    }

    /// Sends a request. Every address in it is null or came from `buffers` (see [`crate::caller`]), or is memory that an object
    /// of this node keeps alive longer than the kernel uses it (existing system memory of an allocation).
    pub(crate) fn request<R: Request>(
        &self,
        args: &mut R,
        buffers: &mut Buffers<'_>,
    ) -> Result<NtStatus, CallError> {
        let node: BorrowedFd<'_> = self.device.as_fd();
        // The slices stay lent until the kernel is done with them.
        let _lent = buffers;
        // SAFETY:
        // - Addresses in `args`, and in what they lead to, are of slices that `buffers` borrows for longer than this call,
        //   with lengths in the accompanying fields taken from the same slices; what the kernel writes was lent as mutable.
        // - Memory handed over for the life of an allocation is a `SystemMemory` or an `AdoptedMemory` that it owns.
        // - Mappings that a request removes are used only by objects that send that request when they are dropped, last.
        unsafe { sys::call(node, args) }
    }

    /// The memory at an address that the kernel answered for an object that outlives the view: `size_bytes` of it, or all that
    /// is mapped there.
    pub(crate) fn view(&self, address: UserPtr, size_bytes: Option<u64>) -> Result<KernelView, CallError> {
        // The kernel says where, not how much; the map of this process does.
        let mapped = maps::bytes_from(address.0).map_err(|error| errno::from_io(&error))?;
        let mapped = mapped.ok_or(errno::FAULT)?;
        let wanted = size_bytes.unwrap_or(mapped);
        if wanted > mapped {
            return Err(errno::FAULT);
        }
        let len = usize::try_from(wanted).map_err(|_| errno::OVERFLOW)?;
        // SAFETY:
        // - The kernel answered `address` for a fence or a locked allocation and mapped it read-write until the object is
        //   destroyed or unlocked; `len` bytes of that mapping are left from there, looked up above. Or it is adopted memory,
        //   which its owner keeps mapped as long as allocations are over it.
        // - The object that asks for the view owns it, and is what destroys or unlocks; nobody reads the view after that.
        unsafe { KernelView::new(address, len) }.ok_or(errno::FAULT)
    }

    /// Takes over a descriptor whose number the kernel answered in a request just now.
    pub(crate) fn adopt(&self, number: u64) -> Result<OwnedFd, CallError> {
        let number = i32::try_from(number).ok().filter(|number| *number >= 0).ok_or(errno::BAD_DESCRIPTOR)?;
        // SAFETY: the kernel has just made this descriptor for the caller, and nobody else knows its number.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }
}
