//! Requests and completions on one channel.
//!
//! *Why.* A request should cost little more than the host's work. On the virtual GPU's channel the callers receive for
//! themselves: whoever holds the receiver spins a little, then sleeps, and hands out the completions of all (leader and
//! followers). When its own is there it wakes one follower to lead on. On the global channel the service thread receives.
//!
//! *Invariants.* A slot is in `pending` before its request is in the ring. A leader gives up the receiver before it looks for a
//! successor, and a caller is in `pending` and marked as sent before it tries for the receiver; so whoever waits is either seen
//! by the last leader or leads. A caller that still waits for room in the ring is no successor: the room may depend on one.
//!
//! *Locks.* `sender`, then `pending`; `receiver`, then `pending`; a slot's own lock is a leaf.
//!
//! *Source.* Observed: transaction ids count up from 1, and a completion with an unknown id is dropped.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use dxg_ioctl::CallError;
use dxg_wire::vmbus;
use dxg_wire::vmbus::ChannelError;
use dxg_wire::vmbus::ChannelReceiver;
use dxg_wire::vmbus::ChannelSender;
use dxg_wire::vmbus::Incoming;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketHeader;
use dxg_wire::vmbus::PacketType;
use parking_lot::Mutex;

use super::lost::Lost;
use super::message::Message;
use super::slot::Slot;
use super::slot::Woken;
use crate::errno;

/// How long a leader looks at the ring before it sleeps: a little less than what a sleep and a wake-up cost.
const SPIN: Duration = Duration::from_micros(20);
/// How long a request waits for room in the ring.
const ROOM: Duration = Duration::from_secs(5);

struct Outgoing {
    ring: ChannelSender,
    next_transaction: u64,
}

/// Where the payload of a completion goes.
type Pending = Slot<Vec<u8>>;

/// A channel of a session.
pub(super) struct Channel {
    outgoing: Mutex<Outgoing>,
    receiver: Mutex<ChannelReceiver>,
    pending: Mutex<HashMap<u64, Arc<Pending>>>,
}

/// What a channel broke on; ends the session.
pub(super) type Broken = ChannelError;

impl Channel {
    pub(super) fn new(channel: vmbus::Channel) -> Self {
        Self {
            outgoing: Mutex::new(Outgoing { ring: channel.sender, next_transaction: 1 }),
            receiver: Mutex::new(channel.receiver),
            pending: Mutex::default(),
        }
    }

    /// Sends a request and answers the slot of its completion.
    fn post(
        &self,
        message: &Message<'_>,
        lost: &Lost,
        deadline: Instant,
    ) -> Result<(u64, Arc<Pending>), CallError> {
        let parts = message.parts()?;
        let slot = Arc::new(Slot::sending());
        let mut outgoing = self.outgoing.lock();
        let transaction = outgoing.next_transaction;
        outgoing.next_transaction += 1;
        self.pending.lock().insert(transaction, Arc::clone(&slot));
        // Only now: whoever declares the loss after this finds the slot, whoever did before is seen here.
        let sent = lost.check().and_then(|()| {
            let flags = PacketFlags::COMPLETION_REQUESTED;
            let sent = outgoing.ring.send(
                PacketType::DATA_IN_BAND,
                flags,
                transaction,
                &parts,
                Some(deadline),
                &|| lost.is_set(),
            );
            sent.map_err(|error| match error {
                ChannelError::TooLarge { .. } => errno::INVALID,
                ChannelError::TimedOut => errno::AGAIN,
                error => {
                    tracing::debug!(%error, "request not sent");
                    errno::LOST
                }
            })
        });
        drop(outgoing);
        if let Err(error) = sent {
            self.pending.lock().remove(&transaction);
            return Err(error);
        }
        slot.sent();
        Ok((transaction, slot))
    }

