//! The end of a session: one function takes back everything, whoever began it.

use std::time::Instant;

use dxg_wire::session::BrokerMessage;
use dxg_wire::session::Lost;
use dxg_wire::session::Reason;

use super::Broker;
use super::accept::refuse;
use super::client::ClientState;
use super::epoll::Source;
use super::greeting::Refusal;
use super::ids::ClientId;
use super::ids::WorkerId;
use super::worker_proc::WorkerState;

/// Why a session ends, and what the client hears of it.
pub(super) enum Ending {
    /// The client has gone or does not read.
    Gone,
    /// It was never welcomed.
    Refused(Refusal),
    /// It is over.
    Lost(Reason, String),
}

impl Broker {
    /// Ends a session: its worker dies, its memory and its holds are given back.
    pub(super) fn end_session(&mut self, id: ClientId, ending: Ending) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        self.poller.forget(client.outbox.socket(), Source::Client(id));
        let (reason, text) = match ending {
            Ending::Gone => (Reason::NONE, String::new()),
            Ending::Refused(refusal) => {
                refuse(&mut client.outbox, &refusal);
                (refusal.reason, refusal.text)
            }
            Ending::Lost(reason, text) => {
                let body = Lost { reason, reserved: 0, text: dxg_wire::session::text(&text) };
                // The socket closes next; whoever does not read sees that.
                let _ = client.outbox.send(BrokerMessage::LOST.0, &body, Vec::new());
                (reason, text)
            }
        };
        let served_by = match &client.state {
            ClientState::Greeting | ClientState::Waiting(_) => None,
            ClientState::Binding(binding) => Some(binding.worker),
            ClientState::Bound(bound) => Some(bound.worker),
        };
        if let Some(worker) = served_by.and_then(|worker| self.workers.get_mut(&worker)) {
            worker.kill();
            self.poller.forget(worker.outbox.socket(), Source::Worker(worker.id));
        }
        let ClientState::Bound(bound) = client.state else {
            self.ledger.close_client(id);
            tracing::debug!(session = id.0, reason = reason.name(), text, "session ends before its start");
            return;
        };
        for share in bound.shares.keys() {
            self.release_share(*share, id);
        }
        for window in bound.windows.values() {
            self.settle_window(id, client.peer.uid, window);
        }
        self.ledger.close_client(id);
        if let Some(suppressed) = self.session_log.allow(Instant::now()) {
            tracing::info!(session = id.0, reason = reason.name(), text, suppressed, "session ends");
        }
    }

    /// A worker is of no use any more: its session is lost, its process killed.
    pub(super) fn end_worker(&mut self, id: WorkerId, reason: Reason, text: &str) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let state = worker.state;
        let choice = worker.choice;
        worker.kill();
        self.poller.forget(worker.outbox.socket(), Source::Worker(id));
        match state {
            WorkerState::Bound(client) => {
                self.end_session(client, Ending::Lost(reason, text.to_owned()));
            }
            WorkerState::Binding(client) => {
                self.unbind(client);
                self.start_failed(id, choice, text);
            }
            WorkerState::Starting | WorkerState::Ready => self.start_failed(id, choice, text),
            WorkerState::Ended => {}
        }
    }

    /// A worker's process has ended: off the process table with it.
    pub(super) fn worker_died(&mut self, id: WorkerId) {
        self.end_worker(id, Reason::DEVICE_LOST, "the worker died");
        if let Some(worker) = self.workers.remove(&id) {
            self.poller.forget(worker.child.pidfd(), Source::WorkerDeath(id));
            self.poller.forget(worker.outbox.socket(), Source::Worker(id));
            worker.child.reap();
        }
        self.plan_refill();
    }

    /// Ends everything: clients are told, workers die and are reaped.
    pub(super) fn shut_down(&mut self) {
        tracing::info!(clients = self.clients.len(), "shutting down");
        let clients: Vec<ClientId> = self.clients.keys().copied().collect();
        for client in clients {
            self.end_session(client, Ending::Lost(Reason::SHUTDOWN, "the daemon is going away".to_owned()));
        }
        for worker in self.workers.values_mut() {
            worker.kill();
        }
        for worker in self.workers.values() {
            worker.child.wait();
        }
        self.workers.clear();
        self.end_keeper();
        self.runtime.clear();
    }
}
