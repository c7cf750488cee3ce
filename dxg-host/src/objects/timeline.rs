//! Order of work: synchronization objects, the queues of contexts and hardware queues, and who waits for what.
//!
//! *Why.* All rules about when something may run are in this one structure, without threads and without memory: the
//! engine asks it for the next work, tells it what is done, and passes on the events that fell due.
//!
//! *Invariants.* A queue runs its items in order, one work at a time. Values of monitored fences only grow. A wait for
//! an object that is gone, or of a queue that failed, is over: nothing waits for ever for what cannot come.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Most items, waits and points of both that may be pending at once.
pub const MAX_PENDING: usize = 1 << 16;

/// A synchronization object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId(pub u64);

/// A queue of one context or hardware queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

/// The guest's number for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

/// Where the value of a monitored fence is shown to others.
pub trait FenceStore: Send {
    /// Shows a new value.
    fn publish(&self, value: u64);

    /// The value that others have shown there, where they may.
    fn observed(&self) -> Option<u64>;
}

/// What a synchronization object is, and its state.
pub enum Sync {
    /// Held by one at a time.
    Mutex {
        /// Whether someone holds it.
        owned: bool,
    },
    /// Counts down on a wait and up on a signal.
    Semaphore {
        /// How many waits can pass.
        count: u32,
        /// The most that can.
        max: u32,
    },
    /// A value without a page.
    Fence {
        /// Last signalled value.
        value: u64,
    },
    /// A guest event that each signal sets.
    Notification {
        /// The event.
        event: EventId,
    },
    /// A value with a page that the guest reads.
    Monitored {
        /// Largest signalled value.
        value: u64,
        /// Its page.
        store: Box<dyn FenceStore>,
    },
}

/// An object and the value that is waited for or signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The object.
    pub sync: SyncId,
    /// The value; without meaning for mutexes, semaphores and notifications.
    pub value: u64,
}

/// Whether a wait is over with all of its points or with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitMode {
    /// With all.
    All,
    /// With the first.
    Any,
}

/// What a signal does when its queue gets there.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Signals objects.
    Points(Vec<Point>),
    /// Sets a guest event.
    Event(EventId),
}

/// How much of the pending list something takes.
pub trait Weigh {
    /// About how many small things it holds.
    fn weight(&self) -> usize;
}

/// One step of a queue.
#[derive(Debug)]
pub enum Item<W> {
    /// Something for the engine to do.
    Work(W),
    /// Nothing behind it runs before these are reached.
    Wait(Vec<Point>),
    /// Done by the last of several queues to get there.
    Signal(Arc<AtomicUsize>, Effect),
}

impl<W: Weigh> Item<W> {
    fn weight(&self) -> usize {
        1 + match self {
            Self::Work(work) => work.weight(),
            Self::Wait(points) | Self::Signal(_, Effect::Points(points)) => points.len(),
            Self::Signal(_, Effect::Event(_)) => 0,
        }
    }
}

struct Queue<W> {
    items: VecDeque<Item<W>>,
    busy: bool,
    failed: bool,
}

struct CpuWait {
    points: Vec<Point>,
    mode: WaitMode,
    event: EventId,
}

/// The pending list is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// All of it.
pub struct Timeline<W> {
    next_id: u64,
    syncs: BTreeMap<SyncId, Sync>,
    queues: BTreeMap<QueueId, Queue<W>>,
    cpu_waits: Vec<CpuWait>,
    pending: usize,
    events: Vec<EventId>,
}

impl<W> Default for Timeline<W> {
    fn default() -> Self {
        Self {
            next_id: 1,
            syncs: BTreeMap::new(),
            queues: BTreeMap::new(),
            cpu_waits: Vec::new(),
            pending: 0,
            events: Vec::new(),
        }
    }
}

impl<W: Weigh> Timeline<W> {
    fn id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Adds an object.
    pub fn add(&mut self, sync: Sync) -> SyncId {
        let id = SyncId(self.id());
        self.syncs.insert(id, sync);
        id
    }

    /// Takes an object away; waits for it are over.
    pub fn remove(&mut self, sync: SyncId) {
        self.syncs.remove(&sync);
    }

    /// Adds a queue.
    pub fn add_queue(&mut self) -> QueueId {
        let id = QueueId(self.id());
        self.queues.insert(id, Queue { items: VecDeque::new(), busy: false, failed: false });
        id
    }

