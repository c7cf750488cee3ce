//! Blocks that the client gave back while something here still uses them.
//!
//! *Why.* A block is off the client's account once it is given back. The stream that is to free what lies in it may be
//! behind, so for a while the memory is used all the same; but a client that gives back and never frees would hold more
//! than its quota, without an end. What is used so may be as much as the quota, and more of it is a violation.

use std::sync::Arc;
use std::sync::Weak;

use dxg_wire::shm::Mapping;

/// What was given back and is still used.
pub(super) struct Released {
    most_bytes: u64,
    used: Vec<Weak<Mapping>>,
}

/// More was given back while in use than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Released {
    /// Of a client that may hold `quota_bytes`.
    pub(super) fn new(quota_bytes: u64) -> Self {
        Self { most_bytes: quota_bytes, used: Vec::new() }
    }

    /// A block was given back.
    pub(super) fn add(&mut self, mapping: Arc<Mapping>) -> Result<(), TooMuch> {
        self.used.push(Arc::downgrade(&mapping));
        drop(mapping);
        let mut used_bytes = 0_u64;
        self.used.retain(|mapping| match mapping.upgrade() {
            Some(mapping) => {
                used_bytes = used_bytes.saturating_add(mapping.len() as u64);
                true
            }
            None => false,
        });
        if used_bytes > self.most_bytes { Err(TooMuch) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use dxg_wire::shm::Access;
    use dxg_wire::shm::Populate;
    use dxg_wire::shm::create_sealed;

    use super::*;

    const BLOCK: usize = 1 << 16;

    fn block() -> Arc<Mapping> {
        let memory = create_sealed("block", BLOCK as u64).unwrap();
        Mapping::map(memory.as_fd(), 0, BLOCK, Access::ReadWrite, Populate::Lazy).unwrap()
    }

    #[test]
    fn blocks_that_nothing_uses_count_for_nothing() {
        let mut released = Released::new(0);
        for _ in 0..3 {
            assert_eq!(released.add(block()), Ok(()));
        }
    }

    #[test]
    fn blocks_in_use_up_to_the_quota_are_borne_and_one_more_is_not() {
        let mut released = Released::new(2 * BLOCK as u64);
        let blocks = [block(), block(), block()];
        assert_eq!(released.add(Arc::clone(&blocks[0])), Ok(()));
        assert_eq!(released.add(Arc::clone(&blocks[1])), Ok(()));
        assert_eq!(released.add(Arc::clone(&blocks[2])), Err(TooMuch));
        let [first, _second, third] = blocks;
        drop(first);
        assert_eq!(released.add(Arc::clone(&third)), Err(TooMuch), "it was added before");
        drop(third);
        assert_eq!(released.add(block()), Ok(()));
    }
}
