//! Requests as a guest encodes them: the few that these tests need.

use dxg_wire::codec::Encoder;

const TYPE_TIMELINE: u32 = 1;
const TIMELINE_SEMAPHORE_SUBMIT_INFO: u32 = 1_000_207_003;
const SEMAPHORE_TYPE_CREATE_INFO: u32 = 1_000_207_002;

/// Id of the `slot`-th object of its type.
pub(crate) fn id(slot: u64) -> u64 {
    slot | 1 << 32
}

/// A queue to be created: family, index in it, address of its progress cell.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) family: u32,
    pub(crate) index: u32,
    pub(crate) cell: u64,
}

/// CREATE_DEVICE with the given queues per family.
pub(crate) fn create_device(
    e: &mut Encoder,
    queues_per_family: &[u32],
    places: &[Place],
    extensions: &[&str],
) {
    e.end_chain();
    e.u32(0);
    e.count(queues_per_family.len());
    e.count(queues_per_family.len());
    for (family, count) in queues_per_family.iter().enumerate() {
        e.end_chain();
        e.u32(0);
        e.u32(u32::try_from(family).unwrap());
        e.u32(*count);
        e.u32(*count);
        for _ in 0..*count {
            e.f32(1.0);
        }
    }
    e.u32(0);
    e.null();
    e.count(extensions.len());
    e.count(extensions.len());
    for extension in extensions {
        e.string(Some(extension.as_bytes()));
    }
    e.presence(None::<()>);
    e.count(places.len());
    for place in places {
        e.u32(place.family);
        e.u32(place.index);
        e.u32(0);
        e.u64(place.cell);
    }
}

/// A semaphore and its value, to wait for or to signal.
pub(crate) type Point = (u64, u64);

/// One batch of QUEUE_SUBMIT.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    pub(crate) waits: &'a [Point],
    pub(crate) command_buffers: &'a [u64],
    pub(crate) signals: &'a [Point],
}

/// QUEUE_SUBMIT.
pub(crate) fn submit(e: &mut Encoder, queue: u32, sequence: u64, batches: &[Batch<'_>]) {
    const ALL_COMMANDS: u64 = 0x1_0000;
    let points = |e: &mut Encoder, points: &[Point]| {
        e.count(points.len());
        for (semaphore, value) in points {
            e.u64(*semaphore);
            e.u64(*value);
            e.u64(ALL_COMMANDS);
        }
    };
    e.u32(queue);
    e.u64(sequence);
    e.count(batches.len());
    for batch in batches {
        e.u32(0);
        points(e, batch.waits);
        e.count(batch.command_buffers.len());
        e.u64s(batch.command_buffers);
        points(e, batch.signals);
    }
}

/// CREATE_SEMAPHORE of a timeline semaphore.
pub(crate) fn create_timeline(e: &mut Encoder, semaphore: u64, cell: u64, value: u64) {
    e.u64(semaphore);
    e.u64(cell);
    e.u32(SEMAPHORE_TYPE_CREATE_INFO);
    e.u32(TYPE_TIMELINE);
    e.u64(value);
    e.end_chain();
    e.u32(0);
}

/// `vkCreateBuffer`.
pub(crate) fn create_buffer(e: &mut Encoder, buffer: u64, size_bytes: u64, usage: u32) {
    e.presence(Some(()));
    e.end_chain();
    e.u32(0);
    e.u64(size_bytes);
    e.u32(usage);
    e.i32(0);
    e.u32(0);
    e.null();
    e.u64(buffer);
}

/// ALLOCATE_MEMORY, imported at `address` unless that is 0.
pub(crate) fn allocate(e: &mut Encoder, memory: u64, address: u64, size_bytes: u64, memory_type: u32) {
    e.u64(memory);
    e.u64(address);
    e.end_chain();
    e.u64(size_bytes);
    e.u32(memory_type);
}

/// `vkCreateCommandPool` for family 0.
pub(crate) fn create_command_pool(e: &mut Encoder, pool: u64) {
    e.presence(Some(()));
    e.end_chain();
    e.u32(0);
    e.u32(0);
    e.u64(pool);
}

/// `vkAllocateCommandBuffers` of one primary buffer.
pub(crate) fn allocate_command_buffer(e: &mut Encoder, pool: u64, buffer: u64) {
    e.presence(Some(()));
    e.end_chain();
    e.u64(pool);
    e.i32(0);
    e.u32(1);
    e.count(1);
    e.u64(buffer);
}

/// RECORD with the entries inline.
pub(crate) fn record(e: &mut Encoder, command_buffer: u64, recorded: &[u8]) {
    e.u64(command_buffer);
    e.end_chain();
    e.u32(0);
    e.presence(None::<()>);
    e.u32(0);
    e.count(recorded.len());
    e.bytes(recorded);
}

/// QUEUE_BIND_SPARSE of batches that bind nothing and signal timeline semaphores.
pub(crate) fn bind_sparse(e: &mut Encoder, queue: u32, sequence: u64, batches: &[&[Point]]) {
    e.u32(queue);
    e.u64(sequence);
    e.count(batches.len());
    for signals in batches {
        e.u32(TIMELINE_SEMAPHORE_SUBMIT_INFO);
        e.u32(0);
        e.null();
        e.count(signals.len());
        e.count(signals.len());
        for (_, value) in *signals {
            e.u64(*value);
        }
        e.end_chain();
        // Waits, buffers, opaque images and images: none.
        for _ in 0..4 {
            e.u32(0);
            e.null();
        }
        e.count(signals.len());
        e.count(signals.len());
        for (semaphore, _) in *signals {
            e.u64(*semaphore);
        }
    }
}
