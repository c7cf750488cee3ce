//! Streams: order, waits, copies, and what is told of them.

use std::sync::atomic::Ordering;

use dxg_wire::cell::WaitOutcome;
use dxg_wire::codec::Decoder;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;
use dxg_wire::session::StreamKind;

use crate::context::Context;
use crate::context::adapter;
use crate::context::fresh_range;
use crate::context::open;
use crate::guest::BLOCK;
use crate::guest::FREE;
use crate::guest::Guest;

#[test]
fn context_says_what_the_device_is() {
    let context = Context::new();
    let description = &context.description;
    assert_eq!(description.version, wire::VERSION);
    assert_eq!(description.memory_kind, wire::memory_kind::SHARED);
    assert_eq!(description.compute_capability, 75);
    assert_eq!(description.name, adapter().identity().name.as_bytes());
    assert!(description.name.starts_with(b"dxg CPU"));
    assert_eq!(description.memory_bytes, adapter().identity().memory_bytes());
    let warp = description.attributes.0.iter().find(|it| it.attribute == 10).unwrap();
    assert_eq!(warp.value, 32);
    assert!(adapter().serves(StreamKind::CUDA) && !adapter().serves(StreamKind::VULKAN_DEVICE));
    context.close();
}

#[test]
fn taken_range_is_refused_and_another_is_not() {
    let first = Context::new();
    let mut guest = Guest::open(adapter(), StreamKind::CUDA);
    let answer = guest.call(op::OPEN, |e| open(first.base).encode(e)).unwrap();
    assert_eq!(wire::Description::decode(&mut Decoder::new(&answer)).unwrap().result, 2);
    let answer = guest.call(op::OPEN, |e| open(fresh_range()).encode(e)).unwrap();
    assert_eq!(wire::Description::decode(&mut Decoder::new(&answer)).unwrap().result, 0);
    assert_eq!(guest.close(), Ok(()));
    first.close();
}

