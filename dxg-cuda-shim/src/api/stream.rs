//! Streams: made, waited for, captured; functions of the program and values in memory on them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dxg_wire::cuda::wait_value;

use crate::capture;
use crate::capture::Capture;
use crate::context::Context;
use crate::current;
use crate::ffi::callbacks::HostFunction;
use crate::ffi::callbacks::StreamCallback;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUlaunchAttributeID as L;
use crate::generated::enums::CUresult;
use crate::generated::enums::CUstreamCaptureMode;
use crate::generated::enums::CUstreamCaptureStatus;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUevent;
use crate::generated::handles::CUgraph;
use crate::generated::handles::CUgraphNode;
use crate::generated::handles::CUgreenCtx;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUDA_HOST_NODE_PARAMS;
use crate::generated::structs::CUgraphEdgeData;
use crate::generated::structs::CUstreamBatchMemOpParams;
use crate::graph;
use crate::graph::Graph;
use crate::graph::Params;
use crate::lane::Blocking;
use crate::lane::Lane;
use crate::places;
use crate::places::Place;
use crate::pool;
use crate::step::Step;
use crate::tables;
use crate::tables::Stream;
use crate::types::Answer;
use crate::types::CUdevice;
use crate::types::CUdeviceptr;
use crate::types::CUlaunchAttributeValue;
use crate::work::HostCall;
use crate::work::Work;

use super::event::EXTERNAL;

/// The least urgent priority.
pub const LEAST_PRIORITY: i32 = 0;
/// The most urgent priority.
pub const GREATEST_PRIORITY: i32 = -5;
/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;
/// Flag of waits for values: writes of others are flushed, which they are anyway.
const FLUSH: u32 = 1 << 30;

/// `cuStreamCreate`.
pub fn create(out: Mut<CUstream>, flags: u32) -> Answer {
    create_with_priority(out, flags, 0)
}

/// `cuStreamCreateWithPriority`.
pub fn create_with_priority(out: Mut<CUstream>, flags: u32, priority: i32) -> Answer {
    let context = current::context()?;
    out.given()?;
    if flags & !NON_BLOCKING != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let blocking = if flags & NON_BLOCKING == 0 { Blocking::Yes } else { Blocking::No };
    let lane = context.new_lane(blocking, priority.clamp(GREATEST_PRIORITY, LEAST_PRIORITY))?;
    out.set(tables::STREAMS.insert(Arc::new(Stream { context, lane, flags }))?)
}

/// `cuStreamDestroy` and `_v2`.
pub fn destroy(stream: CUstream) -> Answer {
    crate::driver::driver()?;
    let stream = tables::STREAMS.remove(stream)?;
    capture::leave(&stream.lane);
    stream.context.end_lane(&stream.lane);
    Ok(())
}

fn is_capturing(lane: &Lane) -> bool {
    lane.is_capturing.load(Ordering::Relaxed)
}

/// For what cannot be captured.
///
/// # Errors
/// Capture unsupported, and the capture is broken.
pub(super) fn not_captured(lane: &Lane) -> Answer {
    if !is_capturing(lane) {
        return Ok(());
    }
    capture::invalidate(lane);
    Err(CUresult::ERROR_STREAM_CAPTURE_UNSUPPORTED)
}

/// `cuStreamQuery`.
pub fn query(stream: CUstream) -> Answer {
    let (context, lane) = current::stream(stream)?;
    not_captured(&lane)?;
    capture::check_legacy(&context, &lane)?;
    if context.is_ready_for(&lane) { Ok(()) } else { Err(CUresult::ERROR_NOT_READY) }
}

/// `cuStreamSynchronize`.
pub fn synchronize(stream: CUstream) -> Answer {
    let (context, lane) = current::stream(stream)?;
    not_captured(&lane)?;
    capture::check_legacy(&context, &lane)?;
    context.synchronize_for(&lane)?;
    pool::settle(&context);
    Ok(())
}

/// `cuStreamWaitEvent`.
pub fn wait_event(stream: CUstream, event: CUevent, flags: u32) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let event_object = tables::EVENTS.get(event)?;
    match (flags, is_capturing(&lane)) {
        // A node of its own, which only a capture makes.
        (EXTERNAL, true) => {
            return capture::add_node(&lane, Step::Wait(event_object), Params::Wait(event)).map(drop);
        }
        (0, false) if capture::follow(&lane, &event_object)? => return Ok(()),
        (0, _) => {}
        _ => return Err(CUresult::ERROR_INVALID_VALUE),
    }
    graph::enqueue(&context, &lane, Step::Wait(event_object), || Params::Wait(event))
}

