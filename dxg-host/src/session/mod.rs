//! The dxg object model of one client, served over its two channels.
//!
//! *Why.* What a kernel driver's host does for a guest, this does for a client: processes, devices, contexts, queues,
//! allocations, addresses, synchronization. Bytes become typed commands in `dxg_wire::messages`, and nothing behind
//! that looks at lengths again; what remains to be judged is handles and numbers.
//!
//! *Threads.* One for each channel, one for submitted work (`engine`), one for each shared fence that is waited for.
//!
//! *Locks.* Objects, then an address space, then the engine's timeline, then the packet sender. No lock is held while the
//! broker is asked for something.

mod adapter_info;
mod allocation;
mod answer;
mod arena;
mod backing;
mod channel;
mod context;
mod create_allocation;
mod device;
mod dispatch;
mod engine;
mod execute;
mod fence_page;
mod gpu_va;
mod model;
mod notify;
mod private_data;
mod process;
mod query;
mod residency;
mod share;
mod space;
mod submit;
mod sync;
mod sync_wait;

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

use dxg_ioctl::Luid;
use dxg_wire::session::Bind;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::vmbus::Channel;
use dxg_wire::vmbus::SharedRing;
use parking_lot::Mutex;

use self::arena::Arena;
use self::engine::Engine;
use self::model::Objects;
use self::notify::Notifier;
use self::private_data::PrivateBudget;
use self::share::Shares;
use crate::adapter::Adapter;
use crate::failure::Fault;
use crate::worker::BrokerLink;

/// The four doorbells of a session.
#[derive(Debug)]
pub struct Doorbells {
    /// Rung by the guest for the vgpu channel.
    pub vgpu_to_host: OwnedFd,
    /// Rung by us for the vgpu channel.
    pub vgpu_to_guest: OwnedFd,
    /// Rung by the guest for the global channel.
    pub global_to_host: OwnedFd,
    /// Rung by us for the global channel.
    pub global_to_guest: OwnedFd,
}

/// Everything of one client.
struct Session {
    adapter: Arc<dyn Adapter>,
    link: Arc<BrokerLink>,
    luid: Luid,
    quota_bytes: u64,
    used_bytes: Arc<AtomicU64>,
    reserved_bytes: AtomicU64,
    private: PrivateBudget,
    arena: Arc<Arena>,
    engine: Arc<Engine>,
    shares: Arc<Shares>,
    objects: Mutex<Objects>,
}

/// Starts the session's threads.
///
/// # Errors
/// When the rings are not what the binding says, or threads cannot be had.
pub fn start(
    adapter: Arc<dyn Adapter>,
    link: Arc<BrokerLink>,
    bind: &Bind,
    control: &OwnedFd,
    arena: &Arc<Mapping>,
    doorbells: Doorbells,
) -> Result<(), Fault> {
    let rings = Rings::map(bind, control)?;
    let bad_ring = |error| Fault::new("ring", error);
    let vgpu = Channel::new(
        SharedRing::new(&rings.vgpu_to_guest).map_err(bad_ring)?,
        SharedRing::new(&rings.vgpu_to_host).map_err(bad_ring)?,
        doorbells.vgpu_to_guest,
        doorbells.vgpu_to_host,
    )
    .map_err(bad_ring)?;
    let global = Channel::new(
        SharedRing::new(&rings.global_to_guest).map_err(bad_ring)?,
        SharedRing::new(&rings.global_to_host).map_err(bad_ring)?,
        doorbells.global_to_guest,
        doorbells.global_to_host,
    )
    .map_err(bad_ring)?;
    let [low, high] = bind.adapter_luid;
    let global_sender = Arc::new(Mutex::new(global.sender));
    let notifier = Notifier::new(Arc::clone(&global_sender), Arc::clone(&link));
    let engine = Arc::new(Engine::new(notifier));
    let session = Arc::new(Session {
        adapter,
        luid: Luid { a: low, b: high },
        quota_bytes: bind.quota_bytes,
        used_bytes: Arc::default(),
        reserved_bytes: AtomicU64::new(0),
        private: PrivateBudget::default(),
        arena: Arc::new(Arena::new(arena)),
        engine: Arc::clone(&engine),
        shares: Arc::new(Shares::new(Arc::clone(&link))),
        objects: Mutex::new(Objects::new()),
        link,
    });
    let vgpu_sender = Arc::new(Mutex::new(vgpu.sender));
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        let started = thread::Builder::new().name(name.to_owned()).spawn(body);
        started.map(drop).map_err(|error| Fault::new("session thread", error))
    };
    let of_vgpu = Arc::clone(&session);
    spawn("vgpu", Box::new(move || channel::serve(&of_vgpu, vgpu.receiver, &vgpu_sender)))?;
    let of_global = Arc::clone(&session);
    spawn("global", Box::new(move || channel::serve(&of_global, global.receiver, &global_sender)))?;
    spawn("engine", Box::new(move || engine::run(&session)))
}

/// The rings of a session, in the order of the control memory.
struct Rings {
    vgpu_to_host: SharedSlice,
    vgpu_to_guest: SharedSlice,
    global_to_host: SharedSlice,
    global_to_guest: SharedSlice,
}

impl Rings {
    fn map(bind: &Bind, control: &OwnedFd) -> Result<Self, Fault> {
        let fault = |error: &dyn std::fmt::Display| Fault::new("map rings", error);
        let vgpu = usize::try_from(bind.vgpu_ring_bytes).map_err(|error| fault(&error))?;
        let global = usize::try_from(bind.global_ring_bytes).map_err(|error| fault(&error))?;
        let all = vgpu
            .checked_add(global)
            .and_then(|one_way| one_way.checked_mul(2))
            .ok_or_else(|| fault(&"rings too large"))?;
        let control = Mapping::map(control.as_fd(), 0, all, Access::ReadWrite, Populate::Prefault)
            .map_err(|error| fault(&error))?;
        let control = SharedSlice::whole(&control);
        let part = |at, len| control.sub(at, len).map_err(|error| fault(&error));
        Ok(Self {
            vgpu_to_host: part(0, vgpu)?,
            vgpu_to_guest: part(vgpu, vgpu)?,
            global_to_host: part(2 * vgpu, global)?,
            global_to_guest: part(2 * vgpu + global, global)?,
        })
    }
}