    /// Takes a queue away with all that has not run.
    pub fn remove_queue(&mut self, queue: QueueId) {
        if let Some(queue) = self.queues.remove(&queue) {
            let weight = queue.items.iter().map(Item::weight).sum();
            self.pending = self.pending.saturating_sub(weight);
        }
    }

    /// Whether a queue has nothing left to run.
    #[must_use]
    pub fn is_idle(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_none_or(|queue| queue.items.is_empty() && !queue.busy)
    }

    /// Appends to a queue. An item for a queue that is gone is dropped.
    ///
    /// # Errors
    /// [`Full`] when too much is pending.
    pub fn push(&mut self, queue: QueueId, item: Item<W>) -> Result<(), Full> {
        let weight = item.weight();
        if self.pending.saturating_add(weight) > MAX_PENDING {
            return Err(Full);
        }
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.items.push_back(item);
            self.pending += weight;
        }
        Ok(())
    }

    /// Appends a signal to several queues, to take effect when the last of them gets there.
    ///
    /// # Errors
    /// [`Full`] when too much is pending; nothing is appended then.
    pub fn push_signal(&mut self, queues: &[QueueId], effect: &Effect) -> Result<(), Full> {
        let left = Arc::new(AtomicUsize::new(queues.len()));
        let signal = || Item::Signal(Arc::clone(&left), effect.clone());
        let weight = signal().weight().saturating_mul(queues.len());
        if self.pending.saturating_add(weight) > MAX_PENDING {
            return Err(Full);
        }
        for queue in queues {
            self.push(*queue, signal())?;
        }
        Ok(())
    }

    /// Signals an object now.
    pub fn signal(&mut self, point: Point) {
        match self.syncs.get_mut(&point.sync) {
            None => {}
            Some(Sync::Mutex { owned }) => *owned = false,
            Some(Sync::Semaphore { count, max }) => *count = count.saturating_add(1).min(*max),
            Some(Sync::Fence { value }) => *value = point.value,
            Some(Sync::Notification { event }) => self.events.push(*event),
            Some(Sync::Monitored { value, store }) if point.value > *value => {
                *value = point.value;
                store.publish(point.value);
            }
            Some(Sync::Monitored { .. }) => {}
        }
    }

    /// Sets a guest event once the points are reached; at once if they are.
    ///
    /// # Errors
    /// [`Full`] when too much is pending.
    pub fn wait_cpu(&mut self, points: Vec<Point>, mode: WaitMode, event: EventId) -> Result<(), Full> {
        let weight = 1 + points.len();
        if self.pending.saturating_add(weight) > MAX_PENDING {
            return Err(Full);
        }
        self.pending += weight;
        self.cpu_waits.push(CpuWait { points, mode, event });
        Ok(())
    }

    /// The value of a fence; `None` for objects without one.
    #[must_use]
    pub fn value(&self, sync: SyncId) -> Option<u64> {
        match self.syncs.get(&sync)? {
            Sync::Fence { value } | Sync::Monitored { value, .. } => Some(*value),
            _ => None,
        }
    }

    /// Lets a queue run out: its work is dropped, its waits are over, its signals take effect.
    pub fn fail_queue(&mut self, queue: QueueId) {
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.failed = true;
        }
    }

    /// Runs all that can run without the engine; answers whether there is work for it.
    pub fn settle(&mut self) -> bool {
        self.run(Wanted::NoWork);
        self.queues.values().any(|queue| !queue.busy && matches!(queue.items.front(), Some(Item::Work(_))))
    }

    /// Runs all that can run without the engine, and answers the next work of a queue, which is busy until
    /// [`Self::complete`].
    pub fn next_work(&mut self) -> Option<(QueueId, W)> {
        self.run(Wanted::Work)
    }

    fn run(&mut self, wanted: Wanted) -> Option<(QueueId, W)> {
        self.observe();
        let mut found = None;
        loop {
            let mut moved = self.settle_cpu_waits();
            let ids: Vec<QueueId> = self.queues.keys().copied().collect();
            for id in ids {
                while let Some(step) = self.step(id, wanted == Wanted::Work && found.is_none()) {
                    moved = true;
                    if let Step::Work(work) = step {
                        found = Some((id, work));
                    }
                }
            }
            if !moved {
                return found;
            }
        }
    }

    /// The work of a queue is done.
    pub fn complete(&mut self, queue: QueueId) {
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.busy = false;
        }
    }

    /// The guest events that fell due since the last call.
    pub fn take_events(&mut self) -> Vec<EventId> {
        std::mem::take(&mut self.events)
    }

    /// What is waited for and not reached: who watches shared fences looks here.
    pub fn awaited(&self) -> impl Iterator<Item = Point> {
        let queued = self.queues.values().filter_map(|queue| match queue.items.front() {
            Some(Item::Wait(points)) => Some(points),
            _ => None,
        });
        let waits = self.cpu_waits.iter().map(|wait| &wait.points);
        queued.chain(waits).flatten().copied().filter(|point| !self.reached(*point))
    }

    /// Takes over what others have shown in the pages of shared fences.
    fn observe(&mut self) {
        for sync in self.syncs.values_mut() {
            if let Sync::Monitored { value, store } = sync
                && let Some(observed) = store.observed()
            {
                *value = observed.max(*value);
            }
        }
    }

    fn reached(&self, point: Point) -> bool {
        match self.syncs.get(&point.sync) {
            None | Some(Sync::Notification { .. }) => true,
            Some(Sync::Mutex { owned }) => !owned,
            Some(Sync::Semaphore { count, .. }) => *count > 0,
            Some(Sync::Fence { value } | Sync::Monitored { value, .. }) => *value >= point.value,
        }
    }

    fn acquire(&mut self, point: Point) {
        match self.syncs.get_mut(&point.sync) {
            Some(Sync::Mutex { owned }) => *owned = true,
            Some(Sync::Semaphore { count, .. }) => *count = count.saturating_sub(1),
            _ => {}
        }
    }

    fn try_wait(&mut self, points: &[Point], mode: WaitMode) -> bool {
        match mode {
            WaitMode::All => {
                let reached = points.iter().all(|point| self.reached(*point));
                if reached {
                    points.iter().for_each(|point| self.acquire(*point));
                }
                reached
            }
            WaitMode::Any => match points.iter().find(|point| self.reached(**point)) {
                Some(point) => {
                    self.acquire(*point);
                    true
                }
                None => points.is_empty(),
            },
        }
    }

    fn settle_cpu_waits(&mut self) -> bool {
        let waits = std::mem::take(&mut self.cpu_waits);
        let before = waits.len();
        for wait in waits {
            if self.try_wait(&wait.points, wait.mode) {
                self.pending = self.pending.saturating_sub(1 + wait.points.len());
                self.events.push(wait.event);
            } else {
                self.cpu_waits.push(wait);
            }
        }
        before != self.cpu_waits.len()
    }

    fn step(&mut self, id: QueueId, wants_work: bool) -> Option<Step<W>> {
        let queue = self.queues.get_mut(&id)?;
        if queue.busy {
            return None;
        }
        let failed = queue.failed;
        match queue.items.front()? {
            Item::Work(_) if !failed && !wants_work => return None,
            Item::Wait(points) if !failed => {
                let points = points.clone();
                if !self.try_wait(&points, WaitMode::All) {
                    return None;
                }
            }
            _ => {}
        }
        let queue = self.queues.get_mut(&id)?;
        let item = queue.items.pop_front()?;
        self.pending = self.pending.saturating_sub(item.weight());
        match item {
            Item::Work(work) if !failed => {
                queue.busy = true;
                return Some(Step::Work(work));
            }
            Item::Signal(left, effect) if left.fetch_sub(1, Ordering::Relaxed) == 1 => match effect {
                Effect::Points(points) => points.into_iter().for_each(|point| self.signal(point)),
                Effect::Event(event) => self.events.push(event),
            },
            _ => {}
        }
        Some(Step::Done)
    }
}

