//! Memory of this process that a client causes to be used, on its account.

use std::sync::Arc;

use parking_lot::Mutex;

use super::super::SessionCalls;

/// Bytes on the client's account, given back on drop.
pub(super) struct Charge {
    calls: Arc<dyn SessionCalls>,
    bytes: u64,
}

impl std::fmt::Debug for Charge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Charge").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Charge {
    /// Whether nothing was charged.
    pub(super) fn is_nothing(&self) -> bool {
        self.bytes == 0
    }

    /// Charges bytes before they are used; nothing where there are none. `None` when the client is at its quota.
    pub(super) fn new(calls: &Arc<dyn SessionCalls>, bytes: u64) -> Option<Self> {
        if bytes != 0 {
            calls.charge(bytes).ok()?;
        }
        Some(Self { calls: Arc::clone(calls), bytes })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes != 0 {
            self.calls.uncharge(self.bytes);
        }
    }
}

/// An account of many amounts, each of which may be small: they are charged together, in whole steps. What is less than a step costs
/// nothing.
pub(super) struct Account {
    calls: Arc<dyn SessionCalls>,
    step_bytes: u64,
    used_bytes: Mutex<u64>,
}

impl Account {
    /// An account on which nothing is.
    pub(super) fn new(calls: &Arc<dyn SessionCalls>, step_bytes: u64) -> Arc<Self> {
        Arc::new(Self { calls: Arc::clone(calls), step_bytes, used_bytes: Mutex::new(0) })
    }

    /// Takes bytes before they are used. `None` when the client is at its quota.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Option<Part> {
        let mut used = self.used_bytes.lock();
        let next = used.checked_add(bytes)?;
        let more = self.charged(next) - self.charged(*used);
        if more != 0 {
            self.calls.charge(more).ok()?;
        }
        *used = next;
        Some(Part { account: Arc::clone(self), bytes })
    }

    /// What is charged for so much.
    fn charged(&self, used_bytes: u64) -> u64 {
        used_bytes / self.step_bytes * self.step_bytes
    }
}

/// Bytes on an account, given back on drop.
pub(super) struct Part {
    account: Arc<Account>,
    bytes: u64,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let account = &self.account;
        let mut used = account.used_bytes.lock();
        let next = used.saturating_sub(self.bytes);
        let less = account.charged(*used) - account.charged(next);
        *used = next;
        if less != 0 {
            account.calls.uncharge(less);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;

    use dxg_wire::session::Reason;

    use super::*;

    /// A client with a quota of 100.
    #[derive(Debug, Default)]
    struct Client(AtomicU64);

    impl SessionCalls for Client {
        fn charge(&self, size_bytes: u64) -> Result<(), Reason> {
            let fits = |used: u64| Some(used + size_bytes).filter(|used| *used <= 100);
            self.0
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits)
                .map(|_| ())
                .map_err(|_| Reason::QUOTA)
        }

        fn uncharge(&self, size_bytes: u64) {
            self.0.fetch_sub(size_bytes, Ordering::SeqCst);
        }
    }

    #[test]
    fn small_amounts_are_charged_in_steps_and_come_back() {
        let client = Arc::new(Client::default());
        let account = Account::new(&(Arc::clone(&client) as Arc<dyn SessionCalls>), 10);
        let charged = || client.0.load(Ordering::SeqCst);
        let mut parts: Vec<Part> = (0..3).filter_map(|_| account.take(3)).collect();
        assert_eq!((parts.len(), charged()), (3, 0));
        parts.extend(account.take(3));
        assert_eq!(charged(), 10);
        let large = account.take(85);
        assert_eq!(charged(), 90);
        assert!(account.take(20).is_none() && account.take(u64::MAX).is_none());
        assert_eq!(charged(), 90);
        drop(large);
        assert_eq!(charged(), 10);
        drop(parts);
        assert_eq!(charged(), 0);
    }
}
