//! What clients say.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use dxg_wire::session::AskBudget;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::Budget;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::Hello;
use dxg_wire::session::HostMessage;
use dxg_wire::session::Import;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Lease;
use dxg_wire::session::Leased;
use dxg_wire::session::OpenStream;
use dxg_wire::session::Reason;
use dxg_wire::session::StreamKind;
use dxg_wire::session::StreamOpened;
use dxg_wire::session::StreamRef;
use dxg_wire::session::Window;
use dxg_wire::session::WindowRef;
use dxg_wire::shm::create_sealed;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;

use super::Broker;
use super::client::ClientState;
use super::client::MAX_STREAMS;
use super::client::MAX_WINDOWS;
use super::client::StreamRecord;
use super::client::Waiting;
use super::client::WindowRecord;
use super::client::WindowState;
use super::client::name_of;
use super::epoll::Readiness;
use super::epoll::Source;
use super::greeting;
use super::ids::ClientId;
use super::ids::WorkerId;
use super::session_end::Ending;
use super::tries::Tries;

/// Messages taken from one client in one turn.
const BATCH: usize = 32;
/// Memory is given in whole pages.
const PAGE_BYTES: u64 = 4096;
/// The largest single block.
const MAX_BLOCK_BYTES: u64 = 1 << 46;
/// Bounds of a command ring's data area.
const RING_BYTES: std::ops::RangeInclusive<u32> = (4 << 10)..=(64 << 20);

/// `size_bytes` rounded up to pages; `None` for nothing and for more than there can be.
pub(super) fn pages(size_bytes: u64) -> Option<u64> {
    size_bytes.checked_next_multiple_of(PAGE_BYTES).filter(|size| (1..=MAX_BLOCK_BYTES).contains(size))
}

impl Broker {
    /// A client's socket is ready.
    pub(super) fn client_ready(&mut self, id: ClientId, readiness: Readiness) {
        if readiness.is_writable() {
            self.flush_client(id);
        }
        if readiness.is_readable() {
            self.read_client(id);
        }
    }

