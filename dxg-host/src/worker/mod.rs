//! A worker: one process, one adapter, one client.
//!
//! *Threads.* The main thread speaks with the broker. The session has one thread for each of its two channels, one for
//! submitted work, and one for each command stream. A fault of any of them ends the process, and with it the session.

mod calls;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod link;
mod released;
mod streams;

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use dxg_wire::session::ARENA_BASE;
use dxg_wire::session::Ack;
use dxg_wire::session::Bind;
use dxg_wire::session::Granted;
use dxg_wire::session::HostMessage;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Reason;
use dxg_wire::session::SharedOpened;
use dxg_wire::session::StreamOpened;
use dxg_wire::session::StreamRef;
use dxg_wire::session::Window;
use dxg_wire::session::WindowRef;
use dxg_wire::session::WorkerMessage;
use dxg_wire::session::WorkerReady;
use dxg_wire::session::text;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;

use crate::adapter::Adapter;
use crate::adapter::AdapterChoice;
use crate::adapter::Windows;
use crate::adapter::cuda;
use crate::adapter::cuda::libcuda;
use crate::adapter::null::NullAdapter;
use crate::adapter::vulkan;
use crate::code_store::Asking;
use crate::failure::Failure;
use crate::failure::Fault;
use crate::sandbox;
use crate::sandbox::Compilers;
use crate::sandbox::Level;
use crate::sandbox::Policy;
use crate::session;
use crate::session::Doorbells;

pub use link::BrokerLink;
pub use link::OpenedShare;
pub use link::Shareable;

use self::link::Answer;
use self::released::Released;
use self::released::TooMuch;
use self::streams::Streams;

/// Why a worker ends by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The process cannot be closed in.
    #[error("cannot harden the worker: {0}")]
    Harden(io::Error),
    /// There is no session socket at descriptor 0.
    #[error("no session socket: {0}")]
    Socket(io::Error),
    /// The broker speaks something else.
    #[error("broker: {0}")]
    Protocol(String),
}

/// Runs a worker on the session socket at descriptor 0 until its session ends.
///
/// # Errors
/// When the process cannot be set up, or the broker breaks the protocol.
pub fn run(
    choice: AdapterChoice,
    policy: Policy,
    readable: &[PathBuf],
    host_libcuda: Option<&Path>,
) -> Result<(), WorkerError> {
    sandbox::harden_worker().map_err(WorkerError::Harden)?;
    let socket = sandbox::take_stdin().map_err(WorkerError::Socket)?;
    let link = Arc::new(BrokerLink::new(socket, Arc::new(Windows::new())));
    let (adapter, level) = match load(choice, policy, readable, host_libcuda) {
        Ok(loaded) => loaded,
        Err(sentence) => {
            link.tell(WorkerMessage::READY, &ready(Reason::WORKER, &sentence));
            return Ok(());
        }
    };
    // The broker tells people how far the worker is closed in.
    link.tell(WorkerMessage::READY, &ready(Reason::NONE, &level.to_string()));
    Worker { link, compilers: compilers(choice), state: State::Unbound(adapter) }.run()
}

fn ready(reason: Reason, sentence: &str) -> WorkerReady {
    WorkerReady { reason, reserved: 0, text: text(sentence) }
}

/// Loads the adapter in a process that is closed in before, and further once it is loaded.
fn load(
    choice: AdapterChoice,
    policy: Policy,
    readable: &[PathBuf],
    host_libcuda: Option<&Path>,
) -> Result<(Arc<dyn Adapter>, Level), String> {
    let enclosure = sandbox::enclose(policy, readable).map_err(|error| error.to_string())?;
    let adapter = open(choice, host_libcuda).map_err(|fault| fault.to_string())?;
    let level = enclosure.tighten(compilers(choice)).map_err(|error| error.to_string())?;
    Ok((adapter, level))
}

/// Whose code there is in a worker of an adapter.
fn compilers(choice: AdapterChoice) -> Compilers {
    match choice {
        AdapterChoice::Cpu | AdapterChoice::None => Compilers::OurOwn,
        AdapterChoice::Cuda(_) | AdapterChoice::Vulkan(_) => Compilers::OfDrivers,
    }
}

/// Loads the adapter.
fn open(choice: AdapterChoice, host_libcuda: Option<&Path>) -> Result<Arc<dyn Adapter>, Fault> {
    match choice {
        AdapterChoice::None => Ok(Arc::new(NullAdapter::open())),
        AdapterChoice::Cpu => Ok(cuda::cpu()),
        AdapterChoice::Cuda(uuid) => libcuda::open(host_libcuda, uuid),
        AdapterChoice::Vulkan(uuid) => vulkan::open(uuid).map(cuda::beside),
    }
}

/// A worker is bound once.
enum State {
    Unbound(Arc<dyn Adapter>),
    Bound(Streams, Released),
}

struct Worker {
    link: Arc<BrokerLink>,
    compilers: Compilers,
    state: State,
}

impl Worker {
    fn run(mut self) -> Result<(), WorkerError> {
        loop {
            let received =
                session_io::recv_message(self.link.socket(), |kind| HostMessage(kind).descriptors());
            match received {
                Ok(message) => self.broker_says(message)?,
                Err(error) if error.is_hang_up() => return Ok(()),
                Err(error) => return Err(WorkerError::Protocol(error.to_string())),
            }
        }
    }

