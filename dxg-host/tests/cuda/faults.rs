//! What kernels do wrong, and how it ends.

use std::time::Duration;

use dxg_host::adapter::cuda::Executor;
use dxg_host::adapter::cuda::Settings;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;

use crate::context::Context;
use crate::context::MEMORY_BYTES;
use crate::context::Module;
use crate::context::Stream;
use crate::guest::BLOCK;
use crate::guest::FREE;

const FAULTS: &str = "
.version 7.0
.target sm_75
.address_size 64
.visible .entry store(.param .u64 at, .param .u64 value)
{
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at];
    ld.param.u32 %r1, [value];
    st.global.u32 [%rd1], %r1;
    ret;
}
.visible .entry stop()
{
    trap;
    ret;
}
.visible .entry spin(.param .u64 at)
{
    .reg .pred %p<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at];
LOOP:
    ld.volatile.global.u32 %r1, [%rd1];
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra LOOP;
    ret;
}
";

const ONE: [[u32; 3]; 2] = [[1, 1, 1], [1, 1, 1]];

fn faulty() -> (Context, Module, Stream) {
    let mut context = Context::new();
    let module = context.load(FAULTS, 0);
    let stream = context.stream();
    (context, module, stream)
}

#[test]
fn illegal_address_sticks_and_later_work_completes_without_running() {
    let (mut context, module, mut stream) = faulty();
    let base = context.base;
    context.launch(&mut stream, &module, "store", ONE, &[base, 1]);
    context.launch(&mut stream, &module, "store", ONE, &[base + MEMORY_BYTES as u64, 2]);
    context.launch(&mut stream, &module, "store", ONE, &[base + 8, 3]);
    context.synchronise(&stream);
    assert_eq!(context.error(), 700);
    assert_eq!(context.memory(0, 4).read::<u32>(0), Ok(1));
    assert_eq!(context.memory(8, 4).read::<u32>(0), Ok(0));
    // Another stream of the same context fails as well.
    let mut other = context.stream();
    context.launch(&mut other, &module, "store", ONE, &[base + 8, 3]);
    context.synchronise(&other);
    assert_eq!(context.memory(8, 4).read::<u32>(0), Ok(0));
    context.close();
}

#[test]
fn address_outside_of_the_range_is_illegal() {
    let (mut context, module, mut stream) = faulty();
    context.launch(&mut stream, &module, "store", ONE, &[0x10, 1]);
    context.synchronise(&stream);
    assert_eq!(context.error(), 700);
    context.close();
}

#[test]
fn misaligned_address_is_told_apart() {
    let (mut context, module, mut stream) = faulty();
    let base = context.base;
    context.launch(&mut stream, &module, "store", ONE, &[base + 2, 1]);
    context.synchronise(&stream);
    assert_eq!(context.error(), 716);
    context.close();
}

#[test]
fn trap_is_a_failed_launch() {
    let (mut context, module, mut stream) = faulty();
    context.launch(&mut stream, &module, "stop", [[64, 1, 1], [128, 1, 1]], &[]);
    context.synchronise(&stream);
    assert_eq!(context.error(), 719);
    context.close();
}

#[test]
fn fault_of_one_context_is_not_another_s() {
    let (mut context, module, mut stream) = faulty();
    let (mut other, other_module, mut other_stream) = faulty();
    context.launch(&mut stream, &module, "stop", ONE, &[]);
    context.synchronise(&stream);
    let base = other.base;
    other.launch(&mut other_stream, &other_module, "store", ONE, &[base, 5]);
    other.synchronise(&other_stream);
    assert_eq!((context.error(), other.error()), (719, 0));
    context.close();
    other.close();
}

#[test]
fn watchdog_ends_a_grid_without_an_end() {
    let settings = Settings { watchdog: Some(Duration::from_millis(50)), ..Settings::default() };
    let mut context = Context::with(settings);
    let module = context.load(FAULTS, 0);
    let mut stream = context.stream();
    let base = context.base;
    context.launch(&mut stream, &module, "spin", ONE, &[base]);
    context.synchronise(&stream);
    assert_eq!(context.error(), 702);
    context.close();
}

#[test]
fn context_closes_while_a_grid_runs_without_an_end() {
    let (mut context, module, mut stream) = faulty();
    let base = context.base;
    context.launch(&mut stream, &module, "spin", [[16, 1, 1], [64, 1, 1]], &[base]);
    context.guest.settle();
    context.close();
}

