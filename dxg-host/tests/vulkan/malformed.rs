//! Operations that no honest guest sends, over the first Vulkan driver of this machine: each is a violation with a name.

use std::sync::Arc;

use dxg_host::adapter::Adapter;
use dxg_host::adapter::StreamEnd;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::op;
use dxg_wire::vulkan::part;
use dxg_wire::vulkan::set_flags;

use crate::guest::BLOCK;
use crate::guest::FREE;
use crate::guest::Guest;
use crate::native::adapter;
use crate::native::device;
use crate::requests;
use crate::requests::id;

const POOL: u64 = 1 << 32 | 1;
const OTHER_POOL: u64 = 1 << 32 | 2;
const BUFFER: u64 = 1 << 32 | 1;
const OTHER_BUFFER: u64 = 1 << 32 | 2;
/// The first slot again, in its second generation.
const NEXT_BUFFER: u64 = 2 << 32 | 1;
const NOBODY: u64 = 9 << 32 | 77;
const NO_WINDOW: u64 = 0x7_0000_0000;

/// Two pools with a command buffer each.
fn recorder(adapter: &Arc<dyn Adapter>) -> Guest {
    let (guest, _) = device(adapter);
    for (pool, buffer) in [(POOL, BUFFER), (OTHER_POOL, OTHER_BUFFER)] {
        guest.post(VkOp::CREATE_COMMAND_POOL.0, |e| {
            e.presence(Some(()));
            e.end_chain();
            // Command buffers may be reset by themselves.
            e.u32(2);
            e.u32(0);
            e.u64(pool);
        });
        guest.post(VkOp::ALLOCATE_COMMAND_BUFFERS.0, |e| requests::allocate_command_buffer(e, pool, buffer));
    }
    guest
}

/// A piece of a recording with nothing in it.
fn piece(buffer: u64, which: u32) -> impl FnOnce(&mut Encoder) {
    piece_at(buffer, which, BLOCK + FREE as u64, 0)
}

fn piece_at(buffer: u64, which: u32, address: u64, size_bytes: u64) -> impl FnOnce(&mut Encoder) {
    move |e| {
        e.u64(buffer);
        e.u32(which);
        if which == part::FIRST {
            e.end_chain();
            e.u32(0);
            e.presence(None::<()>);
        }
        e.u64(address);
        e.u64(size_bytes);
    }
}

fn reset_pool(pool: u64) -> impl FnOnce(&mut Encoder) {
    move |e| {
        e.u64(pool);
        e.u32(0);
    }
}

fn free(pool: u64, buffer: u64) -> impl FnOnce(&mut Encoder) {
    move |e| {
        e.u64(pool);
        e.u32(1);
        e.count(1);
        e.u64(buffer);
    }
}

/// How the stream ended: operation and reason of the violation.
fn violation(guest: Guest) -> (&'static str, &'static str) {
    match guest.ended() {
        Err(StreamEnd::Violation(violation)) => (violation.op, violation.what),
        other => panic!("the stream ended with {other:?}"),
    }
}

const UNENDED: &str = "a recording before the end of the last one";
const WITHOUT_FIRST: (&str, &str) = ("RECORD_PART", "a part without the first one");

#[test]
fn recording_in_parts_goes_on_after_resets_of_any_kind() {
    let Some(adapter) = adapter() else { return };
    let guest = recorder(&adapter);
    for which in [part::FIRST, part::NEXT, part::LAST, part::FIRST, part::NEXT] {
        guest.post(op::RECORD_PART, piece(BUFFER, which));
    }
    guest.post(op::RECORD_ABANDON, |e| e.u64(BUFFER));
    guest.post(op::RECORD, |e| requests::record(e, BUFFER, &[]));
    guest.post(op::RECORD_PART, piece(OTHER_BUFFER, part::FIRST));
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    guest.post(VkOp::RESET_COMMAND_POOL.0, reset_pool(POOL));
    guest.post(op::RECORD, |e| requests::record(e, BUFFER, &[]));
    // The other pool was not reset.
    guest.post(op::RECORD_PART, piece(OTHER_BUFFER, part::LAST));
    guest.settle();
    assert_eq!(guest.producer.status(), (0, 0));
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn part_without_the_first_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    for which in [part::NEXT, part::LAST] {
        let guest = recorder(&adapter);
        guest.post(op::RECORD_PART, piece(BUFFER, which));
        assert_eq!(violation(guest), WITHOUT_FIRST);
    }
    let guest = recorder(&adapter);
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    guest.post(op::RECORD_PART, piece(BUFFER, part::LAST));
    guest.post(op::RECORD_PART, piece(BUFFER, part::NEXT));
    assert_eq!(violation(guest), WITHOUT_FIRST);
}

