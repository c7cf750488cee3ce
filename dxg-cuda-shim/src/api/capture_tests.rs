//! What a capture forbids, to whom, and what breaks it.

use super::context;
use super::event;
use super::fill;
use super::graph;
use super::graph_tests::Setup;
use super::graph_tests::got;
use super::graph_tests::instantiate;
use super::graph_tests::new_event;
use super::graph_tests::new_graph;
use super::graph_tests::new_stream;
use super::graph_tests::nodes;
use super::graph_tests::out;
use super::memory;
use super::stream;
use crate::capture;
use crate::current;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUresult;
use crate::generated::enums::CUstreamCaptureMode as Mode;
use crate::generated::enums::CUstreamCaptureStatus as Status;
use crate::generated::handles::*;
use crate::types::Answer;
use crate::types::CUdeviceptr;

const UNSUPPORTED: Answer = Err(CUresult::ERROR_STREAM_CAPTURE_UNSUPPORTED);

fn begin(stream: CUstream, mode: Mode) {
    stream::begin_capture_v2(stream, mode).unwrap();
}

fn end(stream: CUstream) -> Answer<CUgraph> {
    got(|out| stream::end_capture(stream, out))
}

fn status(stream: CUstream) -> Answer<Status> {
    got(|out| stream::capturing(stream, out))
}

fn set(to: u64, value: u32, stream: CUstream) -> Answer {
    fill::d32_async(CUdeviceptr(to), value, 1, stream)
}

fn alloc() -> Answer<CUdeviceptr> {
    got(|out| memory::alloc(out, 4))
}

#[test]
fn what_no_capture_sees_breaks_a_capture_of_the_thread_unless_it_is_relaxed() {
    let setup = Setup::new();
    let (stream, to, event) = (new_stream(), setup.memory(0), new_event());
    event::record(event, new_stream()).unwrap();
    setup.context.synchronize_all().unwrap();
    let unseen: [&dyn Fn() -> Answer; 5] = [
        &|| alloc().map(drop),
        &|| memory::free(CUdeviceptr(to)),
        &|| got(|out| memory::alloc_host(out, 64)).map(|_: Address| ()),
        &|| event::query(event),
        &|| event::synchronize(event),
    ];
    for mode in [Mode::GLOBAL, Mode::THREAD_LOCAL] {
        for call in unseen {
            begin(stream, mode);
            assert_eq!(call(), UNSUPPORTED);
            assert_eq!(status(stream), Ok(Status::INVALIDATED));
            assert_eq!(set(to, 1, stream), Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
            assert_eq!(end(stream), Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
        }
    }
    begin(stream, Mode::RELAXED);
    assert!(alloc().is_ok());
    assert_eq!(event::query(event), Ok(()));
    assert!(end(stream).is_ok());
    begin(stream, Mode::GLOBAL);
    capture::exchange_mode(Mode::RELAXED);
    assert!(alloc().is_ok());
    assert_eq!(capture::exchange_mode(Mode::THREAD_LOCAL), Mode::RELAXED);
    assert!(end(stream).is_ok());
    assert_eq!(memory::free(CUdeviceptr(to)), Ok(()));
}

#[test]
fn global_capture_forbids_other_threads_too_unless_they_look_at_their_own_only() {
    let setup = Setup::new();
    let (global, local) = (new_stream(), new_stream());
    let elsewhere = |mode| {
        let run = || {
            current::set(Some(setup.context.clone()));
            capture::exchange_mode(mode);
            let answer = alloc().map(drop);
            current::set(None);
            answer
        };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap())
    };
    begin(local, Mode::THREAD_LOCAL);
    begin(global, Mode::GLOBAL);
    assert_eq!(elsewhere(Mode::THREAD_LOCAL), Ok(()));
    assert_eq!(elsewhere(Mode::RELAXED), Ok(()));
    assert_eq!(status(global), Ok(Status::ACTIVE));
    assert_eq!(elsewhere(Mode::GLOBAL), UNSUPPORTED);
    assert_eq!(status(global), Ok(Status::INVALIDATED));
    assert_eq!(status(local), Ok(Status::ACTIVE));
    assert!(end(local).is_ok());
    assert!(end(global).is_err());
}

#[test]
fn capture_that_is_not_relaxed_ends_in_the_thread_that_began_it() {
    let setup = Setup::new();
    let stream = new_stream();
    let end_elsewhere = || {
        let run = || {
            current::set(Some(setup.context.clone()));
            let ended = end(stream);
            current::set(None);
            ended.map(drop)
        };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap())
    };
    begin(stream, Mode::THREAD_LOCAL);
    assert_eq!(end_elsewhere(), Err(CUresult::ERROR_STREAM_CAPTURE_WRONG_THREAD));
    assert!(end(stream).is_ok());
    begin(stream, Mode::RELAXED);
    assert_eq!(end_elsewhere(), Ok(()));
    assert_eq!(status(stream), Ok(Status::NONE));
}

