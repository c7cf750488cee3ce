//! The sending end of a ring.

use super::ControlWord;
use super::DESCRIPTOR_BYTES;
use super::MAX_PAYLOAD_BYTES;
use super::PacketFlags;
use super::PacketType;
use super::RingError;
use super::RingMemory;
use super::TRAILER_BYTES;
use super::advance;
use super::check_index;
use super::distance;

/// Whether the other side must be signalled now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a receiver that sleeps waits for the signal"]
pub struct Signal(pub bool);

/// Why a packet was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No room now.
    #[error("the ring is full")]
    Full,
    /// No room ever.
    #[error("a payload of {payload_bytes} bytes; the ring takes {limit_bytes}")]
    TooLarge {
        /// Its bytes.
        payload_bytes: usize,
        /// The most that this ring takes.
        limit_bytes: usize,
    },
    /// The other side broke the ring.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// The sending end of a ring.
#[derive(Debug)]
pub struct Sender<M> {
    memory: M,
    write_index: u32,
    limit_bytes: usize,
}

impl<M: RingMemory> Sender<M> {
    /// Takes the sending end of a ring that may have carried packets before.
    ///
    /// # Errors
    /// When the data area or the write index is not valid.
    pub fn new(memory: M) -> Result<Self, RingError> {
        let data_bytes = memory.data_bytes();
        if data_bytes < 64 || !data_bytes.is_multiple_of(8) {
            return Err(RingError::BadSize { bytes: u64::from(data_bytes) });
        }
        let write_index = check_index(memory.load(ControlWord::WriteIndex), data_bytes)?;
        memory.store(ControlWord::FeatureBits, 1);
        // Free space must stay: a full ring would look empty.
        let room = data_bytes - DESCRIPTOR_BYTES - TRAILER_BYTES - 8;
        let limit_bytes = MAX_PAYLOAD_BYTES.min(room as usize);
        Ok(Self { memory, write_index, limit_bytes })
    }

    /// Most payload bytes of one packet.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Sends one packet whose payload is `parts` one after the other, padded with zeros to a multiple of 8.
    ///
    /// # Errors
    /// [`SendError::Full`] now, [`SendError::TooLarge`] ever, or the other side broke the ring.
    pub fn send(
        &mut self,
        packet_type: PacketType,
        flags: PacketFlags,
        transaction_id: u64,
        parts: &[&[u8]],
    ) -> Result<Signal, SendError> {
        let (payload_bytes, padded) = self.measure(parts)?;
        let packet_bytes = DESCRIPTOR_BYTES + padded;
        if self.free()? <= packet_bytes + TRAILER_BYTES {
            return Err(SendError::Full);
        }
        let start = self.write_index;
        let mut descriptor = [0; DESCRIPTOR_BYTES as usize];
        descriptor[0..2].copy_from_slice(&packet_type.0.to_le_bytes());
        descriptor[2..4].copy_from_slice(&((DESCRIPTOR_BYTES / 8) as u16).to_le_bytes());
        descriptor[4..6].copy_from_slice(&((packet_bytes / 8) as u16).to_le_bytes());
        descriptor[6..8].copy_from_slice(&flags.0.to_le_bytes());
        descriptor[8..16].copy_from_slice(&transaction_id.to_le_bytes());
        let mut at = self.put(start, &descriptor);
        for part in parts {
            at = self.put(at, part);
        }
        let padding = padded as usize - payload_bytes;
        let mut tail = [0; 16];
        // The trailer's high word says where the packet started.
        tail[padding + 4..padding + 8].copy_from_slice(&start.to_le_bytes());
        self.write_index = self.put(at, &tail[..padding + TRAILER_BYTES as usize]);
        self.memory.store(ControlWord::WriteIndex, self.write_index);
        // The new index is visible before the mask is read: a receiver clears its mask before its last look.
        self.memory.full_barrier();
        if self.memory.load(ControlWord::InterruptMask) != 0 {
            return Ok(Signal(false));
        }
        // Only the packet that ends emptiness is signalled; the receiver takes the later ones on its own.
        let read_index = check_index(self.memory.load(ControlWord::ReadIndex), self.memory.data_bytes())?;
        Ok(Signal(read_index == start))
    }

    /// Asks for a signal when a packet with these parts has room, and looks once more: `true` when it has room now.
    ///
    /// # Errors
    /// As [`send`](Self::send), never [`SendError::Full`].
    pub fn want_room(&mut self, parts: &[&[u8]]) -> Result<bool, SendError> {
        let (_, padded) = self.measure(parts)?;
        // Receivers signal at "at least" this many free bytes; a packet needs more than its own.
        let needed = DESCRIPTOR_BYTES + padded + TRAILER_BYTES + 8;
        self.memory.store(ControlWord::PendingSendSize, needed);
        self.memory.full_barrier();
        Ok(self.free()? >= needed)
    }

    /// Takes back [`want_room`](Self::want_room).
    pub fn forget_room(&mut self) {
        self.memory.store(ControlWord::PendingSendSize, 0);
    }

    /// Payload bytes as they are and as they are padded.
    fn measure(&self, parts: &[&[u8]]) -> Result<(usize, u32), SendError> {
        let payload_bytes = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        if payload_bytes > self.limit_bytes {
            return Err(SendError::TooLarge { payload_bytes, limit_bytes: self.limit_bytes });
        }
        Ok((payload_bytes, payload_bytes.next_multiple_of(8) as u32))
    }

    /// Free bytes of the data area.
    fn free(&self) -> Result<u32, RingError> {
        let data_bytes = self.memory.data_bytes();
        let read_index = check_index(self.memory.load(ControlWord::ReadIndex), data_bytes)?;
        Ok(data_bytes - distance(read_index, self.write_index, data_bytes))
    }

    /// Copies bytes to `at`, around the end if need be, and answers the index after them.
    fn put(&self, at: u32, bytes: &[u8]) -> u32 {
        let data_bytes = self.memory.data_bytes();
        let left = (data_bytes - at) as usize;
        if bytes.len() <= left {
            self.memory.copy_in(at, bytes);
        } else {
            let (head, rest) = bytes.split_at(left);
            self.memory.copy_in(at, head);
            self.memory.copy_in(0, rest);
        }
        advance(at, bytes.len() as u32, data_bytes)
    }
}
