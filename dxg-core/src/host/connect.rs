//! The handshake: from a socket path to a session whose rings run.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::doorbell;
use dxg_wire::session::ARENA_BASE;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::Hello;
use dxg_wire::session::MAGIC;
use dxg_wire::session::Refused;
use dxg_wire::session::VERSION_MAX;
use dxg_wire::session::VERSION_MIN;
use dxg_wire::session::Welcome;
use dxg_wire::session::text;
use dxg_wire::session::text_of;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;
use dxg_wire::vmbus;
use dxg_wire::vmbus::SharedRing;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt::Timeout;
use rustix::net::sockopt::set_socket_timeout;

use super::channel::Channel;
use super::link::Link;
use super::windows;
use crate::Error;
use crate::errno;
use crate::error::Op;

/// Version of the dxgvmbus interface that is spoken.
pub(super) const INTERFACE_VERSION: u32 = 40;
/// How long the host may take to take a connection, and to answer the first message. A worker may have to be started first.
const WELCOME_WITHIN: Duration = Duration::from_secs(30);
const OP: &str = "connect";

/// Sizes that a connection may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Bytes of each ring of the virtual GPU's channel; 0 for the host's default.
    pub vgpu_ring_bytes: u32,
    /// Bytes of each ring of the global channel; 0 for the host's default.
    pub global_ring_bytes: u32,
}

fn io_error(error: &io::Error) -> Error {
    Error::call(OP, errno::from_io(error))
}

pub(super) fn task_name() -> String {
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    comm.trim_end().to_owned()
}

/// Connects and shakes hands.
pub(super) fn connect(path: &Path, options: &ConnectOptions) -> Result<(Link, Welcome), Error> {
    connect_within(path, options, WELCOME_WITHIN)
}

fn connect_within(path: &Path, options: &ConnectOptions, within: Duration) -> Result<(Link, Welcome), Error> {
    let socket = open_socket(path, within).map_err(|error| io_error(&error))?;
    let hello = Hello {
        magic: MAGIC,
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        interface_version: INTERFACE_VERSION,
        features: Features::ALL,
        vgpu_ring_bytes: options.vgpu_ring_bytes,
        global_ring_bytes: options.global_ring_bytes,
        name: text(&task_name()),
    };
    // A host that refuses whoever we are says so and hangs up without a look at the hello, which then may not be sent.
    let sent = session_io::send_message(&socket, ClientMessage::HELLO.0, &hello, &[]);
    let message = match (first_answer(&socket, within), sent) {
        (Err(_), Err(error)) => return Err(io_error(&error)),
        (answer, _) => answer?,
    };
    let welcome: Welcome = match BrokerMessage(message.kind) {
        BrokerMessage::WELCOME => message.body(),
        BrokerMessage::REFUSED => {
            let refused: Refused = message.body();
            return Err(Error::refused(OP, refused.reason, text_of(&refused.text)));
        }
        _ => return Err(Error::protocol(OP, "the first answer is neither a welcome nor a refusal")),
    };
    if welcome.version != VERSION_MAX || welcome.arena_base.0 != ARENA_BASE {
        return Err(Error::protocol(OP, "the welcome names an unknown version or arena"));
    }
    let fds: [OwnedFd; 6] =
        message.fds.try_into().map_err(|_| Error::protocol(OP, "the welcome lacks descriptors"))?;
    let [control, arena, vgpu_to_host, vgpu_to_guest, global_to_host, global_to_guest] = fds;
    let [vgpu_out, vgpu_in, global_out, global_in] = rings(&control, &welcome)?;
    let bad_ring = |_| Error::protocol(OP, "a ring cannot be used");
    let vgpu = vmbus::Channel::new(vgpu_out, vgpu_in, vgpu_to_host, vgpu_to_guest).map_err(bad_ring)?;
    let global =
        vmbus::Channel::new(global_out, global_in, global_to_host, global_to_guest).map_err(bad_ring)?;
    let link =
        Link::new(socket, Channel::new(vgpu), Channel::new(global)).map_err(|error| io_error(&error))?;
    let memory = windows::map(welcome.arena_base, welcome.arena_bytes, arena.as_fd(), Populate::Lazy)
        .map_err(|_| Error::protocol(OP, "the arena cannot be mapped"))?;
    let inserted = link.windows.write().insert(welcome.arena_base, memory);
    inserted.map_err(|_| errno::INVALID).op(OP)?;
    Ok((link, welcome))
}

