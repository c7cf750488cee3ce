//! Memory for kernels, and the host that owns it.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use dxg_ptx::exec::Host;

/// Allocations start and end at multiples of this.
const GRANULE_BYTES: usize = 256;

/// Memory with an allocator that never reuses, and everything that kernels print.
#[derive(Debug)]
pub(crate) struct Arena {
    words: Box<[AtomicU64]>,
    /// A bit per granule: whether it is allocated.
    allocated: Box<[AtomicBool]>,
    start: usize,
    next: AtomicUsize,
    printed: Mutex<Vec<u8>>,
    stop: AtomicBool,
}

impl Arena {
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.next_multiple_of(GRANULE_BYTES);
        let words: Box<[AtomicU64]> = (0..(bytes + GRANULE_BYTES) / 8).map(|_| AtomicU64::new(0)).collect();
        let start = words.as_ptr().expose_provenance().next_multiple_of(GRANULE_BYTES);
        let allocated = (0..bytes / GRANULE_BYTES).map(|_| AtomicBool::new(false)).collect();
        Self {
            words,
            allocated,
            start,
            next: AtomicUsize::new(0),
            printed: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// The address of fresh memory; a granule that belongs to nobody follows it.
    pub(crate) fn take(&self, bytes: usize) -> u64 {
        let granules = bytes.div_ceil(GRANULE_BYTES).max(1);
        let first = self.next.fetch_add(granules + 1, Ordering::Relaxed);
        assert!(first + granules <= self.allocated.len(), "the arena is too small for {bytes} bytes more");
        self.allocated[first..first + granules]
            .iter()
            .for_each(|granule| granule.store(true, Ordering::Relaxed));
        (self.start + first * GRANULE_BYTES) as u64
    }

    fn word(&self, address: u64) -> &AtomicU64 {
        let base = self.words.as_ptr().expose_provenance() as u64;
        &self.words[usize::try_from((address - base) / 8).expect("the address is in the arena")]
    }

    /// Writes bytes at a place that [`Arena::take`] gave.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) {
        for (index, chunk) in bytes.chunks(8).enumerate() {
            let word = self.word(address + 8 * index as u64);
            let mut value = word.load(Ordering::Relaxed).to_le_bytes();
            value[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self, address: u64, bytes: usize) -> Vec<u8> {
        let words = (0..bytes.div_ceil(8)).map(|index| self.word(address + 8 * index as u64));
        let mut read: Vec<u8> = words.flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        read.truncate(bytes);
        read
    }

    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().expect("nobody panics with the lock")).into_owned()
    }

    pub(crate) fn set_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn granule(&self, address: u64) -> Option<bool> {
        let offset = usize::try_from(address).ok()?.checked_sub(self.start)?;
        Some(self.allocated.get(offset / GRANULE_BYTES)?.load(Ordering::Relaxed))
    }
}

impl Host for Arena {
    fn memory(&self) -> Range<u64> {
        let start = self.start as u64;
        start..start + (self.allocated.len() * GRANULE_BYTES) as u64
    }

    fn is_mapped(&self, address: u64, bytes: u64) -> bool {
        [address, address + bytes.max(1) - 1].iter().all(|&at| self.granule(at) == Some(true))
    }

    fn print(&self, text: &[u8]) {
        self.printed.lock().expect("nobody panics with the lock").extend_from_slice(text);
    }

    fn allocate(&self, bytes: u64) -> u64 {
        match usize::try_from(bytes) {
            Ok(bytes) if bytes < self.words.len() => self.take(bytes),
            _ => 0,
        }
    }

    fn release(&self, address: u64) -> bool {
        self.granule(address) == Some(true)
    }

    fn stop(&self) -> &AtomicBool {
        &self.stop
    }
}