    /// Sends a request and waits for its completion, which another thread receives.
    pub(super) fn call_served(&self, message: &Message<'_>, lost: &Lost) -> Result<Vec<u8>, CallError> {
        let (_, slot) = self.post(message, lost, Instant::now() + ROOM)?;
        slot.wait_done()
    }

    /// The same until a moment. EAGAIN when it comes first.
    pub(super) fn call_served_until(
        &self,
        message: &Message<'_>,
        lost: &Lost,
        deadline: Instant,
    ) -> Result<Vec<u8>, CallError> {
        let (transaction, slot) = self.post(message, lost, deadline)?;
        let answer = slot.wait_done_until(deadline);
        if answer.is_none() {
            self.pending.lock().remove(&transaction);
        }
        answer.unwrap_or(Err(errno::AGAIN))
    }

    /// Sends a request and waits for its completion, receiving for all callers where nobody does. What the ring
    /// broke on goes to `broken`, which declares the session lost.
    pub(super) fn call_led(
        &self,
        message: &Message<'_>,
        lost: &Lost,
        broken: &dyn Fn(Broken),
    ) -> Result<Vec<u8>, CallError> {
        let (transaction, slot) = self.post(message, lost, Instant::now() + ROOM)?;
        loop {
            if let Some(mut receiver) = self.receiver.try_lock() {
                let answer = self.lead(&mut receiver, transaction, &slot, lost.bell());
                drop(receiver);
                self.hand_over();
                return match answer {
                    Ok(answer) => answer,
                    Err(error) => {
                        self.pending.lock().remove(&transaction);
                        broken(error);
                        Err(errno::LOST)
                    }
                };
            }
            if let Woken::Done(answer) = slot.wait() {
                return answer;
            }
        }
    }

    /// Receives until the answer to `transaction` is there or the session is lost.
    fn lead(
        &self,
        receiver: &mut ChannelReceiver,
        transaction: u64,
        slot: &Pending,
        lost: BorrowedFd<'_>,
    ) -> Result<Result<Vec<u8>, CallError>, Broken> {
        let mut payload = Vec::new();
        loop {
            if let Some(answer) = slot.try_take() {
                return Ok(answer);
            }
            match receiver.receive(&mut payload, SPIN, &[lost], None)? {
                Incoming::Packet(header) if is_completion_of(&header, transaction) => {
                    self.pending.lock().remove(&transaction);
                    return Ok(Ok(payload));
                }
                Incoming::Packet(header) => self.deliver(&header, std::mem::take(&mut payload)),
                Incoming::Other(_) => {
                    self.pending.lock().remove(&transaction);
                    return Ok(Err(errno::LOST));
                }
                Incoming::TimedOut => {}
            }
        }
    }

    /// Makes one of those who wait receive from now on.
    fn hand_over(&self) {
        let pending = self.pending.lock();
        // Which one does not matter; one that was answered meanwhile cannot lead.
        let _ = pending.values().any(|slot| slot.promote());
    }

    /// Brings a completion to its caller. Anything else is dropped.
    pub(super) fn deliver(&self, header: &PacketHeader, payload: Vec<u8>) {
        let slot = match header.packet_type {
            PacketType::COMPLETION => self.pending.lock().remove(&header.transaction_id),
            _ => None,
        };
        match slot {
            Some(slot) => slot.put(Ok(payload)),
            None => tracing::warn!(
                packet_type = header.packet_type.0,
                transaction = header.transaction_id,
                "packet that nobody waits for"
            ),
        }
    }

    /// The receiving end, for the thread that serves this channel.
    pub(super) fn receiver(&self) -> &Mutex<ChannelReceiver> {
        &self.receiver
    }

    /// Ends every wait: the session is lost.
    pub(super) fn fail_all(&self) {
        for (_, slot) in self.pending.lock().drain() {
            slot.put(Err(errno::LOST));
        }
    }
}

fn is_completion_of(header: &PacketHeader, transaction: u64) -> bool {
    header.packet_type == PacketType::COMPLETION && header.transaction_id == transaction
}
