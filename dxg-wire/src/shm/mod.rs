//! Memory that two processes write at once, and the descriptors that carry it.
//!
//! *Why.* Everything that guest and host share is a sealed memfd: its size cannot change, so a mapping of it never
//! faults. Memory that the other side can write is never a reference of ours; it is a [`SharedSlice`], whose only
//! operations are to copy bytes out, to copy bytes in, and to use an aligned word as an atomic.
//!
//! *Invariants.* All unsafe code of this crate is in this module. A [`Mapping`] is over a memfd whose seals and size were
//! checked; a [`SharedSlice`] never leaves its mapping.
//!
//! *Copies and races.* The other side may write while we copy. A copy then holds some mix of old and new bytes,
//! which is fine: the callers judge only the copy. What must not happen is that the compiler reads a shared byte twice and
//! takes the readings for one value. Short copies therefore go by relaxed atomic words, long ones through functions that
//! the optimizer does not look into (see `copy.rs`).

mod copy;
mod fixed;
mod mapping;
mod memfd;
mod slice;

pub mod futex;
pub mod session_io;
pub mod socket;

pub use fixed::map_fixed_over;
pub use fixed::replace_by_private;
pub use mapping::Access;
pub use mapping::Mapping;
pub use mapping::Populate;
pub use memfd::ShmError;
pub use memfd::create_sealed;
pub use memfd::create_sealed_with;
pub use memfd::verify_sealed;
pub use slice::AccessFault;
pub use slice::OutOfBounds;
pub use slice::SharedSlice;
