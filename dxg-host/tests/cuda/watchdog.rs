//! Kernels without an end, of every form, and that the watchdog ends each.

use std::fmt::Write as _;
use std::time::Duration;

use dxg_host::adapter::cuda::Executor;
use dxg_host::adapter::cuda::Settings;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;

use crate::context::Context;
use crate::context::MEMORY_BYTES;
use crate::guest::BLOCK;
use crate::guest::FREE;

const HEAD: &str = "
.version 7.5
.target sm_80
.address_size 64
.extern .func (.param .b32 out) vprintf (.param .b64 format, .param .b64 args);
.extern .func (.param .b64 out) malloc (.param .b64 size);
.extern .func free (.param .b64 at);
.global .align 1 .b8 text[4] = {120, 37, 100, 0};
";
const REGISTERS: &str = "
    .reg .pred %p<4>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<8>;
    .reg .f64 %f<4>;
    ld.param.u64 %rd1, [at];
    mov.u32 %r1, %tid.x;
";

/// A grid of one of its blocks, of all the threads that a block has.
const BLOCK_OF_MOST: [[u32; 3]; 2] = [[1, 1, 1], [1024, 1, 1]];
/// A text that `printf` reads at once.
const TEXT_BYTES: usize = 64 << 10;
const SMALL: [[u32; 3]; 2] = [[2, 1, 1], [64, 1, 1]];
/// More blocks than ever end.
const HUGE: [[u32; 3]; 2] = [[0x7FFF_FFFF, 65_535, 1], [32, 1, 1]];

fn limit() -> Settings {
    Settings { watchdog: Some(Duration::from_millis(30)), ..Settings::default() }
}

/// Runs a kernel of this body, which gets an address of 64 zeros in `%rd1`, until the watchdog ends it.
fn is_ended(body: &str, extents: [[u32; 3]; 2]) {
    is_ended_with(("", body), extents, 0);
}

fn is_ended_with((functions, body): (&str, &str), extents: [[u32; 3]; 2], flags: u32) {
    let text = format!(
        "{HEAD}{functions}\n.visible .entry endless(.param .u64 at)\n{{{REGISTERS}{body}\n    ret;\n}}\n"
    );
    for executor in [Executor::Native, Executor::Interpreter] {
        let mut context = Context::with(Settings { executor, ..limit() });
        let module = context.load(&text, 1 << 20);
        let mut stream = context.stream();
        let fifo = wire::SetFifo { io: BLOCK + (FREE + (2 << 20)) as u64, bytes: 128 + 4096 };
        context.guest.post(op::SET_FIFO, |e| fifo.encode(e));
        let heap =
            wire::SetHeap { address: context.base + (4 << 20), bytes: MEMORY_BYTES as u64 - (4 << 20) };
        context.guest.post(op::SET_HEAP, |e| heap.encode(e));
        let launch = wire::Launch {
            stream: stream.number,
            flags,
            sequence: stream.next(),
            module: module.number,
            function: module.function("endless"),
            grid: extents[0],
            block: extents[1],
            shared_bytes: 0,
            params: context.base.to_le_bytes().to_vec(),
        };
        context.guest.post(op::LAUNCH, |e| launch.encode(e));
        context.synchronise(&stream);
        assert_eq!(context.error(), 702, "{executor:?}");
        context.close();
    }
}

#[test]
fn block_that_leads_to_itself() {
    is_ended("LOOP: bra LOOP;", SMALL);
}

#[test]
fn loop_that_counts_to_what_is_never_reached() {
    is_ended(
        "mov.u64 %rd2, 0;\nLOOP: add.s64 %rd2, %rd2, 1;\n setp.lt.u64 %p1, %rd2, -1;\n @%p1 bra LOOP;",
        SMALL,
    );
}

#[test]
fn loop_with_two_entries() {
    is_ended(
        "setp.eq.u32 %p1, %r1, 3;\n @%p1 bra RIGHT;\nLEFT: add.s32 %r2, %r2, 1;\n bra RIGHT;\nRIGHT: add.s32 %r3, %r3, 1;\n bra LEFT;",
        SMALL,
    );
}

#[test]
fn loop_without_an_end_around_one_that_has_one() {
    is_ended(
        "OUTER: mov.u32 %r2, 0;\nINNER: add.s32 %r2, %r2, 1;\n setp.lt.u32 %p1, %r2, 1000;\n @%p1 bra INNER;\n bra OUTER;",
        SMALL,
    );
}

#[test]
fn loop_of_one_lane_that_the_others_wait_for() {
    is_ended(
        "setp.ne.u32 %p1, %r1, 7;\n@%p1 bra OUT;\nLOOP: ld.volatile.global.u32 %r2, [%rd1];\n setp.eq.u32 %p2, %r2, 0;\n @%p2 bra LOOP;\nOUT: bar.warp.sync 0xffffffff;",
        SMALL,
    );
}

