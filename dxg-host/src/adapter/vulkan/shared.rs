//! Semaphores that other processes signal and wait for as well: their value is a cell in a page that all of them map.
//!
//! *Why.* No native object crosses workers. What is signalled here is published in the cell when the device gets there; what
//! is waited for here and signalled elsewhere becomes a native timeline semaphore, the proxy, which a thread raises when the
//! cell has the value. A value that this device has been told to signal itself needs no detour: its wait is one for the
//! queue that signals it.
//!
//! *Invariants.* Only the watcher raises a proxy, only to values that this client waits for, and only upward: whatever
//! others write into the page, the driver is called as Vulkan demands.
//!
//! *Locks.* One mutex per watcher, held while proxies are raised, so that a proxy that is given up is not touched any more.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use ash::vk;
use dxg_wire::cell;
use dxg_wire::cell::FenceCell;
use parking_lot::Condvar;
use parking_lot::Mutex;

use super::super::cell::Cell;
use super::native::SyncFns;
use crate::failure::Fault;

/// Signals of this device that are remembered: a wait for one of them needs no watcher.
const MAX_SIGNALS: usize = 16;

/// A point of a queue's own timeline at which a shared semaphore has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnSignal {
    pub(crate) value: u64,
    pub(crate) timeline: vk::Semaphore,
    pub(crate) point: u64,
}

/// A shared semaphore as this device has it.
pub(crate) struct Shared {
    /// What everybody sees.
    pub(crate) seen: FenceCell,
    /// Where this device's signals go.
    pub(crate) cell: Arc<Cell>,
    /// What the driver waits for.
    pub(crate) proxy: vk::Semaphore,
    signals: Mutex<VecDeque<OwnSignal>>,
}

impl Shared {
    /// A semaphore whose value is in `seen`.
    pub(crate) fn new(seen: FenceCell, proxy: vk::Semaphore) -> Self {
        let cell = Arc::new(Cell::new(seen.clone(), 0));
        Self { seen, cell, proxy, signals: Mutex::default() }
    }

    /// This device will signal a value.
    pub(crate) fn will_signal(&self, signal: OwnSignal) {
        let mut signals = self.signals.lock();
        if signals.len() >= MAX_SIGNALS {
            signals.pop_front();
        }
        signals.push_back(signal);
    }

    /// Where this device signals exactly this value.
    pub(crate) fn own_signal(&self, value: u64) -> Option<OwnSignal> {
        self.signals.lock().iter().rev().find(|signal| signal.value == value).copied()
    }
}

/// Whether the driver may still look at a proxy that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// No submission waited for it: it may be destroyed.
    Unused,
    /// A submission waited for it until now.
    InUse,
}

/// What raises proxies.
pub(crate) trait Raise: Send + Sync + 'static {
    /// Gives a timeline semaphore a larger value.
    fn raise(&self, proxy: vk::Semaphore, value: u64);
}

impl Raise for SyncFns {
    fn raise(&self, proxy: vk::Semaphore, value: u64) {
        let result = self.signal(proxy, value);
        if result != vk::Result::SUCCESS {
            // The device is lost, which its queues find out as well.
            tracing::debug!(?result, "a proxy was not raised");
        }
    }
}

/// A value that a submission waits for.
#[derive(Clone)]
struct Awaited {
    cell: FenceCell,
    proxy: vk::Semaphore,
    value: u64,
}

#[derive(Default)]
struct State {
    awaited: Vec<Awaited>,
    /// What each proxy was raised to: a driver takes it for an error to be told a value that it has.
    raised: HashMap<vk::Semaphore, u64>,
    closing: bool,
}

struct Common<R> {
    raise: Arc<R>,
    state: Mutex<State>,
    changed: Condvar,
    /// Counts changes of what is awaited: a thread that sleeps on cells looks at it.
    generation: AtomicU64,
}

/// Raises proxies when their cells have the values that are waited for. Its thread starts with the first wait.
pub(crate) struct Watcher<R> {
    common: Arc<Common<R>>,
    thread: Option<JoinHandle<()>>,
}

impl<R: Raise> Watcher<R> {
    /// A watcher of nothing.
    pub(crate) fn new(raise: Arc<R>) -> Self {
        let common =
            Common { raise, state: Mutex::default(), changed: Condvar::new(), generation: AtomicU64::new(0) };
        Self { common: Arc::new(common), thread: None }
    }