#[test]
fn range_of_a_closed_context_is_free_again() {
    let context = Context::new();
    let base = context.base;
    context.close();
    let mut guest = Guest::open(adapter(), StreamKind::CUDA);
    let answer = guest.call(op::OPEN, |e| open(base).encode(e)).unwrap();
    assert_eq!(wire::Description::decode(&mut Decoder::new(&answer)).unwrap().result, 0);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn copies_and_fills_happen_in_order() {
    let mut context = Context::new();
    let mut stream = context.stream();
    let base = context.base;
    let number = stream.number;
    let fill = |sequence, to: u64, width: u64, value: u32| wire::Fill {
        stream: number,
        value_bytes: 4,
        sequence,
        to,
        pitch: 0,
        width,
        height: 1,
        value,
    };
    // Larger than what the thread of the ring does itself, then smaller.
    let large = 1 << 18;
    let first = fill(stream.next(), base, large, 0x1111_1111);
    context.guest.post(op::FILL, |e| first.encode(e));
    let copy = wire::Copy {
        stream: number,
        sequence: stream.next(),
        to: base + (2 << 20),
        from: base,
        bytes: large * 4,
    };
    context.guest.post(op::COPY, |e| copy.encode(e));
    let last = fill(stream.next(), base + (2 << 20) + 8, 1, 0x2222_2222);
    context.guest.post(op::FILL, |e| last.encode(e));
    context.synchronise(&stream);
    let copied = context.memory(2 << 20, 1 << 20);
    assert_eq!(copied.read::<[u32; 4]>(0), Ok([0x1111_1111, 0x1111_1111, 0x2222_2222, 0x1111_1111]));
    assert_eq!(copied.read::<u32>((1 << 20) - 4), Ok(0x1111_1111));
    assert_eq!(context.error(), 0);
    context.close();
}

#[test]
fn boxes_are_copied_row_by_row() {
    let mut context = Context::new();
    let mut stream = context.stream();
    let source: Vec<u8> = (0..=255).collect();
    context.memory(0, 256).copy_in(0, &source).unwrap();
    let copy = wire::Copy3d {
        stream: stream.number,
        sequence: stream.next(),
        to: context.base + 4096,
        to_pitch: 8,
        to_slice: 32,
        from: context.base,
        from_pitch: 16,
        from_slice: 64,
        width_bytes: 4,
        height: 2,
        depth: 2,
    };
    context.guest.post(op::COPY_3D, |e| copy.encode(e));
    context.synchronise(&stream);
    let to = context.memory(4096, 64);
    for (at, first) in [(0, 0), (8, 16), (32, 64), (40, 80)] {
        assert_eq!(to.read::<[u8; 4]>(at), Ok([first, first + 1, first + 2, first + 3]));
    }
    assert_eq!(to.read::<u32>(4), Ok(0));
    context.close();
}

#[test]
fn wait_for_another_stream_ends_when_it_has_come_so_far() {
    let mut context = Context::new();
    let (mut one, mut two) = (context.stream(), context.stream());
    let (gate, gate_io) = context.guest.cell(0);
    let wait = wire::WaitCell { stream: one.number, sequence: one.next(), cell_io: gate_io, value: 3 };
    context.guest.post(op::WAIT_CELL, |e| wait.encode(e));
    let other =
        wire::WaitStream { stream: two.number, other: one.number, sequence: two.next(), other_sequence: 1 };
    context.guest.post(op::WAIT_STREAM, |e| other.encode(e));
    let stamp = wire::Timestamp { stream: two.number, sequence: two.next(), io: BLOCK + FREE as u64 };
    context.guest.post(op::TIMESTAMP, |e| stamp.encode(e));
    context.guest.settle();
    gate.publish(2);
    context.guest.settle();
    assert_eq!((one.cell.value(), two.cell.value()), (0, 0));
    gate.publish(3);
    context.synchronise(&two);
    assert_eq!(one.cell.value(), 1);
    assert_ne!(context.memory(0, 8).read::<u64>(0), Ok(0));
    context.close();
}

#[test]
fn stream_that_is_destroyed_counts_as_done_and_still_runs() {
    let mut context = Context::new();
    let (mut one, mut two) = (context.stream(), context.stream());
    let (gate, gate_io) = context.guest.cell(0);
    let wait = wire::WaitCell { stream: one.number, sequence: one.next(), cell_io: gate_io, value: 1 };
    context.guest.post(op::WAIT_CELL, |e| wait.encode(e));
    let number = one.number;
    context.guest.post(op::DESTROY_STREAM, |e| wire::StreamRef { stream: number }.encode(e));
    let other =
        wire::WaitStream { stream: two.number, other: number, sequence: two.next(), other_sequence: 1 };
    context.guest.post(op::WAIT_STREAM, |e| other.encode(e));
    context.synchronise(&two);
    assert_eq!(one.cell.value(), 0);
    gate.publish(1);
    context.synchronise(&one);
    context.close();
}

#[test]
fn cells_are_raised_and_numbers_written_and_waited_for() {
    let mut context = Context::new();
    let (mut one, mut two) = (context.stream(), context.stream());
    let at = context.base + 128;
    let wait = wire::WaitValue {
        stream: one.number,
        bytes: 8,
        sequence: one.next(),
        at,
        value: 5,
        compare: wire::wait_value::GEQ,
    };
    context.guest.post(op::WAIT_VALUE, |e| wait.encode(e));
    let (seen, cell_io) = context.guest.cell(0);
    let signal = wire::SignalCell { stream: one.number, sequence: one.next(), cell_io, value: 9 };
    context.guest.post(op::SIGNAL_CELL, |e| signal.encode(e));
    let write = |sequence, value| wire::WriteValue { stream: two.number, bytes: 8, sequence, to: at, value };
    context.guest.post(op::WRITE_VALUE, |e| write(two.sequence + 1, 4).encode(e));
    two.next();
    context.synchronise(&two);
    assert_eq!(seen.value(), 0);
    let last = wire::WriteValue { stream: two.number, bytes: 8, sequence: two.next(), to: at, value: 5 };
    context.guest.post(op::WRITE_VALUE, |e| last.encode(e));
    assert_eq!(context.guest.wait(&seen, 9), WaitOutcome::Reached);
    context.synchronise(&one);
    context.close();
}

#[test]
fn many_streams_that_wait_for_cells_are_all_woken() {
    let mut context = Context::new();
    let (gate, cell_io) = context.guest.cell(0);
    let mut streams: Vec<_> = (0..300).map(|_| context.stream()).collect();
    for stream in &mut streams {
        let wait = wire::WaitCell { stream: stream.number, sequence: stream.next(), cell_io, value: 1 };
        context.guest.post(op::WAIT_CELL, |e| wait.encode(e));
    }
    context.guest.settle();
    gate.publish(1);
    streams.iter().for_each(|stream| context.synchronise(stream));
    context.close();
}

#[test]
fn context_closes_while_streams_wait_for_what_never_comes() {
    let mut context = Context::new();
    let (mut one, mut two) = (context.stream(), context.stream());
    let (_gate, cell_io) = context.guest.cell(0);
    let wait = wire::WaitCell { stream: one.number, sequence: one.next(), cell_io, value: 1 };
    context.guest.post(op::WAIT_CELL, |e| wait.encode(e));
    let wait = wire::WaitValue {
        stream: two.number,
        bytes: 4,
        sequence: two.next(),
        at: context.base,
        value: 1,
        compare: wire::wait_value::EQ,
    };
    context.guest.post(op::WAIT_VALUE, |e| wait.encode(e));
    // Two streams that wait for each other.
    let (mut three, mut four) = (context.stream(), context.stream());
    for (stream, other) in [(&mut three, 3), (&mut four, 2)] {
        let wait =
            wire::WaitStream { stream: stream.number, other, sequence: stream.next(), other_sequence: 2 };
        context.guest.post(op::WAIT_STREAM, |e| wait.encode(e));
    }
    context.guest.settle();
    let ledger = std::sync::Arc::clone(&context.guest.ledger);
    context.close();
    assert_eq!(ledger.charged.load(Ordering::SeqCst), 0);
}

#[test]
fn unmapped_memory_is_gone_and_can_be_mapped_again() {
    let mut context = Context::new();
    let mut stream = context.stream();
    let base = context.base;
    let unmap = wire::Unmap { address: base + 4096, bytes: 4096 };
    assert_eq!(context.guest.call(op::UNMAP, |e| unmap.encode(e)), Some(Vec::new()));
    context.map(base + 4096, BLOCK + FREE as u64 + 8192, 4096);
    context.memory(8192, 8).write(0, &77_u64).unwrap();
    let copy =
        wire::Copy { stream: stream.number, sequence: stream.next(), to: base, from: base + 4096, bytes: 8 };
    context.guest.post(op::COPY, |e| copy.encode(e));
    context.synchronise(&stream);
    assert_eq!(context.memory(0, 8).read::<u64>(0), Ok(77));
    assert_eq!(context.error(), 0);
    context.close();
}
