//! Entry points for a fuzzer: broker, session and their peers inside one process.
//!
//! *Why.* A fuzzer wants to see which bytes lead where, which it cannot across processes. Nothing here runs in a
//! daemon: the feature `fuzzing` is off unless something of this workspace's tests asks for it.

pub use crate::broker::fuzzing::BrokerStage;
pub use crate::broker::fuzzing::Leftovers;
pub use crate::session::fuzzing::SessionStage;
