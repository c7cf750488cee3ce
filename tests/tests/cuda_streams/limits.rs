//! What a client can make its worker hold: as much as its quota says, or a bounded amount more.

use dxg_core::ErrorKind;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;

use crate::guest::BASE;
use crate::guest::Context;
use crate::guest::RANGE_BYTES;
use crate::guest::Shape;
use crate::machine::KERNELS;
use crate::machine::Machine;
use crate::machine::Neighbour;
use crate::machine::memory_of;

const OUT_OF_MEMORY: u32 = 2;
/// What a worker may hold beside what its client is charged.
const OWN_BYTES: u64 = 256 << 20;
/// A quota for one client.
const QUOTA: &str = "[[vgpu]]\nadapter = 0\nclient_quota_bytes = 134217728\n";
const QUOTA_BYTES: u64 = 128 << 20;

/// The only worker of a machine.
fn only_worker(machine: &Machine) -> u32 {
    let workers = machine.workers();
    assert_eq!(workers.len(), 1);
    workers[0]
}

#[test]
fn launches_that_wait_hold_a_bounded_amount_of_parameters() {
    let Some(machine) = Machine::with(QUOTA) else { return };
    let mut context = Context::open(&machine.socket());
    let worker = only_worker(&machine);
    let module = context.load(KERNELS, 0x10000);
    let (_never, never_io) = context.fresh_cell();
    let wait = wire::WaitCell { stream: 0, sequence: context.next(), cell_io: never_io, value: 1 };
    context.post(op::WAIT_CELL, |e| wait.encode(e));
    // The ring is full at some point, and nobody takes anything out of it any more.
    let params = vec![0; 32 << 10];
    let mut launches = 0;
    while memory_of(worker, "VmRSS") < QUOTA_BYTES + OWN_BYTES {
        let before = context.handle.producer.consumed();
        let sequence = context.next();
        let launch = wire::Launch {
            stream: 0,
            flags: 0,
            sequence,
            module: 1,
            function: module.function("count"),
            grid: [1, 1, 1],
            block: [1, 1, 1],
            shared_bytes: 0,
            params: params.clone(),
        };
        if !context.post_for_a_while(op::LAUNCH, |e| launch.encode(e))
            && context.handle.producer.consumed() == before
        {
            break;
        }
        launches += 1;
    }
    assert!(memory_of(worker, "VmRSS") < QUOTA_BYTES + OWN_BYTES, "after {launches} launches");
    assert!(launches > 64, "{launches}");
    drop(context);
    machine.rests();
}

#[test]
fn many_small_modules_are_charged_like_a_large_one() {
    let Some(machine) = Machine::with(QUOTA) else { return };
    let mut context = Context::open(&machine.socket());
    let worker = only_worker(&machine);
    let body = "    add.u32 %r1, %r1, 1;\n".repeat(8000);
    let text = format!(
        ".version 7.0\n.target sm_75\n.address_size 64\n.visible .entry some()\n{{\n    .reg .b32 %r<2>;\n{body}    ret;\n}}\n"
    );
    let mut loaded = Vec::new();
    loop {
        let (number, answer) = context.try_load(&text);
        if answer.result != 0 {
            assert_eq!(answer.result.cast_unsigned(), OUT_OF_MEMORY);
            break;
        }
        loaded.push(number);
        assert!(memory_of(worker, "VmRSS") < QUOTA_BYTES + OWN_BYTES, "{} modules", loaded.len());
    }
    assert!(loaded.len() > 4, "{}", loaded.len());
    // What is unloaded makes room.
    for number in loaded {
        context.post(op::UNLOAD_MODULE, |e| e.bytes(&number.to_le_bytes()));
    }
    assert_eq!(context.try_load(&text).1.result, 0);
}

