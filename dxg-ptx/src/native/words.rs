//! Words in the frames of threads.

// UNSAFETY: frames are memory that generated code writes; this reads and writes words of it.
#![expect(unsafe_code, reason = "reads and writes frames by address")]

use std::ptr;

use crate::native::context::Lane;

/// The state of lanes, in memory that generated code writes too.
#[derive(Debug)]
pub(super) struct LaneTable {
    lanes: Box<[Lane]>,
}

impl LaneTable {
    pub(super) fn new(count: usize) -> Self {
        Self { lanes: vec![Lane::default(); count].into_boxed_slice() }
    }

    /// For generated code, while nobody else looks.
    pub(super) fn pointer(&mut self) -> *mut Lane {
        self.lanes.as_mut_ptr()
    }

    pub(super) fn get(&self) -> &[Lane] {
        &self.lanes
    }

    pub(super) fn get_mut(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }
}

/// An exchange area: some words at an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    address: u64,
    words: u32,
}

impl Exchange {
    /// # Safety
    /// The words are in memory of the block that is alive and that nobody has references to as long as the result is used.
    pub(super) unsafe fn new(address: u64, words: u32) -> Self {
        Self { address, words }
    }

    fn place(self, index: usize) -> Option<*mut u64> {
        (index < self.words as usize)
            .then(|| ptr::with_exposed_provenance_mut((self.address + 8 * index as u64) as usize))
    }

    pub(super) fn get(self, index: usize) -> u64 {
        let Some(place) = self.place(index) else { return 0 };
        // SAFETY: within the area, by `place`; the area is memory of ours, aligned to 16, by `new`.
        unsafe { place.read() }
    }

    pub(super) fn set(self, index: usize, value: u64) {
        let Some(place) = self.place(index) else { return };
        // SAFETY: as for `get`.
        unsafe { place.write(value) }
    }
}
