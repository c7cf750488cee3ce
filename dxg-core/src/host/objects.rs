//! What this process holds on a virtual GPU: the objects behind its handles.
//!
//! *Locks.* The table's lock is a leaf: nothing is called with it held. An object's own locks come after no other lock.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dxg_ioctl::CallError;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::GetDeviceState;
use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

use super::table::HostTable;
use crate::errno;

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) handle: RawHandle,
    /// The number by which the host says that the device changed its state.
    pub(super) cookie: u64,
    /// Handles that die with the device.
    pub(super) children: Mutex<BTreeSet<RawHandle>>,
    /// The last execution state, and the count of state changes that it was asked at.
    pub(super) state: Mutex<Option<(u64, GetDeviceState)>>,
}

/// A context.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) device: RawHandle,
    pub(super) queues: Mutex<BTreeSet<RawHandle>>,
}

/// A hardware queue.
#[derive(Debug)]
pub(super) struct HwQueue {
    pub(super) context: RawHandle,
    pub(super) fence: RawHandle,
}

/// A paging queue.
#[derive(Debug)]
pub(super) struct PagingQueue {
    pub(super) device: RawHandle,
    pub(super) fence: RawHandle,
}

/// CPU access to an allocation.
#[derive(Debug, Default)]
pub(super) struct Lock {
    pub(super) count: u32,
    pub(super) memory: Option<SharedSlice>,
}

/// An allocation.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) handle: RawHandle,
    pub(super) device: RawHandle,
    pub(super) resource: Option<RawHandle>,
    pub(super) size_bytes: u64,
    /// The caller's own memory, where the allocation is over it.
    pub(super) system_memory: Option<UserPtr>,
    pub(super) lock: Mutex<Lock>,
}

/// A resource.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) handle: RawHandle,
    pub(super) device: RawHandle,
    /// Made to be shared.
    pub(super) shareable: bool,
    /// Shared, asked about or opened: its set of allocations is fixed.
    pub(super) sealed: AtomicBool,
    /// Whether any allocation has private data; a resource without any cannot be sealed.
    pub(super) has_private_data: AtomicBool,
    pub(super) allocations: Mutex<Vec<RawHandle>>,
    /// The descriptor by which it is shared, from the first share on.
    pub(super) exported: Mutex<Option<OwnedFd>>,
}

/// A synchronization object.
#[derive(Debug)]
pub(super) struct SyncObject {
    /// The device, for fences that die with it.
    pub(super) device: Option<RawHandle>,
    pub(super) shareable: bool,
    /// The page of a monitored fence.
    pub(super) page: Option<SharedSlice>,
    /// The descriptor by which it is shared, from the first share on.
    pub(super) exported: Mutex<Option<OwnedFd>>,
}

/// Anything a handle may name.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Device(Arc<Device>),
    Context(Arc<Context>),
    HwQueue(Arc<HwQueue>),
    PagingQueue(Arc<PagingQueue>),
    Allocation(Arc<Allocation>),
    Resource(Arc<Resource>),
    Sync(Arc<SyncObject>),
    /// The fence of a queue, with its page.
    QueueFence(SharedSlice),
}

/// All objects of a session but adapters.
#[derive(Debug, Default)]
pub(super) struct Objects {
    table: Mutex<HostTable<Object>>,
}

macro_rules! lookups {
    ($($(#[$doc:meta])* $name:ident: $variant:ident $kind:ident;)*) => {
        impl Objects {
            $($(#[$doc])*
            pub(super) fn $name(&self, handle: RawHandle) -> Result<Arc<$kind>, CallError> {
                match self.table.lock().get(handle)? {
                    Object::$variant(object) => Ok(Arc::clone(object)),
                    _ => Err(errno::INVALID),
                }
            })*
        }
    };
}

lookups! {
    /// The device under a handle.
    device: Device Device;
    /// The context under a handle.
    context: Context Context;
    /// The hardware queue under a handle.
    hw_queue: HwQueue HwQueue;
    /// The paging queue under a handle.
    paging_queue: PagingQueue PagingQueue;
    /// The allocation under a handle.
    allocation: Allocation Allocation;
    /// The resource under a handle.
    resource: Resource Resource;
    /// The synchronization object under a handle.
    sync_object: Sync SyncObject;
}

impl Objects {
    /// Puts an object under the host's handle.
    pub(super) fn insert(&self, handle: RawHandle, object: Object) -> Result<(), CallError> {
        self.table.lock().insert(handle, object)
    }

    /// The object under a handle.
    pub(super) fn get(&self, handle: RawHandle) -> Result<Object, CallError> {
        self.table.lock().get(handle).cloned()
    }

    /// Takes the object out.
    pub(super) fn remove(&self, handle: RawHandle) -> Result<Object, CallError> {
        self.table.lock().remove(handle)
    }

    /// Takes several objects out; those that are gone already are passed over.
    pub(super) fn remove_all(&self, handles: impl IntoIterator<Item = RawHandle>) -> Vec<Object> {
        let mut table = self.table.lock();
        handles.into_iter().filter_map(|handle| table.remove(handle).ok()).collect()
    }

    /// All devices.
    pub(super) fn devices(&self) -> Vec<Arc<Device>> {
        let table = self.table.lock();
        let devices = table.iter().filter_map(|object| match object {
            Object::Device(device) => Some(Arc::clone(device)),
            _ => None,
        });
        devices.collect()
    }
}
