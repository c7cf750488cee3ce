//! Streams over the first Vulkan driver of this machine. Without one, each test says so and passes.

use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use dxg_host::adapter::Adapter;
use dxg_host::adapter::StreamEnd;
use dxg_host::adapter::vulkan;
use dxg_wire::cell::FenceCell;
use dxg_wire::cell::WaitOutcome;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::session::StreamKind;
use dxg_wire::stream::EntryFlags;
use dxg_wire::vulkan::DESCRIPTION_VERSION;
use dxg_wire::vulkan::op;

use crate::guest::BLOCK;
use crate::guest::FREE;
use crate::guest::Guest;
use crate::requests;
use crate::requests::Batch;
use crate::requests::Place;
use crate::requests::id;

const TRANSFER_DST: u32 = 2;
const SUCCESS: [u8; 4] = 0_i32.to_le_bytes();
const OUT_OF_DEVICE_MEMORY: [u8; 4] = (-2_i32).to_le_bytes();
const EXTENSION_NOT_PRESENT: [u8; 4] = (-7_i32).to_le_bytes();

/// The adapter of all tests; `None` where there is no driver.
pub(crate) fn adapter() -> Option<Arc<dyn Adapter>> {
    static ADAPTER: OnceLock<Option<Arc<dyn Adapter>>> = OnceLock::new();
    let adapter = ADAPTER.get_or_init(|| vulkan::open_library(Path::new("libvulkan.so.1"), None).ok());
    if adapter.is_none() {
        println!("skipped: no Vulkan driver");
    }
    adapter.clone()
}

/// A stream with a device of one queue, and the queue's cell.
pub(crate) fn device(adapter: &Arc<dyn Adapter>) -> (Guest, FenceCell) {
    let mut guest = Guest::open(adapter, StreamKind::VULKAN_DEVICE);
    let (cell, address) = guest.cell(0);
    let places = [Place { family: 0, index: 0, cell: address }];
    let answer = guest.call(op::CREATE_DEVICE, |e| requests::create_device(e, &[1], &places, &[]));
    assert_eq!(answer.as_deref(), Some(&SUCCESS[..]));
    (guest, cell)
}

fn is_violation(end: &Result<(), StreamEnd>) -> bool {
    matches!(end, Err(StreamEnd::Violation(_)))
}

#[test]
fn probe_names_the_device_that_opens() {
    let Some(adapter) = adapter() else { return };
    let found = vulkan::probe().unwrap();
    assert!(found.contains(adapter.identity()));
    assert!(adapter.serves(StreamKind::VULKAN_DEVICE) && adapter.serves(StreamKind::VULKAN_INSTANCE));
}

