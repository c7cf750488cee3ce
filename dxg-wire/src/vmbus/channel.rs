//! Two rings and two doorbells: a channel that can block.
//!
//! *Why.* The ring algorithm never waits. Here it is joined to eventfds: one that the other side sleeps on, one that we
//! sleep on.
//!
//! *Invariants.* While somebody is inside [`ChannelReceiver::receive`] and awake, the interrupt mask is set, so a busy
//! channel makes no system calls. The mask is cleared only for a sleep, after one more look.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::PacketFlags;
use super::PacketHeader;
use super::PacketType;
use super::Receiver;
use super::RingError;
use super::SendError;
use super::Sender;
use super::SharedRing;
use super::Signal;
use crate::doorbell;
use crate::shm::futex::slice_until;

/// Longest sleep of a sender on a full ring before it looks again: its doorbell is shared with the receiver, so
/// the signal may have been taken by that.
const FULL_SLICE: Duration = Duration::from_millis(1);
/// Looks of a sender on a full ring before it sleeps.
const FULL_SPINS: u32 = 2000;

/// Why a channel operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The other side broke the ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The packet can never be sent.
    #[error("a payload of {payload_bytes} bytes; the ring takes {limit_bytes}")]
    TooLarge {
        /// Its bytes.
        payload_bytes: usize,
        /// The most that this ring takes.
        limit_bytes: usize,
    },
    /// The ring stayed full until the deadline.
    #[error("timed out")]
    TimedOut,
    /// The caller's closure said so.
    #[error("cancelled")]
    Cancelled,
    /// The system refused.
    #[error("channel: {0}")]
    Os(#[from] io::Error),
}

/// What ended a [`ChannelReceiver::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A packet.
    Packet(PacketHeader),
    /// No packet; of the other descriptors those with a set bit are ready.
    Other(u64),
    /// No packet until the deadline.
    TimedOut,
}

/// Both ends of one side of a channel. They are independent; each is used by one thread at a time.
#[derive(Debug)]
pub struct Channel {
    /// To the other side.
    pub sender: ChannelSender,
    /// From the other side.
    pub receiver: ChannelReceiver,
}

impl Channel {
    /// Joins two rings: `theirs` is the doorbell that the other side sleeps on, `ours` the one that we sleep on.
    ///
    /// # Errors
    /// When a ring is not valid.
    pub fn new(
        outgoing: SharedRing,
        incoming: SharedRing,
        theirs: OwnedFd,
        ours: OwnedFd,
    ) -> Result<Self, RingError> {
        let theirs = Arc::new(theirs);
        let ours = Arc::new(ours);
        let sender = ChannelSender {
            ring: Sender::new(outgoing)?,
            theirs: Arc::clone(&theirs),
            ours: Arc::clone(&ours),
        };
        let mut receiver = ChannelReceiver { ring: Receiver::new(incoming)?, theirs, ours };
        receiver.ring.mask();
        Ok(Self { sender, receiver })
    }
}

/// The sending end of a channel.
#[derive(Debug)]
pub struct ChannelSender {
    ring: Sender<SharedRing>,
    theirs: Arc<OwnedFd>,
    ours: Arc<OwnedFd>,
}

