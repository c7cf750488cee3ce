//! What is mapped in a context's range: which window's memory lies where, and copies within it.
//!
//! *Why two records.* Pieces say what keeps the pages alive; a bit per page answers whether an address can be used without a
//! lock, as often as an interpreted kernel asks.
//!
//! *Locks.* One reader-writer lock. Copies hold it for reading, a few megabytes at a time, so that nothing is unmapped under
//! them; nothing else is called with it held.

// UNSAFETY: says of bytes that they are mapped.
#![expect(unsafe_code, reason = "a lock held by the caller is what keeps memory mapped")]

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dxg_wire::shm::SharedSlice;
use parking_lot::RwLock;

use super::range::FillUnit;
use super::range::Mapped;
use super::range::PAGE;
use super::range::Reservation;

/// Most pieces of one context: the system keeps a record of each, and has no more than some ten thousand.
const MOST_PIECES: usize = 16_384;
/// Bytes that are copied with the lock held.
const AT_ONCE: u64 = 4 << 20;

/// Why memory cannot be put somewhere, or taken away.
#[derive(Debug, thiserror::Error)]
pub(super) enum MapError {
    /// No honest guest asks for it.
    #[error("{0}")]
    Misused(&'static str),
    /// The system has no room.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Some of the bytes are not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotMapped {
    /// The address.
    pub(super) address: u64,
}

/// Memory at one place.
#[derive(Debug)]
struct Piece {
    end: u64,
    /// Keeps the window's memory, and counts as its use.
    kept: SharedSlice,
}

/// The memory of a context.
#[derive(Debug)]
pub(super) struct Memory {
    range: Reservation,
    pieces: RwLock<BTreeMap<u64, Piece>>,
    pages: Pages,
}

impl Memory {
    /// Reserves a range.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(super) fn reserve(start: u64, bytes: u64) -> io::Result<Self> {
        let range = Reservation::new(start, bytes)?;
        Ok(Self { range, pieces: RwLock::default(), pages: Pages::new(bytes / PAGE) })
    }

    /// All addresses that may be mapped.
    pub(super) fn range(&self) -> Range<u64> {
        self.range.start()..self.range.end()
    }

    /// Whether these bytes lie in the range, mapped or not.
    pub(super) fn contains(&self, at: u64, bytes: u64) -> bool {
        self.range.contains(at, bytes)
    }