#[test]
fn local_memory_is_charged_or_refused() {
    let text = |bytes: u32| {
        format!(
            "
.version 7.0
.target sm_75
.address_size 64
.visible .entry large(.param .u64 to)
{{
    .local .align 8 .b8 own[{bytes}];
    .reg .pred %p<2>;
    .reg .b32 %r<3>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [to];
    mov.u64 %rd2, own;
    mov.u32 %r1, 0;
LOOP:
    cvt.u64.u32 %rd3, %r1;
    add.u64 %rd3, %rd2, %rd3;
    st.local.u32 [%rd3], %r1;
    add.u32 %r1, %r1, 1024;
    setp.lt.u32 %p1, %r1, {bytes};
    @%p1 bra LOOP;
    bar.sync 0;
    ld.local.u32 %r2, [%rd2];
    atom.global.add.u32 %r1, [%rd1], 1;
    ret;
}}
"
        )
    };
    let Some(machine) = Machine::with(QUOTA) else { return };
    let mut neighbour = Neighbour::of(&machine);
    // More than a block may have at all; and more than the quota has for blocks on all cores.
    for (bytes, error) in [(512 << 10, 701), (128 << 10, OUT_OF_MEMORY)] {
        let mut context = Context::open(&machine.socket());
        let module = context.load(&text(bytes), 0);
        context.launch((&module, "large"), Shape::of(64, 1024), &[BASE]);
        assert_eq!(context.synchronise(), error);
    }
    // What fits runs, and is charged while it does; threads that come to help hold none that is not charged.
    let mut context = Context::open(&machine.socket());
    let worker = *machine.workers().last().unwrap();
    let module = context.load(&text(4 << 10), 0);
    for _ in 0..8 {
        context.launch((&module, "large"), Shape::of(64, 1024), &[BASE]);
    }
    assert_eq!((context.synchronise(), context.word(0)), (0, 8 * 64 * 1024));
    assert!(memory_of(worker, "VmHWM") < QUOTA_BYTES + OWN_BYTES);
    neighbour.computes();
}

#[test]
fn contexts_and_streams_end_where_their_number_does() {
    let Some(machine) = Machine::new() else { return };
    let mut neighbour = Neighbour::of(&machine);
    let mut contexts = vec![Context::open(&machine.socket())];
    let streams = contexts[0].streams.clone();
    let refused = loop {
        let base = BASE + RANGE_BYTES + contexts.len() as u64 * (2 << 30);
        match Context::of_session_in(&streams, base, 1 << 30) {
            Ok(context) => contexts.push(context),
            Err(error) => break error,
        }
        assert!(contexts.len() < 1000);
    };
    assert!(
        matches!(refused.kind(), ErrorKind::OutOfMemory | ErrorKind::Quota | ErrorKind::Busy),
        "{refused}"
    );
    assert!(contexts.len() >= 16, "{}", contexts.len());
    for context in &mut contexts {
        let module = context.load(KERNELS, 0x10000);
        let base = context.base;
        context.launch((&module, "count"), Shape::of(1, 32), &[base]);
    }
    for context in &contexts {
        assert_eq!((context.synchronise(), context.word(0)), (0, 496));
    }
    // Numbers of streams end somewhere: what is beyond ends the session, by name.
    let mut last = contexts.pop().unwrap();
    drop(contexts);
    let (_cell, progress_io) = last.fresh_cell();
    for stream in 1..1 << 16 {
        let create = wire::CreateStream { stream, priority: 0, progress_io };
        last.post(op::CREATE_STREAM, |e| create.encode(e));
    }
    last.settle();
    assert!(!last.streams.is_lost());
    let create = wire::CreateStream { stream: 1 << 16, priority: 0, progress_io };
    last.post(op::CREATE_STREAM, |e| create.encode(e));
    crate::machine::eventually("the session ends", || last.streams.is_lost());
    drop((last, streams));
    neighbour.computes();
    drop(neighbour);
    machine.rests();
}

#[test]
fn kernel_whose_threads_hold_more_than_there_is_hurts_its_own_session_at_most() {
    let Some(machine) = Machine::with(QUOTA) else { return };
    let mut neighbour = Neighbour::of(&machine);
    let mut context = Context::open(&machine.socket());
    let worker = *machine.workers().last().unwrap();
    // Thousands of numbers that each thread keeps across a barrier, in all blocks of a cooperative grid at once.
    let numbers = 2000;
    let each = |line: &dyn Fn(u32) -> String| (0..numbers).map(line).collect::<String>();
    let text = format!(
        "
.version 7.0
.target sm_75
.address_size 64
.visible .entry hold(.param .u64 to)
{{
    .reg .b64 %rd<3>;
    .reg .b64 %v<{numbers}>;
    ld.param.u64 %rd1, [to];
{}    bar.sync 0;
    mov.u64 %rd2, 0;
{}    st.global.u64 [%rd1], %rd2;
    ret;
}}
",
        each(&|at| format!("    ld.volatile.global.u64 %v{at}, [%rd1+{}];\n", at % 64 * 8)),
        each(&|at| format!("    xor.b64 %rd2, %rd2, %v{at};\n")),
    );
    let module = context.load(&text, 0);
    let shape = Shape { flags: wire::launch_flags::COOPERATIVE, ..Shape::of(4096, 1024) };
    context.launch((&module, "hold"), shape, &[BASE]);
    // It is an error of the context, or the worker's end; never more memory than the limit of the process.
    crate::machine::eventually("an end", || context.streams.is_lost() || context.has_failed());
    if !context.streams.is_lost() {
        assert!(memory_of(worker, "VmHWM") < 8 << 30);
    }
    neighbour.computes();
    drop((context, neighbour));
    machine.rests();
}
