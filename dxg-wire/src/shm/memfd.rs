//! Memfds whose size is fixed for life.
//!
//! *Invariants.* A descriptor that [`verify_sealed`] accepts names anonymous memory of a size that nobody can change,
//! so mapping it needs no guard against a peer that truncates the file under us.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::fs::MemfdFlags;
use rustix::fs::SealFlags;
use rustix::io::Errno;

/// Seals that a shared memfd must carry: its size is fixed, and so is the set of seals.
const REQUIRED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Why a descriptor cannot be shared memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShmError {
    /// The descriptor is not a memfd.
    #[error("the descriptor is not a memfd")]
    NotMemfd,
    /// The memfd can still change its size.
    #[error("the memfd lacks seals (has {have:#x})")]
    Unsealed {
        /// The seals it has.
        have: u32,
    },
    /// The memfd is smaller than what is to be mapped.
    #[error("the memfd has {have_bytes} bytes, {wanted_bytes} are needed")]
    TooSmall {
        /// Its size.
        have_bytes: u64,
        /// The end of the range asked for.
        wanted_bytes: u64,
    },
    /// The range is empty, not on page boundaries or beyond the address space.
    #[error("no mapping of {len_bytes} bytes at offset {offset_bytes}")]
    BadRange {
        /// Offset in the memfd.
        offset_bytes: u64,
        /// Length asked for.
        len_bytes: usize,
    },
    /// The system refused.
    #[error("shared memory: {0}")]
    Os(#[from] io::Error),
}

impl From<Errno> for ShmError {
    fn from(errno: Errno) -> Self {
        Self::Os(errno.into())
    }
}

/// Makes a memfd of `size_bytes` zero bytes that nobody can resize, seal further or execute.
///
/// The memory is sparse: a page costs nothing until somebody writes it.
///
/// # Errors
/// What the system says: no descriptors, no memory.
pub fn create_sealed(name: &str, size_bytes: u64) -> io::Result<OwnedFd> {
    create(name, size_bytes, &[], REQUIRED)
}

/// Makes a memfd with the given contents that nobody can resize or write, for data that is handed over once.
///
/// # Errors
/// What the system says: no descriptors, no memory.
pub fn create_sealed_with(name: &str, contents: &[u8]) -> io::Result<OwnedFd> {
    create(name, contents.len() as u64, contents, REQUIRED | SealFlags::WRITE)
}

fn create(name: &str, size_bytes: u64, contents: &[u8], seals: SealFlags) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the flag.
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    rustix::fs::ftruncate(&fd, size_bytes)?;
    let mut written = 0;
    while let Some(rest) = contents.get(written..).filter(|rest| !rest.is_empty()) {
        written += rustix::io::pwrite(&fd, rest, written as u64)?;
    }
    rustix::fs::fcntl_add_seals(&fd, seals)?;
    Ok(fd)
}

/// Checks that a descriptor from elsewhere is a memfd of fixed size, and answers that size in bytes.
///
/// # Errors
/// [`ShmError::NotMemfd`], [`ShmError::Unsealed`], or [`ShmError::TooSmall`] when it has fewer than `at_least` bytes.
pub fn verify_sealed(fd: impl AsFd, at_least: u64) -> Result<u64, ShmError> {
    verify(fd.as_fd(), at_least)
}

fn verify(fd: BorrowedFd<'_>, at_least: u64) -> Result<u64, ShmError> {
    // Only memfds (and files of the same kind) answer this call; everything else says EINVAL.
    let seals = match rustix::fs::fcntl_get_seals(fd) {
        Err(Errno::INVAL) => return Err(ShmError::NotMemfd),
        other => other?,
    };
    if !seals.contains(REQUIRED) {
        return Err(ShmError::Unsealed { have: seals.bits() });
    }
    // The size is read after the seals: from there on it cannot change.
    let have_bytes = u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0);
    if have_bytes < at_least {
        return Err(ShmError::TooSmall { have_bytes, wanted_bytes: at_least });
    }
    Ok(have_bytes)
}