    /// Raises the proxy to `value` once the cell has it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn watch(&mut self, cell: &FenceCell, proxy: vk::Semaphore, value: u64) -> Result<(), Fault> {
        if self.thread.is_none() {
            let common = Arc::clone(&self.common);
            let thread = std::thread::Builder::new()
                .name("vk-shared".to_owned())
                .spawn(move || common.run())
                .map_err(|error| Fault::new("start a watcher thread", error))?;
            self.thread = Some(thread);
        }
        let mut state = self.common.state.lock();
        state.awaited.push(Awaited { cell: cell.clone(), proxy, value });
        self.common.change(&state);
        Ok(())
    }

    /// Ends the waits for a proxy, reached or not. Answers whether there were any: then the driver still has it.
    pub(crate) fn give_up(&self, proxy: vk::Semaphore) -> GivenUp {
        let mut state = self.common.state.lock();
        let awaited: Vec<Awaited> = state.awaited.extract_if(.., |awaited| awaited.proxy == proxy).collect();
        if awaited.is_empty() {
            state.raised.remove(&proxy);
            return GivenUp::Unused;
        }
        self.common.raise_all(&mut state.raised, awaited);
        state.raised.remove(&proxy);
        self.common.change(&state);
        GivenUp::InUse
    }

    /// Ends every wait, reached or not: the device is to come to rest.
    pub(crate) fn release(&self) {
        let mut state = self.common.state.lock();
        let awaited = std::mem::take(&mut state.awaited);
        self.common.raise_all(&mut state.raised, awaited);
        self.common.change(&state);
    }

    /// Ends the thread.
    pub(crate) fn stop(&mut self) {
        let mut state = self.common.state.lock();
        state.closing = true;
        self.common.change(&state);
        drop(state);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a watcher thread panicked");
        }
    }
}

