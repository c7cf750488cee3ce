//! A broker whose clients and workers are played by a fuzzer: no process, no thread, no waiting.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use dxg_wire::doorbell;
use dxg_wire::session::Ack;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::HostMessage;
use dxg_wire::session::Reason;
use dxg_wire::session::WorkerMessage;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;
use dxg_wire::shm::socket;
use uuid::Uuid;

use super::Broker;
use super::code::CodeKeeping;
use super::control::ControlPort;
use super::descriptors::Descriptors;
use super::epoll::Poller;
use super::epoll::Source;
use super::ids::ClientId;
use super::ids::Counter;
use super::ids::VgpuId;
use super::ids::WorkerId;
use super::ledger::Ledger;
use super::outbox::Outbox;
use super::peer::Peer;
use super::registry::Registry;
use super::runtime;
use super::runtime::RuntimeDir;
use super::vgpu::Vgpu;
use super::worker_proc::Worker;
use super::worker_proc::WorkerState;
use super::worker_proc::socket_pair;
use crate::adapter::AdapterChoice;
use crate::config::Config;
use crate::config::DaemonUser;
use crate::sandbox::Child;
use crate::sandbox::TerminationSignals;

/// The one virtual GPU.
const VGPU: VgpuId = VgpuId(1);
/// What its clients may hold together.
const QUOTA_BYTES: u64 = 64 << 20;
/// Turns of the event loop after which a broker that always has something to do counts as one that spins.
const MAX_TURNS: usize = 10_000;

/// What a broker holds for others. All of it is zero when nobody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Clients.
    pub clients: usize,
    /// Workers that serve one, or are not reaped.
    pub workers: usize,
    /// Shared objects.
    pub shares: usize,
    /// Charged bytes.
    pub used_bytes: u64,
}

/// A broker with the peers that a fuzzer plays.
pub struct BrokerStage {
    broker: Broker,
    dir: PathBuf,
    clients: Vec<(ClientId, OwnedFd)>,
    puppets: BTreeMap<WorkerId, OwnedFd>,
}

