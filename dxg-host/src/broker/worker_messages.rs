//! What workers say. A worker may be taken over by its client, so it is trusted with its client's things only.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use dxg_wire::session::Ack;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::Call;
use dxg_wire::session::Granted;
use dxg_wire::session::HostMessage;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Leased;
use dxg_wire::session::Lost;
use dxg_wire::session::Reason;
use dxg_wire::session::Share;
use dxg_wire::session::StreamOpened;
use dxg_wire::session::Window;
use dxg_wire::session::WindowRef;
use dxg_wire::session::WorkerMessage;
use dxg_wire::session::WorkerReady;
use dxg_wire::session::text_of;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;

use super::Broker;
use super::client::Bound;
use super::client::MAX_SHAREABLE;
use super::client::WindowRecord;
use super::client::WindowState;
use super::client::printable;
use super::client_messages::pages;
use super::descriptors::PER_WINDOW;
use super::epoll::Readiness;
use super::epoll::Source;
use super::ids::ClientId;
use super::ids::WorkerId;
use super::worker_proc::WorkerState;

/// Messages taken from one worker in one turn.
const BATCH: usize = 32;
/// In [`Call::value`] of a call for a window: its memory may be shared later.
pub(crate) const SHAREABLE_WINDOW: u32 = 1;

impl Broker {
    /// A worker's socket is ready.
    pub(super) fn worker_ready(&mut self, id: WorkerId, readiness: Readiness) {
        if readiness.is_writable()
            && let Some(worker) = self.workers.get_mut(&id)
        {
            let flushed = worker.outbox.flush();
            let writes = worker.outbox.is_waiting();
            self.poller.set_writable(worker.outbox.socket(), Source::Worker(id), writes);
            if flushed.is_err() {
                return self.end_worker(id, Reason::DEVICE_LOST, "the worker died");
            }
        }
        if readiness.is_readable() {
            self.read_worker(id);
        }
    }

    fn read_worker(&mut self, id: WorkerId) {
        for _ in 0..BATCH {
            let Some(worker) = self.workers.get(&id) else { return };
            if worker.state == WorkerState::Ended {
                return;
            }
            let received =
                session_io::recv_message(worker.outbox.socket(), |kind| WorkerMessage(kind).descriptors());
            match received {
                Ok(message) => self.worker_says(id, message),
                Err(error) if error.is_would_block() => return,
                Err(error) => {
                    if !error.is_hang_up() {
                        tracing::error!(worker = id.0, %error, "worker broke the protocol");
                    }
                    return self.end_worker(id, Reason::DEVICE_LOST, "the worker died");
                }
            }
        }
    }

    fn worker_says(&mut self, id: WorkerId, message: Message) {
        let kind = WorkerMessage(message.kind);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let client = match (worker.state, kind) {
            (WorkerState::Starting, WorkerMessage::READY) => {
                let ready: WorkerReady = message.body();
                return self.worker_started(id, &ready);
            }
            (WorkerState::Binding(client), WorkerMessage::BOUND) => {
                worker.state = WorkerState::Bound(client);
                return self.welcome(client);
            }
            (WorkerState::Bound(client), _)
                if !matches!(kind, WorkerMessage::READY | WorkerMessage::BOUND) =>
            {
                client
            }
            _ => {
                tracing::error!(worker = id.0, kind = kind.0, "worker spoke out of turn");
                return self.end_worker(id, Reason::DEVICE_LOST, "the worker failed");
            }
        };
        match kind {
            WorkerMessage::WINDOW_READY => self.lease_ready(client, &message.body()),
            WorkerMessage::STREAM_READY => self.stream_ready(client, &message.body()),
            WorkerMessage::CREATE_WINDOW => self.create_window(client, id, &message.body()),
            WorkerMessage::DROP_WINDOW => {
                let call: Call = message.body();
                self.drop_hold(client, call.base);
            }
            WorkerMessage::SHARE => {
                let share: Share = message.body();
                if let Some(private) = message.into_fd() {
                    self.share(client, id, &share, private);
                }
            }
            WorkerMessage::OPEN_SHARED => self.open_shared(client, id, &message.body()),
            WorkerMessage::OPEN_CODE => self.open_code(client, id, &message.body()),
            WorkerMessage::CLOSE_SHARED => {
                let call: Call = message.body();
                self.close_shared(client, call.value);
            }
            WorkerMessage::CHARGE => {
                let call: Call = message.body();
                let charged = self.ledger.charge(client, call.size_bytes);
                if let (Ok(()), Some(bound)) = (charged, self.bound(client)) {
                    bound.driver_bytes = bound.driver_bytes.saturating_add(call.size_bytes);
                }
                self.answer(id, call.call, charged.err().unwrap_or(Reason::NONE), 0);
            }
            WorkerMessage::UNCHARGE => {
                let call: Call = message.body();
                let Some(bound) = self.bound(client) else { return };
                let size_bytes = call.size_bytes.min(bound.driver_bytes);
                bound.driver_bytes -= size_bytes;
                self.ledger.uncharge(client, size_bytes);
            }
            _ => {
                let lost: Lost = message.body();
                self.end_worker(id, lost.reason, &printable(&text_of(&lost.text)));
            }
        }
    }

