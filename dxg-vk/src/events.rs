//! Events, and the status of those that only the program sets and resets.
//!
//! *Why.* A status that the host must be asked for is a round trip, and programs poll. The host's device changes an event only
//! where a command buffer says so. Until some recording names the event, its status is what the program made of it last; from
//! then on it is the host's for good, whatever became of the recording.
//!
//! *Locks.* The names have one. Looking at a status takes none.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::ids::MAX_SLOTS;
use crate::ids::Table;
use crate::ids::TableFull;

/// Slots of the first chunk; each further one has as many as all before it, and these once more.
const FIRST_SLOTS: usize = 64;
/// Chunks for all slots that a table has.
const CHUNKS: usize = (MAX_SLOTS / FIRST_SLOTS).ilog2() as usize + 1;

/// The program has set it and not reset it.
const SET: u64 = 1;
/// A command buffer sets or resets it.
const RECORDED: u64 = 2;

/// What the guest knows of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is set.
    Set,
    /// It is not set.
    Reset,
    /// Only the host knows.
    Hosts,
}

/// The events of a device.
#[derive(Debug, Default)]
pub struct Events {
    names: Table<()>,
    /// Of each slot: the generation of its event in the high half, 0 for none, flags in the low half.
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
}

impl Events {
    /// A new event, which is not set.
    ///
    /// # Errors
    /// There are too many.
    pub fn insert(&self) -> Result<u64, TableFull> {
        let id = self.names.insert(())?;
        let (chunk, at) = place(id).ok_or(TableFull)?;
        let make = || (0..FIRST_SLOTS << chunk).map(|_| AtomicU64::new(0)).collect();
        let words = self.chunks.get(chunk).ok_or(TableFull)?.get_or_init(make);
        words.get(at).ok_or(TableFull)?.store(generation(id), Ordering::Release);
        Ok(id)
    }

    /// Ends an event, after its destruction was posted.
    pub fn remove(&self, id: u64) {
        if let Some(word) = self.word(id) {
            word.store(0, Ordering::Release);
        }
        self.names.remove(id);
    }

    /// What is known of an event; nothing of one that is not live.
    #[inline]
    #[must_use]
    pub fn status(&self, id: u64) -> Status {
        match self.word(id).map(|word| word.load(Ordering::Acquire) & (SET | RECORDED)) {
            Some(0) => Status::Reset,
            Some(SET) => Status::Set,
            _ => Status::Hosts,
        }
    }

    /// The program sets it.
    pub fn set(&self, id: u64) {
        if let Some(word) = self.word(id) {
            word.fetch_or(SET, Ordering::AcqRel);
        }
    }

    /// The program resets it.
    pub fn reset(&self, id: u64) {
        if let Some(word) = self.word(id) {
            word.fetch_and(!SET, Ordering::AcqRel);
        }
    }

    /// A recording sets or resets it. This is said before the recording can be submitted.
    #[inline]
    pub fn record(&self, id: u64) {
        if let Some(word) = self.word(id) {
            word.fetch_or(RECORDED, Ordering::AcqRel);
        }
    }

    /// The word of a live event.
    #[inline]
    fn word(&self, id: u64) -> Option<&AtomicU64> {
        let (chunk, at) = place(id)?;
        let word = self.chunks.get(chunk)?.get()?.get(at)?;
        (generation(word.load(Ordering::Acquire)) == generation(id)).then_some(word)
    }
}

/// The generation of an id, or of a word, with nothing else.
fn generation(id: u64) -> u64 {
    id & 0xffff_ffff_0000_0000
}

/// Where the word of an id is: which chunk, and which of its words. `None` for the null handle.
#[inline]
fn place(id: u64) -> Option<(usize, usize)> {
    let at = (id as u32).checked_sub(1)? as usize + FIRST_SLOTS;
    let chunk = (at / FIRST_SLOTS).ilog2() as usize;
    Some((chunk, at - (FIRST_SLOTS << chunk)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_what_the_program_made_of_it_last() {
        let events = Events::default();
        let (id, other) = (events.insert().unwrap(), events.insert().unwrap());
        assert_eq!(events.status(id), Status::Reset);
        events.set(id);
        events.set(id);
        assert_eq!((events.status(id), events.status(other)), (Status::Set, Status::Reset));
        events.reset(id);
        assert_eq!(events.status(id), Status::Reset);
    }

    #[test]
    fn status_of_a_recorded_event_stays_the_hosts() {
        let events = Events::default();
        let (id, other) = (events.insert().unwrap(), events.insert().unwrap());
        events.record(id);
        assert_eq!((events.status(id), events.status(other)), (Status::Hosts, Status::Reset));
        events.set(id);
        assert_eq!(events.status(id), Status::Hosts);
        events.reset(id);
        assert_eq!(events.status(id), Status::Hosts);
    }

    #[test]
    fn event_in_the_slot_of_another_knows_nothing_of_it() {
        let events = Events::default();
        let first = events.insert().unwrap();
        events.set(first);
        events.record(first);
        events.remove(first);
        let second = events.insert().unwrap();
        assert_eq!(second, first + (1 << 32));
        assert_eq!((events.status(first), events.status(second)), (Status::Hosts, Status::Reset));
        events.set(first);
        assert_eq!(events.status(second), Status::Reset);
    }

    #[test]
    fn events_have_words_of_their_own_across_chunks() {
        let events = Events::default();
        let ids: Vec<u64> = (0..5 * FIRST_SLOTS).map(|_| events.insert().unwrap()).collect();
        ids.iter().step_by(3).for_each(|id| events.set(*id));
        for (at, id) in ids.iter().enumerate() {
            let expected = if at % 3 == 0 { Status::Set } else { Status::Reset };
            assert_eq!(events.status(*id), expected, "event {at}");
        }
    }

    #[test]
    fn place_of_the_last_slot_is_in_the_last_chunk() {
        let last = place(MAX_SLOTS as u64).unwrap();
        assert_eq!(last, (CHUNKS - 1, FIRST_SLOTS - 1));
        assert_eq!((place(0), place(1), place(65)), (None, Some((0, 0)), Some((1, 0))));
    }
}
