//! The three kinds of failure in the host half, kept apart by type.
//!
//! *Why.* A refusal leaves the session alive, a violation ends it and blames the client, a fault ends it and blames
//! us. Code that can meet more than one of them says so with [`Failure`].

use dxg_ioctl::NtStatus;

/// A legal request that cannot be met: quota, memory, unsupported. The client gets the status; the session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused with {0:?}")]
pub struct Refusal(pub NtStatus);

/// Bytes that no honest client sends. The session ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("violation in {op}: {what}")]
pub struct Violation {
    /// The operation that was being read.
    pub op: &'static str,
    /// What is wrong with it, without bytes of the payload.
    pub what: &'static str,
}

impl Violation {
    /// A violation met in `op`.
    #[must_use]
    pub const fn new(op: &'static str, what: &'static str) -> Self {
        Self { op, what }
    }
}

/// Our bug, or a driver that failed. The device is lost for this client only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault in {op}: {what}")]
pub struct Fault {
    /// The operation that was running.
    pub op: &'static str,
    /// What failed.
    pub what: String,
}

impl Fault {
    /// A fault met in `op`.
    #[must_use]
    pub fn new(op: &'static str, what: impl ToString) -> Self {
        Self { op, what: what.to_string() }
    }
}

/// Any of the three.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request is refused.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The session ends: the client broke the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The session ends: the host failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}
