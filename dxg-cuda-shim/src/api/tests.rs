//! The API over a host that is a thread of the test: what is answered here, and what is put on the ring.

use std::sync::Arc;

use parking_lot::Mutex;
use parking_lot::MutexGuard;

use crate::context::Context;
use crate::current;
use crate::driver;
use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::ffi::pointers::Text;
use crate::generated::enums::CUjit_option;
use crate::generated::enums::CUpointer_attribute;
use crate::generated::enums::CUresult;
use crate::generated::enums::CUstreamCaptureMode;
use crate::generated::exports;
use crate::generated::handles::*;
use crate::generated::structs::CUDA_MEMSET_NODE_PARAMS;
use crate::types::CUdevice;
use crate::types::CUdeviceptr;

use super::*;

const TEXT: &[u8] = b"entry add 8 8 8 4\nentry fault\nglobal table 64\n\0";

/// One test at a time has the driver's primary context.
static ONE: Mutex<()> = Mutex::new(());

struct Session {
    context: Arc<Context>,
    _one: MutexGuard<'static, ()>,
}

/// Keeps the tests of this file from running: some of them need all of the memory.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    ONE.lock()
}

/// A place that the API writes to.
fn out<T>(place: &mut T) -> Mut<T> {
    Address(std::ptr::from_mut(place).expose_provenance()).typed()
}

fn at<T>(value: &T) -> Address {
    Address(std::ptr::from_ref(value).expose_provenance())
}

fn input<T: Copy>(value: &T) -> Ref<T> {
    Ref::at_address(at(value))
}

fn text(bytes: &'static [u8]) -> Text {
    Text::of(Address(bytes.as_ptr().expose_provenance()))
}

fn session() -> Session {
    let one = ONE.lock();
    // Captures of tests that run at the same time are none of ours.
    crate::capture::exchange_mode(CUstreamCaptureMode::THREAD_LOCAL);
    driver::for_tests();
    let mut name = CUcontext::NULL;
    device::primary_retain(out(&mut name), CUdevice(0)).unwrap();
    context::set_current(name).unwrap();
    Session { context: current::context().unwrap(), _one: one }
}

impl Drop for Session {
    fn drop(&mut self) {
        context::set_current(CUcontext::NULL).unwrap();
        device::primary_release(CUdevice(0)).unwrap();
    }
}

fn alloc(bytes: usize) -> CUdeviceptr {
    let mut ptr = CUdeviceptr(0);
    super::memory::alloc(out(&mut ptr), bytes).unwrap();
    ptr
}

fn load() -> CUmodule {
    let mut module = CUmodule::NULL;
    module::load_data(out(&mut module), Address(TEXT.as_ptr().expose_provenance())).unwrap();
    module
}

fn function(module: CUmodule, name: &'static [u8]) -> CUfunction {
    let mut function = CUfunction::NULL;
    module::function(out(&mut function), module, text(name)).unwrap();
    function
}

fn write(to: CUdeviceptr, values: &[i32]) {
    copy::to_device(to, Address(values.as_ptr().expose_provenance()), size_of_val(values)).unwrap();
}

fn read(from: CUdeviceptr, count: usize) -> Vec<i32> {
    let mut values = vec![0; count];
    copy::to_host(Address(values.as_mut_ptr().expose_provenance()), from, count * 4).unwrap();
    values
}

fn launch_add(function: CUfunction, to: CUdeviceptr, from: CUdeviceptr, count: u32, stream: CUstream) {
    let params = [at(&to), at(&from), at(&from), at(&count)];
    let params = Address(params.as_ptr().expose_provenance()).typed();
    launch::kernel(function, 1, 1, 1, 32, 1, 1, 0, stream, params, Mut::NULL).unwrap();
}

fn stream_of(flags: u32) -> CUstream {
    let mut stream = CUstream::NULL;
    stream::create(out(&mut stream), flags).unwrap();
    stream
}

#[test]
fn launch_runs_with_its_parameters_in_the_order_of_the_stream() {
    let _session = session();
    let add = function(load(), b"add\0");
    let (to, from) = (alloc(64), alloc(64));
    write(from, &[1, 2, 3, 4]);
    launch_add(add, to, from, 4, CUstream::NULL);
    launch_add(add, to, to, 2, CUstream::NULL);
    assert_eq!(read(to, 4), [4, 8, 6, 8]);
}

