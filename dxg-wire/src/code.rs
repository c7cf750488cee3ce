//! How compiled code is kept: messages of broker and workers to the process that alone reads and writes its files.
//!
//! They have the form of [session messages](crate::session). What is kept travels in sealed memfds that cannot be written any more.

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

use crate::session::Body;
use crate::session::MESSAGE_BYTES;
use crate::session::body;
use crate::session::kinds;

kinds! {
    /// Broker to keeper. There are no answers.
    KeeperMessage {
        /// [`Limits`] with the directory, the first message.
        DIRECTORY = 1, 1;
        /// [`Seat`] with a socket: who asks on it is served with the code of this user on this virtual GPU.
        SEAT = 2, 1;
    }
}

kinds! {
    /// Worker to keeper.
    CodeMessage {
        /// [`CodeRef`]. Answer: [`CodeAnswer::FOUND`] or [`CodeAnswer::ABSENT`].
        GET = 1, 0;
        /// [`CodeRef`] with a memfd of its bytes: to be kept. No answer.
        PUT = 2, 1;
    }
}

kinds! {
    /// Keeper to worker.
    CodeAnswer {
        /// [`CodeRef`] with a memfd of its bytes.
        FOUND = 1, 1;
        /// [`CodeRef`]: there is nothing for this key.
        ABSENT = 2, 0;
    }
}

body! {
    /// How much may be kept.
    Limits {
        /// Bytes of one user on one virtual GPU.
        place_bytes: u64,
        /// Bytes of all of them.
        total_bytes: u64,
    }
}

body! {
    /// Whose code it is.
    Seat {
        /// UUID of the virtual GPU.
        vgpu_uuid: [u8; 16],
        /// User id of the client.
        uid: u32,
        /// Zero.
        reserved: u32,
    }
}

body! {
    /// Names code.
    CodeRef {
        /// Everything that the code depends on, as a digest.
        key: [u8; 32],
        /// Bytes of the memfd that comes with the message; 0 where none does.
        size_bytes: u64,
    }
}