    /// Puts the memory of a window at an address where there is none.
    ///
    /// # Errors
    /// When the address is not free, or the system refuses.
    pub(super) fn map(&self, at: u64, memory: SharedSlice) -> Result<(), MapError> {
        let bytes = memory.len() as u64;
        let whole = at.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE) && bytes != 0;
        if !whole || !self.range.contains(at, bytes) {
            return Err(MapError::Misused("not whole pages of the range"));
        }
        let mut pieces = self.pieces.write();
        let end = at + bytes;
        if pieces.range(..end).next_back().is_some_and(|(_, piece)| piece.end > at) {
            return Err(MapError::Misused("something is mapped there"));
        }
        if pieces.len() >= MOST_PIECES {
            return Err(MapError::System(io::ErrorKind::OutOfMemory.into()));
        }
        self.range.place(at, &memory)?;
        pieces.insert(at, Piece { end, kept: memory });
        self.pages.set(self.page_numbers(at, bytes), Presence::Mapped);
        Ok(())
    }

    /// Takes memory out again, all of which must be mapped.
    ///
    /// # Errors
    /// When some of it is not, or the system refuses.
    pub(super) fn unmap(&self, at: u64, bytes: u64) -> Result<(), MapError> {
        let whole = at.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE) && bytes != 0;
        if !whole || !self.range.contains(at, bytes) {
            return Err(MapError::Misused("not whole pages of the range"));
        }
        let mut pieces = self.pieces.write();
        if !self.is_mapped(at, bytes) {
            return Err(MapError::Misused("not mapped"));
        }
        let end = at + bytes;
        self.pages.set(self.page_numbers(at, bytes), Presence::Nothing);
        self.range.clear(at, bytes)?;
        let first = pieces.range(..=at).next_back().map_or(at, |(start, _)| *start);
        let touched: Vec<u64> = pieces.range(first..end).map(|(start, _)| *start).collect();
        for start in touched {
            let Some(piece) = pieces.remove(&start) else { continue };
            if start < at {
                let len = usize::try_from(at - start).unwrap_or(usize::MAX);
                if let Ok(kept) = piece.kept.sub(0, len) {
                    pieces.insert(start, Piece { end: at, kept });
                }
            }
            if piece.end > end {
                let from = usize::try_from(end - start).unwrap_or(usize::MAX);
                let len = usize::try_from(piece.end - end).unwrap_or(usize::MAX);
                if let Ok(kept) = piece.kept.sub(from, len) {
                    pieces.insert(end, Piece { end: piece.end, kept });
                }
            }
        }
        Ok(())
    }

    fn page_numbers(&self, at: u64, bytes: u64) -> Range<u64> {
        let first = (at - self.range.start()) / PAGE;
        first..first + bytes / PAGE
    }

    /// Whether all of these bytes are mapped. Takes no lock.
    pub(super) fn is_mapped(&self, at: u64, bytes: u64) -> bool {
        if !self.range.contains(at, bytes) {
            return false;
        }
        let offset = at - self.range.start();
        let first = offset / PAGE;
        let last = (offset + bytes.max(1) - 1) / PAGE;
        if first == last {
            return self.pages.has(first);
        }
        self.pages.has_all(first..last + 1)
    }

    /// Does something with bytes that stay mapped meanwhile.
    fn with<R>(&self, needed: &[(u64, u64)], run: impl FnOnce(&[Mapped<'_>]) -> R) -> Result<R, NotMapped> {
        let _kept = self.pieces.read();
        let mut mapped = Vec::with_capacity(needed.len());
        for &(at, bytes) in needed {
            if !self.is_mapped(at, bytes) {
                return Err(NotMapped { address: at });
            }
            // SAFETY:
            // - They are mapped, for both ways, and only `unmap` changes that, which waits for the lock that we hold.
            // - Nobody makes references into the range.
            mapped.push(unsafe { Mapped::new(at, bytes) });
        }
        Ok(run(&mapped))
    }

    /// Copies bytes that may overlap, as if by way of a third place, unless it is over meanwhile.
    ///
    /// # Errors
    /// When some of them are not mapped; the copy may have begun.
    pub(super) fn copy(
        &self,
        to: u64,
        from: u64,
        bytes: u64,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), NotMapped> {
        let mut done = 0;
        while done < bytes && !is_over() {
            let step = (bytes - done).min(AT_ONCE);
            // From the end where the destination lies behind the source: what is still to be read is not overwritten.
            let offset = if to > from { bytes - done - step } else { done };
            let (to, from) = (at(to, offset)?, at(from, offset)?);
            self.with(&[(to, step), (from, step)], |both| {
                if let [to, from] = both {
                    to.copy_from(from);
                }
            })?;
            done += step;
        }
        Ok(())
    }

    /// Fills bytes with a value, unless it is over meanwhile.
    ///
    /// # Errors
    /// When some of them are not mapped; it may have begun.
    pub(super) fn fill(
        &self,
        to: u64,
        bytes: u64,
        value: u32,
        unit: FillUnit,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), NotMapped> {
        let mut done = 0;
        while done < bytes && !is_over() {
            let step = (bytes - done).min(AT_ONCE);
            self.with(&[(at(to, done)?, step)], |mapped| {
                mapped.iter().for_each(|mapped| mapped.fill(value, unit));
            })?;
            done += step;
        }
        Ok(())
    }

    /// Writes private bytes.
    ///
    /// # Errors
    /// When they do not fit in what is mapped.
    pub(super) fn write(&self, to: u64, from: &[u8]) -> Result<(), NotMapped> {
        self.with(&[(to, from.len() as u64)], |mapped| mapped.iter().for_each(|mapped| mapped.write(from)))
    }

    /// The number of 4 or 8 bytes at an address.
    ///
    /// # Errors
    /// When it is not mapped.
    pub(super) fn load(&self, from: u64, bytes: u64) -> Result<u64, NotMapped> {
        self.with(&[(from, bytes)], |mapped| mapped.first().map_or(0, Mapped::load))
    }

    /// Writes a number of 4 or 8 bytes.
    ///
    /// # Errors
    /// When it is not mapped.
    pub(super) fn store(&self, to: u64, bytes: u64, value: u64) -> Result<(), NotMapped> {
        self.with(&[(to, bytes)], |mapped| mapped.iter().for_each(|mapped| mapped.store(value)))
    }
}

fn at(base: u64, offset: u64) -> Result<u64, NotMapped> {
    base.checked_add(offset).ok_or(NotMapped { address: base })
}

/// Whether a page is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Mapped,
    Nothing,
}