/// `cuStreamGetFlags`.
pub fn flags(stream: CUstream, flags: Mut<u32>) -> Answer {
    let (_, lane) = current::stream(stream)?;
    flags.set(if lane.blocking == Blocking::No { NON_BLOCKING } else { 0 })
}

/// `cuStreamGetPriority`.
pub fn priority(stream: CUstream, priority: Mut<i32>) -> Answer {
    priority.set(current::stream(stream)?.1.priority)
}

/// `cuStreamGetId`.
pub fn id(stream: CUstream, id: Mut<u64>) -> Answer {
    id.set(current::stream(stream)?.1.id)
}

/// `cuStreamGetCtx`.
pub fn context(stream: CUstream, out: Mut<CUcontext>) -> Answer {
    let (context, _) = current::stream(stream)?;
    out.set(context.name.get().copied().unwrap_or_default())
}

/// `cuStreamGetCtx_v2`.
pub fn context_v2(stream: CUstream, out: Mut<CUcontext>, green: Mut<CUgreenCtx>) -> Answer {
    context(stream, out)?;
    green.put(CUgreenCtx::NULL);
    Ok(())
}

/// `cuStreamGetDevice`.
pub fn device(stream: CUstream, out: Mut<CUdevice>) -> Answer {
    out.set(current::stream(stream)?.0.device.number())
}

/// `cuStreamCopyAttributes`: there are none that differ.
pub fn copy_attributes(to: CUstream, from: CUstream) -> Answer {
    current::stream(to)?;
    current::stream(from).map(drop)
}

/// `cuStreamGetAttribute`.
pub fn attribute(stream: CUstream, attribute: L, value: Mut<CUlaunchAttributeValue>) -> Answer {
    let (_, lane) = current::stream(stream)?;
    value.given()?;
    let mut words = [0; 8];
    match attribute {
        L::PRIORITY => words[0] = u64::from(lane.priority as u32),
        L::SYNCHRONIZATION_POLICY => words[0] = 1,
        L::ACCESS_POLICY_WINDOW | L::MEM_SYNC_DOMAIN | L::MEM_SYNC_DOMAIN_MAP => {}
        _ => return Err(CUresult::ERROR_INVALID_VALUE),
    }
    value.set(words)
}

/// `cuStreamSetAttribute`: wishes, all of them.
pub fn set_attribute(stream: CUstream, attribute: L, value: Ref<CUlaunchAttributeValue>) -> Answer {
    current::stream(stream)?;
    value.read()?;
    match attribute {
        L::PRIORITY
        | L::SYNCHRONIZATION_POLICY
        | L::ACCESS_POLICY_WINDOW
        | L::MEM_SYNC_DOMAIN
        | L::MEM_SYNC_DOMAIN_MAP => Ok(()),
        _ => Err(CUresult::ERROR_INVALID_VALUE),
    }
}

/// `cuLaunchHostFunc`.
pub fn launch_host(stream: CUstream, function: Address, user_data: Address) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let call = HostCall::Function(HostFunction::at(function)?, user_data);
    let params = || Params::Host(CUDA_HOST_NODE_PARAMS { function, user_data });
    graph::enqueue(&context, &lane, Step::Host(call), params)
}

/// `cuLaunchHostFunc_v2`.
pub fn launch_host_v2(stream: CUstream, function: Address, user_data: Address, _sync_mode: u32) -> Answer {
    launch_host(stream, function, user_data)
}

/// `cuStreamAddCallback`.
pub fn add_callback(stream: CUstream, callback: Address, user_data: Address, flags: u32) -> Answer {
    let (context, lane) = current::stream(stream)?;
    not_captured(&lane)?;
    if flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let call = HostCall::Callback(StreamCallback::at(callback)?, user_data, stream);
    graph::run(&context, &lane, &Step::Host(call))
}

fn value_place(context: &Context, address: u64, bytes: u32) -> Answer<u64> {
    if !address.is_multiple_of(u64::from(bytes)) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    match places::any(context, address, u64::from(bytes)) {
        Place::Shared(at) => Ok(at),
        Place::Here(_) => Err(CUresult::ERROR_INVALID_VALUE),
    }
}

