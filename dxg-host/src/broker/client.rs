//! One client connection: what it has said, and what it holds.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use dxg_wire::session::Features;
use dxg_wire::session::Hello;
use dxg_wire::session::IoAddress;
use dxg_wire::session::StreamKind;
use dxg_wire::session::WINDOW_ALIGNMENT;
use dxg_wire::session::Welcome;

use super::greeting::DEFAULT_GLOBAL_RING_BYTES;
use super::greeting::DEFAULT_VGPU_RING_BYTES;
use super::ids::ClientId;
use super::ids::VgpuId;
use super::ids::WorkerId;
use super::outbox::Outbox;
use super::peer::Peer;
use super::session_start::Kit;
use super::tries::Tries;

/// Most windows of one session.
pub(super) const MAX_WINDOWS: usize = 16_384;
/// Most windows whose memory stays shareable, each of which costs the broker a descriptor.
pub(super) const MAX_SHAREABLE: usize = 1024;
/// Most command streams of one session.
pub(super) const MAX_STREAMS: usize = 64;

/// Why a window exists, and how far it is.
pub(super) enum WindowState {
    /// Leased; the worker has not mapped it yet.
    LeasePending {
        /// The client's number for its request.
        request: u32,
        /// The memory, to be passed on.
        memory: Rc<OwnedFd>,
    },
    /// Leased.
    Leased,
    /// Made by the worker; the client has not mapped it yet.
    Announced {
        /// The memory, where it may be shared.
        shareable: Option<Rc<OwnedFd>>,
    },
    /// Made by the worker.
    Mapped {
        /// The memory, where it may be shared.
        shareable: Option<Rc<OwnedFd>>,
    },
    /// A shared object's; the client has not mapped it yet.
    ImportPending {
        /// The client's numbers for its requests: its threads may import the same object at once.
        requests: Vec<u32>,
        /// The object.
        share: u32,
    },
    /// A shared object's.
    Imported,
}

/// A window of IO space.
pub(super) struct WindowRecord {
    /// Bytes, charged to the client.
    pub(super) size_bytes: u64,
    /// How far it is.
    pub(super) state: WindowState,
    /// What keeps it: the worker's object, and each share handle that stands for it.
    pub(super) holds: usize,
}

impl WindowRecord {
    /// A window that one thing keeps.
    pub(super) fn new(size_bytes: u64, state: WindowState) -> Self {
        Self { size_bytes, state, holds: 1 }
    }

    /// The memory, where it may be shared.
    pub(super) fn shareable(&self) -> Option<&Rc<OwnedFd>> {
        match &self.state {
            WindowState::Announced { shareable } | WindowState::Mapped { shareable } => shareable.as_ref(),
            _ => None,
        }
    }
}

/// A command stream.
pub(super) struct StreamRecord {
    /// What it speaks.
    pub(super) kind: StreamKind,
    /// Bytes charged for it.
    pub(super) size_bytes: u64,
    /// Bytes of its ring.
    pub(super) ring_bytes: u32,
    /// What the client gets once the worker serves it: request, memory, doorbell.
    pub(super) pending: Option<(u32, Rc<OwnedFd>, Rc<OwnedFd>)>,
}

/// A session with a worker.
pub(super) struct Bound {
    /// The worker.
    pub(super) worker: WorkerId,
    /// What both sides may use.
    pub(super) features: Features,
    /// Windows by base; the arena is not among them.
    pub(super) windows: BTreeMap<u64, WindowRecord>,
    /// Streams by number.
    pub(super) streams: BTreeMap<u32, StreamRecord>,
    /// Shared objects that this client made or imported, with the window of each.
    pub(super) shares: BTreeMap<u32, u64>,
    /// Bytes that the worker charged for its driver: it can give back no more than that.
    pub(super) driver_bytes: u64,
    /// Whether its worker has asked where code is kept.
    pub(super) has_asked_for_code: bool,
    next_base: u64,
    next_stream: u32,
}