#[test]
fn loop_over_a_table_of_branches() {
    is_ended(
        "LOOP: and.b32 %r2, %r3, 1;\n add.s32 %r3, %r3, 1;\n ts: .branchtargets EVEN, ODD;\n brx.idx %r2, ts;\nEVEN: bra LOOP;\nODD: bra LOOP;",
        SMALL,
    );
}

#[test]
fn barriers_in_a_loop() {
    is_ended("LOOP: bar.sync 0;\n bra LOOP;", BLOCK_OF_MOST);
    is_ended("LOOP: bar.sync 0;\n bra LOOP;", HUGE);
}

#[test]
fn operations_of_warps_in_a_loop() {
    is_ended("LOOP: shfl.sync.bfly.b32 %r1, %r1, 1, 31, 0xffffffff;\n bra LOOP;", BLOCK_OF_MOST);
    is_ended(
        "LOOP: vote.sync.ballot.b32 %r2, %p1, 0xffffffff;\n bar.warp.sync 0xffffffff;\n bra LOOP;",
        SMALL,
    );
}

#[test]
fn lock_that_is_never_free() {
    is_ended(
        "mov.u32 %r3, 1;\n st.global.u32 [%rd1], %r3;\nLOOP: atom.global.cas.b32 %r2, [%rd1], 0, 1;\n setp.ne.u32 %p1, %r2, 0;\n @%p1 bra LOOP;",
        SMALL,
    );
}

#[test]
fn phase_of_an_mbarrier_that_never_ends() {
    is_ended(
        ".shared .align 8 .b64 phases;\n mov.u64 %rd2, phases;\n mbarrier.init.shared.b64 [%rd2], 65;\n bar.sync 0;\n mbarrier.arrive.shared.b64 %rd3, [%rd2];\nLOOP: mbarrier.test_wait.shared.b64 %p1, [%rd2], %rd3;\n @!%p1 bra LOOP;",
        SMALL,
    );
}

#[test]
fn calls_in_a_loop() {
    let function = ".func (.param .b32 out) next(.param .b32 in) {\n .reg .b32 %r<3>;\n .reg .pred %p<2>;\n ld.param.u32 %r1, [in];\n setp.eq.u32 %p1, %r1, 5;\n @%p1 bra OUT;\n bar.warp.sync 0xffffffff;\nOUT: add.s32 %r2, %r1, 1;\n st.param.u32 [out], %r2;\n ret;\n}";
    let call = "{ .param .b32 a; .param .b32 b;\n st.param.b32 [a], %r1;\n call.uni (b), next, (a);\n ld.param.b32 %r1, [b]; }";
    is_ended_with((function, &format!("LOOP: {call}\n bra LOOP;")), SMALL, 0);
}

#[test]
fn calls_through_a_pointer_in_a_loop() {
    let function = ".func (.param .b32 out) next(.param .b32 in) {\n .reg .b32 %r<3>;\n ld.param.u32 %r1, [in];\n add.s32 %r2, %r1, 1;\n st.param.u32 [out], %r2;\n ret;\n}";
    let call = "{ .param .b32 a; .param .b32 b;\n st.param.b32 [a], %r1;\n proto: .callprototype (.param .b32 _) _ (.param .b32 _);\n call (b), %rd2, (a), proto;\n ld.param.b32 %r1, [b]; }";
    is_ended_with((function, &format!("mov.u64 %rd2, next;\nLOOP: {call}\n bra LOOP;")), SMALL, 0);
}

#[test]
fn recursion_that_unwinds_and_begins_again() {
    let function = ".func deep(.param .b32 left) {\n .reg .b32 %r<3>;\n .reg .pred %p<2>;\n ld.param.u32 %r1, [left];\n setp.eq.u32 %p1, %r1, 0;\n @%p1 bra OUT;\n sub.s32 %r2, %r1, 1;\n { .param .b32 a;\n st.param.b32 [a], %r2;\n call.uni deep, (a); }\nOUT: ret;\n}";
    let call = "{ .param .b32 a;\n mov.u32 %r2, 20;\n st.param.b32 [a], %r2;\n call.uni deep, (a); }";
    is_ended_with((function, &format!("LOOP: {call}\n bra LOOP;")), SMALL, 0);
}

#[test]
fn straight_code_of_a_grid_without_an_end() {
    is_ended("add.s32 %r2, %r1, 1;\n st.global.u32 [%rd1], %r2;", HUGE);
    is_ended("bar.sync 0;\n st.global.u32 [%rd1], %r1;", HUGE);
    is_ended("bar.warp.sync 0xffffffff;\n st.global.u32 [%rd1], %r1;", HUGE);
}

#[test]
fn helpers_in_a_loop_and_in_long_straight_code() {
    let slow = "rem.s64 %rd3, %rd2, 77;\n sqrt.rz.f64 %f1, %f1;\n fma.rp.f64 %f2, %f1, %f2, %f1;\n";
    is_ended(&format!("LOOP: {slow} bra LOOP;"), SMALL);
    is_ended(&slow.repeat(2000), [HUGE[0], [1024, 1, 1]]);
}

