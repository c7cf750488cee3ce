//! What drivers agree on about a semaphore or fence that they share: words behind the cell of its monitored fence.
//!
//! *Why.* A monitored fence knows one value, which only grows. A binary semaphore is signalled and waited for in turns: its
//! n-th signal makes the value n, and its n-th wait waits for that, so both sides count here. A fence is signalled when the
//! value is one more than what it was when it was reset last.
//!
//! *Layout*, from byte 64 of the page: u32 kind (0: made by others than Vulkan), u32 zero, u64 signals given out (of a fence:
//! the value at its last reset), u64 waits given out; from byte 96: the UUID of the virtual GPU. Whoever has the page can
//! write it, and so can confuse those who share it; nobody else.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dxg_wire::shm::SharedSlice;

/// Bytes that are looked at.
pub const PAGE_BYTES: usize = 112;
const KIND: usize = 64;
const FIRST: usize = 72;
const SECOND: usize = 80;
const DEVICE: usize = 96;

/// What a shared fence stands for in Vulkan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A binary semaphore.
    Binary,
    /// A timeline semaphore.
    Timeline,
    /// A fence.
    Fence,
}

impl Kind {
    const fn word(self) -> u32 {
        match self {
            Self::Binary => 1,
            Self::Timeline => 2,
            Self::Fence => 3,
        }
    }
}

/// The page of a shared fence.
#[derive(Clone, Debug)]
pub struct Page {
    memory: SharedSlice,
}

impl Page {
    /// The page in this memory. `None` when that is too small or misaligned.
    #[must_use]
    pub fn new(memory: &SharedSlice) -> Option<Self> {
        let memory = memory.sub(0, PAGE_BYTES).ok()?;
        memory.atomic_u64(FIRST).ok()?;
        memory.atomic_u64(SECOND).ok()?;
        memory.atomic_u32(KIND).ok()?;
        Some(Self { memory })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        self.memory.atomic_u64(at).expect("looked at when the page was made")
    }

    /// Says what it stands for, before anybody else has it.
    pub fn label(&self, kind: Kind, device: [u8; 16]) {
        let _ = self.memory.copy_in(DEVICE, &device);
        let _ = self.memory.copy_in(KIND, &kind.word().to_le_bytes());
    }

    /// Whether it may stand for this on that device.
    #[must_use]
    pub fn agrees_with(&self, kind: Kind, device: [u8; 16]) -> bool {
        let (mut kind_word, mut made_on) = ([0; 4], [0; 16]);
        let read = self.memory.copy_out(KIND, &mut kind_word).and(self.memory.copy_out(DEVICE, &mut made_on));
        let kind_word = u32::from_le_bytes(kind_word);
        read.is_ok() && (kind_word == 0 || (kind_word == kind.word() && made_on == device))
    }

    /// The value that the next signal of a binary semaphore makes, where its value is `now`. Others than Vulkan may have signalled
    /// it without counting.
    #[must_use]
    pub fn next_signal(&self, now: u64) -> u64 {
        let next = |given: u64| given.max(now).saturating_add(1);
        let before =
            self.word(FIRST).fetch_update(Ordering::AcqRel, Ordering::Acquire, |given| Some(next(given)));
        // The closure always answers.
        before.map_or(1, next)
    }

    /// The value that the next wait for a binary semaphore waits for.
    #[must_use]
    pub fn next_wait(&self) -> u64 {
        self.word(SECOND).fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    /// The value at which a fence is signalled.
    #[must_use]
    pub fn fence_target(&self) -> u64 {
        self.word(FIRST).load(Ordering::Acquire).saturating_add(1)
    }

    /// Resets a fence whose value is `now`.
    pub fn reset_fence(&self, now: u64) {
        self.word(FIRST).fetch_max(now, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use dxg_wire::shm::Access;
    use dxg_wire::shm::Mapping;
    use dxg_wire::shm::Populate;
    use dxg_wire::shm::create_sealed;

    use super::*;

    /// One page as two processes have it.
    fn pages() -> (Page, Page) {
        let fd = create_sealed("page", 4096).unwrap();
        let map = || Mapping::map(fd.as_fd(), 0, 4096, Access::ReadWrite, Populate::Lazy).unwrap();
        let page = || Page::new(&SharedSlice::whole(&map())).unwrap();
        (page(), page())
    }

    #[test]
    fn agrees_with_its_label_and_with_a_page_without() {
        let (maker, user) = pages();
        assert!(user.agrees_with(Kind::Fence, [1; 16]));
        maker.label(Kind::Binary, [1; 16]);
        assert!(user.agrees_with(Kind::Binary, [1; 16]));
        assert!(!user.agrees_with(Kind::Timeline, [1; 16]));
        assert!(!user.agrees_with(Kind::Fence, [1; 16]));
        assert!(!user.agrees_with(Kind::Binary, [2; 16]));
    }

    #[test]
    fn next_wait_of_one_side_is_for_the_next_signal_of_the_other() {
        let (signaller, waiter) = pages();
        for turn in 1..=3 {
            assert_eq!(signaller.next_signal(turn - 1), turn);
            assert_eq!(waiter.next_wait(), turn);
        }
    }

    #[test]
    fn next_signal_goes_on_where_somebody_signalled_without_counting() {
        let (page, _) = pages();
        assert_eq!(page.next_signal(1), 2);
        assert_eq!(page.next_signal(1), 3);
    }

    #[test]
    fn reset_fence_needs_a_value_that_it_never_had() {
        let (one, other) = pages();
        assert_eq!(one.fence_target(), 1);
        // Not signalled: nothing to reset.
        one.reset_fence(0);
        assert_eq!(other.fence_target(), 1);
        one.reset_fence(1);
        assert_eq!(other.fence_target(), 2);
    }

    #[test]
    fn new_page_that_is_too_small_is_refused() {
        let fd = create_sealed("page", 4096).unwrap();
        let memory = Mapping::map(fd.as_fd(), 0, 4096, Access::ReadWrite, Populate::Lazy).unwrap();
        let memory = SharedSlice::whole(&memory);
        assert!(Page::new(&memory.sub(0, PAGE_BYTES - 8).unwrap()).is_none());
        assert!(Page::new(&memory.sub(4, 1000).unwrap()).is_none());
    }
}
