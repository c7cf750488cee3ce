//! How a device comes to rest before it is destroyed.
//!
//! *Why.* A client may go while its work waits for what nobody will signal any more. The driver would wait for it for ever, and
//! with it whoever destroys the device. No result of that work is seen by anybody, so the waits are ended.

use std::time::Duration;
use std::time::Instant;

use super::Device;
use crate::adapter::vulkan::completion::Pending;
use crate::adapter::vulkan::feedback::Feedback;
use crate::adapter::vulkan::feedback::Reach;

/// Longest wait for a device to come to rest before its memory is left to the end of the process.
const REST: Duration = Duration::from_secs(10);
/// Work that does not get anywhere for so long waits for itself.
const STUCK: Duration = Duration::from_secs(1);
/// How long the device may work before what it waits for is looked at again.
const SLICE: Duration = Duration::from_millis(20);

/// Which waits are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// Those for values that nothing submitted signals.
    Orphans,
    /// All of them.
    All,
}

impl Device {
    /// Waits for submitted work, and ends what it waits for in vain. Work that is left then does not end by itself.
    pub(super) fn come_to_rest(&self) -> Pending {
        // What others have not signalled by now is not waited for any more.
        self.watcher.release();
        let begun = Instant::now();
        loop {
            let spent = begun.elapsed();
            self.end_waits(if spent < STUCK { Waits::Orphans } else { Waits::All });
            let slice = SLICE.min(REST.saturating_sub(spent));
            let drained = self.queues.iter().map(|queue| queue.progress.drain(slice));
            // Each of them, for what one signals may be what another waits for.
            let left = drained.filter(|pending| *pending == Pending::Work).count();
            if left == 0 {
                return Pending::Nothing;
            }
            if slice.is_zero() {
                return Pending::Work;
            }
        }
    }

    fn end_waits(&self, waits: Waits) {
        let alive = self.feedback.iter().map(Feedback::reach);
        for reach in alive.chain(self.retired.iter().copied()) {
            self.end_wait(reach, waits);
        }
    }

    fn end_wait(&self, reach: Reach, waits: Waits) {
        // A lost device waits for nothing.
        let Ok(value) = self.sync.counter_value(reach.semaphore) else { return };
        if reach.is_orphan(value) || (waits == Waits::All && value < reach.awaited) {
            let raised = self.sync.signal(reach.semaphore, reach.awaited);
            tracing::debug!(value, awaited = reach.awaited, ?raised, "ended a wait of a device that goes");
        }
    }
}
