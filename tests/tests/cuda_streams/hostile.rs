//! Programs that do what they should not, or without end, next to one that does no harm.

use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;

use crate::guest::BASE;
use crate::guest::Context;
use crate::guest::DEVICE_BYTES;
use crate::guest::OWN;
use crate::guest::RANGE_BYTES;
use crate::guest::Shape;
use crate::machine::KERNELS;
use crate::machine::Machine;
use crate::machine::Neighbour;
use crate::machine::memory_of;

const HEAD: &str = "\n.version 7.0\n.target sm_75\n.address_size 64\n";
/// With this, a grid runs so long at most.
const WATCHDOG: &str = "[cuda]\nwatchdog_ms = 200\n";
const ILLEGAL_ADDRESS: u32 = 700;
const TIMEOUT: u32 = 702;

/// A hostile client of a machine and its neighbour.
fn beside(machine: &Machine) -> (Context, Neighbour) {
    let mut neighbour = Neighbour::of(machine);
    neighbour.computes();
    (Context::open(&machine.socket()), neighbour)
}

#[test]
fn text_of_64_megabytes_is_more_than_a_small_quota_has() {
    let config = "[[vgpu]]\nadapter = 0\nclient_quota_bytes = 536870912\n";
    let Some(machine) = Machine::with(config) else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let worker = *machine.workers().last().unwrap();
    let statement = "    add.u32 %r1, %r1, 1;\n";
    let body = statement.repeat((64 << 20) / statement.len());
    let text = format!("{HEAD}.visible .entry long()\n{{\n    .reg .b32 %r<2>;\n{body}    ret;\n}}\n");
    let (_, loaded) = context.try_load(&text);
    assert_eq!(loaded.result, 2, "out of memory");
    assert!(memory_of(worker, "VmHWM") < 512 << 20);
    // What is refused is forgotten: the client goes on.
    let module = context.load(KERNELS, 0x10000);
    context.launch((&module, "count"), Shape::of(1, 32), &[BASE]);
    assert_eq!((context.synchronise(), context.word(0)), (0, 496));
    neighbour.computes();
}

#[test]
fn entry_of_a_hundred_thousand_instructions_runs() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let body = "    add.u32 %r1, %r1, 1;\n".repeat(100_000);
    let text = format!(
        "{HEAD}.visible .entry long(.param .u64 to)\n{{\n    .reg .b32 %r<2>;\n    .reg .b64 %rd<2>;\n    mov.u32 %r1, 0;\n{body}\
         \x20   ld.param.u64 %rd1, [to];\n    st.global.u32 [%rd1], %r1;\n    ret;\n}}\n"
    );
    let module = context.load(&text, 0);
    context.launch((&module, "long"), Shape::of(1, 1), &[BASE]);
    neighbour.computes();
    assert_eq!((context.synchronise(), context.word(0)), (0, 100_000));
}

#[test]
fn text_that_is_nested_without_end_is_refused() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let braces = "{\n".repeat(1_000_000);
    let parentheses = "(".repeat(1_000_000);
    for text in [
        format!("{HEAD}.visible .entry deep()\n{{\n{braces}"),
        format!("{HEAD}.visible .entry deep()\n{{\n    .reg .b32 %r<2>;\n    mov.u32 %r1, {parentheses}1;\n"),
        format!("{HEAD}.global .b32 x[2] = {braces}"),
    ] {
        let (_, loaded) = context.try_load(&text);
        assert_eq!(loaded.result, 218, "invalid PTX");
        assert!(!loaded.error_log.is_empty());
    }
    neighbour.computes();
}

/// Functions of which each calls the next as often as said, and an entry that calls the first.
fn chain(functions: usize, calls: usize) -> String {
    let mut text = HEAD.to_owned();
    text += ".func (.param .b32 out) f0(.param .b32 n)\n{\n    .reg .b32 %r<2>;\n    ld.param.u32 %r1, [n];\n    add.u32 %r1, %r1, 1;\n    \
             st.param.b32 [out], %r1;\n    ret;\n}\n";
    let call = |to: &str| {
        format!(
            "    {{\n    .param .b32 p;\n    .param .b32 q;\n    st.param.b32 [p], %r1;\n    call.uni (q), {to}, (p);\n    \
             ld.param.b32 %r1, [q];\n    }}\n"
        )
    };
    for number in 1..functions {
        let body = call(&format!("f{}", number - 1)).repeat(calls);
        text += &format!(
            ".func (.param .b32 out) f{number}(.param .b32 n)\n{{\n    .reg .b32 %r<2>;\n    ld.param.u32 %r1, [n];\n{body}    \
             st.param.b32 [out], %r1;\n    ret;\n}}\n"
        );
    }
    let body = call(&format!("f{}", functions - 1));
    text + &format!(
        ".visible .entry main(.param .u64 to)\n{{\n    .reg .b32 %r<2>;\n    .reg .b64 %rd<2>;\n    mov.u32 %r1, 0;\n{body}    \
             ld.param.u64 %rd1, [to];\n    st.global.u32 [%rd1], %r1;\n    ret;\n}}\n"
    )
}

