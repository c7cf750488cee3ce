//! Graphs and captures over a host of a test.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use zerocopy::FromZeros;

use super::event;
use super::graph;
use super::graph_exec;
use super::graph_nodes;
use super::memory;
use super::module;
use super::stream;
use crate::context::Context;
use crate::current;
use crate::driver;
use crate::ffi::memory::read;
use crate::ffi::memory::write;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::ffi::pointers::Text;
use crate::generated::enums::*;
use crate::generated::handles::*;
use crate::generated::structs::*;
use crate::types::Answer;
use crate::types::CUdeviceptr;

pub(super) fn at<T>(place: &T) -> Address {
    Address(std::ptr::from_ref(place).expose_provenance())
}

pub(super) fn out<T>(place: &mut T) -> Mut<T> {
    Address(std::ptr::from_mut(place).expose_provenance()).typed()
}

/// What a function writes.
pub(super) fn got<T: FromZeros>(call: impl FnOnce(Mut<T>) -> Answer) -> Answer<T> {
    let mut place = T::new_zeroed();
    call(out(&mut place))?;
    Ok(place)
}

/// A context of the test's own, current in its thread.
pub(super) struct Setup {
    pub(super) context: Arc<Context>,
    pub(super) add: CUfunction,
}

impl Setup {
    pub(super) fn new() -> Self {
        // Captures of tests that run at the same time are none of ours.
        crate::capture::exchange_mode(CUstreamCaptureMode::THREAD_LOCAL);
        let context = driver::for_tests().devices()[0].make_context(0).unwrap();
        current::set(Some(Arc::clone(&context)));
        let module = got(|out| {
            module::load_data(out, at(c"entry add 8 8 8 4\n".to_bytes_with_nul().first().unwrap()))
        });
        let add =
            got(|out| module::function(out, module.unwrap(), Text::of(at(&c"add".to_bytes()[0])))).unwrap();
        Self { context, add }
    }

    pub(super) fn memory(&self, value: u32) -> u64 {
        let address: CUdeviceptr = got(|out| memory::alloc(out, 4)).unwrap();
        write(Address(address.0 as usize), &value.to_le_bytes());
        address.0
    }

    pub(super) fn value(&self, address: u64) -> u32 {
        self.context.synchronize_all().unwrap();
        u32::from_le_bytes(read(Address(address as usize), 4).try_into().unwrap())
    }

    /// A node that makes `to` the sum of two.
    pub(super) fn add(&self, graph: CUgraph, after: &[CUgraphNode], sum: Sum) -> Answer<CUgraphNode> {
        got(|out| {
            sum.with(self.add, |params| {
                graph_nodes::add_kernel(out, graph, nodes(after), after.len(), params)
            })
        })
    }

    pub(super) fn set(
        &self,
        graph: CUgraph,
        after: &[CUgraphNode],
        to: u64,
        value: u32,
    ) -> Answer<CUgraphNode> {
        let params = fill(to, value);
        got(|out| {
            let params = at(&params).typed_const();
            graph_nodes::add_fill(out, graph, nodes(after), after.len(), params, CUcontext::NULL)
        })
    }

    pub(super) fn launch(&self, exec: CUgraphExec) {
        graph_exec::launch(exec, CUstream::NULL).unwrap();
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        current::set(None);
        crate::tables::destroy_context(&self.context);
    }
}

/// `to = one + other`.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    pub(super) to: u64,
    pub(super) one: u64,
    pub(super) other: u64,
}

impl Sum {
    fn with<R>(self, function: CUfunction, run: impl FnOnce(Ref<CUDA_KERNEL_NODE_PARAMS_v1>) -> R) -> R {
        let count = 1_u32;
        let list = [at(&self.to), at(&self.one), at(&self.other), at(&count)];
        let mut params = CUDA_KERNEL_NODE_PARAMS_v1::new_zeroed();
        params.func = function;
        (params.grid_dim_x, params.grid_dim_y, params.grid_dim_z) = (1, 1, 1);
        (params.block_dim_x, params.block_dim_y, params.block_dim_z) = (1, 1, 1);
        params.kernel_params = at(&list).typed();
        run(at(&params).typed_const())
    }
}

