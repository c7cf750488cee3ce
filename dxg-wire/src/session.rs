//! The session protocol: the fixed-size messages around the rings, over sockets of type `SOCK_SEQPACKET`.
//!
//! *Why.* Rings carry the work; what cannot travel in a ring (descriptors, charges, life and death) travels here.
//! Two sockets speak this module: client and broker ([`ClientMessage`], [`BrokerMessage`]), and broker and worker
//! ([`HostMessage`], [`WorkerMessage`]). Each packet is one message of [`MESSAGE_BYTES`] bytes and at most
//! [`MAX_FDS`] descriptors; a packet of any other size, an unknown kind or a wrong number of descriptors ends the session.
//!
//! *Invariants.* The broker creates, charges and seals every memfd. A window is known to the worker before the client
//! hears of it, and no completion names an address in a window that the client has not acknowledged.
//!
//! *Units.* Sizes in bytes, addresses in IO space (see [`IoAddress`]).

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// First word of a [`Hello`]: `DXGW` in memory order.
pub const MAGIC: u32 = u32::from_le_bytes(*b"DXGW");
/// Newest session version that this crate speaks.
pub const VERSION_MAX: u32 = 1;
/// Oldest session version that this crate speaks.
pub const VERSION_MIN: u32 = 1;
/// Bytes of every message on a session socket.
pub const MESSAGE_BYTES: usize = 128;
/// Most descriptors that one message carries.
pub const MAX_FDS: usize = 8;
/// Windows begin at multiples of this many bytes of IO space, and so fit every page size in use.
pub const WINDOW_ALIGNMENT: u64 = 1 << 16;
/// Base of window 0, the arena in which the host places fence pages. Page 0 of IO space is never mapped.
pub const ARENA_BASE: u64 = 1 << 32;

/// An address in IO space: the synthetic guest-physical range, cut into windows `base -> (memfd, offset)`.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct IoAddress(pub u64);

/// Capabilities that both sides must name before either uses them.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Features(pub u64);

impl Features {
    /// API command streams ([`ClientMessage::OPEN_STREAM`]).
    pub const STREAMS: Self = Self(1 << 0);
    /// Shared objects by descriptor ([`ClientMessage::IMPORT_SHARED`]).
    pub const SHARING: Self = Self(1 << 1);
    /// What a client may still hold ([`ClientMessage::ASK_BUDGET`]).
    pub const BUDGET: Self = Self(1 << 2);
    /// Every feature that this crate knows.
    pub const ALL: Self = Self::STREAMS.union(Self::SHARING).union(Self::BUDGET);

    /// What either has.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both sides have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every feature of `other` is here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Why a session or a call on it was refused.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Reason(pub u32);

impl Reason {
    /// Not refused.
    pub const NONE: Self = Self(0);
    /// The first message was not a [`Hello`] of this protocol.
    pub const BAD_HELLO: Self = Self(1);
    /// The version ranges do not meet.
    pub const VERSION: Self = Self(2);
    /// A ring size is not one the host accepts.
    pub const RING_SIZE: Self = Self(3);
    /// The virtual GPU, the client or the user is at its quota.
    pub const QUOTA: Self = Self(4);
    /// The host has no memory, descriptors or processes left.
    pub const HOST_RESOURCES: Self = Self(5);
    /// The worker for this session could not be started or its driver failed.
    pub const WORKER: Self = Self(6);
    /// The peer may not use this virtual GPU.
    pub const PERMISSION: Self = Self(7);
    /// The descriptor does not name a shared object of this daemon.
    pub const NOT_SHARED: Self = Self(8);
    /// The shared object is on another adapter.
    pub const OTHER_ADAPTER: Self = Self(9);
    /// The request is malformed or out of place.
    pub const INVALID: Self = Self(10);
    /// The feature was not negotiated or the adapter has no such stream.
    pub const UNSUPPORTED: Self = Self(11);
    /// The daemon is going away.
    pub const SHUTDOWN: Self = Self(12);
    /// The worker died or reported a fault: the device is lost.
    pub const DEVICE_LOST: Self = Self(13);
    /// The session broke the protocol and was ended.
    pub const VIOLATION: Self = Self(14);
    /// No object, window or stream has the given number.
    pub const NOT_FOUND: Self = Self(15);