/// Words of a leaf: each leaf covers 256 MiB.
const LEAF_WORDS: usize = 1024;
const LEAF_PAGES: u64 = LEAF_WORDS as u64 * 64;

type Leaf = Box<[AtomicU64]>;

/// A bit per page, in leaves that are made when they are needed.
#[derive(Debug)]
struct Pages {
    leaves: Vec<OnceLock<Leaf>>,
}

impl Pages {
    fn new(pages: u64) -> Self {
        let leaves = usize::try_from(pages.div_ceil(LEAF_PAGES)).unwrap_or(0);
        Self { leaves: std::iter::repeat_with(OnceLock::new).take(leaves).collect() }
    }

    fn word(&self, page: u64) -> Option<&AtomicU64> {
        let leaf = self.leaves.get(usize::try_from(page / LEAF_PAGES).ok()?)?.get()?;
        leaf.get(usize::try_from(page % LEAF_PAGES / 64).ok()?)
    }

    fn has(&self, page: u64) -> bool {
        self.word(page).is_some_and(|word| word.load(Ordering::Acquire) >> (page % 64) & 1 == 1)
    }

    /// The bits of one word that lie in a range of pages, and where the next word begins.
    fn mask(pages: &Range<u64>) -> (u64, u64) {
        let next = (pages.start / 64 + 1) * 64;
        let end = pages.end.min(next);
        let low = u64::MAX << (pages.start % 64);
        let high = u64::MAX >> ((64 - end % 64) % 64);
        (low & high, end)
    }

    fn has_all(&self, mut pages: Range<u64>) -> bool {
        while pages.start < pages.end {
            let (mask, end) = Self::mask(&pages);
            let there =
                self.word(pages.start).is_some_and(|word| word.load(Ordering::Acquire) & mask == mask);
            if !there {
                return false;
            }
            pages.start = end;
        }
        true
    }

