//! Fillers: pseudo-random values, the same ones for the same seed.

// UNSAFETY: links structures of a chain, and writes to lists behind raw pointers.
#![expect(unsafe_code, reason = "structures hold raw pointers")]

use core::ffi::c_char;

use ash::vk;
use bumpalo::Bump;
use dxg_wire::generated::vulkan::ObjectKind;

/// Ids of each type that the host knows: their native handles are the same numbers.
pub(crate) const KNOWN: u64 = 4;
/// Chains inside of chains that fillers make.
const MAX_DEPTH: u32 = 2;

/// Makes values, the same ones for the same seed.
pub(crate) struct Fill {
    state: u64,
    round: usize,
    depth: u32,
    bump: Bump,
}

impl Fill {
    pub(crate) fn new(seed: u64, round: usize) -> Self {
        Self { state: seed, round, depth: 0, bump: Bump::new() }
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    pub(crate) fn f32(&mut self) -> f32 {
        f32::from_bits(self.u64() as u32)
    }

    pub(crate) fn small(&mut self) -> u64 {
        self.u64() % 12
    }

    pub(crate) fn count(&mut self) -> usize {
        (self.u64() % 4) as usize
    }

    pub(crate) fn chance(&mut self) -> bool {
        self.u64().is_multiple_of(4)
    }

    pub(crate) fn handle(&mut self, _kind: ObjectKind, optional: bool) -> u64 {
        if optional && self.chance() { 0 } else { (1 + self.u64() % KNOWN) | 1 << 32 }
    }

    pub(crate) fn one<T: Copy + 'static>(&mut self, make: impl FnOnce(&mut Self) -> T) -> *const T {
        let value = make(self);
        &raw const *self.bump.alloc(value)
    }

    pub(crate) fn list<T: Copy + 'static>(
        &mut self,
        count: usize,
        mut make: impl FnMut(&mut Self) -> T,
    ) -> *const T {
        let values: Vec<T> = (0..count).map(|_| make(self)).collect();
        self.bump.alloc_slice_copy(&values).as_ptr()
    }

    pub(crate) fn text(&mut self) -> *const c_char {
        let len = self.count() * 3;
        let mut bytes: Vec<u8> = (0..len).map(|_| b'a' + (self.u64() % 26) as u8).collect();
        bytes.push(0);
        self.bump.alloc_slice_copy(&bytes).as_ptr().cast()
    }

    /// A pointer that nobody may follow.
    pub(crate) fn rubbish<T>(&mut self) -> *const T {
        core::ptr::without_provenance(16)
    }

    pub(crate) fn boxed<T: Copy + 'static>(
        &mut self,
        make: fn(&mut Self) -> T,
    ) -> *mut vk::BaseOutStructure<'static> {
        let value = make(self);
        core::ptr::from_mut(self.bump.alloc(value)).cast()
    }

    /// Four of the structures that may extend another, others in each round.
    pub(crate) fn chain(
        &mut self,
        extensions: &[fn(&mut Self) -> *mut vk::BaseOutStructure<'static>],
    ) -> *mut vk::BaseOutStructure<'static> {
        if self.depth >= MAX_DEPTH {
            return core::ptr::null_mut();
        }
        self.depth += 1;
        let mut head = core::ptr::null_mut();
        for at in 0..4.min(extensions.len()) {
            let made = extensions[(self.round * 4 + at) % extensions.len()](self);
            // SAFETY: every structure of a chain begins with the members of the base, and the arena lives on.
            unsafe { (*made).p_next = head };
            head = made;
        }
        self.depth -= 1;
        head
    }
}

impl Fill {
    /// `bytes` with words replaced, or cut short.
    pub(crate) fn changed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.u64() % 3 {
            let words = bytes.len() / 4;
            if words == 0 {
                break;
            }
            let at = (self.u64() as usize % words) * 4;
            let word = match self.u64() % 6 {
                0 => u32::MAX,
                1 => 0,
                2 => self.small() as u32,
                3 => self.u64() as u32,
                4 => 1 << (self.u64() % 32),
                _ => {
                    bytes.truncate(at);
                    continue;
                }
            };
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Fills a list with room for `room` elements; how many there are, which may be more when there is no list.
    pub(crate) fn drive_list<T>(
        &mut self,
        p: *mut T,
        room: usize,
        each: impl Fn(&mut Self, &mut T),
    ) -> usize {
        let count = self.count();
        if p.is_null() {
            return count;
        }
        let count = count.min(room);
        for at in 0..count {
            // SAFETY: below the room of the list.
            let item = unsafe { p.add(at) };
            // SAFETY: nobody else looks at the list now.
            each(self, unsafe { &mut *item });
        }
        count
    }
}
