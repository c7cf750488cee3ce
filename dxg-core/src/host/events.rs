//! Events that the host signals by number: eventfds of callers and sleepers of this process.
//!
//! *Invariants.* Numbers start at 2 and are never used twice in a session. A signal for a number that is not here is
//! dropped: its wait was given up. When the session is lost every event is signalled, so that nobody sleeps on.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dxg_wire::doorbell;
use parking_lot::Mutex;

use super::slot::Slot;

/// Who hears of an event.
pub(super) enum Listener {
    /// An eventfd, once.
    Once(OwnedFd),
    /// An eventfd, as often as the host signals.
    Always(OwnedFd),
    /// A thread of this process.
    Sleeper(Arc<Slot<()>>),
}

/// All events of a session.
pub(super) struct Events {
    next: AtomicU64,
    listeners: Mutex<HashMap<u64, Listener>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { next: AtomicU64::new(2), listeners: Mutex::default() }
    }
}

impl Events {
    /// Adds a listener and answers the number that the host is to signal.
    pub(super) fn add(&self, listener: Listener) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.listeners.lock().insert(number, listener);
        number
    }

    /// Forgets a listener.
    pub(super) fn remove(&self, number: u64) {
        self.listeners.lock().remove(&number);
    }

    /// The host signalled an event.
    pub(super) fn signal(&self, number: u64) {
        let mut listeners = self.listeners.lock();
        match listeners.remove(&number) {
            Some(Listener::Once(eventfd)) => doorbell::ring(&eventfd),
            Some(Listener::Sleeper(slot)) => slot.put(Ok(())),
            Some(Listener::Always(eventfd)) => {
                doorbell::ring(&eventfd);
                listeners.insert(number, Listener::Always(eventfd));
            }
            None => tracing::debug!(event = number, "signal for an event that nobody waits for"),
        }
    }

    /// Signals everything: the session is lost.
    pub(super) fn signal_all(&self) {
        for (_, listener) in self.listeners.lock().drain() {
            match listener {
                Listener::Once(eventfd) | Listener::Always(eventfd) => doorbell::ring(&eventfd),
                Listener::Sleeper(slot) => slot.put(Err(crate::errno::LOST)),
            }
        }
    }
}
