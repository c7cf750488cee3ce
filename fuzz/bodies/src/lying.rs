//! Memory of a ring or stream whose words say something else at each look, and whose bytes are counted.

use std::cell::Cell;
use std::cell::RefCell;

use dxg_wire::stream::StreamMemory;
use dxg_wire::stream::Word32;
use dxg_wire::stream::Word64;
use dxg_wire::vmbus::ControlWord;
use dxg_wire::vmbus::RingMemory;

use crate::input::Input;

/// The memory. Words are plausible or not, as the input says.
pub(crate) struct Lying<'a> {
    words: RefCell<Input<'a>>,
    /// The least bytes that a plausible index moves on by.
    unit: u64,
    last: Cell<u64>,
    data: RefCell<Vec<u8>>,
    reads: RefCell<Vec<u8>>,
}

impl<'a> Lying<'a> {
    /// Words from the first bytes of the input, data from the others.
    pub(crate) fn new(input: &mut Input<'a>) -> Self {
        let size = 64_usize << (input.u8() % 6);
        let words = usize::from(input.u8());
        let words = Input::new(input.bytes(words));
        let mut data = input.rest().to_vec();
        data.resize(size, 0);
        let reads = vec![0; data.len()];
        Self {
            words: RefCell::new(words),
            unit: 8,
            last: Cell::new(0),
            data: RefCell::new(data),
            reads: RefCell::new(reads),
        }
    }

    /// How often the byte that was read most was read since the last call.
    pub(crate) fn most_reads(&self) -> u8 {
        let mut reads = self.reads.borrow_mut();
        let most = reads.iter().copied().max().unwrap_or(0);
        reads.fill(0);
        most
    }

    /// Whether the script has come to its end.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.words.borrow().is_empty()
    }

    fn word(&self) -> u64 {
        let mut words = self.words.borrow_mut();
        let value = match words.u8() {
            // On from the last word, as an index goes.
            step @ 0..0xC0 => self.last.get().wrapping_add(u64::from(step) * self.unit),
            0xC0..0xE0 => words.u64(),
            0xE0..0xF0 => u64::from(words.u16()),
            _ => 0,
        };
        self.last.set(value);
        value
    }

    fn out(&self, at: u32, into: &mut [u8]) {
        let range = at as usize..at as usize + into.len();
        into.copy_from_slice(&self.data.borrow()[range.clone()]);
        self.reads.borrow_mut()[range].iter_mut().for_each(|count| *count = count.saturating_add(1));
    }

    fn put(&self, at: u32, from: &[u8]) {
        self.data.borrow_mut()[at as usize..at as usize + from.len()].copy_from_slice(from);
    }

    fn len(&self) -> u32 {
        u32::try_from(self.data.borrow().len()).unwrap_or(u32::MAX)
    }
}

impl RingMemory for Lying<'_> {
    fn data_bytes(&self) -> u32 {
        self.len()
    }
    fn load(&self, _word: ControlWord) -> u32 {
        // Indexes of a ring stay below its size.
        let value = self.word();
        let data_bytes = u64::from(self.len());
        u32::try_from(if value < 8 * data_bytes { value % data_bytes } else { value }).unwrap_or(u32::MAX)
    }
    fn store(&self, _word: ControlWord, value: u32) {
        assert!(value < self.len() || value == 1, "an index outside of the ring");
    }
    fn full_barrier(&self) {}
    fn copy_out(&self, at: u32, into: &mut [u8]) {
        self.out(at, into);
    }
    fn copy_in(&self, at: u32, from: &[u8]) {
        self.put(at, from);
    }
}

impl StreamMemory for Lying<'_> {
    fn ring_bytes(&self) -> u32 {
        self.len()
    }
    fn load_u64(&self, _word: Word64) -> u64 {
        self.word()
    }
    fn store_u64(&self, _word: Word64, _value: u64) {}
    fn swap_u64(&self, _word: Word64, _value: u64) -> u64 {
        self.word()
    }
    fn min_u64(&self, _word: Word64, _value: u64) {}
    fn load_u32(&self, _word: Word32) -> u32 {
        self.word() as u32
    }
    fn store_u32(&self, _word: Word32, _value: u32) {}
    fn swap_u32(&self, _word: Word32, _value: u32) -> u32 {
        self.word() as u32
    }
    fn add_u32(&self, _word: Word32, _value: u32) -> u32 {
        self.word() as u32
    }
    fn full_barrier(&self) {}
    fn copy_out(&self, at: u32, into: &mut [u8]) {
        self.out(at, into);
    }
    fn copy_in(&self, at: u32, from: &[u8]) {
        self.put(at, from);
    }
}
