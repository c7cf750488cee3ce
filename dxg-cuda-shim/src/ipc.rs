//! Handles that programs pass to other processes in 64 bytes.
//!
//! *Why a thread.* Memory and events are shared by descriptors, which bytes cannot carry. The bytes say on which abstract socket
//! the exporting process hands the descriptor out. It does so to processes of its own user only, and only for the number in
//! the handle, which nobody guesses. A handle lives as long as what it names, and the process that made it.
//!
//! *Layout of a handle*: `DXGI`, u32 process, u64 number of the socket, u64 number of the object, u64 offset in the memory, u64
//! bytes; the rest is zero.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Duration;

use dxg_core::spawn_without_signals;
use dxg_wire::shm::socket;
use parking_lot::Mutex;

use crate::generated::enums::CUresult;
use crate::types::Answer;

const MAGIC: [u8; 4] = *b"DXGI";
/// No peer takes longer for the few bytes that there are.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    process: u32,
    socket: u64,
    object: u64,
    /// Where in the memory the allocation is.
    pub offset: u64,
    /// Bytes of the allocation.
    pub bytes: u64,
}

impl Ticket {
    /// As 64 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let words = [self.socket, self.object, self.offset, self.bytes];
        let parts = MAGIC.into_iter().chain(self.process.to_le_bytes());
        let parts = parts.chain(words.into_iter().flat_map(u64::to_le_bytes));
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        bytes
    }

    /// Whether both are of the same process.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        (self.process, self.socket) == (other.process, other.socket)
    }

    /// The number of what it names.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.object
    }

    /// Of 64 bytes.
    ///
    /// # Errors
    /// Invalid value for bytes that are none.
    pub fn decode(bytes: &[u8; 64]) -> Answer<Self> {
        let word = |at: usize| {
            bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u64::from_le_bytes(*word))
        };
        let bad = CUresult::ERROR_INVALID_VALUE;
        let first = word(0).filter(|_| bytes.starts_with(&MAGIC)).ok_or(bad)?;
        let (socket, object) = (word(8).ok_or(bad)?, word(16).ok_or(bad)?);
        let (offset, bytes) = (word(24).ok_or(bad)?, word(32).ok_or(bad)?);
        Ok(Self { process: (first >> 32) as u32, socket, object, offset, bytes })
    }
}

struct Server {
    socket: u64,
    objects: Mutex<HashMap<u64, OwnedFd>>,
}

static SERVER: OnceLock<Server> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

fn address(process: u32, socket: u64) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("dxg-cuda-ipc-{process}-{socket:016x}"))
}

/// A number that nobody guesses.
///
/// # Errors
/// Operating system.
pub fn random() -> Answer<u64> {
    let mut bytes = [0; 8];
    let file = std::fs::File::open("/dev/urandom");
    file.and_then(|mut file| file.read_exact(&mut bytes)).map_err(|_| CUresult::ERROR_OPERATING_SYSTEM)?;
    Ok(u64::from_le_bytes(bytes))
}

fn server() -> Answer<&'static Server> {
    if let Some(server) = SERVER.get() {
        return Ok(server);
    }
    let _one = STARTING.lock();
    if let Some(server) = SERVER.get() {
        return Ok(server);
    }
    let failed = |error: std::io::Error| {
        tracing::warn!(%error, "no socket for handles");
        CUresult::ERROR_OPERATING_SYSTEM
    };
    let socket = random()?;
    let listener =
        address(std::process::id(), socket).and_then(|at| UnixListener::bind_addr(&at)).map_err(failed)?;
    let server = SERVER.get_or_init(|| Server { socket, objects: Mutex::default() });
    spawn_without_signals("dxg-cuda-ipc", move || {
        for peer in listener.incoming().flatten() {
            // A peer that goes away or is not ours gets nothing.
            let _ = serve(server, peer);
        }
    })
    .map_err(failed)?;
    Ok(server)
}

