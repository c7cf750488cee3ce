//! The keeper of compiled code, driven as broker and workers drive it, and as a worker that was taken over would.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::code::CodeAnswer;
use dxg_wire::code::CodeMessage;
use dxg_wire::code::CodeRef;
use dxg_wire::code::KeeperMessage;
use dxg_wire::code::Limits;
use dxg_wire::code::Seat;
use dxg_wire::doorbell;
use dxg_wire::shm::create_sealed_with;
use dxg_wire::shm::session_io;
use dxg_wire::shm::socket;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

/// A guard against hanging, far beyond anything that is waited for.
const HANG: Duration = Duration::from_secs(60);
const KEY: [u8; 32] = [1; 32];
const LIMITS: Limits = Limits { place_bytes: 1 << 20, total_bytes: 4 << 20 };

/// Both ends of a new pair of sockets.
fn pair() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// A keeper with a directory of one test, gone with the value.
struct Keeper {
    process: Child,
    broker: Option<OwnedFd>,
    directory: PathBuf,
}

impl Keeper {
    fn start(sandbox: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("dxg-keeper-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (broker, theirs) = pair();
        let process = Command::new(env!("CARGO_BIN_EXE_dxgd"))
            .args(["keeper", "--sandbox", sandbox])
            .env("DXG_LOG", "error")
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let root = File::open(&directory).unwrap();
        session_io::send_message(&broker, KeeperMessage::DIRECTORY.0, &LIMITS, &[root.as_fd()]).unwrap();
        Self { process, broker: Some(broker), directory }
    }

    /// A worker of this user.
    fn worker(&self, uid: u32) -> Worker {
        let (ours, theirs) = pair();
        for end in [&ours, &theirs] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        let seat = Seat { vgpu_uuid: [7; 16], uid, reserved: 0 };
        let broker = self.broker.as_ref().unwrap();
        session_io::send_message(broker, KeeperMessage::SEAT.0, &seat, &[theirs.as_fd()]).unwrap();
        Worker(ours)
    }

    /// The broker ends; answers whether the keeper then ends as it should.
    fn end(&mut self) -> bool {
        self.broker = None;
        self.process.wait().unwrap().success()
    }

    fn files(&self) -> usize {
        count_files(&self.directory)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn count_files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { count_files(&path) } else { 1 }
        })
        .sum()
}

/// What a worker has of the keeper.
struct Worker(OwnedFd);

impl Worker {
    fn say(&self, kind: CodeMessage, size_bytes: u64, memory: &[&OwnedFd]) -> io::Result<()> {
        self.say_of(KEY, kind, size_bytes, memory)
    }

    fn say_of(
        &self,
        key: [u8; 32],
        kind: CodeMessage,
        size_bytes: u64,
        memory: &[&OwnedFd],
    ) -> io::Result<()> {
        let fds: Vec<_> = memory.iter().map(|memory| memory.as_fd()).collect();
        session_io::send_message(&self.0, kind.0, &CodeRef { key, size_bytes }, &fds)
    }

    fn put(&self, key: [u8; 32], content: &[u8]) {
        let memory = create_sealed_with("test", content).unwrap();
        self.say_of(key, CodeMessage::PUT, content.len() as u64, &[&memory]).unwrap();
    }

    /// What the keeper has for a key. All that was said before is done then.
    fn get(&self, key: [u8; 32]) -> Option<Vec<u8>> {
        self.say_of(key, CodeMessage::GET, 0, &[]).unwrap();
        let deadline = Instant::now() + HANG;
        loop {
            match session_io::recv_message(&self.0, |kind| CodeAnswer(kind).descriptors()) {
                Ok(message) => {
                    let answer: CodeRef = message.body();
                    assert_eq!(answer.key, key);
                    let memory = message.into_fd()?;
                    let mut content = vec![0; usize::try_from(answer.size_bytes).unwrap()];
                    assert_eq!(rustix::io::pread(&memory, &mut content, 0).unwrap(), content.len());
                    return Some(content);
                }
                Err(error) if error.is_would_block() => {}
                Err(error) => panic!("{error}"),
            }
            assert!(Instant::now() < deadline, "no answer");
            doorbell::wait(&[self.0.as_fd()], Some(HANG)).unwrap();
        }
    }

    /// That the keeper has done with this worker.
    fn is_over(&self) {
        let deadline = Instant::now() + HANG;
        loop {
            match session_io::recv_message(&self.0, |kind| CodeAnswer(kind).descriptors()) {
                Err(error) if error.is_would_block() => {}
                Err(error) => return assert!(error.is_hang_up(), "{error}"),
                Ok(_) => {}
            }
            assert!(Instant::now() < deadline, "it goes on");
            doorbell::wait(&[self.0.as_fd()], Some(HANG)).unwrap();
        }
    }
}

#[test]
fn code_is_kept_for_its_user_and_no_other() {
    let keeper = Keeper::start("best");
    let (one, same, other) = (keeper.worker(1), keeper.worker(1), keeper.worker(2));
    one.put(KEY, b"code");
    assert_eq!(one.get(KEY), Some(b"code".to_vec()));
    assert_eq!(same.get(KEY), Some(b"code".to_vec()));
    assert_eq!(other.get(KEY), None);
}

