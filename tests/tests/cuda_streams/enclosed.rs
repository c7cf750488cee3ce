//! A worker that is closed in wholly runs all that kernels do.

use std::fs;

use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;

use crate::guest::BASE;
use crate::guest::Context;
use crate::guest::OWN;
use crate::guest::Shape;
use crate::machine::KERNELS;
use crate::machine::Machine;

#[test]
fn worker_that_is_closed_in_wholly_compiles_runs_and_survives_faults() {
    let Some(machine) = Machine::new() else { return };
    let mut context = Context::open(&machine.socket());
    assert!(machine.state().daemon.sandbox.starts_with("full"));
    let worker = machine.workers()[0];
    let fifo = wire::SetFifo { io: context.io(OWN), bytes: 128 + 4096 };
    context.post(op::SET_FIFO, |e| fifo.encode(e));
    // Threads, code and handlers of signals of each kind: many blocks, cooperative ones, several modules, faults of the processor.
    let module = context.load(KERNELS, 0x10000);
    context.launch((&module, "count"), Shape::of(100, 256), &[BASE]);
    let together = Shape { flags: wire::launch_flags::COOPERATIVE, ..Shape::of(8, 32) };
    context.launch((&module, "count"), together, &[BASE]);
    assert_eq!((context.synchronise(), context.word(0)), (0, 100 * 255 * 128 + 8 * 496));
    let streams = context.streams.clone();
    for number in 1..4 {
        let mut faulty = Context::of_session(&streams, BASE + number * (2 << 40)).unwrap();
        let module = faulty.load(KERNELS, 0x10000);
        let base = faulty.base;
        faulty.launch((&module, "store"), Shape::of(64, 64), &[base + (64 << 20)]);
        assert_eq!(faulty.synchronise(), 700);
    }
    context.launch((&module, "count"), Shape::of(1, 32), &[BASE + 8]);
    assert_eq!((context.synchronise(), context.word(8)), (0, 496));
    assert_eq!(machine.workers(), [worker]);
}

#[test]
fn no_memory_of_a_worker_is_writable_and_executable() {
    let Some(machine) = Machine::new() else { return };
    let mut context = Context::open(&machine.socket());
    let module = context.load(KERNELS, 0x10000);
    context.launch((&module, "count"), Shape::of(64, 32), &[BASE]);
    assert_eq!(context.synchronise(), 0);
    let worker = machine.workers()[0];
    // Another user than root is not told of a process that lets nobody look into it.
    let Ok(maps) = fs::read_to_string(format!("/proc/{worker}/maps")) else {
        println!("skipped: only root may look at the worker");
        return;
    };
    let access = |line: &str| line.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_code = |line: &&str| access(line).contains('x') && !line.contains(" /") && !line.contains('[');
    assert!(maps.lines().any(|line| is_code(&line)), "code that was made here:\n{maps}");
    assert!(maps.lines().filter(is_code).all(|line| access(line) == "r-xp"), "{maps}");
    assert!(maps.lines().all(|line| !access(line).contains("wx")), "{maps}");
}

#[test]
fn private_memory_of_a_worker_has_an_end() {
    let config = "[[vgpu]]\nadapter = 0\nclient_quota_bytes = 134217728\n";
    let Some(machine) = Machine::with(config) else { return };
    let _context = Context::open(&machine.socket());
    let limits = fs::read_to_string(format!("/proc/{}/limits", machine.workers()[0])).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max data size")).unwrap();
    let limit: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    assert!(limit > 128 << 20);
}
