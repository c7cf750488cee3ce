//! Command streams and leased memory against a host of the test's own.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod fake_host;

use std::os::fd::AsFd;
use std::sync::mpsc;

use dxg_core::ErrorKind;
use dxg_core::IoAddress;
use dxg_core::Reason;
use dxg_core::StreamKind;
use dxg_core::Streams;
use dxg_wire::doorbell;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Lease;
use dxg_wire::session::Leased;
use dxg_wire::session::OpenStream;
use dxg_wire::session::StreamOpened;
use dxg_wire::session::StreamRef;
use dxg_wire::session::WindowRef;
use dxg_wire::shm::create_sealed;
use dxg_wire::shm::session_io::Message;
use dxg_wire::stream::layout::HEADER_BYTES;
use fake_host::FakeHost;
use fake_host::Session;

const BASE: IoAddress = IoAddress(0x2_0000_0000);

/// Serves start-up, then hands each session message to the test's script until the client is gone.
fn host(mut script: impl FnMut(&Session, Message) + Send + 'static) -> FakeHost {
    FakeHost::start(move |mut session| {
        for _ in 0..4 {
            session.serve_one();
        }
        while let Some(message) = fake_host::recv(&session.socket) {
            script(&session, message);
        }
    })
}

fn streams_of(host: &FakeHost) -> Streams {
    host.connect().streams().unwrap()
}

fn leased(session: &Session, message: &Message, base: IoAddress) {
    let lease: Lease = message.body();
    let memory = create_sealed("block", lease.size_bytes).expect("a memfd");
    let body = Leased { request: lease.request, reason: Reason::NONE, base, size_bytes: lease.size_bytes };
    session.tell(BrokerMessage::LEASED, &body, &[memory.as_fd()]);
}

#[test]
fn lease_is_given_back_when_the_block_is_dropped() {
    let (tell, told) = mpsc::channel();
    let host = host(move |session, message| match ClientMessage(message.kind) {
        ClientMessage::LEASE => leased(session, &message, BASE),
        ClientMessage::RELEASE => tell.send(message.body::<WindowRef>().base).expect("the test"),
        _ => panic!("message {}", message.kind),
    });
    let streams = streams_of(&host);
    let block = streams.lease(8192).unwrap();
    assert_eq!((block.io_base(), block.size_bytes()), (BASE, 8192));
    assert!(told.try_recv().is_err());
    drop(block);
    assert_eq!(told.recv().unwrap(), BASE);
}

#[test]
fn lease_smaller_than_asked_is_an_error_and_given_back() {
    let (tell, told) = mpsc::channel();
    let host = host(move |session, message| {
        let lease: Lease = message.body();
        if ClientMessage(message.kind) == ClientMessage::RELEASE {
            tell.send(message.body::<WindowRef>().base).expect("the test");
        } else {
            let memory = create_sealed("block", 4096).expect("a memfd");
            let body = Leased { request: lease.request, reason: Reason::NONE, base: BASE, size_bytes: 4096 };
            session.tell(BrokerMessage::LEASED, &body, &[memory.as_fd()]);
        }
    });
    assert_eq!(streams_of(&host).lease(8192).unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(told.recv().unwrap(), BASE);
}

#[test]
fn lease_over_another_window_is_an_error_and_the_first_stays() {
    let host = host(|session, message| {
        if ClientMessage(message.kind) == ClientMessage::LEASE {
            leased(session, &message, BASE);
        }
    });
    let streams = streams_of(&host);
    let block = streams.lease(4096).unwrap();
    block.memory().copy_in(0, &[3]).unwrap();
    assert_eq!(streams.lease(4096).unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(block.memory().read::<u8>(0).unwrap(), 3);
    assert!(!streams.is_lost());
}

#[test]
fn stream_pushes_ring_the_hosts_doorbell_and_closes_when_dropped() {
    let (tell, told) = mpsc::channel();
    let bell = doorbell::create().unwrap();
    let theirs = bell.try_clone().unwrap();
    let host = host(move |session, message| match ClientMessage(message.kind) {
        ClientMessage::OPEN_STREAM => {
            let open: OpenStream = message.body();
            let size_bytes = HEADER_BYTES as u64 + u64::from(open.ring_bytes);
            let memory = create_sealed("stream", size_bytes).expect("a memfd");
            let body = StreamOpened {
                request: open.request,
                reason: Reason::NONE,
                stream: 41,
                kind: open.kind,
                ring_bytes: open.ring_bytes,
                reserved: 0,
            };
            session.tell(BrokerMessage::STREAM_OPENED, &body, &[memory.as_fd(), theirs.as_fd()]);
        }
        ClientMessage::CLOSE_STREAM => tell.send(message.body::<StreamRef>().stream).expect("the test"),
        _ => panic!("message {}", message.kind),
    });
    let streams = streams_of(&host);
    let stream = streams.open(StreamKind::VULKAN_INSTANCE, 4096).unwrap();
    assert_eq!(stream.number(), 41);
    let entry = [0x20u32, 8].map(u32::to_le_bytes).concat();
    let before = stream.producer.position();
    let after = stream.producer.push(&entry, &|| streams.is_lost()).unwrap();
    assert_eq!(after.0 - before.0, 8);
    drop(stream);
    assert_eq!(told.recv().unwrap(), 41);
}

#[test]
fn stream_of_the_wrong_size_is_closed_again() {
    let (tell, told) = mpsc::channel();
    let host = host(move |session, message| match ClientMessage(message.kind) {
        ClientMessage::OPEN_STREAM => {
            let open: OpenStream = message.body();
            let (memory, bell) =
                (create_sealed("stream", 4096).expect("a memfd"), doorbell::create().expect("a bell"));
            let body = StreamOpened {
                request: open.request,
                reason: Reason::NONE,
                stream: 7,
                kind: open.kind,
                ring_bytes: open.ring_bytes,
                reserved: 0,
            };
            session.tell(BrokerMessage::STREAM_OPENED, &body, &[memory.as_fd(), bell.as_fd()]);
        }
        ClientMessage::CLOSE_STREAM => tell.send(message.body::<StreamRef>().stream).expect("the test"),
        _ => panic!("message {}", message.kind),
    });
    let error = streams_of(&host).open(StreamKind::VULKAN_DEVICE, 1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(told.recv().unwrap(), 7);
}

#[test]
fn given_up_session_is_lost_with_the_front_ends_reason() {
    let host = host(|_, _| {});
    let streams = streams_of(&host);
    streams.give_up(Reason::VIOLATION, "nonsense");
    assert!(streams.is_lost());
    assert_eq!(streams.lost_reason().unwrap().text, "nonsense");
    assert_eq!(streams.lease(4096).unwrap_err().kind(), ErrorKind::DeviceLost);
}