#[test]
fn keeper_is_closed_in_and_still_keeps() {
    let mut keeper = Keeper::start("require");
    let worker = keeper.worker(1);
    // A worker of a keeper that has ended is told so.
    if worker.say(CodeMessage::GET, 0, &[]).is_err()
        || doorbell::wait(&[worker.0.as_fd()], Some(HANG)).is_err()
        || keeper.process.try_wait().unwrap().is_some()
    {
        return println!("skipped: this system does not let us close in wholly");
    }
    let answer = session_io::recv_message(&worker.0, |kind| CodeAnswer(kind).descriptors()).unwrap();
    assert_eq!(CodeAnswer(answer.kind), CodeAnswer::ABSENT);
    worker.put(KEY, b"code");
    worker.put(KEY, b"other code");
    assert_eq!(worker.get(KEY), Some(b"other code".to_vec()));
    let status = fs::read_to_string(format!("/proc/{}/status", keeper.process.id())).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t2", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    assert!(keeper.end());
}

#[test]
fn what_was_handed_over_is_written_when_broker_and_worker_are_gone() {
    let mut keeper = Keeper::start("best");
    let worker = keeper.worker(1);
    for number in 0..20 {
        worker.put([number; 32], &[number; 5000]);
    }
    drop(worker);
    // As a terminal or a service manager asks a whole daemon to end.
    let pid = rustix::process::Pid::from_child(&keeper.process);
    worker_of_another_user_is_served(&keeper);
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    worker_of_another_user_is_served(&keeper);
    assert!(keeper.end());
    assert_eq!(keeper.files(), 20);
}

fn worker_of_another_user_is_served(keeper: &Keeper) {
    assert_eq!(keeper.worker(2).get(KEY), None);
}

#[test]
fn memory_that_can_change_or_is_none_is_not_kept() {
    let keeper = Keeper::start("best");
    let worker = keeper.worker(1);
    let unsealed = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&unsealed, 4).unwrap();
    let file: OwnedFd = File::open("/etc/hostname").or_else(|_| File::open("/etc/passwd")).unwrap().into();
    // To read from it would not come to an end.
    let (silent, _writer) = rustix::pipe::pipe().unwrap();
    let device: OwnedFd = File::open("/dev/zero").unwrap().into();
    let socket = keeper.worker(2).0;
    for memory in [&unsealed, &file, &silent, &device, &socket] {
        worker.say(CodeMessage::PUT, 4, &[memory]).unwrap();
    }
    let sealed = create_sealed_with("test", b"code").unwrap();
    for size_bytes in [0, 3, 5, 1 << 21, 1 << 40, u64::MAX] {
        worker.say(CodeMessage::PUT, size_bytes, &[&sealed]).unwrap();
    }
    assert_eq!(worker.get(KEY), None);
    assert_eq!(keeper.files(), 0);
}

#[test]
fn worker_that_breaks_the_protocol_ends_for_itself_only() {
    let keeper = Keeper::start("best");
    let other = keeper.worker(1);
    let memory = create_sealed_with("test", b"code").unwrap();
    let nonsense: [&dyn Fn(&Worker); 4] = [
        &|worker| worker.say(CodeMessage(77), 0, &[]).unwrap(),
        &|worker| worker.say(CodeMessage::GET, 0, &[&memory]).unwrap(),
        &|worker| worker.say(CodeMessage::PUT, 4, &[]).unwrap(),
        &|worker| socket::send(&worker.0, b"short", &[]).unwrap(),
    ];
    for say in nonsense {
        let worker = keeper.worker(1);
        say(&worker);
        worker.is_over();
    }
    other.put(KEY, b"code");
    assert_eq!(other.get(KEY), Some(b"code".to_vec()));
}

#[test]
fn worker_that_does_not_read_keeps_nobody_waiting() {
    let keeper = Keeper::start("best");
    let (greedy, other) = (keeper.worker(1), keeper.worker(1));
    other.put(KEY, &[7; 100_000]);
    assert!(other.get(KEY).is_some());
    // The keeper gives it up once it takes no more answers.
    let deadline = Instant::now() + HANG;
    let given_up = loop {
        match greedy.say(CodeMessage::GET, 0, &[]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => break error.kind(),
            _ => assert!(Instant::now() < deadline, "it goes on"),
        }
    };
    assert!(matches!(given_up, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{given_up}");
    assert!(other.get(KEY).is_some());
}

#[test]
fn session_writes_no_more_than_its_place_holds() {
    let keeper = Keeper::start("best");
    let worker = keeper.worker(1);
    let content = vec![7; 60_000];
    for number in 0..64 {
        worker.put([number; 32], &content);
        worker.get([number; 32]);
    }
    assert_eq!(worker.get([0; 32]).as_ref(), Some(&content));
    assert_eq!(worker.get([63; 32]), None, "it has written a place full");
    let next = keeper.worker(1);
    next.put([63; 32], &content);
    assert_eq!(next.get([63; 32]), Some(content));
    assert!(keeper.files() * 60_000 <= 1 << 20);
}