#[test]
fn launch_of_impossible_shape_is_refused_before_anything_is_sent() {
    let session = session();
    let add = function(load(), b"add\0");
    let params = [Address::NULL; 4];
    let params: Mut<Address> = Address(params.as_ptr().expose_provenance()).typed();
    let before = session.context.legacy.last();
    let invalid = Err(CUresult::ERROR_INVALID_VALUE);
    for (grid, block, shared) in [(0, 1, 0), (1, 0, 0), (1, 1025, 0), (1, 1, 49 << 10)] {
        let result = launch::kernel(add, grid, 1, 1, block, 1, 1, shared, CUstream::NULL, params, Mut::NULL);
        assert_eq!(result, invalid);
    }
    // Parameters of which one has no place.
    assert_eq!(launch::kernel(add, 1, 1, 1, 1, 1, 1, 0, CUstream::NULL, params, Mut::NULL), invalid);
    assert_eq!(session.context.legacy.last(), before);
    let gone = CUfunction(add.0 + 16);
    let result = launch::kernel(gone, 1, 1, 1, 1, 1, 1, 0, CUstream::NULL, params, Mut::NULL);
    assert_eq!(result, Err(CUresult::ERROR_INVALID_HANDLE));
}

#[test]
fn fault_of_a_kernel_sticks_to_the_context_until_it_is_reset() {
    let session = session();
    let fault = function(load(), b"fault\0");
    launch::kernel(fault, 1, 1, 1, 1, 1, 1, 0, CUstream::NULL, Mut::NULL, Mut::NULL).unwrap();
    assert_eq!(context::synchronize(), Err(CUresult::ERROR_ILLEGAL_ADDRESS));
    let mut ptr = CUdeviceptr(0);
    assert_eq!(super::memory::alloc(out(&mut ptr), 16), Err(CUresult::ERROR_ILLEGAL_ADDRESS));
    device::primary_reset(CUdevice(0)).unwrap();
    assert_eq!(context::synchronize(), Err(CUresult::ERROR_CONTEXT_IS_DESTROYED));
    assert!(session.context.is_destroyed());
}

#[test]
fn memory_that_is_freed_is_free_again_and_unknown() {
    let session = session();
    let before = session.context.arena.used_bytes();
    let blocks: Vec<_> = (1..50).map(|index| alloc(index * 1000)).collect();
    let large = alloc(40 << 20);
    assert!(session.context.arena.used_bytes() > before + (40 << 20));
    for ptr in blocks {
        super::memory::free(ptr).unwrap();
    }
    super::memory::free(large).unwrap();
    assert_eq!(session.context.arena.used_bytes(), before);
    assert_eq!(super::memory::free(large), Err(CUresult::ERROR_INVALID_VALUE));
    let mut ptr = CUdeviceptr(0);
    let result = super::memory::alloc(out(&mut ptr), 1 << 30);
    assert_eq!(result, Err(CUresult::ERROR_OUT_OF_MEMORY));
    // All of it can be had again, in other sizes.
    super::memory::free(alloc(200 << 20)).unwrap();
}

#[test]
fn pointer_attributes_know_device_memory_and_nothing_of_the_programs_own() {
    let _session = session();
    let ptr = alloc(1000);
    let mut kind = 0_u32;
    let ask =
        |kind: &mut u32, ptr| pointer::attribute(out(kind).address(), CUpointer_attribute::MEMORY_TYPE, ptr);
    ask(&mut kind, CUdeviceptr(ptr.0 + 999)).unwrap();
    assert_eq!(kind, 2);
    assert_eq!(ask(&mut kind, CUdeviceptr(ptr.0 + 1000)), Err(CUresult::ERROR_INVALID_VALUE));
    let own = 0_u64;
    assert_eq!(ask(&mut kind, CUdeviceptr(at(&own).0 as u64)), Err(CUresult::ERROR_INVALID_VALUE));
    let (mut base, mut size) = (CUdeviceptr(0), 0);
    super::memory::address_range(out(&mut base), out(&mut size), CUdeviceptr(ptr.0 + 5)).unwrap();
    assert_eq!((base, size), (ptr, 1000));
    super::memory::address_range(Mut::NULL, Mut::NULL, ptr).unwrap();
}

