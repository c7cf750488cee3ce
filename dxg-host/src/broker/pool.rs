//! Workers that wait for clients, and clients that wait for workers.
//!
//! *Why.* Loading a driver takes long. A worker of each adapter therefore stands ready, and a new one is started when
//! it is taken. Where clients come faster than that, more than one.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::session::Reason;
use dxg_wire::session::WorkerReady;
use dxg_wire::session::text_of;

use super::Broker;
use super::client::ClientState;
use super::demand::Demand;
use super::epoll::Source;
use super::greeting::Refusal;
use super::ids::ClientId;
use super::ids::WorkerId;
use super::session_end::Ending;
use super::tries::Verdict;
use super::worker_proc::Worker;
use super::worker_proc::WorkerState;
use crate::adapter::AdapterChoice;

/// How long after a worker was taken another one is started. To start a process takes the broker, and to load a driver the
/// cores, from the client that has just come.
const REFILL_AFTER: Duration = Duration::from_millis(10);
/// Workers that load their driver at once, for all adapters: more only slow each other down.
const MAX_STARTING: usize = 8;

impl Broker {
    /// Starts what the pool lacks, unless starts fail.
    pub(super) fn fill_pool(&mut self) {
        let choices: BTreeSet<String> = self.vgpus.values().map(|vgpu| vgpu.choice.to_string()).collect();
        for choice in choices {
            let Ok(choice) = choice.parse::<AdapterChoice>() else { continue };
            if !self.failing.contains(&choice) {
                let extra = self.demand.get(&choice).map_or(0, Demand::extra);
                let wanted = self.config.warm_workers + extra + self.waiting(choice).len();
                self.start_up_to(choice, wanted);
            }
        }
    }

    /// A client needs a worker.
    pub(super) fn ask_for_worker(&mut self, id: ClientId) {
        let Some(choice) = self.choice_of(id) else { return };
        self.failing.remove(&choice);
        let most = self.config.most_warm_workers.saturating_sub(self.config.warm_workers);
        let ready = self.ready_workers(choice).count();
        self.demand.entry(choice).or_default().asked(Instant::now(), ready, most);
        let waiting = self.waiting(choice).len();
        self.start_up_to(choice, waiting);
    }

