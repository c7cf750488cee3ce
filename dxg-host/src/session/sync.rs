//! Synchronization objects: making, opening, destroying.

use std::sync::Arc;

use dxg_ioctl::GpuVa;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::SynchronizationObjectFlags;
use dxg_ioctl::abi::SynchronizationObjectInfo2;
use dxg_ioctl::abi::SynchronizationObjectType;
use dxg_wire::messages::CreateSyncObjectCommand;
use dxg_wire::messages::CreateSyncObjectReply;
use dxg_wire::messages::OpenSyncObjectCommand;
use dxg_wire::messages::OpenSyncObjectReply;
use dxg_wire::session::SharedKind;
use dxg_wire::shared_object::SharedObject;
use parking_lot::Mutex;
use zerocopy::FromZeros;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::NO_MEMORY;
use super::answer::NOT_SUPPORTED;
use super::answer::done;
use super::answer::reply;
use super::engine::Engine;
use super::fence_page::FencePage;
use super::fence_page::OwnCell;
use super::fence_page::SharedCell;
use super::model::Device;
use super::model::Process;
use super::model::SyncHandle;
use super::share;
use super::share::OpenShare;
use crate::failure::Refusal;
use crate::objects::timeline::EventId;
use crate::objects::timeline::Sync;
use crate::objects::timeline::SyncId;

/// What a synchronization object is, whoever has a handle of it. It ends with the last of them.
pub(super) struct SyncCore {
    engine: Arc<Engine>,
    /// Its name in the timeline.
    pub(super) sync: SyncId,
    /// Its type.
    pub(super) kind: SynchronizationObjectType,
    /// Its flags.
    pub(super) flags: SynchronizationObjectFlags,
    /// The value that it began with.
    pub(super) initial_value: u64,
    /// Its page, where it has one.
    pub(super) page: Option<FencePage>,
    /// Keeps the share of its maker until it goes.
    pub(super) exported: Mutex<Option<Arc<OpenShare>>>,
}

impl std::fmt::Debug for SyncCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncCore").field("sync", &self.sync).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Drop for SyncCore {
    fn drop(&mut self) {
        self.engine.remove_sync(self.sync);
    }
}

/// Makes a fence whose page only this session writes.
pub(super) fn monitored(
    session: &Session,
    initial_value: u64,
    flags: SynchronizationObjectFlags,
) -> Result<SyncCore, Refusal> {
    let shared = flags.contains(SynchronizationObjectFlags::SHARED);
    let page =
        if shared { FencePage::in_window(&session.link)? } else { FencePage::in_arena(&session.arena)? };
    let cell = page.cell().ok_or(INVALID)?;
    cell.initialise(initial_value);
    let sync = if shared {
        with_shared_cell(session, &page, initial_value)?
    } else {
        let store = Box::new(OwnCell(cell));
        session.engine.change(|timeline| timeline.add(Sync::Monitored { value: initial_value, store }))
    };
    Ok(SyncCore {
        engine: Arc::clone(&session.engine),
        sync,
        kind: SynchronizationObjectType::MONITORED_FENCE,
        flags,
        initial_value,
        page: Some(page),
        exported: Mutex::new(None),
    })
}

fn with_shared_cell(session: &Session, page: &FencePage, value: u64) -> Result<SyncId, Refusal> {
    let store = Box::new(SharedCell(page.cell().ok_or(INVALID)?));
    let watched = page.cell().ok_or(INVALID)?;
    let sync = session.engine.change(|timeline| timeline.add(Sync::Monitored { value, store }));
    session.engine.add_shared(sync, watched);
    Ok(sync)
}

/// Publishes a handle of a fence, with an address for the GPU.
pub(super) fn publish_fence(
    process: &mut Process,
    device: Option<RawHandle>,
    core: Arc<SyncCore>,
    of_queue: bool,
) -> Result<(RawHandle, u64), Refusal> {
    let mapped = process.space.lock().map_fence(core.sync).map_err(|_| NO_MEMORY)?;
    let handle = SyncHandle { device, core, mapped: Some(mapped), of_queue };
    match process.publish(handle) {
        Ok(handle) => Ok((handle, mapped.1)),
        Err(refused) => {
            process.space.lock().unmap_fence(mapped.0, mapped.1);
            Err(refused)
        }
    }
}

/// CREATESYNCOBJECT: handle 0 where there can be none.
pub(super) fn create(session: &Session, process: RawHandle, command: &CreateSyncObjectCommand) -> Answer {
    reply(&try_create(session, process, command.args.device, &command.args.info).unwrap_or_else(|refused| {
        tracing::debug!(status = ?refused.0, "no synchronization object");
        CreateSyncObjectReply::new_zeroed()
    }))
}

