//! Reply slots: pieces of leased memory, each used by one call at a time.

use ash::vk;
use dxg_wire::session::IoAddress;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::ReplySlot;
use dxg_wire::stream::SLOT_HEADER_BYTES;

use crate::heap::Heap;
use crate::heap::Piece;
use crate::link::Block;
use crate::link::Link;
use crate::ranges::GRANULE_BYTES;

/// Bytes of the payload that an ordinary slot holds.
pub const ORDINARY_PAYLOAD_BYTES: usize = GRANULE_BYTES as usize - SLOT_HEADER_BYTES;

/// A slot and the memory it lies in.
#[derive(Debug)]
pub struct Slot {
    /// Where the host writes and the guest waits.
    pub words: ReplySlot,
    piece: Piece<Block>,
    sequence: u32,
}

impl Slot {
    /// A slot for replies of up to `payload_bytes`.
    ///
    /// # Errors
    /// When no memory can be leased.
    pub fn new(
        heap: &Heap<Block>,
        lease: &dyn Link,
        payload_bytes: usize,
        executed: u64,
    ) -> Result<Self, vk::Result> {
        let slot_bytes = payload_bytes.saturating_add(SLOT_HEADER_BYTES).next_multiple_of(SLOT_HEADER_BYTES);
        let piece = heap.take(lease, slot_bytes as u64, GRANULE_BYTES, executed)?;
        let place = usize::try_from(piece.offset_bytes)
            .ok()
            .and_then(|offset| piece.block.memory().sub(offset, slot_bytes).ok())
            .and_then(|memory| ReplySlot::new(memory).ok());
        // A block that is shorter than the host granted is a host that cannot be trusted any further.
        let words = place.ok_or(vk::Result::ERROR_DEVICE_LOST)?;
        Ok(Self { words, piece, sequence: 0 })
    }

    /// Makes the slot ready for its next reply and says how to ask for it.
    pub fn request(&mut self) -> ReplyRequest {
        self.sequence = self.sequence.wrapping_add(1);
        self.words.begin(self.sequence);
        ReplyRequest {
            address: IoAddress(self.piece.block.io_base().0 + self.piece.offset_bytes),
            capacity_bytes: u32::try_from(self.words.capacity_bytes()).unwrap_or(u32::MAX),
            sequence: self.sequence,
        }
    }

    /// The number of the reply that was asked for last.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// The memory, to be given back.
    #[must_use]
    pub fn into_piece(self) -> Piece<Block> {
        self.piece
    }
}
