//! Shared objects between clients: making, importing, opening, letting go.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use dxg_wire::session::BrokerMessage;
use dxg_wire::session::Call;
use dxg_wire::session::Exported;
use dxg_wire::session::Features;
use dxg_wire::session::HostMessage;
use dxg_wire::session::Import;
use dxg_wire::session::Imported;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Reason;
use dxg_wire::session::Share;
use dxg_wire::session::SharedKind;
use dxg_wire::session::SharedOpened;
use dxg_wire::session::Window;
use dxg_wire::shm::verify_sealed;

use super::Broker;
use super::client::WindowRecord;
use super::client::WindowState;
use super::descriptors::PER_OBJECT;
use super::descriptors::PER_WINDOW;
use super::epoll::Source;
use super::ids::ClientId;
use super::ids::WorkerId;
use super::registry::SharedObject;
use super::worker_proc::socket_pair;

/// Most shared objects of one session.
const MAX_SHARES: usize = 4096;
/// Most requests for one object that wait for the client to map it.
const MAX_IMPORTERS: usize = 256;
/// Most bytes of private data of an object.
const MAX_PRIVATE_BYTES: u64 = 1 << 20;

impl Broker {
    /// A worker shares an object of its client.
    pub(super) fn share(&mut self, client: ClientId, worker: WorkerId, share: &Share, private: OwnedFd) {
        match self.try_share(client, share, private) {
            Err(reason) => self.answer(worker, share.call, reason, 0),
            Ok((global_share, descriptor)) => {
                let body = Exported { global_share, kind: share.kind };
                self.tell_client(client, BrokerMessage::EXPORTED, &body, vec![Rc::new(descriptor)]);
                self.answer(worker, share.call, Reason::NONE, global_share);
            }
        }
    }

    fn try_share(&mut self, id: ClientId, share: &Share, private: OwnedFd) -> Result<(u32, OwnedFd), Reason> {
        let client = self.clients.get_mut(&id).ok_or(Reason::NOT_FOUND)?;
        let user = client.peer.uid;
        let bound = client.bound().ok_or(Reason::NOT_FOUND)?;
        if !bound.features.contains(Features::SHARING) {
            return Err(Reason::UNSUPPORTED);
        }
        if bound.shares.len() >= MAX_SHARES {
            return Err(Reason::QUOTA);
        }
        let window = bound.windows.get(&share.window.0).ok_or(Reason::NOT_FOUND)?;
        let memory = Rc::clone(window.shareable().ok_or(Reason::INVALID)?);
        let size_bytes = window.size_bytes;
        let private_bytes = verify_sealed(&private, share.private_bytes).map_err(|_| Reason::INVALID)?;
        if private_bytes > MAX_PRIVATE_BYTES {
            return Err(Reason::INVALID);
        }
        self.descriptors.take(user, PER_OBJECT)?;
        let registered = self.register(id, share, memory, size_bytes, private);
        if registered.is_err() {
            self.descriptors.give_back(user, PER_OBJECT);
        }
        registered
    }

    /// Makes the object and the pair of sockets that stands for it.
    fn register(
        &mut self,
        id: ClientId,
        share: &Share,
        memory: Rc<OwnedFd>,
        size_bytes: u64,
        private: OwnedFd,
    ) -> Result<(u32, OwnedFd), Reason> {
        let client = self.clients.get(&id).ok_or(Reason::NOT_FOUND)?;
        let (user, vgpu) = (client.peer.uid, client.vgpu);
        let (ours, theirs) = socket_pair().map_err(|_| Reason::HOST_RESOURCES)?;
        let cookie = rustix::net::sockopt::socket_cookie(&theirs).map_err(|_| Reason::HOST_RESOURCES)?;
        let object = SharedObject {
            kind: share.kind,
            user,
            vgpu,
            memory,
            size_bytes,
            private: Rc::new(private),
            private_bytes: share.private_bytes,
            orphan_bytes: 0,
        };
        let handle = self.registry.register(object, cookie, ours, id).ok_or(Reason::HOST_RESOURCES)?;
        if let Some(watch) = self.registry.watch(handle)
            && let Err(error) = self.poller.watch(watch, Source::SharedObject(handle))
        {
            tracing::error!(%error, "shared object not watched");
            self.share_hung_up(handle);
            self.registry.release(handle, id);
            return Err(Reason::HOST_RESOURCES);
        }
        let bound = self.bound(id).ok_or(Reason::NOT_FOUND)?;
        bound.shares.insert(handle, share.window.0);
        if let Some(window) = bound.windows.get_mut(&share.window.0) {
            window.holds += 1;
        }
        Ok((handle, theirs))
    }

    /// A client wants to use the object that a descriptor stands for.
    pub(super) fn import(&mut self, id: ClientId, import: Import, fd: &OwnedFd) {
        if let Err(reason) = self.try_import(id, import, fd) {
            let body = Imported { request: import.request, reason, global_share: 0, kind: SharedKind(0) };
            self.tell_client(id, BrokerMessage::IMPORT_REFUSED, &body, Vec::new());
        }
    }

