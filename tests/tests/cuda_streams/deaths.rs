//! A client that is killed at any point of its work leaves nothing.

use std::env;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use dxg_core::FenceValue;
use dxg_core::Node;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;

use crate::guest::BASE;
use crate::guest::Context;
use crate::guest::DEVICE_BYTES;
use crate::guest::Shape;
use crate::machine::KERNELS;
use crate::machine::Machine;
use crate::machine::Neighbour;
use crate::machine::eventually;

/// Variables that tell the client where to go and where to die.
const SOCKET: &str = "DXG_TEST_SOCKET";
const POINT: &str = "DXG_TEST_POINT";
/// Points of the client's life.
const POINTS: usize = 24;

/// A life that ends at a point, by force.
struct Life {
    last: usize,
    at: usize,
}

impl Life {
    fn reach(&mut self) {
        if self.at == self.last {
            // SIGKILL: nothing runs any more, no destructor, no handler.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
        self.at += 1;
    }
}

#[test]
#[ignore = "dies; another test starts it in a process of its own"]
fn client_that_dies() {
    let socket = PathBuf::from(env::var_os(SOCKET).unwrap());
    let mut life = Life { last: env::var(POINT).unwrap().parse().unwrap(), at: 0 };
    let node = Node::connect(&socket).unwrap();
    life.reach();
    let adapter = node.first_adapter().unwrap();
    let device = adapter.create_device().unwrap();
    let fence = device.create_shared_fence(FenceValue(0)).unwrap();
    life.reach();
    let descriptor = fence.share().unwrap();
    life.reach();
    let opened = device.open_shared_fence(descriptor.as_fd()).unwrap();
    opened.signal(FenceValue(1)).unwrap();
    life.reach();
    let streams = node.streams().unwrap();
    let (lease, memory) = streams.lease_with_descriptor(1 << 20).unwrap();
    life.reach();
    let mut context = Context::of_session(&streams, BASE).unwrap();
    life.reach();
    // An entry that the host may be about to take.
    let map = wire::Map { address: BASE + (16 << 20), io: lease.io_base().0, bytes: 1 << 20 };
    context.post(op::MAP, |e| map.encode(e));
    life.reach();
    let unmap = wire::Unmap { address: BASE + (16 << 20), bytes: 1 << 20 };
    context.post(op::UNMAP, |e| unmap.encode(e));
    life.reach();
    // Large enough to be charged, and read while its client dies.
    let body = "    add.u32 %r1, %r1, 1;\n".repeat(10_000);
    let large = format!(
        ".version 7.0\n.target sm_75\n.address_size 64\n.visible .entry long()\n{{\n    .reg .b32 %r<2>;\n{body}    ret;\n}}\n"
    );
    let text = streams.lease(large.len() as u64).unwrap();
    text.memory().copy_in(0, large.as_bytes()).unwrap();
    let (_, slot) = context.ask_load(text.io_base().0, large.len() as u64);
    life.reach();
    context.answer(&slot);
    let large = context.load(&large, 0);
    life.reach();
    let module = context.load(KERNELS, 0x10000);
    life.reach();
    // Compiled while its client dies.
    context.launch((&large, "long"), Shape::of(1, 1), &[]);
    life.reach();
    context.launch((&module, "count"), Shape::of(100, 256), &[BASE]);
    life.reach();
    assert_eq!(context.synchronise(), 0);
    life.reach();
    let (cell, cell_io) = context.fresh_cell();
    let wait = wire::WaitCell { stream: 0, sequence: context.next(), cell_io, value: 1 };
    context.post(op::WAIT_CELL, |e| wait.encode(e));
    life.reach();
    for _ in 0..1000 {
        context.launch((&module, "count"), Shape::of(1, 32), &[BASE]);
    }
    context.settle();
    life.reach();
    cell.publish(1);
    life.reach();
    context.synchronise();
    let size = 1_u64 << 16;
    for _ in 0..100 {
        let copy =
            wire::Copy { stream: 0, sequence: context.next(), to: BASE + size, from: BASE, bytes: size };
        context.post(op::COPY, |e| copy.encode(e));
    }
    life.reach();
    let heap = wire::SetHeap { address: BASE + (1 << 20), bytes: 1 << 20 };
    context.post(op::SET_HEAP, |e| heap.encode(e));
    let together = Shape { flags: wire::launch_flags::COOPERATIVE, ..Shape::of(8, 32) };
    context.launch((&module, "spin"), together, &[BASE + DEVICE_BYTES - 8]);
    context.settle();
    life.reach();
    // The end of that grid.
    context.block.memory().write(crate::guest::MEMORY + (2 << 20) - 8, &1_u32).unwrap();
    context.synchronise();
    let second = Context::of_session(&streams, BASE + (4 << 40)).unwrap();
    life.reach();
    context.launch((&module, "spin"), Shape::of(64, 64), &[BASE + DEVICE_BYTES - 16]);
    context.settle();
    life.reach();
    drop(second);
    life.reach();
    let outlives = (opened, descriptor, memory);
    drop((lease, text));
    life.reach();
    drop(context);
    drop(outlives);
    life.reach();
    panic!("it is still alive at {}", life.at);
}

#[test]
fn client_that_is_killed_anywhere_leaves_nothing() {
    let Some(machine) = Machine::new() else { return };
    let mut neighbour = Neighbour::of(&machine);
    neighbour.computes();
    drop(neighbour);
    machine.rests();
    let before = machine.descriptors();
    for point in 0..POINTS {
        let mut client = Command::new(env::current_exe().unwrap())
            .args(["--exact", "deaths::client_that_dies", "--ignored", "--nocapture"])
            .env(SOCKET, machine.socket())
            .env(POINT, point.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let status = client.wait().unwrap();
        let mut said = String::new();
        client.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "point {point}: {said}");
        machine.rests();
        eventually(&format!("no descriptor is left after point {point}"), || machine.descriptors() == before);
    }
    Neighbour::of(&machine).computes();
}
