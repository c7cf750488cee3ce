//! Who sleeps on memory of the host: they are woken when the host is gone.
//!
//! *Why.* A host that dies writes no completion. Sleepers look for its end ten times a second anyway; a program whose device is
//! lost should not wait even that long.
//!
//! *Locks.* One, for who is asleep; a leaf. Taken only by threads that are about to sleep, and by the one that wakes them.

use dxg_core::Sleeper;
use dxg_wire::cell::FenceCell;
use dxg_wire::stream::ReplySlot;
use parking_lot::Mutex;

/// What somebody sleeps on.
#[derive(Clone, Debug)]
pub enum Place {
    /// A cell.
    Cell(FenceCell),
    /// A reply that has not come.
    Reply(ReplySlot),
}

/// Everybody who sleeps on one stream's memory.
#[derive(Debug, Default)]
pub struct Sleepers(Mutex<Asleep>);

#[derive(Debug, Default)]
struct Asleep {
    next: u64,
    places: Vec<(u64, Place)>,
}

/// Somebody asleep, until it is dropped.
#[derive(Debug)]
pub struct Nap<'a> {
    sleepers: &'a Sleepers,
    numbers: std::ops::Range<u64>,
}

impl Sleepers {
    /// Enters who is about to sleep. What it then sees of the host's life is no older than what it will be woken for.
    pub fn enter(&self, places: impl Iterator<Item = Place>) -> Nap<'_> {
        let asleep = &mut *self.0.lock();
        let first = asleep.next;
        for place in places {
            asleep.places.push((asleep.next, place));
            asleep.next += 1;
        }
        Nap { sleepers: self, numbers: first..asleep.next }
    }
}

impl Drop for Nap<'_> {
    fn drop(&mut self) {
        self.sleepers.0.lock().places.retain(|(number, _)| !self.numbers.contains(number));
    }
}

impl Sleeper for Sleepers {
    fn wake(&self) {
        for (_, place) in &self.0.lock().places {
            match place {
                Place::Cell(cell) => cell.wake_all(),
                Place::Reply(slot) => slot.wake_all(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::Cells;
    use crate::fake_host::Act;
    use crate::fake_host::FakeHost;

    #[test]
    fn nap_that_is_over_leaves_nothing() {
        let (_host, stream) = FakeHost::start(4096, |_, _| Act::Silence);
        let cell = Cells::default().take(&stream.heap, stream.lease(), 0, 0).unwrap();
        let sleepers = Sleepers::default();
        let place = || std::iter::once(Place::Cell(cell.words().clone()));
        let first = sleepers.enter(place());
        let second = sleepers.enter(place().chain(place()));
        assert_eq!(sleepers.0.lock().places.len(), 3);
        drop(first);
        assert_eq!(sleepers.0.lock().places.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
        drop(second);
        assert!(sleepers.0.lock().places.is_empty());
    }
}
