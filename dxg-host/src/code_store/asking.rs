//! A worker's side: asks the keeper for code, and hands over what it made.
//!
//! *Invariants.* Nobody waits for the keeper for longer than [`PATIENCE`], and after that no more: a program goes on without.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use dxg_ptx::native::CodeStore;
use dxg_wire::code::CodeAnswer;
use dxg_wire::code::CodeMessage;
use dxg_wire::code::CodeRef;
use dxg_wire::doorbell;
use dxg_wire::shm::create_sealed_with;
use dxg_wire::shm::session_io;
use parking_lot::Mutex;

use super::MOST_ENTRY_BYTES;
use super::keeper::contents;

/// How long a disk may take. To compile takes less, so that only a disk that hangs is waited for in vain.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the socket to the keeper.
type Open = Box<dyn Fn() -> Option<OwnedFd> + Send + Sync>;

enum Socket {
    /// Nobody has asked for anything yet.
    NotOpened(Open),
    Open(OwnedFd),
    /// There is no keeper, or none any more.
    None,
}

/// The way to the keeper. It is opened when it is first needed.
pub struct Asking(Mutex<Socket>);

impl Asking {
    /// A way that `open` opens, to a non-blocking socket.
    #[must_use]
    pub fn new(open: impl Fn() -> Option<OwnedFd> + Send + Sync + 'static) -> Self {
        Self(Mutex::new(Socket::NotOpened(Box::new(open))))
    }

    /// Does something with the socket; `None` of it is the end of the way.
    fn with<T>(&self, act: impl FnOnce(&OwnedFd) -> Option<T>) -> Option<T> {
        let mut socket = self.0.lock();
        if let Socket::NotOpened(open) = &*socket {
            *socket = open().map_or(Socket::None, Socket::Open);
        }
        let Socket::Open(open) = &*socket else { return None };
        let done = act(open);
        if done.is_none() {
            tracing::debug!("the keeper of code is not asked any more");
            *socket = Socket::None;
        }
        done
    }
}

impl CodeStore for Asking {
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        self.with(|socket| get(socket, key)).flatten()
    }

    fn put(&self, key: &[u8; 32], bytes: &[u8]) {
        let size_bytes = bytes.len() as u64;
        if size_bytes > MOST_ENTRY_BYTES {
            return;
        }
        let Ok(memory) = create_sealed_with("dxg-code", bytes) else { return };
        self.with(|socket| {
            let body = CodeRef { key: *key, size_bytes };
            // What a full socket does not take is not kept.
            let sent = session_io::send_message(socket, CodeMessage::PUT.0, &body, &[memory.as_fd()]);
            match sent {
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => None,
                _ => Some(()),
            }
        });
    }
}

/// Asks and waits; `None` is the end of the way.
fn get(socket: &OwnedFd, key: &[u8; 32]) -> Option<Option<Vec<u8>>> {
    let asked = CodeRef { key: *key, size_bytes: 0 };
    session_io::send_message(socket, CodeMessage::GET.0, &asked, &[]).ok()?;
    let until = Instant::now() + PATIENCE;
    loop {
        match session_io::recv_message(socket, |kind| CodeAnswer(kind).descriptors()) {
            Ok(message) => {
                let answer: CodeRef = message.body();
                if answer.key != *key {
                    return None;
                }
                let memory = message.into_fd();
                return Some(memory.and_then(|memory| contents(&memory, answer.size_bytes)));
            }
            Err(error) if error.is_would_block() => {}
            Err(_) => return None,
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        doorbell::wait(&[socket.as_fd()], Some(left)).ok()?;
    }
}
