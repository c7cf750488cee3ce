//! The broker: one event loop that owns sockets, memory, accounts and processes.
//!
//! *Why.* Everything that concerns more than one client is decided here, by code that loads no driver and reads no
//! ring. It speaks in fixed-size messages only, never waits for a peer, and resolves no path that a client names.
//!
//! *Invariants.* Each client is served by one worker, each worker serves one client. What a client holds is in its
//! `client::Bound` and in the `ledger`, and goes with it.

mod accept;
mod client;
mod client_messages;
mod code;
mod control;
mod deadlines;
mod demand;
mod descriptors;
mod epoll;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod greeting;
mod ids;
mod ledger;
mod log_limit;
mod outbox;
mod peer;
mod pool;
mod registry;
mod runtime;
mod serve;
mod session_end;
mod session_start;
mod sharing;
mod startup;
mod tries;
mod vgpu;
mod worker_messages;
mod worker_proc;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use dxg_wire::session::Body;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::HostMessage;
use dxg_wire::session::Reason;

use self::client::Client;
use self::code::CodeKeeping;
use self::control::ControlPort;
use self::deadlines::Deadlines;
use self::demand::Demand;
use self::descriptors::Descriptors;
use self::epoll::Poller;
use self::epoll::Source;
use self::ids::ClientId;
use self::ids::Counter;
use self::ids::VgpuId;
use self::ids::WorkerId;
use self::ledger::Ledger;
use self::log_limit::LogLimit;
use self::outbox::SendError;
use self::registry::Registry;
use self::runtime::RuntimeDir;
use self::serve::Ready;
use self::vgpu::Vgpu;
use self::worker_proc::Worker;
use crate::adapter::AdapterChoice;
use crate::adapter::probe::Found;
use crate::config::Config;
use crate::sandbox::TerminationSignals;

pub use runtime::Leftovers;
pub use serve::ServeError;
pub use serve::ServeOptions;
pub use serve::serve;
pub use startup::StartError;
pub(crate) use worker_messages::SHAREABLE_WINDOW;

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Continue,
    Stop,
}

/// The whole state of the daemon.
struct Broker {
    poller: Poller,
    config: Config,
    runtime: RuntimeDir,
    signals: TerminationSignals,
    exit_with: Option<OwnedFd>,
    control: ControlPort,
    started: Instant,
    adapters: Vec<Found>,
    vgpus: BTreeMap<VgpuId, Vgpu>,
    clients: BTreeMap<ClientId, Client>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Adapters whose last worker failed before it served anyone: none is started for them until a client asks for one.
    failing: HashSet<AdapterChoice>,
    /// What clients found lately, by adapter.
    demand: HashMap<AdapterChoice, Demand>,
    /// When workers that were taken are replaced.
    refill_at: Option<Instant>,
    /// Told once when the first workers wait, or cannot.
    ready: Option<Ready>,
    ledger: Ledger,
    registry: Registry,
    descriptors: Descriptors,
    deadlines: Deadlines,
    client_ids: Counter,
    session_log: LogLimit,
    violation_log: LogLimit,
    /// Given up for a moment when descriptors run out, to turn connections away.
    spare: Option<OwnedFd>,
    worker_ids: Counter,
    /// How far the last worker that started is closed in, in its words.
    sandbox_level: String,
    /// Where compiled code is kept.
    code: CodeKeeping,
}

impl Broker {
    /// Serves until told to end.
    fn run(&mut self) -> std::io::Result<()> {
        self.poller.watch(&self.signals, Source::Signals)?;
        if let Some(exit_with) = &self.exit_with {
            self.poller.watch(exit_with, Source::ExitPipe)?;
        }
        self.poller.watch(self.control.listener(), Source::ControlListener)?;
        for vgpu in self.vgpus.values() {
            self.poller.watch(&vgpu.listener, Source::Listener(vgpu.id))?;
        }
        self.fill_pool();
        self.start_keeper();
        loop {
            self.say_ready();
            let fewer = self.demand.values().filter_map(Demand::next).min();
            let deadline = self.deadlines.next().into_iter().chain(fewer).chain(self.refill_at).min();
            for event in self.poller.wait(deadline)? {
                if self.handle(event.source, event.readiness) == Turn::Stop {
                    self.shut_down();
                    return Ok(());
                }
            }
            self.end_overdue();
            self.shrink_pool();
            self.refill_pool();
            self.serve_waiting();
        }
    }

    fn handle(&mut self, source: Source, readiness: epoll::Readiness) -> Turn {
        match source {
            Source::Signals | Source::ExitPipe => return Turn::Stop,
            Source::Listener(vgpu) => self.accept_clients(vgpu),
            Source::ControlListener => self.accept_control(),
            Source::Control(control) => return self.control_ready(control, readiness),
            Source::Client(client) => self.client_ready(client, readiness),
            Source::Worker(worker) => self.worker_ready(worker, readiness),
            Source::WorkerDeath(worker) => self.worker_died(worker),
            Source::SharedObject(share) => self.share_hung_up(share),
            Source::Keeper => self.keeper_ready(readiness),
            Source::KeeperDeath => self.keeper_died(),
        }
        Turn::Continue
    }

    /// Sends to a client; one that cannot be reached is ended.
    fn tell_client<B: Body>(&mut self, id: ClientId, kind: BrokerMessage, body: &B, fds: Vec<Rc<OwnedFd>>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let sent = client.outbox.send(kind.0, body, fds);
        let writes = client.outbox.is_waiting();
        self.poller.set_writable(client.outbox.socket().as_fd(), Source::Client(id), writes);
        match sent {
            Ok(()) => {}
            Err(SendError::Gone) => self.end_session(id, session_end::Ending::Gone),
            Err(error @ SendError::Overflow) => {
                if let Some(suppressed) = self.violation_log.allow(Instant::now()) {
                    tracing::warn!(session = id.0, %error, suppressed, "client ended");
                }
                self.end_session(id, session_end::Ending::Gone);
            }
        }
    }

    /// Sends to a worker; the session of one that cannot be reached is over.
    fn tell_worker<B: Body>(&mut self, id: WorkerId, kind: HostMessage, body: &B, fds: Vec<Rc<OwnedFd>>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let sent = worker.outbox.send(kind.0, body, fds);
        let writes = worker.outbox.is_waiting();
        self.poller.set_writable(worker.outbox.socket().as_fd(), Source::Worker(id), writes);
        if let Err(error) = sent {
            if let Some(suppressed) = self.violation_log.allow(Instant::now()) {
                tracing::warn!(worker = id.0, %error, suppressed, "worker ended");
            }
            self.end_worker(id, Reason::DEVICE_LOST, "the worker does not answer");
        }
    }
}
