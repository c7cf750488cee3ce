//! A peer that scribbles over shared memory while we use it: real threads, real races.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use dxg_wire::doorbell;
use dxg_wire::shm::SharedSlice;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::EntryHeader;
use dxg_wire::stream::Idle;
use dxg_wire::stream::Next;
use dxg_wire::stream::layout;
use dxg_wire::vmbus::Receiver;
use dxg_wire::vmbus::SharedRing;
use support::two_views;

/// Numbers without a pattern that matters.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Runs `victim` while another thread calls `scribble` all the time.
fn under_fire(
    memory: &SharedSlice,
    scribble: impl Fn(&SharedSlice, &mut Noise) + Sync,
    mut victim: impl FnMut(),
) {
    let begun = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
            while !stop.load(Ordering::Relaxed) {
                scribble(memory, &mut noise);
                begun.store(true, Ordering::Relaxed);
            }
        });
        while !begun.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        victim();
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn ring_under_fire_gives_packets_or_errors_only() {
    let (ours, theirs) = two_views(8192);
    let ring = SharedRing::new(&ours).unwrap();
    let mut outcomes = [0_u32; 3];
    let scribble = |memory: &SharedSlice, noise: &mut Noise| {
        // Plausible descriptors everywhere, and a write index that jumps.
        let at = 4096 + (noise.next() % 512) as usize * 8;
        let len8 = noise.next() % 32;
        memory.write(at, &(6 | 2 << 16 | len8 << 32)).unwrap();
        memory.write(0, &((noise.next() % 513) as u32 * 8)).unwrap();
    };
    under_fire(&theirs, scribble, || {
        let mut payload = Vec::new();
        for _ in 0..50 {
            let mut receiver = Receiver::new(ring.clone()).unwrap();
            for _ in 0..1000 {
                match receiver.receive(&mut payload) {
                    Ok(Some(header)) => {
                        assert_eq!(header.payload_bytes, payload.len());
                        assert!(payload.len() < 4096);
                        outcomes[0] += 1;
                    }
                    Ok(None) => outcomes[1] += 1,
                    Err(_) => {
                        outcomes[2] += 1;
                        break;
                    }
                }
            }
        }
    });
    assert_ne!(outcomes, [0; 3]);
}

#[test]
fn stream_under_fire_gives_entries_or_an_error_only() {
    let (ours, theirs) = two_views(layout::HEADER_BYTES + 4096);
    let scribble = |memory: &SharedSlice, noise: &mut Noise| {
        let at = layout::HEADER_BYTES + (noise.next() % 512) as usize * 8;
        let size_bytes = (noise.next() % 40) as u32 * 8;
        let header = EntryHeader { opcode: (noise.next() % 3) as u16, flags: EntryFlags::NONE, size_bytes };
        memory.copy_in(at, &header.to_bytes()).unwrap();
        memory.write(layout::TAIL, &(noise.next() % 4096 / 8 * 8)).unwrap();
        memory.write(layout::WANTED, &noise.next()).unwrap();
    };
    under_fire(&theirs, scribble, || {
        let mut scratch = Vec::new();
        for _ in 0..500 {
            let mut consumer = Consumer::new(ours.clone(), doorbell::create().unwrap()).unwrap();
            let mut looks = 0;
            let mut idle = || {
                looks += 1;
                if looks > 20 { Idle::Stop } else { Idle::Busy }
            };
            while let Ok(Next::Entry(header)) = consumer.next(&mut scratch, &mut idle) {
                assert_eq!(header.size_bytes as usize, scratch.len());
                assert_eq!(EntryHeader::parse(&scratch), Some(header));
                assert!(scratch.len() <= 2048);
                consumer.done();
            }
            assert!(consumer.taken() <= 4096 * 2);
        }
    });
}