    fn set(&self, mut pages: Range<u64>, presence: Presence) {
        while pages.start < pages.end {
            let (mask, end) = Self::mask(&pages);
            let leaf = usize::try_from(pages.start / LEAF_PAGES).ok().and_then(|leaf| self.leaves.get(leaf));
            if let Some(leaf) = leaf {
                leaf.get_or_init(|| (0..LEAF_WORDS).map(|_| AtomicU64::new(0)).collect());
            }
            if let Some(word) = self.word(pages.start) {
                match presence {
                    Presence::Mapped => word.fetch_or(mask, Ordering::AcqRel),
                    Presence::Nothing => word.fetch_and(!mask, Ordering::AcqRel),
                };
            }
            pages.start = end;
        }
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

    /// Ranges of the tests, which run in one process.
    const BASE: u64 = 0x3A00_0000_0000;

    fn window(pages: usize) -> SharedSlice {
        let len = pages * 4096;
        let fd = create_sealed("window", len as u64).unwrap();
        SharedSlice::whole(&Mapping::map(fd.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).unwrap())
    }

    #[test]
    fn memory_of_a_window_is_seen_at_its_address() {
        let memory = Memory::reserve(BASE, 1 << 30).unwrap();
        let window = window(4);
        window.copy_in(4096, &[7; 16]).unwrap();
        memory.map(BASE + 0x10000, window.sub(4096, 8192).unwrap()).unwrap();
        assert_eq!(memory.load(BASE + 0x10000, 8), Ok(0x0707_0707_0707_0707));
        memory.store(BASE + 0x10008, 4, 0x1122_3344).unwrap();
        assert_eq!(window.read::<u32>(4096 + 8), Ok(0x1122_3344));
        assert!(memory.is_mapped(BASE + 0x10000, 8192) && !memory.is_mapped(BASE + 0x10000, 8193));
        assert!(!memory.is_mapped(BASE + 0xFFFF, 2));
    }

    #[test]
    fn taken_range_is_refused() {
        let start = BASE + (1 << 36);
        let _first = Memory::reserve(start, 1 << 20).unwrap();
        assert!(Memory::reserve(start + (1 << 19), 1 << 20).is_err());
    }

    #[test]
    fn piece_with_a_hole_keeps_both_ends() {
        let start = BASE + (2 << 36);
        let memory = Memory::reserve(start, 1 << 20).unwrap();
        let window = window(3);
        window.copy_in(0, &[1; 4096]).unwrap();
        window.copy_in(8192, &[3; 4096]).unwrap();
        memory.map(start, window).unwrap();
        memory.unmap(start + 4096, 4096).unwrap();
        assert_eq!(memory.load(start, 4), Ok(0x0101_0101));
        assert_eq!(memory.load(start + 8192, 4), Ok(0x0303_0303));
        assert_eq!(memory.load(start + 4096, 4), Err(NotMapped { address: start + 4096 }));
        assert!(matches!(memory.unmap(start, 8192), Err(MapError::Misused(_))));
        memory.map(start + 4096, self::window(1)).unwrap();
        assert!(memory.is_mapped(start, 3 * 4096));
        memory.unmap(start, 3 * 4096).unwrap();
        assert!(memory.pieces.read().is_empty());
    }

    #[test]
    fn second_memory_at_an_address_is_misuse() {
        let start = BASE + (3 << 36);
        let memory = Memory::reserve(start, 1 << 20).unwrap();
        memory.map(start + 4096, window(2)).unwrap();
        for at in [start, start + 4096, start + 8192] {
            assert!(matches!(memory.map(at, window(2)), Err(MapError::Misused(_))));
        }
        memory.map(start + 3 * 4096, window(1)).unwrap();
    }

    #[test]
    fn overlapping_copies_go_both_ways() {
        let start = BASE + (4 << 36);
        let memory = Memory::reserve(start, 1 << 30).unwrap();
        let pages = 3 << 10;
        memory.map(start, window(pages)).unwrap();
        let bytes = pages as u64 * 4096;
        for word in [0, bytes / 2, bytes - 16] {
            memory.store(start + word, 8, word + 1).unwrap();
        }
        memory.copy(start + 8, start, bytes - 8, &|| false).unwrap();
        assert_eq!(memory.load(start + 8, 8), Ok(1));
        assert_eq!(memory.load(start + bytes - 8, 8), Ok(bytes - 16 + 1));
        memory.copy(start, start + 8, bytes - 8, &|| false).unwrap();
        assert_eq!(memory.load(start, 8), Ok(1));
        assert_eq!(memory.load(start + bytes / 2, 8), Ok(bytes / 2 + 1));
        let beyond = memory.copy(start, start + 8, bytes, &|| false);
        assert!(beyond.is_err());
    }

    #[test]
    fn fill_repeats_its_value() {
        let start = BASE + (5 << 36);
        let memory = Memory::reserve(start, 1 << 20).unwrap();
        memory.map(start, window(1)).unwrap();
        memory.fill(start, 6, 0xABCD, FillUnit::Half, &|| false).unwrap();
        assert_eq!(memory.load(start, 8), Ok(0x0000_ABCD_ABCD_ABCD));
        memory.fill(start + 8, 4, 0x0102_0304, FillUnit::Word, &|| false).unwrap();
        memory.fill(start + 12, 3, 0xFF, FillUnit::Byte, &|| false).unwrap();
        assert_eq!(memory.load(start + 8, 8), Ok(0x00FF_FFFF_0102_0304));
    }

    #[test]
    fn range_that_reaches_beyond_user_space_is_implausible() {
        use super::super::range::is_plausible;
        assert!(is_plausible(0x2000_0000_0000, 1 << 40));
        for (start, bytes) in [(0, 1 << 20), (1 << 32, 0), (1 << 46, 1 << 46), (0x2000_0000_0001, 1 << 20)] {
            assert!(!is_plausible(start, bytes), "{start:#x}");
        }
    }
}