/// Whether a run hands out work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Work,
    NoWork,
}

enum Step<W> {
    Work(W),
    Done,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    impl Weigh for char {
        fn weight(&self) -> usize {
            0
        }
    }

    struct Page(Arc<AtomicU64>, bool);

    impl FenceStore for Page {
        fn publish(&self, value: u64) {
            self.0.store(value, Ordering::Relaxed);
        }

        fn observed(&self) -> Option<u64> {
            self.1.then(|| self.0.load(Ordering::Relaxed))
        }
    }

    fn monitored(timeline: &mut Timeline<char>) -> (SyncId, Arc<AtomicU64>) {
        let page = Arc::new(AtomicU64::new(0));
        let store = Box::new(Page(Arc::clone(&page), false));
        (timeline.add(Sync::Monitored { value: 0, store }), page)
    }

    fn at(sync: SyncId, value: u64) -> Point {
        Point { sync, value }
    }

    #[test]
    fn queue_runs_work_in_order_and_one_at_a_time() {
        let mut timeline = Timeline::default();
        let queue = timeline.add_queue();
        timeline.push(queue, Item::Work('a')).unwrap();
        timeline.push(queue, Item::Work('b')).unwrap();
        assert_eq!(timeline.next_work(), Some((queue, 'a')));
        assert_eq!(timeline.next_work(), None, "the first is still running");
        timeline.complete(queue);
        assert_eq!(timeline.next_work(), Some((queue, 'b')));
        timeline.complete(queue);
        assert!(timeline.is_idle(queue));
    }

