//! The FIFO of what kernels print, in the guest's memory.
//!
//! *Invariants.* What was written so far is counted here; the word in shared memory is for the guest. What the guest says that it
//! has read decides only how much room there seems to be: it can spoil what it reads, and nothing else.

use std::sync::atomic::Ordering;

use dxg_wire::cuda::fifo;
use dxg_wire::shm::SharedSlice;

/// Bytes before a record's text.
const LENGTH_BYTES: usize = 4;

/// The host's end.
#[derive(Debug)]
pub(super) struct Fifo {
    memory: SharedSlice,
    /// Bytes of data, a power of two.
    data_bytes: usize,
    written: u64,
}

impl Fifo {
    /// The FIFO that fills some memory; `None` where it cannot be one.
    pub(super) fn new(memory: SharedSlice) -> Option<Self> {
        let data_bytes = memory.len().checked_sub(usize::try_from(fifo::DATA).ok()?)?;
        let fits = data_bytes.is_power_of_two() && data_bytes >= 64 && u32::try_from(data_bytes).is_ok();
        let written = memory.atomic_u64(usize::try_from(fifo::WRITTEN).ok()?).ok()?.load(Ordering::Acquire);
        memory.atomic_u64(usize::try_from(fifo::READ).ok()?).ok()?;
        fits.then_some(Self { memory, data_bytes, written })
    }

    /// Adds a record, or drops it where it does not fit. Whether it was added.
    pub(super) fn push(&mut self, text: &[u8]) -> bool {
        let (Ok(at_written), Ok(at_read)) = (usize::try_from(fifo::WRITTEN), usize::try_from(fifo::READ))
        else {
            return false;
        };
        let (Ok(len), Ok(read)) = (u32::try_from(text.len()), self.memory.atomic_u64(at_read)) else {
            return false;
        };
        let Some(padded) = text.len().checked_next_multiple_of(4) else { return false };
        let Some(record) = padded.checked_add(LENGTH_BYTES) else { return false };
        let used = self.written.wrapping_sub(read.load(Ordering::Acquire));
        let free = (self.data_bytes as u64).saturating_sub(used);
        if record as u64 > free {
            return false;
        }
        self.put(self.written, &len.to_le_bytes());
        self.put(self.written.wrapping_add(LENGTH_BYTES as u64), text);
        self.written = self.written.wrapping_add(record as u64);
        if let Ok(written) = self.memory.atomic_u64(at_written) {
            written.store(self.written, Ordering::Release);
        }
        true
    }

    /// Writes bytes from a counter on, around the end.
    fn put(&self, from: u64, bytes: &[u8]) {
        let at = usize::try_from(from % self.data_bytes as u64).unwrap_or(0);
        let (head, tail) = bytes.split_at(bytes.len().min(self.data_bytes - at));
        let base = usize::try_from(fifo::DATA).unwrap_or(0);
        // The memory is as large as was checked when this was made.
        let _ = self.memory.copy_in(base + at, head);
        let _ = self.memory.copy_in(base, tail);
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

    fn memory(len: usize) -> SharedSlice {
        let fd = create_sealed("fifo", 4096).unwrap();
        let mapping = Mapping::map(fd.as_fd(), 0, 4096, Access::ReadWrite, Populate::Lazy).unwrap();
        SharedSlice::whole(&mapping).sub(0, len).unwrap()
    }

    #[test]
    fn record_that_does_not_fit_is_dropped_and_the_next_that_does_is_not() {
        let memory = memory(128 + 64);
        let mut fifo = Fifo::new(memory.clone()).unwrap();
        assert!(fifo.push(&[1; 50]));
        assert!(!fifo.push(&[2; 8]));
        assert!(fifo.push(&[3; 4]));
        assert_eq!(memory.read::<u64>(0), Ok(64));
        assert_eq!(memory.read::<u32>(128), Ok(50));
        assert_eq!(memory.read::<u32>(128 + 56), Ok(4));
    }

    #[test]
    fn record_wraps_around_the_end() {
        let memory = memory(128 + 64);
        let mut fifo = Fifo::new(memory.clone()).unwrap();
        assert!(fifo.push(&[1; 50]));
        memory.atomic_u64(64).unwrap().store(56, Ordering::Release);
        assert!(fifo.push(&[7; 12]));
        assert_eq!(memory.read::<u32>(128 + 56), Ok(12));
        assert_eq!(memory.read::<[u8; 4]>(128 + 60), Ok([7; 4]));
        assert_eq!(memory.read::<[u8; 8]>(128), Ok([7; 8]));
        assert_eq!(memory.read::<u64>(0), Ok(72));
    }

    #[test]
    fn guest_that_claims_to_have_read_more_than_there_was_gets_no_room_by_it() {
        let memory = memory(128 + 64);
        let mut fifo = Fifo::new(memory.clone()).unwrap();
        memory.atomic_u64(64).unwrap().store(1000, Ordering::Release);
        assert!(!fifo.push(&[1; 4]));
    }

    #[test]
    fn memory_that_is_no_fifo_is_refused() {
        assert!(Fifo::new(memory(100)).is_none());
        assert!(Fifo::new(memory(128 + 65)).is_none());
    }
}
