//! Starting processes that trust nothing around them, and closing a worker in.
//!
//! *Why.* A worker loads a GPU driver that is not ours and serves a client that may be hostile. Whoever takes the worker
//! over finds a process that reads what drivers read, uses the GPU's device node, and reaches nothing else.
//!
//! *Order.* [`spawn()`] closes descriptors between fork and exec. [`enclose`] runs first in the worker: process attributes,
//! capabilities, file system, then the filter for what no driver needs. [`Enclosure::tighten`] runs when the driver is
//! loaded and before any client is served. See docs/decisions/workers-are-closed-in-twice.md. The keeper of compiled code, which
//! loads nothing, is closed in at once by [`enclose_keeper`].

mod enclosure;
mod files;
mod filter;
mod harden;
mod inherit;
mod level;
mod peer;
mod signals;
mod spawn;

pub use enclosure::Compilers;
pub use enclosure::EncloseError;
pub use enclosure::Enclosure;
pub use enclosure::Policy;
pub use enclosure::enclose;
pub use enclosure::enclose_keeper;
pub use files::readable_from_environment;
pub use harden::harden_broker;
pub use harden::harden_keeper;
pub use harden::harden_worker;
pub use harden::limit_memory;
pub use inherit::inherited;
pub use inherit::take_stdin;
pub use level::FileSystem;
pub use level::Level;
pub use peer::credentials_of;
pub use peer::groups_of;
pub use signals::TerminationSignals;
pub use spawn::Child;
pub use spawn::Role;
pub use spawn::Stdin;
pub use spawn::spawn;
