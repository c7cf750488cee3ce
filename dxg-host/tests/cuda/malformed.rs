//! What no honest guest sends ends its session.

use dxg_wire::codec::Encoder;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;
use dxg_wire::session::StreamKind;

use crate::context::Context;
use crate::context::MEMORY_BYTES;
use crate::context::RANGE_BYTES;
use crate::context::adapter;
use crate::context::fresh_range;
use crate::context::open;
use crate::guest::BLOCK;
use crate::guest::FREE;
use crate::guest::Guest;

const MEMORY_IO: u64 = BLOCK + FREE as u64;
const NOWHERE_IO: u64 = 0x7_0000_0000;

/// What a context says to one entry after `before`.
fn verdict(op: u16, body: impl FnOnce(&Context, &mut Encoder)) -> &'static str {
    let mut context = Context::new();
    let mut entry = Encoder::new();
    let stream = context.stream();
    assert_eq!(stream.number, 0);
    body(&context, &mut entry);
    let body = entry.as_slice().to_vec();
    context.guest.post(op, |e| e.bytes(&body));
    context.violated()
}

fn verdict_on_open(change: impl FnOnce(&mut wire::Open)) -> bool {
    let mut guest = Guest::open(adapter(), StreamKind::CUDA);
    let mut message = open(fresh_range());
    change(&mut message);
    guest.call(op::OPEN, |e| message.encode(e)).is_none()
}

#[test]
fn open_that_cannot_be_meant() {
    assert!(verdict_on_open(|open| open.version += 1));
    assert!(verdict_on_open(|open| open.compute_capability = 20));
    assert!(verdict_on_open(|open| open.range_start += 1));
    assert!(verdict_on_open(|open| open.range_start = 0));
    assert!(verdict_on_open(|open| open.range_bytes = 0));
    assert!(verdict_on_open(|open| open.range_bytes = 1 << 45));
    assert!(verdict_on_open(|open| open.range_start = u64::MAX - 4095));
    assert!(verdict_on_open(|open| open.status_io = NOWHERE_IO));
    assert!(verdict_on_open(|open| open.status_io += 4));
}

#[test]
fn second_open() {
    assert_eq!(verdict(op::OPEN, |_, e| open(fresh_range()).encode(e)), "no place for the answer");
    let mut context = Context::new();
    assert_eq!(context.guest.call(op::OPEN, |e| open(fresh_range()).encode(e)), None);
    assert_eq!(context.violated(), "there is a context");
}

#[test]
fn commands_before_the_context() {
    let copy = wire::Copy { stream: 0, sequence: 1, to: 0, from: 0, bytes: 0 };
    let unmap = wire::Unmap { address: 4096, bytes: 4096 };
    let create = wire::CreateStream { stream: 0, priority: 0, progress_io: MEMORY_IO };
    type Body<'a> = (u16, &'a dyn Fn(&mut Encoder));
    let bodies: [Body<'_>; 3] = [
        (op::COPY, &|e| copy.encode(e)),
        (op::UNMAP, &|e| unmap.encode(e)),
        (op::CREATE_STREAM, &|e| create.encode(e)),
    ];
    for (op, body) in bodies {
        let guest = Guest::open(adapter(), StreamKind::CUDA);
        guest.post(op, body);
        assert!(guest.ended().is_err());
    }
}

#[test]
fn unknown_operation() {
    assert_eq!(verdict(0x80FF, |_, _| {}), "unknown operation");
}

#[test]
fn map_of_what_is_not_there_or_to_where_it_may_not_be() {
    let map =
        |address, io, bytes| move |_: &Context, e: &mut Encoder| wire::Map { address, io, bytes }.encode(e);
    let free = RANGE_BYTES / 2;
    let at = |offset: u64, io: u64, bytes: u64| {
        verdict(op::MAP, |context, e| wire::Map { address: context.base + offset, io, bytes }.encode(e))
    };
    assert_eq!(at(free, NOWHERE_IO, 4096), "no window at the address");
    assert_eq!(at(free, MEMORY_IO, 1 << 40), "no window at the address");
    assert_eq!(at(free + 1, MEMORY_IO, 4096), "not whole pages");
    assert_eq!(at(free, MEMORY_IO + 1, 4096), "not whole pages");
    assert_eq!(at(free, MEMORY_IO, 4097), "not whole pages");
    assert_eq!(at(free, MEMORY_IO, 0), "nothing");
    assert_eq!(at(0, MEMORY_IO, 4096), "something is mapped there");
    assert_eq!(at(MEMORY_BYTES as u64 - 4096, MEMORY_IO, 8192), "something is mapped there");
    assert_eq!(at(RANGE_BYTES - 4096, MEMORY_IO, 8192), "not whole pages of the range");
    assert_eq!(verdict(op::MAP, map(0x1000, MEMORY_IO, 4096)), "not whole pages of the range");
    assert_eq!(verdict(op::MAP, map(u64::MAX - 4095, MEMORY_IO, 4096)), "not whole pages of the range");
}

