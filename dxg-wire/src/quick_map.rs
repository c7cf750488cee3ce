//! Maps with a hash of a few instructions, for look-ups in calls that take some tens of nanoseconds altogether.
//!
//! *Why.* The standard hash defends against keys that somebody chose to collide, at the price of most of such a call. Here it
//! does not: use these maps where only the party whose own process holds the map chooses the keys, and bound their size.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;

/// A map for keys that nobody chooses to do harm to others.
pub type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<QuickHasher>>;

/// An odd number without a pattern: the golden ratio's fraction in 64 bits.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash: each word is mixed in by a multiplication whose two halves are folded into one.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuickHasher(u64);

impl QuickHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        // Turned first, so that the order of words counts, and words of zero do.
        let product = u128::from(self.0.rotate_left(23) ^ word ^ FACTOR) * u128::from(FACTOR);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

impl Hasher for QuickHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self.mix(u64::from_le_bytes(last));
        }
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    #[inline]
    fn write_i32(&mut self, number: i32) {
        self.mix(u64::from(number.cast_unsigned()));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    fn hash(key: &[u8]) -> u64 {
        BuildHasherDefault::<QuickHasher>::default().hash_one(key)
    }

    #[test]
    fn hash_of_counted_keys_spreads_over_low_and_high_bits() {
        let hashes: Vec<u64> = (0..4096_u64).map(|size| hash(&(size * 256).to_le_bytes())).collect();
        // Maps take the bucket from the low bits and a tag from the highest seven. Chance fills about 63 % of 4096 buckets.
        let buckets: HashSet<u64> = hashes.iter().map(|hash| hash & 4095).collect();
        let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(buckets.len() > 2300, "{} buckets", buckets.len());
        assert_eq!(tags.len(), 128);
    }

    #[test]
    fn hash_tells_order_length_and_the_last_bytes() {
        let keys: [&[u8]; 7] = [
            &[],
            &[0],
            &[0; 8],
            &[0; 16],
            &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3],
        ];
        let hashes: HashSet<u64> = keys.iter().map(|key| hash(key)).collect();
        assert_eq!(hashes.len(), keys.len());
    }

    #[test]
    fn map_finds_what_was_put() {
        let mut map = QuickMap::default();
        for n in 0..1000_u32 {
            map.insert((n, n.rotate_left(7)), n);
        }
        assert!((0..1000_u32).all(|n| map.get(&(n, n.rotate_left(7))) == Some(&n)));
        assert_eq!(map.get(&(1, 1)), None);
    }
}