    fn broker_says(&mut self, message: Message) -> Result<(), WorkerError> {
        let kind = HostMessage(message.kind);
        match (&mut self.state, kind) {
            (State::Unbound(adapter), HostMessage::BIND) => {
                let adapter = Arc::clone(adapter);
                self.bind(adapter, message)
            }
            (State::Bound(..), HostMessage::WINDOW) => {
                self.map_window(message);
                Ok(())
            }
            (State::Bound(_, released), HostMessage::WINDOW_GONE) => {
                let window: WindowRef = message.body();
                let mapping = self.link.windows().remove(window.base);
                if let Some(Err(TooMuch)) = mapping.map(|mapping| released.add(mapping)) {
                    self.link.end(Reason::VIOLATION, "too much memory was given back that is still used");
                }
                Ok(())
            }
            (State::Bound(..), HostMessage::WINDOW_ACKED) => {
                let window: WindowRef = message.body();
                self.link.acknowledged(window.base);
                Ok(())
            }
            (State::Bound(streams, _), HostMessage::STREAM) => {
                let opened: StreamOpened = message.body();
                if let Ok([memory, doorbell]) = <[OwnedFd; 2]>::try_from(message.fds) {
                    streams.open(&opened, &memory, doorbell);
                }
                Ok(())
            }
            (State::Bound(streams, _), HostMessage::STREAM_CLOSED) => {
                let stream: StreamRef = message.body();
                streams.close(stream.stream);
                Ok(())
            }
            (State::Bound(..), HostMessage::WINDOW_CREATED) => {
                let granted: Granted = message.body();
                if let Some(memory) = message.into_fd() {
                    self.link.window_created(&granted, &memory);
                }
                Ok(())
            }
            (State::Bound(..), HostMessage::DONE) => {
                let granted: Granted = message.body();
                self.link.answered(granted.call, Answer::Done(granted));
                Ok(())
            }
            (State::Bound(..), HostMessage::CODE_OPENED) => {
                let granted: Granted = message.body();
                if let Some(socket) = message.into_fd() {
                    self.link.answered(granted.call, Answer::Code(socket));
                }
                Ok(())
            }
            (State::Bound(..), HostMessage::SHARED_OPENED) => {
                let opened: SharedOpened = message.body();
                if let Ok([private, memory]) = <[OwnedFd; 2]>::try_from(message.fds) {
                    self.link.answered(opened.call, Answer::Shared(opened, private, memory));
                }
                Ok(())
            }
            _ => Err(WorkerError::Protocol(format!("message {} out of place", kind.0))),
        }
    }

    fn bind(&mut self, adapter: Arc<dyn Adapter>, message: Message) -> Result<(), WorkerError> {
        let broken = |what: &str| WorkerError::Protocol(what.to_owned());
        let bind: Bind = message.body();
        // What drivers take is theirs to know; what we take is known.
        if self.compilers == Compilers::OurOwn {
            sandbox::limit_memory(bind.quota_bytes).map_err(WorkerError::Harden)?;
        }
        // The client is welcomed from here on, and greets the session while it begins.
        self.link
            .tell(WorkerMessage::BOUND, &Ack { subject: bind.session, reason: Reason::NONE, reserved: 0 });
        let Ok([control, arena, vgpu_to_host, vgpu_to_guest, global_to_host, global_to_guest]) =
            <[OwnedFd; 6]>::try_from(message.fds)
        else {
            return Err(broken("bind without its descriptors"));
        };
        let arena_bytes = usize::try_from(bind.arena_bytes).map_err(|_| broken("arena size"))?;
        let arena = Mapping::map(arena.as_fd(), 0, arena_bytes, Access::ReadWrite, Populate::Lazy)
            .map_err(|error| WorkerError::Protocol(error.to_string()))?;
        self.link.windows().insert(IoAddress(ARENA_BASE), Arc::clone(&arena));
        let doorbells = Doorbells { vgpu_to_host, vgpu_to_guest, global_to_host, global_to_guest };
        session::start(Arc::clone(&adapter), Arc::clone(&self.link), &bind, &control, &arena, doorbells)
            .map_err(|failure| match failure {
                Failure::Violation(violation) => self.link.end(Reason::VIOLATION, &violation.to_string()),
                other => WorkerError::Protocol(other.to_string()),
            })?;
        let link = Arc::clone(&self.link);
        cuda::keep_code(Arc::new(Asking::new(move || link.open_code().ok())));
        self.state = State::Bound(
            Streams::new(adapter, Arc::clone(&self.link), bind.cuda.into()),
            Released::new(bind.quota_bytes),
        );
        Ok(())
    }

    /// Maps a block that the client leased.
    fn map_window(&self, message: Message) {
        let window: Window = message.body();
        let Some(memory) = message.into_fd() else { return };
        let mapped = usize::try_from(window.size_bytes).ok().and_then(|len| {
            Mapping::map(memory.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy)
                .inspect_err(|error| tracing::warn!(%error, "leased block not mapped"))
                .ok()
        });
        let reason = match mapped {
            Some(mapping) => {
                self.link.windows().insert(window.base, mapping);
                Reason::NONE
            }
            None => Reason::HOST_RESOURCES,
        };
        self.link.tell(WorkerMessage::WINDOW_READY, &Ack { subject: window.base.0, reason, reserved: 0 });
    }
}