fn waited(context: &Context, address: u64, bytes: u32, value: u64, flags: u32) -> Answer<Work> {
    let compare = flags & !FLUSH;
    if compare > wait_value::NOR {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    Ok(Work::WaitValue(value_place(context, address, bytes)?, bytes, value, compare))
}

fn written(context: &Context, address: u64, bytes: u32, value: u64) -> Answer<Work> {
    Ok(Work::WriteValue(value_place(context, address, bytes)?, bytes, value))
}

fn enqueue_values(context: &Arc<Context>, lane: &Arc<Lane>, values: Vec<Work>) -> Answer {
    graph::enqueue(context, lane, Step::Values(values), || Params::Values(CUcontext::NULL, Arc::from([])))
}

/// `cuStreamWriteValue32` and `_v2`.
pub fn write_32(stream: CUstream, at: CUdeviceptr, value: u32, _flags: u32) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let work = written(&context, at.0, 4, u64::from(value))?;
    enqueue_values(&context, &lane, vec![work])
}

/// `cuStreamWriteValue64` and `_v2`.
pub fn write_64(stream: CUstream, at: CUdeviceptr, value: u64, _flags: u32) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let work = written(&context, at.0, 8, value)?;
    enqueue_values(&context, &lane, vec![work])
}

/// `cuStreamWaitValue32` and `_v2`.
pub fn wait_32(stream: CUstream, at: CUdeviceptr, value: u32, flags: u32) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let work = waited(&context, at.0, 4, u64::from(value), flags)?;
    enqueue_values(&context, &lane, vec![work])
}

/// `cuStreamWaitValue64` and `_v2`.
pub fn wait_64(stream: CUstream, at: CUdeviceptr, value: u64, flags: u32) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let work = waited(&context, at.0, 8, value, flags)?;
    enqueue_values(&context, &lane, vec![work])
}

/// Waits and writes as a list says them. Words: operation, address, value, flags.
///
/// # Errors
/// Invalid value, not supported.
pub fn values(context: &Context, list: &[CUstreamBatchMemOpParams]) -> Answer<Vec<Work>> {
    let mut works = Vec::new();
    for operation in list {
        let [kind, address, value, flags, ..] = operation.words;
        let flags = flags as u32;
        match kind as u32 {
            1 => works.push(waited(context, address, 4, value & u64::from(u32::MAX), flags)?),
            2 => works.push(written(context, address, 4, value & u64::from(u32::MAX))?),
            4 => works.push(waited(context, address, 8, value, flags)?),
            5 => works.push(written(context, address, 8, value)?),
            // Flushes and barriers: what is written is seen.
            3 | 6 => {}
            _ => return Err(CUresult::ERROR_NOT_SUPPORTED),
        }
    }
    Ok(works)
}

/// `cuStreamBatchMemOp` and `_v2`.
pub fn batch(stream: CUstream, count: u32, list: Mut<CUstreamBatchMemOpParams>, _flags: u32) -> Answer {
    let (context, lane) = current::stream(stream)?;
    if count > 256 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let works = values(&context, &list.list(count as usize)?)?;
    enqueue_values(&context, &lane, works)
}

/// `cuStreamBeginCapture`.
pub fn begin_capture(stream: CUstream) -> Answer {
    begin_capture_v2(stream, CUstreamCaptureMode::GLOBAL)
}

/// `cuStreamBeginCapture_v2`.
pub fn begin_capture_v2(stream: CUstream, mode: CUstreamCaptureMode) -> Answer {
    let (_, lane) = current::stream(stream)?;
    if !(0..=2).contains(&mode.0) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    capture::begin(&lane, Arc::new(Graph::default()), Vec::new(), mode)
}

/// `cuStreamBeginCaptureToGraph`.
pub fn begin_capture_to_graph(
    stream: CUstream,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    _data: Ref<CUgraphEdgeData>,
    count: usize,
    mode: CUstreamCaptureMode,
) -> Answer {
    let (_, lane) = current::stream(stream)?;
    let graph = tables::GRAPHS.get(graph)?;
    if !(0..=2).contains(&mode.0) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let before = graph.places(&dependencies.list(count)?)?;
    capture::begin(&lane, graph, before, mode)
}

/// `cuStreamEndCapture`.
pub fn end_capture(stream: CUstream, out: Mut<CUgraph>) -> Answer {
    let (_, lane) = current::stream(stream)?;
    out.given()?;
    match capture::end(&lane) {
        Ok(graph) => {
            let known = tables::GRAPHS.name_of(&graph);
            out.set(match known {
                Some(name) => name,
                None => tables::GRAPHS.insert(graph)?,
            })
        }
        Err(error) => {
            out.set(CUgraph::NULL)?;
            Err(error)
        }
    }
}

/// `cuStreamIsCapturing`.
pub fn capturing(stream: CUstream, status: Mut<CUstreamCaptureStatus>) -> Answer {
    let (context, lane) = current::stream(stream)?;
    status.given()?;
    can_be_told(&context, &lane)?;
    let capture = lane.capture.lock();
    status.set(status_of(capture.as_ref()))
}

