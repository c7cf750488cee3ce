//! What goes wrong, in terms that a front end can act on.

use dxg_ioctl::CallError;
use dxg_wire::session::Reason;

use crate::errno;

/// The class of a failure. Front ends map each to their own codes.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The device, its worker or its host is gone. Sticky: every later call and wait on the node says the same.
    DeviceLost,
    /// No memory, here or on the host.
    OutOfMemory,
    /// The virtual GPU, the client or the user is at its quota.
    Quota,
    /// An argument or the state of an object does not allow the call.
    InvalidArgument,
    /// The named thing does not exist.
    NotFound,
    /// The node does not do this.
    NotSupported,
    /// This process may not do this.
    Permission,
    /// The object or the channel is busy; trying again may help.
    Busy,
    /// A buffer was too small, or an answer too short.
    Size,
    /// The call came from another process than the one that opened the node.
    WrongProcess,
    /// There is nobody to talk to.
    Unavailable,
    /// The other side broke the protocol.
    Protocol,
    /// None of the others.
    Other,
}

/// Why a call failed, as far as anyone said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Cause {
    /// The node's answer to a request.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The host's named refusal.
    #[error("refused by the host: {}{}{text}", reason.name(), if text.is_empty() { "" } else { ": " })]
    Refused { reason: Reason, text: String },
    /// What the other side sent makes no sense.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// A limit of this side.
    #[error("{0}")]
    Here(&'static str),
}

/// A failed operation: its name and what the other side answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {cause}")]
pub struct Error {
    op: &'static str,
    #[source]
    cause: Cause,
}

impl Error {
    pub(crate) fn call(op: &'static str, error: CallError) -> Self {
        Self { op, cause: Cause::Call(error) }
    }

    pub(crate) fn refused(op: &'static str, reason: Reason, text: String) -> Self {
        Self { op, cause: Cause::Refused { reason, text } }
    }

    pub(crate) fn protocol(op: &'static str, what: &'static str) -> Self {
        Self { op, cause: Cause::Protocol(what) }
    }

    pub(crate) fn invalid(op: &'static str, what: &'static str) -> Self {
        Self { op, cause: Cause::Here(what) }
    }

    /// The operation that failed.
    #[must_use]
    pub fn op(&self) -> &'static str {
        self.op
    }

    /// The node's own answer, where a request failed.
    #[must_use]
    pub fn call_error(&self) -> Option<CallError> {
        match &self.cause {
            Cause::Call(error) => Some(*error),
            _ => None,
        }
    }

    /// The host's named reason, where it refused.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match &self.cause {
            Cause::Refused { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// The class of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match &self.cause {
            Cause::Call(error) => errno::kind_of(*error),
            Cause::Refused { reason, .. } => kind_of_reason(*reason),
            Cause::Protocol(_) => ErrorKind::Protocol,
            Cause::Here(_) => ErrorKind::InvalidArgument,
        }
    }
}

fn kind_of_reason(reason: Reason) -> ErrorKind {
    match reason {
        Reason::QUOTA => ErrorKind::Quota,
        Reason::HOST_RESOURCES => ErrorKind::OutOfMemory,
        Reason::PERMISSION => ErrorKind::Permission,
        Reason::NOT_SHARED | Reason::OTHER_ADAPTER | Reason::INVALID | Reason::RING_SIZE => {
            ErrorKind::InvalidArgument
        }
        Reason::UNSUPPORTED | Reason::VERSION => ErrorKind::NotSupported,
        Reason::NOT_FOUND => ErrorKind::NotFound,
        Reason::DEVICE_LOST | Reason::SHUTDOWN | Reason::VIOLATION => ErrorKind::DeviceLost,
        Reason::WORKER => ErrorKind::Unavailable,
        Reason::BAD_HELLO => ErrorKind::Protocol,
        _ => ErrorKind::Other,
    }
}

/// Names the operation of a failed request.
pub(crate) trait Op<T> {
    /// The same result with the operation's name.
    fn op(self, op: &'static str) -> Result<T, Error>;
}

impl<T> Op<T> for Result<T, CallError> {
    fn op(self, op: &'static str) -> Result<T, Error> {
        self.map_err(|error| Error::call(op, error))
    }
}
