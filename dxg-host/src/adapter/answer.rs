//! What entries of a stream name in the client's memory: where their answer goes, and entries that lie elsewhere.

use dxg_wire::stream::Entry;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::ReplySlot;
use dxg_wire::stream::SLOT_HEADER_BYTES;

use super::Windows;
use crate::failure::Violation;

/// Most bytes that one indirect entry runs.
const MAX_INDIRECT_BYTES: u64 = 256 << 20;
/// Status of a reply that does not fit its slot: the payload is the number of bytes it takes, u64.
const REPLY_TOO_LARGE: i32 = -1;

/// Where an answer goes.
#[derive(Debug)]
pub(crate) struct Answer {
    slot: ReplySlot,
    sequence: u32,
}

impl Answer {
    /// The place that a request names.
    ///
    /// # Errors
    /// It names none.
    pub(crate) fn new(windows: &Windows, request: ReplyRequest) -> Result<Self, Violation> {
        const OP: &str = "reply";
        let slot_bytes = (SLOT_HEADER_BYTES as u64)
            .checked_add(u64::from(request.capacity_bytes))
            .ok_or(Violation::new(OP, "slot"))?;
        let memory = windows
            .resolve(request.address, slot_bytes)
            .ok_or(Violation::new(OP, "no window at the slot"))?;
        let slot = ReplySlot::new(memory).map_err(|_| Violation::new(OP, "misplaced slot"))?;
        Ok(Self { slot, sequence: request.sequence })
    }

    /// Answers, or says how long the answer would be. Whether the slot takes even that.
    #[must_use]
    pub(crate) fn give(&self, payload: &[u8]) -> bool {
        if self.slot.finish(self.sequence, 0, payload).is_ok() {
            return true;
        }
        let needed = payload.len() as u64;
        self.slot.finish(self.sequence, REPLY_TOO_LARGE, &needed.to_le_bytes()).is_ok()
    }
}

/// Copies the entries that an indirect entry names.
///
/// # Errors
/// It names none.
pub(crate) fn copy_indirect(
    windows: &Windows,
    entry: &Entry<'_>,
    into: &mut Vec<u8>,
) -> Result<(), Violation> {
    const OP: &str = "INDIRECT";
    let block = entry.indirect().ok_or(Violation::new(OP, "malformed entry"))?;
    if block.size_bytes > MAX_INDIRECT_BYTES {
        return Err(Violation::new(OP, "too long"));
    }
    let memory = windows
        .resolve(block.address, block.size_bytes)
        .ok_or(Violation::new(OP, "no window at the address"))?;
    into.resize(memory.len(), 0);
    memory.copy_out(0, into).map_err(|_| Violation::new(OP, "no window at the address"))
}
