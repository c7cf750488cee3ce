//! What a stream has around it in a session: memory that both sides see, and a ledger.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dxg_host::adapter::SessionCalls;
use dxg_wire::session::Reason;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::create_sealed;

/// Most bytes that a ledger takes.
const LIMIT: u64 = 64 << 20;

/// The charges of a session.
#[derive(Default)]
pub(crate) struct Ledger(AtomicU64);

impl Ledger {
    /// What is charged now.
    pub(crate) fn charged(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl SessionCalls for Ledger {
    fn charge(&self, size_bytes: u64) -> Result<(), Reason> {
        let charge = |now: u64| now.checked_add(size_bytes).filter(|sum| *sum <= LIMIT);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, charge).map(|_| ()).map_err(|_| Reason::QUOTA)
    }

    fn uncharge(&self, size_bytes: u64) {
        let before = self.0.fetch_sub(size_bytes, Ordering::SeqCst);
        assert!(before >= size_bytes, "more given back than was charged");
    }
}

/// Memory that can be handed to the other side.
pub(crate) fn shared(len: usize) -> Arc<Mapping> {
    let memory = create_sealed("fuzz", len as u64).expect("memory");
    Mapping::map(memory.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).expect("memory")
}
