//! What a guest encodes is what the host decodes, structure by structure; and no bytes make the host's decoders panic or
//! give out pointers that do not hold what their counts say.
//!
//! The generated code of both halves is compiled into this test; neither half depends on the other.

// UNSAFETY: compares structures behind raw pointers.
#![expect(unsafe_code, reason = "structures hold raw pointers")]
#![allow(dead_code, unreachable_pub, reason = "both halves have more than this test uses")]

use core::ffi::CStr;
use core::ffi::c_char;

use ash::vk;
use bumpalo::Bump;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;

use objects::Objects;
use reader::ReadError;
use reader::Reader;
use reader::arena;
use reader::items;

#[path = "../../dxg-vk/src/generated/structs.rs"]
mod guest_structs;
#[path = "../src/generated/vulkan/structs.rs"]
mod host_structs;
#[path = "../src/adapter/vulkan/objects.rs"]
mod objects;
#[path = "../src/adapter/vulkan/reader.rs"]
mod reader;
#[path = "../src/adapter/vulkan/table.rs"]
mod table;
#[path = "generated/vulkan_values.rs"]
mod values;

/// Where the host's generated code looks for the hand-written part.
mod adapter {
    pub(crate) mod vulkan {
        pub(crate) use crate::reader;
    }
}

/// What the guest's encoders ask of the guest.
mod forward {
    use ash::vk;
    use ash::vk::Handle;

    /// In this test a command buffer's handle is its id.
    ///
    /// # Safety
    /// None: nothing is dereferenced.
    pub(crate) unsafe fn command_buffer_id(handle: vk::CommandBuffer) -> u64 {
        handle.as_raw()
    }
}

/// Ids of each type that the host knows: their native handles are the same numbers.
const KNOWN: u64 = 4;
/// Chains inside of chains that fillers make.
const MAX_DEPTH: u32 = 2;

/// Makes values, the same ones for the same seed.
struct Fill {
    state: u64,
    round: usize,
    depth: u32,
    bump: Bump,
}

impl Fill {
    fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn f32(&mut self) -> f32 {
        f32::from_bits(self.u64() as u32)
    }

    fn small(&mut self) -> u64 {
        self.u64() % 12
    }

    fn count(&mut self) -> usize {
        (self.u64() % 4) as usize
    }

    fn chance(&mut self) -> bool {
        self.u64().is_multiple_of(4)
    }

    fn handle(&mut self, _kind: ObjectKind, optional: bool) -> u64 {
        if optional && self.chance() { 0 } else { (1 + self.u64() % KNOWN) | 1 << 32 }
    }