impl ChannelSender {
    /// Most payload bytes of one packet.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.ring.limit_bytes()
    }

    /// Sends a packet if it has room now; answers whether it had.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`] or [`ChannelError::Ring`].
    pub fn try_send(
        &mut self,
        packet_type: PacketType,
        flags: PacketFlags,
        transaction_id: u64,
        parts: &[&[u8]],
    ) -> Result<bool, ChannelError> {
        match self.ring.send(packet_type, flags, transaction_id, parts) {
            Ok(Signal(signal)) => {
                if signal {
                    doorbell::ring(&*self.theirs);
                }
                Ok(true)
            }
            Err(SendError::Full) => Ok(false),
            Err(SendError::TooLarge { payload_bytes, limit_bytes }) => {
                Err(ChannelError::TooLarge { payload_bytes, limit_bytes })
            }
            Err(SendError::Ring(error)) => Err(error.into()),
        }
    }

    /// Sends a packet, waiting for room until `deadline` or until `cancelled` says so.
    ///
    /// # Errors
    /// Any of [`ChannelError`].
    pub fn send(
        &mut self,
        packet_type: PacketType,
        flags: PacketFlags,
        transaction_id: u64,
        parts: &[&[u8]],
        deadline: Option<Instant>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), ChannelError> {
        let mut looks = 0;
        loop {
            if self.try_send(packet_type, flags, transaction_id, parts)? {
                if looks > FULL_SPINS {
                    self.ring.forget_room();
                }
                return Ok(());
            }
            looks += 1;
            if looks <= FULL_SPINS {
                std::hint::spin_loop();
                continue;
            }
            if let Err(error) = self.sleep_for_room(parts, deadline, cancelled) {
                self.ring.forget_room();
                return Err(error);
            }
        }
    }

    /// One sleep of at most [`FULL_SLICE`].
    fn sleep_for_room(
        &mut self,
        parts: &[&[u8]],
        deadline: Option<Instant>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), ChannelError> {
        if cancelled() {
            return Err(ChannelError::Cancelled);
        }
        let slice = slice_until(deadline).ok_or(ChannelError::TimedOut)?.min(FULL_SLICE);
        let has_room = self.ring.want_room(parts).map_err(|error| match error {
            SendError::Ring(error) => ChannelError::Ring(error),
            SendError::TooLarge { payload_bytes, limit_bytes } => {
                ChannelError::TooLarge { payload_bytes, limit_bytes }
            }
            SendError::Full => ChannelError::TimedOut,
        })?;
        // The doorbell is left as it is: it is the receiver's to drain.
        if !has_room && doorbell::wait(&[self.ours.as_fd()], Some(slice))? != 0 {
            // Rung for packets that nobody has taken yet. Sleeping on it would not be sleeping.
            doorbell::wait(&[], Some(slice.min(Duration::from_micros(100))))?;
        }
        Ok(())
    }
}

/// The receiving end of a channel.
#[derive(Debug)]
pub struct ChannelReceiver {
    ring: Receiver<SharedRing>,
    theirs: Arc<OwnedFd>,
    ours: Arc<OwnedFd>,
}

impl ChannelReceiver {
    /// Takes a packet if there is one.
    ///
    /// # Errors
    /// [`ChannelError::Ring`].
    pub fn try_receive(&mut self, payload: &mut Vec<u8>) -> Result<Option<PacketHeader>, ChannelError> {
        let packet = self.ring.receive(payload)?;
        if self.ring.take_signal() {
            doorbell::ring(&*self.theirs);
        }
        Ok(packet)
    }

    /// Waits for a packet: looks for `spin`, then sleeps on the doorbell and on `others` (at most 63) until `deadline`.
    ///
    /// A packet comes first where several things are ready.
    ///
    /// # Errors
    /// [`ChannelError::Ring`] or [`ChannelError::Os`].
    pub fn receive(
        &mut self,
        payload: &mut Vec<u8>,
        spin: Duration,
        others: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<Incoming, ChannelError> {
        if let Some(packet) = self.try_receive(payload)? {
            return Ok(Incoming::Packet(packet));
        }
        if !spin.is_zero() {
            let until = Instant::now() + spin;
            while Instant::now() < until {
                for _ in 0..32 {
                    std::hint::spin_loop();
                    if let Some(packet) = self.try_receive(payload)? {
                        return Ok(Incoming::Packet(packet));
                    }
                }
            }
        }
        let ours = Arc::clone(&self.ours);
        let mut fds = Vec::with_capacity(others.len() + 1);
        fds.push(ours.as_fd());
        fds.extend_from_slice(others);
        loop {
            let mut ready = 0;
            let mut expired = false;
            if self.ring.unmask()? {
                let timeout = match deadline {
                    None => None,
                    Some(deadline) => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        expired = left.is_zero();
                        Some(left)
                    }
                };
                let waited = doorbell::wait(&fds, timeout);
                self.ring.mask();
                ready = waited?;
                if ready & 1 != 0 {
                    doorbell::drain(&ours);
                }
            } else {
                self.ring.mask();
            }
            if let Some(packet) = self.try_receive(payload)? {
                return Ok(Incoming::Packet(packet));
            }
            if ready > 1 {
                return Ok(Incoming::Other(ready >> 1));
            }
            if expired {
                return Ok(Incoming::TimedOut);
            }
        }
    }

    /// Prepares a sleep outside: `true` when the ring is empty and [`doorbell`](Self::doorbell) will be rung for the next
    /// packet. Call [`disarm`](Self::disarm) after the sleep.
    ///
    /// # Errors
    /// [`ChannelError::Ring`].
    pub fn arm(&mut self) -> Result<bool, ChannelError> {
        Ok(self.ring.unmask()?)
    }

    /// Ends a sleep outside: forgets the rings so far and wants no more.
    pub fn disarm(&mut self) {
        self.ring.mask();
        doorbell::drain(&*self.ours);
    }

    /// What to poll for readability during a sleep outside.
    #[must_use]
    pub fn doorbell(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.ours)
    }
}