#[test]
fn description_begins_with_its_version_and_holds_the_device_name() {
    let Some(adapter) = adapter() else { return };
    let mut guest = Guest::open(&adapter, StreamKind::VULKAN_INSTANCE);
    let description = guest.call(op::DESCRIBE, |_| {}).unwrap();
    assert_eq!(Decoder::new(&description).u32(), Ok(DESCRIPTION_VERSION));
    let name = adapter.identity().name.as_bytes();
    assert!(description.windows(name.len()).any(|window| window == name));
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn empty_submission_raises_the_progress_of_its_queue() {
    let Some(adapter) = adapter() else { return };
    let (guest, progress) = device(&adapter);
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, 7, &[]));
    assert_eq!(guest.wait(&progress, 7), WaitOutcome::Reached);
    assert_eq!(progress.value(), 7);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn extension_that_is_not_offered_is_refused_and_the_stream_lives() {
    let Some(adapter) = adapter() else { return };
    let mut guest = Guest::open(&adapter, StreamKind::VULKAN_DEVICE);
    let (_, address) = guest.cell(0);
    let places = [Place { family: 0, index: 0, cell: address }];
    let withheld = ["VK_EXT_external_memory_host"];
    let answer = guest.call(op::CREATE_DEVICE, |e| requests::create_device(e, &[1], &places, &withheld));
    assert_eq!(answer.as_deref(), Some(&EXTENSION_NOT_PRESENT[..]));
    let answer = guest.call(op::CREATE_DEVICE, |e| requests::create_device(e, &[1], &places, &[]));
    assert_eq!(answer.as_deref(), Some(&SUCCESS[..]));
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn semaphore_of_an_early_batch_is_seen_before_the_submission_ends() {
    let Some(adapter) = adapter() else { return };
    let (mut guest, progress) = device(&adapter);
    let (feedback, address) = guest.cell(0);
    guest.post(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(1), address, 0));
    let batches = [
        Batch { signals: &[(id(1), 1)], ..Batch::default() },
        Batch { waits: &[(id(1), 2)], signals: &[(id(1), 3)], ..Batch::default() },
    ];
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, 1, &batches));
    assert_eq!(guest.wait(&feedback, 1), WaitOutcome::Reached);
    assert_eq!(progress.value(), 0);
    guest.post(op::SIGNAL_SEMAPHORE, |e| {
        e.u64(id(1));
        e.u64(2);
    });
    assert_eq!(guest.wait(&progress, 1), WaitOutcome::Reached);
    assert_eq!(feedback.value(), 3);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn recorded_fill_writes_the_memory_of_the_guest() {
    let Some(adapter) = adapter() else { return };
    let (mut guest, progress) = device(&adapter);
    const BYTES: u64 = 4096;
    guest.post(VkOp::CREATE_BUFFER.0, |e| requests::create_buffer(e, id(1), BYTES, TRANSFER_DST));
    let address = BLOCK + FREE as u64;
    let answer =
        guest.call(op::ALLOCATE_MEMORY, |e| requests::allocate(e, id(1), address, BYTES, 0)).unwrap();
    assert_eq!(answer, SUCCESS);
    guest.post(VkOp::BIND_BUFFER_MEMORY.0, |e| {
        e.u64(id(1));
        e.u64(id(1));
        e.u64(0);
    });
    guest.post(VkOp::CREATE_COMMAND_POOL.0, |e| requests::create_command_pool(e, id(1)));
    guest.post(VkOp::ALLOCATE_COMMAND_BUFFERS.0, |e| requests::allocate_command_buffer(e, id(1), id(1)));
    let mut recorded = Encoder::new();
    let mark = recorded.begin(VkOp::CMD_FILL_BUFFER.0, EntryFlags::NONE);
    recorded.u64(id(1));
    recorded.u64(0);
    recorded.u64(BYTES);
    recorded.u32(0xC0DE_CAFE);
    recorded.end(mark);
    guest.post(op::RECORD, |e| requests::record(e, id(1), recorded.as_slice()));
    let batches = [Batch { command_buffers: &[id(1)], ..Batch::default() }];
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, 1, &batches));
    assert_eq!(guest.wait(&progress, 1), WaitOutcome::Reached);
    let memory = guest.memory(FREE, usize::try_from(BYTES).unwrap());
    assert_eq!(memory.read::<u32>(0), Ok(0xC0DE_CAFE));
    assert_eq!(memory.read::<u32>(4092), Ok(0xC0DE_CAFE));
    assert_eq!(guest.producer.status(), (0, 0));
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn memory_beyond_the_quota_is_refused_and_leaves_no_trace() {
    let Some(adapter) = adapter() else { return };
    let (mut guest, _) = device(&adapter);
    let ledger = Arc::clone(&guest.ledger);
    let too_much = ledger.limit + 1;
    let answer = guest.call(op::ALLOCATE_MEMORY, |e| requests::allocate(e, id(1), 0, too_much, 0)).unwrap();
    assert_eq!(answer, OUT_OF_DEVICE_MEMORY);
    assert_eq!(ledger.charged.load(Ordering::SeqCst), 0);
    let answer = guest.call(op::ALLOCATE_MEMORY, |e| requests::allocate(e, id(1), 0, 4096, 0)).unwrap();
    assert_eq!(answer, SUCCESS);
    assert_eq!(ledger.charged.load(Ordering::SeqCst), 4096);
    guest.post(VkOp::FREE_MEMORY.0, |e| e.u64(id(1)));
    guest.settle();
    assert_eq!(ledger.charged.load(Ordering::SeqCst), 0);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn stream_that_closes_with_live_objects_gives_its_charges_back() {
    let Some(adapter) = adapter() else { return };
    let (mut guest, _) = device(&adapter);
    let ledger = Arc::clone(&guest.ledger);
    let (_, address) = guest.cell(0);
    guest.post(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(1), address, 0));
    guest.post(VkOp::CREATE_BUFFER.0, |e| requests::create_buffer(e, id(1), 4096, TRANSFER_DST));
    guest.call(op::ALLOCATE_MEMORY, |e| requests::allocate(e, id(1), 0, 8192, 0)).unwrap();
    assert_eq!(ledger.charged.load(Ordering::SeqCst), 8192);
    assert_eq!(guest.close(), Ok(()));
    assert_eq!(ledger.charged.load(Ordering::SeqCst), 0);
}

#[test]
fn command_before_the_device_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let guest = Guest::open(&adapter, StreamKind::VULKAN_DEVICE);
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, 1, &[]));
    assert!(is_violation(&guest.ended()));
}

#[test]
fn id_that_names_nothing_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let (guest, _) = device(&adapter);
    guest.post(op::SIGNAL_SEMAPHORE, |e| {
        e.u64(id(1));
        e.u64(1);
    });
    assert!(is_violation(&guest.ended()));
}

#[test]
fn queue_that_was_not_made_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let (guest, _) = device(&adapter);
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 1, 1, &[]));
    assert!(is_violation(&guest.ended()));
}

#[test]
fn queue_family_that_does_not_exist_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let mut guest = Guest::open(&adapter, StreamKind::VULKAN_DEVICE);
    let families = [1; 64];
    assert_eq!(guest.call(op::CREATE_DEVICE, |e| requests::create_device(e, &families, &[], &[])), None);
    assert!(is_violation(&guest.ended()));
}

#[test]
fn memory_outside_every_window_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let (guest, _) = device(&adapter);
    guest.post(op::ALLOCATE_MEMORY, |e| requests::allocate(e, id(1), 0x7_0000_0000, 4096, 0));
    assert!(is_violation(&guest.ended()));
}

#[test]
fn unknown_operation_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let (guest, _) = device(&adapter);
    guest.post(0xFFFF, |_| {});
    assert!(is_violation(&guest.ended()));
}

#[test]
fn recording_with_a_broken_entry_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let (guest, _) = device(&adapter);
    guest.post(VkOp::CREATE_COMMAND_POOL.0, |e| requests::create_command_pool(e, id(1)));
    guest.post(VkOp::ALLOCATE_COMMAND_BUFFERS.0, |e| requests::allocate_command_buffer(e, id(1), id(1)));
    guest.post(op::RECORD, |e| requests::record(e, id(1), &[0xFF; 16]));
    assert!(is_violation(&guest.ended()));
}

#[test]
fn destroyed_device_takes_no_commands() {
    let Some(adapter) = adapter() else { return };
    let (mut guest, _) = device(&adapter);
    assert_eq!(guest.call(op::DESTROY_DEVICE, |_| {}), Some(Vec::new()));
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, 1, &[]));
    assert!(is_violation(&guest.ended()));
}
