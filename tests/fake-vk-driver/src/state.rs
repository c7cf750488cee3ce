//! What the driver knows: semaphores, work that waits, live objects, and how it is to behave.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;
use std::time::Instant;

use ash::vk;
use parking_lot::Condvar;
use parking_lot::Mutex;

/// Behaviour that a test can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control(pub u32);

impl Control {
    /// 1: submitted work does not run. 0: it runs as soon as its waits allow.
    pub const HOLD: Self = Self(0);
    /// 1: buffers are out of device memory.
    pub const FAIL_BUFFERS: Self = Self(1);
    /// 1: the device is lost, to every call that can say so.
    pub const LOSE_DEVICE: Self = Self(2);
}

/// A buffer of so many bytes is out of device memory: for tests that are not in the driver's process.
pub const BUFFER_THAT_FAILS_BYTES: u64 = 0x00FA_1100;
/// With a buffer of so many bytes the device is lost, once it is made.
pub const BUFFER_THAT_LOSES_BYTES: u64 = 0x0010_5700;

/// Memory of so many bytes is out of device memory; imported memory of so many too.
pub const MEMORY_THAT_FAILS_BYTES: u64 = 0x0510_0000;
/// Allocations that one device takes.
pub const MEMORY_ALLOCATIONS: u32 = 64;
/// A pool of so many queries is out of device memory.
pub const QUERIES_THAT_FAIL: u32 = 0xFA11;
/// A pool of so many descriptor sets is out of host memory.
pub const SETS_THAT_FAIL: u32 = 0x00FA_1100;

/// What a test can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

impl Count {
    /// Objects that were made and not destroyed, devices included.
    pub const LIVE: Self = Self(0);
    /// Batches that have run.
    pub const BATCHES: Self = Self(1);
}

/// Queues of the device, over all families.
pub(crate) const QUEUES: usize = 3;

/// A semaphore and the value it is waited for or signalled with; binary ones go from 0 to 1.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) semaphore: u64,
    pub(crate) value: u64,
}

/// Work of one queue.
pub(crate) struct Batch {
    pub(crate) waits: Vec<Point>,
    pub(crate) signals: Vec<Point>,
}

#[derive(Clone, Copy)]
struct Semaphore {
    value: u64,
    is_timeline: bool,
}

#[derive(Default)]
struct Inner {
    hold: bool,
    fail_buffers: bool,
    lost: bool,
    last_handle: u64,
    live: u64,
    batches_run: u64,
    semaphores: HashMap<u64, Semaphore>,
    queues: [VecDeque<Batch>; QUEUES],
}

/// The state of the process's one driver.
#[derive(Default)]
pub(crate) struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

pub(crate) static STATE: LazyLock<State> = LazyLock::new(State::default);

impl Inner {
    fn is_ready(&self, batch: &Batch) -> bool {
        batch.waits.iter().all(|wait| {
            self.semaphores.get(&wait.semaphore).is_some_and(|semaphore| {
                semaphore.value >= if semaphore.is_timeline { wait.value } else { 1 }
            })
        })
    }

    fn run(&mut self, batch: &Batch) {
        for wait in &batch.waits {
            if let Some(semaphore) = self.semaphores.get_mut(&wait.semaphore)
                && !semaphore.is_timeline
            {
                semaphore.value = 0;
            }
        }
        for signal in &batch.signals {
            if let Some(semaphore) = self.semaphores.get_mut(&signal.semaphore) {
                semaphore.value = if semaphore.is_timeline { signal.value } else { 1 };
            }
        }
        self.batches_run += 1;
    }

    /// Runs all that can run.
    fn advance(&mut self) {
        let mut moved = !self.hold && !self.lost;
        while moved {
            moved = false;
            for queue in 0..QUEUES {
                let ready = self.queues[queue].front().is_some_and(|batch| self.is_ready(batch));
                if ready && let Some(batch) = self.queues[queue].pop_front() {
                    self.run(&batch);
                    moved = true;
                }
            }
        }
    }
}