    /// The name that logs and errors print.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NONE => "none",
            Self::BAD_HELLO => "bad hello",
            Self::VERSION => "no common version",
            Self::RING_SIZE => "ring size",
            Self::QUOTA => "quota",
            Self::HOST_RESOURCES => "host resources",
            Self::WORKER => "worker failed to start",
            Self::PERMISSION => "permission denied",
            Self::NOT_SHARED => "not a shared object",
            Self::OTHER_ADAPTER => "object of another adapter",
            Self::INVALID => "invalid request",
            Self::UNSUPPORTED => "unsupported",
            Self::SHUTDOWN => "host is shutting down",
            Self::DEVICE_LOST => "device lost",
            Self::VIOLATION => "protocol violation",
            Self::NOT_FOUND => "not found",
            _ => "unknown reason",
        }
    }
}

/// What runs behind a command stream.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StreamKind(pub u32);

impl StreamKind {
    /// Instance and physical-device commands of Vulkan.
    pub const VULKAN_INSTANCE: Self = Self(1);
    /// One Vulkan device: the first command creates it.
    pub const VULKAN_DEVICE: Self = Self(2);
    /// One CUDA context: the first command opens it.
    pub const CUDA: Self = Self(3);
}

/// What a shared object is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SharedKind(pub u32);

impl SharedKind {
    /// A resource with its allocations.
    pub const RESOURCE: Self = Self(1);
    /// A synchronization object.
    pub const SYNC_OBJECT: Self = Self(2);
}

