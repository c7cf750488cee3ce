//! Captures: what is put on a stream becomes a graph.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::context::Context;
use crate::event::Event;
use crate::event::Recorded;
use crate::generated::enums::CUresult;
use crate::generated::enums::CUstreamCaptureMode;
use crate::graph::Graph;
use crate::graph::Params;
use crate::lane::Blocking;
use crate::lane::Lane;
use crate::step::Step;
use crate::types::Answer;

static IDS: AtomicU64 = AtomicU64::new(1);
/// How many captures have begun and not ended: almost always none, which is what most calls need to know.
static UNDER_WAY: AtomicU64 = AtomicU64::new(0);

/// Whether a stream began its capture or joined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It began it.
    Origin,
    /// It joined by waiting for an event.
    Joined,
}

/// A stream's part in a capture.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The capture's number.
    pub id: u64,
    /// What is being made.
    pub graph: Arc<Graph>,
    /// What the next node comes after.
    pub before: Vec<usize>,
    /// How strict it is.
    pub mode: CUstreamCaptureMode,
    /// The stream's part.
    pub role: Role,
    /// Whether something happened that cannot be captured.
    pub is_broken: bool,
}

/// Begins a capture, into a graph that may have nodes.
///
/// # Errors
/// Illegal state when there is one; capture unsupported on the legacy stream.
pub fn begin(lane: &Arc<Lane>, graph: Arc<Graph>, before: Vec<usize>, mode: CUstreamCaptureMode) -> Answer {
    if lane.blocking == Blocking::Legacy {
        return Err(CUresult::ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    let mut capture = lane.capture.lock();
    if capture.is_some() {
        return Err(CUresult::ERROR_ILLEGAL_STATE);
    }
    let id = IDS.fetch_add(1, Ordering::Relaxed);
    *capture = Some(Capture { id, graph, before, mode, role: Role::Origin, is_broken: false });
    lane.is_capturing.store(true, Ordering::Relaxed);
    UNDER_WAY.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Work for the legacy stream would come after what a capture only records: the capture is over then.
///
/// # Errors
/// Capture implicit.
pub fn check_legacy(context: &Context, lane: &Lane) -> Answer {
    if lane.blocking != Blocking::Legacy || UNDER_WAY.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let is_one =
        |lane: &Arc<Lane>| lane.blocking == Blocking::Yes && lane.is_capturing.load(Ordering::Relaxed);
    let broken: Vec<_> = context.lanes().into_iter().filter(is_one).collect();
    broken.iter().for_each(|lane| invalidate(lane));
    if broken.is_empty() { Ok(()) } else { Err(CUresult::ERROR_STREAM_CAPTURE_IMPLICIT) }
}

/// Adds a step that is put on a stream.
///
/// # Errors
/// Capture invalidated; what an event of another capture does.
pub fn add(lane: &Arc<Lane>, step: Step, params: Params) -> Answer {
    let mut capture = lane.capture.lock();
    let capture = capture.as_mut().ok_or(CUresult::ERROR_ILLEGAL_STATE)?;
    if capture.is_broken {
        return Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    match step {
        Step::Record(event) => {
            let place = Recorded::Captured(Arc::clone(&capture.graph), capture.before.clone());
            *event.recorded.lock() = Some(place);
            Ok(())
        }
        Step::Wait(event) => join(capture, &event),
        step => {
            let before = std::mem::take(&mut capture.before);
            let (_, index) = capture.graph.add(step, params, before)?;
            capture.before = vec![index];
            Ok(())
        }
    }
}

/// Something was asked of a stream that a capture cannot hold.
pub fn invalidate(lane: &Lane) {
    if let Some(capture) = &mut *lane.capture.lock() {
        capture.is_broken = true;
    }
}

fn join(capture: &mut Capture, event: &Event) -> Answer {
    match &*event.recorded.lock() {
        Some(Recorded::Captured(graph, before)) if Arc::ptr_eq(graph, &capture.graph) => {
            for one in before {
                if !capture.before.contains(one) {
                    capture.before.push(*one);
                }
            }
            Ok(())
        }
        Some(Recorded::Captured(..)) => {
            capture.is_broken = true;
            Err(CUresult::ERROR_STREAM_CAPTURE_MERGE)
        }
        _ => {
            capture.is_broken = true;
            Err(CUresult::ERROR_STREAM_CAPTURE_ISOLATION)
        }
    }
}

/// A stream that is not captured waits for an event: if that is of a capture, the stream joins. Whether it did.
///
/// # Errors
/// Capture implicit on the legacy stream.
pub fn follow(context: &Context, lane: &Arc<Lane>, event: &Event) -> Answer<bool> {
    let recorded = event.recorded.lock().clone();
    let Some(Recorded::Captured(graph, before)) = recorded else { return Ok(false) };
    if lane.blocking == Blocking::Legacy {
        return Err(CUresult::ERROR_STREAM_CAPTURE_IMPLICIT);
    }
    let origin = members(context, &graph).into_iter().find_map(|lane| lane.capture.lock().clone());
    let origin = origin.ok_or(CUresult::ERROR_CAPTURED_EVENT)?;
    *lane.capture.lock() = Some(Capture { before, role: Role::Joined, ..origin });
    lane.is_capturing.store(true, Ordering::Relaxed);
    Ok(true)
}

fn members(context: &Context, graph: &Arc<Graph>) -> Vec<Arc<Lane>> {
    let is_in =
        |lane: &Arc<Lane>| lane.capture.lock().as_ref().is_some_and(|one| Arc::ptr_eq(&one.graph, graph));
    context.lanes().into_iter().filter(is_in).collect()
}

/// Ends a capture and gives out the graph.
///
/// # Errors
/// Illegal state without one, wrong stream, unjoined work, invalidated.
pub fn end(context: &Context, lane: &Arc<Lane>) -> Answer<Arc<Graph>> {
    let capture = lane.capture.lock().clone().ok_or(CUresult::ERROR_ILLEGAL_STATE)?;
    if capture.role == Role::Joined {
        return Err(CUresult::ERROR_STREAM_CAPTURE_UNMATCHED);
    }
    UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    let joined = ancestors(&capture.graph, &capture.before);
    let mut is_joined = true;
    let mut is_broken = false;
    for member in members(context, &capture.graph) {
        let part = member.capture.lock().take();
        member.is_capturing.store(false, Ordering::Relaxed);
        if let Some(part) = part {
            is_broken |= part.is_broken;
            is_joined &= part.before.iter().all(|node| joined.contains(node));
        }
    }
    match (is_broken, is_joined) {
        (true, _) => Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED),
        (_, false) => Err(CUresult::ERROR_STREAM_CAPTURE_UNJOINED),
        _ => Ok(capture.graph),
    }
}

/// These nodes and all before them.
fn ancestors(graph: &Graph, of: &[usize]) -> HashSet<usize> {
    let nodes = graph.nodes.lock();
    let mut found = HashSet::new();
    let mut left = of.to_vec();
    while let Some(index) = left.pop() {
        if found.insert(index)
            && let Some(Some(node)) = nodes.get(index)
        {
            left.extend(&node.before);
        }
    }
    found
}
