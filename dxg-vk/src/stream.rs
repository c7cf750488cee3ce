//! A command stream to the host: commands that are posted, and calls that wait for a reply.
//!
//! *Why.* Posting is a copy into a ring; the host executes in order. A call names a reply slot in memory that both sides
//! map and waits for it to be filled. Whatever went wrong on the host with something posted earlier is in the sticky
//! status of the stream and is what every later command returns.
//!
//! *Locks.* The held-back commands' for the order of pushes, and in it the producer's for the copy into the ring and the
//! heap's for staging. The slots' for taking one, in no other.

use std::cell::Cell;
use std::cell::OnceCell;
use std::sync::Arc;

use ash::vk;
use dxg_core::ForkGeneration;
use dxg_core::Sleeper;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::session::IoAddress;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::OP_INDIRECT;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::StreamError;
use parking_lot::Mutex;
use tracing::error;
use tracing::warn;

use crate::heap::Heap;
use crate::heap::Piece;
use crate::link::Block;
use crate::link::Link;
use crate::ranges::GRANULE_BYTES;
use crate::replies::ORDINARY_PAYLOAD_BYTES;
use crate::replies::Slot;
use crate::sleepers::Place;
use crate::sleepers::Sleepers;

/// Status of a reply that did not fit its slot; the payload is the size that it needs, u64.
pub const STATUS_REPLY_TOO_SMALL: i32 = -1;
/// Largest reply that a call asks for.
const MAX_REPLY_BYTES: usize = 256 << 20;
/// Most bytes that a first reply slot has for no other reason than a long request.
const MAX_FIRST_REPLY_BYTES: usize = 256 << 10;
/// Blocks for replies, cells and recordings.
const BLOCK_BYTES: u64 = 1 << 20;
/// Unused blocks that are kept for the next long recording.
const SPARE_BLOCKS: usize = 4;
/// Most bytes of commands that are held back.
const HELD_BYTES: usize = 4096;
/// Idle slots kept for the next calls.
const MAX_IDLE_SLOTS: usize = 64;
/// How long a caller looks at its reply slot before it sleeps.
const SPIN: std::time::Duration = std::time::Duration::from_micros(50);

thread_local! {
    /// Where this thread encodes; taken while in use, so that nested use gets a fresh one.
    static SCRATCH: Cell<Encoder> = const { Cell::new(Encoder::new()) };
}

/// A stream and the memory that goes with it.
#[derive(Debug)]
pub struct Stream {
    link: Box<dyn Link>,
    idle: Mutex<Vec<Slot>>,
    /// Leased memory for replies, cells and recordings.
    pub heap: Heap<Block>,
    process: ForkGeneration,
    /// Whole entries that wait for the next push.
    held: Mutex<Encoder>,
    /// Who sleeps on memory of the host.
    pub sleepers: Arc<Sleepers>,
}

impl Stream {
    /// A stream over an open link.
    #[must_use]
    pub fn over(link: Box<dyn Link>) -> Self {
        let process = ForkGeneration::current();
        let sleepers = Arc::new(Sleepers::default());
        link.wake_when_lost(Arc::clone(&sleepers) as Arc<dyn Sleeper>);
        let heap = Heap::new(BLOCK_BYTES).keeping(SPARE_BLOCKS);
        Self { link, idle: Mutex::default(), heap, process, held: Mutex::default(), sleepers }
    }

    /// What leases blocks for this stream.
    #[must_use]
    pub fn lease(&self) -> &dyn Link {
        &*self.link
    }

    /// How far the host has executed; comparable with what [`Stream::post`] answers.
    #[must_use]
    pub fn executed(&self) -> u64 {
        self.link.producer().consumed()
    }

    /// Whether the host is still there and nothing on the stream failed.
    ///
    /// # Errors
    /// Device lost.
    #[inline]
    pub fn check(&self) -> Result<(), vk::Result> {
        if self.is_lost() { Err(vk::Result::ERROR_DEVICE_LOST) } else { Ok(()) }
    }

