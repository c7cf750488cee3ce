//! Events of the driver, used again and again, and what time they stand for.

use std::sync::Arc;

use parking_lot::Mutex;

use super::super::watch::monotonic_ns;
use super::driver::Code;
use super::driver::Driver;
use super::driver::EventHandle;
use super::driver::Timing;

/// The driver tells intervals as single-precision milliseconds: longer ones than this are no longer known to the microsecond.
const LONGEST_MS: f32 = 4000.0;

/// Events that nobody uses at the moment. They end with their context.
#[derive(Debug, Default)]
pub(super) struct Events {
    plain: Mutex<Vec<EventHandle>>,
    timing: Mutex<Vec<EventHandle>>,
}

/// An event, given back on drop.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) handle: EventHandle,
    timing: Timing,
    from: Arc<Events>,
}

impl Events {
    fn idle(&self, timing: Timing) -> &Mutex<Vec<EventHandle>> {
        match timing {
            Timing::No => &self.plain,
            Timing::Yes => &self.timing,
        }
    }

    /// An event.
    pub(super) fn take(self: &Arc<Self>, driver: &Driver, timing: Timing) -> Result<Arc<Event>, Code> {
        let idle = self.idle(timing).lock().pop();
        let handle = match idle {
            Some(handle) => handle,
            None => driver.create_event(timing)?,
        };
        Ok(Arc::new(Event { handle, timing, from: Arc::clone(self) }))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.from.idle(self.timing).lock().push(self.handle);
    }
}

/// What time it is on the device, told on the monotonic clock of the host.
#[derive(Debug)]
pub(super) struct Clock {
    /// A complete event, and when it was.
    base: Mutex<(Arc<Event>, u64)>,
}

impl Clock {
    /// Reads both clocks. The context has no work yet.
    pub(super) fn start(driver: &Driver, events: &Arc<Events>) -> Result<Self, Code> {
        let event = events.take(driver, Timing::Yes)?;
        driver.record(event.handle, None)?;
        driver.wait(event.handle)?;
        Ok(Self { base: Mutex::new((event, monotonic_ns())) })
    }

    /// When a complete event was.
    pub(super) fn time_of(&self, driver: &Driver, event: &Arc<Event>) -> Result<u64, Code> {
        let mut base = self.base.lock();
        let elapsed = driver.elapsed_ms(base.0.handle, event.handle)?;
        let ns = base.1.saturating_add_signed((f64::from(elapsed) * 1e6) as i64);
        if elapsed > LONGEST_MS {
            *base = (Arc::clone(event), ns);
        }
        Ok(ns)
    }
}
