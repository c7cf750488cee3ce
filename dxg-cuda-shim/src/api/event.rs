//! Events.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::capture;
use crate::current;
use crate::event::DISABLE_TIMING;
use crate::event::Event;
use crate::event::INTERPROCESS;
use crate::event::Recorded;
use crate::external;
use crate::ffi::pointers::Mut;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUevent;
use crate::generated::handles::CUstream;
use crate::graph;
use crate::graph::Params;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;

/// Flags of `cuEventCreate`.
const FLAGS: u32 = 7;
/// `CU_EVENT_RECORD_EXTERNAL` and `CU_EVENT_WAIT_EXTERNAL`.
pub(super) const EXTERNAL: u32 = 1;

/// `cuEventCreate`.
pub fn create(out: Mut<CUevent>, flags: u32) -> Answer {
    let context = current::context()?;
    out.given()?;
    let is_shared = flags & INTERPROCESS != 0;
    if flags & !FLAGS != 0 || (is_shared && flags & DISABLE_TIMING == 0) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let shared = if is_shared { Some(external::make_shared_event(&context.device)?) } else { None };
    out.set(tables::EVENTS.insert(Arc::new(Event::new(&context, flags, shared)))?)
}

/// `cuEventDestroy` and `_v2`.
pub fn destroy(event: CUevent) -> Answer {
    crate::driver::driver()?;
    tables::EVENTS.remove(event).map(drop)
}

/// `cuEventRecord`.
pub fn record(event: CUevent, stream: CUstream) -> Answer {
    let object = tables::EVENTS.get(event)?;
    let (context, lane) = current::stream(stream)?;
    if context.id != object.context.id {
        return Err(CUresult::ERROR_INVALID_HANDLE);
    }
    graph::enqueue(&context, &lane, Step::Record(object), || Params::Record(event))
}

/// `cuEventRecordWithFlags`. Flag 1 asks for a node of its own, which only a capture makes.
pub fn record_with_flags(event: CUevent, stream: CUstream, flags: u32) -> Answer {
    match flags {
        0 => return record(event, stream),
        EXTERNAL => {}
        _ => return Err(CUresult::ERROR_INVALID_VALUE),
    }
    let object = tables::EVENTS.get(event)?;
    let (context, lane) = current::stream(stream)?;
    if context.id != object.context.id {
        return Err(CUresult::ERROR_INVALID_HANDLE);
    }
    if !lane.is_capturing.load(Ordering::Relaxed) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    capture::add_node(&lane, Step::Record(object), Params::Record(event)).map(drop)
}

/// No capture sees what is asked of an event; of one that was captured itself that is said in its own way.
fn unseen(event: &Event) -> Answer {
    let is_captured = matches!(&*event.recorded.lock(), Some(Recorded::Captured(..)));
    if is_captured { Ok(()) } else { capture::check_unseen() }
}

/// `cuEventQuery`.
pub fn query(event: CUevent) -> Answer {
    crate::driver::driver()?;
    let event = tables::EVENTS.get(event)?;
    unseen(&event)?;
    event.query()
}

/// `cuEventSynchronize`.
pub fn synchronize(event: CUevent) -> Answer {
    crate::driver::driver()?;
    let event = tables::EVENTS.get(event)?;
    unseen(&event)?;
    event.synchronize()?;
    crate::pool::settle(&event.context);
    Ok(())
}

/// `cuEventElapsedTime` and `_v2`.
pub fn elapsed(milliseconds: Mut<f32>, start: CUevent, end: CUevent) -> Answer {
    crate::driver::driver()?;
    milliseconds.given()?;
    let (start, end) = (tables::EVENTS.get(start)?, tables::EVENTS.get(end)?);
    start.context.check()?;
    let (start, end) = (start.time()?, end.time()?);
    let nanoseconds = if end >= start { (end - start) as f64 } else { -((start - end) as f64) };
    milliseconds.set((nanoseconds / 1e6) as f32)
}
