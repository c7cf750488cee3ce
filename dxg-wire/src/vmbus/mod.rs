//! The VMBus ring: packets from one sender to one receiver through shared memory.
//!
//! *Why.* dxgvmbus messages travel in these rings whether the far end is a hypervisor or a daemon of ours, so that one message
//! layer serves both.
//!
//! *Invariants.* Each index has one writer; our own is kept in private memory and never read back. Each byte that the other side
//! wrote is read once and checked before use. A ring that breaks a rule is an error for good, never a panic.
//!
//! *Layout.* A control page of [`CONTROL_BYTES`] (write index at 0, read index at 4, interrupt mask at 8, pending send size
//! at 12, feature bits at 64), then the data area, whose size is a multiple of a page. Indices are offsets in the data
//! area, multiples of 8; packets may wrap at its end.
//!
//! *Source: header* (the layout), *observed* (rules of existing guests and hosts).

mod channel;
mod memory;
mod receiver;
mod sender;

pub use channel::Channel;
pub use channel::ChannelError;
pub use channel::ChannelReceiver;
pub use channel::ChannelSender;
pub use channel::Incoming;
pub use memory::ControlWord;
pub use memory::RingMemory;
pub use memory::SharedRing;
pub use receiver::Receiver;
pub use sender::SendError;
pub use sender::Sender;
pub use sender::Signal;

/// Bytes of the control page.
pub const CONTROL_BYTES: u32 = 4096;
/// Bytes of a dxg ring, control page included, where nobody asks for another size.
pub const DEFAULT_RING_BYTES: u32 = 256 * 1024;
/// Smallest ring, control page included.
pub const MIN_RING_BYTES: u32 = 2 * 4096;
/// Largest ring, control page included.
pub const MAX_RING_BYTES: u32 = 64 * 1024 * 1024;
/// Most payload bytes of a dxg packet, its 16-byte prefix included.
pub const MAX_PAYLOAD_BYTES: usize = 131_072;
/// Bytes of a packet descriptor.
pub const DESCRIPTOR_BYTES: u32 = 16;
/// Bytes of the trailer after each packet.
pub const TRAILER_BYTES: u32 = 8;

/// What a packet is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketType(pub u16);

impl PacketType {
    /// A message.
    pub const DATA_IN_BAND: Self = Self(6);
    /// The answer to a message that asked for one.
    pub const COMPLETION: Self = Self(11);
}

/// Flags of a packet.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PacketFlags(pub u16);

impl PacketFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// The sender waits for a completion.
    pub const COMPLETION_REQUESTED: Self = Self(1);
}

/// A received packet, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// What it is.
    pub packet_type: PacketType,
    /// Its flags.
    pub flags: PacketFlags,
    /// Chosen by who asks, repeated by who answers.
    pub transaction_id: u64,
    /// Bytes of payload, padding to a multiple of 8 included.
    pub payload_bytes: usize,
}

/// The other side broke a rule of the ring, or the ring cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The ring's size is not allowed.
    #[error("a ring of {bytes} bytes")]
    BadSize {
        /// The size.
        bytes: u64,
    },
    /// An index is outside the data area or not a multiple of 8.
    #[error("ring index {index:#x}")]
    BadIndex {
        /// The index.
        index: u32,
    },
    /// A packet descriptor contradicts itself or the bytes available.
    #[error("packet at {at:#x}: offset {offset8} and length {len8} (units of 8) in {available} bytes")]
    BadPacket {
        /// Where the packet starts in the data area.
        at: u32,
        /// Start of the payload, in units of 8 bytes.
        offset8: u16,
        /// Length of descriptor and payload, in units of 8 bytes.
        len8: u16,
        /// Bytes between read index and write index.
        available: u32,
    },
}

/// Bytes of the data area of a ring of `ring_bytes`, control page included.
///
/// # Errors
/// [`RingError::BadSize`] when it is not a whole number of pages within the limits.
pub const fn data_bytes(ring_bytes: u64) -> Result<u32, RingError> {
    if ring_bytes < MIN_RING_BYTES as u64
        || ring_bytes > MAX_RING_BYTES as u64
        || !ring_bytes.is_multiple_of(4096)
    {
        return Err(RingError::BadSize { bytes: ring_bytes });
    }
    Ok(ring_bytes as u32 - CONTROL_BYTES)
}

/// Bytes between two valid indices of a data area.
const fn distance(from: u32, to: u32, data_bytes: u32) -> u32 {
    if to >= from { to - from } else { data_bytes - from + to }
}

/// An index moved on by less than the data area.
const fn advance(index: u32, by: u32, data_bytes: u32) -> u32 {
    let left = data_bytes - index;
    if by >= left { by - left } else { index + by }
}

/// An index that the other side wrote.
const fn check_index(index: u32, data_bytes: u32) -> Result<u32, RingError> {
    if index < data_bytes && index.is_multiple_of(8) { Ok(index) } else { Err(RingError::BadIndex { index }) }
}
