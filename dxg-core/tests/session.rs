//! The host node against a host of the test's own: honest, absent, lost and hostile.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod fake_host;

use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use dxg_core::Error;
use dxg_core::ErrorKind;
use dxg_core::FenceValue;
use dxg_core::Node;
use dxg_core::Reason;
use dxg_core::StreamKind;
use dxg_core::WaitOutcome;
use dxg_core::abi::MemorySegmentGroup;
use dxg_wire::cell::FenceCell;
use dxg_wire::doorbell;
use dxg_wire::messages::CreateSyncObjectReply;
use dxg_wire::messages::incoming::GuestCommand;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Refused;
use dxg_wire::session::Window;
use dxg_wire::session::text;
use dxg_wire::shm::create_sealed;
use fake_host::Answer;
use fake_host::FakeHost;
use fake_host::HANG;
use fake_host::Session;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

fn honest() -> FakeHost {
    FakeHost::start(|mut session| session.serve(|_, _| Answer::Default))
}

/// A session whose device and fence the test holds.
fn fence_of(node: &Node) -> Result<dxg_core::Fence, Error> {
    node.first_adapter()?.create_device()?.create_fence(FenceValue(0))
}

#[test]
fn session_start_sends_the_messages_of_a_driver_in_order() {
    let (tell, told) = mpsc::channel();
    let host = FakeHost::start(move |mut session| {
        session.serve(|_, command| {
            let _ = tell.send(command.name());
            Answer::Default
        });
    });
    let node = host.connect();
    drop(node.first_adapter().unwrap().create_device().unwrap());
    drop(node);
    host.join();
    let order: Vec<&str> = told.iter().collect();
    assert_eq!(
        order,
        [
            "SETIOSPACEREGION",
            "OPENADAPTER",
            "GETINTERNALADAPTERINFO",
            "CREATEPROCESS",
            "CREATEDEVICE",
            "DESTROYDEVICE",
            "DESTROYPROCESS",
        ]
    );
}

#[test]
fn node_dropped_on_a_host_that_stopped_answering_is_closed_all_the_same() {
    let host = FakeHost::start(|mut session| {
        session.serve(|_, command| match command {
            GuestCommand::DestroyProcess(_) => Answer::Nothing,
            _ => Answer::Default,
        });
    });
    let node = host.connect();
    let adapter = node.first_adapter().unwrap();
    drop((node, adapter));
    host.join();
}

#[test]
fn connect_refused_by_the_host_names_its_reason() {
    let host = FakeHost::listen(|socket| {
        fake_host::recv(&socket).expect("a hello");
        let body = Refused { reason: Reason::QUOTA, reserved: 0, text: text("enough") };
        dxg_wire::shm::session_io::send_message(&socket, BrokerMessage::REFUSED.0, &body, &[]).expect("sent");
    });
    let error = Node::connect(&host.path()).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Quota, Some(Reason::QUOTA)));
    assert!(error.to_string().contains("enough"), "{error}");
}

#[test]
fn connect_refused_before_the_hello_is_read_names_its_reason() {
    let host = FakeHost::listen(|socket| {
        // The hello is there and stays unread, or comes too late: either way the refusal is what counts.
        let body = Refused { reason: Reason::PERMISSION, reserved: 0, text: text("not you") };
        dxg_wire::shm::session_io::send_message(&socket, BrokerMessage::REFUSED.0, &body, &[]).expect("sent");
    });
    let error = Node::connect(&host.path()).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Permission, Some(Reason::PERMISSION)));
}

#[test]
fn connect_refused_with_an_unread_hello_names_its_reason() {
    let host = FakeHost::listen(|socket| {
        doorbell::wait(&[socket.as_fd()], Some(HANG)).expect("a hello");
        let body = Refused { reason: Reason::PERMISSION, reserved: 0, text: text("not you") };
        dxg_wire::shm::session_io::send_message(&socket, BrokerMessage::REFUSED.0, &body, &[]).expect("sent");
    });
    assert_eq!(Node::connect(&host.path()).unwrap_err().reason(), Some(Reason::PERMISSION));
}

