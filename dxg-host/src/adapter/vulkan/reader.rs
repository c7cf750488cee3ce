//! Reads what a guest sent into structures that the driver can be given.
//!
//! *Why.* The driver wants C structures with pointers. Everything behind a pointer is copied into an arena that lives
//! until the entry is done; handles are looked up in the tables of the stream.
//!
//! *Invariants.* Whatever the bytes, nothing panics: a count must fit what is left of the request, the arena has a
//! limit, chains have a length and a depth. A pointer that comes out is null, or points to as many elements as the count
//! that was agreed on.

// UNSAFETY: links structures of an extension chain by their common first members.
#![expect(unsafe_code, reason = "extension chains are linked through their common head")]

use core::ffi::c_char;
use core::ptr;

use ash::vk;
use bumpalo::Bump;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::generated::vulkan::ObjectKind;
use thiserror::Error;

use super::objects::Objects;
use super::table::BadId;

/// Most bytes that one entry may take in the arena.
pub(crate) const ARENA_LIMIT_BYTES: usize = 64 << 20;
/// Most chains inside of chains.
const MAX_CHAIN_DEPTH: u32 = 8;

/// Bytes behind the room for a driver's output: more than one result of any query takes.
const SLACK_BYTES: usize = 4096;

/// What no honest guest sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ReadError {
    /// The bytes are no encoding.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An id names no object, or cannot name a new one.
    #[error(transparent)]
    Id(#[from] BadId),
    /// A count and its array differ, or an array is absent that must be there.
    #[error("an array has another length than its count says")]
    Count,
    /// A structure may not be in this chain, is in it twice, or the chain is too deep.
    #[error("a structure does not belong into its chain")]
    Chain,
    /// The entry takes more memory than an entry may.
    #[error("the entry takes more than {ARENA_LIMIT_BYTES} bytes")]
    Arena,
}

/// An arena for entries of one stream; reset after each.
pub(crate) fn arena() -> Bump {
    let arena = Bump::new();
    arena.set_allocation_limit(Some(ARENA_LIMIT_BYTES));
    arena
}

/// The list that a driver filled, if there is one.
///
/// # Safety
/// `p` is null or points to `count` values that live for `'a`.
pub(crate) unsafe fn items<'a, T>(p: *const T, count: usize) -> Option<&'a [T]> {
    if p.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller promises `count` values.
    Some(unsafe { core::slice::from_raw_parts(p, count) })
}

/// The body of one entry, being read.
pub(crate) struct Reader<'a, 'o> {
    decoder: Decoder<'a>,
    bump: &'a Bump,
    objects: &'o Objects,
    depth: u32,
}

type Body =
    fn(&mut Reader<'_, '_>, vk::StructureType) -> Result<*mut vk::BaseOutStructure<'static>, ReadError>;

impl<'a, 'o> Reader<'a, 'o> {
    /// Reads `bytes`; what has to be stored goes to `bump`.
    pub(crate) fn new(bytes: &'a [u8], bump: &'a Bump, objects: &'o Objects) -> Self {
        Self { decoder: Decoder::new(bytes), bump, objects, depth: 0 }
    }

    /// The decoder, for what is no structure of the registry.
    pub(crate) fn decoder(&mut self) -> &mut Decoder<'a> {
        &mut self.decoder
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// The request is too short.
    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, ReadError> {
        Ok(self.decoder.u32()?)
    }

    /// A signed 32-bit number.
    ///
    /// # Errors
    /// The request is too short.
    #[inline]
    pub(crate) fn i32(&mut self) -> Result<i32, ReadError> {
        Ok(self.decoder.i32()?)
    }