#[test]
fn recording_that_begins_twice_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let guest = recorder(&adapter);
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    assert_eq!(violation(guest), ("RECORD_PART", UNENDED));
    let guest = recorder(&adapter);
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    guest.post(op::RECORD, |e| requests::record(e, BUFFER, &[]));
    assert_eq!(violation(guest), ("RECORD", UNENDED));
}

#[test]
fn part_of_a_command_buffer_that_is_another_by_now_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let guest = recorder(&adapter);
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    guest.post(VkOp::FREE_COMMAND_BUFFERS.0, free(POOL, BUFFER));
    // The driver may well answer the same handle.
    guest.post(VkOp::ALLOCATE_COMMAND_BUFFERS.0, |e| requests::allocate_command_buffer(e, POOL, NEXT_BUFFER));
    guest.post(op::RECORD_PART, piece(NEXT_BUFFER, part::NEXT));
    assert_eq!(violation(guest), WITHOUT_FIRST);

    let guest = recorder(&adapter);
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    guest.post(VkOp::FREE_COMMAND_BUFFERS.0, free(POOL, BUFFER));
    guest.post(op::RECORD_PART, piece(BUFFER, part::LAST));
    assert_eq!(violation(guest), ("RECORD_PART", "unreadable"));
}

#[test]
fn part_after_its_pool_was_reset_or_destroyed_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let guest = recorder(&adapter);
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    guest.post(VkOp::RESET_COMMAND_POOL.0, reset_pool(POOL));
    guest.post(op::RECORD_PART, piece(BUFFER, part::LAST));
    assert_eq!(violation(guest), WITHOUT_FIRST);
    let guest = recorder(&adapter);
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    guest.post(VkOp::DESTROY_COMMAND_POOL.0, |e| e.u64(POOL));
    guest.post(op::RECORD_ABANDON, |e| e.u64(BUFFER));
    assert_eq!(violation(guest), ("RECORD_ABANDON", "unreadable"));
}

#[test]
fn abandoned_recording_that_was_none_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let guest = recorder(&adapter);
    guest.post(op::RECORD_ABANDON, |e| e.u64(BUFFER));
    assert_eq!(violation(guest), ("RECORD_ABANDON", "no recording in parts"));
    let guest = recorder(&adapter);
    guest.post(op::RECORD_PART, piece(BUFFER, part::FIRST));
    guest.post(op::RECORD_ABANDON, |e| e.u64(BUFFER));
    guest.post(op::RECORD_ABANDON, |e| e.u64(BUFFER));
    assert_eq!(violation(guest), ("RECORD_ABANDON", "no recording in parts"));
}

#[test]
fn parts_of_nothing_from_nowhere_or_of_no_kind_end_the_session() {
    let Some(adapter) = adapter() else { return };
    let cases: [(u64, u32, u64, u64, &str); 6] = [
        (NOBODY, part::FIRST, BLOCK, 0, "unreadable"),
        (0, part::FIRST, BLOCK, 0, "unreadable"),
        (BUFFER, 3, BLOCK, 0, "which part"),
        (BUFFER, part::FIRST, NO_WINDOW, 64, "no window at the recording"),
        (BUFFER, part::FIRST, BLOCK, 1 << 28, "no window at the recording"),
        (BUFFER, part::FIRST, BLOCK, u64::MAX, "recording is too long"),
    ];
    for (buffer, which, address, size_bytes, what) in cases {
        let guest = recorder(&adapter);
        guest.post(op::RECORD_PART, piece_at(buffer, which, address, size_bytes));
        assert_eq!(violation(guest).1, what);
    }
}

#[test]
fn operations_of_recordings_with_an_answer_end_the_session() {
    let Some(adapter) = adapter() else { return };
    for op in [op::RECORD, op::RECORD_PART, op::RECORD_ABANDON] {
        let mut guest = recorder(&adapter);
        assert_eq!(guest.call(op, piece(BUFFER, part::FIRST)), None);
        assert_eq!(violation(guest).1, "refused");
    }
}

