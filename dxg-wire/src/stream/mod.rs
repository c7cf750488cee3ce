//! Command streams: entries from one producer in the guest to one consumer in the host.
//!
//! *Why.* API commands are many and small and mostly need no answer. Pushing one is a copy and a store; the doorbell is rung
//! only when the consumer sleeps.
//!
//! *Invariants.* Tail and head count bytes from the start of the stream and never wrap; each has one writer, who keeps his own
//! in private memory. Entries lie whole in the ring: a padding entry fills the end where the next one would wrap. The
//! head moves when an entry has been executed, so a head past an entry means that its effects are done.
//! The consumer copies each entry out once and looks only at the copy.
//!
//! *Layout.* See [`layout`]; entries in [`EntryHeader`]; replies in [`ReplySlot`].

mod consumer;
mod entry;
pub mod layout;
mod memory;
mod producer;
mod protocol;
mod reply;

pub use consumer::Consumer;
pub use consumer::DEFAULT_SPIN;
pub use consumer::Idle;
pub use consumer::Next;
pub use entry::ENTRY_HEADER_BYTES;
pub use entry::Entries;
pub use entry::Entry;
pub use entry::EntryFlags;
pub use entry::EntryHeader;
pub use entry::Indirect;
pub use entry::OP_INDIRECT;
pub use entry::OP_PAD;
pub use entry::REPLY_REQUEST_BYTES;
pub use entry::ReplyRequest;
pub use layout::Layout;
pub use memory::SharedStream;
pub use memory::StreamMemory;
pub use memory::Word32;
pub use memory::Word64;
pub use producer::Position;
pub use producer::Producer;
pub use protocol::ConsumerCore;
pub use protocol::ProducerCore;
pub use protocol::Pushed;
pub use protocol::wish_for_head;
pub use reply::Reply;
pub use reply::ReplyError;
pub use reply::ReplySlot;
pub use reply::SLOT_HEADER_BYTES;

use crate::shm::OutOfBounds;

/// Why a stream operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The memory is not that of a stream.
    #[error("a stream of {bytes} bytes")]
    BadSize {
        /// Its bytes, header included.
        bytes: u64,
    },
    /// What is to be pushed is not one whole entry.
    #[error("malformed entry of {len_bytes} bytes")]
    Malformed {
        /// Its bytes.
        len_bytes: usize,
    },
    /// The entry can never fit.
    #[error("an entry of {len_bytes} bytes; the stream takes {limit_bytes}")]
    TooLarge {
        /// Its bytes.
        len_bytes: usize,
        /// The most that this stream takes.
        limit_bytes: usize,
    },
    /// The other side wrote an index that no honest peer writes.
    #[error("stream index {theirs:#x} against {ours:#x}")]
    BadIndex {
        /// What it wrote.
        theirs: u64,
        /// Our own index.
        ours: u64,
    },
    /// The other side wrote an entry that no honest peer writes.
    #[error("entry at {at:#x}: opcode {opcode}, {size_bytes} bytes, {available_bytes} there")]
    BadEntry {
        /// Where it starts.
        at: u64,
        /// Its opcode.
        opcode: u16,
        /// The size it claims.
        size_bytes: u32,
        /// Bytes published from there on.
        available_bytes: u64,
    },
    /// The caller's closure said so.
    #[error("cancelled")]
    Cancelled,
    /// Part of the memory is out of reach.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// The system refused.
    #[error("stream: {0}")]
    Os(#[from] std::io::Error),
}