impl BrokerStage {
    /// A broker without clients.
    ///
    /// # Errors
    /// No descriptors, or no temporary directory.
    pub fn new() -> io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("dxg-fuzz-{}", Uuid::new_v4()));
        let uuid = Uuid::from_u128(1);
        let vgpu = Vgpu {
            id: VGPU,
            uuid,
            name: "fuzzed".to_owned(),
            choice: AdapterChoice::Vulkan(uuid),
            adapter: 0,
            quota_bytes: QUOTA_BYTES,
            client_quota_bytes: QUOTA_BYTES,
            max_clients: 16,
            allowed_uids: None,
            cuda: Default::default(),
            listener: doorbell::create()?,
            path: dir.join("vgpu.sock"),
        };
        let mut ledger = Ledger::default();
        ledger.open_vgpu(VGPU, QUOTA_BYTES);
        let mut poller = Poller::new()?;
        // Always ready, so that looking for events never waits.
        let bell = doorbell::create()?;
        doorbell::ring(&bell);
        poller.watch(&bell, Source::ExitPipe)?;
        let broker = Broker {
            poller,
            config: Config { warm_workers: 0, ..Config::default() },
            runtime: RuntimeDir::open(&dir, DaemonUser::Other, runtime::Leftovers::Remove)?,
            signals: TerminationSignals::never(doorbell::create()?),
            exit_with: Some(bell),
            control: ControlPort::new(doorbell::create()?),
            started: Instant::now(),
            deadlines: Default::default(),
            descriptors: Descriptors::of_this_process(),
            sandbox_level: String::new(),
            adapters: Vec::new(),
            vgpus: BTreeMap::from([(VGPU, vgpu)]),
            clients: BTreeMap::new(),
            workers: BTreeMap::new(),
            failing: Default::default(),
            demand: Default::default(),
            refill_at: None,
            ready: None,
            ledger,
            registry: Registry::default(),
            client_ids: Counter::default(),
            session_log: Default::default(),
            violation_log: Default::default(),
            spare: None,
            worker_ids: Counter::default(),
            code: CodeKeeping::off(""),
        };
        Ok(Self { broker, dir, clients: Vec::new(), puppets: BTreeMap::new() })
    }

    /// One more client connects; clients are numbered from 0.
    ///
    /// # Errors
    /// No descriptors.
    pub fn connect(&mut self) -> io::Result<()> {
        let (ours, theirs) = socket_pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        rustix::io::ioctl_fionbio(&theirs, true)?;
        let peer = Peer::of(&ours)?;
        self.broker.add_client(VGPU, peer, Outbox::new(ours));
        if let Some(id) = self.broker.clients.keys().next_back() {
            self.clients.push((*id, theirs));
        }
        Ok(())
    }

    /// Whether the broker still knows a client.
    #[must_use]
    pub fn is_connected(&self, client: usize) -> bool {
        self.clients.get(client).is_some_and(|(id, _)| self.broker.clients.contains_key(id))
    }

    /// A client says something, and the broker deals with it; answers all that the broker says then, to anybody.
    ///
    /// # Errors
    /// No descriptors.
    pub fn client_says(
        &mut self,
        client: usize,
        packet: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<Vec<Message>> {
        self.ready_a_worker()?;
        let Some((_, socket)) = self.clients.get(client) else { return Ok(Vec::new()) };
        // What a closed or full socket does not take is not said.
        let _ = socket::send(socket, packet, fds);
        self.turn()?;
        Ok(self.heard())
    }

    /// The same for the worker of a client.
    ///
    /// # Errors
    /// No descriptors.
    pub fn worker_says(
        &mut self,
        client: usize,
        packet: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<Vec<Message>> {
        let Some(worker) = self.worker_of(client) else { return Ok(Vec::new()) };
        if let Some(socket) = self.puppets.get(&worker) {
            let _ = socket::send(socket, packet, fds);
        }
        self.turn()?;
        Ok(self.heard())
    }

    /// What the broker has said to anybody.
    fn heard(&self) -> Vec<Message> {
        let to_clients = self.clients.iter().map(|(_, socket)| socket);
        let to_clients = to_clients.flat_map(|it| messages(it, |kind| BrokerMessage(kind).descriptors()));
        let to_workers = self.puppets.values();
        let to_workers = to_workers.flat_map(|it| messages(it, |kind| HostMessage(kind).descriptors()));
        to_workers.chain(to_clients).collect()
    }

    /// Asks a line of the control protocol.
    ///
    /// # Errors
    /// No descriptors.
    pub fn ask(&mut self, line: &[u8]) -> io::Result<Vec<u8>> {
        let (socket, _theirs) = socket_pair()?;
        let peer = Peer::of(&socket)?;
        let (reply, _) = self.broker.answer_control(line, &peer);
        dxg_wire::control::to_line(reply).map_err(io::Error::other)
    }

    /// Everybody leaves; answers what the broker has kept.
    ///
    /// # Errors
    /// No descriptors.
    pub fn clear(&mut self) -> io::Result<Leftovers> {
        self.clients.clear();
        self.turn()?;
        Ok(Leftovers {
            clients: self.broker.clients.len(),
            workers: self.broker.workers.values().filter(|worker| worker.state != WorkerState::Ready).count(),
            shares: self.broker.registry.len(),
            used_bytes: self.broker.ledger.vgpu(VGPU).used_bytes,
        })
    }

    fn worker_of(&self, client: usize) -> Option<WorkerId> {
        let (client, _) = self.clients.get(client)?;
        let serves = |worker: &&Worker| worker.state == WorkerState::Bound(*client);
        self.broker.workers.values().find(serves).map(|worker| worker.id)
    }

    /// Sees to it that the broker has a free worker and starts none.
    fn ready_a_worker(&mut self) -> io::Result<()> {
        if self.broker.workers.values().any(|worker| worker.state == WorkerState::Ready) {
            return Ok(());
        }
        let (ours, theirs) = socket_pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        rustix::io::ioctl_fionbio(&theirs, true)?;
        let id = WorkerId(self.broker.worker_ids.next());
        self.broker.poller.watch(&ours, Source::Worker(id))?;
        let worker = Worker {
            id,
            child: Child::puppet(doorbell::create()?),
            outbox: Outbox::new(ours),
            choice: AdapterChoice::Vulkan(Uuid::from_u128(1)),
            state: WorkerState::Ready,
        };
        self.broker.workers.insert(id, worker);
        self.puppets.insert(id, theirs);
        Ok(())
    }

    /// Workers that are given a client take it, so that clients come as far as their fuzzer wants. Whether there are any.
    fn take_clients(&self) -> bool {
        let asked = |worker: &&Worker| matches!(worker.state, WorkerState::Binding(_));
        let mut any = false;
        for worker in self.broker.workers.values().filter(asked) {
            any = true;
            let ack = Ack { subject: 0, reason: Reason::NONE, reserved: 0 };
            if let Some(socket) = self.puppets.get(&worker.id) {
                // A socket that is closed is one of a dead worker.
                let _ = session_io::send_message(socket, WorkerMessage::BOUND.0, &ack, &[]);
            }
        }
        any
    }

    /// Lets the broker do all that it has to do.
    fn turn(&mut self) -> io::Result<()> {
        for _ in 0..MAX_TURNS {
            let mut busy = false;
            for event in self.broker.poller.wait(None)? {
                if event.source != Source::ExitPipe {
                    busy = true;
                    self.broker.handle(event.source, event.readiness);
                }
            }
            self.broker.serve_waiting();
            busy |= self.take_clients();
            let ended = |worker: &&Worker| worker.state == WorkerState::Ended;
            let ended: Vec<_> = self.broker.workers.values().filter(ended).map(|worker| worker.id).collect();
            for id in ended {
                self.broker.worker_died(id);
                self.puppets.remove(&id);
            }
            if !busy {
                return Ok(());
            }
        }
        panic!("the broker spins");
    }
}

impl Drop for BrokerStage {
    fn drop(&mut self) {
        // A directory that stays does no harm.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Everything that lies in a socket.
fn messages(socket: &OwnedFd, descriptors: impl Fn(u32) -> Option<usize>) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Ok(message) = session_io::recv_message(socket, &descriptors) {
        messages.push(message);
    }
    messages
}