#[test]
fn chain_of_calls_that_is_long_runs() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let module = context.load(&chain(300, 1), 0);
    context.launch((&module, "main"), Shape::of(2, 32), &[BASE]);
    neighbour.computes();
    assert_eq!((context.synchronise(), context.word(0)), (0, 1));
}

#[test]
fn calls_that_double_and_double_are_ended_by_the_watchdog() {
    let Some(machine) = Machine::with(WATCHDOG) else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let module = context.load(&chain(60, 2), 0);
    context.launch((&module, "main"), Shape::of(2, 32), &[BASE]);
    assert_eq!(context.synchronise(), TIMEOUT);
    neighbour.computes();
}

#[test]
fn recursion_without_an_end_fills_the_stack_of_its_thread_only() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let text = chain(2, 1).replace("call.uni (q), f0", "call.uni (q), f1");
    let module = context.load(&text, 0);
    context.launch((&module, "main"), Shape::of(64, 256), &[BASE]);
    assert_eq!(context.synchronise(), 714);
    neighbour.computes();
}

#[test]
fn loop_without_anything_in_it_is_ended_by_the_watchdog() {
    let Some(machine) = Machine::with(WATCHDOG) else { return };
    for name in ["idle", "spin"] {
        let (mut context, mut neighbour) = beside(&machine);
        let module = context.load(KERNELS, 0x10000);
        let params: &[u64] = if name == "spin" { &[BASE] } else { &[] };
        context.launch((&module, name), Shape::of(64, 64), params);
        assert_eq!(context.synchronise(), TIMEOUT);
        neighbour.computes();
    }
}

#[test]
fn kernel_that_was_short_and_is_endless_now_ends_with_its_session() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let module = context.load(KERNELS, 0x10000);
    // Known to be short from here on.
    context.block.memory().write(crate::guest::MEMORY, &1_u32).unwrap();
    for _ in 0..50 {
        context.launch((&module, "spin"), Shape::of(1, 1), &[BASE]);
        assert_eq!(context.synchronise(), 0);
    }
    context.block.memory().write(crate::guest::MEMORY, &0_u32).unwrap();
    context.launch((&module, "spin"), Shape::of(1, 1), &[BASE]);
    context.settle();
    drop(context);
    neighbour.computes();
    drop(neighbour);
    machine.rests();
}

#[test]
fn grid_of_as_many_blocks_as_there_may_be_stops_when_it_is_told_to() {
    let Some(machine) = Machine::with(WATCHDOG) else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let module = context.load(KERNELS, 0x10000);
    let shape = Shape { grid: [0x7FFF_FFFF, 65_535, 65_535], block: [1, 1, 1], ..Shape::default() };
    context.launch((&module, "empty"), shape, &[]);
    assert_eq!(context.synchronise(), TIMEOUT);
    neighbour.computes();
    // Without a watchdog it goes on until its client is gone.
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let module = context.load(KERNELS, 0x10000);
    context.launch((&module, "empty"), shape, &[]);
    context.settle();
    neighbour.computes();
    drop((context, neighbour));
    machine.rests();
}

#[test]
fn flood_of_printing_fills_its_fifo_and_nothing_else() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let text = format!(
        "{HEAD}
.extern .func (.param .b32 out) vprintf (.param .b64 format, .param .b64 args);
.global .align 1 .b8 format[16] = {{37, 57, 57, 57, 57, 57, 57, 57, 57, 57, 57, 100, 10, 0}};
.visible .entry flood()
{{
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
    {{
    .param .b64 p0;
    .param .b64 p1;
    .param .b32 q;
    st.param.b64 [p0], %rd1;
    st.param.b64 [p1], %rd2;
    call.uni (q), vprintf, (p0, p1);
    }}
    add.s32 %r1, %r1, 1;
    setp.lt.s32 %p1, %r1, 8;
    @%p1 bra LOOP;
    ret;
}}
"
    );
    let module = context.load(&text, 1 << 20);
    let fifo = wire::SetFifo { io: context.io(OWN), bytes: 128 + (64 << 10) };
    context.post(op::SET_FIFO, |e| fifo.encode(e));
    context.launch((&module, "flood"), Shape::of(16, 256), &[]);
    assert_eq!(context.synchronise(), 0);
    // As many records as fit, each of the longest padding that there is; the rest is dropped.
    let written: u64 = context.block.memory().read(OWN).unwrap();
    assert!((32 << 10..=64 << 10).contains(&written), "{written}");
    neighbour.computes();
}

