//! Answers in the forms that the protocol has.

use dxg_ioctl::NtStatus;
use dxg_wire::messages::EncodeError;
use dxg_wire::session::Reason;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use crate::failure::Failure;
use crate::failure::Refusal;
use crate::failure::Violation;

/// The payload of a completion, or why there is none.
pub(super) type Answer = Result<Vec<u8>, Failure>;

/// A status alone.
pub(super) fn status(status: NtStatus) -> Answer {
    Ok(status.as_bytes().to_vec())
}

/// Success alone.
pub(super) fn done() -> Answer {
    status(NtStatus::SUCCESS)
}

/// A struct.
pub(super) fn reply<T: IntoBytes + Immutable>(reply: &T) -> Answer {
    Ok(reply.as_bytes().to_vec())
}

/// No payload: how commands without a status fail.
pub(super) fn short() -> Answer {
    Ok(Vec::new())
}

/// A message that was put together.
pub(super) fn encoded(message: Result<Vec<u8>, EncodeError>) -> Answer {
    message.map_err(|_| Violation::new("answer", "asked for more than a message holds").into())
}

/// The status that a guest is given for a reason of the broker.
pub(super) fn refusal(reason: Reason) -> Refusal {
    Refusal(match reason {
        Reason::QUOTA | Reason::HOST_RESOURCES => NtStatus::NO_MEMORY,
        Reason::PERMISSION => NtStatus::ACCESS_DENIED,
        Reason::UNSUPPORTED => NtStatus::NOT_SUPPORTED,
        Reason::DEVICE_LOST | Reason::SHUTDOWN => NtStatus::DEVICE_REMOVED,
        _ => NtStatus::INVALID_PARAMETER,
    })
}

/// A wrong argument.
pub(super) const INVALID: Refusal = Refusal(NtStatus::INVALID_PARAMETER);
/// Not a handle.
pub(super) const BAD_HANDLE: Refusal = Refusal(NtStatus::INVALID_HANDLE);
/// A handle of something else.
pub(super) const WRONG_KIND: Refusal = Refusal(NtStatus::OBJECT_TYPE_MISMATCH);
/// No room.
pub(super) const NO_MEMORY: Refusal = Refusal(NtStatus::NO_MEMORY);
/// Not served.
pub(super) const NOT_SUPPORTED: Refusal = Refusal(NtStatus::NOT_SUPPORTED);
