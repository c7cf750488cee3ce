//! The encoding of what command streams carry.
//!
//! *Why.* Requests and replies are written and read in one pass each, without lookups. All is little-endian in units
//! of four bytes, so nothing needs alignment beyond that.
//!
//! *Rules.* Numbers of up to 32 bits take 4 bytes, numbers of 64 bits, addresses and handles take 8. Arrays of bytes and of
//! 16-bit numbers are packed and padded with zeros to 4. An optional value is a presence word (0 or 1) and then the value.
//! An array that may be absent has a count word first, [`NULL`] for absent; a string is a byte count (or [`NULL`]) and the
//! bytes without the final zero. An extension chain is a sequence of {`sType`, body}, ended by [`NULL`].
//!
//! *Invariants.* [`Decoder`] works on private memory and never panics, whatever the bytes; a count it answers fits what is
//! left, so memory allocated for it is bounded by the length of the request.

use zerocopy::IntoBytes;

use crate::stream::ENTRY_HEADER_BYTES;
use crate::stream::EntryFlags;
use crate::stream::REPLY_REQUEST_BYTES;
use crate::stream::ReplyRequest;

/// Count of an absent array or string, and the end of an extension chain.
pub const NULL: u32 = u32::MAX;

/// Most words of the body of an [`Encoder::entry`].
pub const MAX_FIXED_WORDS: usize = 62;

/// Writes requests (in the guest) and replies (in the host).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoder {
    bytes: Vec<u8>,
}

/// The start of an entry whose size is not known yet.
#[derive(Debug)]
#[must_use = "an entry is complete after `Encoder::end`"]
pub struct Mark(usize);

impl Encoder {
    /// An empty encoder.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// An empty encoder with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// Forgets the contents, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was put.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Makes room for `additional` bytes.
    pub fn reserve(&mut self, additional: usize) {
        self.bytes.reserve(additional);
    }

    /// Cuts back to an earlier [`len`](Self::len).
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// The bytes so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }

