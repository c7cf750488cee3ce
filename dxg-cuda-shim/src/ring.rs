//! The command ring of a context: commands that are posted, and calls that wait for a reply.
//!
//! *Locks.* The batch's for the order of commands; the reply's for one call at a time, taken before it.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use dxg_core::Sleeper;
use dxg_wire::cell::FenceCell;
use dxg_wire::cell::WaitOutcome;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::cuda::status;
use dxg_wire::session::IoAddress;
use dxg_wire::shm::SharedSlice;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::OP_INDIRECT;
use dxg_wire::stream::Position;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::ReplySlot;
use parking_lot::Mutex;
use parking_lot::MutexGuard;

use crate::generated::enums::CUresult;
use crate::link::LEASE_BYTES;
use crate::link::LOST;
use crate::link::Link;
use crate::link::Window;
use crate::types::Answer;

/// Where the reply slot is in the control block; the status block is before it.
const REPLY_AT: usize = 4096;
/// How long a waiter looks before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// A ring and the memory that goes with it.
#[derive(Debug)]
pub struct Ring {
    link: Box<dyn Link>,
    control: Window,
    status: SharedSlice,
    reply: Mutex<Reply>,
    encoder: Mutex<Encoder>,
    sleepers: Arc<Sleepers>,
}

#[derive(Debug)]
struct Reply {
    slot: ReplySlot,
    sequence: u32,
}

/// Commands in the making: while it lives, nobody else's come between.
#[derive(Debug)]
pub struct Batch<'a> {
    ring: &'a Ring,
    encoder: MutexGuard<'a, Encoder>,
}

impl Ring {
    /// A ring over an open link.
    ///
    /// # Errors
    /// Out of memory.
    pub fn over(link: Box<dyn Link>) -> Answer<Self> {
        let control = link.lease(LEASE_BYTES)?;
        let whole = control.memory.len();
        let status = control.memory.sub(0, status::BYTES as usize).map_err(|_| LOST)?;
        let slot = control.memory.sub(REPLY_AT, whole.saturating_sub(REPLY_AT)).map_err(|_| LOST)?;
        let slot = ReplySlot::new(slot).map_err(|_| LOST)?;
        let sleepers = Arc::new(Sleepers::default());
        link.wake_when_lost(Arc::clone(&sleepers) as Arc<dyn Sleeper>);
        let reply = Mutex::new(Reply { slot, sequence: 0 });
        Ok(Self { link, control, status, reply, encoder: Mutex::default(), sleepers })
    }

    /// The session.
    #[must_use]
    pub fn link(&self) -> &dyn Link {
        &*self.link
    }

    /// Where the host writes errors.
    #[must_use]
    pub fn status_io(&self) -> u64 {
        self.control.io
    }

    /// Whether the host is gone, or found our bytes to be nonsense.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.link.is_lost() || self.link.producer().status().0 != 0
    }

    /// The error that work of this context has met, or the loss of the host.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Answer {
        if self.is_lost() {
            return Err(LOST);
        }
        let word = self.status.atomic_u32(status::ERROR as usize).map_err(|_| LOST)?;
        match word.load(std::sync::atomic::Ordering::Acquire) {
            0 => Ok(()),
            error => Err(CUresult(error as i32)),
        }
    }

    /// Whether kernels have printed since it was asked last.
    #[must_use]
    pub fn take_printed(&self) -> bool {
        let word = self.status.atomic_u32(status::PRINTED as usize);
        word.is_ok_and(|word| {
            word.load(std::sync::atomic::Ordering::Relaxed) != 0
                && word.swap(0, std::sync::atomic::Ordering::AcqRel) != 0
        })
    }

    /// How far the host has read; comparable with positions.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.link.producer().consumed()
    }

    /// Begins commands.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        let mut encoder = self.encoder.lock();
        encoder.clear();
        Batch { ring: self, encoder }
    }

    /// Posts one command. Answers the position after it.
    ///
    /// # Errors
    /// The host is gone.
    pub fn post(&self, op: u16, body: impl FnOnce(&mut Encoder)) -> Answer<u64> {
        let mut batch = self.batch();
        batch.put(op, body);
        batch.push()
    }

    /// Waits until the host has read all that is posted.
    ///
    /// # Errors
    /// The host is gone.
    pub fn drain(&self) -> Answer {
        let producer = self.link.producer();
        let position: Position = producer.position();
        producer.wait_consumed(position, &|| self.is_lost()).map_err(|_| LOST)
    }

    /// Posts a command and waits for its reply.
    ///
    /// # Errors
    /// The host is gone, or its reply makes no sense.
    pub fn call<R>(
        &self,
        op: u16,
        body: impl FnOnce(&mut Encoder),
        decode: impl FnOnce(&mut Decoder<'_>) -> Result<R, DecodeError>,
    ) -> Answer<R> {
        let mut reply = self.reply.lock();
        reply.sequence = reply.sequence.wrapping_add(1);
        let sequence = reply.sequence;
        reply.slot.begin(sequence);
        let capacity_bytes = u32::try_from(reply.slot.capacity_bytes()).unwrap_or(u32::MAX);
        let address = IoAddress(self.control.io + REPLY_AT as u64);
        {
            let mut batch = self.batch();
            let request = ReplyRequest { address, capacity_bytes, sequence };
            let mark = batch.encoder.begin_with_reply(op, request);
            body(&mut batch.encoder);
            batch.encoder.end(mark);
            batch.push()?;
        }
        let _nap = self.sleepers.enter(Place::Reply(reply.slot.clone()));
        let got = reply.slot.wait(sequence, SPIN, &|| self.is_lost()).map_err(|error| {
            tracing::warn!(op, %error, "no reply");
            LOST
        })?;
        let mut payload = Vec::new();
        reply.slot.payload(got, &mut payload);
        if got.status != 0 || self.is_lost() {
            tracing::error!(op, status = got.status, "call refused by the host");
            return Err(LOST);
        }
        decode(&mut Decoder::new(&payload)).map_err(|error| {
            tracing::error!(op, %error, "malformed reply");
            LOST
        })
    }

    /// Waits until a cell is at least at `target`.
    ///
    /// # Errors
    /// The host is gone; not ready at the deadline.
    pub fn wait(&self, cell: &FenceCell, target: u64, deadline: Option<Instant>) -> Answer {
        if cell.value() >= target {
            return Ok(());
        }
        let _nap = self.sleepers.enter(Place::Cell(cell.clone()));
        match cell.wait(target, deadline, SPIN, &|| self.is_lost()) {
            WaitOutcome::Reached => Ok(()),
            WaitOutcome::TimedOut => Err(CUresult::ERROR_NOT_READY),
            WaitOutcome::Cancelled => Err(LOST),
        }
    }
}