#[test]
fn copy_of_bytes_that_are_not_there_is_refused() {
    let _session = session();
    let ptr = alloc(4096);
    let own = [0_u8; 64];
    let from = Address(own.as_ptr().expose_provenance());
    let invalid = Err(CUresult::ERROR_INVALID_VALUE);
    assert_eq!(copy::to_device(CUdeviceptr(0), from, 64), invalid);
    assert_eq!(copy::to_device(CUdeviceptr(from.0 as u64), from, 64), invalid);
    assert_eq!(copy::to_device(ptr, Address::NULL, 64), invalid);
    assert_eq!(copy::to_device(CUdeviceptr(u64::MAX - 8), from, 64), invalid);
    assert_eq!(copy::on_device(ptr, CUdeviceptr(7), 64), invalid);
    copy::to_device(ptr, Address::NULL, 0).unwrap();
    assert_eq!(fill::d32(CUdeviceptr(ptr.0 + 2), 1, 1), invalid);
}

#[test]
fn blocking_streams_and_the_legacy_stream_wait_for_each_other() {
    let session = session();
    let stream = stream_of(0);
    let (_, lane) = current::stream(stream).unwrap();
    let ptr = alloc(64);
    fill::d32_async(ptr, 1, 4, stream).unwrap();
    let before = session.context.legacy.last();
    fill::d32(ptr, 2, 4).unwrap();
    fill::d32_async(ptr, 3, 4, stream).unwrap();
    stream::synchronize(stream).unwrap();
    assert_eq!(read(ptr, 4), [3; 4]);
    // A wait is put in front only where there is something to wait for.
    assert!(session.context.legacy.last() - before <= 2);
    assert!(lane.last() <= 3);
    stream::destroy(stream).unwrap();
    assert_eq!(stream::query(stream), Err(CUresult::ERROR_INVALID_HANDLE));
}

#[test]
fn per_thread_default_streams_differ_between_threads() {
    let session = session();
    let mine = current::stream(CUstream(2)).unwrap().1.number;
    let context = Arc::clone(&session.context);
    let theirs = std::thread::spawn(move || context.per_thread_lane().unwrap().number).join().unwrap();
    assert_ne!(mine, theirs);
    assert_eq!(current::stream(CUstream(2)).unwrap().1.number, mine);
    assert_eq!(current::stream(CUstream(1)).unwrap().1.number, session.context.legacy.number);
}

#[test]
fn event_times_are_in_order_and_an_event_that_was_not_recorded_has_none() {
    let _session = session();
    let (mut start, mut end) = (CUevent::NULL, CUevent::NULL);
    event::create(out(&mut start), 0).unwrap();
    event::create(out(&mut end), 0).unwrap();
    event::query(start).unwrap();
    let mut milliseconds = 0.0_f32;
    let result = event::elapsed(out(&mut milliseconds), start, end);
    assert_eq!(result, Err(CUresult::ERROR_INVALID_HANDLE));
    event::record(start, CUstream::NULL).unwrap();
    event::record(end, CUstream::NULL).unwrap();
    event::synchronize(end).unwrap();
    event::elapsed(out(&mut milliseconds), start, end).unwrap();
    assert!(milliseconds >= 0.0);
}