/// A layout of one storage buffer and a pool of one such set.
fn describer(adapter: &Arc<dyn Adapter>) -> Guest {
    const STORAGE_BUFFER: i32 = 7;
    const COMPUTE: u32 = 0x20;
    let (guest, _) = device(adapter);
    guest.post(VkOp::CREATE_DESCRIPTOR_SET_LAYOUT.0, |e| {
        e.presence(Some(()));
        e.end_chain();
        e.u32(0);
        e.u32(1);
        e.count(1);
        e.u32(0);
        e.i32(STORAGE_BUFFER);
        e.u32(1);
        e.u32(COMPUTE);
        e.null();
        e.u64(id(1));
    });
    guest.post(VkOp::CREATE_DESCRIPTOR_POOL.0, |e| {
        e.presence(Some(()));
        e.end_chain();
        e.u32(0);
        e.u32(1);
        e.u32(1);
        e.count(1);
        e.i32(STORAGE_BUFFER);
        e.u32(1);
        e.u64(POOL);
    });
    guest
}

fn new_set(set: u64, pool: u64, layout: u64) -> impl FnOnce(&mut Encoder) {
    move |e| {
        e.u64(set);
        e.u32(set_flags::NEW);
        e.u64(pool);
        e.u64(layout);
        e.u32(u32::MAX);
        e.u32(0);
    }
}

#[test]
fn descriptor_sets_of_pools_and_layouts_that_are_not_there_end_the_session() {
    let Some(adapter) = adapter() else { return };
    let cases = [
        (0, POOL, id(1)),
        (id(1), NOBODY, id(1)),
        (id(1), 0, id(1)),
        (id(1), POOL, NOBODY),
        (id(1), POOL, 0),
    ];
    for (set, pool, layout) in cases {
        let guest = describer(&adapter);
        guest.post(op::DESCRIPTOR_SET, new_set(set, pool, layout));
        assert_eq!(violation(guest), ("DESCRIPTOR_SET", "unreadable"), "{set:x} {pool:x} {layout:x}");
    }
    let known = |set: u64, flags: u32| {
        move |e: &mut Encoder| {
            e.u64(set);
            e.u32(flags);
            e.u32(0);
        }
    };
    let guest = describer(&adapter);
    guest.post(op::DESCRIPTOR_SET, known(id(1), 0));
    assert_eq!(violation(guest), ("DESCRIPTOR_SET", "unreadable"));
}

#[test]
fn descriptor_set_that_is_there_already_or_no_more_ends_the_session() {
    let Some(adapter) = adapter() else { return };
    let guest = describer(&adapter);
    guest.post(op::DESCRIPTOR_SET, new_set(id(1), POOL, id(1)));
    guest.post(op::DESCRIPTOR_SET, new_set(id(1), POOL, id(1)));
    assert_eq!(violation(guest), ("DESCRIPTOR_SET", "unreadable"));
    let guest = describer(&adapter);
    guest.post(op::DESCRIPTOR_SET, new_set(id(1), POOL, id(1)));
    guest.post(VkOp::RESET_DESCRIPTOR_POOL.0, reset_pool(POOL));
    guest.post(op::DESCRIPTOR_SET, |e| {
        e.u64(id(1));
        e.u32(0);
        e.u32(0);
    });
    assert_eq!(violation(guest), ("DESCRIPTOR_SET", "unreadable"));
}

#[test]
fn shared_semaphores_without_an_answer_an_id_or_a_cell_end_the_session() {
    let Some(adapter) = adapter() else { return };
    let create = |semaphore: u64, cell: u64| {
        move |e: &mut Encoder| {
            e.u64(semaphore);
            e.u64(cell);
        }
    };
    for (semaphore, cell, what) in [
        (0, BLOCK + FREE as u64, "unreadable"),
        (id(1), NO_WINDOW, "no window at the cell"),
        (id(1), 0, "no window at the cell"),
        (id(1), BLOCK + FREE as u64 + 1, "misplaced cell"),
    ] {
        let (mut guest, _) = device(&adapter);
        assert_eq!(guest.call(op::CREATE_SHARED_SEMAPHORE, create(semaphore, cell)), None);
        assert_eq!(violation(guest), ("CREATE_SHARED_SEMAPHORE", what));
    }
    let (guest, _) = device(&adapter);
    guest.post(op::CREATE_SHARED_SEMAPHORE, create(id(1), BLOCK + FREE as u64));
    assert_eq!(violation(guest).1, "refused");

    let (mut guest, _) = device(&adapter);
    let made = guest.call(op::CREATE_SHARED_SEMAPHORE, create(id(1), BLOCK + FREE as u64));
    assert_eq!(made, Some(vec![0; 4]));
    assert_eq!(guest.call(op::CREATE_SHARED_SEMAPHORE, create(id(1), BLOCK + FREE as u64)), None);
    assert_eq!(violation(guest), ("CREATE_SHARED_SEMAPHORE", "unreadable"));
}
