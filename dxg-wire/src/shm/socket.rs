//! Packets with descriptors over a `SOCK_SEQPACKET` socket.
//!
//! *Invariants.* Every descriptor that arrives is either returned or closed. A packet that does not fit the buffer, or that
//! carries more descriptors than allowed, is an error as a whole: nothing of it is used.

use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::ReturnFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;

use crate::session::MAX_FDS;

/// Room for the descriptors of one packet.
const CONTROL_BYTES: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// A received packet.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer.
    pub len: usize,
    /// Descriptors, in the order they were sent; close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Why a packet was not received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The other side closed the socket.
    #[error("the other side hung up")]
    HangUp,
    /// The packet is longer than the buffer.
    #[error("packet longer than {limit_bytes} bytes")]
    Truncated {
        /// Length of the buffer.
        limit_bytes: usize,
    },
    /// The packet carries more descriptors than allowed.
    #[error("packet with more than {limit} descriptors")]
    TooManyDescriptors {
        /// Most that were allowed.
        limit: usize,
    },
    /// The system refused; [`io::ErrorKind::WouldBlock`] on a non-blocking socket without a packet.
    #[error("receive: {0}")]
    Os(#[from] io::Error),
}

impl RecvError {
    /// Whether a non-blocking socket has no packet now.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::Os(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Sends one packet with at most [`MAX_FDS`] descriptors. A closed peer is an error, never a signal.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for too many descriptors or no bytes, else what the system says, such as
/// [`io::ErrorKind::WouldBlock`] on a full non-blocking socket.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_FDS || bytes.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    // Packets of this socket type go as a whole.
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one packet with at most `max_fds` descriptors into `buffer`.
///
/// # Errors
/// [`RecvError::HangUp`] at the end, [`RecvError::Truncated`] and [`RecvError::TooManyDescriptors`] for a packet over the
/// limits (its descriptors are closed), else what the system says.
pub fn recv(socket: impl AsFd, buffer: &mut [u8], max_fds: usize) -> Result<Received, RecvError> {
    let limit_bytes = buffer.len();
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let parts = &mut [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(&socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(RecvError::Os(errno.into())),
            Ok(message) => break message,
        }
    };
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) || fds.len() > max_fds {
        return Err(RecvError::TooManyDescriptors { limit: max_fds.min(MAX_FDS) });
    }
    if message.flags.contains(ReturnFlags::TRUNC) || message.bytes > limit_bytes {
        return Err(RecvError::Truncated { limit_bytes });
    }
    if message.bytes == 0 {
        return Err(RecvError::HangUp);
    }
    Ok(Received { len: message.bytes, fds })
}
