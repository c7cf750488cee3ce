//! A stream: work that the driver runs in order, and a thread that sees it complete.
//!
//! *Who submits.* The thread of the ring, straight into the driver's stream, so that the device always has what to do next. What
//! the driver cannot wait for (a cell of the guest, work that another stream has not got yet) and what the host does itself parks
//! the stream: that entry and those behind it are the lane thread's, which comes to them when all before is complete.
//!
//! *Who completes.* An event is recorded behind each entry, and the lane's thread waits for one after the other. Not a host function
//! in the stream: the driver calls those one at a time for all streams, holds the stream up meanwhile, and does not call them after an
//! error.
//!
//! *Locks.* One mutex per lane; nobody holds two.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::cell::FenceCell;
use dxg_wire::shm::SharedSlice;
use dxg_wire::spin::Spin;
use parking_lot::Condvar;
use parking_lot::Mutex;
use parking_lot::MutexGuard;

use super::super::super::cell::Cell;
use super::super::work::Awaited;
use super::super::work::Number;
use super::super::work::Rows;
use super::clock::Event;
use super::context::Context;
use super::driver::Code;
use super::driver::StreamHandle;
use super::driver::Timing;
use super::modules::Loaded;
use super::submit;
use super::submit::Copied;
use super::submit::Kernel;

/// How long a thread looks before it sleeps.
const SPIN: Duration = Duration::from_micros(50);
/// How often a thread that waits for a number in memory looks at it.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// How often a thread looks whether a kernel that may not run for long is complete, at most. It looks more often while the kernel is young.
const LOOK_SELDOM: Duration = Duration::from_millis(5);

/// What an entry does.
#[derive(Debug)]
pub(super) enum Work {
    /// It is complete already.
    Nothing,
    /// Something for the driver.
    Launch(Box<Kernel>),
    Copy(Copied),
    Fill(Rows),
    WriteValue {
        number: Number,
        value: u64,
    },
    WaitValue(Awaited),
    /// Something for the host.
    FillHost(Rows),
    WriteHost {
        number: Number,
        value: u64,
    },
    WaitHost(Awaited),
    WaitCell {
        cell: FenceCell,
        value: u64,
    },
    /// Something for either.
    WaitLane {
        other: Arc<Lane>,
        sequence: u64,
    },
    /// Something to do when it is complete.
    SignalCell {
        cell: FenceCell,
        value: u64,
    },
    Timestamp(SharedSlice),
}

/// An entry.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) sequence: u64,
    pub(super) work: Work,
}

/// What is done when an entry is complete.
#[derive(Debug)]
enum After {
    Nothing,
    Signal(FenceCell, u64),
    Stamp(SharedSlice),
    /// Another stream was waited for: it says first that it is so far.
    Behind(Arc<Lane>, u64),
}

/// An entry that the driver has.
#[derive(Debug)]
struct Running {
    sequence: u64,
    /// None where the driver was not asked: the context has failed.
    event: Option<Arc<Event>>,
    after: After,
    /// What it launches, not unloaded before.
    module: Option<Arc<Loaded>>,
}

#[derive(Debug, Default)]
struct State {
    running: VecDeque<Running>,
    parked: VecDeque<Item>,
    /// The lane's thread has an entry that was parked.
    is_held: bool,
    completed: u64,
    /// Destroyed: the thread ends when nothing is left.
    is_ending: bool,
}

/// How far a stream is, seen from another.
enum Reach {
    Complete,
    /// The driver has it, and this is behind it.
    Submitted(Arc<Event>),
    Not,
}

/// A stream.
pub(super) struct Lane {
    context: Arc<Context>,
    /// None where the driver would not make one.
    stream: Option<StreamHandle>,
    has_thread: AtomicBool,
    cell: Cell,
    state: Mutex<State>,
    changed: Condvar,
    progressed: Condvar,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// What the lane's thread does next.
enum Next {
    Await(Running),
    Handle(Item),
    End,
}

impl Lane {
    /// Makes a stream of the driver.
    pub(super) fn start(context: &Context, priority: i32) -> Result<StreamHandle, Code> {
        context.driver.create_stream(priority)
    }

    /// A stream with its thread. Without a stream of the driver, or without a thread, what is put on it is complete at once: the context
    /// has failed then.
    pub(super) fn spawn(
        context: &Arc<Context>,
        stream: Option<StreamHandle>,
        cell: Cell,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> Arc<Self> {
        let made = Arc::new(Self {
            context: Arc::clone(context),
            stream,
            has_thread: AtomicBool::new(stream.is_some()),
            cell,
            state: Mutex::default(),
            changed: Condvar::new(),
            progressed: Condvar::new(),
        });
        let Some(stream) = stream else { return made };
        let run = Arc::clone(&made);
        match thread::Builder::new().name("cuda stream".to_owned()).spawn(move || run.run(stream)) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                context.fail(super::super::result::OUT_OF_MEMORY, &error);
                made.has_thread.store(false, Ordering::Release);
            }
        }
        made
    }

