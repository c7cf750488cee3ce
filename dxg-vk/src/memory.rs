//! Device memory: what an allocation is made of, and how much of each heap is in use.

use std::sync::Arc;

use ash::vk;
use parking_lot::Mutex;

use crate::external::SharedMemory;
use crate::heap::Piece;
use crate::link::Block;

/// An allocation.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Its bytes where the host imports memory of ours; `None` for memory of the host's driver, which is never mapped.
    pub piece: Option<Piece<Block>>,
    /// The same for memory that is shared or can be; such memory has no piece.
    pub shared: Option<Arc<SharedMemory>>,
    /// Bytes asked for.
    pub size_bytes: u64,
    /// Bytes that count against the heap.
    pub charged_bytes: u64,
    /// The heap it counts against.
    pub heap: u32,
}

/// Bytes in use by heap.
#[derive(Debug, Default)]
pub struct Usage {
    used: Mutex<[u64; vk::MAX_MEMORY_HEAPS]>,
}

impl Usage {
    /// Counts `size_bytes` against a heap of `heap_bytes`.
    ///
    /// # Errors
    /// Out of device memory when the heap has no such room left.
    pub fn charge(&self, heap: u32, heap_bytes: u64, size_bytes: u64) -> Result<(), vk::Result> {
        let mut used = self.used.lock();
        let used = used.get_mut(heap as usize).ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?;
        match used.checked_add(size_bytes) {
            Some(total) if total <= heap_bytes => {
                *used = total;
                Ok(())
            }
            _ => Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY),
        }
    }

    /// The reverse of a charge.
    pub fn uncharge(&self, heap: u32, size_bytes: u64) {
        if let Some(used) = self.used.lock().get_mut(heap as usize) {
            *used = used.saturating_sub(size_bytes);
        }
    }

    /// Bytes in use of a heap.
    pub fn used(&self, heap: u32) -> u64 {
        self.used.lock().get(heap as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charge_to_the_last_byte_is_granted_and_one_over_is_refused() {
        let usage = Usage::default();
        assert_eq!(usage.charge(0, 100, 100), Ok(()));
        assert_eq!(usage.charge(0, 100, 1), Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        usage.uncharge(0, 1);
        assert_eq!(usage.charge(0, 100, 1), Ok(()));
        assert_eq!(usage.used(0), 100);
    }

    #[test]
    fn charge_of_any_size_is_refused_without_overflow() {
        let usage = Usage::default();
        assert_eq!(usage.charge(1, u64::MAX, 1), Ok(()));
        assert_eq!(usage.charge(1, u64::MAX, u64::MAX), Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        assert_eq!(usage.charge(99, u64::MAX, 1), Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
    }
}
