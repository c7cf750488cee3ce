//! Private data: values that a program attaches to objects, by slot.
//!
//! *Why.* Values belong to the life of an object. A handle that is a pointer may come again after its object is gone, and
//! the new object has no values yet, so such objects say when they go. Ids come once, and need not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use ash::vk;
use parking_lot::Mutex;

/// The values of one slot, by type and handle of the object.
#[derive(Debug, Default)]
pub struct Slot {
    values: Mutex<HashMap<(i32, u64), u64>>,
}

impl Slot {
    /// Attaches a value to an object.
    pub fn set(&self, kind: vk::ObjectType, object: u64, value: u64) {
        self.values.lock().insert((kind.as_raw(), object), value);
    }

    /// The value of an object; 0 where none was attached.
    pub fn get(&self, kind: vk::ObjectType, object: u64) -> u64 {
        self.values.lock().get(&(kind.as_raw(), object)).copied().unwrap_or_default()
    }
}

/// The slots of a device.
#[derive(Debug, Default)]
pub struct Slots {
    /// How many there are: most programs have none, and end objects without a look at the list.
    count: AtomicUsize,
    slots: Mutex<Vec<Arc<Slot>>>,
}

impl Slots {
    /// A new slot.
    pub fn open(&self) -> Arc<Slot> {
        let slot = Arc::<Slot>::default();
        let mut slots = self.slots.lock();
        slots.push(Arc::clone(&slot));
        self.count.store(slots.len(), Ordering::Release);
        slot
    }

    /// Ends a slot.
    pub fn close(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots.lock();
        slots.retain(|one| !Arc::ptr_eq(one, slot));
        self.count.store(slots.len(), Ordering::Release);
    }

    /// Forgets the values of an object that is going away.
    #[inline]
    pub fn forget(&self, kind: vk::ObjectType, object: u64) {
        if self.count.load(Ordering::Acquire) != 0 {
            for slot in self.slots.lock().iter() {
                slot.values.lock().remove(&(kind.as_raw(), object));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FENCE: vk::ObjectType = vk::ObjectType::FENCE;

    #[test]
    fn forget_object_of_the_same_handle_has_no_value_in_any_slot() {
        let slots = Slots::default();
        let (first, second) = (slots.open(), slots.open());
        first.set(FENCE, 7, 1);
        second.set(FENCE, 7, 2);
        second.set(FENCE, 8, 3);
        slots.forget(FENCE, 7);
        assert_eq!((first.get(FENCE, 7), second.get(FENCE, 7), second.get(FENCE, 8)), (0, 0, 3));
    }

    #[test]
    fn close_last_slot_leaves_nothing_to_look_at() {
        let slots = Slots::default();
        let slot = slots.open();
        slots.close(&slot);
        assert_eq!(slots.count.load(Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&slot), 1);
    }
}