#[test]
fn connect_to_a_host_that_hangs_up_is_unavailable() {
    let host = FakeHost::listen(drop);
    let error = Node::connect(&host.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn connect_without_a_socket_is_not_found() {
    let error = Node::connect(std::path::Path::new("/nonexistent/host.sock")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn requests_of_many_threads_each_get_their_own_answer() {
    let host = FakeHost::start(|mut session| {
        session.serve(|_, command| match command {
            GuestCommand::QueryVideoMemoryInfo(query) => {
                let group = u64::from(query.memory_segment_group.0);
                Answer::Payload([group, 0, 0, 0].as_bytes().to_vec())
            }
            _ => Answer::Default,
        });
    });
    let node = host.connect();
    let adapter = node.first_adapter().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let adapter = &adapter;
            scope.spawn(move || {
                for turn in 0..500 {
                    let group = thread * 1000 + turn;
                    let memory = adapter.video_memory(MemorySegmentGroup(group)).unwrap();
                    assert_eq!(memory.budget_bytes, u64::from(group));
                }
            });
        }
    });
    drop((adapter, node));
    host.join();
}

#[test]
fn fence_published_by_the_host_ends_a_wait() {
    let (go, gone) = mpsc::channel::<()>();
    let host = FakeHost::start(move |mut session| {
        let cell = FenceCell::new(session.arena.sub(0, 4096).expect("a page")).expect("a cell");
        let publisher = std::thread::spawn(move || {
            gone.recv().expect("the waiter");
            cell.publish(7);
        });
        session.serve(|_, _| Answer::Default);
        publisher.join().expect("published");
    });
    let node = host.connect();
    let fence = fence_of(&node).unwrap();
    assert_eq!(fence.wait(FenceValue(7), Some(Duration::ZERO)).unwrap(), WaitOutcome::TimedOut);
    go.send(()).unwrap();
    assert_eq!(fence.wait(FenceValue(7), Some(HANG)).unwrap(), WaitOutcome::Reached);
    assert_eq!(fence.value(), FenceValue(7));
}

#[test]
fn notify_rings_the_eventfd_when_the_host_signals() {
    let host = FakeHost::start(|mut session| {
        session.serve(|session, command| {
            if let GuestCommand::WaitForSyncObjectFromCpu(wait) = command {
                assert_eq!((wait.points.len(), wait.points[0].value), (1, FenceValue(3)));
                session.signal(wait.command.guest_event_pointer);
            }
            Answer::Default
        });
    });
    let node = host.connect();
    let fence = fence_of(&node).unwrap();
    let eventfd = doorbell::create().unwrap();
    fence.notify(FenceValue(3), eventfd.as_fd()).unwrap();
    assert_eq!(doorbell::wait(&[eventfd.as_fd()], Some(HANG)).unwrap(), 1);
}

/// Makes the session lost while a call without an answer, a fence wait and an eventfd wait are under way.
fn lose_under_way(lose: impl FnOnce(Session) + Send + 'static) {
    let host = FakeHost::start(move |mut session| {
        let found = session.serve_until(|command| matches!(command, GuestCommand::QueryVideoMemoryInfo(_)));
        assert!(found.is_some());
        lose(session);
    });
    let node = host.connect();
    let adapter = node.first_adapter().unwrap();
    let fence = fence_of(&node).unwrap();
    let eventfd = doorbell::create().unwrap();
    fence.notify(FenceValue(9), eventfd.as_fd()).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| fence.wait(FenceValue(9), None));
        let call = adapter.video_memory(MemorySegmentGroup(0)).unwrap_err();
        assert_eq!(call.kind(), ErrorKind::DeviceLost);
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::DeviceLost);
    });
    assert_eq!(doorbell::wait(&[eventfd.as_fd()], Some(HANG)).unwrap(), 1);
    // Sticky, for calls and waits alike.
    assert!(node.is_lost());
    assert_eq!(fence.wait(FenceValue(0), None).unwrap_err().kind(), ErrorKind::DeviceLost);
    assert_eq!(fence.signal(FenceValue(1)).unwrap_err().kind(), ErrorKind::DeviceLost);
    assert_eq!(node.streams().unwrap().lease(4096).unwrap_err().kind(), ErrorKind::DeviceLost);
    assert_eq!(node.adapters().unwrap_err().kind(), ErrorKind::DeviceLost);
}

#[test]
fn hang_up_ends_every_call_and_wait_as_device_lost() {
    lose_under_way(drop);
}

#[test]
fn lost_message_ends_every_call_and_wait_as_device_lost() {
    lose_under_way(|session| {
        session.lose(Reason::DEVICE_LOST);
        // The socket stays open: the message alone must do.
        while fake_host::recv(&session.socket).is_some() {}
    });
}