#[test]
fn unmap_of_what_is_not_mapped() {
    let at = |offset: u64, bytes| {
        verdict(op::UNMAP, |context, e| wire::Unmap { address: context.base + offset, bytes }.encode(e))
    };
    assert_eq!(at(MEMORY_BYTES as u64 - 4096, 8192), "not mapped");
    assert_eq!(at(RANGE_BYTES, 4096), "not whole pages of the range");
    assert_eq!(at(0, 0), "nothing");
}

#[test]
fn modules_that_do_not_exist() {
    let launch = |module, function, flags| wire::Launch {
        stream: 0,
        flags,
        sequence: 1,
        module,
        function,
        grid: [1, 1, 1],
        block: [1, 1, 1],
        shared_bytes: 0,
        params: Vec::new(),
    };
    assert_eq!(verdict(op::LAUNCH, |_, e| launch(7, 0, 0).encode(e)), "no such module");
    assert_eq!(verdict(op::LAUNCH, |_, e| launch(7, 0, 2).encode(e)), "unknown flags");
    assert_eq!(verdict(op::UNLOAD_MODULE, |_, e| wire::ModuleRef { module: 1 }.encode(e)), "no such module");
    let place = wire::PlaceModule { module: 1, address: 0 };
    assert_eq!(verdict(op::PLACE_MODULE, |_, e| place.encode(e)), "no such module");
}

#[test]
fn module_is_placed_once_where_memory_is_and_launched_after_that() {
    const TEXT: &str =
        ".version 7.0\n.target sm_75\n.address_size 64\n.global .u32 x;\n.visible .entry e() { ret; }\n";
    let loaded = || {
        let mut context = Context::new();
        let (module, loaded) = context.try_load(&[TEXT]);
        assert_eq!((module, loaded.result), (1, 0));
        context
    };
    let launch = wire::Launch {
        stream: 0,
        flags: 0,
        sequence: 1,
        module: 1,
        function: 0,
        grid: [1, 1, 1],
        block: [1, 1, 1],
        shared_bytes: 0,
        params: Vec::new(),
    };
    let context = loaded();
    context.guest.post(op::LAUNCH, |e| launch.encode(e));
    assert_eq!(context.violated(), "the module has no place");
    for offset in [MEMORY_BYTES as u64, 16] {
        let context = loaded();
        let place = wire::PlaceModule { module: 1, address: context.base + offset };
        context.guest.post(op::PLACE_MODULE, |e| place.encode(e));
        assert_eq!(context.violated(), "no memory for the variables");
    }
    let context = loaded();
    let place = wire::PlaceModule { module: 1, address: context.base };
    context.guest.post(op::PLACE_MODULE, |e| place.encode(e));
    context.guest.post(op::PLACE_MODULE, |e| place.encode(e));
    assert_eq!(context.violated(), "it has a place");
    let mut context = loaded();
    let place = wire::PlaceModule { module: 1, address: context.base };
    context.guest.post(op::PLACE_MODULE, |e| place.encode(e));
    context.stream();
    let launch = wire::Launch { function: 1, ..launch };
    context.guest.post(op::LAUNCH, |e| launch.encode(e));
    assert_eq!(context.violated(), "no such function");
}

