//! Fences: values in pages, and waits for them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dxg_wire::doorbell;
use parking_lot::Condvar;
use parking_lot::Mutex;

use crate::memory::DeviceMemory;
use crate::memory::Fail;

/// A fence, of one process or shared by several openers.
#[derive(Clone, Debug)]
pub(crate) struct FakeFence {
    page: DeviceMemory,
}

impl FakeFence {
    pub(crate) fn new(initial: u64) -> Result<Self, Fail> {
        let fence = Self { page: DeviceMemory::new(4096)? };
        fence.raise(initial);
        Ok(fence)
    }

    pub(crate) fn page(&self) -> &DeviceMemory {
        &self.page
    }

    pub(crate) fn value(&self) -> u64 {
        self.page.0.atomic_u64(0).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn raise(&self, value: u64) {
        if let Ok(word) = self.page.0.atomic_u64(0) {
            word.fetch_max(value, Ordering::AcqRel);
        }
    }
}

/// What a wait waits for.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) points: Vec<(FakeFence, u64)>,
    pub(crate) any: bool,
}

impl Wait {
    fn is_over(&self) -> bool {
        let mut reached = self.points.iter().map(|(fence, value)| fence.value() >= *value);
        if self.any { reached.any(|there| there) } else { reached.all(|there| there) }
    }
}

/// All waits of the process, whatever device they came by: fences are shared between devices.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    eventfds: Mutex<Vec<(Wait, OwnedFd)>>,
    changed: Condvar,
}

impl Waits {
    /// The one list.
    pub(crate) fn all() -> Arc<Self> {
        static ALL: std::sync::LazyLock<Arc<Waits>> = std::sync::LazyLock::new(Arc::default);
        Arc::clone(&ALL)
    }

    /// Raises a fence and ends the waits that are over.
    pub(crate) fn signal(&self, fence: &FakeFence, value: u64) {
        let mut eventfds = self.eventfds.lock();
        fence.raise(value);
        eventfds.retain(|(wait, eventfd)| {
            let over = wait.is_over();
            if over {
                doorbell::ring(eventfd);
            }
            !over
        });
        self.changed.notify_all();
    }

    /// Rings an eventfd when the wait is over, perhaps now.
    pub(crate) fn notify(&self, wait: Wait, eventfd: OwnedFd) {
        let mut eventfds = self.eventfds.lock();
        if wait.is_over() {
            doorbell::ring(&eventfd);
        } else {
            eventfds.push((wait, eventfd));
        }
    }

    /// Sleeps until the wait is over.
    pub(crate) fn sleep(&self, wait: &Wait) {
        let mut eventfds = self.eventfds.lock();
        while !wait.is_over() {
            self.changed.wait(&mut eventfds);
        }
    }
}