    /// The layout of an image.
    ///
    /// The guest presents by itself, so the native device has no `VK_KHR_swapchain`, which a driver for computing may not even offer,
    /// and its images are in no layout of that extension.
    ///
    /// # Errors
    /// The request is too short.
    #[inline]
    pub(crate) fn image_layout(&mut self) -> Result<vk::ImageLayout, ReadError> {
        Ok(match vk::ImageLayout::from_raw(self.i32()?) {
            vk::ImageLayout::PRESENT_SRC_KHR => vk::ImageLayout::GENERAL,
            layout => layout,
        })
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// The request is too short.
    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, ReadError> {
        Ok(self.decoder.u64()?)
    }

    /// A 32-bit float.
    ///
    /// # Errors
    /// The request is too short.
    #[inline]
    pub(crate) fn f32(&mut self) -> Result<f32, ReadError> {
        Ok(self.decoder.f32()?)
    }

    /// A presence word.
    ///
    /// # Errors
    /// It is neither 0 nor 1.
    #[inline]
    pub(crate) fn presence(&mut self) -> Result<bool, ReadError> {
        Ok(self.decoder.presence()?)
    }

    /// A presence word of something that must be there.
    ///
    /// # Errors
    /// It is absent.
    pub(crate) fn present(&mut self) -> Result<(), ReadError> {
        if self.presence()? { Ok(()) } else { Err(ReadError::Decode(DecodeError::Absent)) }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// Something is.
    pub(crate) fn finish(&mut self) -> Result<(), ReadError> {
        let decoder = core::mem::replace(&mut self.decoder, Decoder::new(&[]));
        Ok(decoder.finish()?)
    }

    /// A handle that must be there.
    ///
    /// # Errors
    /// The id names no object.
    #[inline]
    pub(crate) fn handle(&mut self, kind: ObjectKind) -> Result<u64, ReadError> {
        let id = self.u64()?;
        Ok(self.objects.lookup(kind, id)?)
    }

    /// The native object that an id read before names.
    ///
    /// # Errors
    /// The id names no object.
    pub(crate) fn find(&self, kind: ObjectKind, id: u64) -> Result<u64, ReadError> {
        Ok(self.objects.lookup(kind, id)?)
    }

    /// A handle that may be null.
    ///
    /// # Errors
    /// The id names no object and is not 0.
    #[inline]
    pub(crate) fn handle_or_null(&mut self, kind: ObjectKind) -> Result<u64, ReadError> {
        match self.u64()? {
            0 => Ok(0),
            id => Ok(self.objects.lookup(kind, id)?),
        }
    }

    /// A handle that the rules let be stale: null if it names no object.
    ///
    /// # Errors
    /// The request is too short.
    #[inline]
    pub(crate) fn handle_lenient(&mut self, kind: ObjectKind) -> Result<u64, ReadError> {
        let id = self.u64()?;
        Ok(self.objects.lookup(kind, id).unwrap_or(0))
    }

    /// The id of a new object.
    ///
    /// # Errors
    /// The id cannot name a new object.
    pub(crate) fn new_id(&mut self, kind: ObjectKind) -> Result<u64, ReadError> {
        let id = self.u64()?;
        self.objects.check_vacant(kind, id)?;
        Ok(id)
    }

    /// The ids of new objects, no two the same.
    ///
    /// # Errors
    /// An id cannot name a new object.
    pub(crate) fn new_ids(&mut self, kind: ObjectKind) -> Result<&'a [u64], ReadError> {
        let ids = self.ids()?;
        for id in ids {
            self.objects.check_vacant(kind, *id)?;
        }
        let sorted = self.bump.try_alloc_slice_copy(ids).map_err(|_| ReadError::Arena)?;
        // By slot: two generations of one slot cannot both be new.
        sorted.sort_unstable_by_key(|id| id & 0xFFFF_FFFF);
        for (one, next) in sorted.iter().zip(sorted.iter().skip(1)) {
            if one & 0xFFFF_FFFF == next & 0xFFFF_FFFF {
                return Err(ReadError::Id(BadId::Taken(*next)));
            }
        }
        Ok(ids)
    }

    /// A list of ids, not looked up.
    ///
    /// # Errors
    /// The request is too short.
    pub(crate) fn ids(&mut self) -> Result<&'a [u64], ReadError> {
        let count = self.decoder.count(8)?;
        let ids = self.zeroed::<u64>(count)?;
        for id in ids.iter_mut() {
            *id = self.u64()?;
        }
        Ok(ids)
    }