#[test]
fn waiting_for_the_context_breaks_its_captures_relaxed_ones_too() {
    let _setup = Setup::new();
    let stream = new_stream();
    begin(stream, Mode::RELAXED);
    assert_eq!(context::synchronize(), UNSUPPORTED);
    assert_eq!(end(stream), Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
    assert_eq!(context::synchronize(), Ok(()));
}

#[test]
fn legacy_stream_is_neither_waited_for_nor_asked_while_a_blocking_stream_is_captured() {
    let _setup = Setup::new();
    let implicit = CUresult::ERROR_STREAM_CAPTURE_IMPLICIT;
    let blocking: CUstream = got(|out| stream::create(out, 0)).unwrap();
    begin(blocking, Mode::RELAXED);
    assert_eq!(status(CUstream::NULL), Err(implicit));
    assert_eq!(status(blocking), Ok(Status::ACTIVE));
    assert_eq!(stream::query(CUstream::NULL), Err(implicit));
    assert_eq!(end(blocking), Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
    begin(blocking, Mode::RELAXED);
    assert_eq!(stream::synchronize(CUstream::NULL), Err(implicit));
    assert_eq!(end(blocking), Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
    assert_eq!(stream::synchronize(CUstream::NULL), Ok(()));
}

#[test]
fn captures_do_not_merge_and_do_not_come_after_what_is_not_captured() {
    let _setup = Setup::new();
    let (first, second, event) = (new_stream(), new_stream(), new_event());
    begin(first, Mode::RELAXED);
    begin(second, Mode::RELAXED);
    event::record(event, first).unwrap();
    assert_eq!(stream::wait_event(second, event, 0), Err(CUresult::ERROR_STREAM_CAPTURE_MERGE));
    for stream in [first, second] {
        assert_eq!(end(stream), Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
    }
    // The event is of a capture that is over.
    assert_eq!(stream::wait_event(second, event, 0), Err(CUresult::ERROR_CAPTURED_EVENT));
    event::record(event, first).unwrap();
    begin(second, Mode::RELAXED);
    assert_eq!(stream::wait_event(second, event, 0), Err(CUresult::ERROR_STREAM_CAPTURE_ISOLATION));
    assert_eq!(end(second), Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
}

#[test]
fn event_of_a_capture_that_is_asked_for_breaks_it() {
    let _setup = Setup::new();
    let (stream, event) = (new_stream(), new_event());
    begin(stream, Mode::RELAXED);
    event::record(event, stream).unwrap();
    assert_eq!(event::query(event), Err(CUresult::ERROR_CAPTURED_EVENT));
    assert_eq!(end(stream), Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
}

#[test]
fn external_events_become_nodes_and_are_nothing_outside_of_a_capture() {
    let setup = Setup::new();
    let (stream, event, other) = (new_stream(), new_event(), new_event());
    assert_eq!(event::record_with_flags(event, stream, 1), Err(CUresult::ERROR_INVALID_VALUE));
    assert_eq!(stream::wait_event(stream, event, 1), Err(CUresult::ERROR_INVALID_VALUE));
    event::record(other, stream).unwrap();
    begin(stream, Mode::GLOBAL);
    stream::wait_event(stream, other, 1).unwrap();
    event::record_with_flags(event, stream, 1).unwrap();
    let graph = end(stream).unwrap();
    let mut list = [CUgraphNode::NULL; 2];
    graph::nodes(graph, out(&mut list[0]), out(&mut 2_usize)).unwrap();
    use crate::generated::enums::CUgraphNodeType as T;
    let kinds = list.map(|node| got(|out| graph::node_type(node, out)).unwrap());
    assert_eq!(kinds, [T::WAIT_EVENT, T::EVENT_RECORD]);
    setup.launch(instantiate(graph));
    assert_eq!(event::synchronize(event), Ok(()));
}

#[test]
fn stream_that_is_destroyed_takes_its_capture_with_it_and_breaks_that_of_another() {
    let setup = Setup::new();
    let (first, second, event) = (new_stream(), new_stream(), new_event());
    begin(first, Mode::GLOBAL);
    event::record(event, first).unwrap();
    stream::wait_event(second, event, 0).unwrap();
    stream::destroy(second).unwrap();
    assert_eq!(end(first), Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED));
    begin(first, Mode::GLOBAL);
    stream::destroy(first).unwrap();
    // Nothing is forbidden any more.
    assert!(alloc().is_ok());
    drop(setup);
}

#[test]
fn capture_goes_on_in_a_graph_and_its_dependencies_are_told_and_changed() {
    let setup = Setup::new();
    let (to, stream, graph) = (setup.memory(0), new_stream(), new_graph());
    let first = setup.set(graph, &[], to, 1).unwrap();
    let mode =
        |mode| stream::begin_capture_to_graph(stream, graph, nodes(&[first]), Ref::NULL, 1, Mode(mode));
    assert_eq!(mode(3), Err(CUresult::ERROR_INVALID_VALUE));
    mode(0).unwrap();
    set(to, 2, stream).unwrap();
    let (mut told, mut list, mut count) = (CUgraph::NULL, Address::NULL, 0_usize);
    let (mut state, mut edges) = (Status::NONE, Address(1));
    let (state, edges) = (out(&mut state), out(&mut edges));
    stream::capture_info_v3(stream, state, Mut::NULL, out(&mut told), out(&mut list), edges, out(&mut count))
        .unwrap();
    assert_eq!((told, count, edges.get()), (graph, 1, Some(Address::NULL)));
    let mut last: CUgraphNode = list.typed().get().unwrap();
    assert_ne!(last, first);
    // The next node comes after the first and not after what was captured: that is left behind.
    let mut only = first;
    stream::update_dependencies(stream, out(&mut only), 1, 1).unwrap();
    set(to, 3, stream).unwrap();
    stream::update_dependencies(stream, out(&mut last), 1, 0).unwrap();
    assert_eq!(end(stream), Ok(graph));
    let mut edges = 0_usize;
    graph::edges(graph, Mut::NULL, Mut::NULL, out(&mut edges)).unwrap();
    assert_eq!(edges, 2);
    assert_eq!(stream::update_dependencies(stream, out(&mut only), 1, 1), Err(CUresult::ERROR_ILLEGAL_STATE));
}
