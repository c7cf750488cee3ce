//! A hasher for short names: a few multiplications, seeded for each module so that a text cannot choose its collisions.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;

/// A map by short names or small numbers.
pub(super) type Map<K, V> = HashMap<K, V, Seed>;

/// What the hashes of one map start with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed {
    start: u64,
    factor: u64,
}

impl Default for Seed {
    fn default() -> Self {
        let random = RandomState::new();
        Self { start: random.hash_one(0_u8), factor: random.hash_one(1_u8) | 1 }
    }
}

impl BuildHasher for Seed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { state: self.start, factor: self.factor }
    }
}

/// Multiplies each eight bytes to 128 bits and folds the halves.
#[derive(Debug)]
pub(super) struct Folded {
    state: u64,
    factor: u64,
}

impl Folded {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        let high = u64::try_from(product >> 64).unwrap_or(0);
        let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or(0);
        self.state = high ^ low.rotate_left(23) ^ self.factor.rotate_left(31);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        // What is left, in pieces that overlap: a copy of so few bytes costs more than all the rest.
        let last = match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
            (Some(low), Some(high)) => {
                u64::from(u32::from_le_bytes(*low)) | (u64::from(u32::from_le_bytes(*high)) << 32)
            }
            _ => match rest {
                [] if !bytes.is_empty() => return,
                [] => 0,
                [first, ..] => {
                    let at = |index: usize| rest.get(index).copied().map_or(0, u64::from);
                    u64::from(*first) | (at(rest.len() / 2) << 8) | (at(rest.len() - 1) << 16)
                }
            },
        };
        self.word(last ^ ((bytes.len() as u64) << 57));
    }

    fn write_u8(&mut self, _end: u8) {
        // Ends a string; the length is in the last word already.
    }

    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }

    fn finish(&self) -> u64 {
        self.state
    }
}