#[test]
fn cooperative_grid_of_more_blocks_than_can_run_together_is_refused() {
    for settings in [Settings::default(), Settings { executor: Executor::Interpreter, ..Settings::default() }]
    {
        let mut context = Context::with(settings);
        let module = context.load(FAULTS, 0);
        let mut stream = context.stream();
        let launch = wire::Launch {
            stream: stream.number,
            flags: wire::launch_flags::COOPERATIVE,
            sequence: stream.next(),
            module: module.number,
            function: module.function("stop"),
            grid: [0x7FFF_FFFF, 65_535, 65_535],
            block: [1, 1, 1],
            shared_bytes: 0,
            params: Vec::new(),
        };
        context.guest.post(op::LAUNCH, |e| launch.encode(e));
        context.synchronise(&stream);
        assert_eq!(context.error(), 720);
        context.close();
    }
}

#[test]
fn context_closes_while_a_box_without_an_end_is_copied() {
    for [width_bytes, height, depth] in [[16, 1, 1 << 60], [0, 1 << 60, 1 << 60], [16, 0, 1 << 60]] {
        let mut context = Context::new();
        let mut stream = context.stream();
        let copy = wire::Copy3d {
            stream: stream.number,
            sequence: stream.next(),
            to: context.base,
            to_pitch: 0,
            to_slice: 0,
            from: context.base + 64,
            from_pitch: 0,
            from_slice: 0,
            width_bytes,
            height,
            depth,
        };
        context.guest.post(op::COPY_3D, |e| copy.encode(e));
        context.guest.settle();
        context.close();
    }
}

#[test]
fn grid_that_waits_for_another_stream_does_not_keep_it_from_running() {
    let (mut context, module, mut stream) = faulty();
    let base = context.base;
    // More blocks than there are threads for them.
    context.launch(&mut stream, &module, "spin", [[64, 1, 1], [32, 1, 1]], &[base]);
    let mut others: Vec<_> = (0..4).map(|_| context.stream()).collect();
    for other in &mut others {
        context.launch(other, &module, "spin", [[4, 1, 1], [32, 1, 1]], &[base]);
    }
    let mut last = context.stream_of_priority(-1);
    context.launch(&mut last, &module, "store", ONE, &[base, 1]);
    context.synchronise(&last);
    others.iter().for_each(|other| context.synchronise(other));
    context.synchronise(&stream);
    assert_eq!(context.error(), 0);
    context.close();
}

#[test]
fn kernel_that_was_short_may_wait_for_another_stream() {
    let (mut context, module, mut stream) = faulty();
    let base = context.base;
    context.memory(0, 4).write(0, &1_u32).unwrap();
    for _ in 0..64 {
        context.launch(&mut stream, &module, "spin", ONE, &[base]);
        context.synchronise(&stream);
    }
    context.memory(0, 4).write(0, &0_u32).unwrap();
    context.launch(&mut stream, &module, "spin", ONE, &[base]);
    // What it waits for comes behind it in the ring.
    let mut other = context.stream();
    context.launch(&mut other, &module, "store", ONE, &[base, 1]);
    context.synchronise(&stream);
    assert_eq!(context.error(), 0);
    context.close();
}

#[test]
fn launch_that_cannot_be_is_an_error_of_the_context() {
    let cases = [
        ([[1, 1, 1], [1025, 1, 1]], 0, 1),
        ([[1, 1, 1], [32, 33, 1]], 0, 1),
        ([[0, 1, 1], [1, 1, 1]], 0, 1),
        ([[1, 65_536, 1], [1, 1, 1]], 0, 1),
        ([[1, 1, 1], [1, 1, 65]], 0, 1),
        ([[1, 1, 1], [1, 1, 1]], 228 << 10, 701),
    ];
    for ([grid, block], shared_bytes, error) in cases {
        let (context, module, mut stream) = faulty();
        let launch = wire::Launch {
            stream: stream.number,
            flags: 0,
            sequence: stream.next(),
            module: module.number,
            function: module.function("stop"),
            grid,
            block,
            shared_bytes,
            params: Vec::new(),
        };
        context.guest.post(op::LAUNCH, |e| launch.encode(e));
        context.synchronise(&stream);
        assert_eq!(context.error(), error, "{grid:?} {block:?}");
        context.close();
    }
}

#[test]
fn too_few_parameter_bytes_are_an_error_of_the_context() {
    let (mut context, module, mut stream) = faulty();
    context.launch(&mut stream, &module, "store", ONE, &[]);
    context.synchronise(&stream);
    assert_eq!(context.error(), 1);
    context.close();
}

#[test]
fn copy_of_memory_that_is_not_there_is_an_error_of_the_context() {
    let (context, _, mut stream) = faulty();
    let base = context.base;
    let copy = wire::Copy {
        stream: stream.number,
        sequence: stream.next(),
        to: base,
        from: base + MEMORY_BYTES as u64 - 8,
        bytes: 16,
    };
    context.guest.post(op::COPY, |e| copy.encode(e));
    context.synchronise(&stream);
    assert_eq!(context.error(), 700);
    context.close();
}