impl Batch<'_> {
    /// Appends a command.
    pub fn put(&mut self, op: u16, body: impl FnOnce(&mut Encoder)) {
        let mark = self.encoder.begin(op, EntryFlags::NONE);
        body(&mut self.encoder);
        self.encoder.end(mark);
    }

    /// Bytes that are not posted yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.encoder.len()
    }

    /// Whether all is posted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Posts what was appended. Answers the position after it.
    ///
    /// # Errors
    /// The host is gone.
    pub fn push(&mut self) -> Answer<u64> {
        if self.ring.is_lost() {
            return Err(LOST);
        }
        let producer = self.ring.link.producer();
        if self.is_empty() {
            // Work that needs no host, such as an event that tells no time.
            return Ok(producer.position().0);
        }
        let limit = producer.layout().ring_bytes() as usize / 2;
        let position = if self.encoder.len() > limit { self.push_parts(limit) } else { self.push_whole() };
        self.encoder.clear();
        position
    }

    fn push_whole(&self) -> Answer<u64> {
        push(self.ring, self.encoder.as_slice())
    }

    /// Pushes entries one by one, those that the ring cannot take by their address.
    fn push_parts(&self, limit: usize) -> Answer<u64> {
        let mut rest = self.encoder.as_slice();
        let mut position = 0;
        while let Some(size) = rest.get(4..8).and_then(|word| word.first_chunk()) {
            let (entry, tail) = rest
                .split_at_checked(u32::from_le_bytes(*size) as usize)
                .ok_or(CUresult::ERROR_INVALID_VALUE)?;
            position = if entry.len() > limit { self.push_indirect(entry)? } else { push(self.ring, entry)? };
            rest = tail;
        }
        Ok(position)
    }

    fn push_indirect(&self, entry: &[u8]) -> Answer<u64> {
        let window = self.ring.link.lease((entry.len() as u64).next_multiple_of(LEASE_BYTES))?;
        window.memory.copy_in(0, entry).map_err(|_| LOST)?;
        let mut encoder = Encoder::with_capacity(32);
        let mark = encoder.begin(OP_INDIRECT, EntryFlags::NONE);
        encoder.u64(window.io);
        encoder.u64(entry.len() as u64);
        encoder.end(mark);
        let position = push(self.ring, encoder.as_slice())?;
        // Such entries are rare; the memory goes back once the host has read them.
        self.ring.drain()?;
        Ok(position)
    }
}

fn push(ring: &Ring, entries: &[u8]) -> Answer<u64> {
    match ring.link.producer().push(entries, &|| ring.is_lost()) {
        Ok(position) => Ok(position.0),
        Err(error) => {
            tracing::debug!(%error, "ring broken");
            Err(LOST)
        }
    }
}

/// What somebody sleeps on.
#[derive(Debug)]
enum Place {
    Cell(FenceCell),
    Reply(ReplySlot),
}

/// Who sleeps on memory of the host: they are woken when it goes.
#[derive(Debug, Default)]
struct Sleepers(Mutex<(u64, Vec<(u64, Place)>)>);

#[derive(Debug)]
struct Nap<'a>(&'a Sleepers, u64);

impl Sleepers {
    fn enter(&self, place: Place) -> Nap<'_> {
        let asleep = &mut *self.0.lock();
        asleep.0 += 1;
        asleep.1.push((asleep.0, place));
        Nap(self, asleep.0)
    }
}

impl Drop for Nap<'_> {
    fn drop(&mut self) {
        self.0.0.lock().1.retain(|(number, _)| *number != self.1);
    }
}

impl Sleeper for Sleepers {
    fn wake(&self) {
        for (_, place) in &self.0.lock().1 {
            match place {
                Place::Cell(cell) => cell.wake_all(),
                Place::Reply(slot) => slot.wake_all(),
            }
        }
    }
}