#[test]
fn images_that_cannot_be_read() {
    let load = |images: Vec<wire::Image>, optimization| {
        let mut context = Context::new();
        let load = wire::LoadModule { module: 1, images: wire::List(images), optimization, log_bytes: 0 };
        assert_eq!(context.guest.call(op::LOAD_MODULE, |e| load.encode(e)), None);
        context.violated()
    };
    let image = |kind, io, bytes| wire::Image { kind, io, bytes, name: Vec::new() };
    assert_eq!(load(Vec::new(), 4), "impossible number of images");
    assert_eq!(load(vec![image(0, NOWHERE_IO, 16)], 4), "no window at the address");
    assert_eq!(load(vec![image(0, MEMORY_IO, 1 << 40)], 4), "images too large");
    assert_eq!(load(vec![image(2, MEMORY_IO, 16)], 4), "unknown kind of image");
    assert_eq!(load(vec![image(0, MEMORY_IO, 16)], 5), "unknown optimisation level");
}

#[test]
fn streams_that_exist_or_do_not() {
    let create = |stream, progress_io| wire::CreateStream { stream, priority: 0, progress_io };
    let made = |stream, io| verdict(op::CREATE_STREAM, |_, e| create(stream, io).encode(e));
    assert_eq!(made(0, MEMORY_IO), "the number is in use");
    assert_eq!(made(65_536, MEMORY_IO), "stream number too large");
    assert_eq!(made(1, NOWHERE_IO), "no window at the address");
    assert_eq!(made(1, MEMORY_IO + 4), "misplaced cell");
    assert_eq!(verdict(op::DESTROY_STREAM, |_, e| wire::StreamRef { stream: 1 }.encode(e)), "no such stream");
    let copy = |stream, sequence| wire::Copy { stream, sequence, to: 0, from: 0, bytes: 0 };
    assert_eq!(verdict(op::COPY, |_, e| copy(1, 1).encode(e)), "no such stream");
    assert_eq!(verdict(op::COPY, |_, e| copy(0, 2).encode(e)), "a number out of order");
    assert_eq!(verdict(op::COPY, |_, e| copy(0, 0).encode(e)), "a number out of order");
}

#[test]
fn work_that_names_what_is_not_there() {
    let cell = wire::WaitCell { stream: 0, sequence: 1, cell_io: NOWHERE_IO, value: 0 };
    assert_eq!(verdict(op::WAIT_CELL, |_, e| cell.encode(e)), "no window at the address");
    let cell = wire::SignalCell { stream: 0, sequence: 1, cell_io: MEMORY_IO + 4, value: 0 };
    assert_eq!(verdict(op::SIGNAL_CELL, |_, e| cell.encode(e)), "misplaced cell");
    let stamp = wire::Timestamp { stream: 0, sequence: 1, io: MEMORY_IO + 4 };
    assert_eq!(verdict(op::TIMESTAMP, |_, e| stamp.encode(e)), "misplaced number");
    let wait = wire::WaitStream { stream: 0, other: 0, sequence: 1, other_sequence: 1 };
    assert_eq!(verdict(op::WAIT_STREAM, |_, e| wait.encode(e)), "a stream that waits for itself");
    let fifo = wire::SetFifo { io: MEMORY_IO, bytes: 128 + 100 };
    assert_eq!(verdict(op::SET_FIFO, |_, e| fifo.encode(e)), "memory that is no FIFO");
    let heap = wire::SetHeap { address: 4096, bytes: 4096 };
    assert_eq!(verdict(op::SET_HEAP, |_, e| heap.encode(e)), "outside of the range");
}

#[test]
fn numbers_and_values_of_impossible_sizes() {
    let write = |bytes, to| wire::WriteValue { stream: 0, bytes, sequence: 1, to, value: 0 };
    assert_eq!(verdict(op::WRITE_VALUE, |_, e| write(2, 0).encode(e)), "no number of 4 or 8 bytes");
    assert_eq!(verdict(op::WRITE_VALUE, |_, e| write(8, 4).encode(e)), "no number of 4 or 8 bytes");
    let fill = |value_bytes, width| wire::Fill {
        stream: 0,
        value_bytes,
        sequence: 1,
        to: 0,
        pitch: 0,
        width,
        height: 1,
        value: 0,
    };
    assert_eq!(verdict(op::FILL, |_, e| fill(3, 1).encode(e)), "malformed");
    assert_eq!(verdict(op::FILL, |_, e| fill(4, u64::MAX).encode(e)), "malformed");
}

#[test]
fn truncated_entry() {
    assert_eq!(verdict(op::COPY, |_, e| e.u32(0)), "malformed");
}
