//! Memory for tests of the ring and stream algorithms: plain, counting, lying.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;

use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use dxg_wire::stream::StreamMemory;
use dxg_wire::stream::Word32;
use dxg_wire::stream::Word64;
use dxg_wire::vmbus::ControlWord;
use dxg_wire::vmbus::RingMemory;

/// Two mappings of one fresh memfd, as two processes would have them.
pub(crate) fn two_views(len: usize) -> (SharedSlice, SharedSlice) {
    let fd = create_sealed("test", len as u64).unwrap();
    let map =
        || SharedSlice::whole(&Mapping::map(fd.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).unwrap());
    (map(), map())
}

/// One mapping of a fresh memfd.
pub(crate) fn shared(len: usize) -> SharedSlice {
    two_views(len).0
}

/// A peer that scripts what its words say: each load takes the next value of the script; 0 when it is used up.
#[derive(Default)]
pub(crate) struct Script {
    values: Vec<u64>,
    next: Cell<usize>,
}

impl Script {
    pub(crate) fn new(values: Vec<u64>) -> Self {
        Self { values, next: Cell::new(0) }
    }

    fn take(&self) -> u64 {
        let at = self.next.get();
        self.next.set(at + 1);
        self.values.get(at).copied().unwrap_or(0)
    }
}

/// Memory of one ring or stream that belongs to the test: no other thread writes it.
pub(crate) struct TestMemory {
    words: RefCell<BTreeMap<usize, u64>>,
    pub(crate) data: RefCell<Vec<u8>>,
    /// How often each byte of the data was read since the last reset.
    pub(crate) reads: RefCell<Vec<u32>>,
    /// Where loads come from instead of the words.
    pub(crate) script: Option<Script>,
}

impl TestMemory {
    pub(crate) fn new(data_bytes: usize) -> Self {
        Self {
            words: RefCell::default(),
            data: RefCell::new(vec![0; data_bytes]),
            reads: RefCell::new(vec![0; data_bytes]),
            script: None,
        }
    }

    pub(crate) fn lying(data: Vec<u8>, script: Vec<u64>) -> Self {
        let reads = RefCell::new(vec![0; data.len()]);
        Self { words: RefCell::default(), data: RefCell::new(data), reads, script: Some(Script::new(script)) }
    }

    pub(crate) fn most_reads(&self) -> u32 {
        self.reads.borrow().iter().copied().max().unwrap_or(0)
    }

    pub(crate) fn reset_reads(&self) {
        self.reads.borrow_mut().fill(0);
    }

    pub(crate) fn word(&self, at: usize) -> u64 {
        self.words.borrow().get(&at).copied().unwrap_or(0)
    }

    pub(crate) fn set_word(&self, at: usize, value: u64) {
        self.words.borrow_mut().insert(at, value);
    }

    fn read(&self, at: usize) -> u64 {
        match &self.script {
            Some(script) => script.take(),
            None => self.word(at),
        }
    }

    fn out(&self, at: u32, into: &mut [u8]) {
        let range = at as usize..at as usize + into.len();
        into.copy_from_slice(&self.data.borrow()[range.clone()]);
        self.reads.borrow_mut()[range].iter_mut().for_each(|count| *count += 1);
    }

    fn put(&self, at: u32, from: &[u8]) {
        self.data.borrow_mut()[at as usize..at as usize + from.len()].copy_from_slice(from);
    }
}

impl RingMemory for TestMemory {
    fn data_bytes(&self) -> u32 {
        self.data.borrow().len() as u32
    }
    fn load(&self, word: ControlWord) -> u32 {
        self.read(word as usize) as u32
    }
    fn store(&self, word: ControlWord, value: u32) {
        self.set_word(word as usize, u64::from(value));
    }
    fn full_barrier(&self) {}
    fn copy_out(&self, at: u32, into: &mut [u8]) {
        self.out(at, into);
    }
    fn copy_in(&self, at: u32, from: &[u8]) {
        self.put(at, from);
    }
}

impl StreamMemory for TestMemory {
    fn ring_bytes(&self) -> u32 {
        self.data.borrow().len() as u32
    }
    fn load_u64(&self, word: Word64) -> u64 {
        self.read(word as usize)
    }
    fn store_u64(&self, word: Word64, value: u64) {
        self.set_word(word as usize, value);
    }
    fn swap_u64(&self, word: Word64, value: u64) -> u64 {
        let old = self.read(word as usize);
        self.set_word(word as usize, value);
        old
    }
    fn min_u64(&self, word: Word64, value: u64) {
        let old = self.read(word as usize);
        self.set_word(word as usize, old.min(value));
    }
    fn load_u32(&self, word: Word32) -> u32 {
        self.read(word as usize) as u32
    }
    fn store_u32(&self, word: Word32, value: u32) {
        self.set_word(word as usize, u64::from(value));
    }
    fn swap_u32(&self, word: Word32, value: u32) -> u32 {
        let old = self.read(word as usize) as u32;
        self.set_word(word as usize, u64::from(value));
        old
    }
    fn add_u32(&self, word: Word32, value: u32) -> u32 {
        let old = self.read(word as usize) as u32;
        self.set_word(word as usize, u64::from(old.wrapping_add(value)));
        old
    }
    fn full_barrier(&self) {}
    fn copy_out(&self, at: u32, into: &mut [u8]) {
        self.out(at, into);
    }
    fn copy_in(&self, at: u32, from: &[u8]) {
        self.put(at, from);
    }
}
