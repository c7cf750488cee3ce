//! Device memory: what an allocation is made of, and how much of each heap is in use.

use std::sync::Arc;
use std::sync::Weak;

use ash::vk;
use parking_lot::Mutex;

use crate::external::SharedMemory;
use crate::ffi::host_pointers::HostPages;
use crate::heap::Piece;
use crate::link::Block;

/// An allocation.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Its bytes where the host imports memory of ours; `None` for memory of the host's driver, which is never mapped.
    pub piece: Option<Piece<Block>>,
    /// Pages of the program, where it is made of those.
    pub pages: Option<Arc<HostPages>>,
    /// The same for memory that is shared or can be; such memory has no piece.
    pub shared: Option<Arc<SharedMemory>>,
    /// Bytes asked for.
    pub size_bytes: u64,
    /// Bytes that count against the heap.
    pub charged_bytes: u64,
    /// The heap it counts against.
    pub heap: u32,
}

/// Allocations of one device, and bytes in use by heap.
#[derive(Debug)]
pub struct Usage {
    most_allocations: u32,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    allocations: u32,
    heaps: [u64; vk::MAX_MEMORY_HEAPS],
}

impl Usage {
    /// Nothing yet, of a device that takes so many allocations at once.
    #[must_use]
    pub fn new(most_allocations: u32) -> Self {
        Self { most_allocations, used: Mutex::default() }
    }

    /// Counts an allocation of `size_bytes` against a heap of `heap_bytes`.
    ///
    /// *Why.* The host's driver would say the same, but allocations are not waited for.
    ///
    /// # Errors
    /// Out of device memory when the heap has no such room left, too many objects when there may be no more allocations.
    pub fn charge(&self, heap: u32, heap_bytes: u64, size_bytes: u64) -> Result<(), vk::Result> {
        let mut used = self.used.lock();
        if used.allocations >= self.most_allocations {
            return Err(vk::Result::ERROR_TOO_MANY_OBJECTS);
        }
        let of_heap = used.heaps.get_mut(heap as usize).ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?;
        match of_heap.checked_add(size_bytes) {
            Some(total) if total <= heap_bytes => {
                *of_heap = total;
                used.allocations += 1;
                Ok(())
            }
            _ => Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY),
        }
    }

    /// The reverse of a charge.
    pub fn uncharge(&self, heap: u32, size_bytes: u64) {
        let mut used = self.used.lock();
        used.allocations = used.allocations.saturating_sub(1);
        if let Some(of_heap) = used.heaps.get_mut(heap as usize) {
            *of_heap = of_heap.saturating_sub(size_bytes);
        }
    }

    /// Bytes in use of a heap.
    pub fn used(&self, heap: u32) -> u64 {
        self.used.lock().heaps.get(heap as usize).copied().unwrap_or_default()
    }
}

/// What all devices of a physical device use.
///
/// A device that goes without having freed its memory takes its share along.
#[derive(Debug, Default)]
pub struct Usages {
    devices: Mutex<Vec<Weak<Usage>>>,
}

impl Usages {
    /// The share of a new device that takes so many allocations at once.
    pub fn open(&self, most_allocations: u32) -> Arc<Usage> {
        let usage = Arc::new(Usage::new(most_allocations));
        let mut devices = self.devices.lock();
        devices.retain(|device| device.strong_count() > 0);
        devices.push(Arc::downgrade(&usage));
        usage
    }

    /// Bytes in use of a heap.
    pub fn used(&self, heap: u32) -> u64 {
        let devices = self.devices.lock();
        let used = devices.iter().filter_map(Weak::upgrade).map(|device| device.used(heap));
        used.fold(0, u64::saturating_add)
    }
}

/// Fills in how much of each heap a program may have: what quotas and other clients of the virtual GPU leave it, and of no heap
/// more than there is.
pub fn fill_budget(
    budget: &mut vk::PhysicalDeviceMemoryBudgetPropertiesEXT<'_>,
    heaps: &[vk::MemoryHeap],
    budget_bytes: u64,
    used: impl Fn(u32) -> u64,
) {
    budget.heap_budget = [0; vk::MAX_MEMORY_HEAPS];
    budget.heap_usage = [0; vk::MAX_MEMORY_HEAPS];
    let places = budget.heap_budget.iter_mut().zip(&mut budget.heap_usage);
    for ((heap, index), (most_bytes, used_bytes)) in heaps.iter().zip(0..).zip(places) {
        *most_bytes = heap.size.min(budget_bytes);
        *used_bytes = used(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_is_the_sum_of_the_devices_that_are_there() {
        let usages = Usages::default();
        let (one, two) = (usages.open(9), usages.open(9));
        one.charge(1, 100, 40).unwrap();
        two.charge(1, 100, 50).unwrap();
        assert_eq!((usages.used(0), usages.used(1)), (0, 90));
        drop(one);
        assert_eq!(usages.used(1), 50);
    }

    #[test]
    fn fill_budget_is_what_there_is_within_the_heap() {
        let heaps = [300, 100].map(|size| vk::MemoryHeap { size, ..Default::default() });
        let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT {
            heap_budget: [9; vk::MAX_MEMORY_HEAPS],
            ..Default::default()
        };
        fill_budget(&mut budget, &heaps, 200, |heap| u64::from(heap) + 7);
        assert_eq!(budget.heap_budget[..3], [200, 100, 0]);
        assert_eq!(budget.heap_usage[..3], [7, 8, 0]);
    }

    #[test]
    fn charge_to_the_last_byte_is_granted_and_one_over_is_refused() {
        let usage = Usage::new(9);
        assert_eq!(usage.charge(0, 100, 100), Ok(()));
        assert_eq!(usage.charge(0, 100, 1), Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        usage.uncharge(0, 1);
        assert_eq!(usage.charge(0, 100, 1), Ok(()));
        assert_eq!(usage.used(0), 100);
    }

    #[test]
    fn charge_of_any_size_is_refused_without_overflow() {
        let usage = Usage::new(9);
        assert_eq!(usage.charge(1, u64::MAX, 1), Ok(()));
        assert_eq!(usage.charge(1, u64::MAX, u64::MAX), Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        assert_eq!(usage.charge(99, u64::MAX, 1), Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
    }

    #[test]
    fn charge_beyond_the_number_of_allocations_is_too_many_until_one_goes() {
        let usage = Usage::new(2);
        assert_eq!(usage.charge(0, 100, 200), Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        assert_eq!((usage.charge(0, 100, 1), usage.charge(1, 100, 0)), (Ok(()), Ok(())));
        assert_eq!(usage.charge(0, 100, 1), Err(vk::Result::ERROR_TOO_MANY_OBJECTS));
        assert_eq!(usage.used(0), 1);
        usage.uncharge(1, 0);
        assert_eq!(usage.charge(0, 100, 1), Ok(()));
    }
}