    /// Adds an entry. The context is current in the calling thread.
    pub(super) fn push(&self, item: Item) {
        if !self.has_thread.load(Ordering::Acquire) {
            if let Work::SignalCell { cell, value } = &item.work {
                cell.publish(*value);
            }
            return self.complete(item.sequence);
        }
        let mut state = self.state.lock();
        if state.is_held || !state.parked.is_empty() {
            state.parked.push_back(item);
            return;
        }
        drop(state);
        // Only the thread of the ring pushes, and the lane's thread submits only what was parked.
        match self.submit(item) {
            Ok(running) => {
                let mut state = self.state.lock();
                state.running.push_back(running);
                self.changed.notify_all();
            }
            Err(item) => {
                let mut state = self.state.lock();
                state.parked.push_back(item);
                self.changed.notify_all();
            }
        }
    }

    /// Entries that are not complete.
    pub(super) fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.running.len() + state.parked.len()
    }

    /// Waits until something is complete, for a time at most.
    pub(super) fn wait_for_change(&self, time: Duration) {
        let mut state = self.state.lock();
        self.progressed.wait_for(&mut state, time);
    }

    /// Ends the stream when all that is queued is complete.
    pub(super) fn end(&self) {
        self.state.lock().is_ending = true;
        self.changed.notify_all();
        self.progressed.notify_all();
    }

    fn reach(&self, sequence: u64) -> Reach {
        let state = self.state.lock();
        if state.completed >= sequence {
            return Reach::Complete;
        }
        let at = state.running.iter().find(|running| running.sequence >= sequence);
        match at.and_then(|running| running.event.as_ref()) {
            Some(event) => Reach::Submitted(Arc::clone(event)),
            None => Reach::Not,
        }
    }

    /// Gives an entry to the driver; gives it back where that is not possible yet.
    fn submit(&self, item: Item) -> Result<Running, Item> {
        let Item { sequence, work } = item;
        let context = &self.context;
        let (after, timing) = match &work {
            Work::SignalCell { cell, value } => (After::Signal(cell.clone(), *value), Timing::No),
            Work::Timestamp(place) => (After::Stamp(place.clone()), Timing::Yes),
            Work::WaitLane { other, sequence } => (After::Behind(Arc::clone(other), *sequence), Timing::No),
            _ => (After::Nothing, Timing::No),
        };
        let module = match &work {
            Work::Launch(kernel) => Some(Arc::clone(&kernel.module)),
            _ => None,
        };
        let Some(stream) = self.stream.filter(|_| !context.is_failed()) else {
            return Ok(Running { sequence, event: None, after, module });
        };
        let driver = &context.driver;
        let (op, called) = match work {
            Work::Nothing | Work::SignalCell { .. } | Work::Timestamp(_) => ("event", Ok(())),
            Work::Launch(kernel) => ("launch", submit::launch(driver, *kernel, stream)),
            Work::Copy(copied) => ("copy", submit::copy(driver, &copied, stream)),
            Work::Fill(rows) => ("fill", submit::fill(driver, &rows, stream)),
            Work::WriteValue { number, value } => {
                ("write value", driver.write_value(number.at, number.bytes, value, stream))
            }
            Work::WaitValue(awaited) => ("wait value", submit::wait_value(driver, &awaited, stream)),
            Work::WaitCell { cell, value } if cell.value() >= value => ("wait cell", Ok(())),
            Work::WaitLane { other, sequence: wanted } => match other.reach(wanted) {
                Reach::Complete => ("wait stream", Ok(())),
                Reach::Submitted(event) => ("wait stream", driver.wait_event(stream, event.handle)),
                Reach::Not => {
                    return Err(Item { sequence, work: Work::WaitLane { other, sequence: wanted } });
                }
            },
            Work::FillHost(_) | Work::WriteHost { .. } | Work::WaitHost(_) | Work::WaitCell { .. } => {
                return Err(Item { sequence, work });
            }
        };
        let recorded = called.and_then(|()| {
            let event = context.events.take(driver, timing)?;
            driver.record(event.handle, Some(stream))?;
            Ok(event)
        });
        let event = recorded.map_err(|code| context.fail(code.0, &op)).ok();
        Ok(Running { sequence, event, after, module })
    }

    fn run(&self, stream: StreamHandle) {
        let context = &self.context;
        context.check("make the context current", context.driver.set_current(context.handle));
        loop {
            match self.next() {
                Next::Await(running) => self.finish(running),
                Next::Handle(item) => self.handle(item),
                Next::End => break,
            }
        }
        if let Err(code) = context.driver.destroy_stream(stream) {
            tracing::debug!(%code, "stream not destroyed");
        }
    }

    fn next(&self) -> Next {
        let mut state = self.state.lock();
        loop {
            if let Some(running) = state.running.front() {
                // It stays in the list until it is complete: other streams look for it there.
                let event = running.event.clone();
                let limit = self.context.watchdog().filter(|_| running.module.is_some());
                if let Some(event) = event {
                    drop(state);
                    self.wait_for(&event, limit);
                    state = self.state.lock();
                }
                // Only this thread takes them out.
                if let Some(running) = state.running.pop_front() {
                    return Next::Await(running);
                }
                continue;
            }
            if let Some(item) = state.parked.pop_front() {
                state.is_held = true;
                return Next::Handle(item);
            }
            if state.is_ending {
                return Next::End;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Waits until an event is complete, or the kernel before it has run for as long as it may.
    fn wait_for(&self, event: &Event, limit: Option<Duration>) {
        let driver = &self.context.driver;
        let spin = Spin::begin();
        while spin.again(SPIN) {
            match driver.is_complete(event.handle) {
                Ok(true) => return,
                Ok(false) => {}
                // The wait below meets it again and says so.
                Err(_) => break,
            }
        }
        let Some(limit) = limit else {
            return self.context.check("wait for the device", driver.wait(event.handle));
        };
        // All before it on this stream is complete, so it runs since then, or waits for others on the device.
        let since = Instant::now();
        loop {
            match driver.is_complete(event.handle) {
                Ok(true) => return,
                Ok(false) => {}
                Err(code) => return self.context.check("wait for the device", Err(code)),
            }
            let elapsed = since.elapsed();
            if elapsed >= limit {
                return self.context.overrun();
            }
            thread::sleep((elapsed / 16).clamp(LOOK_EVERY, LOOK_SELDOM));
        }
    }

    /// An entry is complete.
    fn finish(&self, running: Running) {
        let Running { sequence, event, after, .. } = running;
        match after {
            After::Nothing => {}
            After::Signal(cell, value) => cell.publish(value),
            After::Stamp(place) => {
                let time = event.map(|event| self.context.clock.time_of(&self.context.driver, &event));
                let time = time.and_then(Result::ok).unwrap_or_else(super::super::watch::monotonic_ns);
                if let Ok(word) = place.atomic_u64(0) {
                    word.store(time, Ordering::Release);
                }
            }
            After::Behind(other, wanted) => other.wait_completed(wanted),
        }
        self.complete(sequence);
    }

    fn complete(&self, sequence: u64) {
        let mut state = self.state.lock();
        // Who sees that it is complete may say so of what comes after it.
        self.cell.publish(sequence);
        state.completed = sequence;
        drop(state);
        self.progressed.notify_all();
    }

    /// Does what parked the stream, and then gives the driver what has waited behind it.
    fn handle(&self, item: Item) {
        if !self.context.is_failed() {
            self.do_here(&item.work);
        }
        // After this it can be submitted, or is done: what is left of it is to complete.
        let work = match item.work {
            Work::SignalCell { .. }
            | Work::Timestamp(_)
            | Work::Launch(_)
            | Work::Copy(_)
            | Work::Fill(_) => item.work,
            Work::WriteValue { .. } | Work::WaitValue(_) => item.work,
            _ => Work::Nothing,
        };
        let mut next = Some(Item { sequence: item.sequence, work });
        while let Some(item) = next.take() {
            match self.submit(item) {
                Ok(running) => {
                    let mut state = self.state.lock();
                    state.running.push_back(running);
                    next = state.parked.pop_front();
                    state.is_held = next.is_some();
                }
                Err(item) => {
                    let mut state = self.state.lock();
                    state.parked.push_front(item);
                    state.is_held = false;
                }
            }
        }
    }

    fn do_here(&self, work: &Work) {
        let context = &self.context;
        let memory = &context.memory;
        let done = match work {
            Work::WaitCell { cell, value } => {
                // What it comes to does not matter once the context has failed.
                let _ = cell.wait(*value, None, SPIN, &|| context.is_failed());
                Ok(())
            }
            Work::WaitLane { other, sequence } => {
                other.wait_completed(*sequence);
                Ok(())
            }
            Work::FillHost(rows) => (0..rows.height).try_for_each(|row| {
                let to = row.checked_mul(rows.pitch).and_then(|offset| rows.to.checked_add(offset));
                memory.fill(to.unwrap_or(0), rows.row_bytes, rows.value, rows.unit, &|| context.is_failed())
            }),
            Work::WriteHost { number, value } => memory.store(number.at, number.bytes, *value),
            Work::WaitHost(awaited) => self.wait_host(awaited),
            _ => Ok(()),
        };
        if let Err(missing) = done {
            context.fail(
                super::super::result::ILLEGAL_ADDRESS,
                &format_args!("no memory at {:#x}", missing.address),
            );
        }
    }

    /// Nothing wakes who waits for a number that anybody may write: it is looked at.
    fn wait_host(&self, awaited: &Awaited) -> Result<(), super::super::memory::NotMapped> {
        let Number { at, bytes } = awaited.number;
        let mut state = self.state.lock();
        loop {
            let found = self.context.memory.load(at, bytes)?;
            if awaited.comparison.holds(found, awaited.value, bytes) || self.context.is_failed() {
                return Ok(());
            }
            self.changed.wait_for(&mut state, LOOK_EVERY);
        }
    }

    /// Waits until an entry is complete, or nobody wants to know any more.
    pub(super) fn wait_completed(&self, sequence: u64) {
        let mut state: MutexGuard<'_, State> = self.state.lock();
        while state.completed < sequence && !self.context.is_failed() {
            self.progressed.wait_for(&mut state, dxg_wire::shm::futex::SLICE);
        }
    }
}