#[test]
fn allocations_of_kernels_end_with_their_heap() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let text = format!(
        "{HEAD}
.extern .func (.param .b64 out) malloc (.param .b64 size);
.extern .func free (.param .b64 what);
.visible .entry take(.param .u64 to, .param .u64 bytes)
{{
    .reg .pred %p<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [to];
    ld.param.u64 %rd2, [bytes];
LOOP:
    {{
    .param .b64 p;
    .param .b64 q;
    st.param.b64 [p], %rd2;
    call.uni (q), malloc, (p);
    ld.param.b64 %rd3, [q];
    }}
    setp.eq.u64 %p1, %rd3, 0;
    @%p1 bra DONE;
    st.global.u64 [%rd3], %rd1;
    atom.global.add.u32 %r1, [%rd1], 1;
    bra LOOP;
DONE:
    ret;
}}
.visible .entry give(.param .u64 what)
{{
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [what];
    {{
    .param .b64 p;
    st.param.b64 [p], %rd1;
    call.uni free, (p);
    }}
    ret;
}}
"
    );
    let module = context.load(&text, 0);
    let heap = wire::SetHeap { address: BASE + (1 << 20), bytes: 1 << 20 };
    context.post(op::SET_HEAP, |e| heap.encode(e));
    context.launch((&module, "take"), Shape::of(8, 32), &[BASE, 64]);
    assert_eq!(context.synchronise(), 0);
    assert_eq!(context.word(0), (1 << 20) / 64);
    // Nothing is left, whatever is asked for.
    context.launch((&module, "take"), Shape::of(8, 32), &[BASE, 1]);
    context.launch((&module, "take"), Shape::of(8, 32), &[BASE, u64::MAX]);
    assert_eq!((context.synchronise(), context.word(0)), (0, (1 << 20) / 64));
    neighbour.computes();
    // What was never allocated cannot be freed.
    context.launch((&module, "give"), Shape::of(1, 1), &[BASE + 8]);
    assert_eq!(context.synchronise(), ILLEGAL_ADDRESS);
    neighbour.computes();
}

#[test]
fn storm_of_atomics_on_one_word_loses_none() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let module = context.load(KERNELS, 0x10000);
    for _ in 0..20 {
        context.launch((&module, "count"), Shape::of(256, 256), &[BASE]);
    }
    neighbour.computes();
    assert_eq!((context.synchronise(), context.word(0)), (0, 20 * 256 * 255 * 128));
}

#[test]
fn kernel_may_spoil_all_that_its_context_has_and_nothing_else() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let module = context.load(KERNELS, 0x10000);
    // All device memory, with the variables of modules; and the end of the range, where the engine keeps what cooperative grids
    // meet at.
    for value in [0, u64::MAX, 0x4141_4141_4141_4141] {
        context.launch((&module, "fill"), Shape::of(16, 64), &[BASE, DEVICE_BYTES, value]);
        context.launch((&module, "fill"), Shape::of(1, 64), &[BASE + RANGE_BYTES - 4096, 4096, value]);
    }
    context.launch((&module, "fill"), Shape::of(16, 64), &[BASE, DEVICE_BYTES, 0]);
    let together = Shape { flags: wire::launch_flags::COOPERATIVE, ..Shape::of(8, 32) };
    context.launch((&module, "count"), together, &[BASE]);
    assert_eq!((context.synchronise(), context.word(0)), (0, 8 * 496));
    neighbour.computes();
    // One byte behind it.
    context.launch((&module, "fill"), Shape::of(16, 64), &[BASE, DEVICE_BYTES + 8, 1]);
    assert_eq!(context.synchronise(), ILLEGAL_ADDRESS);
    neighbour.computes();
}

/// Writes where a pointer points to, or calls it.
fn wild() -> String {
    format!(
        "{HEAD}
.visible .func (.param .b32 out) secret(.param .b32 n)
{{
    .reg .b32 %r<2>;
    ld.param.u32 %r1, [n];
    st.param.b32 [out], %r1;
    ret;
}}
.visible .entry tell(.param .u64 to)
{{
    .local .align 8 .b8 own[8];
    .shared .align 8 .b8 together[8];
    .reg .b64 %rd<6>;
    ld.param.u64 %rd1, [to];
    mov.u64 %rd2, secret;
    st.global.u64 [%rd1], %rd2;
    mov.u64 %rd3, own;
    cvta.local.u64 %rd3, %rd3;
    st.u64 [%rd3], 1;
    st.global.u64 [%rd1+8], %rd3;
    mov.u64 %rd4, together;
    cvta.shared.u64 %rd4, %rd4;
    st.u64 [%rd4], 1;
    st.global.u64 [%rd1+16], %rd4;
    ret;
}}
.visible .entry poke(.param .u64 at)
{{
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at];
    st.u64 [%rd1], %rd1;
    ret;
}}
.visible .entry peek(.param .u64 at)
{{
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [at];
    ld.u64 %rd2, [%rd1];
    st.u64 [%rd1], %rd2;
    ret;
}}
.visible .entry jump(.param .u64 at)
{{
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at];
    {{
    .param .b32 p;
    .param .b32 q;
    st.param.b32 [p], 1;
    prototype: .callprototype (.param .b32 _) _ (.param .b32 _);
    call (q), %rd1, (p), prototype;
    }}
    ret;
}}
"
    )
}