    fn flush_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let flushed = client.outbox.flush();
        let writes = client.outbox.is_waiting();
        self.poller.set_writable(client.outbox.socket(), Source::Client(id), writes);
        if flushed.is_err() {
            self.end_session(id, Ending::Gone);
        }
    }

    fn read_client(&mut self, id: ClientId) {
        for _ in 0..BATCH {
            let Some(client) = self.clients.get(&id) else { return };
            let received =
                session_io::recv_message(client.outbox.socket(), |kind| ClientMessage(kind).descriptors());
            match received {
                Ok(message) => self.client_says(id, message),
                Err(error) if error.is_would_block() => return,
                Err(error) if error.is_hang_up() => return self.end_session(id, Ending::Gone),
                Err(error) => return self.violation(id, &error.to_string()),
            }
        }
    }

    /// Ends a session whose client broke the protocol.
    pub(super) fn violation(&mut self, id: ClientId, what: &str) {
        if let Some(suppressed) = self.violation_log.allow(Instant::now()) {
            tracing::warn!(session = id.0, what, suppressed, "violation");
        }
        self.end_session(id, Ending::Lost(Reason::VIOLATION, what.to_owned()));
    }

    fn client_says(&mut self, id: ClientId, message: Message) {
        let kind = ClientMessage(message.kind);
        let Some(client) = self.clients.get_mut(&id) else { return };
        match (&client.state, kind) {
            (ClientState::Greeting, ClientMessage::HELLO) => self.greet(id, &message.body()),
            (ClientState::Greeting, _) => self.end_session(
                id,
                Ending::Refused(greeting::Refusal::new(
                    Reason::BAD_HELLO,
                    "the first message is no greeting",
                )),
            ),
            (ClientState::Waiting(_) | ClientState::Binding(_), _) => {
                self.violation(id, "a message before the welcome");
            }
            (ClientState::Bound(_), ClientMessage::LEASE) => self.lease(id, &message.body()),
            (ClientState::Bound(_), ClientMessage::RELEASE) => self.release(id, &message.body()),
            (ClientState::Bound(_), ClientMessage::WINDOW_ACK) => self.window_ack(id, &message.body()),
            (ClientState::Bound(_), ClientMessage::OPEN_STREAM) => self.open_stream(id, &message.body()),
            (ClientState::Bound(_), ClientMessage::CLOSE_STREAM) => self.close_stream(id, &message.body()),
            (ClientState::Bound(_), ClientMessage::IMPORT_SHARED) => {
                let import: Import = message.body();
                if let Some(fd) = message.into_fd() {
                    self.import(id, import, &fd);
                }
            }
            (ClientState::Bound(bound), ClientMessage::ASK_BUDGET)
                if bound.features.contains(Features::BUDGET) =>
            {
                self.budget(id, &message.body());
            }
            (ClientState::Bound(_), _) => self.violation(id, "a message out of place"),
        }
    }

    fn greet(&mut self, id: ClientId, hello: &Hello) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.name = name_of(hello);
        let vgpu = client.vgpu;
        let Some(vgpu) = self.vgpus.get(&vgpu) else { return };
        // Others may have taken the last place since this one connected.
        match greeting::accept(hello, vgpu.offers()).and_then(|it| self.has_place(vgpu).map(|()| it)) {
            Ok(accepted) => {
                if let Some(client) = self.clients.get_mut(&id) {
                    let tries = Tries::after(WorkerId(self.worker_ids.last()));
                    client.state = ClientState::Waiting(Waiting { accepted, tries });
                }
                self.ask_for_worker(id);
            }
            Err(refusal) => self.end_session(id, Ending::Refused(refusal)),
        }
    }

    /// Creates memory on a client's account.
    pub(super) fn charged_memory(
        &mut self,
        id: ClientId,
        name: &str,
        size_bytes: u64,
    ) -> Result<Rc<OwnedFd>, Reason> {
        self.ledger.charge(id, size_bytes)?;
        match create_sealed(name, size_bytes) {
            Ok(memory) => Ok(Rc::new(memory)),
            Err(error) => {
                if let Some(suppressed) = self.violation_log.allow(Instant::now()) {
                    tracing::warn!(session = id.0, size_bytes, %error, suppressed, "no memory");
                }
                self.ledger.uncharge(id, size_bytes);
                Err(Reason::HOST_RESOURCES)
            }
        }
    }

    /// A base for a new window of a client.
    pub(super) fn window_base(&mut self, id: ClientId, size_bytes: u64) -> Result<IoAddress, Reason> {
        let bound = self.clients.get_mut(&id).and_then(|client| client.bound()).ok_or(Reason::NOT_FOUND)?;
        if bound.windows.len() >= MAX_WINDOWS {
            return Err(Reason::HOST_RESOURCES);
        }
        bound.next_base(size_bytes).ok_or(Reason::HOST_RESOURCES)
    }

    fn lease(&mut self, id: ClientId, lease: &Lease) {
        if let Err(reason) = self.try_lease(id, lease) {
            let body =
                Leased { request: lease.request, reason, base: IoAddress(0), size_bytes: lease.size_bytes };
            self.tell_client(id, BrokerMessage::LEASE_REFUSED, &body, Vec::new());
        }
    }

    fn try_lease(&mut self, id: ClientId, lease: &Lease) -> Result<(), Reason> {
        let size_bytes = pages(lease.size_bytes).ok_or(Reason::INVALID)?;
        let base = self.window_base(id, size_bytes)?;
        let memory = self.charged_memory(id, "dxg-lease", size_bytes)?;
        let Some(bound) = self.clients.get_mut(&id).and_then(|client| client.bound()) else { return Ok(()) };
        let worker = bound.worker;
        let state = WindowState::LeasePending { request: lease.request, memory: Rc::clone(&memory) };
        bound.windows.insert(base.0, WindowRecord::new(size_bytes, state));
        self.tell_worker(worker, HostMessage::WINDOW, &Window { base, size_bytes }, vec![memory]);
        Ok(())
    }

    fn budget(&mut self, id: ClientId, ask: &AskBudget) {
        let body = Budget {
            request: ask.request,
            reserved: 0,
            used_bytes: self.ledger.client(id).used_bytes,
            left_bytes: self.ledger.left_bytes(id),
        };
        self.tell_client(id, BrokerMessage::BUDGET, &body, Vec::new());
    }

    fn release(&mut self, id: ClientId, window: &WindowRef) {
        let Some(bound) = self.clients.get_mut(&id).and_then(|client| client.bound()) else { return };
        let leased = bound
            .windows
            .get(&window.base.0)
            .is_some_and(|record| matches!(record.state, WindowState::Leased));
        if !leased {
            return self.violation(id, "a release of what was not leased");
        }
        let worker = bound.worker;
        let size_bytes = bound.windows.remove(&window.base.0).map_or(0, |record| record.size_bytes);
        self.ledger.uncharge(id, size_bytes);
        self.tell_worker(worker, HostMessage::WINDOW_GONE, window, Vec::new());
    }

    fn window_ack(&mut self, id: ClientId, window: &WindowRef) {
        let Some(bound) = self.clients.get_mut(&id).and_then(|client| client.bound()) else { return };
        let worker = bound.worker;
        // The worker may have dropped the window while the client was mapping it.
        let Some(record) = bound.windows.get_mut(&window.base.0) else { return };
        match &record.state {
            WindowState::Announced { shareable } => {
                record.state = WindowState::Mapped { shareable: shareable.clone() };
                self.tell_worker(worker, HostMessage::WINDOW_ACKED, window, Vec::new());
            }
            WindowState::ImportPending { requests, share } => {
                let (requests, share) = (requests.clone(), *share);
                record.state = WindowState::Imported;
                for request in requests {
                    self.answer_import(id, request, share);
                }
            }
            _ => self.violation(id, "an acknowledgement of what was not announced"),
        }
    }

    fn open_stream(&mut self, id: ClientId, open: &OpenStream) {
        if let Err(reason) = self.try_open_stream(id, open) {
            self.refuse_stream(id, open.request, open.kind, open.ring_bytes, reason);
        }
    }

    /// Answers a request for a stream with a reason.
    pub(super) fn refuse_stream(
        &mut self,
        id: ClientId,
        request: u32,
        kind: StreamKind,
        ring_bytes: u32,
        reason: Reason,
    ) {
        let body = StreamOpened { request, reason, stream: 0, kind, ring_bytes, reserved: 0 };
        self.tell_client(id, BrokerMessage::STREAM_REFUSED, &body, Vec::new());
    }

    fn try_open_stream(&mut self, id: ClientId, open: &OpenStream) -> Result<(), Reason> {
        let bound = self.clients.get_mut(&id).and_then(|client| client.bound()).ok_or(Reason::NOT_FOUND)?;
        if !bound.features.contains(Features::STREAMS) {
            return Err(Reason::UNSUPPORTED);
        }
        if !RING_BYTES.contains(&open.ring_bytes) || !open.ring_bytes.is_power_of_two() {
            return Err(Reason::RING_SIZE);
        }
        if bound.streams.len() >= MAX_STREAMS {
            return Err(Reason::QUOTA);
        }
        let worker = bound.worker;
        let stream = bound.next_stream();
        let size_bytes = u64::from(open.ring_bytes) + PAGE_BYTES;
        let doorbell = Rc::new(dxg_wire::doorbell::create().map_err(|_| Reason::HOST_RESOURCES)?);
        let memory = self.charged_memory(id, "dxg-stream", size_bytes)?;
        let Some(bound) = self.clients.get_mut(&id).and_then(|client| client.bound()) else { return Ok(()) };
        let pending = Some((open.request, Rc::clone(&memory), Rc::clone(&doorbell)));
        let record = StreamRecord { kind: open.kind, size_bytes, ring_bytes: open.ring_bytes, pending };
        bound.streams.insert(stream, record);
        let body = StreamOpened {
            request: open.request,
            reason: Reason::NONE,
            stream,
            kind: open.kind,
            ring_bytes: open.ring_bytes,
            reserved: 0,
        };
        self.tell_worker(worker, HostMessage::STREAM, &body, vec![memory, doorbell]);
        Ok(())
    }

    fn close_stream(&mut self, id: ClientId, stream: &StreamRef) {
        let Some(bound) = self.clients.get_mut(&id).and_then(|client| client.bound()) else { return };
        let worker = bound.worker;
        let opened = bound.streams.get(&stream.stream).is_some_and(|record| record.pending.is_none());
        if !opened {
            return self.violation(id, "the end of a stream that is not open");
        }
        let size_bytes = bound.streams.remove(&stream.stream).map_or(0, |record| record.size_bytes);
        self.ledger.uncharge(id, size_bytes);
        self.tell_worker(worker, HostMessage::STREAM_CLOSED, stream, Vec::new());
    }
}