#[test]
fn lost_reason_is_the_hosts() {
    let host = FakeHost::start(|mut session| {
        session.serve_until(|command| matches!(command, GuestCommand::CreateDevice(_)));
        session.lose(Reason::SHUTDOWN);
    });
    let node = host.connect();
    let error = node.first_adapter().unwrap().create_device().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceLost);
    let lost = node.lost_reason().unwrap();
    assert_eq!((lost.reason, lost.text.as_str()), (Reason::SHUTDOWN, "the test says so"));
}

#[test]
fn lost_session_ends_a_long_wait_well_before_its_timeout() {
    let host = FakeHost::start(|mut session| {
        session.serve_until(|command| matches!(command, GuestCommand::SignalSyncObject(_)));
    });
    let node = host.connect();
    let fence = fence_of(&node).unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| fence.wait(FenceValue(1), Some(HANG * 4)));
        assert_eq!(fence.signal(FenceValue(1)).unwrap_err().kind(), ErrorKind::DeviceLost);
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::DeviceLost);
    });
    assert!(started.elapsed() < HANG);
}

#[test]
fn stream_refused_keeps_the_session() {
    let host = FakeHost::listen(|socket| {
        let mut session = Session::welcome(socket);
        // Start-up is four messages; then the client asks for a stream on the socket.
        for _ in 0..4 {
            session.serve_one();
        }
        let message = fake_host::recv(&session.socket).expect("a message");
        let open: dxg_wire::session::OpenStream = message.body();
        let body = dxg_wire::session::StreamOpened {
            request: open.request,
            reason: Reason::UNSUPPORTED,
            stream: 0,
            kind: open.kind,
            ring_bytes: open.ring_bytes,
            reserved: 0,
        };
        session.tell(BrokerMessage::STREAM_REFUSED, &body, &[]);
        session.serve(|_, _| Answer::Default);
    });
    let node = host.connect();
    let streams = node.streams().unwrap();
    let error = streams.open(StreamKind::VULKAN_DEVICE, 4096).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(node.first_adapter().unwrap().create_device().is_ok());
}

// Hostile answers: an error each, and where only the one call is hurt the session lives.

fn create_device_answered(answer: impl Fn() -> Answer + Send + 'static) -> (FakeHost, Node) {
    let host = FakeHost::start(move |mut session| {
        let mut first = true;
        session.serve(|_, command| match command {
            GuestCommand::CreateDevice(_) if std::mem::take(&mut first) => answer(),
            _ => Answer::Default,
        });
    });
    let node = host.connect();
    (host, node)
}

#[test]
fn completion_that_is_too_short_is_an_error_of_the_call_only() {
    let (_host, node) = create_device_answered(|| Answer::Payload(Vec::new()));
    let adapter = node.first_adapter().unwrap();
    assert_eq!(adapter.create_device().unwrap_err().kind(), ErrorKind::Size);
    assert!(adapter.create_device().is_ok());
}

#[test]
fn handle_zero_for_a_device_is_an_error() {
    let (_host, node) = create_device_answered(|| Answer::Payload(vec![0; 8]));
    let error = node.first_adapter().unwrap().create_device().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
}

#[test]
fn handle_that_is_no_handle_is_an_error() {
    let (_host, node) = create_device_answered(|| Answer::Payload(0x40u64.to_le_bytes().to_vec()));
    let error = node.first_adapter().unwrap().create_device().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn completion_of_an_unknown_transaction_is_dropped() {
    let host = FakeHost::start(|mut session| {
        session.serve(|session, command| {
            if matches!(command, GuestCommand::CreateDevice(_)) {
                fake_host::complete(&mut session.vgpu.sender, 0xdead_beef, &[0xff; 8]);
            }
            Answer::Default
        });
    });
    let node = host.connect();
    assert!(node.first_adapter().unwrap().create_device().is_ok());
}

fn fence_at(address: u64) -> ErrorKind {
    let host = FakeHost::start(move |mut session| {
        session.serve(|session, command| {
            if !matches!(command, GuestCommand::CreateSyncObject(_)) {
                return Answer::Default;
            }
            let mut reply = CreateSyncObjectReply::new_zeroed();
            reply.sync_object = session.handle();
            reply.fence_storage_address = address;
            Answer::Payload(reply.as_bytes().to_vec())
        });
    });
    let node = host.connect();
    let kind = fence_of(&node).unwrap_err().kind();
    assert!(!node.is_lost());
    kind
}

#[test]
fn fence_outside_every_window_is_an_error() {
    assert_eq!(fence_at(0), ErrorKind::InvalidArgument);
    assert_eq!(fence_at(u64::MAX), ErrorKind::InvalidArgument);
    assert_eq!(fence_at(dxg_wire::session::ARENA_BASE - 4096), ErrorKind::InvalidArgument);
    assert_eq!(fence_at(dxg_wire::session::ARENA_BASE + fake_host::ARENA_BYTES), ErrorKind::InvalidArgument);
}

#[test]
fn window_that_overlaps_another_ends_the_session() {
    let host = FakeHost::start(|mut session| {
        session.serve_until(|command| matches!(command, GuestCommand::CreateDevice(_)));
        let memory = create_sealed("window", 4096).expect("a memfd");
        let body = Window { base: IoAddress(dxg_wire::session::ARENA_BASE), size_bytes: 4096 };
        session.tell(BrokerMessage::WINDOW, &body, &[memory.as_fd()]);
        while fake_host::recv(&session.socket).is_some() {}
    });
    let node = host.connect();
    let error = node.first_adapter().unwrap().create_device().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceLost);
    assert_eq!(node.lost_reason().unwrap().reason, Reason::VIOLATION);
}

