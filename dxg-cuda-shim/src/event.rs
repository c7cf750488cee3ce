//! Events: a place in the order of a stream, and the time when it was reached.

#![forbid(unsafe_code)]

use std::sync::Arc;

use dxg_core::Fence;
use dxg_core::FenceValue;
use parking_lot::Mutex;

use crate::capture::Session;
use crate::cells::Cell;
use crate::context::Context;
use crate::generated::enums::CUresult;
use crate::lane::Lane;
use crate::types::Answer;
use crate::work::Work;

/// Flag of events without a time.
pub const DISABLE_TIMING: u32 = 2;
/// Flag of events that other processes may see.
pub const INTERPROCESS: u32 = 4;

/// Where an event was recorded last.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// On a stream, after work with this number; with the slot of the time.
    On(Arc<Lane>, u64, Option<Arc<Cell>>),
    /// In a capture: the nodes that came before.
    Captured(Arc<Session>, Vec<usize>),
}

/// An event that other processes see: a fence, and how far it was recorded in the fence's page.
#[derive(Debug)]
pub struct Shared {
    /// The fence.
    pub fence: Fence,
    /// Where the host sees its value.
    pub io: u64,
    /// What was recorded last, which whoever records moves on.
    pub page: dxg_wire::shm::SharedSlice,
}

/// Where in the page of a shared event's fence the value of the last record is.
const RECORDED_AT: usize = 128;

impl Shared {
    /// Over a fence.
    ///
    /// # Errors
    /// Not supported where the fence has no page.
    pub fn new(fence: Fence) -> Answer<Self> {
        let page = fence.page().ok_or(CUresult::ERROR_NOT_SUPPORTED)?;
        page.memory.atomic_u64(RECORDED_AT).map_err(|_| CUresult::ERROR_NOT_SUPPORTED)?;
        Ok(Self { fence, io: page.io_address.0, page: page.memory })
    }

    /// The value of the next record.
    fn next(&self) -> u64 {
        let counter = self.page.atomic_u64(RECORDED_AT);
        counter.map_or(0, |counter| counter.fetch_add(1, std::sync::atomic::Ordering::AcqRel) + 1)
    }

    /// The value of the last record.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        let counter = self.page.atomic_u64(RECORDED_AT);
        counter.map_or(0, |counter| counter.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Whether the last record is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.fence.value().0 >= self.recorded()
    }
}

/// Whether work is over that is only recorded cannot be told: who asks has not understood, and the capture is worth nothing.
fn captured(session: &Session) -> CUresult {
    session.spoil();
    CUresult::ERROR_CAPTURED_EVENT
}

/// An event.
#[derive(Debug)]
pub struct Event {
    /// Its context.
    pub context: Arc<Context>,
    /// Flags of the call that made it.
    pub flags: u32,
    /// Where it was recorded.
    pub recorded: Mutex<Option<Recorded>>,
    /// For other processes.
    pub shared: Option<Shared>,
}

impl Event {
    /// A new event.
    #[must_use]
    pub fn new(context: &Arc<Context>, flags: u32, shared: Option<Shared>) -> Self {
        Self { context: Arc::clone(context), flags, recorded: Mutex::default(), shared }
    }

    /// Records it on a stream of its context.
    ///
    /// # Errors
    /// As [`Context::submit`].
    pub fn record(&self, lane: &Arc<Lane>) -> Answer {
        let mut works = Vec::new();
        let mut slot = None;
        if self.flags & DISABLE_TIMING == 0 {
            let made = Arc::new(self.context.cells.take(self.context.ring.link())?);
            works.push(Work::Timestamp(made.io()));
            slot = Some(made);
        }
        if let Some(shared) = &self.shared {
            works.push(Work::SignalCell(shared.io, shared.next()));
        }
        let sequence = self.context.submit(lane, &works)?;
        if let Some(slot) = &slot {
            self.context.keep(lane, sequence, Arc::clone(slot) as Arc<dyn std::any::Any + Send + Sync>);
        }
        *self.recorded.lock() = Some(Recorded::On(Arc::clone(lane), sequence, slot));
        Ok(())
    }

    /// What a stream of `context` has to wait for.
    ///
    /// # Errors
    /// Capture isolation for an event of a capture.
    pub fn waits(&self, context: &Context) -> Answer<Option<Work>> {
        if let Some(shared) = &self.shared {
            return Ok(Some(Work::WaitCell(shared.io, shared.recorded())));
        }
        match &*self.recorded.lock() {
            None => Ok(None),
            Some(Recorded::Captured(..)) => Err(CUresult::ERROR_STREAM_CAPTURE_ISOLATION),
            Some(Recorded::On(lane, sequence, _)) if lane.is_done(*sequence) => Ok(None),
            Some(Recorded::On(lane, sequence, _)) if self.context.id == context.id => {
                Ok(Some(Work::Wait(Arc::clone(lane), *sequence)))
            }
            // The cell is in memory that every context of the session names alike.
            Some(Recorded::On(lane, sequence, _)) => Ok(Some(Work::WaitCell(lane.progress.io(), *sequence))),
        }
    }

    /// Whether all before the last record is complete.
    ///
    /// # Errors
    /// Not ready; captured event, and the capture is broken; what the work has met.
    pub fn query(&self) -> Answer {
        self.context.check()?;
        if let Some(shared) = &self.shared {
            return if shared.is_done() { Ok(()) } else { Err(CUresult::ERROR_NOT_READY) };
        }
        match &*self.recorded.lock() {
            None => Ok(()),
            Some(Recorded::Captured(session, _)) => Err(captured(session)),
            Some(Recorded::On(lane, sequence, _)) if lane.is_done(*sequence) => Ok(()),
            Some(Recorded::On(..)) => Err(CUresult::ERROR_NOT_READY),
        }
    }

    /// Waits until all before the last record is complete.
    ///
    /// # Errors
    /// As [`Context::wait`].
    pub fn synchronize(&self) -> Answer {
        self.context.check()?;
        if let Some(shared) = &self.shared {
            let value = FenceValue(shared.recorded());
            shared.fence.wait(value, None).map_err(|error| crate::link::failure(&error))?;
            return self.context.check();
        }
        let recorded = self.recorded.lock().clone();
        match recorded {
            None => Ok(()),
            Some(Recorded::Captured(session, _)) => Err(captured(&session)),
            Some(Recorded::On(lane, sequence, _)) => self.context.wait(&lane, sequence),
        }
    }

    /// The time of the last record, in nanoseconds of the host's clock.
    ///
    /// # Errors
    /// Not ready; captured event; invalid handle for an event without a time or that was not recorded.
    pub fn time(&self) -> Answer<u64> {
        if self.flags & DISABLE_TIMING != 0 {
            return Err(CUresult::ERROR_INVALID_HANDLE);
        }
        match &*self.recorded.lock() {
            Some(Recorded::On(lane, sequence, Some(slot))) => {
                if lane.is_done(*sequence) {
                    Ok(slot.value())
                } else {
                    Err(CUresult::ERROR_NOT_READY)
                }
            }
            Some(Recorded::Captured(session, _)) => Err(captured(session)),
            _ => Err(CUresult::ERROR_INVALID_HANDLE),
        }
    }
}