#[test]
fn printing_in_a_loop_and_in_straight_code() {
    let print = ".local .align 8 .b8 args[8];\n st.local.u32 [args], %r1;\n mov.u64 %rd2, text;\n cvta.global.u64 %rd2, %rd2;\n mov.u64 %rd3, args;\n cvta.local.u64 %rd3, %rd3;";
    let call = "{ .param .b64 a; .param .b64 b; .param .b32 c;\n st.param.b64 [a], %rd2;\n st.param.b64 [b], %rd3;\n call.uni (c), vprintf, (a, b); }\n";
    is_ended(&format!("{print}\nLOOP: {call} bra LOOP;"), SMALL);
    is_ended(&format!("{print}\n{}", call.repeat(50)), HUGE);
}

#[test]
fn long_texts_in_straight_code() {
    let call = "{ .param .b64 a; .param .b64 b; .param .b32 c;\n st.param.b64 [a], %rd1;\n st.param.b64 [b], %rd2;\n call.uni (c), vprintf, (a, b); }\n";
    let body = format!("add.s64 %rd2, %rd1, {};\n{}", TEXT_BYTES, call.repeat(50));
    let text = format!("{HEAD}.visible .entry endless(.param .u64 at)\n{{{REGISTERS}{body} ret;\n}}\n");
    for executor in [Executor::Native, Executor::Interpreter] {
        let mut context = Context::with(Settings { executor, ..limit() });
        let module = context.load(&text, 2 << 20);
        let mut stream = context.stream();
        let base = context.base;
        // A format of as many texts as it can name, each of which is that format.
        context.memory(0, TEXT_BYTES).copy_in(0, "%s".repeat(TEXT_BYTES / 2).as_bytes()).unwrap();
        let arguments = base.to_le_bytes().repeat(TEXT_BYTES / 2);
        context.memory(TEXT_BYTES as u64, arguments.len()).copy_in(0, &arguments).unwrap();
        context.launch(&mut stream, &module, "endless", HUGE, &[base]);
        context.synchronise(&stream);
        assert_eq!(context.error(), 702, "{executor:?}");
        context.close();
    }
}

#[test]
fn heap_in_a_loop() {
    let take = "{ .param .b64 a; .param .b64 b;\n mov.u64 %rd2, 16;\n st.param.b64 [a], %rd2;\n call.uni (b), malloc, (a);\n ld.param.b64 %rd3, [b]; }\n";
    let give = "{ .param .b64 a;\n st.param.b64 [a], %rd3;\n call.uni free, (a); }\n";
    is_ended(&format!("LOOP: {take} {give} bra LOOP;"), SMALL);
    is_ended(&format!("LOOP: {take} bra LOOP;"), SMALL);
}

#[test]
fn sleep_in_a_loop() {
    is_ended("LOOP: nanosleep.u32 1000000;\n bra LOOP;", SMALL);
}

#[test]
fn blocks_of_a_cooperative_grid_that_wait_for_each_other() {
    let wait = "atom.global.add.u32 %r2, [%rd1], 1;\nLOOP: ld.volatile.global.u32 %r3, [%rd1];\n setp.lt.u32 %p1, %r3, 1000000;\n @%p1 bra LOOP;";
    is_ended_with(("", wait), [[64, 1, 1], [32, 1, 1]], wire::launch_flags::COOPERATIVE);
    let meet = "LOOP: bar.sync 0;\n atom.global.add.u32 %r2, [%rd1], 1;\n bra LOOP;";
    is_ended_with(("", meet), [[64, 1, 1], [128, 1, 1]], wire::launch_flags::COOPERATIVE);
}

#[test]
fn box_without_an_end() {
    let mut context = Context::with(limit());
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
        width_bytes: 16,
        height: 1 << 60,
        depth: 1 << 60,
    };
    context.guest.post(op::COPY_3D, |e| copy.encode(e));
    context.synchronise(&stream);
    assert_eq!(context.error(), 702);
    context.close();
}

#[test]
fn kernel_that_ends_in_time_is_left_alone_while_another_is_ended() {
    let mut text =
        format!("{HEAD}.visible .entry endless(.param .u64 at)\n{{{REGISTERS} LOOP: bra LOOP;\n}}\n");
    write!(text, ".visible .entry store(.param .u64 at)\n{{{REGISTERS} mov.u32 %r2, 5; st.global.u32 [%rd1], %r2; ret;\n}}\n").unwrap();
    let mut context = Context::with(limit());
    let mut other = Context::with(limit());
    let [module, other_module] = [context.load(&text, 1 << 20), other.load(&text, 1 << 20)];
    let [mut stream, mut other_stream] = [context.stream(), other.stream()];
    let [base, other_base] = [context.base, other.base];
    context.launch(&mut stream, &module, "endless", SMALL, &[base]);
    for _ in 0..100 {
        other.launch(&mut other_stream, &other_module, "store", SMALL, &[other_base]);
    }
    other.synchronise(&other_stream);
    context.synchronise(&stream);
    assert_eq!((context.error(), other.error()), (702, 0));
    assert_eq!(other.memory(0, 4).read::<u32>(0), Ok(5));
    context.close();
    other.close();
}