impl Bound {
    /// A session that begins; windows start behind the arena.
    pub(super) fn new(worker: WorkerId, features: Features, first_base: u64) -> Self {
        Self {
            worker,
            features,
            windows: BTreeMap::new(),
            streams: BTreeMap::new(),
            shares: BTreeMap::new(),
            driver_bytes: 0,
            has_asked_for_code: false,
            next_base: first_base,
            next_stream: 1,
        }
    }

    /// A base for a window of `size_bytes` that was never used before; `None` when IO space ran out.
    pub(super) fn next_base(&mut self, size_bytes: u64) -> Option<IoAddress> {
        let base = self.next_base;
        // One unmapped unit between windows, so that running over the end of one never meets the next.
        let end = base.checked_add(size_bytes)?.checked_next_multiple_of(WINDOW_ALIGNMENT)?;
        self.next_base = end.checked_add(WINDOW_ALIGNMENT).filter(|next| *next < IO_SPACE_END)?;
        Some(IoAddress(base))
    }

    /// A stream number that was never used before.
    pub(super) fn next_stream(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream = self.next_stream.wrapping_add(1).max(1);
        stream
    }

    /// How many windows keep a descriptor.
    pub(super) fn shareable_windows(&self) -> usize {
        self.windows.values().filter(|window| window.shareable().is_some()).count()
    }
}

/// First address beyond IO space.
pub(super) const IO_SPACE_END: u64 = 1 << 52;

/// How far a client is.
pub(super) enum ClientState {
    /// Nothing said yet.
    Greeting,
    /// Its greeting is accepted; a worker is on its way.
    Waiting(Waiting),
    /// A worker has been asked to serve it. It may be dead already; then another one is.
    Binding(Box<Binding>),
    /// Served.
    Bound(Box<Bound>),
}

/// A client without a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// What its greeting led to.
    pub(super) accepted: Accepted,
    /// How many workers it has waited for in vain.
    pub(super) tries: Tries,
}

/// A session that begins as soon as its worker says that it takes it.
pub(super) struct Binding {
    /// What it goes back to without that word.
    pub(super) waiting: Waiting,
    /// The worker.
    pub(super) worker: WorkerId,
    /// What the client is told then.
    pub(super) welcome: Welcome,
    /// What it is given.
    pub(super) kit: Kit,
}

/// What a greeting led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Version of the session.
    pub(super) version: u32,
    /// Features of the session.
    pub(super) features: Features,
    /// Bytes of each vgpu ring.
    pub(super) vgpu_ring_bytes: u32,
    /// Bytes of each global ring.
    pub(super) global_ring_bytes: u32,
}

impl Accepted {
    /// Bytes of the rings together, of both directions.
    pub(super) fn ring_bytes(&self) -> u64 {
        2 * (u64::from(self.vgpu_ring_bytes) + u64::from(self.global_ring_bytes))
    }

    /// Bytes of them that count as the client's memory: those beyond what every session has.
    pub(super) fn charged_ring_bytes(&self) -> u64 {
        let free = 2 * u64::from(DEFAULT_VGPU_RING_BYTES + DEFAULT_GLOBAL_RING_BYTES);
        self.ring_bytes().saturating_sub(free)
    }
}

/// One client.
pub(super) struct Client {
    /// Its number.
    pub(super) id: ClientId,
    /// The virtual GPU that it connected to.
    pub(super) vgpu: VgpuId,
    /// Who it is, as the kernel says.
    pub(super) peer: Peer,
    /// Who it says it is.
    pub(super) name: String,
    /// When it connected: seconds since 1970, UTC.
    pub(super) since: u64,
    /// The way to it.
    pub(super) outbox: Outbox,
    /// How far it is.
    pub(super) state: ClientState,
}

impl Client {
    /// Whether it has said nothing yet.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.state, ClientState::Greeting)
    }

    /// Its session, once it has one.
    pub(super) fn bound(&mut self) -> Option<&mut Bound> {
        match &mut self.state {
            ClientState::Bound(bound) => Some(bound),
            _ => None,
        }
    }
}

/// The name in a greeting, fit for logs.
pub(super) fn name_of(hello: &Hello) -> String {
    printable(&dxg_wire::session::text_of(&hello.name))
}

/// A text of someone else, without what could steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}