impl<R: Raise> Common<R> {
    /// Wakes the thread, wherever it sleeps.
    fn change(&self, state: &State) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
        for awaited in &state.awaited {
            awaited.cell.wake_all();
        }
    }

    /// Raises each proxy to the largest of its values, unless it is there already.
    fn raise_all(&self, raised: &mut HashMap<vk::Semaphore, u64>, mut reached: Vec<Awaited>) {
        reached.sort_unstable_by_key(|awaited| (awaited.proxy, std::cmp::Reverse(awaited.value)));
        reached.dedup_by_key(|awaited| awaited.proxy);
        for Awaited { proxy, value, .. } in reached {
            let before = raised.entry(proxy).or_default();
            if *before < value {
                *before = value;
                self.raise.raise(proxy, value);
            }
        }
    }

    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            let is_reached = |awaited: &mut Awaited| awaited.cell.value() >= awaited.value;
            let reached: Vec<Awaited> = state.awaited.extract_if(.., is_reached).collect();
            self.raise_all(&mut state.raised, reached);
            if state.closing {
                return;
            }
            if state.awaited.is_empty() {
                self.changed.wait(&mut state);
                continue;
            }
            let awaited = state.awaited.clone();
            let seen = self.generation.load(Ordering::Acquire);
            drop(state);
            let cells: Vec<(&FenceCell, u64)> =
                awaited.iter().map(|awaited| (&awaited.cell, awaited.value)).collect();
            let is_old = || self.generation.load(Ordering::Acquire) != seen;
            cell::wait_any(&cells, None, cell::DEFAULT_SPIN, &is_old);
            state = self.state.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use ash::vk;
    use ash::vk::Handle;
    use dxg_wire::cell::FenceCell;
    use dxg_wire::shm;
    use dxg_wire::shm::Access;
    use dxg_wire::shm::Mapping;
    use dxg_wire::shm::Populate;
    use dxg_wire::shm::SharedSlice;
    use parking_lot::Condvar;
    use parking_lot::Mutex;

    use super::GivenUp;
    use super::OwnSignal;
    use super::Raise;
    use super::Shared;
    use super::Watcher;

    /// Notes what is raised.
    #[derive(Default)]
    struct Log {
        raised: Mutex<Vec<(u64, u64)>>,
        changed: Condvar,
    }

    impl Log {
        fn wait(&self, count: usize) -> Vec<(u64, u64)> {
            let mut raised = self.raised.lock();
            self.changed.wait_while(&mut raised, |raised| raised.len() < count);
            raised.clone()
        }
    }

    impl Raise for Log {
        fn raise(&self, proxy: vk::Semaphore, value: u64) {
            self.raised.lock().push((proxy.as_raw(), value));
            self.changed.notify_all();
        }
    }

    fn cell() -> FenceCell {
        let fd = shm::create_sealed("cell", 4096).unwrap();
        let memory = Mapping::map(fd.as_fd(), 0, 4096, Access::ReadWrite, Populate::Lazy).unwrap();
        FenceCell::new(SharedSlice::whole(&memory)).unwrap()
    }

    fn proxy(number: u64) -> vk::Semaphore {
        vk::Semaphore::from_raw(number)
    }

    #[test]
    fn watch_raises_the_awaited_value_and_not_what_stands_in_the_cell() {
        let (log, cell) = (Arc::<Log>::default(), cell());
        let mut watcher = Watcher::new(Arc::clone(&log));
        watcher.watch(&cell, proxy(1), 5).unwrap();
        cell.publish(1_000_000);
        assert_eq!(log.wait(1), [(1, 5)]);
        watcher.stop();
    }

    #[test]
    fn watch_two_values_of_one_cell_raises_upward_only() {
        let (log, cell) = (Arc::<Log>::default(), cell());
        let mut watcher = Watcher::new(Arc::clone(&log));
        cell.publish(9);
        let mut state = watcher.common.state.lock();
        for value in [7, 3] {
            state.awaited.push(super::Awaited { cell: cell.clone(), proxy: proxy(1), value });
        }
        drop(state);
        watcher.watch(&cell, proxy(2), 9).unwrap();
        assert_eq!(log.wait(2), [(1, 7), (2, 9)]);
        watcher.stop();
    }

    #[test]
    fn watch_a_value_that_was_raised_raises_nothing() {
        let (log, cell) = (Arc::<Log>::default(), cell());
        let mut watcher = Watcher::new(Arc::clone(&log));
        cell.publish(9);
        for value in [5, 5, 3] {
            watcher.watch(&cell, proxy(1), value).unwrap();
        }
        watcher.watch(&cell, proxy(1), 6).unwrap();
        watcher.stop();
        let raised = log.raised.lock();
        assert!(raised.windows(2).all(|two| two[0].1 < two[1].1), "{raised:?}");
        assert_eq!(raised.last(), Some(&(1, 6)));
    }

    #[test]
    fn watch_another_cell_while_the_thread_sleeps_is_seen() {
        let (log, first, second) = (Arc::<Log>::default(), cell(), cell());
        let mut watcher = Watcher::new(Arc::clone(&log));
        watcher.watch(&first, proxy(1), 1).unwrap();
        watcher.watch(&second, proxy(2), 1).unwrap();
        second.publish(1);
        assert_eq!(log.wait(1), [(2, 1)]);
        first.publish(1);
        assert_eq!(log.wait(2), [(2, 1), (1, 1)]);
        watcher.stop();
    }

    #[test]
    fn give_up_raises_what_was_waited_for_and_leaves_the_others() {
        let (log, gone, left) = (Arc::<Log>::default(), cell(), cell());
        let mut watcher = Watcher::new(Arc::clone(&log));
        watcher.watch(&gone, proxy(1), 8).unwrap();
        watcher.watch(&left, proxy(2), 1).unwrap();
        assert_eq!(watcher.give_up(proxy(1)), GivenUp::InUse);
        assert_eq!(log.wait(1), [(1, 8)]);
        assert_eq!(watcher.give_up(proxy(1)), GivenUp::Unused);
        gone.publish(8);
        left.publish(1);
        assert_eq!(log.wait(2), [(1, 8), (2, 1)]);
        watcher.stop();
    }

    #[test]
    fn release_ends_waits_that_nobody_would_end() {
        let log = Arc::<Log>::default();
        let mut watcher = Watcher::new(Arc::clone(&log));
        watcher.watch(&cell(), proxy(1), 4).unwrap();
        watcher.release();
        assert_eq!(log.wait(1), [(1, 4)]);
        watcher.stop();
    }

    #[test]
    fn own_signal_is_found_by_its_exact_value_while_it_is_remembered() {
        let shared = Shared::new(cell(), proxy(1));
        let signal = |value| OwnSignal { value, timeline: proxy(9), point: value + 100 };
        shared.will_signal(signal(5));
        assert_eq!(shared.own_signal(5), Some(signal(5)));
        assert_eq!(shared.own_signal(4), None);
        for value in 6..6 + super::MAX_SIGNALS as u64 {
            shared.will_signal(signal(value));
        }
        assert_eq!(shared.own_signal(5), None);
    }
}
