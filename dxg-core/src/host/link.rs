//! The session with the broker: socket, windows, channels, and the thread that serves them.
//!
//! *Why.* Some things come unasked: windows, descriptors of shared objects, events, the end. One thread per node waits for
//! them, with every signal blocked, so that a program's signal handlers never run on it.
//!
//! *Invariants.* A completion on the global channel is handed out only after the socket was read dry, because what it refers to was
//! sent on the socket before. A window is mapped before it is acknowledged. The session is declared lost once; from then on
//! every call and wait ends.
//!
//! *Locks.* Each of the fields' locks is a leaf; none is held across a call.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dxg_ioctl::CallError;
use dxg_wire::cell::FenceCell;
use dxg_wire::doorbell;
use dxg_wire::messages::GuestDataType;
use dxg_wire::messages::HostToVmCommandId;
use dxg_wire::messages::framing::HostPacket;
use dxg_wire::session::Body;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Exported;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Lost as LostBody;
use dxg_wire::session::Reason;
use dxg_wire::session::Window;
use dxg_wire::session::WindowRef;
use dxg_wire::session::text_of;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;
use dxg_wire::vmbus::ChannelReceiver;
use dxg_wire::vmbus::Incoming;
use dxg_wire::vmbus::PacketType;
use parking_lot::Mutex;
use parking_lot::RwLock;

use super::channel::Broken;
use super::channel::Channel;
use super::events::Events;
use super::lost::Lost;
use super::lost::LostReason;
use super::slot::Slot;
use super::windows;
use super::windows::Windows;
use crate::Sleeper;
use crate::errno;

/// A session, shared by its callers and its service thread.
pub(super) struct Link {
    socket: OwnedFd,
    pub(super) lost: Lost,
    pub(super) windows: RwLock<Windows>,
    pub(super) events: Events,
    pub(super) vgpu: Channel,
    pub(super) global: Channel,
    /// Descriptors of objects that were just shared, by global share handle.
    exported: Mutex<HashMap<u32, OwnedFd>>,
    calls: Mutex<HashMap<u32, Arc<Slot<Message>>>>,
    next_call: AtomicU32,
    /// How often the host said that some device changed its state.
    device_changes: AtomicU64,
    next_cookie: AtomicU64,
    /// The numbers by which the host may say that a device changed its state.
    cookies: Mutex<HashSet<u64>>,
    /// Fences on whose cells somebody may sleep, woken when the session is lost.
    cells: Mutex<HashMap<usize, FenceCell>>,
    /// Front ends that sleep on memory of the host, woken then as well.
    sleepers: Mutex<Vec<Weak<dyn Sleeper>>>,
}

impl Link {
    pub(super) fn new(socket: OwnedFd, vgpu: Channel, global: Channel) -> io::Result<Self> {
        Ok(Self {
            socket,
            lost: Lost::new()?,
            windows: RwLock::default(),
            events: Events::default(),
            vgpu,
            global,
            exported: Mutex::default(),
            calls: Mutex::default(),
            next_call: AtomicU32::new(1),
            device_changes: AtomicU64::new(0),
            next_cookie: AtomicU64::new(1),
            cookies: Mutex::default(),
            cells: Mutex::default(),
            sleepers: Mutex::default(),
        })
    }

    /// Sends a message that has no answer.
    pub(super) fn tell<B: Body>(&self, kind: ClientMessage, body: &B) -> Result<(), CallError> {
        self.send(kind, body, &[])
    }

