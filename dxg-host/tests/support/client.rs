//! A client's socket, without a session behind it.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use dxg_wire::doorbell;
use dxg_wire::session::Body;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::Hello;
use dxg_wire::session::Lost;
use dxg_wire::session::MAGIC;
use dxg_wire::session::Reason;
use dxg_wire::session::Refused;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;
use dxg_wire::shm::session_io::MessageError;
use dxg_wire::shm::socket;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use super::daemon::GUARD;

pub struct Client {
    pub socket: OwnedFd,
}

/// A greeting that is accepted.
pub fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        version_min: 1,
        version_max: 1,
        interface_version: 40,
        features: Features::ALL,
        vgpu_ring_bytes: 0,
        global_ring_bytes: 0,
        name: dxg_wire::session::text("test"),
    }
}

impl Client {
    pub fn connect(path: &Path) -> Self {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        Self { socket }
    }

    pub fn send<B: Body>(&self, kind: ClientMessage, body: &B, fds: &[BorrowedFd<'_>]) {
        session_io::send_message(&self.socket, kind.0, body, fds).unwrap();
    }

    pub fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        socket::send(&self.socket, bytes, fds).unwrap();
    }

    pub fn try_receive(&self) -> Result<Message, MessageError> {
        let ready = doorbell::wait(&[self.socket.as_fd()], Some(GUARD)).unwrap();
        assert_ne!(ready, 0, "the daemon says nothing");
        session_io::recv_message(&self.socket, |kind| BrokerMessage(kind).descriptors())
    }

    pub fn receive(&self) -> Message {
        self.try_receive().unwrap()
    }

    pub fn expect<B: Body>(&self, kind: BrokerMessage) -> (B, Vec<OwnedFd>) {
        let message = self.receive();
        assert_eq!(BrokerMessage(message.kind), kind);
        (message.body(), message.fds)
    }

    /// The reason of a refusal, after which the socket is closed.
    pub fn refused(&self) -> Reason {
        let (refused, _) = self.expect::<Refused>(BrokerMessage::REFUSED);
        assert!(!dxg_wire::session::text_of(&refused.text).is_empty(), "a refusal has a sentence");
        self.expect_hang_up();
        refused.reason
    }

    /// The reason of a loss, after which the socket is closed.
    pub fn lost(&self) -> Reason {
        let (lost, _) = self.expect::<Lost>(BrokerMessage::LOST);
        self.expect_hang_up();
        lost.reason
    }

    pub fn expect_hang_up(&self) {
        match self.try_receive() {
            Err(error) if error.is_hang_up() => {}
            other => panic!("the socket is still open: {other:?}"),
        }
    }
}