pub(super) fn nodes(list: &[CUgraphNode]) -> Ref<CUgraphNode> {
    Address(list.as_ptr().expose_provenance()).typed_const()
}

fn fill(to: u64, value: u32) -> CUDA_MEMSET_NODE_PARAMS {
    CUDA_MEMSET_NODE_PARAMS { dst: CUdeviceptr(to), pitch: 0, value, element_size: 4, width: 1, height: 1 }
}

pub(super) fn new_graph() -> CUgraph {
    got(|out| graph::create(out, 0)).unwrap()
}

pub(super) fn instantiate(graph: CUgraph) -> CUgraphExec {
    got(|out| graph_exec::instantiate_with_flags(out, graph, 0)).unwrap()
}

#[test]
fn graph_runs_in_the_order_of_its_edges_at_each_launch() {
    let setup = Setup::new();
    let (one, other, to) = (setup.memory(0), setup.memory(5), setup.memory(0));
    let host = 0_u32;
    let graph = new_graph();
    let set = setup.set(graph, &[], one, 2).unwrap();
    let sum = setup.add(graph, &[set], Sum { to, one, other }).unwrap();
    let mut copy = CUDA_MEMCPY3D::new_zeroed();
    (copy.src_memory_type, copy.src_device) = (CUmemorytype::DEVICE, CUdeviceptr(to));
    (copy.dst_memory_type, copy.dst_host) = (CUmemorytype::HOST, at(&host));
    (copy.width_in_bytes, copy.height, copy.depth) = (4, 1, 1);
    let copied: CUgraphNode = got(|out| {
        graph_nodes::add_copy(out, graph, nodes(&[sum]), 1, at(&copy).typed_const(), CUcontext::NULL)
    })
    .unwrap();
    // What is added last may come before what was there: the edges say so.
    setup.add(graph, &[copied], Sum { to: other, one: to, other }).unwrap();
    let exec = instantiate(graph);
    graph::destroy(graph).unwrap();
    setup.launch(exec);
    setup.launch(exec);
    assert_eq!((setup.value(to), setup.value(other)), (14, 26));
    assert_eq!(u32::from_le_bytes(read(at(&host), 4).try_into().unwrap()), 14);
    assert_eq!(graph_exec::destroy(exec), Ok(()));
    assert_eq!(graph_exec::launch(exec, CUstream::NULL), Err(CUresult::ERROR_INVALID_HANDLE));
}

#[test]
fn graph_with_a_cycle_cannot_be_instantiated_and_foreign_nodes_are_refused() {
    let setup = Setup::new();
    let place = setup.memory(0);
    let graph = new_graph();
    let first = setup.set(graph, &[], place, 1).unwrap();
    let second = setup.set(graph, &[first], place, 2).unwrap();
    assert_eq!(graph::add_dependencies(graph, nodes(&[second]), nodes(&[first]), 1), Ok(()));
    let made: Answer<CUgraphExec> = got(|out| graph_exec::instantiate_with_flags(out, graph, 0));
    assert_eq!(made, Err(CUresult::ERROR_INVALID_VALUE));
    assert_eq!(graph::remove_dependencies(graph, nodes(&[second]), nodes(&[first]), 1), Ok(()));
    instantiate(graph);
    let other = new_graph();
    assert_eq!(setup.set(other, &[first], place, 1), Err(CUresult::ERROR_INVALID_VALUE));
    graph::destroy(graph).unwrap();
    let kind: Answer<CUgraphNodeType> = got(|out| graph::node_type(first, out));
    assert_eq!(kind, Err(CUresult::ERROR_INVALID_HANDLE));
}

