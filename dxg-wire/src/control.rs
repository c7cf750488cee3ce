//! The control protocol: what a daemon says about itself and its virtual GPUs.
//!
//! *Why.* Tools ask over `control.sock` (a `SOCK_STREAM`): one JSON document per line, one answer per question. It is for
//! people and scripts, and apart from the session protocol so that neither constrains the other.
//!
//! *Compatibility.* Unknown fields are ignored and missing ones take their default, so either side may be newer. A request that
//! a daemon does not know is answered by [`Reply::Error`].

use std::io;
use std::io::BufRead;
use std::io::Read;
use std::io::Write;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of this protocol, in every request and reply.
pub const PROTOCOL: u32 = 1;
/// Longest line that either side accepts.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// A question with its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// [`PROTOCOL`] of the side that wrote it.
    pub protocol: u32,
    /// What it says.
    #[serde(flatten)]
    pub content: T,
}

impl<T> Envelope<T> {
    /// Wraps content of this version.
    pub const fn new(content: T) -> Self {
        Self { protocol: PROTOCOL, content }
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Request {
    /// Everything: [`Reply::State`].
    List,
    /// One virtual GPU: [`Reply::Vgpu`].
    Info {
        /// Its UUID or its index, as text.
        vgpu: String,
    },
    /// Ends the daemon: [`Reply::Done`]. Only for who owns it.
    Shutdown,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// Answers [`Request::List`].
    State(State),
    /// Answers [`Request::Info`].
    Vgpu(Vgpu),
    /// It is done.
    Done,
    /// It is refused.
    Error {
        /// A sentence for people.
        message: String,
    },
}

/// All that a daemon has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The daemon.
    pub daemon: Daemon,
    /// Adapters of the host.
    pub adapters: Vec<Adapter>,
    /// Virtual GPUs on them.
    pub vgpus: Vec<Vgpu>,
}

/// A daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Daemon {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// How long it has run.
    pub uptime_seconds: u64,
    /// How far its workers are closed in: `full`, `partial` or `off`, and what of it. Empty until one has started.
    pub sandbox: String,
    /// The directory in which compiled code is kept, or `off`, and why. Empty where the daemon does not say.
    pub code_cache: String,
}

/// An adapter of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adapter {
    /// Name for people.
    pub name: String,
    /// What drives it: `mock`, `vulkan`, ...
    pub kind: String,
    /// PCI vendor.
    pub vendor_id: u32,
    /// PCI device.
    pub device_id: u32,
    /// Name of the host's driver.
    pub driver_name: String,
    /// Version of the host's driver, as it prints it.
    pub driver_version: String,
    /// Its memory heaps.
    pub heaps: Vec<Heap>,
}

/// A memory heap of an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heap {
    /// Its bytes.
    pub size_bytes: u64,
    /// Whether it is memory of the device itself.
    pub device_local: bool,
}

/// A virtual GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vgpu {
    /// Its UUID, in text form.
    pub uuid: String,
    /// Its index in the daemon's list.
    pub index: u32,
    /// The index of its adapter in [`State::adapters`].
    pub adapter: u32,
    /// LUID that guests see, as one number.
    pub luid: u64,
    /// Path of its socket.
    pub node_path: String,
    /// Permission bits of the socket.
    pub mode: u32,
    /// User that owns the socket.
    pub owner_uid: u32,
    /// Group that owns the socket.
    pub owner_gid: u32,
    /// Bytes of memory that its clients may hold together.
    pub quota_bytes: u64,
    /// Bytes of memory that its clients hold.
    pub used_bytes: u64,
    /// How CUDA behaves on it.
    pub cuda: Cuda,
    /// Its clients.
    pub clients: Vec<Client>,
}

/// How CUDA behaves on a virtual GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cuda {
    /// What runs kernels: `native`, `interpreter`, or `driver` for the host's. Empty where nothing does.
    pub executor: String,
    /// Compute capability that is reported, 10 * major + minor; 0 where the host's driver says it.
    pub compute_capability: u32,
    /// Milliseconds that a kernel may run; 0 for as long as it likes.
    pub watchdog_ms: u32,
}

/// A client of a virtual GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Client {
    /// Process id, as the daemon sees it.
    pub pid: u32,
    /// User id, as the daemon sees it.
    pub uid: u32,
    /// Task name that the client gave itself.
    pub name: String,
    /// Name of the session in the daemon's logs.
    pub session: u64,
    /// Bytes of memory it holds.
    pub used_bytes: u64,
    /// When it connected: seconds since 1970, UTC.
    pub since: u64,
}

/// Why a line could not be exchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The other side closed the socket.
    #[error("the other side hung up")]
    HangUp,
    /// The line is longer than [`MAX_LINE_BYTES`].
    #[error("a line of more than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// The line is not what it should be.
    #[error("control message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The system refused.
    #[error("control socket: {0}")]
    Os(#[from] io::Error),
}

/// Content as one line, its end included.
///
/// # Errors
/// [`ControlError::Malformed`] when the content has no JSON form; the types of this module always have one.
pub fn to_line<T: Serialize>(content: T) -> Result<Vec<u8>, ControlError> {
    let mut line = serde_json::to_vec(&Envelope::new(content))?;
    line.push(b'\n');
    Ok(line)
}

/// The content of one line, with or without its end.
///
/// # Errors
/// [`ControlError::TooLong`], [`ControlError::Malformed`].
pub fn from_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, ControlError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(ControlError::TooLong);
    }
    Ok(serde_json::from_slice::<Envelope<T>>(line)?.content)
}

/// Writes one line.
///
/// # Errors
/// [`ControlError::Os`].
pub fn write<T: Serialize>(mut to: impl Write, content: T) -> Result<(), ControlError> {
    to.write_all(&to_line(content)?)?;
    Ok(to.flush()?)
}

/// Reads one line.
///
/// # Errors
/// Any of [`ControlError`].
pub fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<T, ControlError> {
    let mut line = Vec::new();
    let read = from.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Err(ControlError::HangUp);
    }
    from_line(&line)
}
