//! From an accepted greeting to a session: memory, doorbells, a worker, the welcome.
//!
//! *Why.* A worker that was killed looks alive until the system has taken its memory apart, which takes milliseconds. So
//! the client is welcomed once the worker has answered, and gets another one where none answers. See
//! docs/decisions/a-client-is-welcomed-once-its-worker-answers.md.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use dxg_wire::session::ARENA_BASE;
use dxg_wire::session::Bind;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::HostMessage;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Reason;
use dxg_wire::session::WINDOW_ALIGNMENT;
use dxg_wire::session::Welcome;
use dxg_wire::shm::create_sealed;

use super::Broker;
use super::client::Accepted;
use super::client::Binding;
use super::client::Bound;
use super::client::ClientState;
use super::greeting::INTERFACE_VERSION;
use super::greeting::Refusal;
use super::ids::ClientId;
use super::ids::WorkerId;
use super::session_end::Ending;
use super::worker_proc::WorkerState;

/// Bytes of the arena. It is sparse: a page costs memory once a fence lies in it.
pub(super) const ARENA_BYTES: u64 = 64 << 20;

/// What a session begins with, made before anybody hears of it.
pub(super) struct Kit {
    control: Rc<OwnedFd>,
    arena: Rc<OwnedFd>,
    doorbells: [Rc<OwnedFd>; 4],
}

impl Kit {
    fn create(accepted: &Accepted) -> io::Result<Self> {
        let doorbell = || dxg_wire::doorbell::create().map(Rc::new);
        Ok(Self {
            control: Rc::new(create_sealed("dxg-control", accepted.ring_bytes())?),
            arena: Rc::new(create_sealed("dxg-arena", ARENA_BYTES)?),
            doorbells: [doorbell()?, doorbell()?, doorbell()?, doorbell()?],
        })
    }

    fn fds(&self) -> Vec<Rc<OwnedFd>> {
        [&self.control, &self.arena].into_iter().chain(&self.doorbells).map(Rc::clone).collect()
    }
}

impl Broker {
    /// Asks a worker that is ready to serve a client that waits.
    pub(super) fn bind(&mut self, id: ClientId, worker: WorkerId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let ClientState::Waiting(waiting) = client.state else { return };
        let accepted = waiting.accepted;
        let Some(vgpu) = self.vgpus.get(&client.vgpu) else { return };
        let Some(asked) = self.workers.get_mut(&worker) else { return };
        if asked.state != WorkerState::Ready {
            return;
        }
        self.ledger.open_client(id, vgpu.id, vgpu.client_quota_bytes);
        if self.ledger.charge(id, accepted.charged_ring_bytes()).is_err() {
            let refusal = Refusal::new(Reason::QUOTA, "the quota has no room for rings of this size");
            return self.end_session(id, Ending::Refused(refusal));
        }
        let kit = match Kit::create(&accepted) {
            Ok(kit) => kit,
            Err(error) => {
                if let Some(suppressed) = self.violation_log.allow(Instant::now()) {
                    tracing::warn!(session = id.0, %error, suppressed, "no memory for a session");
                }
                let refusal =
                    Refusal::new(Reason::HOST_RESOURCES, "the host has no memory or descriptors left");
                return self.end_session(id, Ending::Refused(refusal));
            }
        };
        asked.state = WorkerState::Binding(id);
        let bind = Bind {
            session: id.0,
            client_pid: client.peer.pid,
            client_uid: client.peer.uid,
            features: accepted.features,
            vgpu_uuid: *vgpu.uuid.as_bytes(),
            adapter_luid: vgpu.luid(),
            vgpu_ring_bytes: accepted.vgpu_ring_bytes,
            global_ring_bytes: accepted.global_ring_bytes,
            arena_bytes: ARENA_BYTES,
            quota_bytes: vgpu.client_quota_bytes,
            cuda: vgpu.cuda.into(),
        };
        let welcome = Welcome {
            version: accepted.version,
            interface_version: INTERFACE_VERSION,
            features: accepted.features,
            vgpu_uuid: bind.vgpu_uuid,
            adapter_luid: bind.adapter_luid,
            vgpu_ring_bytes: accepted.vgpu_ring_bytes,
            global_ring_bytes: accepted.global_ring_bytes,
            arena_base: IoAddress(ARENA_BASE),
            arena_bytes: ARENA_BYTES,
            quota_bytes: vgpu.client_quota_bytes,
            session: id.0,
        };
        let fds = kit.fds();
        client.state = ClientState::Binding(Box::new(Binding { waiting, worker, welcome, kit }));
        self.tell_worker(worker, HostMessage::BIND, &bind, fds);
    }

    /// The worker of a client takes it: the session starts.
    pub(super) fn welcome(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(vgpu) = self.vgpus.get(&client.vgpu) else { return };
        let ClientState::Binding(binding) = &client.state else { return };
        let (worker, welcome, fds) = (binding.worker, binding.welcome, binding.kit.fds());
        let first_base = ARENA_BASE + ARENA_BYTES + WINDOW_ALIGNMENT;
        client.state = ClientState::Bound(Box::new(Bound::new(worker, welcome.features, first_base)));
        if let Some(suppressed) = self.session_log.allow(Instant::now()) {
            tracing::info!(
                session = id.0,
                vgpu = %vgpu.uuid,
                pid = client.peer.pid,
                uid = client.peer.uid,
                name = client.name,
                suppressed,
                "session starts"
            );
        }
        self.tell_client(id, BrokerMessage::WELCOME, &welcome, fds);
    }

    /// The worker of a client is dead before it took it: the client, which has heard of nothing, waits again.
    pub(super) fn unbind(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let ClientState::Binding(binding) = &client.state else { return };
        client.state = ClientState::Waiting(binding.waiting);
        self.ledger.close_client(id);
    }
}