#[test]
fn jit_log_says_what_is_wrong_and_how_long_it_is() {
    let _session = session();
    let mut log = [0_u8; 64];
    let options = [CUjit_option::ERROR_LOG_BUFFER, CUjit_option::ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [Address(log.as_mut_ptr().expose_provenance()), Address(log.len())];
    let mut module = CUmodule::NULL;
    let list = Address(options.as_ptr().expose_provenance()).typed();
    let image = Address(c"bad".as_ptr().expose_provenance());
    let places = Address(values.as_mut_ptr().expose_provenance()).typed();
    let result = module::load_data_ex(out(&mut module), image, 2, list, places);
    assert_eq!(result, Err(CUresult::ERROR_INVALID_PTX));
    assert_eq!(&log[..12], b"line 1: bad\0");
    let length = memory::read(Address(values.as_ptr().expose_provenance() + 8), 8);
    assert_eq!(length, 12_u64.to_le_bytes());
}

#[test]
fn captured_work_runs_when_the_graph_is_launched_and_not_before() {
    let _session = session();
    let stream = stream_of(1);
    let add = function(load(), b"add\0");
    let (to, from) = (alloc(64), alloc(64));
    write(to, &[0; 4]);
    stream::begin_capture_v2(stream, CUstreamCaptureMode::GLOBAL).unwrap();
    fill::d32_async(from, 5, 4, stream).unwrap();
    launch_add(add, to, from, 4, stream);
    let mut graph = CUgraph::NULL;
    stream::end_capture(stream, out(&mut graph)).unwrap();
    assert_eq!(read(to, 4), [0; 4]);
    let mut exec = CUgraphExec::NULL;
    graph_exec::instantiate_with_flags(out(&mut exec), graph, 0).unwrap();
    graph_exec::launch(exec, stream).unwrap();
    stream::synchronize(stream).unwrap();
    assert_eq!(read(to, 4), [10; 4]);
    graph_exec::destroy(exec).unwrap();
    graph::destroy(graph).unwrap();
    assert_eq!(graph_exec::launch(exec, stream), Err(CUresult::ERROR_INVALID_HANDLE));
}

#[test]
fn graph_with_a_cycle_is_refused() {
    let _session = session();
    let mut graph = CUgraph::NULL;
    graph::create(out(&mut graph), 0).unwrap();
    let ptr = alloc(64);
    let params =
        CUDA_MEMSET_NODE_PARAMS { dst: ptr, pitch: 0, value: 1, element_size: 4, width: 4, height: 1 };
    let (mut first, mut second) = (CUgraphNode::NULL, CUgraphNode::NULL);
    graph_nodes::add_fill(out(&mut first), graph, Ref::NULL, 0, input(&params), CUcontext::NULL).unwrap();
    graph_nodes::add_fill(out(&mut second), graph, input(&first), 1, input(&params), CUcontext::NULL)
        .unwrap();
    graph::add_dependencies(graph, input(&second), input(&first), 1).unwrap();
    let mut exec = CUgraphExec::NULL;
    let result = graph_exec::instantiate_with_flags(out(&mut exec), graph, 0);
    assert_eq!(result, Err(CUresult::ERROR_INVALID_VALUE));
    graph::remove_dependencies(graph, input(&second), input(&first), 1).unwrap();
    graph_exec::instantiate_with_flags(out(&mut exec), graph, 0).unwrap();
    let mut count = 0;
    graph::edges(graph, Mut::NULL, Mut::NULL, out(&mut count)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn function_that_nobody_wrote_is_not_supported_and_one_of_another_version_is_found() {
    let _session = session();
    assert_eq!(exports::cuTexRefCreate(Mut::NULL), CUresult::ERROR_NOT_SUPPORTED);
    let mut code = Address::NULL;
    general::proc_address(text(b"cuTexRefCreate\0"), out(&mut code), 12000, 0).unwrap();
    assert!(!code.is_null());
    let legacy = {
        general::proc_address(text(b"cuStreamSynchronize\0"), out(&mut code), 12000, 0).unwrap();
        code
    };
    general::proc_address(text(b"cuStreamSynchronize\0"), out(&mut code), 12000, 2).unwrap();
    assert_ne!(code, legacy);
    assert_eq!(exports::cuStreamSynchronize_ptsz(CUstream::NULL), CUresult::SUCCESS);
}

#[test]
fn host_that_goes_away_ends_every_wait_with_device_unavailable() {
    let _one = ONE.lock();
    driver::for_tests();
    let (link, lose) = crate::fake_host::link_that_can_be_lost();
    let links = Mutex::new(Some(link));
    let connector: crate::device::Connector = Box::new(move || Ok(links.lock().take().unwrap()));
    let device = Arc::new(crate::device::Device::over(connector, 0, [1; 16], [0; 8], None).unwrap());
    let context = device.make_context(0).unwrap();
    let lane = context.new_lane(crate::lane::Blocking::No, 0).unwrap();
    let never = context.cells.take(context.ring.link()).unwrap();
    let sequence = context.submit(&lane, &[crate::work::Work::WaitCell(never.io(), 1)]).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| context.wait(&lane, sequence));
        lose();
        assert_eq!(waiter.join().unwrap(), Err(CUresult::ERROR_DEVICE_UNAVAILABLE));
    });
    assert_eq!(context.submit(&lane, &[]), Err(CUresult::ERROR_DEVICE_UNAVAILABLE));
    crate::tables::destroy_context(&context);
}