fn serve(server: &Server, mut peer: UnixStream) -> std::io::Result<()> {
    let credentials = rustix::net::sockopt::socket_peercred(&peer)?;
    if credentials.uid != rustix::process::geteuid() {
        tracing::warn!(uid = credentials.uid.as_raw(), "handle asked for by another user");
        return Ok(());
    }
    peer.set_read_timeout(Some(PATIENCE))?;
    peer.set_write_timeout(Some(PATIENCE))?;
    let mut number = [0; 8];
    peer.read_exact(&mut number)?;
    let objects = server.objects.lock();
    if let Some(descriptor) = objects.get(&u64::from_le_bytes(number)) {
        socket::send(&peer, &number, &[descriptor.as_fd()])?;
    }
    Ok(())
}

/// Makes an object known, for handles.
///
/// # Errors
/// Operating system.
pub fn publish(descriptor: OwnedFd, offset: u64, bytes: u64) -> Answer<Ticket> {
    let server = server()?;
    let object = random()?;
    server.objects.lock().insert(object, descriptor);
    Ok(Ticket { process: std::process::id(), socket: server.socket, object, offset, bytes })
}

/// Hands an object out no more.
pub fn withdraw(ticket: &Ticket) {
    if let Some(server) = SERVER.get() {
        let gone = server.objects.lock().remove(&ticket.object);
        drop(gone);
    }
}

/// A handle that says where this process hands objects out, and a number for something else.
///
/// # Errors
/// Operating system.
pub fn name(number: u64) -> Answer<Ticket> {
    let socket = server()?.socket;
    Ok(Ticket { process: std::process::id(), socket, object: number, offset: 0, bytes: 0 })
}

/// Makes another handle for an object that is known.
#[must_use]
pub fn again(ticket: Ticket, offset: u64, bytes: u64) -> Ticket {
    Ticket { offset, bytes, ..ticket }
}

/// Fetches what a handle stands for.
///
/// # Errors
/// Invalid handle when the process that made it is gone or does not know it.
pub fn fetch(ticket: &Ticket) -> Answer<OwnedFd> {
    let bad = |error: std::io::Error| {
        tracing::debug!(%error, "handle leads nowhere");
        CUresult::ERROR_INVALID_HANDLE
    };
    let mut peer =
        address(ticket.process, ticket.socket).and_then(|at| UnixStream::connect_addr(&at)).map_err(bad)?;
    let credentials = rustix::net::sockopt::socket_peercred(&peer).map_err(|error| bad(error.into()))?;
    if credentials.uid != rustix::process::geteuid() {
        return Err(CUresult::ERROR_INVALID_HANDLE);
    }
    peer.set_read_timeout(Some(PATIENCE)).map_err(bad)?;
    peer.write_all(&ticket.object.to_le_bytes()).map_err(bad)?;
    let mut echo = [0; 8];
    let received = socket::recv(&peer, &mut echo, 1).map_err(|_| CUresult::ERROR_INVALID_HANDLE)?;
    received.fds.into_iter().next().ok_or(CUresult::ERROR_INVALID_HANDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_reads_back_and_other_bytes_are_refused() {
        let ticket = Ticket { process: 7, socket: 1 << 60, object: 3, offset: 4096, bytes: 5 };
        assert_eq!(Ticket::decode(&ticket.encode()), Ok(ticket));
        assert_eq!(Ticket::decode(&[0; 64]), Err(CUresult::ERROR_INVALID_VALUE));
    }

    #[test]
    fn descriptor_is_handed_out_for_the_right_number_until_it_is_withdrawn() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let ticket = publish(theirs.into(), 0, 0).unwrap();
        let fetched = fetch(&ticket).unwrap();
        UnixStream::from(fetched).write_all(b"x").unwrap();
        let mut seen = [0];
        ours.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"x");
        withdraw(&ticket);
        assert_eq!(fetch(&ticket).map(drop), Err(CUresult::ERROR_INVALID_HANDLE));
        let wrong = Ticket { object: ticket.object ^ 1, ..ticket };
        assert_eq!(fetch(&wrong).map(drop), Err(CUresult::ERROR_INVALID_HANDLE));
        let nobody = Ticket { socket: ticket.socket ^ 1, ..ticket };
        assert_eq!(fetch(&nobody).map(drop), Err(CUresult::ERROR_INVALID_HANDLE));
    }
}
