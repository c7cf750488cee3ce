//! The process that alone reads and writes the files.
//!
//! *Invariants.* It believes the broker, and of workers only what concerns the place that the broker named with their socket. It
//! never waits for a worker: an answer that a socket does not take ends that socket. What it reads of a worker is memory that
//! nobody can change any more, of a size that is limited; it is kept as it is.
//!
//! *Its end* is the broker's: then what workers have handed over before is still written.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use dxg_wire::code;
use dxg_wire::code::CodeAnswer;
use dxg_wire::code::CodeMessage;
use dxg_wire::code::CodeRef;
use dxg_wire::code::KeeperMessage;
use dxg_wire::session::Body;
use dxg_wire::shm::create_sealed_with;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;
use dxg_wire::shm::session_io::MessageError;
use dxg_wire::shm::verify_sealed;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::Errno;
use uuid::Uuid;

use super::MOST_ENTRY_BYTES;
use super::place::Found;
use super::place::cost;
use super::shelves::Limits;
use super::shelves::Shelves;
use super::shelves::Whose;
use crate::sandbox;
use crate::sandbox::EncloseError;
use crate::sandbox::Policy;
use crate::sandbox::TerminationSignals;

/// Why a keeper ends before its broker does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// It cannot be closed in.
    #[error("cannot harden the keeper: {0}")]
    Harden(io::Error),
    /// It cannot be closed in as far as is required.
    #[error(transparent)]
    Enclose(#[from] EncloseError),
    /// There is no broker at descriptor 0.
    #[error("no socket: {0}")]
    Socket(io::Error),
    /// The broker speaks something else.
    #[error("broker: {0}")]
    Protocol(MessageError),
    /// The broker named no directory first.
    #[error("the broker named no directory")]
    NoDirectory,
    /// Nothing can be waited for.
    #[error("poll: {0}")]
    Poll(io::Error),
}

/// One worker.
struct Seat {
    socket: OwnedFd,
    whose: Whose,
    /// Bytes that it may still have written: who fills its place more than once in a session only wears out the disk.
    left_bytes: u64,
}

/// Whether a socket is still of use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// There may be more.
    More,
    /// There is nothing now.
    Empty,
    /// It has ended.
    Over,
}

struct Keeper {
    shelves: Shelves,
    seats: Vec<Seat>,
    /// Whether it was said that files cannot be written.
    complained: bool,
}

/// Runs a keeper for the broker at descriptor 0 until that ends.
///
/// # Errors
/// Why it cannot serve.
pub fn run(policy: Policy) -> Result<(), KeeperError> {
    // What asks the daemon to end may reach the whole group; there is still something to write then.
    let _held = TerminationSignals::watch().map_err(KeeperError::Harden)?;
    sandbox::harden_keeper().map_err(KeeperError::Harden)?;
    let broker = sandbox::take_stdin().map_err(KeeperError::Socket)?;
    let first = session_io::recv_message(&broker, |kind| KeeperMessage(kind).descriptors());
    let first = match first {
        Err(error) if error.is_hang_up() => return Ok(()),
        other => other.map_err(KeeperError::Protocol)?,
    };
    if KeeperMessage(first.kind) != KeeperMessage::DIRECTORY {
        return Err(KeeperError::NoDirectory);
    }
    let said: code::Limits = first.body();
    let root = first.into_fd().ok_or(KeeperError::NoDirectory)?;
    let level = sandbox::enclose_keeper(policy, &root)?;
    tracing::debug!(%level, "keeper of code");
    rustix::io::ioctl_fionbio(&broker, true).map_err(|errno| KeeperError::Socket(errno.into()))?;
    let limits = Limits { place_bytes: said.place_bytes, total_bytes: said.total_bytes };
    Keeper { shelves: Shelves::new(root, limits), seats: Vec::new(), complained: false }.serve(&broker)
}

impl Keeper {
    fn serve(&mut self, broker: &OwnedFd) -> Result<(), KeeperError> {
        loop {
            let mut watched = vec![PollFd::new(broker, PollFlags::IN)];
            watched.extend(self.seats.iter().map(|seat| PollFd::new(&seat.socket, PollFlags::IN)));
            match rustix::event::poll(&mut watched, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(KeeperError::Poll(errno.into())),
            }
            let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(watched);
            let (broker_ready, seats_ready) = ready.split_first().unwrap_or((&false, &[]));
            // One message of each: who asks much does not keep others waiting.
            let mut ready = seats_ready.iter();
            let mut seats = std::mem::take(&mut self.seats);
            seats.retain_mut(|seat| ready.next() != Some(&true) || self.answer(seat) != After::Over);
            self.seats = seats;
            if *broker_ready && self.hear(broker)? == After::Over {
                self.finish();
                return Ok(());
            }
        }
    }

