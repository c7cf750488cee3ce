//! Peers that fight: wrong descriptors, floods of them, rings that change while they are read. The daemon stays, other
//! clients keep working, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod support;

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use dxg_wire::doorbell;
use dxg_wire::messages::Command;
use dxg_wire::messages::CreateDeviceCommand;
use dxg_wire::messages::DestroyDeviceCommand;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Import;
use dxg_wire::session::Imported;
use dxg_wire::session::Lease;
use dxg_wire::session::Lost;
use dxg_wire::session::MAX_FDS;
use dxg_wire::session::Reason;
use dxg_wire::session::Welcome;
use dxg_wire::session::text_of;
use dxg_wire::session::to_bytes;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use dxg_wire::shm::session_io;
use rustix::fs::MemfdFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::net::AddressFamily;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::process::PidfdFlags;

use support::client::Client;
use support::client::hello;
use support::daemon::Daemon;
use support::daemon::eventually;
use support::daemon::is_alive;
use support::session::Session;
use support::session::map;

/// Most descriptors that the kernel passes in one packet.
const KERNEL_FDS: usize = 253;

/// A daemon whose pool is at rest, with what it has open then.
fn settled() -> (Daemon, Vec<String>) {
    let daemon = Daemon::with_config("most_warm_workers = 1");
    let session = Session::open(&daemon.socket());
    let bound = daemon.bound_workers();
    drop(session);
    // Until it has ended it may be taken for the one that waits, which is not there yet.
    eventually("the session's worker has ended", || !bound.iter().any(|pid| is_alive(*pid)));
    rest(&daemon);
    let before = daemon.descriptors();
    (daemon, before)
}

fn rest(daemon: &Daemon) {
    eventually("one worker waits", || {
        let vgpu = &daemon.state().vgpus[0];
        vgpu.clients.is_empty() && vgpu.used_bytes == 0 && daemon.workers().len() == 1
    });
    // A worker is off the process table just before its descriptors are closed; an answer comes after both.
    daemon.state();
}

fn assert_nothing_is_left(daemon: &Daemon, before: &[String]) {
    rest(daemon);
    eventually("descriptors are back", || daemon.descriptors() == before);
}

/// Does something whole in a session: a device comes and goes.
fn work(session: &mut Session) {
    let device = session.ask(&CreateDeviceCommand::for_process(session.process)).device;
    assert_ne!(device.0, 0);
    let mut destroy = DestroyDeviceCommand::for_process(session.process);
    destroy.device = device;
    assert!(session.ask(&destroy).is_success());
}

/// A client that was welcomed, with the six descriptors of its session.
fn welcomed(daemon: &Daemon) -> (Client, Welcome, Vec<OwnedFd>) {
    let client = Client::connect(&daemon.socket());
    client.send(ClientMessage::HELLO, &hello(), &[]);
    let (welcome, fds) = client.expect::<Welcome>(BrokerMessage::WELCOME);
    (client, welcome, fds)
}

