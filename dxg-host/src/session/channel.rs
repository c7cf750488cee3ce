//! One channel: requests in, completions out, in the order in which they came.

use std::sync::Arc;
use std::time::Duration;

use dxg_ioctl::NtStatus;
use dxg_wire::messages::DecodeError;
use dxg_wire::messages::InterfaceVersion;
use dxg_wire::messages::framing::Answer;
use dxg_wire::messages::framing::unframe;
use dxg_wire::messages::incoming::Incoming as Request;
use dxg_wire::session::Reason;
use dxg_wire::vmbus::ChannelError;
use dxg_wire::vmbus::ChannelReceiver;
use dxg_wire::vmbus::ChannelSender;
use dxg_wire::vmbus::Incoming;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketHeader;
use dxg_wire::vmbus::PacketType;
use parking_lot::Mutex;
use zerocopy::IntoBytes;

use super::Session;
use super::dispatch::dispatch;
use crate::failure::Failure;
use crate::failure::Fault;
use crate::failure::Violation;

/// How long a channel looks for the next request before it sleeps.
const SPIN: Duration = Duration::from_micros(20);

/// Serves a channel until the session ends, which ends this process.
pub(super) fn serve(session: &Session, mut receiver: ChannelReceiver, sender: &Arc<Mutex<ChannelSender>>) {
    let failure = loop {
        if let Err(failure) = serve_one(session, &mut receiver, sender) {
            break failure;
        }
    };
    match failure {
        Failure::Violation(violation) => {
            // The broker writes the line: it alone can count how many there were.
            tracing::debug!(%violation, "session");
            session.link.end(Reason::VIOLATION, &violation.to_string())
        }
        other => {
            tracing::error!(failure = %other, "session");
            session.link.end(Reason::DEVICE_LOST, &other.to_string())
        }
    }
}

fn serve_one(
    session: &Session,
    receiver: &mut ChannelReceiver,
    sender: &Mutex<ChannelSender>,
) -> Result<(), Failure> {
    let mut payload = Vec::new();
    let packet = match receiver.receive(&mut payload, SPIN, &[], None) {
        Ok(Incoming::Packet(packet)) => packet,
        Ok(Incoming::Other(_) | Incoming::TimedOut) => return Ok(()),
        Err(error) => return Err(channel_failure("receive", error)),
    };
    if packet.packet_type != PacketType::DATA_IN_BAND {
        return Err(Violation::new("packet", "not a request").into());
    }
    let answer = answer(session, &packet, &payload)?;
    let Some(answer) = answer else { return Ok(()) };
    sender
        .lock()
        .send(PacketType::COMPLETION, PacketFlags::NONE, packet.transaction_id, &[&answer], None, &|| false)
        .map_err(|error| channel_failure("complete", error))
}

/// What is wrong with a channel is the client's doing, but for what the system refuses.
pub(super) fn channel_failure(op: &'static str, error: ChannelError) -> Failure {
    match error {
        ChannelError::Ring(_) => Violation::new(op, "the ring is broken").into(),
        ChannelError::TooLarge { .. } => Violation::new(op, "an answer that the ring cannot hold").into(),
        other => Fault::new(op, other).into(),
    }
}

/// Runs one request; answers the completion's payload where one is wanted.
pub(super) fn answer(
    session: &Session,
    packet: &PacketHeader,
    payload: &[u8],
) -> Result<Option<Vec<u8>>, Failure> {
    let wanted = packet.flags == PacketFlags::COMPLETION_REQUESTED;
    if !wanted && packet.flags != PacketFlags::NONE {
        return Err(Violation::new("packet", "unknown flags").into());
    }
    let malformed = |_| Violation::new("request", "not a message of this protocol");
    let (_, command) = unframe(InterfaceVersion::CURRENT, payload).map_err(malformed)?;
    let answer = match Request::decode(command) {
        Ok(request) => {
            if (request.answer == Answer::Wanted) != wanted {
                return Err(Violation::new("request", "packet and message disagree on the answer").into());
            }
            match dispatch(session, &request) {
                Ok(answer) => answer,
                // Where an answer has more than a status, its handler has met the refusal.
                Err(Failure::Refusal(refusal)) => refusal.0.as_bytes().to_vec(),
                Err(other) => return Err(other),
            }
        }
        // A newer guest asks what this host does not have: that is no reason to part.
        Err(DecodeError::UnknownCommand { .. }) => NtStatus::NOT_SUPPORTED.as_bytes().to_vec(),
        Err(error) => {
            tracing::debug!(%error, "malformed request");
            return Err(Violation::new("request", "malformed").into());
        }
    };
    Ok(wanted.then_some(answer))
}