    /// `count` default values in the arena.
    ///
    /// # Errors
    /// The arena is full.
    pub(crate) fn zeroed<T: Copy + Default>(&self, count: usize) -> Result<&'a mut [T], ReadError> {
        // The allocator wants the size to be a size at all.
        if count > ARENA_LIMIT_BYTES / size_of::<T>().max(1) {
            return Err(ReadError::Arena);
        }
        self.bump.try_alloc_slice_fill_with(count, |_| T::default()).map_err(|_| ReadError::Arena)
    }

    /// A list of values; null and `None` for an absent one.
    ///
    /// # Errors
    /// The elements are no values, or more than the request or the arena has room for.
    pub(crate) fn array<T: Copy + Default>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, ReadError>,
    ) -> Result<(*const T, Option<usize>), ReadError> {
        let Some(count) = self.decoder.array(4)? else { return Ok((ptr::null(), None)) };
        let list = self.zeroed::<T>(count)?;
        for item in list.iter_mut() {
            *item = each(self)?;
        }
        Ok((list.as_ptr(), Some(count)))
    }

    /// Bytes, aligned as any value may want; null and `None` for absent ones.
    ///
    /// # Errors
    /// More than the request or the arena has room for.
    pub(crate) fn blob(&mut self) -> Result<(*const u8, Option<usize>), ReadError> {
        let Some(count) = self.decoder.array(1)? else { return Ok((ptr::null(), None)) };
        let bytes = self.decoder.bytes(count)?;
        let words = self.zeroed::<[u64; 2]>(count.div_ceil(16))?;
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(16)) {
            let mut block = [0_u8; 16];
            for (to, from) in block.iter_mut().zip(chunk) {
                *to = *from;
            }
            let (low, high) = block.split_at(8);
            *word = [native(low), native(high)];
        }
        Ok((words.as_ptr().cast(), Some(count)))
    }

    /// A string with its final zero, null for an absent one.
    ///
    /// # Errors
    /// It is absent although it must be there, or has a zero inside.
    pub(crate) fn text(&mut self, optional: bool) -> Result<*const c_char, ReadError> {
        match self.decoder.string()? {
            Some(bytes) => {
                let text = self.zeroed::<u8>(bytes.len().saturating_add(1))?;
                for (to, from) in text.iter_mut().zip(bytes) {
                    *to = *from;
                }
                Ok(text.as_ptr().cast())
            }
            None if optional => Ok(ptr::null()),
            None => Err(ReadError::Decode(DecodeError::Absent)),
        }
    }

    /// A list of strings, none of which is absent.
    ///
    /// # Errors
    /// One is, or has a zero inside.
    pub(crate) fn texts(&mut self) -> Result<(*const *const c_char, Option<usize>), ReadError> {
        let Some(count) = self.decoder.array(4)? else { return Ok((ptr::null(), None)) };
        let list = self
            .bump
            .try_alloc_slice_fill_copy(count, ptr::null::<c_char>())
            .map_err(|_| ReadError::Arena)?;
        for item in list.iter_mut() {
            *item = self.text(false)?;
        }
        Ok((list.as_ptr(), Some(count)))
    }

    /// One value behind a pointer.
    ///
    /// # Errors
    /// It is absent although it must be there, or is no value.
    pub(crate) fn pointer<T: Copy>(
        &mut self,
        optional: bool,
        each: impl FnOnce(&mut Self) -> Result<T, ReadError>,
    ) -> Result<*const T, ReadError> {
        if !self.presence()? {
            return if optional { Ok(ptr::null()) } else { Err(ReadError::Decode(DecodeError::Absent)) };
        }
        let value = each(self)?;
        Ok(self.bump.try_alloc(value).map_err(|_| ReadError::Arena)?)
    }

    /// Room for a list that the driver fills: the capacity comes from the request.
    ///
    /// # Errors
    /// The arena is full.
    pub(crate) fn out_array<T: Copy + Default>(&mut self) -> Result<(*mut T, usize), ReadError> {
        match self.u32()? {
            u32::MAX => Ok((ptr::null_mut(), 0)),
            count => {
                let list = self.zeroed::<T>(count as usize)?;
                Ok((list.as_mut_ptr(), list.len()))
            }
        }
    }

    /// Room for `count` bytes that the driver writes, aligned as any value may want, and then some: a driver that is
    /// asked for more values than fit overwrites nothing of ours.
    ///
    /// # Errors
    /// The arena is full.
    pub(crate) fn out_bytes(&self, count: usize) -> Result<*mut u8, ReadError> {
        let room = count.checked_add(SLACK_BYTES).ok_or(ReadError::Arena)?;
        Ok(self.zeroed::<[u64; 2]>(room.div_ceil(16))?.as_mut_ptr().cast())
    }

    /// Room for bytes that the driver writes: the capacity comes from the request.
    ///
    /// # Errors
    /// The arena is full.
    pub(crate) fn out_blob(&mut self) -> Result<(*mut u8, usize), ReadError> {
        match self.u32()? {
            u32::MAX => Ok((ptr::null_mut(), 0)),
            count => Ok((self.out_bytes(count as usize)?, count as usize)),
        }
    }

    /// Checks what the registry does not say of a count or a size.
    ///
    /// # Errors
    /// It does not hold.
    pub(crate) fn ensure(&self, holds: bool) -> Result<(), ReadError> {
        if holds { Ok(()) } else { Err(ReadError::Count) }
    }

    /// Whether every constant of a decoded structure lies inside its data.
    pub(crate) fn constants_fit(&self, s: &vk::SpecializationInfo<'_>) -> bool {
        // SAFETY: `s` was decoded, so the pointer is null or has as many entries as were agreed on.
        let entries = unsafe { items(s.p_map_entries, s.map_entry_count as usize) };
        entries.unwrap_or_default().iter().all(|entry| {
            (entry.offset as usize).checked_add(entry.size).is_some_and(|end| end <= s.data_size)
        })
    }

    /// Checks that a list has as many elements as its count says.
    ///
    /// # Errors
    /// It has not, or is absent while elements are counted and it must be there.
    pub(crate) fn agree(&self, have: Option<usize>, want: usize, optional: bool) -> Result<(), ReadError> {
        match have {
            Some(have) if have == want => Ok(()),
            None if optional || want == 0 => Ok(()),
            _ => Err(ReadError::Count),
        }
    }

    /// A structure of a chain, put into the arena.
    ///
    /// # Errors
    /// What `each` finds wrong.
    #[inline(never)]
    pub(crate) fn boxed<T: Copy>(
        &mut self,
        each: fn(&mut Reader<'_, '_>) -> Result<T, ReadError>,
    ) -> Result<*mut vk::BaseOutStructure<'static>, ReadError> {
        let value = each(self)?;
        Ok(ptr::from_mut(self.bump.try_alloc(value).map_err(|_| ReadError::Arena)?).cast())
    }

    /// An extension chain of structures that `allowed` (sorted) names, each once.
    ///
    /// # Errors
    /// A structure may not be in it, is no structure, or the chain is too deep.
    pub(crate) fn chain(
        &mut self,
        allowed: &[i32],
        body: Body,
    ) -> Result<*mut vk::BaseOutStructure<'static>, ReadError> {
        let Some(first) = self.decoder.chain()? else { return Ok(ptr::null_mut()) };
        if self.depth >= MAX_CHAIN_DEPTH {
            return Err(ReadError::Chain);
        }
        self.depth += 1;
        let mut seen = [0_u64; 8];
        let mut head = ptr::null_mut::<vk::BaseOutStructure<'static>>();
        let mut last = head;
        let mut next = Some(first);
        while let Some(s_type) = next {
            let s_type = s_type.cast_signed();
            let at = allowed.binary_search(&s_type).map_err(|_| ReadError::Chain)?;
            let word = seen.get_mut(at / 64).ok_or(ReadError::Chain)?;
            let bit = 1_u64 << (at % 64);
            if *word & bit != 0 {
                return Err(ReadError::Chain);
            }
            *word |= bit;
            let made = body(self, vk::StructureType::from_raw(s_type))?;
            match ptr::NonNull::new(last) {
                None => head = made,
                // SAFETY: `last` is a structure that `boxed` put into the arena, which outlives the reader; all of
                // them begin with the members of the base structure.
                Some(mut last) => unsafe { last.as_mut() }.p_next = made,
            }
            last = made;
            next = self.decoder.chain()?;
        }
        self.depth -= 1;
        Ok(head)
    }
}