    fn one<T: Copy + 'static>(&mut self, make: impl FnOnce(&mut Self) -> T) -> *const T {
        let value = make(self);
        &raw const *self.bump.alloc(value)
    }

    fn list<T: Copy + 'static>(&mut self, count: usize, mut make: impl FnMut(&mut Self) -> T) -> *const T {
        let values: Vec<T> = (0..count).map(|_| make(self)).collect();
        self.bump.alloc_slice_copy(&values).as_ptr()
    }

    fn text(&mut self) -> *const c_char {
        let len = self.count() * 3;
        let mut bytes: Vec<u8> = (0..len).map(|_| b'a' + (self.u64() % 26) as u8).collect();
        bytes.push(0);
        self.bump.alloc_slice_copy(&bytes).as_ptr().cast()
    }

    /// A pointer that nobody may follow.
    fn rubbish<T>(&mut self) -> *const T {
        core::ptr::without_provenance(16)
    }

    fn boxed<T: Copy + 'static>(&mut self, make: fn(&mut Self) -> T) -> *mut vk::BaseOutStructure<'static> {
        let value = make(self);
        core::ptr::from_mut(self.bump.alloc(value)).cast()
    }

    /// Four of the structures that may extend another, others in each round.
    fn chain(
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
    fn changed(&mut self, bytes: &[u8]) -> Vec<u8> {
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
    fn drive_list<T>(&mut self, p: *mut T, room: usize, each: impl Fn(&mut Self, &mut T)) -> usize {
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

fn same_one<T>(a: *const T, b: *const T, same: impl Fn(&T, &T) -> bool) -> bool {
    same_list(a, b, 1, same)
}

fn same_list<T>(a: *const T, b: *const T, count: usize, same: impl Fn(&T, &T) -> bool) -> bool {
    // SAFETY: made by the filler or the decoder: null or `count` elements.
    let a = unsafe { items(a, count) };
    // SAFETY: as above.
    let b = unsafe { items(b, count) };
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => false,
    }
}

fn same_blob(a: *const u8, b: *const u8, count: usize) -> bool {
    same_list(a, b, count, |a, b| a == b)
}

/// Whether two unions have the same bytes; both were written through a member that covers them.
fn same_bytes<T>(a: &T, b: &T) -> bool {
    same_blob((&raw const *a).cast(), (&raw const *b).cast(), size_of::<T>())
}

fn same_text(a: *const c_char, b: *const c_char) -> bool {
    if a.is_null() || b.is_null() {
        return a == b;
    }
    // SAFETY: made by the filler or the decoder: a string.
    let a = unsafe { CStr::from_ptr(a) };
    // SAFETY: as above.
    a == unsafe { CStr::from_ptr(b) }
}

fn same_texts(a: *const *const c_char, b: *const *const c_char, count: usize) -> bool {
    same_list(a, b, count, |a, b| same_text(*a, *b))
}

fn same_chain(a: *const vk::BaseOutStructure<'_>, b: *const vk::BaseOutStructure<'_>) -> bool {
    let (mut a, mut b) = (a, b);
    while !a.is_null() && !b.is_null() {
        // SAFETY: not null, a structure of a chain.
        let first = unsafe { &*a };
        // SAFETY: as above.
        let second = unsafe { &*b };
        // SAFETY: both are structures, of the same type.
        if first.s_type != second.s_type || !unsafe { values::same_extension(a, b) } {
            return false;
        }
        (a, b) = (first.p_next, second.p_next);
    }
    a.is_null() && b.is_null()
}

type Decode<T> = for<'a, 'o, 'r> fn(&'r mut Reader<'a, 'o>) -> Result<T, ReadError>;

/// How a structure that the host fills crosses and comes back.
struct Output<T> {
    caller: fn(&mut Fill) -> T,
    encode: fn(&mut Encoder, &T),
    decode: Decode<T>,
    drive: fn(&mut Fill, &mut T),
    reply: fn(&mut Encoder, &T),
    fill: for<'d, 'r> fn(&'r mut Decoder<'d>, &mut T) -> Result<(), DecodeError>,
    same: fn(&T, &T) -> bool,
}

/// What is done with each structure.
struct Case {
    objects: Objects,
    arena: Bump,
    rounds: usize,
    mutations: usize,
    decoded_mutants: usize,
}

impl Case {
    fn new(rounds: usize, mutations: usize) -> Self {
        let mut objects = Objects::default();
        for kind in 0..ObjectKind::COUNT {
            for slot in 1..=KNOWN {
                let id = slot | 1 << 32;
                assert_eq!(objects.insert(ObjectKind(kind as u8), id, id, 0), Ok(()));
            }
        }
        Self { objects, arena: arena(), rounds, mutations, decoded_mutants: 0 }
    }

    fn run<T: Copy + 'static>(
        &mut self,
        name: &str,
        fill: fn(&mut Fill) -> T,
        encode: fn(&mut Encoder, &T),
        decode: Decode<T>,
        same: fn(&T, &T) -> bool,
    ) {
        for round in 0..self.rounds {
            let mut filler =
                Fill { state: round as u64 ^ name.len() as u64, round, depth: 0, bump: Bump::new() };
            let value = fill(&mut filler);
            let mut bytes = Encoder::new();
            encode(&mut bytes, &value);
            self.arena.reset();
            let mut reader = Reader::new(bytes.as_slice(), &self.arena, &self.objects);
            let decoded =
                decode(&mut reader).unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            reader.finish().unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            assert!(same(&value, &decoded), "{name}, round {round}: another value came out");
            let mut again = Encoder::new();
            encode(&mut again, &decoded);
            assert_eq!(bytes.as_slice(), again.as_slice(), "{name}, round {round}");
            for _ in 0..self.mutations {
                self.mutant(&mut filler, bytes.as_slice(), encode, decode);
            }
        }
    }

    /// A program's structure goes to the host, is filled there, and comes back.
    fn run_output<T: Copy + 'static>(&mut self, name: &str, output: Output<T>) {
        for round in 0..self.rounds {
            let mut filler =
                Fill { state: round as u64 ^ name.len() as u64, round, depth: 0, bump: Bump::new() };
            let mut ours = (output.caller)(&mut filler);
            let mut request = Encoder::new();
            (output.encode)(&mut request, &ours);
            self.arena.reset();
            let mut reader = Reader::new(request.as_slice(), &self.arena, &self.objects);
            let mut theirs =
                (output.decode)(&mut reader).unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            reader.finish().unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            (output.drive)(&mut filler, &mut theirs);
            let mut reply = Encoder::new();
            (output.reply)(&mut reply, &theirs);
            let mut decoder = Decoder::new(reply.as_slice());
            (output.fill)(&mut decoder, &mut ours)
                .unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            decoder.finish().unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            assert!((output.same)(&theirs, &ours), "{name}, round {round}: another value came back");
            for _ in 0..self.mutations {
                self.output_mutant(&mut filler, request.as_slice(), &output);
            }
        }
    }

    /// Decodes changed bytes; what comes out is followed along all its pointers.
    fn mutant<T>(
        &mut self,
        random: &mut Fill,
        bytes: &[u8],
        encode: fn(&mut Encoder, &T),
        decode: Decode<T>,
    ) {
        let bytes = random.changed(bytes);
        self.arena.reset();
        let mut reader = Reader::new(&bytes, &self.arena, &self.objects);
        if let Ok(value) = decode(&mut reader) {
            encode(&mut Encoder::new(), &value);
            self.decoded_mutants += 1;
        }
    }

    /// Decodes a changed request for an output, and fills what comes out as far as it says there is room.
    fn output_mutant<T>(&mut self, random: &mut Fill, bytes: &[u8], output: &Output<T>) {
        let bytes = random.changed(bytes);
        self.arena.reset();
        let mut reader = Reader::new(&bytes, &self.arena, &self.objects);
        if let Ok(mut value) = (output.decode)(&mut reader) {
            (output.drive)(random, &mut value);
            (output.reply)(&mut Encoder::new(), &value);
            self.decoded_mutants += 1;
        }
    }
}

#[test]
fn structures_come_out_of_the_host_as_they_went_into_the_guest() {
    values::each(&mut Case::new(64, 0));
}

#[test]
fn structures_come_back_to_the_guest_as_the_driver_filled_them() {
    values::each_output(&mut Case::new(64, 0));
}

#[test]
fn changed_bytes_are_refused_or_decode_to_what_their_counts_say() {
    let mut case = Case::new(16, 64);
    values::each(&mut case);
    values::each_output(&mut case);
    assert!(case.decoded_mutants > 1000, "mutants are not all refused at once: {}", case.decoded_mutants);
}
