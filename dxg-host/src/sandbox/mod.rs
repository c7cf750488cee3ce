//! Starting processes that trust nothing around them, and closing a worker in.
//!
//! *Why.* What these modules do needs raw system calls; everything around them does without unsafe code.

mod harden;
mod inherit;
mod peer;
mod signals;
mod spawn;

pub use harden::harden_broker;
pub use harden::harden_worker;
pub use inherit::inherited;
pub use peer::credentials_of;
pub use peer::groups_of;
pub use signals::TerminationSignals;
pub use spawn::Child;
pub use spawn::Role;
pub use spawn::Stdin;
pub use spawn::spawn;
