//! Messages on their way to a peer that may not be reading.
//!
//! *Why.* The broker never waits for a peer. What the socket does not take stands here, up to a bound; a peer that lets
//! the bound be reached is ended by its owner.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use dxg_wire::session::Body;
use dxg_wire::session::MESSAGE_BYTES;
use dxg_wire::session::to_bytes;
use dxg_wire::shm::socket;

/// Most messages that stand in one outbox.
pub(super) const MAX_QUEUED: usize = 256;

/// Why a peer cannot be reached any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    /// It does not read.
    #[error("the peer does not read its messages")]
    Overflow,
    /// It has gone.
    #[error("the peer has gone")]
    Gone,
}

struct Queued {
    packet: [u8; MESSAGE_BYTES],
    fds: Vec<Rc<OwnedFd>>,
}

/// A socket and what it has not taken yet.
pub(super) struct Outbox {
    socket: OwnedFd,
    queue: VecDeque<Queued>,
}

impl Outbox {
    /// An outbox for a non-blocking socket.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, queue: VecDeque::new() }
    }

    /// The socket.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether the socket should be watched for room.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Sends a message now or as soon as there is room.
    pub(super) fn send<B: Body>(
        &mut self,
        kind: u32,
        body: &B,
        fds: Vec<Rc<OwnedFd>>,
    ) -> Result<(), SendError> {
        if self.queue.len() >= MAX_QUEUED {
            return Err(SendError::Overflow);
        }
        self.queue.push_back(Queued { packet: to_bytes(kind, body), fds });
        self.flush()
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) -> Result<(), SendError> {
        while let Some(next) = self.queue.front() {
            let fds: Vec<_> = next.fds.iter().map(|fd| fd.as_fd()).collect();
            match socket::send(&self.socket, &next.packet, &fds) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Descriptors in flight are limited for the whole user; room comes back when peers read.
                Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => return Ok(()),
                Err(_) => return Err(SendError::Gone),
            }
        }
        Ok(())
    }
}