#[test]
fn queries_tell_nodes_roots_edges_and_fill_what_is_left_with_nothing() {
    let setup = Setup::new();
    let place = setup.memory(0);
    let graph = new_graph();
    let first = setup.set(graph, &[], place, 1).unwrap();
    let second = setup.set(graph, &[first], place, 2).unwrap();
    let mut list = [first; 3];
    let mut count = 3_usize;
    graph::nodes(graph, out(&mut list[0]), out(&mut count)).unwrap();
    assert_eq!((list, count), ([first, second, CUgraphNode::NULL], 2));
    graph::root_nodes(graph, Mut::NULL, out(&mut count)).unwrap();
    assert_eq!(count, 1);
    let (mut from, mut to) = ([CUgraphNode::NULL], [CUgraphNode::NULL]);
    graph::edges(graph, out(&mut from[0]), out(&mut to[0]), out(&mut count)).unwrap();
    assert_eq!((from[0], to[0], count), (first, second, 1));
    graph::dependents(first, out(&mut from[0]), out(&mut count)).unwrap();
    assert_eq!((from[0], count), (second, 1));
    let clone: CUgraph = got(|out| graph::duplicate(out, graph)).unwrap();
    let found: CUgraphNode = got(|out| graph::find_in_clone(out, second, clone)).unwrap();
    assert_ne!(found, second);
    let foreign: Answer<CUgraphNode> = got(|out| graph::find_in_clone(out, second, new_graph()));
    assert_eq!(foreign, Err(CUresult::ERROR_INVALID_VALUE));
    graph::destroy_node(first).unwrap();
    graph::dependencies(second, Mut::NULL, out(&mut count)).unwrap();
    assert_eq!(count, 0);
}

#[test]
fn kernel_of_a_graph_that_can_be_launched_is_changed_and_left_out() {
    let setup = Setup::new();
    let (one, other, to) = (setup.memory(3), setup.memory(4), setup.memory(0));
    let elsewhere = setup.memory(0);
    let graph = new_graph();
    let node = setup.add(graph, &[], Sum { to, one, other }).unwrap();
    let params: CUDA_KERNEL_NODE_PARAMS_v1 = got(|out| graph_nodes::kernel(node, out)).unwrap();
    let said = params.kernel_params.at(0).unwrap().typed::<u64>().get();
    assert_eq!((params.func, said), (setup.add, Some(to)));
    let exec = instantiate(graph);
    setup.launch(exec);
    assert_eq!(setup.value(to), 7);
    let sum = Sum { to: elsewhere, one: to, other };
    sum.with(setup.add, |params| graph_exec::set_kernel(exec, node, params)).unwrap();
    setup.launch(exec);
    assert_eq!((setup.value(to), setup.value(elsewhere)), (7, 11));
    graph_exec::set_enabled(exec, node, 0).unwrap();
    write(Address(elsewhere as usize), &[0; 4]);
    setup.launch(exec);
    assert_eq!(setup.value(elsewhere), 0);
    let params = fill(to, 1);
    let other_kind = graph_exec::set_fill(exec, node, at(&params).typed_const(), CUcontext::NULL);
    assert_eq!(other_kind, Err(CUresult::ERROR_INVALID_VALUE));
}