fn native(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use ash::vk;
    use dxg_wire::codec::Encoder;
    use dxg_wire::generated::vulkan::ObjectKind;

    use super::Objects;
    use super::ReadError;
    use super::Reader;
    use super::arena;
    use crate::generated::vulkan::structs;

    const KNOWN: u64 = 1 | 1 << 32;

    /// What `read` makes of the words of a request; one buffer is known.
    fn read<T>(
        words: &[u32],
        read: impl FnOnce(&mut Reader<'_, '_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let mut request = Encoder::new();
        request.u32s(words);
        let mut objects = Objects::default();
        assert_eq!(objects.insert(ObjectKind::BUFFER, KNOWN, 7, 0), Ok(()));
        let arena = arena();
        read(&mut Reader::new(request.as_slice(), &arena, &objects))
    }

    #[test]
    fn count_beyond_the_request_is_refused() {
        let list = |r: &mut Reader<'_, '_>| r.array(Reader::u32).map(|(_, count)| count);
        assert_eq!(read(&[2, 5, 6], list), Ok(Some(2)));
        assert!(matches!(read(&[3, 5, 6], list), Err(ReadError::Decode(_))));
        assert!(matches!(read(&[u32::MAX - 1, 5, 6], list), Err(ReadError::Decode(_))));
        assert_eq!(read(&[u32::MAX], list), Ok(None));
    }

    #[test]
    fn images_to_be_presented_are_in_the_general_layout() {
        let raw = |layout: vk::ImageLayout| layout.as_raw().cast_unsigned();
        let present = raw(vk::ImageLayout::PRESENT_SRC_KHR);
        let words = [0, 44, 1, 0, 0, 0, 0, present, raw(vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)];
        let attachment = read(&words, structs::dec_attachment_description).unwrap();
        assert_eq!(attachment.initial_layout, vk::ImageLayout::GENERAL);
        assert_eq!(attachment.final_layout, vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL);
    }

    #[test]
    fn room_beyond_the_arena_is_refused() {
        let room =
            |r: &mut Reader<'_, '_>| r.out_array::<vk::QueueFamilyProperties>().map(|(_, count)| count);
        assert_eq!(read(&[100], room), Ok(100));
        assert_eq!(read(&[u32::MAX - 1], room), Err(ReadError::Arena));
        assert_eq!(read(&[], |r| r.out_bytes(usize::MAX).map(|_| ())), Err(ReadError::Arena));
    }

    #[test]
    fn list_that_its_count_does_not_fit_is_refused() {
        let agree = |have, want, optional| read(&[], |r| r.agree(have, want, optional));
        assert_eq!(agree(Some(2), 2, false), Ok(()));
        assert_eq!(agree(Some(2), 3, true), Err(ReadError::Count));
        assert_eq!(agree(None, 3, false), Err(ReadError::Count));
        assert_eq!(agree(None, 0, false), Ok(()));
        assert_eq!(agree(None, 3, true), Ok(()));
    }

    #[test]
    fn handle_of_another_type_is_refused_or_null_where_it_may_be_stale() {
        let words = [KNOWN as u32, (KNOWN >> 32) as u32];
        assert_eq!(read(&words, |r| r.handle(ObjectKind::BUFFER)), Ok(7));
        assert!(matches!(read(&words, |r| r.handle(ObjectKind::IMAGE)), Err(ReadError::Id(_))));
        assert_eq!(read(&words, |r| r.handle_lenient(ObjectKind::IMAGE)), Ok(0));
        assert!(matches!(read(&[0, 0], |r| r.handle(ObjectKind::BUFFER)), Err(ReadError::Id(_))));
        assert_eq!(read(&[0, 0], |r| r.handle_or_null(ObjectKind::BUFFER)), Ok(0));
    }

    #[test]
    fn two_new_objects_in_one_slot_are_refused() {
        let ids = |r: &mut Reader<'_, '_>| r.new_ids(ObjectKind::PIPELINE).map(<[u64]>::len);
        assert_eq!(read(&[2, 1, 1, 2, 1], ids), Ok(2));
        assert!(matches!(read(&[2, 1, 1, 1, 2], ids), Err(ReadError::Id(_))));
    }

    #[test]
    fn chain_holds_what_is_allowed_once() {
        const FEATURES: i32 = vk::StructureType::PHYSICAL_DEVICE_FEATURES_2.as_raw();
        let chain = |r: &mut Reader<'_, '_>| {
            let body = |r: &mut Reader<'_, '_>, _| r.boxed(|_| Ok(vk::BaseOutStructure::default()));
            r.chain(&[FEATURES], body).map(|first| !first.is_null())
        };
        let word = FEATURES.cast_unsigned();
        assert_eq!(read(&[u32::MAX], chain), Ok(false));
        assert_eq!(read(&[word, u32::MAX], chain), Ok(true));
        assert_eq!(read(&[word, word, u32::MAX], chain), Err(ReadError::Chain));
        assert_eq!(read(&[word + 1, u32::MAX], chain), Err(ReadError::Chain));
        assert!(matches!(read(&[word], chain), Err(ReadError::Decode(_))));
    }

    #[test]
    fn string_with_a_zero_inside_is_refused() {
        let text = |r: &mut Reader<'_, '_>| r.text(true).map(|text| text.is_null());
        assert_eq!(read(&[4, u32::from_le_bytes(*b"main")], text), Ok(false));
        assert!(matches!(read(&[4, u32::from_le_bytes(*b"ma\0n")], text), Err(ReadError::Decode(_))));
        assert_eq!(read(&[u32::MAX], text), Ok(true));
        assert!(matches!(read(&[u32::MAX], |r| r.text(false).map(|_| ())), Err(ReadError::Decode(_))));
    }
}