    fn send<B: Body>(&self, kind: ClientMessage, body: &B, fds: &[BorrowedFd<'_>]) -> Result<(), CallError> {
        self.lost.check()?;
        session_io::send_message(&self.socket, kind.0, body, fds).map_err(|error| {
            // The service thread sees the same and learns the reason.
            tracing::debug!(%error, kind = kind.0, "session message not sent");
            errno::LOST
        })
    }

    /// Sends a message with a request number and waits for the message that repeats it.
    pub(super) fn ask<B: Body>(
        &self,
        kind: ClientMessage,
        body: impl FnOnce(u32) -> B,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Message, CallError> {
        let request = self.next_call.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot::new());
        self.calls.lock().insert(request, Arc::clone(&slot));
        // After the slot is known: a loss from here on finds it, an earlier one is seen by `send`.
        if let Err(error) = self.send(kind, &body(request), fds) {
            self.calls.lock().remove(&request);
            return Err(error);
        }
        slot.wait_done()
    }

    /// The descriptor of an object that the host named as shared just now.
    pub(super) fn take_exported(&self, global_share: u32) -> Option<OwnedFd> {
        self.exported.lock().remove(&global_share)
    }

    /// The memory at an address in IO space that the host named. EINVAL unless one window has it all.
    pub(super) fn resolve(&self, at: u64, len: u64) -> Result<SharedSlice, CallError> {
        self.windows.read().resolve(IoAddress(at), len).ok_or_else(|| {
            tracing::warn!(address = at, size_bytes = len, "the host named an address outside its windows");
            errno::INVALID
        })
    }

    pub(super) fn device_changes(&self) -> u64 {
        self.device_changes.load(Ordering::Acquire)
    }

    /// A number by which the host may say that a device changed its state.
    pub(super) fn new_cookie(&self) -> u64 {
        let cookie = self.next_cookie.fetch_add(1, Ordering::Relaxed);
        self.cookies.lock().insert(cookie);
        cookie
    }

    pub(super) fn drop_cookie(&self, cookie: u64) {
        self.cookies.lock().remove(&cookie);
    }

    /// Makes sleepers on a cell look again when the session is lost.
    pub(super) fn watch(&self, memory: &SharedSlice) {
        if let Ok(cell) = FenceCell::new(memory.clone()) {
            self.cells.lock().insert(memory.as_ptr().addr(), cell);
        }
    }

    /// Ends [`watch`](Self::watch).
    pub(super) fn unwatch(&self, memory: &SharedSlice) {
        self.cells.lock().remove(&memory.as_ptr().addr());
    }

    /// Wakes a sleeper, for as long as it lives, when the session is lost.
    pub(super) fn wake_when_lost(&self, sleeper: Weak<dyn Sleeper>) {
        let mut sleepers = self.sleepers.lock();
        sleepers.retain(|sleeper| sleeper.strong_count() > 0);
        sleepers.push(sleeper);
    }

    /// Declares the session lost and ends every call and wait. The first reason counts.
    pub(super) fn lose(&self, reason: LostReason) {
        let (name, text) = (reason.reason.name(), reason.text.clone());
        if self.lost.set(reason) {
            tracing::info!(reason = name, text, "session lost");
            self.vgpu.fail_all();
            self.global.fail_all();
            for (_, slot) in self.calls.lock().drain() {
                slot.put(Err(errno::LOST));
            }
            self.events.signal_all();
            for cell in self.cells.lock().values() {
                cell.wake_all();
            }
            let sleepers = std::mem::take(&mut *self.sleepers.lock());
            for sleeper in sleepers.iter().filter_map(Weak::upgrade) {
                sleeper.wake();
            }
        }
    }

    /// Declares the session lost because a ring broke, and hangs up.
    pub(super) fn broken(&self, error: Broken) {
        tracing::error!(%error, "the host broke a ring");
        self.lose(LostReason { reason: Reason::VIOLATION, text: error.to_string() });
        self.hang_up();
    }

    /// Ends the session because nobody uses it any more.
    pub(super) fn close(&self) {
        self.lost.set(LostReason { reason: Reason::NONE, text: String::from("closed here") });
        self.hang_up();
    }

    /// Hangs up; the service thread sees it and returns.
    pub(super) fn hang_up(&self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// What the service thread does until the session is over.
    pub(super) fn serve(&self) {
        let mut receiver = self.global.receiver().lock();
        let reason = loop {
            if let Err(reason) = self.serve_once(&mut receiver) {
                break reason;
            }
        };
        self.lose(reason);
    }

    fn serve_once(&self, receiver: &mut ChannelReceiver) -> Result<(), LostReason> {
        let mut payload = Vec::new();
        let incoming = receiver
            .receive(&mut payload, Duration::ZERO, &[self.socket.as_fd()], None)
            .map_err(|error| LostReason { reason: Reason::VIOLATION, text: error.to_string() })?;
        self.read_socket()?;
        if let Incoming::Packet(header) = incoming {
            match header.packet_type {
                PacketType::DATA_IN_BAND => self.host_packet(&payload),
                _ => self.global.deliver(&header, payload),
            }
        }
        Ok(())
    }

    /// Takes every message that is there.
    fn read_socket(&self) -> Result<(), LostReason> {
        let gone = |text: String| LostReason { reason: Reason::DEVICE_LOST, text };
        // The kernel tells of a hang-up once before it gives what was sent before that: the reason may be among it.
        let mut was_reset = false;
        loop {
            let ready = doorbell::wait(&[self.socket.as_fd()], Some(Duration::ZERO));
            if ready.map_err(|error| gone(error.to_string()))? == 0 {
                return Ok(());
            }
            let message = session_io::recv_message(&self.socket, |kind| BrokerMessage(kind).descriptors());
            if message.as_ref().is_err_and(|error| error.is_hang_up() && !was_reset) {
                was_reset = true;
                continue;
            }
            let message = message.map_err(|error| {
                if error.is_hang_up() {
                    gone(String::from("the host hung up"))
                } else {
                    LostReason { reason: Reason::VIOLATION, text: error.to_string() }
                }
            })?;
            self.message(message)?;
        }
    }

    fn message(&self, message: Message) -> Result<(), LostReason> {
        let violation = |text: String| LostReason { reason: Reason::VIOLATION, text };
        match BrokerMessage(message.kind) {
            BrokerMessage::WINDOW => {
                let window: Window = message.body();
                let Some(memory) = message.into_fd() else { return Ok(()) };
                let taken = windows::map(window.base, window.size_bytes, memory.as_fd(), Populate::Lazy)
                    .and_then(|memory| self.windows.write().insert(window.base, memory));
                taken.map_err(|error| violation(error.to_string()))?;
                let _ = self.tell(ClientMessage::WINDOW_ACK, &WindowRef { base: window.base });
            }
            BrokerMessage::WINDOW_GONE => self.windows.write().remove(message.body::<WindowRef>().base),
            BrokerMessage::EXPORTED => {
                let exported: Exported = message.body();
                if let Some(descriptor) = message.into_fd() {
                    self.exported.lock().insert(exported.global_share, descriptor);
                }
            }
            BrokerMessage::LOST => {
                let body: LostBody = message.body();
                return Err(LostReason { reason: body.reason, text: text_of(&body.text) });
            }
            BrokerMessage::LEASED
            | BrokerMessage::LEASE_REFUSED
            | BrokerMessage::STREAM_OPENED
            | BrokerMessage::STREAM_REFUSED
            | BrokerMessage::IMPORTED
            | BrokerMessage::IMPORT_REFUSED
            | BrokerMessage::BUDGET => {
                // Each of these bodies begins with the number of the request.
                let request: WindowRef = message.body();
                let request = (request.base.0 & 0xffff_ffff) as u32;
                match self.calls.lock().remove(&request) {
                    Some(slot) => slot.put(Ok(message)),
                    None => tracing::warn!(request, kind = message.kind, "answer that nobody waits for"),
                }
            }
            _ => return Err(violation(format!("message kind {} in mid-session", message.kind))),
        }
        Ok(())
    }

    /// A packet that the host sent on its own. Short ones are dropped, as the kernel's driver does.
    fn host_packet(&self, payload: &[u8]) {
        match HostPacket::decode(payload) {
            Ok(HostPacket::SignalGuestEvent(packet)) => self.events.signal(packet.event),
            Ok(HostPacket::SetGuestData(packet)) => {
                let is_u32 = packet.kind.data_type() == GuestDataType::DWORD.0;
                let known = self.cookies.lock().contains(&packet.guest_pointer.0);
                if is_u32 && packet.data.data32() != 0 && known {
                    self.device_changes.fetch_add(1, Ordering::AcqRel);
                }
            }
            Ok(HostPacket::Other(HostToVmCommandId::SENDWNFNOTIFICATION)) => {}
            Ok(HostPacket::Other(command)) => tracing::warn!(command = command.0, "packet that is not known"),
            Err(error) => tracing::warn!(%error, "packet of the host dropped"),
        }
    }
}