    /// Ends waiting workers that fewer clients than before need.
    pub(super) fn shrink_pool(&mut self) {
        let now = Instant::now();
        let fewer =
            self.demand.iter_mut().filter_map(|(choice, demand)| demand.forget(now).then_some(*choice));
        let choices: Vec<AdapterChoice> = fewer.collect();
        for choice in choices {
            let extra = self.demand.get(&choice).map_or(0, Demand::extra);
            let wanted = self.config.warm_workers + extra;
            let surplus: Vec<WorkerId> = self.ready_workers(choice).skip(wanted).collect();
            for id in surplus {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.kill();
                    self.poller.forget(worker.outbox.socket(), Source::Worker(id));
                }
            }
        }
    }

    fn ready_workers(&self, choice: AdapterChoice) -> impl Iterator<Item = WorkerId> {
        let is_ready = move |worker: &&Worker| worker.choice == choice && worker.state == WorkerState::Ready;
        self.workers.values().filter(is_ready).map(|worker| worker.id)
    }

    /// Brings together clients and workers that wait for each other.
    pub(super) fn serve_waiting(&mut self) {
        let ready: Vec<(WorkerId, AdapterChoice)> = self
            .workers
            .values()
            .filter(|worker| worker.state == WorkerState::Ready)
            .map(|worker| (worker.id, worker.choice))
            .collect();
        let mut bound = false;
        for (worker, choice) in ready {
            if let Some(client) = self.waiting(choice).first() {
                self.bind(*client, worker);
                bound = true;
            }
        }
        if bound {
            self.plan_refill();
        }
    }

    /// The pool lacks workers and gets them soon.
    pub(super) fn plan_refill(&mut self) {
        let soon = Instant::now().checked_add(REFILL_AFTER);
        self.refill_at = self.refill_at.or(soon);
    }

    /// Fills the pool when it is time to.
    pub(super) fn refill_pool(&mut self) {
        if self.refill_at.is_some_and(|at| at <= Instant::now()) {
            self.refill_at = None;
            self.fill_pool();
        }
    }

    /// A worker reports that its driver is loaded, or why it is not.
    pub(super) fn worker_started(&mut self, id: WorkerId, ready: &WorkerReady) {
        if ready.reason != Reason::NONE {
            return self.end_worker(id, ready.reason, &text_of(&ready.text));
        }
        self.note_sandbox(text_of(&ready.text));
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.state = WorkerState::Ready;
            let choice = worker.choice;
            self.failing.remove(&choice);
        }
    }

    /// Workers say how far they are closed in; people hear of it when it changes.
    fn note_sandbox(&mut self, level: String) {
        if level == self.sandbox_level {
            return;
        }
        if level.starts_with("partial") {
            tracing::warn!(
                level,
                "workers are not wholly closed in; `sandbox = \"require\"` would refuse service"
            );
        } else {
            tracing::info!(level, "sandbox");
        }
        self.sandbox_level = level;
    }

    /// A worker ended before it served anyone. Those who wait get another one, unless they have waited for too many.
    pub(super) fn start_failed(&mut self, id: WorkerId, choice: AdapterChoice, text: &str) {
        tracing::error!(worker = id.0, adapter = %choice, text, "worker failed before it served anyone");
        self.failing.insert(choice);
        let newest = WorkerId(self.worker_ids.last());
        for client in self.waiting(choice) {
            let Some(client) = self.clients.get_mut(&client) else { continue };
            let ClientState::Waiting(waiting) = &mut client.state else { continue };
            if waiting.tries.failed(id, newest) == Verdict::GiveUp {
                let client = client.id;
                self.end_session(client, Ending::Refused(Refusal::new(Reason::WORKER, text)));
            }
        }
        let waiting = self.waiting(choice).len();
        self.start_up_to(choice, waiting);
    }

    fn choice_of(&self, id: ClientId) -> Option<AdapterChoice> {
        self.vgpus.get(&self.clients.get(&id)?.vgpu).map(|vgpu| vgpu.choice)
    }

    /// Clients of an adapter that have no worker yet, longest first.
    fn waiting(&self, choice: AdapterChoice) -> Vec<ClientId> {
        self.clients
            .values()
            .filter(|client| matches!(client.state, ClientState::Waiting(_)))
            .filter(|client| self.choice_of(client.id) == Some(choice))
            .map(|client| client.id)
            .collect()
    }

    /// Starts workers of an adapter until `wanted` are ready or starting.
    fn start_up_to(&mut self, choice: AdapterChoice, wanted: usize) {
        let free = |worker: &&Worker| {
            worker.choice == choice && matches!(worker.state, WorkerState::Starting | WorkerState::Ready)
        };
        let have = self.workers.values().filter(free).count();
        let starting = self.workers.values().filter(|worker| worker.state == WorkerState::Starting).count();
        for _ in 0..wanted.saturating_sub(have).min(MAX_STARTING.saturating_sub(starting)) {
            if let Err(error) = self.start_worker(choice) {
                tracing::error!(%error, "no worker process");
                for client in self.waiting(choice) {
                    let refusal = Refusal::new(Reason::HOST_RESOURCES, "no worker process can be started");
                    self.end_session(client, Ending::Refused(refusal));
                }
                return;
            }
        }
    }

    fn start_worker(&mut self, choice: AdapterChoice) -> std::io::Result<()> {
        let id = WorkerId(self.worker_ids.next());
        let worker = Worker::start(id, choice, &self.config)?;
        let watched = self
            .poller
            .watch(worker.outbox.socket(), Source::Worker(id))
            .and_then(|()| self.poller.watch(worker.child.pidfd(), Source::WorkerDeath(id)));
        if let Err(error) = watched {
            worker.child.kill();
            worker.child.wait();
            return Err(error);
        }
        self.workers.insert(id, worker);
        Ok(())
    }
}