fn try_create(
    session: &Session,
    process: RawHandle,
    device: RawHandle,
    info: &SynchronizationObjectInfo2,
) -> Result<CreateSyncObjectReply, Refusal> {
    if !device.is_none() {
        session.objects.lock().process(process)?.get::<Device>(device)?;
    }
    let shared = info.flags.contains(SynchronizationObjectFlags::SHARED);
    if shared && !info.flags.contains(SynchronizationObjectFlags::NT_SECURITY_SHARING) {
        return Err(INVALID);
    }
    if shared && info.r#type != SynchronizationObjectType::MONITORED_FENCE {
        return Err(NOT_SUPPORTED);
    }
    if info.r#type == SynchronizationObjectType::MONITORED_FENCE {
        let initial = info.object.monitored_fence().initial_fence_value.0;
        let core = Arc::new(monitored(session, initial, info.flags)?);
        return publish_monitored(session, process, device, core);
    }
    let sync = plain(info)?;
    let core = Arc::new(SyncCore {
        engine: Arc::clone(&session.engine),
        sync: session.engine.change(|timeline| timeline.add(sync)),
        kind: info.r#type,
        flags: info.flags,
        initial_value: 0,
        page: None,
        exported: Mutex::new(None),
    });
    let handle = SyncHandle { device: None, core, mapped: None, of_queue: false };
    let handle = session.objects.lock().process(process)?.publish(handle)?;
    let mut answer = CreateSyncObjectReply::new_zeroed();
    answer.sync_object = handle;
    Ok(answer)
}

fn publish_monitored(
    session: &Session,
    process: RawHandle,
    device: RawHandle,
    core: Arc<SyncCore>,
) -> Result<CreateSyncObjectReply, Refusal> {
    let address = core.page.as_ref().ok_or(INVALID)?.address();
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let device = Some(device).filter(|device| !device.is_none());
    let shared = core.flags.contains(SynchronizationObjectFlags::SHARED);
    let (handle, gpu_va) = publish_fence(process, device, core, false)?;
    let mut answer = CreateSyncObjectReply::new_zeroed();
    answer.sync_object = handle;
    // A shared object is opened by the handle that sharing it answers; here the guest only sees that it can be.
    answer.global_sync_object = if shared { handle } else { RawHandle::NONE };
    answer.fence_gpu_va = GpuVa(gpu_va);
    answer.fence_storage_address = address.0;
    Ok(answer)
}

/// The objects without a page. Periodic fences follow a display, and there is none.
fn plain(info: &SynchronizationObjectInfo2) -> Result<Sync, Refusal> {
    Ok(match info.r#type {
        SynchronizationObjectType::SYNCHRONIZATION_MUTEX => {
            Sync::Mutex { owned: info.object.synchronization_mutex().initial_state != 0 }
        }
        SynchronizationObjectType::SEMAPHORE => {
            let semaphore = info.object.semaphore();
            if semaphore.initial_count > semaphore.max_count {
                return Err(INVALID);
            }
            Sync::Semaphore { count: semaphore.initial_count, max: semaphore.max_count }
        }
        SynchronizationObjectType::FENCE => Sync::Fence { value: info.object.fence().fence_value.0 },
        SynchronizationObjectType::CPU_NOTIFICATION => {
            Sync::Notification { event: EventId(info.object.cpu_notification().event) }
        }
        _ => return Err(NOT_SUPPORTED),
    })
}

/// OPENSYNCOBJECT: an object that the guest imported, or shared itself.
pub(super) fn open(session: &Session, process: RawHandle, command: &OpenSyncObjectCommand) -> Answer {
    reply(&try_open(session, process, command).unwrap_or_else(|refused| {
        let mut answer = OpenSyncObjectReply::new_zeroed();
        answer.status = refused.0;
        answer
    }))
}

fn try_open(
    session: &Session,
    process: RawHandle,
    command: &OpenSyncObjectCommand,
) -> Result<OpenSyncObjectReply, Refusal> {
    let device = Some(command.device).filter(|device| !device.is_none());
    if let Some(device) = device {
        session.objects.lock().process(process)?.get::<Device>(device)?;
    }
    let share = share::open_kind(session, command.global_sync_object, SharedKind::SYNC_OBJECT)?;
    let SharedObject::Sync(described) = share.object() else { return Err(INVALID) };
    if described.kind != SynchronizationObjectType::MONITORED_FENCE.0 {
        return Err(NOT_SUPPORTED);
    }
    let (flags, initial_value) = (described.flags, described.initial_value);
    let page = FencePage::Opened { share };
    let value = page.cell().ok_or(INVALID)?.value();
    let sync = with_shared_cell(session, &page, value)?;
    let address = page.address();
    let core = Arc::new(SyncCore {
        engine: Arc::clone(&session.engine),
        sync,
        kind: SynchronizationObjectType::MONITORED_FENCE,
        flags: SynchronizationObjectFlags(flags),
        initial_value,
        page: Some(page),
        exported: Mutex::new(None),
    });
    let mut objects = session.objects.lock();
    let (handle, gpu_va) = publish_fence(objects.process(process)?, device, core, false)?;
    let mut answer = OpenSyncObjectReply::new_zeroed();
    answer.sync_object = handle;
    answer.status = NtStatus::SUCCESS;
    answer.gpu_virtual_address = GpuVa(gpu_va);
    answer.guest_cpu_physical_address = address.0;
    Ok(answer)
}

/// DESTROYSYNCOBJECT.
pub(super) fn destroy(session: &Session, process: RawHandle, handle: RawHandle) -> Answer {
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    if process.get::<SyncHandle>(handle)?.of_queue {
        return Err(INVALID.into());
    }
    let gone = take_sync(process, handle);
    drop(objects);
    drop(gone);
    done()
}

/// Takes a handle of a synchronization object out of the table.
pub(super) fn take_sync(process: &mut Process, handle: RawHandle) -> Option<super::model::Object> {
    if let Ok(SyncHandle { mapped: Some((target, address)), .. }) = process.get::<SyncHandle>(handle) {
        process.space.lock().unmap_fence(*target, *address);
    }
    process.table.remove(handle)
}