/// Whether the legacy stream is captured is no question while it would come after a capture.
fn can_be_told(context: &Context, lane: &Lane) -> Answer {
    if capture::is_in_way_of(context, lane) {
        return Err(CUresult::ERROR_STREAM_CAPTURE_IMPLICIT);
    }
    Ok(())
}

fn status_of(capture: Option<&Capture>) -> CUstreamCaptureStatus {
    match capture {
        None => CUstreamCaptureStatus::NONE,
        Some(capture) if capture.session.is_broken() => CUstreamCaptureStatus::INVALIDATED,
        Some(_) => CUstreamCaptureStatus::ACTIVE,
    }
}

/// `cuStreamGetCaptureInfo`.
pub fn capture_info(stream: CUstream, status: Mut<CUstreamCaptureStatus>, id: Mut<u64>) -> Answer {
    capture_info_v2(stream, status, id, Mut::NULL, Mut::NULL, Mut::NULL)
}

/// `cuStreamGetCaptureInfo_v2`.
pub fn capture_info_v2(
    stream: CUstream,
    status: Mut<CUstreamCaptureStatus>,
    id: Mut<u64>,
    graph: Mut<CUgraph>,
    dependencies: Mut<Address>,
    count: Mut<usize>,
) -> Answer {
    capture_info_v3(stream, status, id, graph, dependencies, Mut::NULL, count)
}

thread_local! {
    /// The list that the last question of this thread was answered with: programs read it before they ask again.
    static DEPENDENCIES: std::cell::RefCell<Vec<usize>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// `cuStreamGetCaptureInfo_v3`.
pub fn capture_info_v3(
    stream: CUstream,
    status: Mut<CUstreamCaptureStatus>,
    id: Mut<u64>,
    graph: Mut<CUgraph>,
    dependencies: Mut<Address>,
    edges: Mut<Address>,
    count: Mut<usize>,
) -> Answer {
    let (context, lane) = current::stream(stream)?;
    status.given()?;
    can_be_told(&context, &lane)?;
    let capture = lane.capture.lock().clone();
    status.set(status_of(capture.as_ref()))?;
    let Some(capture) = capture.filter(|capture| !capture.session.is_broken()) else { return Ok(()) };
    id.put(capture.session.id);
    edges.put(Address::NULL);
    let names: Vec<usize> = {
        let nodes = capture.session.graph.nodes.lock();
        capture.before.iter().filter_map(|at| Some(nodes.get(*at)?.as_ref()?.name.0)).collect()
    };
    count.put(names.len());
    if !dependencies.is_null() {
        let kept = DEPENDENCIES.try_with(|list| {
            let mut list = list.borrow_mut();
            *list = names;
            Address(list.as_ptr().expose_provenance())
        });
        dependencies.put(kept.unwrap_or_default());
    }
    if !graph.is_null() {
        let name = match tables::GRAPHS.name_of(&capture.session.graph) {
            Some(name) => name,
            None => tables::GRAPHS.insert(Arc::clone(&capture.session.graph))?,
        };
        graph.set(name)?;
    }
    Ok(())
}

/// `cuStreamUpdateCaptureDependencies`. Flag 0 adds, 1 sets.
pub fn update_dependencies(stream: CUstream, list: Mut<CUgraphNode>, count: usize, flags: u32) -> Answer {
    let (_, lane) = current::stream(stream)?;
    let mut capture = lane.capture.lock();
    let capture = capture.as_mut().ok_or(CUresult::ERROR_ILLEGAL_STATE)?;
    if capture.session.is_broken() {
        return Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    let places = capture.session.graph.places(&list.list(count)?)?;
    match flags {
        0 => {
            for place in places {
                if !capture.before.contains(&place) {
                    capture.before.push(place);
                }
            }
        }
        1 => capture.before = places,
        _ => return Err(CUresult::ERROR_INVALID_VALUE),
    }
    Ok(())
}

/// `cuStreamUpdateCaptureDependencies_v2`.
pub fn update_dependencies_v2(
    stream: CUstream,
    list: Mut<CUgraphNode>,
    _data: Ref<CUgraphEdgeData>,
    count: usize,
    flags: u32,
) -> Answer {
    update_dependencies(stream, list, count, flags)
}

/// `cuThreadExchangeStreamCaptureMode`.
pub fn exchange_mode(mode: Mut<CUstreamCaptureMode>) -> Answer {
    crate::driver::driver()?;
    let new = mode.read()?;
    if !(0..=2).contains(&new.0) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    mode.set(capture::exchange_mode(new))
}
