//! Entries: what lies in a ring, in an indirect block and in a recording.

use super::StreamError;
use crate::session::IoAddress;

/// Bytes of an entry's header: opcode u16, flags u16, size u32 (whole entry, a multiple of 8), little-endian.
pub const ENTRY_HEADER_BYTES: usize = 8;
/// Bytes of a reply request, which follows the header of an entry with [`EntryFlags::REPLY`].
pub const REPLY_REQUEST_BYTES: usize = 16;
/// Fills the end of a ring; skipped.
pub const OP_PAD: u16 = 0;
/// Runs the entries that lie elsewhere; see [`Indirect`].
pub const OP_INDIRECT: u16 = 1;

/// Flags of an entry.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct EntryFlags(pub u16);

impl EntryFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// A [`ReplyRequest`] follows the header.
    pub const REPLY: Self = Self(1);

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The first 8 bytes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// What to do.
    pub opcode: u16,
    /// How.
    pub flags: EntryFlags,
    /// Bytes of the entry, header included: a multiple of 8.
    pub size_bytes: u32,
}

impl EntryHeader {
    /// Takes the header apart. What it says is not checked yet.
    #[must_use]
    #[inline]
    pub const fn from_bytes(bytes: [u8; ENTRY_HEADER_BYTES]) -> Self {
        let [o0, o1, f0, f1, s0, s1, s2, s3] = bytes;
        Self {
            opcode: u16::from_le_bytes([o0, o1]),
            flags: EntryFlags(u16::from_le_bytes([f0, f1])),
            size_bytes: u32::from_le_bytes([s0, s1, s2, s3]),
        }
    }

    /// The bytes of the header.
    #[must_use]
    #[inline]
    pub const fn to_bytes(self) -> [u8; ENTRY_HEADER_BYTES] {
        let [o0, o1] = self.opcode.to_le_bytes();
        let [f0, f1] = self.flags.0.to_le_bytes();
        let [s0, s1, s2, s3] = self.size_bytes.to_le_bytes();
        [o0, o1, f0, f1, s0, s1, s2, s3]
    }

    /// The header at the start of `bytes`, when its size is possible and within `bytes`.
    #[must_use]
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = Self::from_bytes(*bytes.first_chunk()?);
        let size = header.size_bytes as usize;
        (size >= ENTRY_HEADER_BYTES && size.is_multiple_of(8) && size <= bytes.len()).then_some(header)
    }
}

/// Where the reply to an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyRequest {
    /// The reply slot.
    pub address: IoAddress,
    /// Most payload bytes that the slot takes, its header not counted.
    pub capacity_bytes: u32,
    /// What the host stores when it is done.
    pub sequence: u32,
}

/// The body of an [`OP_INDIRECT`] entry: entries in memory that the guest leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indirect {
    /// Where they lie.
    pub address: IoAddress,
    /// How many bytes.
    pub size_bytes: u64,
}

/// An entry in private memory, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its header.
    pub header: EntryHeader,
    /// Where its reply goes, if it wants one.
    pub reply: Option<ReplyRequest>,
    /// What follows, padding to a multiple of 8 included.
    pub body: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Takes apart the entry at the start of `bytes`.
    ///
    /// # Errors
    /// [`StreamError::Malformed`] when there is none.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StreamError> {
        Self::split(bytes).ok_or(StreamError::Malformed { len_bytes: bytes.len() })
    }

    #[inline]
    fn split(bytes: &'a [u8]) -> Option<Self> {
        let header = EntryHeader::parse(bytes)?;
        let rest = bytes.get(ENTRY_HEADER_BYTES..header.size_bytes as usize)?;
        if !header.flags.contains(EntryFlags::REPLY) {
            return Some(Self { header, reply: None, body: rest });
        }
        let (request, body) = rest.split_first_chunk::<REPLY_REQUEST_BYTES>()?;
        let [a0, a1, a2, a3, a4, a5, a6, a7, c0, c1, c2, c3, s0, s1, s2, s3] = *request;
        let reply = ReplyRequest {
            address: IoAddress(u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7])),
            capacity_bytes: u32::from_le_bytes([c0, c1, c2, c3]),
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
        };
        Some(Self { header, reply: Some(reply), body })
    }

    /// The body of an [`OP_INDIRECT`] entry; `None` for any other.
    #[must_use]
    pub fn indirect(&self) -> Option<Indirect> {
        if self.header.opcode != OP_INDIRECT {
            return None;
        }
        let (address, rest) = self.body.split_first_chunk::<8>()?;
        let size = rest.first_chunk::<8>()?;
        Some(Indirect {
            address: IoAddress(u64::from_le_bytes(*address)),
            size_bytes: u64::from_le_bytes(*size),
        })
    }
}

/// The entries of an indirect block or a recording, in private memory. Padding is skipped; nested indirection is refused.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// The entries that fill `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, StreamError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let entry = match Entry::parse(self.rest) {
                Ok(entry) if entry.header.opcode != OP_INDIRECT => entry,
                refused => {
                    let len_bytes = self.rest.len();
                    self.rest = &[];
                    return Some(refused.and(Err(StreamError::Malformed { len_bytes })));
                }
            };
            self.rest = self.rest.get(entry.header.size_bytes as usize..).unwrap_or_default();
            if entry.header.opcode != OP_PAD {
                return Some(Ok(entry));
            }
        }
        None
    }
}
