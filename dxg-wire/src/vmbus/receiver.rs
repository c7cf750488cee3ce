//! The receiving end of a ring.

use super::ControlWord;
use super::DESCRIPTOR_BYTES;
use super::PacketFlags;
use super::PacketHeader;
use super::PacketType;
use super::RingError;
use super::RingMemory;
use super::TRAILER_BYTES;
use super::advance;
use super::check_index;
use super::distance;

/// The receiving end of a ring.
#[derive(Debug)]
pub struct Receiver<M> {
    memory: M,
    read_index: u32,
    signal_due: bool,
}

impl<M: RingMemory> Receiver<M> {
    /// Takes the receiving end of a ring that may have carried packets before.
    ///
    /// # Errors
    /// When the data area or the read index is not valid.
    pub fn new(memory: M) -> Result<Self, RingError> {
        let data_bytes = memory.data_bytes();
        if data_bytes < 64 || !data_bytes.is_multiple_of(8) {
            return Err(RingError::BadSize { bytes: u64::from(data_bytes) });
        }
        let read_index = check_index(memory.load(ControlWord::ReadIndex), data_bytes)?;
        Ok(Self { memory, read_index, signal_due: false })
    }

    /// Takes the next packet, if there is one: its payload replaces what is in `payload`.
    ///
    /// Afterwards [`take_signal`](Self::take_signal) says whether the sender waits for the space.
    ///
    /// # Errors
    /// When the other side broke the ring. The ring is of no use then.
    pub fn receive(&mut self, payload: &mut Vec<u8>) -> Result<Option<PacketHeader>, RingError> {
        let data_bytes = self.memory.data_bytes();
        let at = self.read_index;
        let write_index = check_index(self.memory.load(ControlWord::WriteIndex), data_bytes)?;
        if write_index == at {
            return Ok(None);
        }
        let available = distance(at, write_index, data_bytes);
        let mut descriptor = [0; DESCRIPTOR_BYTES as usize];
        if available < DESCRIPTOR_BYTES + TRAILER_BYTES {
            return Err(RingError::BadPacket { at, offset8: 0, len8: 0, available });
        }
        self.get(at, &mut descriptor);
        let [t0, t1, o0, o1, l0, l1, f0, f1, id @ ..] = descriptor;
        let offset8 = u16::from_le_bytes([o0, o1]);
        let len8 = u16::from_le_bytes([l0, l1]);
        let packet_bytes = u32::from(len8) * 8;
        let offset_bytes = u32::from(offset8) * 8;
        if offset_bytes < DESCRIPTOR_BYTES
            || packet_bytes < offset_bytes
            || packet_bytes > available - TRAILER_BYTES
        {
            return Err(RingError::BadPacket { at, offset8, len8, available });
        }
        let payload_bytes = (packet_bytes - offset_bytes) as usize;
        // Not cleared first: only growth is filled, and all of it is overwritten.
        payload.resize(payload_bytes, 0);
        self.get(advance(at, offset_bytes, data_bytes), payload);

        self.read_index = advance(at, packet_bytes + TRAILER_BYTES, data_bytes);
        // Release: the copies are done before the space is given back.
        self.memory.store(ControlWord::ReadIndex, self.read_index);
        // The space is visible before the wish is read: a sender wishes before its last look.
        self.memory.full_barrier();
        let wanted = self.memory.load(ControlWord::PendingSendSize) & !7;
        if wanted != 0 {
            let free_before = data_bytes - available;
            let free_now = free_before + packet_bytes + TRAILER_BYTES;
            self.signal_due |= free_before < wanted && free_now >= wanted;
        }
        Ok(Some(PacketHeader {
            packet_type: PacketType(u16::from_le_bytes([t0, t1])),
            flags: PacketFlags(u16::from_le_bytes([f0, f1])),
            transaction_id: u64::from_le_bytes(id),
            payload_bytes,
        }))
    }

    /// Whether the packets taken since the last call made room that the sender waits for. It must then be signalled.
    #[must_use]
    pub fn take_signal(&mut self) -> bool {
        std::mem::take(&mut self.signal_due)
    }

    /// Tells the sender that we are awake and want no signals.
    pub fn mask(&mut self) {
        self.memory.store(ControlWord::InterruptMask, 1);
    }

    /// Tells the sender that we are about to sleep, and looks once more: `true` when the ring is empty and sleeping is safe.
    ///
    /// # Errors
    /// When the other side broke the ring.
    pub fn unmask(&mut self) -> Result<bool, RingError> {
        self.memory.store(ControlWord::InterruptMask, 0);
        self.memory.full_barrier();
        self.is_empty()
    }

    /// Whether there is no packet now.
    ///
    /// # Errors
    /// When the other side broke the ring.
    pub fn is_empty(&self) -> Result<bool, RingError> {
        let write_index = self.memory.load(ControlWord::WriteIndex);
        Ok(check_index(write_index, self.memory.data_bytes())? == self.read_index)
    }

    /// Copies from `at`, around the end if need be.
    fn get(&self, at: u32, into: &mut [u8]) {
        let left = (self.memory.data_bytes() - at) as usize;
        if into.len() <= left {
            self.memory.copy_out(at, into);
        } else {
            let (head, rest) = into.split_at_mut(left);
            self.memory.copy_out(at, head);
            self.memory.copy_out(0, rest);
        }
    }
}
