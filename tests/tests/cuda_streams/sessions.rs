//! Sessions beside each other.

use dxg_core::ErrorKind;
use dxg_core::Node;
use dxg_core::StreamKind;

use crate::guest::BASE;
use crate::guest::Context;
use crate::guest::MEMORY;
use crate::guest::Shape;
use crate::machine::KERNELS;
use crate::machine::Machine;

#[test]
fn kernels_of_two_sessions_run_in_workers_of_their_own() {
    let Some(machine) = Machine::new() else { return };
    // The same addresses in both: each worker has its own.
    let (mut one, mut two) = (Context::open(&machine.socket()), Context::open(&machine.socket()));
    for context in [&mut one, &mut two] {
        let module = context.load(KERNELS, 0x10000);
        context.launch((&module, "count"), Shape::of(100, 256), &[BASE + 64]);
        assert_eq!(context.synchronise(), 0);
        assert_eq!(context.word(64), 100 * 255 * 128);
    }
}

#[test]
fn kernel_that_writes_where_nothing_is_fails_its_context_and_no_other() {
    let Some(machine) = Machine::new() else { return };
    let (mut one, mut two) = (Context::open(&machine.socket()), Context::open(&machine.socket()));
    let module = one.load(KERNELS, 0x10000);
    one.launch((&module, "store"), Shape::of(16, 64), &[BASE + (64 << 20)]);
    assert_eq!(one.synchronise(), 700);
    let module = two.load(KERNELS, 0x10000);
    two.launch((&module, "count"), Shape::of(1, 32), &[BASE]);
    assert_eq!(two.synchronise(), 0);
    assert!(!one.streams.is_lost());
}

#[test]
fn stream_of_another_kind_is_refused_by_the_cpu() {
    let Some(machine) = Machine::new() else { return };
    let streams = Node::connect(&machine.socket()).unwrap().streams().unwrap();
    let refused = streams.open(StreamKind::VULKAN_INSTANCE, 1 << 16).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotSupported);
    assert!(streams.open(StreamKind::CUDA, 1 << 16).is_ok());
}

#[test]
fn session_ends_while_its_kernel_runs_without_an_end() {
    let Some(machine) = Machine::new() else { return };
    let mut one = Context::open(&machine.socket());
    let module = one.load(KERNELS, 0x10000);
    one.launch((&module, "spin"), Shape::of(64, 32), &[BASE]);
    one.settle();
    drop(one);
    // The next client of the same virtual GPU is served.
    let mut two = Context::open(&machine.socket());
    let module = two.load(KERNELS, 0x10000);
    two.launch((&module, "count"), Shape::of(8, 32), &[BASE]);
    assert_eq!(two.synchronise(), 0);
    assert_eq!(two.block.memory().read(MEMORY), Ok(8_u32 * 31 * 16));
}
