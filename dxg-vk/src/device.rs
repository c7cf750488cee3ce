//! A Vulkan device: its stream, its queues, and what the guest keeps about its objects.
//!
//! *Locks.* Each table and cache has its own, held for a look-up; none is held across a call to the host except a queue's
//! submission lock, which orders sequence numbers, and a heap's, while it leases.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use ash::vk;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;

use crate::cells::Cell;
use crate::cells::Cells;
use crate::command_pool::CommandPool;
use crate::descriptor_sets::Sets;
use crate::descriptors;
use crate::events::Events;
use crate::external::semaphore::Semaphore;
use crate::ffi::guard::contain;
use crate::heap::Heap;
use crate::ids::Table;
use crate::ids::TableFull;
use crate::link::Block;
use crate::memory::Memory;
use crate::memory::Usage;
use crate::physical::Physical;
use crate::private_data::Slots;
use crate::queue::Queue;
use crate::requirements::Requirements;
use crate::requirements::RequirementsCache;
use crate::stream::Stream;
use crate::subpasses::SubpassUses;
use crate::wait::Target;

impl From<TableFull> for vk::Result {
    fn from(_: TableFull) -> Self {
        Self::ERROR_OUT_OF_HOST_MEMORY
    }
}

/// A device.
#[derive(Debug)]
pub struct Device {
    /// What it was created on.
    pub physical: Arc<Physical>,
    /// Its command stream.
    pub stream: Stream,
    /// Its queues, in the order of the device's creation.
    pub queues: Vec<Queue>,
    /// Progress cells.
    pub cells: Cells,
    /// Blocks of host-visible device memory.
    pub memory_heap: Heap<Block>,
    /// Bytes allocated of each memory heap.
    pub usage: Arc<Usage>,
    /// Objects by type.
    pub objects: Objects,
    /// Values that the program attaches to objects.
    pub private_data: Slots,
    /// Whether some semaphore or fence was ever shared: until then submissions name what they are given.
    pub shares_sync: AtomicBool,
    /// Enabled extensions.
    pub extensions: Vec<String>,
    /// The version of Vulkan whose commands it has: the physical device's, at most the one that the program asked for.
    pub api_version: u32,
}

/// The objects of a device, as far as the guest must know them.
#[derive(Debug)]
pub struct Objects {
    plain: [Table<()>; ObjectKind::COUNT],
    /// Device memory.
    pub memory: Table<Memory>,
    /// Semaphores, and payloads of semaphores and fences that others share.
    pub semaphores: Table<Semaphore>,
    /// Buffers and what is known of their requirements.
    pub buffers: Table<Arc<Requirements>>,
    /// Images and what is known of their requirements.
    pub images: Table<Arc<Requirements>>,
    /// Requirements of buffers by creation.
    pub buffer_cache: RequirementsCache,
    /// Requirements of images by creation.
    pub image_cache: RequirementsCache,
    /// Layouts of descriptor sets.
    pub layouts: Table<Arc<descriptors::Layout>>,
    /// Descriptor pools.
    pub descriptor_pools: Table<Arc<descriptors::Pool>>,
    /// Command pools.
    pub command_pools: Table<Arc<CommandPool>>,
    /// Render passes: which attachments each subpass uses.
    pub render_passes: Table<Arc<[SubpassUses]>>,
    /// Descriptor sets.
    pub descriptor_sets: Sets,
    /// Events.
    pub events: Events,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            plain: std::array::from_fn(|_| Table::default()),
            memory: Table::default(),
            semaphores: Table::default(),
            buffers: Table::default(),
            images: Table::default(),
            buffer_cache: RequirementsCache::default(),
            image_cache: RequirementsCache::default(),
            layouts: Table::default(),
            descriptor_pools: Table::default(),
            command_pools: Table::default(),
            render_passes: Table::default(),
            descriptor_sets: Sets::default(),
            events: Events::default(),
        }
    }
}

impl Device {
    /// Puts a command on the stream that nothing waits for: creation, destruction, updates. It is executed before whatever
    /// is put on the stream after it, not necessarily soon.
    ///
    /// # Errors
    /// Device lost.
    pub fn post(&self, op: VkOp, body: impl FnOnce(&mut Encoder)) -> Result<(), vk::Result> {
        // Generated entry points stand on this and do not contain panics by themselves.
        contain(|| self.stream.post_later(op, body))
    }

    /// As [`Device::post`], where encoding the command can fail: then nothing is put on the stream.
    ///
    /// # Errors
    /// What `body` answers; device lost.
    pub fn post_made(
        &self,
        op: VkOp,
        body: impl FnOnce(&mut Encoder) -> Result<(), vk::Result>,
    ) -> Result<(), vk::Result> {
        self.stream.try_post_later(op, body)
    }

    /// Puts a command on the stream that the host shall execute at once, without waiting for it.
    ///
    /// # Errors
    /// Device lost.
    pub fn post_now(&self, op: VkOp, body: impl FnOnce(&mut Encoder)) -> Result<(), vk::Result> {
        self.stream.post(op, body).map(|_| ())
    }

    /// Puts a command on the stream and waits for its reply.
    ///
    /// # Errors
    /// Device lost.
    pub fn call<R>(
        &self,
        op: VkOp,
        body: impl FnOnce(&mut Encoder),
        reply: impl FnOnce(&mut Decoder<'_>) -> Result<R, DecodeError>,
    ) -> Result<R, vk::Result> {
        contain(|| self.stream.call(op, body, reply))
    }

    /// A new id for an object of which the guest keeps nothing.
    ///
    /// # Errors
    /// Out of host memory when there are too many.
    pub fn new_id(&self, kind: ObjectKind) -> Result<u64, vk::Result> {
        let table = self.objects.plain.get(usize::from(kind.0)).ok_or(vk::Result::ERROR_UNKNOWN)?;
        Ok(table.insert(())?)
    }

    /// Ends an id, after its destruction was posted.
    pub fn free_id(&self, kind: ObjectKind, id: u64) {
        if let Some(table) = self.objects.plain.get(usize::from(kind.0)) {
            table.remove(id);
        }
    }

    /// Whether the device is still there.
    ///
    /// # Errors
    /// Device lost.
    pub fn check(&self) -> Result<(), vk::Result> {
        self.stream.check()
    }

    /// A new cell that stands at `value`.
    ///
    /// # Errors
    /// When no memory can be leased.
    pub fn new_cell(&self, value: u64) -> Result<Cell, vk::Result> {
        let executed = self.stream.executed();
        self.cells.take(&self.stream.heap, self.stream.lease(), value, executed)
    }

    /// What all queues reach when everything submitted so far is complete.
    #[must_use]
    pub fn idle(&self) -> Vec<Target> {
        self.queues.iter().map(Queue::idle).collect()
    }

    /// Some semaphore or fence has a payload that others share.
    pub fn note_shared_sync(&self) {
        self.shares_sync.store(true, Ordering::Release);
    }

    /// Whether some semaphore or fence may have a payload that others share.
    #[must_use]
    pub fn may_share_sync(&self) -> bool {
        self.shares_sync.load(Ordering::Acquire)
    }

    /// Whether an extension is enabled.
    #[must_use]
    pub fn has_extension(&self, name: &str) -> bool {
        self.extensions.iter().any(|enabled| enabled == name)
    }
}
