//! The worker's way to the broker, shared by its threads.
//!
//! *Invariants.* Each call has a number of its own and one answer. The main thread alone receives; whoever calls sleeps
//! until it has put the answer here. The main thread itself never calls.
//!
//! *Locks.* One mutex, never held while sending or mapping.

use std::collections::HashMap;
use std::collections::HashSet;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use dxg_wire::session::Body;
use dxg_wire::session::Call;
use dxg_wire::session::Granted;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Lost;
use dxg_wire::session::Reason;
use dxg_wire::session::Share;
use dxg_wire::session::SharedKind;
use dxg_wire::session::SharedOpened;
use dxg_wire::session::WorkerMessage;
use dxg_wire::session::text;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::create_sealed_with;
use dxg_wire::shm::session_io;
use parking_lot::Condvar;
use parking_lot::Mutex;

use crate::adapter::Windows;
use crate::broker::SHAREABLE_WINDOW;

/// What the broker answered.
pub(super) enum Answer {
    /// A grant or refusal.
    Done(Granted),
    /// A window, mapped.
    Window(Granted, Arc<Mapping>),
    /// A shared object: private data, memory.
    Shared(SharedOpened, OwnedFd, OwnedFd),
    /// A socket to the keeper of code.
    Code(OwnedFd),
}

/// A shared object of another session, opened here.
#[derive(Debug)]
pub struct OpenedShare {
    /// What it is.
    pub kind: SharedKind,
    /// The window in which this client sees its memory.
    pub base: IoAddress,
    /// That memory.
    pub memory: Arc<Mapping>,
    /// What its maker wrote about it.
    pub private: Vec<u8>,
}

/// Whether a window's memory may be shared later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shareable {
    /// It may.
    Yes,
    /// It stays with this client.
    No,
}

#[derive(Default)]
struct Pending {
    last_call: u32,
    waiting: HashSet<u32>,
    answers: HashMap<u32, Answer>,
    /// Windows of ours that the client has mapped, until whoever made them has noticed.
    mapped: HashSet<u64>,
}

/// The way to the broker.
pub struct BrokerLink {
    socket: OwnedFd,
    windows: Arc<Windows>,
    pending: Mutex<Pending>,
    changed: Condvar,
}

impl BrokerLink {
    /// A link over a blocking socket.
    #[must_use]
    pub fn new(socket: OwnedFd, windows: Arc<Windows>) -> Self {
        Self { socket, windows, pending: Mutex::default(), changed: Condvar::new() }
    }