impl State {
    fn change<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.inner.lock();
        let answer = change(&mut inner);
        inner.advance();
        self.changed.notify_all();
        answer
    }

    pub(crate) fn control(&self, kind: Control, value: u64) {
        self.change(|inner| match kind {
            Control::HOLD => inner.hold = value != 0,
            Control::FAIL_BUFFERS => inner.fail_buffers = value != 0,
            Control::LOSE_DEVICE => inner.lost = value != 0,
            _ => {}
        });
    }

    pub(crate) fn count(&self, kind: Count) -> u64 {
        let inner = self.inner.lock();
        match kind {
            Count::LIVE => inner.live,
            Count::BATCHES => inner.batches_run,
            _ => 0,
        }
    }

    /// A new object.
    pub(crate) fn create(&self) -> u64 {
        self.change(|inner| {
            inner.live += 1;
            inner.last_handle += 1;
            inner.last_handle
        })
    }

    /// A handle that was not given before, of something that is not counted.
    pub(crate) fn number(&self) -> u64 {
        self.change(|inner| {
            inner.last_handle += 1;
            inner.last_handle
        })
    }

    /// An object goes; 0 is none.
    pub(crate) fn destroy(&self, handle: u64) {
        if handle != 0 {
            self.change(|inner| {
                inner.live -= 1;
                inner.semaphores.remove(&handle);
            });
        }
    }

    pub(crate) fn create_semaphore(&self, timeline_value: Option<u64>) -> u64 {
        let handle = self.create();
        let semaphore =
            Semaphore { value: timeline_value.unwrap_or(0), is_timeline: timeline_value.is_some() };
        self.change(|inner| inner.semaphores.insert(handle, semaphore));
        handle
    }

    pub(crate) fn buffers_fail(&self) -> bool {
        self.inner.lock().fail_buffers
    }

    pub(crate) fn submit(&self, queue: usize, batches: Vec<Batch>) -> vk::Result {
        self.change(|inner| {
            if inner.lost {
                return vk::Result::ERROR_DEVICE_LOST;
            }
            if let Some(queue) = inner.queues.get_mut(queue) {
                queue.extend(batches);
            }
            vk::Result::SUCCESS
        })
    }

    pub(crate) fn signal(&self, point: Point) {
        self.change(|inner| {
            if let Some(semaphore) = inner.semaphores.get_mut(&point.semaphore) {
                semaphore.value = point.value;
            }
        });
    }

    pub(crate) fn value(&self, semaphore: u64) -> Result<u64, vk::Result> {
        let inner = self.inner.lock();
        if inner.lost {
            return Err(vk::Result::ERROR_DEVICE_LOST);
        }
        Ok(inner.semaphores.get(&semaphore).map_or(0, |semaphore| semaphore.value))
    }

    pub(crate) fn wait(&self, points: &[Point], timeout: Duration) -> vk::Result {
        let until = Instant::now().checked_add(timeout);
        let mut inner = self.inner.lock();
        loop {
            if inner.lost {
                return vk::Result::ERROR_DEVICE_LOST;
            }
            let reached = points.iter().all(|point| {
                inner.semaphores.get(&point.semaphore).is_none_or(|have| have.value >= point.value)
            });
            if reached {
                return vk::Result::SUCCESS;
            }
            match until {
                Some(until) if self.changed.wait_until(&mut inner, until).timed_out() => {
                    return vk::Result::TIMEOUT;
                }
                Some(_) => {}
                None => self.changed.wait(&mut inner),
            }
        }
    }

    pub(crate) fn wait_idle(&self) -> vk::Result {
        let mut inner = self.inner.lock();
        while !inner.lost && inner.queues.iter().any(|queue| !queue.is_empty()) {
            self.changed.wait(&mut inner);
        }
        if inner.lost { vk::Result::ERROR_DEVICE_LOST } else { vk::Result::SUCCESS }
    }
}
