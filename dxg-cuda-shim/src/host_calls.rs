//! The thread that calls functions of the program between work of the host.
//!
//! *Why.* A function runs once all before it on its stream is complete, and what comes after waits for it. The host waits for a
//! cell; this thread waits for the stream's progress, calls, and raises the cell. Whichever stream is ready is served.
//!
//! *Locks.* One, never held while a function of the program runs.

#![forbid(unsafe_code)]

use std::sync::Arc;

use dxg_core::spawn_without_signals;
use dxg_wire::cell::wait_any;
use parking_lot::Mutex;

use crate::cells::Cell;
use crate::cells::Cells;
use crate::condition::Branches;
use crate::condition::Turn;
use crate::generated::enums::CUresult;
use crate::lane::Lane;
use crate::ring::Ring;
use crate::types::Answer;
use crate::work::HostCall;

/// How long the thread looks before it sleeps.
const SPIN: std::time::Duration = std::time::Duration::from_micros(20);

#[derive(Debug)]
struct Pending {
    lane: Arc<Lane>,
    after: u64,
    number: u64,
    call: HostCall,
    /// The stream that goes on when the call has returned.
    then: Arc<Lane>,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<Pending>,
    /// Raised when something was added or all is over.
    wake: Option<Arc<Cell>>,
    wakes: u64,
    stopped: bool,
}

#[derive(Debug)]
struct Shared {
    ring: Arc<Ring>,
    state: Mutex<State>,
}

/// Calls that wait for their turn, of one context.
#[derive(Debug)]
pub struct HostCalls {
    shared: Arc<Shared>,
    cells: Cells,
}

impl HostCalls {
    /// None yet, and no thread.
    #[must_use]
    pub fn new(ring: Arc<Ring>) -> Self {
        Self { shared: Arc::new(Shared { ring, state: Mutex::default() }), cells: Cells::default() }
    }

    /// Adds a call that comes after work `after` of a stream and is number `number` there.
    ///
    /// # Errors
    /// Out of memory when there is no thread to be had.
    pub fn push(&self, lane: &Arc<Lane>, after: u64, number: u64, call: HostCall) -> Answer {
        let state = &mut *self.shared.state.lock();
        if state.wake.is_none() {
            state.wake = Some(Arc::new(self.cells.take(self.shared.ring.link())?));
            let shared = Arc::clone(&self.shared);
            spawn_without_signals("dxg-cuda-calls", move || run(&shared)).map_err(|error| {
                tracing::error!(%error, "no thread for calls of the program");
                CUresult::ERROR_OUT_OF_MEMORY
            })?;
        }
        let (lane, then) = (Arc::clone(lane), Arc::clone(lane));
        state.pending.push(Pending { lane, after, number, call, then });
        state.wake();
        Ok(())
    }

    /// Ends the thread; calls that have not begun are not made.
    pub fn stop(&self) {
        let state = &mut *self.shared.state.lock();
        state.stopped = true;
        state.pending.clear();
        state.wake();
    }
}

impl State {
    fn wake(&mut self) {
        self.wakes += 1;
        if let Some(wake) = &self.wake {
            wake.words().publish(self.wakes);
        }
    }

    /// The first call of each stream.
    fn heads(&self) -> Vec<(Arc<Lane>, u64)> {
        let mut heads: Vec<(Arc<Lane>, u64)> = Vec::new();
        for pending in &self.pending {
            if !heads.iter().any(|(lane, _)| Arc::ptr_eq(lane, &pending.lane)) {
                heads.push((Arc::clone(&pending.lane), pending.after));
            }
        }
        heads
    }

    /// Takes out a call whose turn it is.
    fn take_ready(&mut self) -> Option<Pending> {
        let ready = self.heads().into_iter().find(|(lane, after)| lane.is_done(*after))?.0;
        let at = self.pending.iter().position(|pending| Arc::ptr_eq(&pending.lane, &ready))?;
        Some(self.pending.remove(at))
    }
}

/// What a conditional node waits for next. One that cannot go on is over: its context has the error.
fn advance(branches: &Branches, turn: Turn) -> Option<(Arc<Lane>, u64)> {
    branches.advance(turn).unwrap_or_else(|error| {
        tracing::error!(?error, "conditional node not run");
        None
    })
}

fn run(shared: &Shared) {
    loop {
        let (ready, heads, wake, wakes) = {
            let state = &mut *shared.state.lock();
            if state.stopped {
                return;
            }
            let Some(wake) = state.wake.clone() else { return };
            (state.take_ready(), state.heads(), wake, state.wakes)
        };
        if let Some(pending) = ready {
            let status = shared.ring.check().err().unwrap_or(CUresult::SUCCESS);
            match pending.call {
                // With an error such functions are not called, callbacks are told of it.
                HostCall::Function(function, data) if status == CUresult::SUCCESS => function.call(data),
                HostCall::Function(..) => {}
                HostCall::Callback(function, data, stream) => function.call(stream, status, data),
                HostCall::Copy(copy) if status == CUresult::SUCCESS => copy.copy_here(),
                HostCall::Copy(_) => {}
                HostCall::Branch(branches, turn) if status == CUresult::SUCCESS => {
                    if let Some((lane, after)) = advance(&branches, turn) {
                        let Pending { number, then, .. } = pending;
                        let call = HostCall::Branch(branches, Turn::After);
                        shared.state.lock().pending.push(Pending { lane, after, number, call, then });
                        continue;
                    }
                }
                HostCall::Branch(..) => {}
            }
            pending.then.host_done.words().publish(pending.number);
            continue;
        }
        let mut cells = vec![(wake.words(), wakes + 1)];
        cells.extend(heads.iter().map(|(lane, after)| (lane.progress.words(), *after)));
        let lost = || shared.ring.is_lost();
        if wait_any(&cells, None, SPIN, &lost) == dxg_wire::cell::AnyOutcome::Cancelled {
            return;
        }
    }
}
