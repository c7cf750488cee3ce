//! The VMBus ring under every interleaving: run with `RUSTFLAGS="--cfg loom"`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;

use dxg_wire::vmbus::ControlWord;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketType;
use dxg_wire::vmbus::Receiver;
use dxg_wire::vmbus::RingMemory;
use dxg_wire::vmbus::SendError;
use dxg_wire::vmbus::Sender;
use dxg_wire::vmbus::Signal;
use loom::sync::Arc;
use loom::sync::Condvar;
use loom::sync::Mutex;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering;
use loom::sync::atomic::fence;
use loom::thread;

/// A ring whose data has no ordering of its own: a byte that is not published by an index is seen stale in some run.
struct LoomRing {
    write_index: AtomicU32,
    read_index: AtomicU32,
    interrupt_mask: AtomicU32,
    pending_send_size: AtomicU32,
    feature_bits: AtomicU32,
    data: Vec<AtomicU64>,
}

impl LoomRing {
    fn new(data_bytes: usize) -> Self {
        Self {
            write_index: AtomicU32::new(0),
            read_index: AtomicU32::new(0),
            interrupt_mask: AtomicU32::new(0),
            pending_send_size: AtomicU32::new(0),
            feature_bits: AtomicU32::new(0),
            data: (0..data_bytes / 8).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn word(&self, word: ControlWord) -> &AtomicU32 {
        match word {
            ControlWord::WriteIndex => &self.write_index,
            ControlWord::ReadIndex => &self.read_index,
            ControlWord::InterruptMask => &self.interrupt_mask,
            ControlWord::PendingSendSize => &self.pending_send_size,
            ControlWord::FeatureBits => &self.feature_bits,
        }
    }
}

impl RingMemory for LoomRing {
    fn data_bytes(&self) -> u32 {
        self.data.len() as u32 * 8
    }
    fn load(&self, word: ControlWord) -> u32 {
        self.word(word).load(Ordering::Acquire)
    }
    fn store(&self, word: ControlWord, value: u32) {
        self.word(word).store(value, Ordering::Release);
    }
    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
    fn copy_out(&self, at: u32, into: &mut [u8]) {
        for (word, chunk) in self.data[at as usize / 8..].iter().zip(into.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
    }
    fn copy_in(&self, at: u32, from: &[u8]) {
        for (word, chunk) in self.data[at as usize / 8..].iter().zip(from.chunks_exact(8)) {
            word.store(u64::from_le_bytes(chunk.try_into().unwrap()), Ordering::Relaxed);
        }
    }
}

/// An eventfd.
struct Doorbell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Doorbell {
    fn new() -> Self {
        Self { rung: Mutex::new(false), changed: Condvar::new() }
    }

    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

struct Shared {
    ring: LoomRing,
    to_receiver: Doorbell,
    to_sender: Doorbell,
}

fn model(data_bytes: usize, packets: u64) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let shared = Arc::new(Shared {
            ring: LoomRing::new(data_bytes),
            to_receiver: Doorbell::new(),
            to_sender: Doorbell::new(),
        });
        let receiving = thread::spawn({
            let shared = Arc::clone(&shared);
            move || receive(&shared, packets)
        });
        send(&shared, packets);
        receiving.join().unwrap();
    });
}

/// Sends numbered packets; sleeps when the ring is full.
fn send(shared: &Shared, packets: u64) {
    let mut sender = Sender::new(&shared.ring).unwrap();
    for id in 1..=packets {
        let payload = (id * 3).to_le_bytes();
        let parts: [&[u8]; 1] = [&payload];
        loop {
            match sender.send(PacketType::DATA_IN_BAND, PacketFlags::NONE, id, &parts) {
                Ok(Signal(signal)) => {
                    if signal {
                        shared.to_receiver.ring();
                    }
                    break;
                }
                Err(SendError::Full) => {
                    if !sender.want_room(&parts).unwrap() {
                        shared.to_sender.wait();
                    }
                    sender.forget_room();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Takes the packets in order; sleeps when the ring is empty. A lost signal is a deadlock, which the checker reports.
fn receive(shared: &Shared, packets: u64) {
    let mut receiver = Receiver::new(&shared.ring).unwrap();
    let mut expected: VecDeque<u64> = (1..=packets).collect();
    let mut payload = Vec::new();
    while let Some(id) = expected.front() {
        match receiver.receive(&mut payload).unwrap() {
            Some(header) => {
                assert_eq!(header.transaction_id, *id);
                assert_eq!(payload, (id * 3).to_le_bytes());
                expected.pop_front();
                if receiver.take_signal() {
                    shared.to_sender.ring();
                }
            }
            None => {
                if receiver.unmask().unwrap() {
                    shared.to_receiver.wait();
                }
                receiver.mask();
            }
        }
    }
}

#[test]
fn sleeping_receiver_gets_every_packet() {
    model(256, 2);
}

/// One packet fills the ring, so that each has to wait for the one before it.
#[test]
fn sleeping_sender_gets_its_room() {
    model(64, 2);
}
