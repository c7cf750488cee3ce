//! The objects of a session, by process and handle.

use std::sync::Arc;

use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::DeviceExecutionState;

use super::answer::BAD_HANDLE;
use super::answer::NO_MEMORY;
use super::answer::WRONG_KIND;
use super::backing::Backing;
use super::backing::Place;
use super::private_data::PrivateData;
use super::share::OpenShare;
use super::space::SharedSpace;
use super::space::TargetId;
use super::sync::SyncCore;
use crate::failure::Refusal;
use crate::objects::table::Table;
use crate::objects::timeline::QueueId;
use crate::worker::BrokerLink;

/// Most processes of a session: a client is one, and a few more do no harm.
pub(super) const MAX_PROCESSES: usize = 4;
/// Most objects of a process.
pub(super) const MAX_OBJECTS: usize = 1 << 16;
/// The one adapter of a session, as OPENADAPTER answers it.
pub(super) const ADAPTER: RawHandle = RawHandle(0x4000_0000);

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    /// What SETGUESTDATA names it by.
    pub(super) cookie: u64,
    /// How it is.
    pub(super) state: DeviceExecutionState,
}

/// A context, with its queue.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) device: RawHandle,
    pub(super) queue: QueueId,
    /// Scheduling priority, and that within the process.
    pub(super) priorities: [i32; 2],
}

/// A hardware queue.
#[derive(Debug)]
pub(super) struct HwQueue {
    pub(super) device: RawHandle,
    pub(super) context: RawHandle,
    pub(super) queue: QueueId,
    /// Its progress fence.
    pub(super) fence: RawHandle,
}

/// A paging queue.
#[derive(Debug)]
pub(super) struct PagingQueue {
    pub(super) device: RawHandle,
    pub(super) fence: RawHandle,
    /// The last value that its fence was given.
    pub(super) last_value: u64,
}

/// The memory of a resource or of free-standing allocations of one request; given back with the last of them.
#[derive(Debug)]
pub(super) enum Memory {
    /// A window that this session made.
    Window(OwnedWindow),
    /// Another session's, opened here.
    Opened(#[expect(dead_code, reason = "held for its drop")] Arc<OpenShare>),
    /// The guest's own pages.
    Guest,
}

/// A window of ours, dropped with this.
pub(super) struct OwnedWindow {
    pub(super) link: Arc<BrokerLink>,
    pub(super) base: dxg_wire::session::IoAddress,
    pub(super) size_bytes: u64,
    pub(super) used_bytes: Arc<std::sync::atomic::AtomicU64>,
}

impl std::fmt::Debug for OwnedWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnedWindow").field("base", &self.base).field("size_bytes", &self.size_bytes).finish()
    }
}

impl Drop for OwnedWindow {
    fn drop(&mut self) {
        self.used_bytes.fetch_sub(self.size_bytes, std::sync::atomic::Ordering::Relaxed);
        self.link.drop_window(self.base);
    }
}

/// A resource.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) device: RawHandle,
    pub(super) allocations: Vec<RawHandle>,
    /// Whether it may be shared.
    pub(super) shareable: bool,
    /// No allocation may be added any more.
    pub(super) sealed: bool,
    pub(super) runtime_data: PrivateData,
    pub(super) resource_data: PrivateData,
    pub(super) memory: Arc<Memory>,
    /// Keeps the share of its maker until it goes.
    pub(super) exported: Option<Arc<OpenShare>>,
}

/// An allocation.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) device: RawHandle,
    pub(super) resource: Option<RawHandle>,
    pub(super) size_bytes: u64,
    pub(super) flags: u32,
    pub(super) private_data: PrivateData,
    pub(super) target: TargetId,
    pub(super) backing: Arc<Backing>,
    /// Where the guest may see it; nowhere for the guest's own pages.
    pub(super) place: Option<Place>,
    /// Held for its drop.
    pub(super) memory: Arc<Memory>,
    pub(super) locks: u32,
    pub(super) residency: u32,
    pub(super) offered: bool,
    pub(super) priority: u32,
}

/// A handle of a synchronization object.
#[derive(Debug)]
pub(super) struct SyncHandle {
    /// The device that it goes with, where it goes with one.
    pub(super) device: Option<RawHandle>,
    pub(super) core: Arc<SyncCore>,
    /// Where the GPU sees its page.
    pub(super) mapped: Option<(TargetId, u64)>,
    /// It belongs to a queue and is destroyed with that only.
    pub(super) of_queue: bool,
}

/// Any object but processes and adapters.
#[derive(Debug)]
pub(super) enum Object {
    Device(Device),
    Context(Context),
    HwQueue(HwQueue),
    PagingQueue(PagingQueue),
    Resource(Resource),
    Allocation(Allocation),
    Sync(SyncHandle),
}

/// A kind of object, for typed look-up.
pub(super) trait Kind: Sized {
    fn of(object: &Object) -> Option<&Self>;
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    fn wrap(self) -> Object;
}

macro_rules! kinds {
    ($($variant:ident($kind:ty);)*) => {
        $(impl Kind for $kind {
            fn of(object: &Object) -> Option<&Self> {
                match object {
                    Object::$variant(kind) => Some(kind),
                    _ => None,
                }
            }

            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$variant(kind) => Some(kind),
                    _ => None,
                }
            }

            fn wrap(self) -> Object {
                Object::$variant(self)
            }
        })*
    };
}

kinds! {
    Device(Device);
    Context(Context);
    HwQueue(HwQueue);
    PagingQueue(PagingQueue);
    Resource(Resource);
    Allocation(Allocation);
    Sync(SyncHandle);
}

/// A process of the guest.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) table: Table<Object>,
    pub(super) space: SharedSpace,
}

impl Process {
    /// A process without objects.
    pub(super) fn new() -> Self {
        Self { table: Table::new(MAX_OBJECTS), space: SharedSpace::default() }
    }

    /// An object of a kind.
    pub(super) fn get<K: Kind>(&self, handle: RawHandle) -> Result<&K, Refusal> {
        K::of(self.table.get(handle).ok_or(BAD_HANDLE)?).ok_or(WRONG_KIND)
    }

    /// An object of a kind, to change it.
    pub(super) fn get_mut<K: Kind>(&mut self, handle: RawHandle) -> Result<&mut K, Refusal> {
        K::of_mut(self.table.get_mut(handle).ok_or(BAD_HANDLE)?).ok_or(WRONG_KIND)
    }

    /// Publishes an object.
    pub(super) fn publish<K: Kind>(&mut self, object: K) -> Result<RawHandle, Refusal> {
        self.table.insert(object.wrap()).ok_or(NO_MEMORY)
    }

    /// A device that can still be used.
    pub(super) fn active_device(&self, handle: RawHandle) -> Result<&Device, Refusal> {
        let device: &Device = self.get(handle)?;
        if device.state == DeviceExecutionState::ACTIVE {
            Ok(device)
        } else {
            Err(Refusal(NtStatus::DEVICE_REMOVED))
        }
    }
}

/// All processes of a session.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) processes: Table<Process>,
}

impl Objects {
    /// A session without processes.
    pub(super) fn new() -> Self {
        Self { processes: Table::new(MAX_PROCESSES) }
    }

    /// A process.
    pub(super) fn process(&mut self, handle: RawHandle) -> Result<&mut Process, Refusal> {
        self.processes.get_mut(handle).ok_or(BAD_HANDLE)
    }
}