    /// Puts a 32-bit number, an enum, flags or a Bool32.
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Puts a signed 32-bit number or a signed enum.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.u32(value.cast_unsigned());
    }

    /// Puts a 64-bit number, a size, an address or a handle.
    #[inline]
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Puts a signed 64-bit number.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.u64(value.cast_unsigned());
    }

    /// Puts a 32-bit float.
    #[inline]
    pub fn f32(&mut self, value: f32) {
        self.u32(value.to_bits());
    }

    /// Puts a 64-bit float.
    #[inline]
    pub fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// Puts a size of this machine as 64 bits.
    #[inline]
    pub fn usize(&mut self, value: usize) {
        self.u64(value as u64);
    }

    /// Puts `N` words at once: the fields of a fixed-size command, 64-bit fields as low word, high word.
    #[inline]
    pub fn put_u32s<const N: usize>(&mut self, words: [u32; N]) {
        self.bytes.extend_from_slice(words.map(u32::to_le).as_bytes());
    }

    /// Puts 32-bit numbers without a count.
    #[inline]
    pub fn u32s(&mut self, values: &[u32]) {
        if cfg!(target_endian = "little") {
            self.bytes.extend_from_slice(values.as_bytes());
        } else {
            values.iter().for_each(|value| self.u32(*value));
        }
    }

    /// Puts 64-bit numbers without a count.
    #[inline]
    pub fn u64s(&mut self, values: &[u64]) {
        if cfg!(target_endian = "little") {
            self.bytes.extend_from_slice(values.as_bytes());
        } else {
            values.iter().for_each(|value| self.u64(*value));
        }
    }

    /// Puts 16-bit numbers without a count, packed and padded.
    #[inline]
    pub fn u16s(&mut self, values: &[u16]) {
        for value in values {
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
        self.pad_to(4);
    }

    /// Puts bytes without a count, padded.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad_to(4);
    }

    /// Puts the count of an array that is there. Lengths beyond 32 bits cannot be encoded and become [`NULL`].
    #[inline]
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(NULL));
    }

    /// Puts the count of an absent array or string.
    #[inline]
    pub fn null(&mut self) {
        self.u32(NULL);
    }

    /// Puts a string without its final zero, or its absence.
    #[inline]
    pub fn string(&mut self, string: Option<&[u8]>) {
        match string {
            Some(string) => {
                self.count(string.len());
                self.bytes(string);
            }
            None => self.null(),
        }
    }

    /// Puts the presence word of an optional value; the value follows if it is there.
    #[inline]
    pub fn presence<T>(&mut self, value: Option<T>) -> Option<T> {
        self.u32(u32::from(value.is_some()));
        value
    }

    /// Ends an extension chain.
    #[inline]
    pub fn end_chain(&mut self) {
        self.u32(NULL);
    }

    /// Replaces the word at `at`, an earlier [`len`](Self::len). Past the end it does nothing.
    #[inline]
    pub fn patch_u32(&mut self, at: usize, value: u32) {
        if let Some(word) = self.bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
            *word = value.to_le_bytes();
        }
    }

    /// Replaces the two words at `at`, as [`patch_u32`](Self::patch_u32) does one.
    #[inline]
    pub fn patch_u64(&mut self, at: usize, value: u64) {
        if let Some(words) = self.bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
            *words = value.to_le_bytes();
        }
    }

    /// Begins a stream entry; [`end`](Self::end) completes it.
    #[inline]
    pub fn begin(&mut self, opcode: u16, flags: EntryFlags) -> Mark {
        let mark = Mark(self.bytes.len());
        self.put_u32s([u32::from(opcode) | u32::from(flags.0) << 16, 0]);
        mark
    }

    /// Begins a stream entry that asks for a reply.
    #[inline]
    pub fn begin_with_reply(&mut self, opcode: u16, reply: ReplyRequest) -> Mark {
        let mark = self.begin(opcode, EntryFlags::REPLY);
        self.u64(reply.address.0);
        self.put_u32s([reply.capacity_bytes, reply.sequence]);
        mark
    }

    /// Completes an entry: pads it to 8 bytes from its start and fills in its size.
    #[inline]
    pub fn end(&mut self, mark: Mark) {
        while !(self.bytes.len() - mark.0).is_multiple_of(8) {
            self.bytes.push(0);
        }
        // An entry of 4 GiB is refused by every ring; the size then says so.
        let size = u32::try_from(self.bytes.len() - mark.0).unwrap_or(u32::MAX);
        self.patch_u32(mark.0 + 4, size);
    }

    /// An entry of a fixed number of words, size and padding included, in one step. `words` is the body.
    #[inline]
    pub fn entry<const N: usize>(&mut self, opcode: u16, words: [u32; N]) {
        const { assert!(N <= MAX_FIXED_WORDS, "larger entries have no fixed size") };
        let size = ENTRY_HEADER_BYTES + N.next_multiple_of(2) * 4;
        // Put together first, so that the vector grows and is copied to once.
        let mut entry = [0_u32; MAX_FIXED_WORDS + 2];
        entry[0] = u32::from(opcode).to_le();
        entry[1] = (size as u32).to_le();
        entry[2..2 + N].copy_from_slice(&words.map(u32::to_le));
        self.bytes.extend_from_slice(&entry.as_bytes()[..size]);
    }

    #[inline]
    fn pad_to(&mut self, multiple: usize) {
        let len = self.bytes.len().next_multiple_of(multiple);
        self.bytes.resize(len, 0);
    }
}

/// Bytes of an entry's header with a reply request, where its body begins.
pub const REPLY_BODY_OFFSET: usize = ENTRY_HEADER_BYTES + REPLY_REQUEST_BYTES;

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes are left than the value takes.
    #[error("{wanted_bytes} bytes wanted, {have_bytes} left")]
    Short {
        /// Bytes the value takes.
        wanted_bytes: usize,
        /// Bytes left.
        have_bytes: usize,
    },
    /// Bytes are left at the end.
    #[error("{left_bytes} bytes too many")]
    Trailing {
        /// How many.
        left_bytes: usize,
    },
    /// An array or string is absent where it must be there.
    #[error("an array is absent")]
    Absent,
    /// A presence word is neither 0 nor 1, padding is not zero, or a string has a zero inside.
    #[error("malformed value")]
    Malformed,
}