    fn try_import(&mut self, id: ClientId, import: Import, fd: &OwnedFd) -> Result<(), Reason> {
        let cookie = rustix::net::sockopt::socket_cookie(fd).map_err(|_| Reason::NOT_SHARED)?;
        let share = self.registry.find(cookie).ok_or(Reason::NOT_SHARED)?;
        let object = self.registry.get(share).ok_or(Reason::NOT_SHARED)?;
        let (memory, size_bytes) = (Rc::clone(&object.memory), object.size_bytes);
        let vgpu = self.clients.get(&id).map(|client| client.vgpu).ok_or(Reason::NOT_FOUND)?;
        let adapter = |vgpu| self.vgpus.get(vgpu).map(|vgpu| vgpu.choice);
        if adapter(&vgpu) != adapter(&object.vgpu) {
            return Err(Reason::OTHER_ADAPTER);
        }
        let bound = self.bound(id).ok_or(Reason::NOT_FOUND)?;
        if !bound.features.contains(Features::SHARING) {
            return Err(Reason::UNSUPPORTED);
        }
        if let Some(base) = bound.shares.get(&share) {
            match bound.windows.get_mut(base).map(|window| &mut window.state) {
                Some(WindowState::ImportPending { requests, .. }) if requests.len() >= MAX_IMPORTERS => {
                    return Err(Reason::QUOTA);
                }
                Some(WindowState::ImportPending { requests, .. }) => requests.push(import.request),
                _ => self.answer_import(id, import.request, share),
            }
            return Ok(());
        }
        if bound.shares.len() >= MAX_SHARES {
            return Err(Reason::QUOTA);
        }
        let base = self.window_base(id, size_bytes)?;
        self.ledger.charge(id, size_bytes)?;
        self.registry.hold(share, id);
        let Some(bound) = self.bound(id) else { return Ok(()) };
        bound.shares.insert(share, base.0);
        let state = WindowState::ImportPending { requests: vec![import.request], share };
        bound.windows.insert(base.0, WindowRecord::new(size_bytes, state));
        self.tell_client(id, BrokerMessage::WINDOW, &Window { base, size_bytes }, vec![memory]);
        Ok(())
    }

    /// The client has mapped the memory of what it imports.
    pub(super) fn answer_import(&mut self, id: ClientId, request: u32, share: u32) {
        let Some(object) = self.registry.get(share) else { return };
        let body = Imported { request, reason: Reason::NONE, global_share: share, kind: object.kind };
        let private = Rc::clone(&object.private);
        self.tell_client(id, BrokerMessage::IMPORTED, &body, vec![private]);
    }

    /// A worker opens an object that its client imported or made.
    pub(super) fn open_shared(&mut self, id: ClientId, worker: WorkerId, call: &Call) {
        let share = call.value;
        let base = self.bound(id).and_then(|bound| bound.shares.get(&share).copied());
        match (base, self.registry.get(share)) {
            (Some(base), Some(object)) if self.registry.is_held_by(share, id) => {
                let body = SharedOpened {
                    call: call.call,
                    kind: object.kind,
                    base: IoAddress(base),
                    size_bytes: object.size_bytes,
                    private_bytes: object.private_bytes,
                };
                let fds = vec![Rc::clone(&object.private), Rc::clone(&object.memory)];
                self.tell_worker(worker, HostMessage::SHARED_OPENED, &body, fds);
            }
            _ => self.answer(worker, call.call, Reason::NOT_FOUND, 0),
        }
    }

    /// A worker has nothing of a shared object left.
    pub(super) fn close_shared(&mut self, id: ClientId, share: u32) {
        let Some(bound) = self.bound(id) else { return };
        let Some(base) = bound.shares.remove(&share) else { return };
        self.release_share(share, id);
        self.drop_hold(id, IoAddress(base));
    }

    /// The last copy of an object's descriptor was closed.
    pub(super) fn share_hung_up(&mut self, share: u32) {
        if let Some(watch) = self.registry.watch(share) {
            self.poller.forget(watch, Source::SharedObject(share));
        }
        if let Some(object) = self.registry.hung_up(share) {
            self.bury(&object);
        }
    }

    /// A client does not hold an object any more.
    pub(super) fn release_share(&mut self, share: u32, id: ClientId) {
        if let Some(object) = self.registry.release(share, id) {
            self.bury(&object);
        }
    }

    fn bury(&mut self, object: &SharedObject) {
        self.ledger.uncharge_orphan(object.vgpu, object.orphan_bytes);
        self.descriptors.give_back(object.user, PER_OBJECT);
    }

    /// Settles the account of a window that is gone: its memory is free, or goes on in a shared object.
    pub(super) fn settle_window(&mut self, id: ClientId, user: u32, window: &WindowRecord) {
        let size_bytes = window.size_bytes;
        if window.shareable().is_some() {
            self.descriptors.give_back(user, PER_WINDOW);
        }
        match window.shareable().and_then(|memory| self.registry.find_memory(memory)) {
            Some(share) => {
                self.ledger.orphan(id, size_bytes);
                self.registry.leave_orphan(share, size_bytes);
            }
            None => self.ledger.uncharge(id, size_bytes),
        }
    }
}