    #[test]
    fn signal_behind_work_takes_effect_when_the_work_is_done() {
        let mut timeline = Timeline::default();
        let (fence, page) = monitored(&mut timeline);
        let queue = timeline.add_queue();
        timeline.push(queue, Item::Work('a')).unwrap();
        timeline.push_signal(&[queue], &Effect::Points(vec![at(fence, 7)])).unwrap();
        timeline.next_work();
        assert_eq!(page.load(Ordering::Relaxed), 0);
        timeline.complete(queue);
        timeline.next_work();
        assert_eq!(page.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn wait_parks_its_own_queue_only() {
        let mut timeline = Timeline::default();
        let (fence, _) = monitored(&mut timeline);
        let parked = timeline.add_queue();
        let free = timeline.add_queue();
        timeline.push(parked, Item::Wait(vec![at(fence, 1)])).unwrap();
        timeline.push(parked, Item::Work('a')).unwrap();
        timeline.push(free, Item::Work('b')).unwrap();
        assert_eq!(timeline.next_work(), Some((free, 'b')));
        assert_eq!(timeline.next_work(), None);
        assert_eq!(timeline.awaited().collect::<Vec<_>>(), [at(fence, 1)]);
        timeline.signal(at(fence, 1));
        assert_eq!(timeline.next_work(), Some((parked, 'a')));
    }

    #[test]
    fn queues_that_wait_for_each_other_settle_in_one_call() {
        let mut timeline: Timeline<char> = Timeline::default();
        let (a, _) = monitored(&mut timeline);
        let (b, page) = monitored(&mut timeline);
        let first = timeline.add_queue();
        let second = timeline.add_queue();
        timeline.push(first, Item::Wait(vec![at(b, 1)])).unwrap();
        timeline.push_signal(&[first], &Effect::Points(vec![at(b, 2)])).unwrap();
        timeline.push(second, Item::Wait(vec![at(a, 1)])).unwrap();
        timeline.push_signal(&[second], &Effect::Points(vec![at(b, 1)])).unwrap();
        timeline.signal(at(a, 1));
        assert_eq!(timeline.next_work(), None);
        assert_eq!(page.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn signal_of_two_queues_takes_effect_with_the_later_one() {
        let mut timeline = Timeline::default();
        let (fence, page) = monitored(&mut timeline);
        let fast = timeline.add_queue();
        let slow = timeline.add_queue();
        timeline.push(slow, Item::Work('s')).unwrap();
        timeline.push_signal(&[fast, slow], &Effect::Points(vec![at(fence, 1)])).unwrap();
        timeline.next_work();
        assert_eq!(page.load(Ordering::Relaxed), 0);
        timeline.complete(slow);
        timeline.next_work();
        assert_eq!(page.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn cpu_wait_for_all_and_any_sets_its_event_once() {
        let mut timeline: Timeline<char> = Timeline::default();
        let (a, _) = monitored(&mut timeline);
        let (b, _) = monitored(&mut timeline);
        timeline.wait_cpu(vec![at(a, 1), at(b, 1)], WaitMode::All, EventId(2)).unwrap();
        timeline.wait_cpu(vec![at(a, 1), at(b, 1)], WaitMode::Any, EventId(3)).unwrap();
        timeline.signal(at(a, 1));
        timeline.next_work();
        assert_eq!(timeline.take_events(), [EventId(3)]);
        timeline.signal(at(b, 5));
        timeline.next_work();
        assert_eq!(timeline.take_events(), [EventId(2)]);
        timeline.next_work();
        assert_eq!(timeline.take_events(), []);
    }

    #[test]
    fn monitored_fence_never_goes_back() {
        let mut timeline = Timeline::default();
        let (fence, page) = monitored(&mut timeline);
        timeline.signal(at(fence, 9));
        timeline.signal(at(fence, 3));
        assert_eq!(timeline.value(fence), Some(9));
        assert_eq!(page.load(Ordering::Relaxed), 9);
    }

    #[test]
    fn shared_fence_takes_over_what_others_have_shown() {
        let mut timeline: Timeline<char> = Timeline::default();
        let page = Arc::new(AtomicU64::new(0));
        let fence =
            timeline.add(Sync::Monitored { value: 0, store: Box::new(Page(Arc::clone(&page), true)) });
        timeline.wait_cpu(vec![at(fence, 4)], WaitMode::All, EventId(2)).unwrap();
        page.store(4, Ordering::Relaxed);
        timeline.next_work();
        assert_eq!(timeline.take_events(), [EventId(2)]);
    }

    #[test]
    fn mutex_passes_one_waiter_per_release() {
        let mut timeline = Timeline::default();
        let mutex = timeline.add(Sync::Mutex { owned: false });
        let queues = [timeline.add_queue(), timeline.add_queue()];
        for queue in queues {
            timeline.push(queue, Item::Wait(vec![at(mutex, 0)])).unwrap();
            timeline.push(queue, Item::Work('w')).unwrap();
        }
        assert_eq!(timeline.next_work(), Some((queues[0], 'w')));
        assert_eq!(timeline.next_work(), None);
        timeline.signal(at(mutex, 0));
        assert_eq!(timeline.next_work(), Some((queues[1], 'w')));
    }

    #[test]
    fn semaphore_counts_no_further_than_its_maximum() {
        let mut timeline: Timeline<char> = Timeline::default();
        let semaphore = timeline.add(Sync::Semaphore { count: 0, max: 1 });
        timeline.signal(at(semaphore, 0));
        timeline.signal(at(semaphore, 0));
        timeline.wait_cpu(vec![at(semaphore, 0)], WaitMode::All, EventId(2)).unwrap();
        timeline.wait_cpu(vec![at(semaphore, 0)], WaitMode::All, EventId(3)).unwrap();
        timeline.next_work();
        assert_eq!(timeline.take_events(), [EventId(2)]);
    }

    #[test]
    fn failed_queue_drops_work_passes_waits_and_keeps_signals() {
        let mut timeline = Timeline::default();
        let (never, _) = monitored(&mut timeline);
        let (fence, page) = monitored(&mut timeline);
        let queue = timeline.add_queue();
        timeline.push(queue, Item::Wait(vec![at(never, 1)])).unwrap();
        timeline.push(queue, Item::Work('a')).unwrap();
        timeline.push_signal(&[queue], &Effect::Points(vec![at(fence, 1)])).unwrap();
        timeline.fail_queue(queue);
        assert_eq!(timeline.next_work(), None);
        assert_eq!(page.load(Ordering::Relaxed), 1);
        assert!(timeline.is_idle(queue));
    }

    #[test]
    fn removed_object_ends_the_waits_for_it() {
        let mut timeline: Timeline<char> = Timeline::default();
        let (fence, _) = monitored(&mut timeline);
        timeline.wait_cpu(vec![at(fence, 1)], WaitMode::All, EventId(2)).unwrap();
        timeline.remove(fence);
        timeline.next_work();
        assert_eq!(timeline.take_events(), [EventId(2)]);
    }

    #[test]
    fn pending_list_is_bounded_and_drains() {
        let mut timeline: Timeline<char> = Timeline::default();
        let queue = timeline.add_queue();
        for _ in 0..MAX_PENDING {
            timeline.push(queue, Item::Wait(vec![])).unwrap();
        }
        assert_eq!(timeline.push(queue, Item::Work('a')), Err(Full));
        timeline.next_work();
        assert_eq!(timeline.push(queue, Item::Work('a')), Ok(()));
    }
}