#[test]
fn addresses_that_are_not_the_kernel_s_own_are_errors_of_its_context() {
    let Some(machine) = Machine::new() else { return };
    let mut neighbour = Neighbour::of(&machine);
    let mut told = Context::open(&machine.socket());
    let module = told.load(&wild(), 0);
    told.launch((&module, "tell"), Shape::of(1, 1), &[BASE]);
    assert_eq!(told.synchronise(), 0);
    let [code, local, shared]: [u64; 3] = told.block.memory().read(crate::guest::MEMORY).unwrap();
    // What once was a thread's or a block's, addresses of code, and places where processes usually have something.
    let stack = std::ptr::from_ref(&code) as u64;
    let places = [
        0,
        8,
        code,
        local,
        shared,
        stack,
        0x40_0000,
        0x5555_5555_5000,
        0x7FFF_FFFF_F000,
        1 << 63,
        u64::MAX - 7,
    ];
    for at in places {
        for name in ["poke", "peek"] {
            let mut context = Context::open(&machine.socket());
            let module = context.load(&wild(), 0);
            context.launch((&module, name), Shape::of(1, 1), &[at]);
            let error = context.synchronise();
            assert!([ILLEGAL_ADDRESS, 716, 717].contains(&error), "{name} at {at:#x}: {error}");
            assert!(!context.streams.is_lost());
        }
    }
    for at in [0, 1, code + 1, local, BASE, u64::MAX] {
        let mut context = Context::open(&machine.socket());
        let module = context.load(&wild(), 0);
        context.launch((&module, "jump"), Shape::of(1, 1), &[at]);
        assert_eq!(context.synchronise(), 718, "a jump to {at:#x}");
        assert!(!context.streams.is_lost());
    }
    neighbour.computes();
}

#[test]
fn memory_of_another_context_is_out_of_reach() {
    let Some(machine) = Machine::new() else { return };
    let (mut one, mut neighbour) = beside(&machine);
    let streams = one.streams.clone();
    let mut other = Context::of_session(&streams, BASE + 2 * RANGE_BYTES).unwrap();
    let others_module = other.load(KERNELS, 0x10000);
    other.launch((&others_module, "fill"), Shape::of(16, 64), &[other.base, DEVICE_BYTES, 7]);
    assert_eq!(other.synchronise(), 0);
    // A sibling in the same process and the same worker has other addresses, and they are no kernel's but its own.
    let module = one.load(KERNELS, 0x10000);
    one.launch((&module, "fill"), Shape::of(16, 64), &[other.base, DEVICE_BYTES, 1]);
    assert_eq!(one.synchronise(), ILLEGAL_ADDRESS);
    let copy = wire::Copy { stream: 0, sequence: one.next(), to: other.base, from: BASE, bytes: 64 };
    one.post(op::COPY, |e| copy.encode(e));
    one.synchronise();
    let bytes = usize::try_from(DEVICE_BYTES).unwrap();
    assert!((0..bytes).step_by(8).all(|at| other.word(at) == 7));
    other.launch((&others_module, "count"), Shape::of(1, 32), &[other.base + 8]);
    assert_eq!((other.synchronise(), other.word(8)), (0, 496 + 7));
    neighbour.computes();
}

#[test]
fn launches_after_a_fault_complete_without_running() {
    let Some(machine) = Machine::new() else { return };
    let (mut context, mut neighbour) = beside(&machine);
    let module = context.load(KERNELS, 0x10000);
    context.launch((&module, "store"), Shape::of(64, 256), &[BASE + DEVICE_BYTES]);
    for _ in 0..1000 {
        context.launch((&module, "count"), Shape::of(8, 32), &[BASE]);
    }
    assert_eq!((context.synchronise(), context.word(0)), (ILLEGAL_ADDRESS, 0));
    // A context that failed takes modules and everything else still, and runs nothing.
    let module = context.load(KERNELS, 0x20000);
    context.launch((&module, "count"), Shape::of(8, 32), &[BASE]);
    assert_eq!((context.synchronise(), context.word(0)), (ILLEGAL_ADDRESS, 0));
    neighbour.computes();
}
