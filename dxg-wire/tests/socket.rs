//! Descriptor passing and its limits.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::IoAddress;
use dxg_wire::session::MAX_FDS;
use dxg_wire::session::MESSAGE_BYTES;
use dxg_wire::session::Window;
use dxg_wire::session::WindowRef;
use dxg_wire::session::to_bytes;
use dxg_wire::shm::create_sealed;
use dxg_wire::shm::session_io::MessageError;
use dxg_wire::shm::session_io::recv_message;
use dxg_wire::shm::session_io::send_message;
use dxg_wire::shm::socket;
use dxg_wire::shm::socket::RecvError;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

/// A pipe tells whether copies of its write end are left anywhere: its read end reports a hang-up when none is.
fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn all_writers_closed(reader: &OwnedFd) -> bool {
    let mut polls = [rustix::event::PollFd::new(reader, rustix::event::PollFlags::IN)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polls, Some(&now)).unwrap();
    polls[0].revents().contains(rustix::event::PollFlags::HUP)
}

fn broker(kind: u32) -> Option<usize> {
    BrokerMessage(kind).descriptors()
}

const WINDOW: Window = Window { base: IoAddress(0x1_0000_0000), size_bytes: 4096 };

#[test]
fn packet_with_descriptors_arrives_whole_and_closed_on_exec() {
    let (here, there) = pair();
    let memory: Vec<OwnedFd> = (1..=3).map(|pages| create_sealed("test", pages * 4096).unwrap()).collect();
    let fds: Vec<BorrowedFd<'_>> = memory.iter().map(AsFd::as_fd).collect();
    socket::send(&here, b"hello", &fds).unwrap();
    let mut buffer = [0; 16];
    let received = socket::recv(&there, &mut buffer, 3).unwrap();
    assert_eq!(&buffer[..received.len], b"hello");
    let sizes: Vec<i64> = received.fds.iter().map(|fd| rustix::fs::fstat(fd).unwrap().st_size).collect();
    assert_eq!(sizes, [4096, 8192, 12288]);
    for fd in &received.fds {
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn packets_over_the_limits_are_not_sent() {
    let (here, _there) = pair();
    let (reader, _writer) = pipe();
    assert!(socket::send(&here, b"x", &[reader.as_fd(); MAX_FDS + 1]).is_err());
    assert!(socket::send(&here, b"", &[]).is_err());
}

#[test]
fn more_descriptors_than_allowed_are_refused_and_closed() {
    let (here, there) = pair();
    let (reader, writer) = pipe();
    for (sent, allowed) in [(1, 0), (2, 1), (3, 2), (MAX_FDS, MAX_FDS - 1)] {
        socket::send(&here, b"x", &vec![writer.as_fd(); sent]).unwrap();
        let error = socket::recv(&there, &mut [0; 16], allowed).unwrap_err();
        assert!(matches!(error, RecvError::TooManyDescriptors { limit } if limit == allowed));
    }
    drop(writer);
    assert!(all_writers_closed(&reader));
}

#[test]
fn more_descriptors_than_fit_are_refused_and_closed() {
    let (here, there) = pair();
    let (reader, writer) = pipe();
    let fds = [writer.as_fd(); 20];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
    let bytes = [std::io::IoSlice::new(b"x")];
    rustix::net::sendmsg(&here, &bytes, &mut control, rustix::net::SendFlags::empty()).unwrap();
    let error = socket::recv(&there, &mut [0; 16], MAX_FDS).unwrap_err();
    assert!(matches!(error, RecvError::TooManyDescriptors { limit: MAX_FDS }));
    drop(writer);
    assert!(all_writers_closed(&reader));
}

#[test]
fn packet_longer_than_the_buffer_is_refused_and_its_descriptors_closed() {
    let (here, there) = pair();
    let (reader, writer) = pipe();
    socket::send(&here, &[1; 17], &[writer.as_fd()]).unwrap();
    let error = socket::recv(&there, &mut [0; 16], 1).unwrap_err();
    assert!(matches!(error, RecvError::Truncated { limit_bytes: 16 }));
    drop(writer);
    assert!(all_writers_closed(&reader));
}

#[test]
fn empty_and_closed_sockets_are_told_apart() {
    let (here, there) = pair();
    let error = socket::recv(&there, &mut [0; 16], 0).unwrap_err();
    assert!(error.is_would_block());
    drop(here);
    assert!(matches!(socket::recv(&there, &mut [0; 16], 0), Err(RecvError::HangUp)));
    assert!(socket::send(&there, b"x", &[]).is_err());
}

#[test]
fn message_arrives_with_its_body_and_descriptor() {
    let (here, there) = pair();
    let memory = create_sealed("test", 4096).unwrap();
    send_message(&here, BrokerMessage::WINDOW.0, &WINDOW, &[memory.as_fd()]).unwrap();
    let message = recv_message(&there, broker).unwrap();
    assert_eq!(message.kind, BrokerMessage::WINDOW.0);
    assert_eq!(message.body::<Window>(), WINDOW);
    assert_eq!(rustix::fs::fstat(message.into_fd().unwrap()).unwrap().st_size, 4096);
}

#[test]
fn message_with_a_wrong_number_of_descriptors_is_refused_and_they_are_closed() {
    let (here, there) = pair();
    let (reader, writer) = pipe();
    send_message(&here, BrokerMessage::WINDOW.0, &WINDOW, &[writer.as_fd(); 2]).unwrap();
    let error = recv_message(&there, broker).unwrap_err();
    assert!(matches!(error, MessageError::Descriptors { kind: 5, have: 2, want: 1 }));
    send_message(&here, BrokerMessage::WINDOW.0, &WINDOW, &[]).unwrap();
    assert!(matches!(recv_message(&there, broker), Err(MessageError::Descriptors { have: 0, want: 1, .. })));
    drop(writer);
    assert!(all_writers_closed(&reader));
}

#[test]
fn packets_that_are_no_message_are_refused() {
    let (here, there) = pair();
    socket::send(&here, &[1; MESSAGE_BYTES - 1], &[]).unwrap();
    assert!(matches!(recv_message(&there, broker), Err(MessageError::Malformed { len_bytes: 127 })));
    socket::send(&here, &[1; MESSAGE_BYTES + 1], &[]).unwrap();
    assert!(matches!(recv_message(&there, broker), Err(MessageError::Receive(RecvError::Truncated { .. }))));
    let mut packet = to_bytes(ClientMessage::RELEASE.0, &WindowRef { base: IoAddress(0) });
    packet[5] = 1;
    socket::send(&here, &packet, &[]).unwrap();
    assert!(matches!(recv_message(&there, broker), Err(MessageError::Malformed { len_bytes: 128 })));
    send_message(&here, 999, &WINDOW, &[]).unwrap();
    assert!(matches!(recv_message(&there, broker), Err(MessageError::UnknownKind { kind: 999 })));
    assert!(recv_message(&there, broker).unwrap_err().is_would_block());
    drop(here);
    assert!(recv_message(&there, broker).unwrap_err().is_hang_up());
}

#[test]
fn peer_that_dies_with_unread_packets_counts_as_hang_up() {
    let (here, there) = pair();
    send_message(&there, BrokerMessage::WINDOW_GONE.0, &WindowRef { base: IoAddress(0) }, &[]).unwrap();
    drop(here);
    assert!(recv_message(&there, broker).unwrap_err().is_hang_up());
}
