//! New connections.

use std::os::fd::AsFd;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use dxg_wire::session::BrokerMessage;
use dxg_wire::session::Reason;
use dxg_wire::session::Refused;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::Broker;
use super::client::Client;
use super::client::ClientState;
use super::epoll::Source;
use super::greeting::Refusal;
use super::ids::ClientId;
use super::ids::VgpuId;
use super::outbox::Outbox;
use super::peer::Peer;
use super::vgpu::Vgpu;

/// Connections taken in one turn, so that those who are here get theirs.
const BATCH: usize = 16;

impl Broker {
    /// Takes the connections that stand in line.
    pub(super) fn accept_clients(&mut self, id: VgpuId) {
        for _ in 0..BATCH {
            let Some(vgpu) = self.vgpus.get(&id) else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match rustix::net::accept_with(&vgpu.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return,
                Err(errno) => {
                    if let Some(suppressed) = self.violation_log.allow(Instant::now()) {
                        tracing::warn!(vgpu = %vgpu.uuid, error = %errno, suppressed, "connection not taken");
                    }
                    // Left in line, the connection would wake us again at once, and for ever.
                    self.spare = None;
                    drop(rustix::net::accept_with(&vgpu.listener, flags));
                    self.spare = dxg_wire::doorbell::create().ok();
                    return;
                }
            };
            let mut outbox = Outbox::new(socket);
            let verdict = self.judge(id, &outbox);
            match verdict {
                Err(refusal) => refuse(&mut outbox, &refusal),
                Ok(peer) => self.add_client(id, peer, outbox),
            }
        }
    }

    fn judge(&self, id: VgpuId, outbox: &Outbox) -> Result<Peer, Refusal> {
        let unknown = || Refusal::new(Reason::PERMISSION, "the peer is not known to the kernel");
        let vgpu = self.vgpus.get(&id).ok_or_else(unknown)?;
        let peer = Peer::of(outbox.socket()).map_err(|_| unknown())?;
        let uid = peer.uid;
        if !vgpu.admits(uid) {
            tracing::debug!(vgpu = %vgpu.uuid, uid, "connection of another user refused");
            let text =
                format!("user {uid} may not use it: have it added to allowed_uids in dxgd's configuration");
            return Err(Refusal::new(Reason::PERMISSION, text));
        }
        self.has_place(vgpu)?;
        Ok(peer)
    }

    /// Whether a virtual GPU takes one more client. Who has not greeted yet holds no place.
    pub(super) fn has_place(&self, vgpu: &Vgpu) -> Result<(), Refusal> {
        let greeted = |client: &&Client| client.vgpu == vgpu.id && !client.is_silent();
        let clients = self.clients.values().filter(greeted).count();
        if clients < vgpu.max_clients {
            return Ok(());
        }
        Err(Refusal::new(Reason::QUOTA, format!("{clients} clients are connected already")))
    }

    pub(super) fn add_client(&mut self, vgpu: VgpuId, peer: Peer, outbox: Outbox) {
        let id = ClientId(self.client_ids.next());
        if let Err(error) = self.poller.watch(outbox.socket().as_fd(), Source::Client(id)) {
            tracing::warn!(%error, "connection not watched");
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let state = ClientState::Greeting;
        let client = Client { id, vgpu, peer, name: String::new(), since, outbox, state };
        self.clients.insert(id, client);
        self.expect_greeting(id);
    }
}

/// Sends a refusal to someone whose socket is closed next.
pub(super) fn refuse(outbox: &mut Outbox, refusal: &Refusal) {
    let body = Refused { reason: refusal.reason, reserved: 0, text: dxg_wire::session::text(&refusal.text) };
    // Whoever does not read its refusal does not get it.
    let _ = outbox.send(BrokerMessage::REFUSED.0, &body, Vec::new());
}