#[test]
fn packets_of_the_host_that_make_no_sense_are_dropped() {
    let host = FakeHost::start(|mut session| {
        session.serve(|session, command| {
            if matches!(command, GuestCommand::CreateDevice(_)) {
                session.push(&[0xff; 8]);
                session.push(&[0xff; 64]);
                session.signal(0xdead);
            }
            Answer::Default
        });
    });
    let node = host.connect();
    let fence = fence_of(&node).unwrap();
    assert!(fence.signal(FenceValue(1)).is_ok());
}

#[test]
fn node_dropped_with_objects_alive_closes_with_the_last_of_them() {
    let host = honest();
    let node = host.connect();
    let fence = fence_of(&node).unwrap();
    drop(node);
    assert!(fence.signal(FenceValue(1)).is_ok());
    drop(fence);
    // The script ends when the client hangs up.
    host.join();
}

#[test]
fn ring_index_that_makes_no_sense_ends_the_session() {
    let host = FakeHost::start(|mut session| {
        session.serve_until(|command| matches!(command, GuestCommand::CreateDevice(_)));
        // The write index of the ring to the guest: beyond the data area and misaligned.
        session.control.write(fake_host::RING_BYTES as usize, &0xffff_fff1_u32).expect("the control page");
        doorbell::ring(&session.vgpu_bell);
        while fake_host::recv(&session.socket).is_some() {}
    });
    let node = host.connect();
    let error = node.first_adapter().unwrap().create_device().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceLost);
    assert_eq!(node.lost_reason().unwrap().reason, Reason::VIOLATION);
    host.join();
}

#[test]
fn packet_longer_than_the_ring_ends_the_session() {
    let host = FakeHost::start(|mut session| {
        session.serve_until(|command| matches!(command, GuestCommand::CreateDevice(_)));
        let at = fake_host::RING_BYTES as usize;
        let start: u32 = session.control.read(at).expect("the write index");
        // A completion that claims half a megabyte, and 24 bytes of it.
        let descriptor = [11u16, 2, u16::MAX, 0].as_bytes().to_vec();
        let data = at + 4096 + start as usize;
        session.control.copy_in(data, &descriptor).expect("the data area");
        session.control.write(at, &(start + 24)).expect("the control page");
        doorbell::ring(&session.vgpu_bell);
        while fake_host::recv(&session.socket).is_some() {}
    });
    let node = host.connect();
    let error = node.first_adapter().unwrap().create_device().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceLost);
    assert_eq!(node.lost_reason().unwrap().reason, Reason::VIOLATION);
    host.join();
}

#[test]
fn requests_that_fill_the_ring_wait_for_room() {
    let host = FakeHost::start(|mut session| {
        session.serve(|_, command| match command {
            GuestCommand::Escape(escape) => Answer::Payload(escape.private_data.clone()),
            _ => Answer::Default,
        });
    });
    let node = host.connect();
    let adapter = node.first_adapter().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let adapter = &adapter;
            scope.spawn(move || {
                for turn in 0..50u8 {
                    let sent = [thread, turn].repeat(10_000);
                    let mut data = sent.clone();
                    adapter.escape(Default::default(), Default::default(), &mut data).unwrap();
                    assert!(data == sent, "thread {thread}, turn {turn}");
                }
            });
        }
    });
    drop((adapter, node));
    host.join();
}
