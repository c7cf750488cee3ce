//! Completion of a queue's work: from the driver's timeline to the words that the guest polls.
//!
//! *Why.* Waiting is most of what an application sees of the distance to its GPU. The thread of the stream polls the
//! driver while it has nothing else to do; when it goes to sleep, a waiter thread of the queue takes over. No command of
//! ours runs on the device.
//!
//! *Invariants.* A milestone is published once, in order; the semaphores it signals are published before the queue's
//! progress, so whoever sees the fence sees the semaphores. What the guest writes into its cells changes nothing here.
//!
//! *Locks.* One mutex per queue, held while cells are published and never while the driver waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ash::vk;
use parking_lot::Condvar;
use parking_lot::Mutex;

use super::super::cell::Cell;

/// Longest single wait in the driver: how late a waiter thread notices that its queue is closing.
const SLICE: Duration = Duration::from_millis(100);
/// Stands for "nothing pending" in [`Progress::next`].
const NOTHING: u64 = u64::MAX;

/// The driver's side of a queue's progress: a timeline semaphore.
pub(crate) trait Timeline: Send + Sync {
    /// The value that the device has reached.
    ///
    /// # Errors
    /// The driver's result; the device is lost.
    fn value(&self) -> Result<u64, vk::Result>;

    /// Waits until the device has reached `point`, for a time at most; both ends are `Ok`.
    ///
    /// # Errors
    /// The driver's result; the device is lost.
    fn wait(&self, point: u64, timeout: Duration) -> Result<(), vk::Result>;
}

/// What becomes true when the device reaches a point of the timeline.
pub(crate) struct Milestone {
    /// The point; points grow from one milestone to the next.
    pub(crate) point: u64,
    /// Semaphores that have a value then.
    pub(crate) signals: Vec<(Arc<Cell>, u64)>,
    /// The submission that is complete then, where this is its last part.
    pub(crate) sequence: Option<u64>,
}

/// What a look at the driver found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// Everything submitted is published.
    Nothing,
    /// The device still works.
    Work,
}

/// Called once, with the driver's result, when a thread finds the device lost.
pub(crate) type OnLost = Box<dyn Fn(vk::Result) + Send + Sync>;

/// The progress of one queue.
pub(crate) struct Progress<T> {
    timeline: T,
    cell: Arc<Cell>,
    on_lost: OnLost,
    /// Point of the oldest milestone, or [`NOTHING`]: looked at without the lock.
    next: AtomicU64,
    lost: AtomicBool,
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    pending: VecDeque<Milestone>,
    /// The waiter thread sleeps and must be notified.
    waiter_sleeps: bool,
    closing: bool,
}

impl<T: Timeline> Progress<T> {
    /// Progress that is published in `cell`.
    pub(crate) fn new(timeline: T, cell: Arc<Cell>, on_lost: OnLost) -> Self {
        Self {
            timeline,
            cell,
            on_lost,
            next: AtomicU64::new(NOTHING),
            lost: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            woken: Condvar::new(),
        }
    }

    /// The driver's side.
    pub(crate) fn timeline(&self) -> &T {
        &self.timeline
    }

    /// Adds what was just submitted.
    pub(crate) fn submitted(&self, milestones: impl IntoIterator<Item = Milestone>) {
        let mut state = self.state.lock();
        state.pending.extend(milestones);
        self.note_next(&state);
    }

    fn note_next(&self, state: &State) {
        self.next.store(state.pending.front().map_or(NOTHING, |first| first.point), Ordering::Release);
    }

    /// Whether something is submitted and not published.
    pub(crate) fn has_work(&self) -> bool {
        self.next.load(Ordering::Acquire) != NOTHING
    }

    /// Looks at the driver once and publishes what is complete.
    pub(crate) fn poll(&self) -> Pending {
        let next = self.next.load(Ordering::Acquire);
        if next == NOTHING || self.lost.load(Ordering::Relaxed) {
            return Pending::Nothing;
        }
        match self.timeline.value() {
            Ok(value) if value >= next => self.publish(value),
            Ok(_) => Pending::Work,
            Err(result) => {
                self.lose(result);
                Pending::Nothing
            }
        }
    }

    fn publish(&self, reached: u64) -> Pending {
        let mut state = self.state.lock();
        while state.pending.front().is_some_and(|first| first.point <= reached) {
            let Some(milestone) = state.pending.pop_front() else { break };
            for (cell, value) in &milestone.signals {
                cell.publish(*value);
            }
            if let Some(sequence) = milestone.sequence {
                self.cell.publish(sequence);
            }
        }
        self.note_next(&state);
        if state.pending.is_empty() { Pending::Nothing } else { Pending::Work }
    }

