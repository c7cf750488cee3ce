//! The bytes of one run, taken apart. Where they end, zeroes follow.

use std::collections::VecDeque;

/// Most numbers that are remembered.
const KNOWN: usize = 96;

/// The bytes of one run.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes, as many as there are up to `len`.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        for (to, from) in array.iter_mut().zip(self.bytes(N)) {
            *to = *from;
        }
        array
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Bytes made of numbers that are likely to mean something, and of others.
    pub(crate) fn words(&mut self, count: usize, known: &Known) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            match self.u8() {
                pick @ 0..0x60 => bytes.extend(known.pick(pick).to_le_bytes()),
                pick @ 0x60..0xC0 => {
                    let [a, b, c, d, ..] = known.pick(pick - 0x60).to_le_bytes();
                    bytes.extend([a, b, c, d]);
                }
                0xC0..0xE0 => bytes.extend(self.u32().to_le_bytes()),
                small => bytes.extend(u32::from(small - 0xE0).to_le_bytes()),
            }
        }
        bytes
    }
}

/// Numbers that the other side has named, or that are ends of ranges; the newest first.
pub(crate) struct Known(VecDeque<u64>);

impl Known {
    pub(crate) fn new(numbers: &[u64]) -> Self {
        const ENDS: [u64; 8] =
            [0, 0x1000, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x8000_0000_0000_0000, u64::MAX];
        Self(numbers.iter().chain(&ENDS).copied().collect())
    }

    /// Remembers the words of an answer.
    pub(crate) fn learn(&mut self, answer: &[u8]) {
        for (chunk, _) in answer.chunks_exact(8).zip(0..6) {
            if let Ok(chunk) = <[u8; 8]>::try_from(chunk) {
                let long = u64::from_le_bytes(chunk);
                self.add(long);
                self.add(long & 0xFFFF_FFFF);
                self.add(long >> 32);
            }
        }
    }

    fn add(&mut self, number: u64) {
        if !self.0.contains(&number) {
            self.0.push_front(number);
            self.0.truncate(KNOWN);
        }
    }

    pub(crate) fn pick(&self, index: u8) -> u64 {
        let index = usize::from(index) % self.0.len().max(1);
        self.0.get(index).copied().unwrap_or_default()
    }
}
