//! The end of a session, told once and for all.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use dxg_ioctl::CallError;
use dxg_wire::doorbell;
use dxg_wire::session::Reason;

use crate::errno;

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostReason {
    /// The named reason.
    pub reason: Reason,
    /// A sentence for people; may be empty.
    pub text: String,
}

/// Whether a session is lost, and a descriptor that becomes readable when it is and stays so.
#[derive(Debug)]
pub(super) struct Lost {
    reason: OnceLock<LostReason>,
    bell: OwnedFd,
}

impl Lost {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { reason: OnceLock::new(), bell: doorbell::create()? })
    }

    /// Records the end. Answers whether this was the first time.
    pub(super) fn set(&self, reason: LostReason) -> bool {
        let first = self.reason.set(reason).is_ok();
        if first {
            doorbell::ring(&self.bell);
        }
        first
    }

    pub(super) fn reason(&self) -> Option<&LostReason> {
        self.reason.get()
    }

    pub(super) fn is_set(&self) -> bool {
        self.reason.get().is_some()
    }

    /// ENODEV when the session is lost.
    pub(super) fn check(&self) -> Result<(), CallError> {
        if self.is_set() { Err(errno::LOST) } else { Ok(()) }
    }

    /// Readable from the end on. Nobody reads it.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
