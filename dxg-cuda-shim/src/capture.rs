//! Captures: what is put on a stream becomes a graph.
//!
//! *Who may do what meanwhile.* A capture that is not relaxed forbids its thread what would take effect at once and so be missing
//! in the graph: allocating, freeing, asking whether something is over. A global one forbids it to the other threads too. A thread
//! can say of itself that it looks at its own captures only, or at none. What is forbidden breaks the captures that it is forbidden for.
//!
//! *Locks.* The list of captures, then the members of one, then a stream's part. Nothing of the program is called under any of them.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::ThreadId;

use parking_lot::Mutex;

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
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
static SESSIONS: Mutex<Vec<Arc<Session>>> = Mutex::new(Vec::new());

thread_local! {
    static MODE: Cell<CUstreamCaptureMode> = const { Cell::new(CUstreamCaptureMode::GLOBAL) };
}

/// Whether a stream began its capture or joined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It began it.
    Origin,
    /// It joined by waiting for an event.
    Joined,
}

/// A capture.
#[derive(Debug)]
pub struct Session {
    /// Its number.
    pub id: u64,
    /// What is being made.
    pub graph: Arc<Graph>,
    mode: CUstreamCaptureMode,
    thread: ThreadId,
    members: Mutex<Vec<Weak<Lane>>>,
    broken: AtomicBool,
    over: AtomicBool,
}

/// A stream's part in a capture.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The capture.
    pub session: Arc<Session>,
    /// What the next node comes after.
    pub before: Vec<usize>,
    /// The stream's part.
    pub role: Role,
}

