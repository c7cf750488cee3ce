//! Objects that cross sessions: ours that were shared, and others' that were opened.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;

use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::SynchronizationObjectType;
use dxg_wire::messages::CreateNtSharedObjectCommand;
use dxg_wire::session::IoAddress;
use dxg_wire::session::SharedKind;
use dxg_wire::shared_object::SharedAllocation;
use dxg_wire::shared_object::SharedObject;
use dxg_wire::shared_object::SharedResource;
use dxg_wire::shared_object::SharedSync;
use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::refusal;
use super::answer::reply;
use super::answer::status;
use super::model::Allocation;
use super::model::Memory;
use super::model::Object;
use super::model::Resource;
use crate::failure::Refusal;
use crate::worker::BrokerLink;

/// What this session has of shared objects, by global share handle.
pub(super) struct Shares {
    link: Arc<BrokerLink>,
    open: Mutex<HashMap<u32, Weak<OpenShare>>>,
}

/// A shared object of which this session has something; the broker is told when it goes.
pub(super) struct OpenShare {
    shares: Arc<Shares>,
    global_share: u32,
    base: IoAddress,
    memory: SharedSlice,
    object: SharedObject,
}

impl std::fmt::Debug for OpenShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenShare").field("global_share", &self.global_share).finish_non_exhaustive()
    }
}

impl OpenShare {
    /// The window in which the guest sees its memory.
    pub(super) fn base(&self) -> IoAddress {
        self.base
    }

    /// Its memory.
    pub(super) fn memory(&self) -> &SharedSlice {
        &self.memory
    }

    /// What its maker said about it.
    pub(super) fn object(&self) -> &SharedObject {
        &self.object
    }

    /// Its handle between sessions.
    pub(super) fn global_share(&self) -> u32 {
        self.global_share
    }
}

impl Drop for OpenShare {
    fn drop(&mut self) {
        self.shares.open.lock().remove(&self.global_share);
        self.shares.link.close_shared(self.global_share);
    }
}

impl Shares {
    /// A session that shares nothing yet.
    pub(super) fn new(link: Arc<BrokerLink>) -> Self {
        Self { link, open: Mutex::default() }
    }

    /// Opens an object that the guest imported, or that this session shared.
    pub(super) fn open(self: &Arc<Self>, global_share: u32) -> Result<Arc<OpenShare>, Refusal> {
        if let Some(open) = self.open.lock().get(&global_share).and_then(Weak::upgrade) {
            return Ok(open);
        }
        let opened = self.link.open_shared(global_share).map_err(refusal)?;
        let object = SharedObject::decode(&opened.private)
            .ok()
            .filter(|object| object.kind() == opened.kind)
            .ok_or(INVALID)?;
        Ok(self.keep(global_share, opened.base, SharedSlice::whole(&opened.memory), object))
    }

    /// Shares what lies in a window of ours.
    fn export(
        self: &Arc<Self>,
        base: IoAddress,
        memory: SharedSlice,
        object: SharedObject,
    ) -> Result<Arc<OpenShare>, Refusal> {
        let global_share = self.link.share(object.kind(), base, &object.encode()).map_err(refusal)?;
        Ok(self.keep(global_share, base, memory, object))
    }

    fn keep(
        self: &Arc<Self>,
        global_share: u32,
        base: IoAddress,
        memory: SharedSlice,
        object: SharedObject,
    ) -> Arc<OpenShare> {
        let share = Arc::new(OpenShare { shares: Arc::clone(self), global_share, base, memory, object });
        self.open.lock().insert(global_share, Arc::downgrade(&share));
        share
    }
}

/// What is about to be shared.
struct Export {
    base: IoAddress,
    object: SharedObject,
}

/// CREATENTSHAREDOBJECT: the guest gets a descriptor, and here the handle that stands for it; 0 where it cannot be.
pub(super) fn create_nt_shared(
    session: &Session,
    process: RawHandle,
    command: &CreateNtSharedObjectCommand,
) -> Answer {
    match share_object(session, process, command.object) {
        Ok(global_share) => reply(&RawHandle(global_share)),
        Err(refused) => {
            tracing::debug!(object = %command.object, status = ?refused.0, "not shared");
            reply(&RawHandle::NONE)
        }
    }
}

fn share_object(session: &Session, process: RawHandle, handle: RawHandle) -> Result<u32, Refusal> {
    let export = describe(session, process, handle)?;
    let window = session.link.windows().resolve(export.base, 1).ok_or(INVALID)?;
    let memory = SharedSlice::whole(window.mapping());
    let share = session.shares.export(export.base, memory, export.object)?;
    let global_share = share.global_share();
    let mut objects = session.objects.lock();
    // Whoever destroys the object meanwhile finds it shared all the same: the descriptor is the guest's.
    match objects.process(process)?.table.get_mut(handle) {
        Some(Object::Resource(resource)) => resource.exported = Some(share),
        Some(Object::Sync(sync)) => *sync.core.exported.lock() = Some(share),
        _ => {}
    }
    Ok(global_share)
}

fn describe(session: &Session, process: RawHandle, handle: RawHandle) -> Result<Export, Refusal> {
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    match process.table.get(handle) {
        Some(Object::Sync(sync)) if sync.core.kind == SynchronizationObjectType::MONITORED_FENCE => {
            let base = sync.core.page.as_ref().and_then(|page| page.window()).ok_or(INVALID)?;
            let object = SharedObject::Sync(SharedSync {
                kind: sync.core.kind.0,
                flags: sync.core.flags.bits(),
                initial_value: sync.core.initial_value,
            });
            Ok(Export { base, object })
        }
        Some(Object::Resource(resource)) if resource.shareable => {
            let Memory::Window(window) = &*resource.memory else { return Err(INVALID) };
            let base = window.base;
            let allocations = resource
                .allocations
                .iter()
                .map(|handle| process.get::<Allocation>(*handle).map(describe_allocation))
                .collect::<Result<_, Refusal>>()?;
            let object = SharedObject::Resource(SharedResource {
                runtime_data: resource.runtime_data.to_vec(),
                resource_data: resource.resource_data.to_vec(),
                allocations,
            });
            process.get_mut::<Resource>(handle)?.sealed = true;
            Ok(Export { base, object })
        }
        _ => Err(INVALID),
    }
}

fn describe_allocation(allocation: &Allocation) -> SharedAllocation {
    SharedAllocation {
        size_bytes: allocation.size_bytes,
        offset_bytes: allocation.place.map_or(0, |place| place.offset_bytes),
        flags: allocation.flags,
        private_data: allocation.private_data.to_vec(),
    }
}

/// DESTROYNTSHAREDOBJECT: the guest's last descriptor is closed. The broker has seen that itself.
pub(super) fn destroy_nt_shared() -> Answer {
    status(NtStatus::SUCCESS)
}

/// An opened share of the kind that is wanted.
pub(super) fn open_kind(
    session: &Session,
    global_share: RawHandle,
    kind: SharedKind,
) -> Result<Arc<OpenShare>, Refusal> {
    let share = session.shares.open(global_share.0)?;
    if share.object().kind() == kind { Ok(share) } else { Err(INVALID) }
}