    fn is_lost(&self) -> bool {
        !self.process.is_current() || self.link.is_lost() || self.link.producer().status().0 != 0
    }

    /// Waits until the host has executed everything that is on the stream.
    ///
    /// # Errors
    /// Device lost.
    pub fn drain(&self) -> Result<(), vk::Result> {
        self.flush()?;
        let producer = self.link.producer();
        let drained = producer.wait_consumed(producer.position(), &|| self.is_lost());
        drained.map_err(|_| vk::Result::ERROR_DEVICE_LOST)
    }

    /// Puts a command on the stream. Answers the position after it.
    ///
    /// # Errors
    /// Device lost.
    pub fn post(&self, op: VkOp, body: impl FnOnce(&mut Encoder)) -> Result<u64, vk::Result> {
        with_scratch(|encoder| {
            let mark = encoder.begin(op.0, EntryFlags::NONE);
            body(encoder);
            encoder.end(mark);
            self.push(encoder.as_slice())
        })
    }

    /// Puts a command on the stream that nobody waits for; it may be held back until the next one that is not.
    ///
    /// *Why.* Both sides touch the ring's indices at each push. Descriptor updates and object creation come in hundreds, and
    /// nothing notices them before a submission or a call.
    ///
    /// # Errors
    /// Device lost.
    pub fn post_later(&self, op: VkOp, body: impl FnOnce(&mut Encoder)) -> Result<(), vk::Result> {
        self.try_post_later(op, |encoder| {
            body(encoder);
            Ok(())
        })
    }

    /// As [`Stream::post_later`], unless `body` fails: then nothing is put on the stream.
    ///
    /// # Errors
    /// What `body` answers; device lost.
    pub fn try_post_later(
        &self,
        op: VkOp,
        body: impl FnOnce(&mut Encoder) -> Result<(), vk::Result>,
    ) -> Result<(), vk::Result> {
        self.check()?;
        with_scratch(|encoder| {
            let mark = encoder.begin(op.0, EntryFlags::NONE);
            body(encoder)?;
            encoder.end(mark);
            let most_bytes = HELD_BYTES.min(self.limit_bytes() / 2);
            if encoder.len() > most_bytes {
                return self.push(encoder.as_slice()).map(|_| ());
            }
            let mut held = self.held.lock();
            if held.len() + encoder.len() > most_bytes {
                self.flush_held(&mut held)?;
            }
            held.bytes(encoder.as_slice());
            Ok(())
        })
    }

