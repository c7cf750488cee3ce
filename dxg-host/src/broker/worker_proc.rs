//! Workers as the broker sees them: a process, a socket, and whom it serves.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use super::ids::ClientId;
use super::ids::WorkerId;
use super::outbox::Outbox;
use crate::adapter::AdapterChoice;
use crate::sandbox;
use crate::sandbox::Child;
use crate::sandbox::Role;
use crate::sandbox::Stdin;

/// What a worker is doing. It is bound once and never comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// Loading its driver.
    Starting,
    /// Waiting for a client.
    Ready,
    /// Serving one.
    Bound(ClientId),
    /// Killed, not reaped yet.
    Ended,
}

/// One worker.
pub(super) struct Worker {
    /// Its number.
    pub(super) id: WorkerId,
    /// The process.
    pub(super) child: Child,
    /// The way to it.
    pub(super) outbox: Outbox,
    /// What it loads.
    pub(super) choice: AdapterChoice,
    /// What it is doing.
    pub(super) state: WorkerState,
}

impl Worker {
    /// Starts a worker.
    pub(super) fn start(
        id: WorkerId,
        choice: AdapterChoice,
        environment: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let (ours, theirs) = socket_pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let arguments = ["--adapter".to_owned(), choice.to_string()];
        let child = sandbox::spawn(Role::Worker, &arguments, environment, Stdin::Fd(theirs), Stdio::null())?;
        Ok(Self { id, child, outbox: Outbox::new(ours), choice, state: WorkerState::Starting })
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        self.state = WorkerState::Ended;
        self.child.kill();
    }
}

/// A pair of session sockets.
pub(super) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}
