//! Compiled code on disk, so that the next process of a user need not compile it again.
//!
//! *Why a process of its own.* Workers write no files: what they hand out as code would run in the workers of other clients, and a
//! worker may be taken over. The broker waits for no disk. So a third kind of process, the keeper, alone reads and writes the
//! files: it sees a directory and sockets, knows from the broker whose each socket is, and understands nothing of what it keeps.
//! See docs/decisions/a-keeper-process-holds-code-on-disk.md.
//!
//! *Order of reading.* [`directory`] finds the directory, [`keeper`] is the process, [`shelves`] are all places in it, [`place`] is
//! one of them, [`asking`] is what a worker has of it.

mod asking;
pub mod directory;
mod keeper;
mod place;
mod shelves;

pub use asking::Asking;
pub use keeper::KeeperError;
pub use keeper::run;
pub use shelves::Limits;
pub use shelves::Whose;

/// Most bytes of one entry; what is larger is compiled again.
const MOST_ENTRY_BYTES: u64 = 16 << 20;