#[test]
fn cells_are_raised_after_an_error_and_waits_end() {
    let (mut context, module, mut stream) = faulty();
    let mut waiting = context.stream();
    let (_never, never_io) = context.guest.cell(0);
    let (raised, raised_io) = context.guest.cell(0);
    let wait =
        wire::WaitCell { stream: waiting.number, sequence: waiting.next(), cell_io: never_io, value: 1 };
    context.guest.post(op::WAIT_CELL, |e| wait.encode(e));
    context.guest.settle();
    context.launch(&mut stream, &module, "stop", ONE, &[]);
    let signal =
        wire::SignalCell { stream: stream.number, sequence: stream.next(), cell_io: raised_io, value: 4 };
    context.guest.post(op::SIGNAL_CELL, |e| signal.encode(e));
    context.synchronise(&stream);
    context.synchronise(&waiting);
    assert_eq!(raised.value(), 4);
    context.close();
}

#[test]
fn what_kernels_print_comes_in_order() {
    let text = "
.version 7.0
.target sm_75
.address_size 64
.extern .func (.param .b32 out) vprintf (.param .b64 format, .param .b64 args);
.global .align 1 .b8 format[8] = {110, 61, 37, 100, 10, 0};
.visible .entry count()
{
    .local .align 8 .b8 args[8];
    .reg .b32 %r<3>;
    .reg .b64 %rd<4>;
    .reg .pred %p<2>;
    mov.u32 %r1, 0;
LOOP:
    st.local.u32 [args], %r1;
    mov.u64 %rd1, format;
    cvta.global.u64 %rd1, %rd1;
    mov.u64 %rd2, args;
    cvta.local.u64 %rd2, %rd2;
    {
    .param .b64 p0;
    .param .b64 p1;
    .param .b32 q;
    st.param.b64 [p0], %rd1;
    st.param.b64 [p1], %rd2;
    call.uni (q), vprintf, (p0, p1);
    }
    add.s32 %r1, %r1, 1;
    setp.lt.s32 %p1, %r1, 3;
    @%p1 bra LOOP;
    ret;
}
";
    let mut context = Context::new();
    let module = context.load(text, 1 << 20);
    let mut stream = context.stream();
    let fifo = wire::SetFifo { io: BLOCK + FREE as u64, bytes: 128 + 256 };
    context.guest.post(op::SET_FIFO, |e| fifo.encode(e));
    context.launch(&mut stream, &module, "count", ONE, &[]);
    context.synchronise(&stream);
    assert_eq!(context.error(), 0);
    assert_eq!(context.printed(), 1);
    assert_eq!(context.memory(0, 8).read::<u64>(0), Ok(24));
    for number in 0..3_u8 {
        let record = context.memory(128 + u64::from(number) * 8, 8);
        assert_eq!(record.read::<u32>(0), Ok(4));
        assert_eq!(record.read::<[u8; 4]>(4), Ok([b'n', b'=', b'0' + number, b'\n']));
    }
    context.close();
}

#[test]
fn kernels_allocate_from_the_heap_that_was_set() {
    let text = "
.version 7.0
.target sm_75
.address_size 64
.extern .func (.param .b64 out) malloc (.param .b64 size);
.visible .entry take(.param .u64 to)
{
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [to];
    {
    .param .b64 p;
    .param .b64 q;
    mov.u64 %rd2, 100;
    st.param.b64 [p], %rd2;
    call.uni (q), malloc, (p);
    ld.param.b64 %rd3, [q];
    }
    st.global.u64 [%rd1], %rd3;
    ret;
}
";
    let mut context = Context::new();
    let module = context.load(text, 0);
    let mut stream = context.stream();
    let base = context.base;
    context.launch(&mut stream, &module, "take", ONE, &[base]);
    context.synchronise(&stream);
    assert_eq!(context.memory(0, 8).read::<u64>(0), Ok(0));
    let heap = wire::SetHeap { address: base + 4096, bytes: 4096 };
    context.guest.post(op::SET_HEAP, |e| heap.encode(e));
    context.launch(&mut stream, &module, "take", ONE, &[base]);
    context.launch(&mut stream, &module, "take", ONE, &[base + 8]);
    context.synchronise(&stream);
    let pointers = context.memory(0, 16).read::<[u64; 2]>(0).unwrap();
    assert_eq!(pointers, [base + 4096, base + 4096 + 128]);
    context.close();
}
