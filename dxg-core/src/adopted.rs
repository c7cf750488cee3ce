//! Memory that the program had before: given to the device where it lies.
//!
//! *Why.* Programs hand buffers of their own to the device: what `malloc` answered, arrays of a framework. Their addresses must
//! stay. A kernel pins the pages. A virtual GPU sees leased memory only, so here the bytes move into a leased block and the block
//! is mapped over the program's pages at the same addresses; when it is over, private pages with the same bytes come back.
//!
//! *Limits.* All of them hold over a kernel node too, so that a program works over both.
//!
//! - Only whole pages of private memory without a file that may be read and written: no file mappings, no shared memory, no huge
//!   pages of a pool, no stacks.
//! - What another thread writes while the memory is taken or given back may be lost.
//! - In between the pages are shared: a child after fork sees what the parent and the device write, not a copy of its own.
//! - Advice, locks and protection keys of the old pages do not come along.
//! - The block counts against the quota of the virtual GPU.

// UNSAFETY: pages at an address that the program names are read, replaced, and put back.
#![expect(unsafe_code, reason = "the memory is the program's, by address")]

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::slice;

use dxg_ioctl::UserPtr;
use dxg_wire::session::IoAddress;
use dxg_wire::shm::Access;
use dxg_wire::shm::map_fixed_over;
use dxg_wire::shm::replace_by_private;

use crate::Block;
use crate::Device;
use crate::Error;
use crate::Node;
use crate::Streams;
use crate::Window;
use crate::errno;
use crate::error::Op;
use crate::maps;

const OP: &str = "adopt memory";
/// What the device counts in.
const PAGE_BYTES: u64 = 4096;

/// Memory of the program that allocations can be made over. It is the program's alone again when this and the allocations over
/// it are dropped.
#[derive(Debug)]
pub struct AdoptedMemory {
    start: NonNull<u8>,
    len: usize,
    /// What lies at the program's addresses, on a virtual GPU.
    block: Option<Block>,
}

// SAFETY: an address range is not tied to a thread, and nothing is read or written through `start` but when the last owner drops it.
unsafe impl Send for AdoptedMemory {}
// SAFETY: `&AdoptedMemory` gives out the address only.
unsafe impl Sync for AdoptedMemory {}

impl AdoptedMemory {
    /// Takes `size_bytes` bytes at `start`, whole pages of private memory of this process. The bytes stay what they are, where
    /// they are.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when it is not such memory; as
    /// [`Streams::lease`](crate::Streams::lease) on a virtual GPU. The memory is then as it was.
    ///
    /// # Safety
    ///
    /// - `start` points to memory that the caller owns and leaves mapped as it is until this and all allocations over it are dropped.
    /// - No reference into it lives that long, and reads and writes through pointers bear that the device writes at any time.
    /// - Nothing writes to it during this call.
    /// - Allocations that are made over it are no larger than it is.
    pub unsafe fn adopt(device: &Device, start: NonNull<u8>, size_bytes: u64) -> Result<Self, Error> {
        // SAFETY: the caller promises the same.
        unsafe { Self::adopt_on(device.node(), start, size_bytes) }
    }

    /// [`Self::adopt`] for a front end whose commands name memory by its address in IO space: [`Self::io_base`].
    ///
    /// # Errors
    ///
    /// As for [`Self::adopt`].
    ///
    /// # Safety
    ///
    /// As for [`Self::adopt`]; what a command makes of the memory counts as an allocation over it.
    pub unsafe fn adopt_for_streams(
        streams: &Streams,
        start: NonNull<u8>,
        size_bytes: u64,
    ) -> Result<Self, Error> {
        // SAFETY: the caller promises the same.
        unsafe { Self::adopt_on(streams.node(), start, size_bytes) }
    }

    /// # Safety
    ///
    /// As for [`Self::adopt`].
    unsafe fn adopt_on(node: &Node, start: NonNull<u8>, size_bytes: u64) -> Result<Self, Error> {
        let at = start.as_ptr().expose_provenance() as u64;
        let aligned = at.is_multiple_of(PAGE_BYTES) && size_bytes.is_multiple_of(PAGE_BYTES);
        let end = at.checked_add(size_bytes).filter(|_| aligned && size_bytes != 0);
        let (Some(end), Ok(len)) = (end, isize::try_from(size_bytes)) else {
            return Err(Error::invalid(OP, "the memory is not of whole pages"));
        };
        if !maps::is_private_memory(at, end).map_err(|error| errno::from_io(&error)).op(OP)? {
            return Err(Error::invalid(OP, "the memory is not private memory without a file"));
        }
        let mut adopted = Self { start, len: len.unsigned_abs(), block: None };
        if node.host().is_some() {
            let (block, descriptor) = Block::lease_with_descriptor(node, size_bytes, OP)?;
            // SAFETY: the caller vouches for the range: it is its own, nothing writes to it now, and no reference into it lives.
            unsafe { adopted.move_into(node, block, &descriptor) }?;
        }
        Ok(adopted)
    }

    /// Moves the bytes into a block and puts the block in their place.
    ///
    /// # Safety
    ///
    /// As for [`Self::adopt`], of the range of `self`.
    unsafe fn move_into(&mut self, node: &Node, block: Block, memory: &OwnedFd) -> Result<(), Error> {
        let failed = |_| Error::call(OP, errno::NO_MEMORY);
        {
            // SAFETY: `len` readable bytes that the caller owns and that nothing writes to while this slice lives.
            let bytes = unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) };
            block.memory().copy_in(0, bytes).map_err(|_| Error::protocol(OP, "the block is too small"))?;
        }
        // SAFETY: the caller agreed to the replacement of its pages, and no reference into them lives: the slice above is gone.
        unsafe { map_fixed_over(memory.as_fd(), 0, self.start.as_ptr(), self.len, Access::ReadWrite) }
            .map_err(failed)?;
        if let Some(host) = node.host() {
            host.alias(block.io_base(), self.user_address(), self.size_bytes());
        }
        self.block = Some(block);
        Ok(())
    }

    /// Where it lies, and has always lain.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Whether the bytes are of the kind of memory that can be adopted, at this moment.
    #[must_use]
    pub fn can_be(start: NonNull<u8>, size_bytes: u64) -> bool {
        let at = start.as_ptr().expose_provenance() as u64;
        at.checked_add(size_bytes).is_some_and(|end| maps::is_private_memory(at, end).unwrap_or(false))
    }

    /// Where the host finds it; `None` over a kernel node.
    #[must_use]
    pub fn io_base(&self) -> Option<IoAddress> {
        self.block.as_ref().map(Block::io_base)
    }

    /// The same memory as host and process see it beside the program's address; `None` over a kernel node.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        let block = self.block.as_ref()?;
        Some(Window { memory: block.memory().clone(), io_address: block.io_base() })
    }

    /// Its bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.len as u64
    }

    pub(crate) fn user_address(&self) -> UserPtr {
        UserPtr(self.start.as_ptr().expose_provenance() as u64)
    }
}

impl Drop for AdoptedMemory {
    fn drop(&mut self) {
        if self.block.is_none() {
            return;
        }
        // SAFETY: the range was replaced by a window when it was adopted, the caller has left it mapped, and no reference into it lives.
        if let Err(error) = unsafe { replace_by_private(self.start.as_ptr(), self.len) } {
            // The bytes are there all the same: the window stays mapped, and is no longer the host's.
            tracing::warn!(%error, size_bytes = self.len, "adopted memory stays shared");
        }
    }
}