#[test]
fn update_takes_over_the_same_shape_and_says_how_another_differs() {
    let setup = Setup::new();
    let (to, one) = (setup.memory(0), setup.memory(1));
    let make = |value, is_chain| {
        let graph = new_graph();
        let first = setup.set(graph, &[], to, value).unwrap();
        let after = if is_chain { vec![first] } else { Vec::new() };
        setup.set(graph, &after, one, value).unwrap();
        graph
    };
    let exec = instantiate(make(5, true));
    let mut info = CUgraphExecUpdateResultInfo::new_zeroed();
    graph_exec::update_whole_v2(exec, make(6, true), out(&mut info)).unwrap();
    assert_eq!(info.result, CUgraphExecUpdateResult::SUCCESS);
    setup.launch(exec);
    assert_eq!((setup.value(to), setup.value(one)), (6, 6));
    let updated = graph_exec::update_whole_v2(exec, make(7, false), out(&mut info));
    assert_eq!(updated, Err(CUresult::ERROR_GRAPH_EXEC_UPDATE_FAILURE));
    assert_eq!(info.result, CUgraphExecUpdateResult::ERROR_TOPOLOGY_CHANGED);
    let other_kind = new_graph();
    let first = setup.set(other_kind, &[], to, 1).unwrap();
    let last = setup.add(other_kind, &[first], Sum { to, one, other: one }).unwrap();
    let updated = graph_exec::update_whole_v2(exec, other_kind, out(&mut info));
    assert_eq!(updated, Err(CUresult::ERROR_GRAPH_EXEC_UPDATE_FAILURE));
    assert_eq!((info.result, info.error_node), (CUgraphExecUpdateResult::ERROR_NODE_TYPE_CHANGED, last));
    // What was refused changed nothing.
    write(Address(to as usize), &[0; 4]);
    setup.launch(exec);
    assert_eq!(setup.value(to), 6);
}

#[test]
fn child_graph_is_a_copy_whose_nodes_can_be_changed() {
    let setup = Setup::new();
    let to = setup.memory(0);
    let within = new_graph();
    setup.set(within, &[], to, 1).unwrap();
    let graph = new_graph();
    let node: CUgraphNode = got(|out| graph_nodes::add_child(out, graph, Ref::NULL, 0, within)).unwrap();
    // The original is no longer looked at.
    graph::destroy(within).unwrap();
    let child: CUgraph = got(|out| graph_nodes::child(node, out)).unwrap();
    let mut inner = CUgraphNode::NULL;
    graph::nodes(child, out(&mut inner), out(&mut 1_usize)).unwrap();
    let params = fill(to, 2);
    graph_nodes::set_fill(inner, at(&params).typed_const()).unwrap();
    let exec = instantiate(graph);
    setup.launch(exec);
    assert_eq!(setup.value(to), 2);
    let params = fill(to, 3);
    graph_exec::set_fill(exec, inner, at(&params).typed_const(), CUcontext::NULL).unwrap();
    setup.launch(exec);
    assert_eq!(setup.value(to), 3);
    graph_exec::destroy(exec).unwrap();
    graph::destroy(graph).unwrap();
    assert_eq!(graph::destroy(child), Err(CUresult::ERROR_INVALID_HANDLE));
}

#[test]
fn memory_of_a_graph_is_there_as_long_as_what_can_launch_it() {
    let setup = Setup::new();
    let before = setup.context.arena.used_bytes();
    let graph = new_graph();
    let mut params = CUDA_MEM_ALLOC_NODE_PARAMS::new_zeroed();
    params.pool_props.location.kind = CUmemLocationType::DEVICE;
    params.bytesize = 4;
    let made: CUgraphNode =
        got(|place| graph_nodes::add_alloc(place, graph, Ref::NULL, 0, out(&mut params))).unwrap();
    let set = setup.set(graph, &[made], params.dptr.0, 9).unwrap();
    let freed: Answer<CUgraphNode> =
        got(|out| graph_nodes::add_free(out, graph, nodes(&[set]), 1, params.dptr));
    assert!(freed.is_ok());
    let exec = instantiate(graph);
    graph::destroy(graph).unwrap();
    setup.launch(exec);
    assert_eq!(setup.value(params.dptr.0), 9);
    graph_exec::destroy(exec).unwrap();
    assert_eq!(setup.context.arena.used_bytes(), before);
}

static ENDED: AtomicU32 = AtomicU32::new(0);

