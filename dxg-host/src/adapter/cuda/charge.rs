//! Memory of this process that a client causes to be used, on its account.

use std::sync::Arc;

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
