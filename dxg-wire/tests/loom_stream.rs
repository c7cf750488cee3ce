//! The stream protocol under every interleaving: run with `RUSTFLAGS="--cfg loom"`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use dxg_wire::stream::ConsumerCore;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::EntryHeader;
use dxg_wire::stream::ProducerCore;
use dxg_wire::stream::Pushed;
use dxg_wire::stream::StreamMemory;
use dxg_wire::stream::Word32;
use dxg_wire::stream::Word64;
use dxg_wire::stream::wish_for_head;
use loom::sync::Arc;
use loom::sync::Condvar;
use loom::sync::Mutex;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering;
use loom::sync::atomic::fence;
use loom::thread;

/// A stream whose ring has no ordering of its own: a byte that is not published by an index is seen stale in some run.
struct LoomStream {
    tail: AtomicU64,
    head: AtomicU64,
    sleeping: AtomicU32,
    progress: AtomicU32,
    wanted: AtomicU64,
    ring: Vec<AtomicU64>,
    doorbell: Mutex<bool>,
    rung: Condvar,
    futex: Mutex<()>,
    woken: Condvar,
}

impl LoomStream {
    fn new(ring_bytes: usize) -> Self {
        Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            sleeping: AtomicU32::new(0),
            progress: AtomicU32::new(0),
            wanted: AtomicU64::new(0),
            ring: (0..ring_bytes / 8).map(|_| AtomicU64::new(0)).collect(),
            doorbell: Mutex::new(false),
            rung: Condvar::new(),
            futex: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    fn word64(&self, word: Word64) -> &AtomicU64 {
        match word {
            Word64::Tail => &self.tail,
            Word64::Head => &self.head,
            Word64::Wanted => &self.wanted,
        }
    }

    fn word32(&self, word: Word32) -> &AtomicU32 {
        match word {
            Word32::ConsumerSleeping => &self.sleeping,
            Word32::Progress => &self.progress,
            Word32::Status | Word32::StatusDetail => unreachable!("not part of the model"),
        }
    }

    fn ring_doorbell(&self) {
        *self.doorbell.lock().unwrap() = true;
        self.rung.notify_all();
    }

    fn wait_doorbell(&self) {
        let mut rung = self.doorbell.lock().unwrap();
        while !*rung {
            rung = self.rung.wait(rung).unwrap();
        }
        *rung = false;
    }

    /// Sleeps if the progress word is still `expected`, as the kernel does it: look and sleep are one step to a waker.
    fn futex_wait(&self, expected: u32) {
        let guard = self.futex.lock().unwrap();
        if self.progress.load(Ordering::Acquire) == expected {
            drop(self.woken.wait(guard).unwrap());
        }
    }

    fn futex_wake(&self) {
        drop(self.futex.lock().unwrap());
        self.woken.notify_all();
    }
}

impl StreamMemory for LoomStream {
    fn ring_bytes(&self) -> u32 {
        self.ring.len() as u32 * 8
    }
    fn load_u64(&self, word: Word64) -> u64 {
        self.word64(word).load(Ordering::Acquire)
    }
    fn store_u64(&self, word: Word64, value: u64) {
        self.word64(word).store(value, Ordering::Release);
    }
    fn swap_u64(&self, word: Word64, value: u64) -> u64 {
        self.word64(word).swap(value, Ordering::AcqRel)
    }
    fn min_u64(&self, word: Word64, value: u64) {
        self.word64(word).fetch_min(value, Ordering::AcqRel);
    }
    fn load_u32(&self, word: Word32) -> u32 {
        self.word32(word).load(Ordering::Acquire)
    }
    fn store_u32(&self, word: Word32, value: u32) {
        self.word32(word).store(value, Ordering::Release);
    }
    fn swap_u32(&self, word: Word32, value: u32) -> u32 {
        self.word32(word).swap(value, Ordering::AcqRel)
    }
    fn add_u32(&self, word: Word32, value: u32) -> u32 {
        self.word32(word).fetch_add(value, Ordering::AcqRel)
    }
    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
    fn copy_out(&self, at: u32, into: &mut [u8]) {
        for (word, chunk) in self.ring[at as usize / 8..].iter().zip(into.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
    }
    fn copy_in(&self, at: u32, from: &[u8]) {
        for (word, chunk) in self.ring[at as usize / 8..].iter().zip(from.chunks_exact(8)) {
            word.store(u64::from_le_bytes(chunk.try_into().unwrap()), Ordering::Relaxed);
        }
    }
}

fn entry(number: u64) -> [u8; 16] {
    let header = EntryHeader { opcode: 16, flags: EntryFlags::NONE, size_bytes: 16 };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&header.to_bytes());
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Takes and executes numbered entries; sleeps when there is none.
fn consume(stream: &LoomStream, entries: u64) {
    let mut consumer = ConsumerCore::new(stream);
    let mut scratch = Vec::new();
    for number in 1..=entries {
        while consumer.take(&mut scratch).unwrap().is_none() {
            if consumer.prepare_sleep().unwrap() {
                stream.wait_doorbell();
                consumer.end_sleep();
            }
        }
        assert_eq!(scratch, entry(number));
        if consumer.done() {
            stream.futex_wake();
        }
    }
}

/// Waits until the head is at least `target`, as [`dxg_wire::stream::Producer`] does.
fn wait_head(stream: &LoomStream, target: u64) {
    while let Some(seen) = wish_for_head(stream, target) {
        stream.futex_wait(seen);
    }
}

/// Pushes numbered entries, sleeping when the ring is full, and waits until all are executed. A lost wake-up is a
/// deadlock, which the checker reports.
fn model(ring_bytes: usize, entries: u64) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let stream = Arc::new(LoomStream::new(ring_bytes));
        let consuming = thread::spawn({
            let stream = Arc::clone(&stream);
            move || consume(&stream, entries)
        });
        let mut producer = ProducerCore::new(&*stream);
        for number in 1..=entries {
            loop {
                let head = stream.load_u64(Word64::Head);
                match producer.push(&entry(number)).unwrap() {
                    Pushed::At(_) => break,
                    Pushed::AtAndRing(_) => {
                        stream.ring_doorbell();
                        break;
                    }
                    Pushed::Full => wait_head(&stream, head + 1),
                }
            }
        }
        wait_head(&stream, producer.tail());
        consuming.join().unwrap();
    });
}

#[test]
fn sleeping_consumer_gets_every_entry() {
    model(64, 2);
}

/// Two entries fill the ring, so that the third waits for the first to be executed.
#[test]
fn sleeping_producer_gets_its_room() {
    model(32, 3);
}