/// A connected socket. A host that takes no connections, because it is stopped or overrun, is a time-out.
fn open_socket(path: &Path, within: Duration) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // It also bounds how long a connection stands in line.
    set_socket_timeout(&socket, Timeout::Send, Some(within))?;
    let address = SocketAddrUnix::new(path)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            // A connection of this kind is made or not; one that a signal cut off is not, and may be made anew.
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
    set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(socket)
}

fn first_answer(socket: &OwnedFd, within: Duration) -> Result<Message, Error> {
    let until = Instant::now() + within;
    // A signal ends a wait early, without a result.
    while doorbell::wait(&[socket.as_fd()], Some(until.saturating_duration_since(Instant::now())))
        .map_err(|error| io_error(&error))?
        == 0
    {
        if Instant::now() >= until {
            return Err(io_error(&Errno::TIMEDOUT.into()));
        }
    }
    let receive = || session_io::recv_message(socket, |kind| BrokerMessage(kind).descriptors());
    // The kernel tells of a hang-up once before it gives what was sent before that.
    let answer = match receive() {
        Err(error) if error.is_hang_up() => receive(),
        answer => answer,
    };
    answer.map_err(|error| {
        if error.is_hang_up() {
            io_error(&io::Error::from_raw_os_error(libc::ECONNRESET))
        } else {
            Error::protocol(OP, "the first answer is not a message")
        }
    })
}

/// The four rings in the order that the protocol fixes: vgpu to host, vgpu to guest, global to host, global to guest.
fn rings(control: &OwnedFd, welcome: &Welcome) -> Result<[SharedRing; 4], Error> {
    let bad = || Error::protocol(OP, "the rings cannot be mapped");
    let vgpu = welcome.vgpu_ring_bytes as usize;
    let global = welcome.global_ring_bytes as usize;
    let total = vgpu.checked_add(global).and_then(|pair| pair.checked_mul(2)).ok_or_else(bad)?;
    let mapping =
        Mapping::map(control.as_fd(), 0, total, Access::ReadWrite, Populate::Prefault).map_err(|_| bad())?;
    let memory = SharedSlice::whole(&mapping);
    let ring =
        |at: usize, len: usize| SharedRing::new(&memory.sub(at, len).map_err(|_| bad())?).map_err(|_| bad());
    Ok([ring(0, vgpu)?, ring(vgpu, vgpu)?, ring(2 * vgpu, global)?, ring(2 * vgpu + global, global)?])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    /// A socket that takes connections into line and does nothing with them.
    struct Deaf {
        path: PathBuf,
        _socket: OwnedFd,
    }

    impl Deaf {
        fn listen(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("dxg-core-{name}-{}.sock", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let flags = SocketFlags::CLOEXEC;
            let kind = SocketType::SEQPACKET;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
            rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
            rustix::net::listen(&socket, 0).unwrap();
            Self { path, _socket: socket }
        }
    }

    impl Drop for Deaf {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[test]
    fn host_that_never_answers_the_greeting_is_a_time_out() {
        let host = Deaf::listen("silent");
        let error = connect_within(&host.path, &ConnectOptions::default(), SOON).err().unwrap();
        assert_eq!(error.kind(), crate::ErrorKind::Unavailable);
    }

    #[test]
    fn host_that_takes_no_connections_is_a_time_out() {
        let host = Deaf::listen("full");
        let mut in_line = Vec::new();
        let error = loop {
            match open_socket(&host.path, SOON) {
                Ok(socket) => in_line.push(socket),
                Err(error) => break error,
            }
            assert!(in_line.len() < 100, "the line is full by then");
        };
        assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
    }
}
