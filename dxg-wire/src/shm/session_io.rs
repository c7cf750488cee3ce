//! Messages of the [session protocol](crate::session) on a socket.
//!
//! *Invariants.* A received [`Message`] has a kind that its table knows and exactly the descriptors that the table names.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use super::socket;
use super::socket::RecvError;
use crate::session::Body;
use crate::session::MAX_FDS;
use crate::session::MESSAGE_BYTES;
use crate::session::body_of;
use crate::session::kind_of;
use crate::session::to_bytes;

/// A received message.
#[derive(Debug)]
pub struct Message {
    /// Its kind, known to the table it was received with.
    pub kind: u32,
    /// The packet as it came.
    pub packet: [u8; MESSAGE_BYTES],
    /// Its descriptors: as many as the table says.
    pub fds: Vec<OwnedFd>,
}

impl Message {
    /// The body, as the type that the kind calls for.
    #[must_use]
    pub fn body<B: Body>(&self) -> B {
        const { assert!(size_of::<B>() <= MESSAGE_BYTES - 8, "a body fits in a message") };
        body_of(&self.packet).unwrap_or_else(B::new_zeroed)
    }

    /// The only descriptor; `None` when the table names none.
    #[must_use]
    pub fn into_fd(self) -> Option<OwnedFd> {
        self.fds.into_iter().next()
    }
}

/// Why a message was not received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// No packet within the limits.
    #[error(transparent)]
    Receive(#[from] RecvError),
    /// The packet is not a message.
    #[error("packet of {len_bytes} bytes is not a message")]
    Malformed {
        /// Length of the packet.
        len_bytes: usize,
    },
    /// The kind is not in the table.
    #[error("message kind {kind} is unknown")]
    UnknownKind {
        /// The kind.
        kind: u32,
    },
    /// The number of descriptors is not that of the kind.
    #[error("message kind {kind} came with {have} descriptors instead of {want}")]
    Descriptors {
        /// The kind.
        kind: u32,
        /// How many came.
        have: usize,
        /// How many belong to it.
        want: usize,
    },
}

impl MessageError {
    /// Whether the other side closed the socket.
    #[must_use]
    pub fn is_hang_up(&self) -> bool {
        match self {
            Self::Receive(RecvError::HangUp) => true,
            // A peer that died with packets of ours unread resets the socket.
            Self::Receive(RecvError::Os(error)) => error.kind() == io::ErrorKind::ConnectionReset,
            _ => false,
        }
    }

    /// Whether a non-blocking socket has no packet now.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::Receive(error) if error.is_would_block())
    }
}

/// Sends a message of the given kind.
///
/// # Errors
/// What [`socket::send`] says.
pub fn send_message<B: Body>(
    socket: impl AsFd,
    kind: u32,
    body: &B,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    socket::send(socket, &to_bytes(kind, body), fds)
}

/// Receives a message whose kind `descriptors` knows (such as `|kind| BrokerMessage(kind).descriptors()`).
///
/// # Errors
/// A hang-up, a packet over the limits, an unknown kind, a wrong number of descriptors. All but "would block" end a session.
pub fn recv_message(
    socket: impl AsFd,
    descriptors: impl Fn(u32) -> Option<usize>,
) -> Result<Message, MessageError> {
    let mut packet = [0; MESSAGE_BYTES];
    let received = socket::recv(socket, &mut packet, MAX_FDS)?;
    let whole = packet.get(..received.len).unwrap_or_default();
    let kind = kind_of(whole).ok_or(MessageError::Malformed { len_bytes: received.len })?;
    let want = descriptors(kind).ok_or(MessageError::UnknownKind { kind })?;
    let have = received.fds.len();
    if have != want {
        return Err(MessageError::Descriptors { kind, have, want });
    }
    Ok(Message { kind, packet, fds: received.fds })
}