    /// Puts a command on the stream, waits for its reply and decodes it.
    ///
    /// # Errors
    /// Device lost; also when the reply makes no sense.
    pub fn call<R>(
        &self,
        op: VkOp,
        body: impl FnOnce(&mut Encoder),
        reply: impl FnOnce(&mut Decoder<'_>) -> Result<R, DecodeError>,
    ) -> Result<R, vk::Result> {
        self.call_sized(op, ORDINARY_PAYLOAD_BYTES, body, reply)
    }

    /// As [`Stream::call`], for a reply that has about `payload_bytes`.
    ///
    /// # Errors
    /// As [`Stream::call`].
    pub fn call_sized<R>(
        &self,
        op: VkOp,
        payload_bytes: usize,
        body: impl FnOnce(&mut Encoder),
        reply: impl FnOnce(&mut Decoder<'_>) -> Result<R, DecodeError>,
    ) -> Result<R, vk::Result> {
        let payload = with_scratch(|encoder| {
            let nowhere = ReplyRequest { address: IoAddress(0), capacity_bytes: 0, sequence: 0 };
            let mark = encoder.begin_with_reply(op.0, nowhere);
            body(encoder);
            encoder.end(mark);
            // A request that makes objects cannot be made twice, and its answer is no longer than the request.
            let mut room_bytes = payload_bytes.max(encoder.len().min(MAX_FIRST_REPLY_BYTES));
            let mut slot = self.slot(room_bytes)?;
            readdress(encoder, slot.request());
            loop {
                self.push(encoder.as_slice())?;
                match self.receive(slot)? {
                    Answer::Payload(payload) => return Ok(payload),
                    Answer::NeedsBytes(bytes) if bytes > room_bytes && bytes <= MAX_REPLY_BYTES => {
                        // Only queries have replies this long; asking again changes nothing on the host.
                        room_bytes = bytes;
                        slot = self.slot(bytes)?;
                        readdress(encoder, slot.request());
                    }
                    Answer::NeedsBytes(bytes) => {
                        error!(op = op.0, bytes, "reply of impossible size");
                        return Err(vk::Result::ERROR_DEVICE_LOST);
                    }
                }
            }
        })?;
        reply(&mut Decoder::new(&payload)).map_err(|error| {
            error!(op = op.0, %error, "malformed reply");
            vk::Result::ERROR_DEVICE_LOST
        })
    }

    /// Copies bytes to leased memory where the host can read them.
    ///
    /// # Errors
    /// When no memory can be leased.
    pub fn stage(&self, bytes: &[u8]) -> Result<Piece<Block>, vk::Result> {
        let piece = self.heap.take(self.lease(), bytes.len() as u64, GRANULE_BYTES, self.executed())?;
        let copied = usize::try_from(piece.offset_bytes)
            .ok()
            .and_then(|at| piece.block.memory().copy_in(at, bytes).ok());
        // A block that is shorter than the host granted is a host that cannot be trusted any further.
        copied.map(|()| piece).ok_or(vk::Result::ERROR_DEVICE_LOST)
    }

    /// Puts what was held back on the stream.
    ///
    /// # Errors
    /// Device lost.
    pub fn flush(&self) -> Result<(), vk::Result> {
        self.flush_held(&mut self.held.lock())
    }

    fn flush_held(&self, held: &mut Encoder) -> Result<(), vk::Result> {
        if !held.is_empty() {
            let pushed = self.push_whole(held.as_slice());
            held.clear();
            pushed?;
        }
        Ok(())
    }

    fn push(&self, entry: &[u8]) -> Result<u64, vk::Result> {
        self.check()?;
        let mut held = self.held.lock();
        self.flush_held(&mut held)?;
        if entry.len() > self.limit_bytes() { self.push_indirect(entry) } else { self.push_whole(entry) }
    }

    /// The longest entry that the ring takes.
    fn limit_bytes(&self) -> usize {
        self.link.producer().layout().ring_bytes() as usize / 2
    }

    fn push_whole(&self, entries: &[u8]) -> Result<u64, vk::Result> {
        match self.link.producer().push(entries, &|| self.is_lost()) {
            Ok(position) => Ok(position.0),
            Err(StreamError::Cancelled) => Err(vk::Result::ERROR_DEVICE_LOST),
            Err(error) => {
                error!(%error, "stream broken");
                Err(vk::Result::ERROR_DEVICE_LOST)
            }
        }
    }

    /// Puts an entry that the ring cannot take on the stream by its address.
    fn push_indirect(&self, entry: &[u8]) -> Result<u64, vk::Result> {
        let piece = self.stage(entry)?;
        let mut encoder = Encoder::with_capacity(32);
        let mark = encoder.begin(OP_INDIRECT, EntryFlags::NONE);
        encoder.u64(piece.block.io_base().0 + piece.offset_bytes);
        encoder.u64(entry.len() as u64);
        encoder.end(mark);
        let position = self.push_whole(encoder.as_slice())?;
        self.heap.give(piece, position);
        Ok(position)
    }

    fn slot(&self, payload_bytes: usize) -> Result<Slot, vk::Result> {
        self.check()?;
        if payload_bytes <= ORDINARY_PAYLOAD_BYTES {
            let idle = self.idle.lock().pop();
            if let Some(slot) = idle {
                return Ok(slot);
            }
        }
        Slot::new(&self.heap, self.lease(), payload_bytes.max(ORDINARY_PAYLOAD_BYTES), self.executed())
    }

    /// Waits for a reply and puts the slot back. A slot whose reply never came is not used again: the host may still write.
    fn receive(&self, slot: Slot) -> Result<Answer, vk::Result> {
        // Asked before each sleep, and not before there is one.
        let nap = OnceCell::new();
        let cancelled = || {
            nap.get_or_init(|| self.sleepers.enter(std::iter::once(Place::Reply(slot.words.clone()))));
            self.is_lost()
        };
        let reply = slot.words.wait(slot.sequence(), SPIN, &cancelled).map_err(|error| {
            warn!(%error, "no reply");
            vk::Result::ERROR_DEVICE_LOST
        })?;
        drop(nap);
        let mut payload = Vec::new();
        slot.words.payload(reply, &mut payload);
        self.put_back(slot);
        // What was posted before may have failed, and then this answer means nothing.
        self.check()?;
        match reply.status {
            0 => Ok(Answer::Payload(payload)),
            STATUS_REPLY_TOO_SMALL => {
                let bytes = Decoder::new(&payload).u64().unwrap_or(0);
                Ok(Answer::NeedsBytes(usize::try_from(bytes).unwrap_or(usize::MAX)))
            }
            status => {
                error!(status, "call refused by the host");
                Err(vk::Result::ERROR_DEVICE_LOST)
            }
        }
    }

    fn put_back(&self, slot: Slot) {
        let mut idle = self.idle.lock();
        if slot.words.capacity_bytes() == ORDINARY_PAYLOAD_BYTES && idle.len() < MAX_IDLE_SLOTS {
            idle.push(slot);
        } else {
            drop(idle);
            self.heap.give(slot.into_piece(), 0);
        }
    }
}

enum Answer {
    Payload(Vec<u8>),
    NeedsBytes(usize),
}

/// Points an encoded call at another slot.
fn readdress(encoder: &mut Encoder, request: ReplyRequest) {
    let at = dxg_wire::stream::ENTRY_HEADER_BYTES;
    encoder.patch_u32(at, request.address.0 as u32);
    encoder.patch_u32(at + 4, (request.address.0 >> 32) as u32);
    encoder.patch_u32(at + 8, request.capacity_bytes);
    encoder.patch_u32(at + 12, request.sequence);
}

/// Runs `run` with an empty encoder that this thread keeps.
pub(crate) fn with_scratch<R>(run: impl FnOnce(&mut Encoder) -> R) -> R {
    // A thread that ends may still call; its encoder is gone by then.
    let mut encoder = SCRATCH.try_with(Cell::take).unwrap_or_default();
    encoder.clear();
    let result = run(&mut encoder);
    let _ = SCRATCH.try_with(|kept| kept.set(encoder));
    result
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::fake_host::Act;
    use crate::fake_host::FakeHost;

    const OP: VkOp = VkOp(100);
    const LOST: vk::Result = vk::Result::ERROR_DEVICE_LOST;

    fn echo() -> (FakeHost, Stream) {
        FakeHost::start(4096, |_, body| Act::Reply(body.to_vec()))
    }

    #[test]
    fn call_echoed_body_is_the_reply() {
        let (_host, stream) = echo();
        for value in 0..100 {
            assert_eq!(stream.call(OP, |encoder| encoder.u64(value), |reply| reply.u64()), Ok(value));
        }
    }

    #[test]
    fn call_reply_larger_than_the_slot_is_asked_for_again() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let (_host, stream) = FakeHost::start(4096, move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            Act::Reply(vec![7; 3 * ORDINARY_PAYLOAD_BYTES])
        });
        let len = stream.call(OP, |_| (), |reply| Ok(reply.remaining()));
        assert_eq!(len, Ok(3 * ORDINARY_PAYLOAD_BYTES));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let len = stream.call_sized(OP, 3 * ORDINARY_PAYLOAD_BYTES, |_| (), |reply| Ok(reply.remaining()));
        assert_eq!(len, Ok(3 * ORDINARY_PAYLOAD_BYTES));
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn call_reply_no_longer_than_its_request_is_asked_for_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let (_host, stream) = FakeHost::start(4096, move |_, body| {
            count.fetch_add(1, Ordering::Relaxed);
            Act::Reply(body.to_vec())
        });
        let body = vec![1; 2 * ORDINARY_PAYLOAD_BYTES];
        let len = stream.call(OP, |encoder| encoder.bytes(&body), |reply| Ok(reply.remaining()));
        assert_eq!(len, Ok(body.len()));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn call_body_larger_than_the_ring_goes_indirectly() {
        let (_host, stream) =
            FakeHost::start(4096, |_, body| Act::Reply((body.len() as u64).to_le_bytes().to_vec()));
        let body = vec![1; 1 << 20];
        assert_eq!(stream.call(OP, |encoder| encoder.bytes(&body), |reply| reply.u64()), Ok(1 << 20));
    }

    #[test]
    fn post_position_is_executed_after_a_later_call() {
        let (_host, stream) = echo();
        let position = stream.post(OP, |encoder| encoder.u32(1)).unwrap();
        stream.call(OP, |_| (), |_| Ok(())).unwrap();
        assert!(stream.executed() >= position);
    }

    #[test]
    fn drain_waits_for_all_that_was_posted() {
        let (_host, stream) = echo();
        let position = (0..100).map(|_| stream.post(OP, |_| ()).unwrap()).last().unwrap();
        stream.drain().unwrap();
        assert!(stream.executed() >= position);
    }

    #[test]
    fn post_later_commands_are_executed_before_a_later_call_in_order() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let (_host, stream) = FakeHost::start(4096, move |_, body| {
            log.lock().push(Decoder::new(body).u32().unwrap());
            Act::Reply(Vec::new())
        });
        for value in 0..1000 {
            stream.post_later(OP, |encoder| encoder.u32(value)).unwrap();
        }
        stream.call(OP, |encoder| encoder.u32(1000), |_| Ok(())).unwrap();
        assert_eq!(*seen.lock(), (0..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn post_later_large_command_keeps_its_place() {
        let (_host, stream) = FakeHost::start(4096, {
            let mut lengths = Vec::new();
            move |_, body| {
                lengths.push(body.len() as u8);
                Act::Reply(lengths.clone())
            }
        });
        stream.post_later(OP, |encoder| encoder.u64(0)).unwrap();
        stream.post_later(OP, |encoder| encoder.bytes(&[0; 16 << 10])).unwrap();
        stream.post_later(OP, |encoder| encoder.u64(0)).unwrap();
        let lengths = stream.call(OP, |_| (), |reply| Ok(reply.rest().to_vec()));
        assert_eq!(lengths.unwrap(), [8, 0, 8, 0]);
    }

    #[test]
    fn post_after_a_failure_on_the_host_is_device_lost() {
        let (_host, stream) =
            FakeHost::start(4096, |op, _| if op == OP.0 { Act::Fail } else { Act::Reply(Vec::new()) });
        stream.post(OP, |_| ()).unwrap();
        assert_eq!(stream.call(VkOp(101), |_| (), |_| Ok(())), Err(LOST));
        assert_eq!(stream.post(VkOp(101), |_| ()), Err(LOST));
        assert_eq!(stream.check(), Err(LOST));
    }

    #[test]
    fn call_host_lost_while_waiting_is_device_lost() {
        let (host, stream) = FakeHost::start(4096, |_, _| Act::Silence);
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| stream.call(OP, |_| (), |_| Ok(())));
            host.lose();
            assert_eq!(caller.join().unwrap(), Err(LOST));
        });
        drop(stream);
    }

    #[test]
    fn call_malformed_reply_is_device_lost() {
        let (_host, stream) = FakeHost::start(4096, |_, _| Act::Reply(vec![0; 4]));
        assert_eq!(stream.call(OP, |_| (), |reply| reply.u64()), Err(LOST));
    }

    #[test]
    fn call_from_many_threads_each_gets_its_own_reply() {
        let (_host, stream) = echo();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let stream = &stream;
                scope.spawn(move || {
                    for at in 0..500 {
                        let value = thread << 32 | at;
                        assert_eq!(
                            stream.call(OP, |encoder| encoder.u64(value), |reply| reply.u64()),
                            Ok(value)
                        );
                    }
                });
            }
        });
    }
}