fn socket(kind: SocketType) -> OwnedFd {
    rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// Descriptors that stand for no shared object.
fn wrong_descriptors(daemon: &Daemon) -> Vec<(&'static str, OwnedFd)> {
    let dir = |flags| rustix::fs::open(&daemon.dir, flags | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let path = daemon.dir.join("config.toml");
    let (read, write) = rustix::pipe::pipe().unwrap();
    let (pair, _) = UnixStream::pair().unwrap();
    vec![
        ("unsealed memfd", rustix::fs::memfd_create("wrong", MemfdFlags::CLOEXEC).unwrap()),
        ("sealed memfd", create_sealed("wrong", 4096).unwrap()),
        ("regular file", File::open(&path).unwrap().into()),
        ("path", rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()),
        ("directory", dir(OFlags::DIRECTORY)),
        ("path of a directory", dir(OFlags::PATH)),
        ("end of a pipe to read", read),
        ("end of a pipe to write", write),
        ("/dev/zero", File::open("/dev/zero").unwrap().into()),
        ("/dev/null", File::open("/dev/null").unwrap().into()),
        ("eventfd", doorbell::create().unwrap()),
        ("epoll", rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap()),
        ("pidfd", rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap()),
        ("end of a closed pair", pair.into()),
        ("stream socket", socket(SocketType::STREAM)),
        ("packet socket", socket(SocketType::SEQPACKET)),
        ("connection to the daemon", Client::connect(&daemon.socket()).socket),
        (
            "control connection",
            UnixStream::connect(dxg_wire::runtime_dir::control_socket(&daemon.dir)).unwrap().into(),
        ),
    ]
}

/// What importing a descriptor is refused with.
fn import(client: &Client, fd: BorrowedFd<'_>) -> Reason {
    client.send(ClientMessage::IMPORT_SHARED, &Import { request: 5, reserved: 0 }, &[fd]);
    let (imported, _) = client.expect::<Imported>(BrokerMessage::IMPORT_REFUSED);
    assert_eq!(imported.request, 5);
    imported.reason
}

#[test]
fn descriptors_that_stand_for_nothing_are_not_shared_objects() {
    let (daemon, before) = settled();
    let mut other = Session::open(&daemon.socket());
    let (client, _, own) = welcomed(&daemon);
    for (name, fd) in wrong_descriptors(&daemon) {
        assert_eq!(import(&client, fd.as_fd()), Reason::NOT_SHARED, "{name}");
    }
    // Its own rings, arena, doorbells and connection, as they came from the daemon.
    for fd in own.iter().chain([&client.socket]) {
        assert_eq!(import(&client, fd.as_fd()), Reason::NOT_SHARED);
    }
    work(&mut other);
    drop((client, other, own));
    assert_nothing_is_left(&daemon, &before);
}

/// Sends a packet with as many descriptors as the kernel passes, in one or more control messages.
fn send_with(client: &Client, packet: &[u8], groups: &[&[BorrowedFd<'_>]]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KERNEL_FDS)) * 2];
    let mut control = SendAncillaryBuffer::new(&mut space);
    for fds in groups {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    rustix::net::sendmsg(&client.socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

#[test]
fn descriptors_that_do_not_belong_to_a_message_end_the_session() {
    let (daemon, before) = settled();
    let zero = File::open("/dev/zero").unwrap();
    let fd = zero.as_fd();
    let lease = to_bytes(ClientMessage::LEASE.0, &Lease { request: 1, reserved: 0, size_bytes: 4096 });
    let import = to_bytes(ClientMessage::IMPORT_SHARED.0, &Import { request: 1, reserved: 0 });
    let flood = [fd; KERNEL_FDS];
    let groups: [(&[u8], &[&[BorrowedFd<'_>]]); 7] = [
        (&lease, &[&[fd]]),
        (&lease, &[&flood]),
        (&import, &[]),
        (&import, &[&[fd, fd]]),
        (&import, &[&[fd; MAX_FDS + 1]]),
        (&import, &[&flood]),
        (&import, &[&[fd], &[fd]]),
    ];
    for (packet, fds) in groups {
        let (client, _, _) = welcomed(&daemon);
        send_with(&client, packet, fds);
        assert_eq!(client.lost(), Reason::VIOLATION, "{} groups", fds.len());
    }
    assert_nothing_is_left(&daemon, &before);
}

#[test]
fn floods_of_descriptors_leave_none_and_others_are_served() {
    const CONNECTIONS: usize = 64;
    const PACKETS: usize = 16;
    let (daemon, before) = settled();
    let mut other = Session::open(&daemon.socket());
    let zero = File::open("/dev/zero").unwrap();
    let flood = [zero.as_fd(); KERNEL_FDS];
    let import = to_bytes(ClientMessage::IMPORT_SHARED.0, &Import { request: 1, reserved: 0 });
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(&daemon.socket())).collect();
    for client in &clients {
        for _ in 0..PACKETS {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KERNEL_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&flood)));
            // The daemon hangs up while the rest is on its way.
            let parts = [IoSlice::new(&import)];
            if rustix::net::sendmsg(&client.socket, &parts, &mut control, SendFlags::NOSIGNAL).is_err() {
                break;
            }
        }
        work(&mut other);
    }
    work(&mut Session::open(&daemon.socket()));
    drop((clients, other));
    assert_nothing_is_left(&daemon, &before);
}

/// Numbers that look random and are the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// A client's rings as it may write them, and the doorbells of the host.
struct Rings {
    client: Client,
    memory: SharedSlice,
    /// Where each of the four rings begins.
    starts: [usize; 4],
    bells: [OwnedFd; 2],
}

impl Rings {
    fn open(daemon: &Daemon) -> Self {
        let (client, welcome, fds) = welcomed(daemon);
        let [control, _, vgpu_to_host, _, global_to_host, _] = <[OwnedFd; 6]>::try_from(fds).unwrap();
        let vgpu = welcome.vgpu_ring_bytes as usize;
        let global = welcome.global_ring_bytes as usize;
        let memory = SharedSlice::whole(&map(&control, 2 * (vgpu + global) as u64));
        let starts = [0, vgpu, 2 * vgpu, 2 * vgpu + global];
        Self { client, memory, starts, bells: [vgpu_to_host, global_to_host] }
    }

    fn ring(&self) {
        self.bells.iter().for_each(doorbell::ring);
    }

    /// Why the session is over, if it is; asks for memory to find out.
    fn verdict(&self) -> Option<(Reason, String)> {
        let lease = Lease { request: 1, reserved: 0, size_bytes: 4096 };
        // A socket that is closed already says so below.
        let _ = session_io::send_message(&self.client.socket, ClientMessage::LEASE.0, &lease, &[]);
        let message = match self.client.try_receive() {
            // A question that the daemon did not read any more resets the socket; what it said before comes next.
            Err(error) if error.is_hang_up() => self.client.receive(),
            other => other.unwrap(),
        };
        match BrokerMessage(message.kind) {
            BrokerMessage::LOST => {
                let lost: Lost = message.body();
                Some((lost.reason, text_of(&lost.text)))
            }
            BrokerMessage::LEASED => None,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn ring_indexes_of_any_value_are_a_violation_or_wait_for_sense() {
    let (daemon, before) = settled();
    let mut other = Session::open(&daemon.socket());
    let mut violations = 0;
    for ring in 0..4 {
        for word in [0, 4, 8, 12] {
            for value in [1, 8, 4096, 0x3_F000, 0x7FFF_FFF8, 0x8000_0000, 0xFFFF_FFF8, u32::MAX] {
                let rings = Rings::open(&daemon);
                rings.memory.write(rings.starts[ring] + word, &value).unwrap();
                rings.ring();
                match rings.verdict() {
                    None => {}
                    Some((Reason::VIOLATION, _)) => violations += 1,
                    Some(verdict) => panic!("ring {ring} word {word} value {value:#x}: {verdict:?}"),
                }
            }
        }
        work(&mut other);
    }
    assert!(violations > 0, "some of them are nonsense");
    drop(other);
    assert_nothing_is_left(&daemon, &before);
}

#[test]
fn rings_that_change_while_they_are_read_hurt_nobody_else() {
    const ROUNDS: usize = 24;
    const FLIPS: usize = 20_000;
    let (daemon, before) = settled();
    let mut other = Session::open(&daemon.socket());
    let mut violations = 0;
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    for _ in 0..ROUNDS {
        let rings = Rings::open(&daemon);
        let flipped = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for flip in 0..FLIPS {
                    // Control words and first packets more often than the rest.
                    let start = rings.starts[noise.below(4)];
                    let at = match noise.below(4) {
                        0 => start + noise.below(16),
                        1 | 2 => start + 4096 + noise.below(256),
                        _ => noise.below(rings.memory.len()),
                    };
                    let byte: u8 = rings.memory.read(at).unwrap();
                    rings.memory.write(at, &(byte ^ 1 << noise.below(8))).unwrap();
                    if flip % 16 == 0 {
                        rings.ring();
                    }
                }
                flipped.store(true, Ordering::Release);
            });
            while !flipped.load(Ordering::Acquire) {
                work(&mut other);
            }
        });
        match rings.verdict() {
            None => {}
            Some((Reason::VIOLATION, _)) => violations += 1,
            Some(verdict) => panic!("{verdict:?}"),
        }
    }
    assert!(violations > 0, "rings full of nonsense");
    drop(other);
    assert_nothing_is_left(&daemon, &before);
}