    fn lose(&self, result: vk::Result) {
        if !self.lost.swap(true, Ordering::Relaxed) {
            (self.on_lost)(result);
        }
    }

    /// Whether a thread found the device lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// The thread of the stream goes to sleep: the waiter thread takes over what is pending.
    pub(crate) fn hand_over(&self) {
        let mut state = self.state.lock();
        if !state.pending.is_empty() && state.waiter_sleeps {
            state.waiter_sleeps = false;
            self.woken.notify_one();
        }
    }

    /// Ends [`Self::run_waiter`].
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.woken.notify_one();
    }

    /// Waits for the device until everything submitted is complete, for a time at most.
    pub(crate) fn drain(&self, timeout: Duration) -> Pending {
        let last = self.state.lock().pending.back().map(|last| last.point);
        let Some(last) = last else { return Pending::Nothing };
        if let Err(result) = self.timeline.wait(last, timeout) {
            self.lose(result);
        }
        if self.is_lost() { Pending::Nothing } else { self.poll() }
    }

    /// Waits for the device until the oldest milestone, for a time at most, and publishes what is complete.
    pub(crate) fn wait_next(&self, timeout: Duration) {
        let next = self.next.load(Ordering::Acquire);
        if next == NOTHING || self.is_lost() {
            return;
        }
        match self.timeline.wait(next, timeout) {
            Ok(()) => {
                self.poll();
            }
            Err(result) => self.lose(result),
        }
    }

    /// Waits in the driver and publishes, whenever the thread of the stream has handed over; returns after
    /// [`Self::close`] or when the device is lost.
    pub(crate) fn run_waiter(&self) {
        let mut state = self.state.lock();
        loop {
            if state.closing || self.is_lost() {
                return;
            }
            let Some(point) = state.pending.front().map(|first| first.point) else {
                state.waiter_sleeps = true;
                self.woken.wait(&mut state);
                state.waiter_sleeps = false;
                continue;
            };
            drop(state);
            match self.timeline.wait(point, SLICE) {
                Ok(()) => {
                    self.poll();
                }
                Err(result) => self.lose(result),
            }
            state = self.state.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::time::Duration;

    use ash::vk;
    use dxg_wire::cell::CELL_BYTES;
    use dxg_wire::cell::FenceCell;
    use dxg_wire::shm;
    use dxg_wire::shm::Access;
    use dxg_wire::shm::Mapping;
    use dxg_wire::shm::Populate;
    use dxg_wire::shm::SharedSlice;
    use parking_lot::Condvar;
    use parking_lot::Mutex;

    use super::Milestone;
    use super::Pending;
    use super::Progress;
    use super::Timeline;
    use crate::adapter::cell::Cell;

    /// A device whose progress a test decides.
    #[derive(Clone)]
    struct Device(Arc<(Mutex<Result<u64, vk::Result>>, Condvar)>);

    impl Device {
        fn new() -> Self {
            Self(Arc::new((Mutex::new(Ok(0)), Condvar::new())))
        }

        fn reach(&self, value: Result<u64, vk::Result>) {
            *self.0.0.lock() = value;
            self.0.1.notify_all();
        }
    }

    impl Timeline for Device {
        fn value(&self) -> Result<u64, vk::Result> {
            *self.0.0.lock()
        }

        fn wait(&self, point: u64, timeout: Duration) -> Result<(), vk::Result> {
            let mut value = self.0.0.lock();
            let waits = |value: &mut Result<u64, vk::Result>| value.is_ok_and(|value| value < point);
            self.0.1.wait_while_for(&mut value, waits, timeout);
            value.map(|_| ())
        }
    }

    /// `count` cells that stand at 0, as the guest sees them and as the host does.
    fn cells(count: usize) -> Vec<(FenceCell, Arc<Cell>)> {
        let fd = shm::create_sealed("cells", 4096).unwrap();
        let memory = Mapping::map(fd.as_fd(), 0, 4096, Access::ReadWrite, Populate::Lazy).unwrap();
        let memory = SharedSlice::whole(&memory);
        (0..count)
            .map(|index| {
                let cell = FenceCell::new(memory.sub(index * 64, CELL_BYTES).unwrap()).unwrap();
                (cell.clone(), Arc::new(Cell::new(cell, 0)))
            })
            .collect()
    }

    fn milestone(point: u64, sequence: Option<u64>) -> Milestone {
        Milestone { point, signals: Vec::new(), sequence }
    }

    #[test]
    fn progress_is_published_only_as_far_as_the_device_is() {
        let device = Device::new();
        let queue = &cells(1)[0];
        let progress = Progress::new(device.clone(), Arc::clone(&queue.1), Box::new(|_| {}));
        progress.submitted([milestone(1, Some(10)), milestone(2, Some(11))]);
        assert_eq!(progress.poll(), Pending::Work);
        assert_eq!(queue.0.value(), 0);
        device.reach(Ok(1));
        assert_eq!(progress.poll(), Pending::Work);
        assert_eq!(queue.0.value(), 10);
        device.reach(Ok(2));
        assert_eq!(progress.poll(), Pending::Nothing);
        assert_eq!(queue.0.value(), 11);
    }

    #[test]
    fn semaphores_of_a_batch_are_published_before_the_submission_is_complete() {
        let device = Device::new();
        let cells = cells(2);
        let progress = Progress::new(device.clone(), Arc::clone(&cells[0].1), Box::new(|_| {}));
        let first = Milestone { point: 1, signals: vec![(Arc::clone(&cells[1].1), 7)], sequence: None };
        progress.submitted([first, milestone(2, Some(1))]);
        device.reach(Ok(1));
        assert_eq!(progress.poll(), Pending::Work);
        assert_eq!((cells[0].0.value(), cells[1].0.value()), (0, 7));
    }

    #[test]
    fn cell_that_the_guest_overwrote_does_not_change_what_the_host_knows() {
        let device = Device::new();
        let queue = &cells(1)[0];
        let progress = Progress::new(device.clone(), Arc::clone(&queue.1), Box::new(|_| {}));
        queue.0.initialise(1_000);
        progress.submitted([milestone(1, Some(1))]);
        assert_eq!(progress.poll(), Pending::Work);
        device.reach(Ok(1));
        assert_eq!(progress.poll(), Pending::Nothing);
    }

    #[test]
    fn retired_cell_is_not_written_any_more() {
        let device = Device::new();
        let cells = cells(2);
        let progress = Progress::new(device.clone(), Arc::clone(&cells[0].1), Box::new(|_| {}));
        progress.submitted([Milestone {
            point: 1,
            signals: vec![(Arc::clone(&cells[1].1), 7)],
            sequence: Some(1),
        }]);
        cells[1].1.retire();
        device.reach(Ok(1));
        assert_eq!(progress.poll(), Pending::Nothing);
        assert_eq!((cells[0].0.value(), cells[1].0.value()), (1, 0));
    }

    #[test]
    fn wait_for_the_next_milestone_publishes_what_the_device_reached_by_then() {
        let device = Device::new();
        let queue = &cells(1)[0];
        let progress = Progress::new(device.clone(), Arc::clone(&queue.1), Box::new(|_| {}));
        progress.wait_next(Duration::from_secs(60));
        progress.submitted([milestone(1, Some(10)), milestone(2, Some(11))]);
        progress.wait_next(Duration::ZERO);
        assert_eq!(queue.0.value(), 0);
        device.reach(Ok(1));
        progress.wait_next(Duration::from_secs(60));
        assert_eq!(queue.0.value(), 10);
    }

    #[test]
    fn loss_is_told_once_and_nothing_is_published_after_it() {
        let device = Device::new();
        let queue = &cells(1)[0];
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let progress = Progress::new(
            device.clone(),
            Arc::clone(&queue.1),
            Box::new(move |result| tell.lock().push(result)),
        );
        progress.submitted([milestone(1, Some(1))]);
        device.reach(Err(vk::Result::ERROR_DEVICE_LOST));
        assert_eq!(progress.poll(), Pending::Nothing);
        assert_eq!(progress.poll(), Pending::Nothing);
        assert_eq!(*told.lock(), [vk::Result::ERROR_DEVICE_LOST]);
        assert_eq!(queue.0.value(), 0);
    }

    #[test]
    fn waiter_publishes_what_was_handed_over_and_ends_when_closed() {
        let device = Device::new();
        let queue = &cells(1)[0];
        let progress = Arc::new(Progress::new(device.clone(), Arc::clone(&queue.1), Box::new(|_| {})));
        let waiter = std::thread::spawn({
            let progress = Arc::clone(&progress);
            move || progress.run_waiter()
        });
        progress.submitted([milestone(1, Some(5))]);
        progress.hand_over();
        device.reach(Ok(1));
        let reached = queue.0.wait(5, None, Duration::ZERO, &|| false);
        assert_eq!(reached, dxg_wire::cell::WaitOutcome::Reached);
        progress.close();
        waiter.join().unwrap();
    }
}
