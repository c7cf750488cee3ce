//! From an accepted greeting to a session: memory, doorbells, a worker, the welcome.

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
struct Kit {
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
    /// Binds a waiting client to a worker that is ready.
    pub(super) fn bind(&mut self, id: ClientId, worker: WorkerId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let ClientState::Waiting(accepted) = client.state else { return };
        let Some(vgpu) = self.vgpus.get(&client.vgpu) else { return };
        self.ledger.open_client(id, vgpu.id, vgpu.client_quota_bytes);
        if self.ledger.charge(id, accepted.charged_ring_bytes()).is_err() {
            self.ledger.close_client(id);
            let refusal = Refusal::new(Reason::QUOTA, "the quota has no room for rings of this size");
            return self.end_session(id, Ending::Refused(refusal));
        }
        let kit = match Kit::create(&accepted) {
            Ok(kit) => kit,
            Err(error) => {
                self.ledger.close_client(id);
                if let Some(suppressed) = self.violation_log.allow(Instant::now()) {
                    tracing::warn!(session = id.0, %error, suppressed, "no memory for a session");
                }
                let refusal =
                    Refusal::new(Reason::HOST_RESOURCES, "the host has no memory or descriptors left");
                return self.end_session(id, Ending::Refused(refusal));
            }
        };
        let first_base = ARENA_BASE + ARENA_BYTES + WINDOW_ALIGNMENT;
        client.state = ClientState::Bound(Box::new(Bound::new(worker, accepted.features, first_base)));
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.state = WorkerState::Bound(id);
        }
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
        self.tell_worker(worker, HostMessage::BIND, &bind, kit.fds());
        self.tell_client(id, BrokerMessage::WELCOME, &welcome, kit.fds());
    }
}
