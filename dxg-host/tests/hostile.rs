//! Requests that no honest client sends: the worker refuses them or ends the session, and never fails itself.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod support;

use std::os::fd::AsFd;
use std::time::Duration;
use std::time::Instant;

use dxg_ioctl::Luid;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::SynchronizationObjectType;
use dxg_wire::messages::Channel;
use dxg_wire::messages::Command;
use dxg_wire::messages::CreateDeviceCommand;
use dxg_wire::messages::CreatePagingQueueCommand;
use dxg_wire::messages::CreateSyncObjectCommand;
use dxg_wire::messages::GlobalCommandId;
use dxg_wire::messages::InterfaceVersion;
use dxg_wire::messages::VgpuCommandId;
use dxg_wire::messages::VgpuToHostHeader;
use dxg_wire::messages::VmToHostHeader;
use dxg_wire::messages::framing::frame;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Lease;
use dxg_wire::session::Leased;
use dxg_wire::session::Lost;
use dxg_wire::session::MESSAGE_BYTES;
use dxg_wire::session::Reason;
use dxg_wire::session::Window;
use dxg_wire::session::WindowRef;
use dxg_wire::session::text_of;
use dxg_wire::vmbus::Incoming;
use dxg_wire::vmbus::PacketType;
use zerocopy::IntoBytes;

use support::daemon::Daemon;
use support::daemon::GUARD;
use support::session::Session;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Lost(Reason, String),
}