impl Session {
    /// Whether something happened that cannot be captured.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Something happened that cannot be captured.
    pub fn spoil(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Answer {
        if self.is_broken() { Err(CUresult::ERROR_STREAM_CAPTURE_INVALIDATED) } else { Ok(()) }
    }

    fn adopt(self: &Arc<Self>, lane: &Arc<Lane>, before: Vec<usize>, role: Role) {
        self.members.lock().push(Arc::downgrade(lane));
        *lane.capture.lock() = Some(Capture { session: Arc::clone(self), before, role });
        lane.is_capturing.store(true, Ordering::Relaxed);
    }

    /// The streams go on as if nothing had been. Answers what each would have put its next node after.
    fn close(self: &Arc<Self>) -> Vec<usize> {
        self.over.store(true, Ordering::Relaxed);
        let mut sessions = SESSIONS.lock();
        sessions.retain(|other| !Arc::ptr_eq(other, self));
        UNDER_WAY.store(sessions.len(), Ordering::Relaxed);
        drop(sessions);
        let mut left = Vec::new();
        for lane in self.members.lock().drain(..).filter_map(|lane| lane.upgrade()) {
            lane.is_capturing.store(false, Ordering::Relaxed);
            left.extend(lane.capture.lock().take().into_iter().flat_map(|part| part.before));
        }
        left
    }
}

/// Sets the mode of the calling thread. Answers what it was.
pub fn exchange_mode(mode: CUstreamCaptureMode) -> CUstreamCaptureMode {
    MODE.try_with(|now| now.replace(mode)).unwrap_or(CUstreamCaptureMode::GLOBAL)
}

/// Begins a capture, into a graph that may have nodes.
///
/// # Errors
/// Illegal state when there is one; capture unsupported on the legacy stream.
pub fn begin(lane: &Arc<Lane>, graph: Arc<Graph>, before: Vec<usize>, mode: CUstreamCaptureMode) -> Answer {
    if lane.blocking == Blocking::Legacy {
        return Err(CUresult::ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    let mut sessions = SESSIONS.lock();
    if lane.is_capturing.load(Ordering::Relaxed) {
        return Err(CUresult::ERROR_ILLEGAL_STATE);
    }
    let session = Arc::new(Session {
        id: IDS.fetch_add(1, Ordering::Relaxed),
        graph,
        mode,
        thread: std::thread::current().id(),
        members: Mutex::default(),
        broken: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    session.adopt(lane, before, Role::Origin);
    sessions.push(session);
    UNDER_WAY.store(sessions.len(), Ordering::Relaxed);
    Ok(())
}

/// The calling thread is about to do what no capture would see.
///
/// # Errors
/// Capture unsupported where a capture forbids it.
#[inline]
pub fn check_unseen() -> Answer {
    if UNDER_WAY.load(Ordering::Relaxed) == 0 { Ok(()) } else { check_unseen_by(&SESSIONS.lock()) }
}

fn check_unseen_by(sessions: &[Arc<Session>]) -> Answer {
    let mode = MODE.try_with(Cell::get).unwrap_or(CUstreamCaptureMode::GLOBAL);
    let thread = std::thread::current().id();
    let forbids = |session: &&Arc<Session>| match mode {
        CUstreamCaptureMode::RELAXED => false,
        _ if session.thread == thread => session.mode != CUstreamCaptureMode::RELAXED,
        CUstreamCaptureMode::GLOBAL => session.mode == CUstreamCaptureMode::GLOBAL,
        _ => false,
    };
    refuse(sessions.iter().filter(forbids), CUresult::ERROR_STREAM_CAPTURE_UNSUPPORTED)
}

fn refuse<'a>(sessions: impl Iterator<Item = &'a Arc<Session>>, error: CUresult) -> Answer {
    let mut answer = Ok(());
    for session in sessions {
        session.spoil();
        answer = Err(error);
    }
    answer
}

/// Captures that a stream of the context takes part in, if `is_wanted`.
fn of_context(context: &Context, is_wanted: impl Fn(&Lane) -> bool) -> Vec<Arc<Session>> {
    let lanes = context.lanes();
    let parts = lanes.iter().filter(|lane| lane.is_capturing.load(Ordering::Relaxed) && is_wanted(lane));
    parts.filter_map(|lane| Some(Arc::clone(&lane.capture.lock().as_ref()?.session))).collect()
}

/// All streams of a context are about to be waited for.
///
/// # Errors
/// Capture unsupported when one is captured.
pub fn check_context(context: &Context) -> Answer {
    if UNDER_WAY.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    refuse(of_context(context, |_| true).iter(), CUresult::ERROR_STREAM_CAPTURE_UNSUPPORTED)
}

/// Whether the legacy stream would have to come after what a capture only records.
#[must_use]
pub fn is_in_way_of(context: &Context, lane: &Lane) -> bool {
    lane.blocking == Blocking::Legacy
        && UNDER_WAY.load(Ordering::Relaxed) != 0
        && !of_context(context, |other| other.blocking == Blocking::Yes).is_empty()
}

/// Work for the legacy stream would come after what a capture only records: the capture is over then.
///
/// # Errors
/// Capture implicit.
pub fn check_legacy(context: &Context, lane: &Lane) -> Answer {
    if lane.blocking != Blocking::Legacy || UNDER_WAY.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let broken = of_context(context, |other| other.blocking == Blocking::Yes);
    refuse(broken.iter(), CUresult::ERROR_STREAM_CAPTURE_IMPLICIT)
}

/// Adds a step that is put on a stream.
///
/// # Errors
/// Capture invalidated; what an event of another capture does.
pub fn add(lane: &Arc<Lane>, step: Step, params: Params) -> Answer {
    match step {
        Step::Record(event) => {
            let capture = lane.capture.lock();
            let capture = capture.as_ref().ok_or(CUresult::ERROR_ILLEGAL_STATE)?;
            capture.session.check()?;
            let place = Recorded::Captured(Arc::clone(&capture.session), capture.before.clone());
            *event.recorded.lock() = Some(place);
            Ok(())
        }
        Step::Wait(event) => {
            let mut capture = lane.capture.lock();
            let capture = capture.as_mut().ok_or(CUresult::ERROR_ILLEGAL_STATE)?;
            capture.session.check()?;
            join(capture, &event)
        }
        step => add_node(lane, step, params).map(drop),
    }
}

/// Adds a node, whatever the step is. Answers its place.
///
/// # Errors
/// Capture invalidated.
pub fn add_node(lane: &Arc<Lane>, step: Step, params: Params) -> Answer<usize> {
    let mut capture = lane.capture.lock();
    let capture = capture.as_mut().ok_or(CUresult::ERROR_ILLEGAL_STATE)?;
    capture.session.check()?;
    let before = std::mem::take(&mut capture.before);
    let (_, index) = capture.session.graph.add(step, params, before)?;
    capture.before = vec![index];
    Ok(index)
}

/// Something was asked of a stream that a capture cannot hold.
pub fn invalidate(lane: &Lane) {
    if let Some(capture) = &*lane.capture.lock() {
        capture.session.spoil();
    }
}

fn join(capture: &mut Capture, event: &Event) -> Answer {
    match &*event.recorded.lock() {
        Some(Recorded::Captured(session, before)) if Arc::ptr_eq(session, &capture.session) => {
            for one in before {
                if !capture.before.contains(one) {
                    capture.before.push(*one);
                }
            }
            Ok(())
        }
        Some(Recorded::Captured(session, _)) => {
            capture.session.spoil();
            session.spoil();
            Err(CUresult::ERROR_STREAM_CAPTURE_MERGE)
        }
        _ => {
            capture.session.spoil();
            Err(CUresult::ERROR_STREAM_CAPTURE_ISOLATION)
        }
    }
}

/// A stream that is not captured waits for an event: if that is of a capture, the stream joins. Whether it did.
///
/// # Errors
/// Capture implicit on the legacy stream; capture invalidated; captured event when the capture is over.
pub fn follow(lane: &Arc<Lane>, event: &Event) -> Answer<bool> {
    let recorded = event.recorded.lock().clone();
    let Some(Recorded::Captured(session, before)) = recorded else { return Ok(false) };
    if session.over.load(Ordering::Relaxed) {
        return Err(CUresult::ERROR_CAPTURED_EVENT);
    }
    if lane.blocking == Blocking::Legacy {
        session.spoil();
        return Err(CUresult::ERROR_STREAM_CAPTURE_IMPLICIT);
    }
    session.check()?;
    session.adopt(lane, before, Role::Joined);
    Ok(true)
}

/// A stream is destroyed: a capture that it began is given up, one that it joined is broken.
pub fn leave(lane: &Lane) {
    let part = lane.capture.lock().take();
    lane.is_capturing.store(false, Ordering::Relaxed);
    match part {
        Some(Capture { session, role: Role::Origin, .. }) => {
            session.spoil();
            session.close();
        }
        Some(Capture { session, .. }) => session.spoil(),
        None => {}
    }
}

/// Ends a capture and gives out the graph.
///
/// # Errors
/// Illegal state without one, wrong stream, wrong thread, unjoined work, invalidated.
pub fn end(lane: &Arc<Lane>) -> Answer<Arc<Graph>> {
    let capture = lane.capture.lock().clone().ok_or(CUresult::ERROR_ILLEGAL_STATE)?;
    let session = capture.session;
    if capture.role == Role::Joined {
        return Err(CUresult::ERROR_STREAM_CAPTURE_UNMATCHED);
    }
    if session.mode != CUstreamCaptureMode::RELAXED && session.thread != std::thread::current().id() {
        return Err(CUresult::ERROR_STREAM_CAPTURE_WRONG_THREAD);
    }
    let left = session.close();
    session.check()?;
    let joined = ancestors(&session.graph, &capture.before);
    if left.iter().any(|node| !joined.contains(node)) {
        return Err(CUresult::ERROR_STREAM_CAPTURE_UNJOINED);
    }
    Ok(Arc::clone(&session.graph))
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
