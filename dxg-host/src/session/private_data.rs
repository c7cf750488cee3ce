//! Private data that the host keeps for a client: bounded for each session.
//!
//! *Why.* It is memory of the worker and on no account. Objects are bounded in number, but each may bring a message full
//! of data along.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::answer::NO_MEMORY;
use crate::failure::Refusal;

/// Most bytes of one session.
const MAX_BYTES: usize = 64 << 20;

/// What a session may still keep.
#[derive(Clone, Debug, Default)]
pub(super) struct PrivateBudget(Arc<AtomicUsize>);

/// Bytes that are kept, and counted until dropped.
#[derive(Debug)]
pub(super) struct PrivateData {
    bytes: Vec<u8>,
    budget: PrivateBudget,
}

impl PrivateBudget {
    /// Keeps bytes.
    pub(super) fn keep(&self, bytes: Vec<u8>) -> Result<PrivateData, Refusal> {
        let taken = self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        // Built first, so that a refusal gives back what it took.
        let data = PrivateData { bytes, budget: self.clone() };
        if taken.saturating_add(data.len()) > MAX_BYTES { Err(NO_MEMORY) } else { Ok(data) }
    }
}

impl Deref for PrivateData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PrivateData {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_kept_to_the_byte_and_comes_back() {
        let budget = PrivateBudget::default();
        let most = budget.keep(vec![0; MAX_BYTES]).unwrap();
        assert_eq!(budget.keep(vec![0; 1]).unwrap_err(), NO_MEMORY);
        assert!(budget.keep(Vec::new()).is_ok());
        drop(most);
        assert!(budget.keep(vec![0; MAX_BYTES]).is_ok());
    }
}
