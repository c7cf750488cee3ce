//! Where things lie in the memory of a stream: one header page, then the ring.
//!
//! Words that different sides write are on different cache lines.

use super::StreamError;

/// Bytes of the header page.
pub const HEADER_BYTES: usize = 4096;
/// Bytes published, u64, counted from the start of the stream; written by the producer.
pub const TAIL: usize = 0;
/// Bytes executed, u64, counted from the start of the stream; written by the consumer.
pub const HEAD: usize = 64;
/// u32: 1 while the consumer sleeps or is about to; set by the consumer, taken back by who rings the doorbell.
pub const CONSUMER_SLEEPING: usize = 128;
/// u32: 0, or the first error of the host, for good; written by the host.
pub const STATUS: usize = 192;
/// i32: what goes with the status; written by the host before it.
pub const STATUS_DETAIL: usize = 196;
/// u32: futex word that the consumer bumps when the head reached what was wanted.
pub const PROGRESS: usize = 256;
/// u64: the least head that somebody waits for; lowered by the producer's side, set to all ones by the consumer when the
/// head is there.
pub const WANTED: usize = 264;
/// Smallest ring.
pub const MIN_RING_BYTES: u32 = 4096;
/// Largest ring.
pub const MAX_RING_BYTES: u32 = 1 << 30;

/// The sizes of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    ring_bytes: u32,
}

impl Layout {
    /// A stream with a ring of `ring_bytes`, a power of two.
    ///
    /// # Errors
    /// [`StreamError::BadSize`] for anything else, or outside the limits.
    pub const fn new(ring_bytes: u32) -> Result<Self, StreamError> {
        if !ring_bytes.is_power_of_two() || ring_bytes < MIN_RING_BYTES || ring_bytes > MAX_RING_BYTES {
            return Err(StreamError::BadSize { bytes: ring_bytes as u64 + HEADER_BYTES as u64 });
        }
        Ok(Self { ring_bytes })
    }

    /// The stream that fills memory of `total_bytes`.
    ///
    /// # Errors
    /// [`StreamError::BadSize`] when that is no stream.
    pub fn of_memory(total_bytes: usize) -> Result<Self, StreamError> {
        let bad = StreamError::BadSize { bytes: total_bytes as u64 };
        match total_bytes.checked_sub(HEADER_BYTES).map(u32::try_from) {
            Some(Ok(ring_bytes)) => Self::new(ring_bytes),
            _ => Err(bad),
        }
    }

    /// Bytes of the ring.
    #[must_use]
    pub const fn ring_bytes(self) -> u32 {
        self.ring_bytes
    }

    /// Bytes of header and ring.
    #[must_use]
    pub const fn total_bytes(self) -> u64 {
        HEADER_BYTES as u64 + self.ring_bytes as u64
    }

    /// Most bytes of one entry.
    #[must_use]
    pub const fn max_entry_bytes(self) -> usize {
        self.ring_bytes as usize / 2
    }
}