    /// Answers a call without a descriptor.
    pub(super) fn answer(&mut self, worker: WorkerId, call: u32, reason: Reason, value: u32) {
        let body = Granted { call, reason, value, reserved: 0, base: IoAddress(0), size_bytes: 0 };
        self.tell_worker(worker, HostMessage::DONE, &body, Vec::new());
    }

    /// The session of a client.
    pub(super) fn bound(&mut self, client: ClientId) -> Option<&mut Bound> {
        self.clients.get_mut(&client)?.bound()
    }

    fn lease_ready(&mut self, client: ClientId, ack: &Ack) {
        let Some(bound) = self.bound(client) else { return };
        let Some(record) = bound.windows.get_mut(&ack.subject) else { return };
        let WindowState::LeasePending { request, memory } = &record.state else { return };
        let (request, memory) = (*request, Rc::clone(memory));
        let size_bytes = record.size_bytes;
        if ack.reason == Reason::NONE {
            record.state = WindowState::Leased;
            let body = Leased { request, reason: Reason::NONE, base: IoAddress(ack.subject), size_bytes };
            self.tell_client(client, BrokerMessage::LEASED, &body, vec![memory]);
        } else {
            bound.windows.remove(&ack.subject);
            self.ledger.uncharge(client, size_bytes);
            let body = Leased { request, reason: ack.reason, base: IoAddress(0), size_bytes };
            self.tell_client(client, BrokerMessage::LEASE_REFUSED, &body, Vec::new());
        }
    }

    fn stream_ready(&mut self, client: ClientId, ack: &Ack) {
        let Some(bound) = self.bound(client) else { return };
        let Ok(stream) = u32::try_from(ack.subject) else { return };
        let Some(record) = bound.streams.get_mut(&stream) else { return };
        let Some((request, memory, doorbell)) = record.pending.take() else { return };
        let (kind, ring_bytes, size_bytes) = (record.kind, record.ring_bytes, record.size_bytes);
        if ack.reason == Reason::NONE {
            let body = StreamOpened { request, reason: Reason::NONE, stream, kind, ring_bytes, reserved: 0 };
            self.tell_client(client, BrokerMessage::STREAM_OPENED, &body, vec![memory, doorbell]);
        } else {
            bound.streams.remove(&stream);
            self.ledger.uncharge(client, size_bytes);
            self.refuse_stream(client, request, kind, ring_bytes, ack.reason);
        }
    }

    fn create_window(&mut self, client: ClientId, worker: WorkerId, call: &Call) {
        match self.try_create_window(client, call) {
            Err(reason) => self.answer(worker, call.call, reason, 0),
            Ok((base, size_bytes, memory)) => {
                let body = Granted {
                    call: call.call,
                    reason: Reason::NONE,
                    value: 0,
                    reserved: 0,
                    base,
                    size_bytes,
                };
                self.tell_worker(worker, HostMessage::WINDOW_CREATED, &body, vec![Rc::clone(&memory)]);
                self.tell_client(client, BrokerMessage::WINDOW, &Window { base, size_bytes }, vec![memory]);
            }
        }
    }

    fn try_create_window(
        &mut self,
        client: ClientId,
        call: &Call,
    ) -> Result<(IoAddress, u64, Rc<OwnedFd>), Reason> {
        let size_bytes = pages(call.size_bytes).ok_or(Reason::INVALID)?;
        let keep = call.value & SHAREABLE_WINDOW != 0;
        let bound = self.bound(client).ok_or(Reason::NOT_FOUND)?;
        if keep && bound.shareable_windows() >= MAX_SHAREABLE {
            return Err(Reason::HOST_RESOURCES);
        }
        let base = self.window_base(client, size_bytes)?;
        let user = self.clients.get(&client).map(|client| client.peer.uid).ok_or(Reason::NOT_FOUND)?;
        let kept = if keep { PER_WINDOW } else { 0 };
        self.descriptors.take(user, kept)?;
        let memory = self.charged_memory(client, "dxg-window", size_bytes);
        let memory = memory.inspect_err(|_| self.descriptors.give_back(user, kept))?;
        let bound = self.bound(client).ok_or(Reason::NOT_FOUND)?;
        let shareable = keep.then(|| Rc::clone(&memory));
        let state = WindowState::Announced { shareable };
        bound.windows.insert(base.0, WindowRecord::new(size_bytes, state));
        Ok((base, size_bytes, memory))
    }

    /// Something that kept a window no longer does; with the last of them the window goes.
    pub(super) fn drop_hold(&mut self, client: ClientId, base: IoAddress) {
        let Some(user) = self.clients.get(&client).map(|client| client.peer.uid) else { return };
        let Some(bound) = self.bound(client) else { return };
        let Some(record) = bound.windows.get_mut(&base.0) else { return };
        if matches!(record.state, WindowState::LeasePending { .. } | WindowState::Leased) {
            return;
        }
        record.holds = record.holds.saturating_sub(1);
        if record.holds != 0 {
            return;
        }
        let Some(record) = bound.windows.remove(&base.0) else { return };
        self.settle_window(client, user, &record);
        self.tell_client(client, BrokerMessage::WINDOW_GONE, &WindowRef { base }, Vec::new());
    }
}