    /// The client's memory.
    #[must_use]
    pub fn windows(&self) -> &Arc<Windows> {
        &self.windows
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Says something that has no answer.
    pub(super) fn tell<B: Body>(&self, kind: WorkerMessage, body: &B) {
        self.send(kind, body, &[]);
    }

    fn send<B: Body>(&self, kind: WorkerMessage, body: &B, fds: &[BorrowedFd<'_>]) {
        if let Err(error) = session_io::send_message(&self.socket, kind.0, body, fds) {
            // The broker has gone, and this process goes with it: the main thread sees the hang-up.
            tracing::debug!(%error, "broker not reached");
        }
    }

    /// Ends the session, and with it this process. Does not come back.
    pub fn end(&self, reason: Reason, sentence: &str) -> ! {
        self.send(WorkerMessage::END, &Lost { reason, reserved: 0, text: text(sentence) }, &[]);
        loop {
            // The broker kills this process, or has died and the kernel does.
            std::thread::park();
        }
    }

    fn begin(&self) -> u32 {
        let mut pending = self.pending.lock();
        pending.last_call = pending.last_call.wrapping_add(1);
        let call = pending.last_call;
        pending.waiting.insert(call);
        call
    }

    fn wait(&self, call: u32) -> Answer {
        let mut pending = self.pending.lock();
        loop {
            if let Some(answer) = pending.answers.remove(&call) {
                return answer;
            }
            self.changed.wait(&mut pending);
        }
    }

    pub(super) fn answered(&self, call: u32, answer: Answer) {
        let mut pending = self.pending.lock();
        if pending.waiting.remove(&call) {
            pending.answers.insert(call, answer);
            self.changed.notify_all();
        }
    }

    pub(super) fn acknowledged(&self, base: IoAddress) {
        self.pending.lock().mapped.insert(base.0);
        self.changed.notify_all();
    }

    pub(super) fn window_created(&self, granted: &Granted, memory: &OwnedFd) {
        let answer = match map(memory, granted.size_bytes) {
            Some(mapping) => {
                self.windows.insert(granted.base, Arc::clone(&mapping));
                Answer::Window(*granted, mapping)
            }
            None => {
                self.forget_window(granted.base);
                Answer::Done(Granted { reason: Reason::HOST_RESOURCES, ..*granted })
            }
        };
        self.answered(granted.call, answer);
    }

    /// Makes a window of at least `size_bytes`, and waits until the client has mapped it.
    ///
    /// # Errors
    /// The broker's reason.
    pub fn create_window(
        &self,
        size_bytes: u64,
        shareable: Shareable,
    ) -> Result<(IoAddress, Arc<Mapping>), Reason> {
        let call = self.begin();
        let value = match shareable {
            Shareable::Yes => SHAREABLE_WINDOW,
            Shareable::No => 0,
        };
        self.tell(WorkerMessage::CREATE_WINDOW, &Call { call, value, size_bytes, base: IoAddress(0) });
        match self.wait(call) {
            Answer::Window(granted, mapping) => {
                let mut pending = self.pending.lock();
                while !pending.mapped.remove(&granted.base.0) {
                    self.changed.wait(&mut pending);
                }
                Ok((granted.base, mapping))
            }
            Answer::Done(granted) => Err(refusal(granted.reason)),
            Answer::Shared(..) | Answer::Code(_) => Err(Reason::INVALID),
        }
    }

    /// A socket to the keeper of code, to be asked for once.
    ///
    /// # Errors
    /// The broker's reason.
    pub(super) fn open_code(&self) -> Result<OwnedFd, Reason> {
        let call = self.begin();
        self.tell(WorkerMessage::OPEN_CODE, &Call { call, value: 0, size_bytes: 0, base: IoAddress(0) });
        match self.wait(call) {
            Answer::Code(socket) => Ok(socket),
            Answer::Done(granted) => Err(refusal(granted.reason)),
            _ => Err(Reason::INVALID),
        }
    }

    /// Drops a window that [`Self::create_window`] made.
    pub fn drop_window(&self, base: IoAddress) {
        self.windows.remove(base);
        self.forget_window(base);
    }

    fn forget_window(&self, base: IoAddress) {
        self.tell(WorkerMessage::DROP_WINDOW, &Call { call: 0, value: 0, size_bytes: 0, base });
    }

    /// Shares what lies in a window; answers its global share handle. The client has its descriptor by then.
    ///
    /// # Errors
    /// The broker's reason.
    pub fn share(&self, kind: SharedKind, window: IoAddress, private: &[u8]) -> Result<u32, Reason> {
        let memory = create_sealed_with("dxg-private", private).map_err(|_| Reason::HOST_RESOURCES)?;
        let call = self.begin();
        let private_bytes = private.len() as u64;
        self.send(WorkerMessage::SHARE, &Share { call, kind, window, private_bytes }, &[memory.as_fd()]);
        match self.wait(call) {
            Answer::Done(granted) if granted.reason == Reason::NONE => Ok(granted.value),
            Answer::Done(granted) => Err(granted.reason),
            _ => Err(Reason::INVALID),
        }
    }

    /// Opens a shared object that the client has imported or made.
    ///
    /// # Errors
    /// The broker's reason.
    pub fn open_shared(&self, global_share: u32) -> Result<OpenedShare, Reason> {
        let call = self.begin();
        let body = Call { call, value: global_share, size_bytes: 0, base: IoAddress(0) };
        self.tell(WorkerMessage::OPEN_SHARED, &body);
        match self.wait(call) {
            Answer::Shared(opened, private, memory) => {
                let memory = map(&memory, opened.size_bytes).ok_or(Reason::HOST_RESOURCES)?;
                let private = read_private(private, opened.private_bytes).ok_or(Reason::HOST_RESOURCES)?;
                self.windows.insert(opened.base, Arc::clone(&memory));
                Ok(OpenedShare { kind: opened.kind, base: opened.base, memory, private })
            }
            Answer::Done(granted) => Err(refusal(granted.reason)),
            Answer::Window(..) | Answer::Code(_) => Err(Reason::INVALID),
        }
    }

    /// Nothing of a shared object is left in this session.
    pub fn close_shared(&self, global_share: u32) {
        let body = Call { call: 0, value: global_share, size_bytes: 0, base: IoAddress(0) };
        self.tell(WorkerMessage::CLOSE_SHARED, &body);
    }

    pub(super) fn charge(&self, size_bytes: u64) -> Result<(), Reason> {
        let call = self.begin();
        self.tell(WorkerMessage::CHARGE, &Call { call, value: 0, size_bytes, base: IoAddress(0) });
        match self.wait(call) {
            Answer::Done(granted) if granted.reason == Reason::NONE => Ok(()),
            Answer::Done(granted) => Err(granted.reason),
            _ => Err(Reason::INVALID),
        }
    }

    pub(super) fn uncharge(&self, size_bytes: u64) {
        self.tell(WorkerMessage::UNCHARGE, &Call { call: 0, value: 0, size_bytes, base: IoAddress(0) });
    }
}

/// The reason of an answer that should not be a grant.
fn refusal(reason: Reason) -> Reason {
    if reason == Reason::NONE { Reason::INVALID } else { reason }
}

fn map(memory: &OwnedFd, size_bytes: u64) -> Option<Arc<Mapping>> {
    let len = usize::try_from(size_bytes).ok()?;
    Mapping::map(memory.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy)
        .inspect_err(|error| tracing::warn!(%error, size_bytes, "window not mapped"))
        .ok()
}

fn read_private(memory: OwnedFd, size_bytes: u64) -> Option<Vec<u8>> {
    let mut private = vec![0; usize::try_from(size_bytes).ok()?];
    let mut at = 0;
    while let Some(rest) = private.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(&memory, rest, at as u64) {
            Ok(0) | Err(_) => return None,
            Ok(len) => at += len,
        }
    }
    Some(private)
}