/// Defines a message kind space as an open newtype.
macro_rules! kinds {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $konst:ident = $value:expr, $fds:expr;)* }) => {
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $name(pub u32);

        impl $name {
            $($(#[$doc])* pub const $konst: Self = Self($value);)*

            /// How many descriptors a message of this kind carries; `None` for an unknown kind.
            #[must_use]
            pub const fn descriptors(self) -> Option<usize> {
                match self {
                    $(Self::$konst => Some($fds),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Client to broker.
    ClientMessage {
        /// [`Hello`], the first message. Answer: [`BrokerMessage::WELCOME`] or [`BrokerMessage::REFUSED`].
        HELLO = 1, 0;
        /// [`Lease`]: a block of memory for the client's own use. Answer: [`BrokerMessage::LEASED`].
        LEASE = 2, 0;
        /// [`WindowRef`]: gives a leased block back; it is unmapped and uncharged. No answer.
        RELEASE = 3, 0;
        /// [`WindowRef`]: an announced window is mapped.
        WINDOW_ACK = 4, 0;
        /// [`OpenStream`]. Answer: [`BrokerMessage::STREAM_OPENED`].
        OPEN_STREAM = 5, 0;
        /// [`StreamRef`]: the stream will not be written any more. No answer.
        CLOSE_STREAM = 6, 0;
        /// [`Import`] with the descriptor of a shared object. Answer: [`BrokerMessage::IMPORTED`].
        IMPORT_SHARED = 7, 1;
        /// [`AskBudget`]: how much memory there is for this client now. Answer: [`BrokerMessage::BUDGET`].
        ASK_BUDGET = 8, 0;
    }
}

kinds! {
    /// Broker to client.
    BrokerMessage {
        /// [`Welcome`] with: control memfd (the four rings), arena memfd, then four eventfds: vgpu to host,
        /// vgpu to guest, global to host, global to guest.
        WELCOME = 1, 6;
        /// [`Refused`]; the socket closes after it.
        REFUSED = 2, 0;
        /// [`Leased`] with the block's memfd where it was granted.
        LEASED = 3, 1;
        /// [`Leased`] with a reason and no descriptor.
        LEASE_REFUSED = 4, 0;
        /// [`Window`] with its memfd: a window that the host made. Answer: [`ClientMessage::WINDOW_ACK`].
        WINDOW = 5, 1;
        /// [`WindowRef`]: the host dropped a window; unmap when no user is left.
        WINDOW_GONE = 6, 0;
        /// [`StreamOpened`] with the stream's memfd and the doorbell eventfd.
        STREAM_OPENED = 7, 2;
        /// [`StreamOpened`] with a reason and no descriptor.
        STREAM_REFUSED = 8, 0;
        /// [`Imported`] with a sealed memfd of the object's private data (see `docs/WIRE.md`).
        IMPORTED = 9, 1;
        /// [`Imported`] with a reason and no descriptor.
        IMPORT_REFUSED = 10, 0;
        /// [`Exported`]: the descriptor of a shared object, sent before the completion that names it.
        EXPORTED = 11, 1;
        /// [`Lost`]: the session is over; every wait ends. The socket closes after it.
        LOST = 12, 0;
        /// [`Budget`].
        BUDGET = 13, 0;
    }
}

kinds! {
    /// Broker to worker.
    HostMessage {
        /// [`Bind`] with the descriptors of [`BrokerMessage::WELCOME`]: the worker serves this client, once. Answer:
        /// [`WorkerMessage::BOUND`], before all else.
        BIND = 1, 6;
        /// [`Window`] with its memfd: a block leased by the client. Answer: [`WorkerMessage::WINDOW_READY`].
        WINDOW = 2, 1;
        /// [`WindowRef`]: a leased block was given back.
        WINDOW_GONE = 3, 0;
        /// [`WindowRef`]: the client has mapped a window that the worker asked for.
        WINDOW_ACKED = 4, 0;
        /// [`StreamOpened`] with the stream's memfd and doorbell. Answer: [`WorkerMessage::STREAM_READY`].
        STREAM = 5, 2;
        /// [`StreamRef`]: the client closed the stream.
        STREAM_CLOSED = 6, 0;
        /// [`Granted`]: answer to [`WorkerMessage::CREATE_WINDOW`], with the memfd.
        WINDOW_CREATED = 7, 1;
        /// [`Granted`]: answer to any call, refused or without a descriptor.
        DONE = 8, 0;
        /// [`SharedOpened`]: answer to [`WorkerMessage::OPEN_SHARED`], with private-data memfd and the memory's memfd.
        SHARED_OPENED = 9, 2;
        /// [`Granted`]: answer to [`WorkerMessage::OPEN_CODE`], with a socket to the keeper of code ([`crate::code`]).
        CODE_OPENED = 10, 1;
    }
}

kinds! {
    /// Worker to broker. The broker reads nothing else from a worker.
    WorkerMessage {
        /// [`WorkerReady`]: the driver is loaded.
        READY = 1, 0;
        /// [`Ack`]: the window is mapped.
        WINDOW_READY = 2, 0;
        /// [`Ack`]: the stream's thread runs, or why not.
        STREAM_READY = 3, 0;
        /// [`Call`]: create, charge and announce a window of `size_bytes`. Answer: [`HostMessage::WINDOW_CREATED`].
        CREATE_WINDOW = 4, 0;
        /// [`Call`]: drop a window that the worker asked for. No answer.
        DROP_WINDOW = 5, 0;
        /// [`Share`] with a private-data memfd: register a shared object over `window`. Answer: [`HostMessage::DONE`] with
        /// the global share handle in `value`; the client gets [`BrokerMessage::EXPORTED`] first.
        SHARE = 6, 1;
        /// [`Call`] with the global share handle in `value`: open an object that this client imported or exported.
        /// Answer: [`HostMessage::SHARED_OPENED`], or [`HostMessage::DONE`] with a reason.
        OPEN_SHARED = 7, 0;
        /// [`Call`] with the global share handle in `value`: the worker has no instance of it left. No answer.
        CLOSE_SHARED = 8, 0;
        /// [`Call`] with bytes in `size_bytes`: charge driver memory without a window. Answer: [`HostMessage::DONE`].
        CHARGE = 9, 0;
        /// [`Call`] with bytes in `size_bytes`: the reverse of a charge. No answer.
        UNCHARGE = 10, 0;
        /// [`Lost`]: the worker ends the session (a violation by the client, or a fault of the driver).
        END = 11, 0;
        /// [`Ack`]: the worker is alive and takes the client.
        BOUND = 12, 0;
        /// [`Call`], once: where code of this client is kept. Answer: [`HostMessage::CODE_OPENED`], or [`HostMessage::DONE`]
        /// with a reason.
        OPEN_CODE = 13, 0;
    }
}

/// Defines the body of a message: its bytes after the kind, padded to [`MESSAGE_BYTES`] on the wire.
macro_rules! body {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $name { $($(#[$doc])* pub $field: $ty,)* }

        const _: () = assert!(size_of::<$name>() <= MESSAGE_BYTES - 8);
        impl Body for $name {}
    };
}

pub(crate) use body;
pub(crate) use kinds;

/// A type that is the body of a session message.
pub trait Body: FromBytes + IntoBytes + Immutable + KnownLayout + Copy {}

body! {
    /// What a client offers.
    Hello {
        /// [`MAGIC`].
        magic: u32,
        /// Oldest version the client speaks.
        version_min: u32,
        /// Newest version the client speaks.
        version_max: u32,
        /// dxgvmbus interface version the client speaks (40).
        interface_version: u32,
        /// Features the client has.
        features: Features,
        /// Bytes of each ring of the vgpu channel, control page included; 0 asks for the default.
        vgpu_ring_bytes: u32,
        /// Bytes of each ring of the global channel; 0 asks for the default.
        global_ring_bytes: u32,
        /// Task name of the client, UTF-8, zero-padded: for people only.
        name: [u8; 32],
    }
}

body! {
    /// What the host grants.
    Welcome {
        /// Version of this session.
        version: u32,
        /// dxgvmbus interface version.
        interface_version: u32,
        /// Features of this session.
        features: Features,
        /// UUID of the virtual GPU, bytes in text order.
        vgpu_uuid: [u8; 16],
        /// LUID that user space sees: low word, high word.
        adapter_luid: [u32; 2],
        /// Bytes of each vgpu ring.
        vgpu_ring_bytes: u32,
        /// Bytes of each global ring.
        global_ring_bytes: u32,
        /// Base of the arena window ([`ARENA_BASE`]).
        arena_base: IoAddress,
        /// Bytes of the arena.
        arena_bytes: u64,
        /// Bytes of memory that this client may hold at once.
        quota_bytes: u64,
        /// Name of the session in logs.
        session: u64,
    }
}

body! {
    /// A named refusal.
    Refused {
        /// Why.
        reason: Reason,
        /// Zero.
        reserved: u32,
        /// A sentence for people, UTF-8, zero-padded.
        text: [u8; 96],
    }
}

body! {
    /// Asks for a block of memory.
    Lease {
        /// Repeated in the answer.
        request: u32,
        /// Zero.
        reserved: u32,
        /// Bytes wanted; rounded up to a page by the host.
        size_bytes: u64,
    }
}

body! {
    /// Grants or refuses a block.
    Leased {
        /// From the request.
        request: u32,
        /// [`Reason::NONE`] when granted.
        reason: Reason,
        /// Base of the block's window.
        base: IoAddress,
        /// Bytes of the block.
        size_bytes: u64,
    }
}

body! {
    /// A window of IO space.
    Window {
        /// Its base.
        base: IoAddress,
        /// Its bytes, from offset 0 of the memfd that comes with the message.
        size_bytes: u64,
    }
}

body! {
    /// Names a window.
    WindowRef {
        /// Its base.
        base: IoAddress,
    }
}

body! {
    /// Asks for a command stream.
    OpenStream {
        /// Repeated in the answer.
        request: u32,
        /// What the stream speaks.
        kind: StreamKind,
        /// Bytes of the command ring's data area: a power of two.
        ring_bytes: u32,
        /// Zero.
        reserved: u32,
    }
}

body! {
    /// A command stream, opened or refused.
    StreamOpened {
        /// From the request.
        request: u32,
        /// [`Reason::NONE`] when opened.
        reason: Reason,
        /// Number of the stream in this session.
        stream: u32,
        /// What the stream speaks.
        kind: StreamKind,
        /// Bytes of the command ring's data area; the memfd is one header page longer.
        ring_bytes: u32,
        /// Zero.
        reserved: u32,
    }
}

body! {
    /// Names a stream.
    StreamRef {
        /// Its number.
        stream: u32,
        /// Zero.
        reserved: u32,
    }
}

body! {
    /// Asks to import a shared object.
    Import {
        /// Repeated in the answer.
        request: u32,
        /// Zero.
        reserved: u32,
    }
}

body! {
    /// A shared object, imported or refused.
    Imported {
        /// From the request.
        request: u32,
        /// [`Reason::NONE`] when imported.
        reason: Reason,
        /// Handle that OPENSYNCOBJECT and OPENRESOURCE take.
        global_share: u32,
        /// What it is.
        kind: SharedKind,
    }
}

body! {
    /// The descriptor of an object that was just shared.
    Exported {
        /// The handle that CREATENTSHAREDOBJECT answers.
        global_share: u32,
        /// What it is.
        kind: SharedKind,
    }
}

body! {
    /// Asks how much memory there is.
    AskBudget {
        /// Repeated in the answer.
        request: u32,
        /// Zero.
        reserved: u32,
    }
}

body! {
    /// How much memory there is for a client at this moment. Others may take it the next.
    Budget {
        /// From the request.
        request: u32,
        /// Zero.
        reserved: u32,
        /// Bytes that the client holds.
        used_bytes: u64,
        /// Bytes that it may have besides: what its own quota and the other clients of its virtual GPU leave.
        left_bytes: u64,
    }
}

body! {
    /// The end of a session.
    Lost {
        /// Why.
        reason: Reason,
        /// Zero.
        reserved: u32,
        /// A sentence for people, UTF-8, zero-padded.
        text: [u8; 96],
    }
}

body! {
    /// Hands a client to a worker.
    Bind {
        /// Name of the session in logs.
        session: u64,
        /// The client's process id, in the broker's namespace.
        client_pid: u32,
        /// The client's user id.
        client_uid: u32,
        /// Features of the session.
        features: Features,
        /// UUID of the virtual GPU.
        vgpu_uuid: [u8; 16],
        /// LUID that user space sees.
        adapter_luid: [u32; 2],
        /// Bytes of each vgpu ring.
        vgpu_ring_bytes: u32,
        /// Bytes of each global ring.
        global_ring_bytes: u32,
        /// Bytes of the arena.
        arena_bytes: u64,
        /// Bytes of memory that this client may hold at once.
        quota_bytes: u64,
        /// How CUDA behaves on this virtual GPU.
        cuda: CudaSettings,
    }
}

body! {
    /// What the administrator decides about CUDA.
    CudaSettings {
        /// What runs kernels: 0 code of the host's processor, 1 the interpreter.
        executor: u32,
        /// Compute capability that is reported, 10 * major + minor; 0 for the host's choice.
        compute_capability: u32,
        /// Milliseconds that a grid may run; 0 for as long as it likes.
        watchdog_ms: u32,
        /// Zero.
        reserved: u32,
    }
}

body! {
    /// The worker's driver is loaded.
    WorkerReady {
        /// [`Reason::NONE`], or why the worker is of no use.
        reason: Reason,
        /// Zero.
        reserved: u32,
        /// A sentence for people, UTF-8, zero-padded: why not, or how far the worker is closed in.
        text: [u8; 96],
    }
}

body! {
    /// The worker has taken what the broker sent.
    Ack {
        /// Window base or stream number.
        subject: u64,
        /// [`Reason::NONE`], or why not.
        reason: Reason,
        /// Zero.
        reserved: u32,
    }
}

body! {
    /// A call of the worker.
    Call {
        /// Repeated in the answer.
        call: u32,
        /// A handle, where the kind has one.
        value: u32,
        /// Bytes, where the kind has them.
        size_bytes: u64,
        /// A window, where the kind has one.
        base: IoAddress,
    }
}

body! {
    /// Registers a shared object.
    Share {
        /// Repeated in the answer.
        call: u32,
        /// What it is.
        kind: SharedKind,
        /// The window that holds its memory: a resource's bytes, or a fence's page.
        window: IoAddress,
        /// Bytes of private data in the memfd that comes with the message.
        private_bytes: u64,
    }
}

body! {
    /// Answers a call.
    Granted {
        /// From the call.
        call: u32,
        /// [`Reason::NONE`] when done.
        reason: Reason,
        /// A handle, where the call answers one.
        value: u32,
        /// Zero.
        reserved: u32,
        /// A window, where the call answers one.
        base: IoAddress,
        /// Its bytes.
        size_bytes: u64,
    }
}

body! {
    /// Opens a shared object in another worker. Its memory is a window of this client as well.
    SharedOpened {
        /// From the call.
        call: u32,
        /// What it is.
        kind: SharedKind,
        /// The window in which this client sees the memory; announced and acknowledged already.
        base: IoAddress,
        /// Its bytes.
        size_bytes: u64,
        /// Bytes of private data.
        private_bytes: u64,
    }
}

/// One message as it stands on the socket: kind, four zero bytes, body, zero padding.
pub fn to_bytes<B: Body>(kind: u32, body: &B) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [0; MESSAGE_BYTES];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..8 + size_of::<B>()].copy_from_slice(body.as_bytes());
    bytes
}

/// The kind of a received packet; `None` when the packet has the wrong size or non-zero reserved bytes.
#[must_use]
pub fn kind_of(packet: &[u8]) -> Option<u32> {
    let packet: &[u8; MESSAGE_BYTES] = packet.try_into().ok()?;
    let (kind, rest) = packet.split_first_chunk::<4>()?;
    (rest.first_chunk::<4>()? == &[0; 4]).then_some(u32::from_le_bytes(*kind))
}

/// The body of a received packet whose kind says that it is a `B`; `None` when the packet has the wrong size.
#[must_use]
pub fn body_of<B: Body>(packet: &[u8]) -> Option<B> {
    let packet: &[u8; MESSAGE_BYTES] = packet.try_into().ok()?;
    B::read_from_prefix(packet.get(8..)?).ok().map(|(body, _)| body)
}

/// Text in a fixed, zero-padded field, cut at a character boundary.
#[must_use]
pub fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let mut len = text.len().min(N);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field
}

/// The text of a fixed field; what is not UTF-8 is replaced.
#[must_use]
pub fn text_of(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}