    /// One message of the broker.
    fn hear(&mut self, broker: &OwnedFd) -> Result<After, KeeperError> {
        let message = match session_io::recv_message(broker, |kind| KeeperMessage(kind).descriptors()) {
            Ok(message) => message,
            Err(error) if error.is_would_block() => return Ok(After::Empty),
            Err(error) if error.is_hang_up() => return Ok(After::Over),
            Err(error) => return Err(KeeperError::Protocol(error)),
        };
        let seat: code::Seat = message.body();
        if let (KeeperMessage::SEAT, Some(socket)) = (KeeperMessage(message.kind), message.into_fd()) {
            let whose = Whose { vgpu: Uuid::from_bytes(seat.vgpu_uuid), uid: seat.uid };
            self.seats.push(Seat { socket, whose, left_bytes: self.shelves.limits().place_bytes });
        }
        Ok(After::More)
    }

    /// What workers said before the end is still done.
    fn finish(&mut self) {
        for mut seat in std::mem::take(&mut self.seats) {
            while self.answer(&mut seat) == After::More {}
        }
    }

    /// One message of a worker.
    fn answer(&mut self, seat: &mut Seat) -> After {
        let message = match session_io::recv_message(&seat.socket, |kind| CodeMessage(kind).descriptors()) {
            Ok(message) => message,
            Err(error) if error.is_would_block() => return After::Empty,
            Err(_) => return After::Over,
        };
        match CodeMessage(message.kind) {
            CodeMessage::GET => self.get(seat, &message.body()),
            _ => {
                self.put(seat, message);
                After::More
            }
        }
    }

    fn get(&mut self, seat: &Seat, asked: &CodeRef) -> After {
        let content = match self.shelves.get(seat.whose, &asked.key) {
            Found::Whole(content) => Some(content),
            Found::Absent => None,
            Found::Damaged => {
                tracing::warn!(vgpu = %seat.whose.vgpu, uid = seat.whose.uid, "damaged code removed");
                None
            }
        };
        tracing::debug!(vgpu = %seat.whose.vgpu, uid = seat.whose.uid, found = content.is_some(), "code");
        let memory = content.and_then(|content| {
            let size_bytes = content.len() as u64;
            Some((create_sealed_with("dxg-code", &content).ok()?, size_bytes))
        });
        let sent = match memory {
            Some((memory, size_bytes)) => {
                say(seat, CodeAnswer::FOUND, &CodeRef { size_bytes, ..*asked }, Some(&memory))
            }
            None => say(seat, CodeAnswer::ABSENT, &CodeRef { size_bytes: 0, ..*asked }, None),
        };
        // Who does not read has nothing to ask.
        if sent.is_ok() { After::More } else { After::Over }
    }

    fn put(&mut self, seat: &mut Seat, message: Message) {
        let CodeRef { key, size_bytes } = message.body();
        let Some(memory) = message.into_fd() else { return };
        let Some(left_bytes) = seat.left_bytes.checked_sub(cost(size_bytes)) else { return };
        let Some(content) = contents(&memory, size_bytes) else { return };
        seat.left_bytes = left_bytes;
        match self.shelves.put(seat.whose, &key, &content) {
            Ok(()) => {}
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(%error, "compiled code cannot be kept on disk");
            }
            Err(error) => tracing::debug!(%error, "compiled code not kept"),
        }
    }
}

fn say<B: Body>(seat: &Seat, kind: CodeAnswer, body: &B, memory: Option<&OwnedFd>) -> io::Result<()> {
    let fds: Vec<_> = memory.into_iter().map(|memory| memory.as_fd()).collect();
    session_io::send_message(&seat.socket, kind.0, body, &fds)
}

/// The content of memory of fixed size: to read anything else may not come to an end.
pub(super) fn contents(memory: &OwnedFd, size_bytes: u64) -> Option<Vec<u8>> {
    if verify_sealed(memory, size_bytes).ok()? != size_bytes || size_bytes > MOST_ENTRY_BYTES {
        return None;
    }
    let mut content = vec![0; usize::try_from(size_bytes).ok()?];
    let mut at = 0;
    while let Some(rest) = content.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(memory, rest, at as u64) {
            Ok(0) | Err(_) => return None,
            Ok(len) => at += len,
        }
    }
    Some(content)
}