/// Reads requests (in the host) and replies (in the guest) from private memory.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Decodes from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn short(&self, wanted_bytes: usize) -> DecodeError {
        DecodeError::Short { wanted_bytes, have_bytes: self.rest.len() }
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.rest = rest;
                Ok(*chunk)
            }
            None => Err(self.short(N)),
        }
    }

    #[inline]
    fn split(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(self.short(len)),
        }
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_le_bytes)
    }

    /// A signed 32-bit number.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.take().map(i32::from_le_bytes)
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_le_bytes)
    }

    /// A signed 64-bit number.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.take().map(i64::from_le_bytes)
    }

    /// A 32-bit float, any bits.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    #[inline]
    pub fn f32(&mut self) -> Result<f32, DecodeError> {
        self.take().map(f32::from_le_bytes)
    }

    /// A 64-bit float, any bits.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.take().map(f64::from_le_bytes)
    }

    /// A size that this machine can hold.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Malformed`] when it does not fit a `usize`.
    #[inline]
    pub fn usize(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.u64()?).map_err(|_| DecodeError::Malformed)
    }

    /// `N` words at once.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    #[inline]
    pub fn take_u32s<const N: usize>(&mut self) -> Result<[u32; N], DecodeError> {
        let mut words = [0; N];
        let bytes = self.split(N * 4)?;
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*chunk);
        }
        Ok(words)
    }

    /// `count` 32-bit numbers.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    pub fn u32s(&mut self, count: usize) -> Result<impl ExactSizeIterator<Item = u32> + 'a, DecodeError> {
        let bytes = self.split(count.checked_mul(4).ok_or(DecodeError::Malformed)?)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)))
    }

    /// `count` 64-bit numbers.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    pub fn u64s(&mut self, count: usize) -> Result<impl ExactSizeIterator<Item = u64> + 'a, DecodeError> {
        let bytes = self.split(count.checked_mul(8).ok_or(DecodeError::Malformed)?)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)))
    }

    /// `count` 16-bit numbers, packed and padded.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Malformed`] for padding that is not zero.
    pub fn u16s(&mut self, count: usize) -> Result<impl ExactSizeIterator<Item = u16> + 'a, DecodeError> {
        let bytes = self.bytes(count.checked_mul(2).ok_or(DecodeError::Malformed)?)?;
        Ok(bytes.as_chunks::<2>().0.iter().map(|chunk| u16::from_le_bytes(*chunk)))
    }

    /// `len` bytes, and over their padding.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Malformed`] for padding that is not zero.
    #[inline]
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let bytes = self.split(len)?;
        let padding = self.split(len.wrapping_neg() % 4)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Malformed);
        }
        Ok(bytes)
    }

    /// The count of an array that must be there, of elements that take at least `min_element_bytes` each.
    ///
    /// # Errors
    /// [`DecodeError::Short`] also when so many elements cannot be left, [`DecodeError::Absent`].
    #[inline]
    pub fn count(&mut self, min_element_bytes: usize) -> Result<usize, DecodeError> {
        self.array(min_element_bytes)?.ok_or(DecodeError::Absent)
    }

    /// The count of an array that may be absent, of elements that take at least `min_element_bytes` each.
    ///
    /// # Errors
    /// [`DecodeError::Short`] also when so many elements cannot be left.
    #[inline]
    pub fn array(&mut self, min_element_bytes: usize) -> Result<Option<usize>, DecodeError> {
        let count = self.u32()?;
        if count == NULL {
            return Ok(None);
        }
        let count = count as usize;
        // An element of no bytes counts as one, so that a count never names more than the request has bytes.
        match count.checked_mul(min_element_bytes.max(1)) {
            Some(bytes) if bytes <= self.rest.len() => Ok(Some(count)),
            bytes => Err(self.short(bytes.unwrap_or(usize::MAX))),
        }
    }

    /// A string without its final zero; `None` when absent.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Malformed`] for a zero inside.
    pub fn string(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let Some(len) = self.array(1)? else { return Ok(None) };
        let bytes = self.bytes(len)?;
        if bytes.contains(&0) { Err(DecodeError::Malformed) } else { Ok(Some(bytes)) }
    }

    /// A presence word: whether the value follows.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Malformed`] for anything but 0 and 1.
    #[inline]
    pub fn presence(&mut self) -> Result<bool, DecodeError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Malformed),
        }
    }

    /// The `sType` of the next structure in an extension chain; `None` at its end.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    #[inline]
    pub fn chain(&mut self) -> Result<Option<u32>, DecodeError> {
        let structure = self.u32()?;
        Ok((structure != NULL).then_some(structure))
    }

    /// Checks that nothing but the padding of an entry (four zero bytes) is left.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    #[inline]
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest {
            [] | [0, 0, 0, 0] => Ok(()),
            rest => Err(DecodeError::Trailing { left_bytes: rest.len() }),
        }
    }
}