fn try_ask(session: &mut Session, plane: Channel, message: &[u8]) -> Outcome {
    session.post(plane, message, 1);
    let until = Instant::now() + GUARD;
    loop {
        assert!(Instant::now() < until, "neither an answer nor an end");
        let channel = match plane {
            Channel::Global => &mut session.global,
            Channel::Vgpu => &mut session.vgpu,
        };
        let mut payload = Vec::new();
        let others = [session.client.socket.as_fd()];
        match channel.receiver.receive(&mut payload, Duration::ZERO, &others, Some(until)).unwrap() {
            Incoming::Packet(packet) if packet.packet_type == PacketType::COMPLETION => {
                return Outcome::Answered;
            }
            Incoming::Other(_) => {
                let message = session.client.receive();
                match BrokerMessage(message.kind) {
                    BrokerMessage::LOST => {
                        let lost: Lost = message.body();
                        return Outcome::Lost(lost.reason, text_of(&lost.text));
                    }
                    BrokerMessage::WINDOW => {
                        let window: Window = message.body();
                        let base = WindowRef { base: window.base };
                        session.client.send(ClientMessage::WINDOW_ACK, &base, &[]);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// A session with some objects, and words that are likely to mean something to it.
fn furnished(daemon: &Daemon) -> (Session, Vec<u32>) {
    let mut session = Session::open(&daemon.socket());
    let device = session.ask(&CreateDeviceCommand::for_process(session.process)).device;
    let mut queue = CreatePagingQueueCommand::for_process(session.process);
    queue.args.device = device;
    let queue = session.ask(&queue);
    let mut fence = CreateSyncObjectCommand::for_process(session.process);
    fence.args.device = device;
    fence.args.info.r#type = SynchronizationObjectType::MONITORED_FENCE;
    let fence = session.ask(&fence);
    let handles = [device, queue.paging_queue, queue.sync_object, fence.sync_object, session.process];
    let numbers = [0, 1, 2, 3, 5, 63, 64, 65, 4096, 0x0010_0000, 0x7FFF_FFFF, 0x8000_0000, u32::MAX];
    let words = handles.iter().map(|handle| handle.0).chain(numbers).collect();
    (session, words)
}

fn body(numbers: &mut Numbers, words: &[u32]) -> Vec<u8> {
    let len = numbers.below(160);
    (0..len).flat_map(|_| numbers.pick(words).to_le_bytes()).collect()
}

fn only_violations(outcome: &Outcome, what: &str) -> bool {
    match outcome {
        Outcome::Answered => false,
        Outcome::Lost(Reason::VIOLATION, _) => true,
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn commands_with_made_up_bodies_are_answered_or_end_the_session() {
    let daemon = Daemon::with_config("[[vgpu]]\nadapter = 0\nquota_bytes = 67108864\n");
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut session, mut words) = furnished(&daemon);
    let mut answered = 0;
    for round in 0..4000 {
        // Now and then with all objects there, whatever was destroyed meanwhile.
        if round % 100 == 0 {
            (session, words) = furnished(&daemon);
        }
        let id = u32::try_from(numbers.below(70)).unwrap();
        let process = numbers.pick(&[session.process, session.process, session.process, RawHandle(0)]);
        let (plane, mut command) = if numbers.below(8) == 0 {
            let id = GlobalCommandId(1000 + id % 24);
            (Channel::Global, VmToHostHeader::new(id, process).as_bytes().to_vec())
        } else {
            (Channel::Vgpu, VgpuToHostHeader::new(VgpuCommandId(id), process).as_bytes().to_vec())
        };
        command.extend(body(&mut numbers, &words));
        let message = frame(InterfaceVersion::CURRENT, Luid { a: 0, b: 0 }, &command).unwrap();
        let outcome = try_ask(&mut session, plane, &message);
        if only_violations(&outcome, &format!("command {id} on {plane:?}")) {
            (session, words) = furnished(&daemon);
        } else {
            answered += 1;
        }
    }
    assert!(answered > 1000, "most bodies are long enough to be judged: {answered}");
}

#[test]
fn random_bytes_are_a_violation() {
    let daemon = Daemon::start();
    let mut numbers = Numbers(0x1234_5678_9ABC_DEF1);
    for _ in 0..40 {
        let mut session = Session::open(&daemon.socket());
        let len = numbers.below(600);
        let message: Vec<u8> = (0..len).map(|_| numbers.next().to_le_bytes()[3]).collect();
        let outcome = try_ask(&mut session, Channel::Vgpu, &message);
        assert!(only_violations(&outcome, "random bytes"));
    }
}

#[test]
fn every_truncation_of_a_command_is_answered_or_ends_the_session() {
    let daemon = Daemon::start();
    let (mut session, _) = furnished(&daemon);
    let mut whole = CreateSyncObjectCommand::for_process(session.process);
    whole.args.info.r#type = SynchronizationObjectType::FENCE;
    let whole = frame(InterfaceVersion::CURRENT, Luid { a: 0, b: 0 }, whole.as_bytes()).unwrap();
    for len in (0..whole.len()).step_by(8) {
        let outcome = try_ask(&mut session, Channel::Vgpu, &whole[..len]);
        assert!(only_violations(&outcome, "truncated"), "{len} bytes are not enough");
        (session, _) = furnished(&daemon);
    }
    assert_eq!(try_ask(&mut session, Channel::Vgpu, &whole), Outcome::Answered);
}

/// Whether the session still answers.
fn is_served(session: &Session) -> bool {
    let lease = Lease { request: 777, reserved: 0, size_bytes: 4096 };
    if dxg_wire::shm::session_io::send_message(&session.client.socket, ClientMessage::LEASE.0, &lease, &[])
        .is_err()
    {
        return false;
    }
    loop {
        let Ok(message) = session.client.try_receive() else { return false };
        match BrokerMessage(message.kind) {
            BrokerMessage::LOST => {
                let lost: Lost = message.body();
                assert_eq!(lost.reason, Reason::VIOLATION, "{}", text_of(&lost.text));
                return false;
            }
            BrokerMessage::LEASED | BrokerMessage::LEASE_REFUSED => {
                let leased: Leased = message.body();
                if leased.request == 777 {
                    return true;
                }
            }
            _ => {}
        }
    }
}

#[test]
fn session_messages_with_made_up_bodies_are_answered_or_end_the_session() {
    let daemon = Daemon::with_config("[[vgpu]]\nadapter = 0\nquota_bytes = 67108864\n");
    let mut numbers = Numbers(0x0F0F_1234_8765_4321);
    let (mut session, words) = furnished(&daemon);
    let mut served = 0;
    for _ in 0..500 {
        let mut packet = [0; MESSAGE_BYTES];
        let kind = u32::try_from(numbers.below(9)).unwrap();
        packet[..4].copy_from_slice(&kind.to_le_bytes());
        for at in (8..40).step_by(4) {
            packet[at..at + 4].copy_from_slice(&numbers.pick(&words).to_le_bytes());
        }
        session.client.send_bytes(&packet, &[]);
        if is_served(&session) {
            served += 1;
        } else {
            (session, _) = furnished(&daemon);
        }
    }
    assert!(served > 50, "leases of any size are legal: {served}");
    drop(session);
    support::daemon::eventually("nothing is left", || daemon.state().vgpus[0].used_bytes == 0);
}