extern "C" fn end(_data: *mut std::ffi::c_void) {
    ENDED.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn user_object_ends_once_with_the_last_of_program_graph_clone_and_launchable_graph() {
    let setup = Setup::new();
    let end = Address((end as extern "C" fn(*mut std::ffi::c_void)) as *const () as usize);
    let object: CUuserObject = got(|out| graph::create_object(out, Address(1), end, 1, 1)).unwrap();
    let graph = new_graph();
    graph::hold_object(graph, object, 1, 1).unwrap();
    let clone: CUgraph = got(|out| graph::duplicate(out, graph)).unwrap();
    let exec = instantiate(graph);
    graph::destroy(graph).unwrap();
    graph::destroy(clone).unwrap();
    setup.launch(exec);
    setup.context.synchronize_all().unwrap();
    assert_eq!(ENDED.load(Ordering::SeqCst), 0);
    assert_eq!(graph::release_object(object, 2), Err(CUresult::ERROR_INVALID_VALUE));
    graph_exec::destroy(exec).unwrap();
    setup.context.synchronize_all().unwrap();
    assert_eq!(ENDED.load(Ordering::SeqCst), 1);
    assert_eq!(graph::retain_object(object, 1), Err(CUresult::ERROR_INVALID_VALUE));
}

pub(super) fn new_stream() -> CUstream {
    got(|out| stream::create(out, 1)).unwrap()
}

pub(super) fn new_event() -> CUevent {
    got(|out| event::create(out, 2)).unwrap()
}

#[test]
fn capture_over_two_streams_makes_a_graph_and_runs_nothing() {
    let setup = Setup::new();
    let (to, one) = (setup.memory(0), setup.memory(0));
    let (first, second, fork, join) = (new_stream(), new_stream(), new_event(), new_event());
    stream::begin_capture(first).unwrap();
    let set = |to, value, stream| super::fill::d32_async(CUdeviceptr(to), value, 1, stream);
    set(to, 1, first).unwrap();
    event::record(fork, first).unwrap();
    stream::wait_event(second, fork, 0).unwrap();
    set(one, 2, second).unwrap();
    event::record(join, second).unwrap();
    set(to, 3, first).unwrap();
    stream::wait_event(first, join, 0).unwrap();
    let graph: CUgraph = got(|out| stream::end_capture(first, out)).unwrap();
    assert_eq!((setup.value(to), setup.value(one)), (0, 0));
    let mut count = 0_usize;
    graph::edges(graph, Mut::NULL, Mut::NULL, out(&mut count)).unwrap();
    assert_eq!(count, 2);
    let status: CUstreamCaptureStatus = got(|out| stream::capturing(second, out)).unwrap();
    assert_eq!(status, CUstreamCaptureStatus::NONE);
    setup.launch(instantiate(graph));
    assert_eq!((setup.value(to), setup.value(one)), (3, 2));
}

#[test]
fn capture_that_leaves_a_stream_behind_is_unjoined_and_over() {
    let setup = Setup::new();
    let to = setup.memory(0);
    let (first, second, fork) = (new_stream(), new_stream(), new_event());
    stream::begin_capture(first).unwrap();
    event::record(fork, first).unwrap();
    stream::wait_event(second, fork, 0).unwrap();
    super::fill::d32_async(CUdeviceptr(to), 1, 1, second).unwrap();
    let other: Answer<CUgraph> = got(|out| stream::end_capture(second, out));
    assert_eq!(other, Err(CUresult::ERROR_STREAM_CAPTURE_UNMATCHED));
    let ended: Answer<CUgraph> = got(|out| stream::end_capture(first, out));
    assert_eq!(ended, Err(CUresult::ERROR_STREAM_CAPTURE_UNJOINED));
    assert_eq!(stream::synchronize(first), Ok(()));
    assert_eq!(stream::synchronize(second), Ok(()));
}

#[test]
fn capture_that_is_waited_for_is_invalid_until_it_ends() {
    let _setup = Setup::new();
    let first = new_stream();
    stream::begin_capture(first).unwrap();
    assert_eq!(stream::synchronize(first), Err(CUresult::ERROR_STREAM_CAPTURE_UNSUPPORTED));
    let status: CUstreamCaptureStatus = got(|out| stream::capturing(first, out)).unwrap();
    assert_eq!(status, CUstreamCaptureStatus::INVALIDATED);
    let ended: Answer<CUgraph> = got(|out| stream::end_capture(first, out));
    assert_eq!(ended, Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
    assert_eq!(stream::synchronize(first), Ok(()));
}

#[test]
fn capture_is_broken_by_work_of_the_legacy_stream_that_would_come_after_it() {
    let setup = Setup::new();
    let to = setup.memory(0);
    let set = || super::fill::d32_async(CUdeviceptr(to), 1, 1, CUstream::NULL);
    let apart = new_stream();
    stream::begin_capture(apart).unwrap();
    // A stream that does not go with the legacy one is not in its way.
    assert_eq!(set(), Ok(()));
    got::<CUgraph>(|out| stream::end_capture(apart, out)).unwrap();
    let blocking: CUstream = got(|out| stream::create(out, 0)).unwrap();
    stream::begin_capture(blocking).unwrap();
    assert_eq!(set(), Err(CUresult::ERROR_STREAM_CAPTURE_IMPLICIT));
    let ended: Answer<CUgraph> = got(|out| stream::end_capture(blocking, out));
    assert_eq!(ended, Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
    assert_eq!(set(), Ok(()));
    assert_eq!(setup.value(to), 1);
}

#[test]
fn launch_that_is_captured_becomes_a_child() {
    let setup = Setup::new();
    let to = setup.memory(0);
    let inner = new_graph();
    setup.set(inner, &[], to, 4).unwrap();
    let exec = instantiate(inner);
    let first = new_stream();
    stream::begin_capture(first).unwrap();
    graph_exec::launch(exec, first).unwrap();
    let graph: CUgraph = got(|out| stream::end_capture(first, out)).unwrap();
    assert_eq!(setup.value(to), 0);
    let mut node = CUgraphNode::NULL;
    graph::nodes(graph, out(&mut node), out(&mut 1_usize)).unwrap();
    let kind: CUgraphNodeType = got(|out| graph::node_type(node, out)).unwrap();
    assert_eq!(kind, CUgraphNodeType::GRAPH);
    setup.launch(instantiate(graph));
    assert_eq!(setup.value(to), 4);
}

#[test]
fn node_of_any_kind_is_made_and_read_back() {
    let setup = Setup::new();
    let to = setup.memory(0);
    let graph = new_graph();
    let mut params = CUgraphNodeParams::new_zeroed();
    params.kind = CUgraphNodeType::MEMSET;
    let asked = CUDA_MEMSET_NODE_PARAMS_v2 { ctx: CUcontext::NULL, ..widen(fill(to, 8)) };
    at(&params).plus(16).typed().set(asked).unwrap();
    let node: CUgraphNode =
        got(|place| graph_nodes::add_any(place, graph, Ref::NULL, 0, out(&mut params))).unwrap();
    let read: CUgraphNodeParams = got(|out| graph_nodes::any_of(node, out)).unwrap();
    let said: CUDA_MEMSET_NODE_PARAMS_v2 = at(&read).plus(16).typed().get().unwrap();
    assert_eq!((read.kind, said.dst.0, said.value), (CUgraphNodeType::MEMSET, to, 8));
    setup.launch(instantiate(graph));
    assert_eq!(setup.value(to), 8);
}

#[test]
fn branches_take_streams_that_go_to_the_next_graph_and_chains_take_none() {
    let setup = Setup::new();
    let (one, other, sum) = (setup.memory(0), setup.memory(0), setup.memory(0));
    let streams = || setup.context.lanes().len();
    let before = streams();
    let chain = new_graph();
    let first = setup.set(chain, &[], one, 1).unwrap();
    setup.set(chain, &[first], one, 2).unwrap();
    setup.launch(instantiate(chain));
    assert_eq!((setup.value(one), streams()), (2, before));
    let fork = || {
        let graph = new_graph();
        let within = new_graph();
        setup.set(within, &[], one, 3).unwrap();
        let child: CUgraphNode = got(|out| graph_nodes::add_child(out, graph, Ref::NULL, 0, within)).unwrap();
        let set = setup.set(graph, &[], other, 4).unwrap();
        setup.add(graph, &[child, set], Sum { to: sum, one, other }).unwrap();
        instantiate(graph)
    };
    let exec = fork();
    for _ in 0..3 {
        write(Address(sum as usize), &[0; 4]);
        setup.launch(exec);
        assert_eq!((setup.value(sum), streams()), (7, before + 1));
    }
    graph_exec::destroy(exec).unwrap();
    let (exec, at_once) = (fork(), fork());
    setup.launch(exec);
    assert_eq!((setup.value(sum), streams()), (7, before + 1));
    setup.launch(at_once);
    assert_eq!((setup.value(sum), streams()), (7, before + 2));
}

#[test]
fn conditional_node_has_a_value_of_its_own_graph_and_empty_graphs_to_fill() {
    let setup = Setup::new();
    let (graph, other) = (new_graph(), new_graph());
    let handle = |graph| -> u64 { got(|out| graph::condition(out, graph, CUcontext::NULL, 1, 1)).unwrap() };
    let add = |graph, handle: u64, kind: u64, size: u64| -> Answer<(CUgraphNode, CUgraphNodeParams)> {
        let mut params = CUgraphNodeParams::new_zeroed();
        params.kind = CUgraphNodeType::CONDITIONAL;
        (params.params[0], params.params[1]) = (handle, kind | size << 32);
        let node = got(|place| graph_nodes::add_any(place, graph, Ref::NULL, 0, out(&mut params)))?;
        Ok((node, params))
    };
    let invalid = Some(CUresult::ERROR_INVALID_VALUE);
    let (first, second) = (handle(graph), handle(graph));
    assert_eq!(add(graph, 0, 0, 1).err(), invalid);
    assert_eq!(add(graph, first, 1, 2).err(), invalid);
    assert_eq!(add(other, second, 0, 1).err(), invalid);
    let (node, params) = add(graph, first, 0, 2).unwrap();
    // A value is for one node.
    assert_eq!(add(graph, first, 0, 1).err(), invalid);
    let bodies: [CUgraph; 2] = Address(params.params[2] as usize).typed().get().unwrap();
    let to = setup.memory(0);
    setup.set(bodies[0], &[], to, 5).unwrap();
    let read: CUgraphNodeParams = got(|out| graph_nodes::any_of(node, out)).unwrap();
    assert_eq!(read.params[..3], params.params[..3]);
    assert_eq!(got(|out| graph::duplicate(out, graph)).err(), Some(CUresult::ERROR_NOT_SUPPORTED));
    let exec = instantiate(graph);
    assert!(got(|out| graph_exec::enabled(exec, node, out)).is_err());
    // Functions of the program do not run by a value.
    let call = Address((end as extern "C" fn(*mut std::ffi::c_void)) as *const () as usize);
    let host = CUDA_HOST_NODE_PARAMS { function: call, user_data: Address::NULL };
    let added: Answer<CUgraphNode> =
        got(|out| graph_nodes::add_host(out, bodies[1], Ref::NULL, 0, at(&host).typed_const()));
    assert!(added.is_ok());
    let refused = got::<CUgraphExec>(|out| graph_exec::instantiate_with_flags(out, graph, 0));
    assert_eq!(refused, Err(CUresult::ERROR_NOT_SUPPORTED));
    graph::destroy(graph).unwrap();
    graph_exec::destroy(exec).unwrap();
    assert_eq!(graph::destroy(bodies[0]), Err(CUresult::ERROR_INVALID_HANDLE));
}

fn widen(params: CUDA_MEMSET_NODE_PARAMS) -> CUDA_MEMSET_NODE_PARAMS_v2 {
    super::nodes::fill_in(params, CUcontext::NULL)
}
