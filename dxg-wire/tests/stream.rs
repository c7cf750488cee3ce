//! Command streams against a model, against a peer that lies, and between two threads.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::codec::Encoder;
use dxg_wire::doorbell;
use dxg_wire::session::IoAddress;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::ConsumerCore;
use dxg_wire::stream::Entries;
use dxg_wire::stream::Entry;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::EntryHeader;
use dxg_wire::stream::Idle;
use dxg_wire::stream::Indirect;
use dxg_wire::stream::Layout;
use dxg_wire::stream::Next;
use dxg_wire::stream::OP_INDIRECT;
use dxg_wire::stream::OP_PAD;
use dxg_wire::stream::Producer;
use dxg_wire::stream::ProducerCore;
use dxg_wire::stream::Pushed;
use dxg_wire::stream::ReplyError;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::ReplySlot;
use dxg_wire::stream::SLOT_HEADER_BYTES;
use dxg_wire::stream::StreamError;
use dxg_wire::stream::layout;
use proptest::prelude::*;
use support::TestMemory;
use support::shared;
use support::two_views;

const NEVER: &dyn Fn() -> bool = &|| false;

/// Cancels what hangs. Tests that wake sleepers do so often enough that they take longer if wake-ups are lost and every
/// sleep lasts its slice.
fn hang_guard() -> impl Fn() -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    move || Instant::now() > end
}

fn entry(opcode: u16, body: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mark = encoder.begin(opcode, EntryFlags::NONE);
    encoder.bytes(body);
    encoder.end(mark);
    encoder.into_vec()
}

fn pair(ring_bytes: usize) -> (Producer, Consumer) {
    let (ours, theirs) = two_views(layout::HEADER_BYTES + ring_bytes);
    let bell = doorbell::create().unwrap();
    let producer = Producer::new(ours, bell.try_clone().unwrap()).unwrap();
    (producer, Consumer::new(theirs, bell).unwrap())
}

#[test]
fn header_of_an_entry_has_the_written_format() {
    assert_eq!(entry(0x1234, b"abcde"), b"\x34\x12\0\0\x10\0\0\0abcde\0\0\0");
    let header = EntryHeader { opcode: 0x1234, flags: EntryFlags(0x5678), size_bytes: 0x10 };
    assert_eq!(header.to_bytes(), *b"\x34\x12\x78\x56\x10\0\0\0");
    assert_eq!(EntryHeader::from_bytes(header.to_bytes()), header);
}

#[test]
fn reply_request_and_indirection_are_taken_apart() {
    let reply = ReplyRequest { address: IoAddress(0x1_0000_0040), capacity_bytes: 64, sequence: 7 };
    let mut encoder = Encoder::new();
    let mark = encoder.begin_with_reply(20, reply);
    encoder.u32(5);
    encoder.end(mark);
    let entry = Entry::parse(encoder.as_slice()).unwrap();
    assert_eq!(entry.reply, Some(reply));
    assert_eq!(entry.body, [5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(entry.indirect(), None);

    let mut encoder = Encoder::new();
    encoder.entry(OP_INDIRECT, [0x40, 1, 0x100, 0]);
    let entry = Entry::parse(encoder.as_slice()).unwrap();
    let indirect = Indirect { address: IoAddress(0x1_0000_0040), size_bytes: 0x100 };
    assert_eq!(entry.indirect(), Some(indirect));
}

#[test]
fn reply_flag_without_room_for_the_request_is_malformed() {
    let bytes = EntryHeader { opcode: 20, flags: EntryFlags::REPLY, size_bytes: 16 }.to_bytes();
    assert!(Entry::parse(&[bytes, [0; 8]].concat()).is_err());
}

#[test]
fn entries_of_a_block_refuse_nested_indirection_and_skip_padding() {
    let block = [entry(20, b"one"), entry(OP_PAD, &[]), entry(21, &[])].concat();
    let opcodes: Vec<u16> = Entries::new(&block).map(|entry| entry.unwrap().header.opcode).collect();
    assert_eq!(opcodes, [20, 21]);
    let block = [entry(20, b"one"), entry(OP_INDIRECT, &[0; 16]), entry(21, &[])].concat();
    let outcomes: Vec<bool> = Entries::new(&block).map(|entry| entry.is_ok()).collect();
    assert_eq!(outcomes, [true, false]);
}

#[test]
fn layout_takes_powers_of_two_only() {
    assert_eq!(Layout::new(4096).unwrap().total_bytes(), 8192);
    assert_eq!(Layout::new(1 << 20).unwrap().max_entry_bytes(), 1 << 19);
    assert!(Layout::new(4096 + 8).is_err());
    assert!(Layout::new(2048).is_err());
    assert!(Layout::of_memory(100).is_err());
    assert!(Producer::new(shared(4 * 4096), doorbell::create().unwrap()).is_err());
}

#[test]
fn producer_refuses_what_is_no_entry_or_too_large() {
    let (producer, _consumer) = pair(4096);
    assert!(matches!(producer.push(&[], NEVER), Err(StreamError::Malformed { len_bytes: 0 })));
    assert!(matches!(producer.push(&[0; 12], NEVER), Err(StreamError::Malformed { len_bytes: 12 })));
    let large = vec![0; 2056];
    assert!(matches!(
        producer.push(&large, NEVER),
        Err(StreamError::TooLarge { len_bytes: 2056, limit_bytes: 2048 })
    ));
    assert_eq!(producer.position().0, 0);
}

#[test]
fn full_stream_gives_up_when_cancelled() {
    let (producer, _consumer) = pair(4096);
    let big = entry(20, &[0; 2040]);
    producer.push(&big, NEVER).unwrap();
    let end = producer.push(&big, NEVER).unwrap();
    assert!(matches!(producer.push(&big, &|| true), Err(StreamError::Cancelled)));
    assert_eq!(producer.position(), end);
    assert!(matches!(producer.wait_consumed(end, &|| true), Err(StreamError::Cancelled)));
}

#[test]
fn head_moves_only_when_entries_are_done() {
    let (producer, mut consumer) = pair(4096);
    let first = producer.push(&entry(20, &[]), NEVER).unwrap();
    let mut scratch = Vec::new();
    let next = consumer.next(&mut scratch, &mut || Idle::Stop).unwrap();
    assert!(matches!(next, Next::Entry(header) if header.opcode == 20));
    assert_eq!(producer.consumed(), 0);
    consumer.done();
    assert_eq!(producer.consumed(), first.0);
    assert_eq!(consumer.next(&mut scratch, &mut || Idle::Stop).unwrap(), Next::Closed);
}

#[test]
fn first_status_sticks() {
    let (producer, mut consumer) = pair(4096);
    assert_eq!(producer.status(), (0, 0));
    consumer.set_status(13, -4);
    consumer.set_status(14, -5);
    assert_eq!(producer.status(), (13, -4));
}

#[test]
fn sleeping_consumer_is_woken_by_a_push_and_by_a_watched_descriptor() {
    let (producer, mut consumer) = pair(4096);
    let hangs = hang_guard();
    let bell = doorbell::create().unwrap();
    consumer.watch(bell.try_clone().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(AtomicU32::new(0));
    let thread = thread::spawn({
        let (stop, seen, bell) = (Arc::clone(&stop), Arc::clone(&seen), bell.try_clone().unwrap());
        move || {
            let mut scratch = Vec::new();
            let mut idle = || {
                doorbell::drain(&bell);
                if stop.load(Ordering::Acquire) { Idle::Stop } else { Idle::Sleep }
            };
            while let Next::Entry(_) = consumer.next(&mut scratch, &mut idle).unwrap() {
                seen.fetch_add(1, Ordering::AcqRel);
                consumer.done();
            }
        }
    });
    for _ in 0..200 {
        let position = producer.push(&entry(20, b"wake up"), NEVER).unwrap();
        producer.wait_consumed(position, &hangs).unwrap();
    }
    assert_eq!(seen.load(Ordering::Acquire), 200);
    stop.store(true, Ordering::Release);
    doorbell::ring(&bell);
    thread.join().unwrap();
}

#[test]
fn two_threads_through_a_small_ring_lose_nothing() {
    const COUNT: u32 = 20_000;
    let (producer, mut consumer) = pair(4096);
    let hangs = hang_guard();
    let thread = thread::spawn(move || {
        let mut scratch = Vec::new();
        for number in 0..COUNT {
            let Next::Entry(header) = consumer.next(&mut scratch, &mut || Idle::Poll).unwrap() else {
                panic!("closed");
            };
            assert_eq!(header.opcode, 20 + (number % 7) as u16);
            assert_eq!(scratch, numbered(number));
            consumer.done();
        }
    });
    for number in 0..COUNT {
        producer.push(&numbered(number), &hangs).unwrap();
    }
    thread.join().unwrap();
    assert_eq!(producer.consumed(), producer.position().0);
}

fn numbered(number: u32) -> Vec<u8> {
    let body: Vec<u8> = (0..number % 300).flat_map(|word| (word ^ number).to_le_bytes()).collect();
    entry(20 + (number % 7) as u16, &body)
}

#[test]
fn reply_slot_carries_status_and_payload() {
    let (guest, host) = two_views(4096);
    let guest = ReplySlot::new(guest).unwrap();
    let host = ReplySlot::new(host).unwrap();
    for sequence in [1, 2, u32::MAX, 0] {
        guest.begin(sequence);
        assert_eq!(guest.wait(sequence, Duration::ZERO, &|| true), Err(ReplyError::Cancelled));
        host.finish(sequence, -3, b"payload").unwrap();
        let reply = guest.wait(sequence, Duration::ZERO, NEVER).unwrap();
        assert_eq!(reply.status, -3);
        let mut payload = Vec::new();
        guest.payload(reply, &mut payload);
        assert_eq!(payload, b"payload");
    }
}

#[test]
fn reply_that_does_not_fit_is_refused_on_both_sides() {
    let (guest, host) = two_views(4096);
    let slot = guest.sub(0, SLOT_HEADER_BYTES + 8).unwrap();
    let guest_slot = ReplySlot::new(slot).unwrap();
    guest_slot.begin(1);
    let host_slot = ReplySlot::new(host.sub(0, SLOT_HEADER_BYTES + 8).unwrap()).unwrap();
    let too_large = ReplyError::TooLarge { len_bytes: 9, capacity_bytes: 8 };
    assert_eq!(host_slot.finish(1, 0, &[1; 9]), Err(too_large));
    assert_eq!(guest.read::<[u8; 16]>(SLOT_HEADER_BYTES).unwrap(), [0; 16]);
    // A host that lies about the length.
    ReplySlot::new(host).unwrap().finish(1, 0, &[1; 9]).unwrap();
    assert_eq!(guest_slot.wait(1, Duration::ZERO, NEVER), Err(too_large));
}

#[test]
fn sleeping_guest_is_woken_by_its_reply() {
    let (guest, host) = two_views(4096);
    let guest = ReplySlot::new(guest).unwrap();
    let host = ReplySlot::new(host).unwrap();
    let (producer, mut consumer) = pair(4096);
    let hangs = hang_guard();
    let thread = thread::spawn(move || {
        let mut scratch = Vec::new();
        while let Next::Entry(header) = consumer.next(&mut scratch, &mut || Idle::Sleep).unwrap() {
            if header.opcode == 21 {
                break;
            }
            let sequence = Entry::parse(&scratch).unwrap().reply.unwrap().sequence;
            host.finish(sequence, 0, &sequence.to_le_bytes()).unwrap();
            consumer.done();
        }
    });
    for sequence in 1..600_u32 {
        guest.begin(sequence);
        let mut encoder = Encoder::new();
        let request = ReplyRequest { address: IoAddress(0), capacity_bytes: 4, sequence };
        let mark = encoder.begin_with_reply(20, request);
        encoder.end(mark);
        producer.push(encoder.as_slice(), NEVER).unwrap();
        let reply = guest.wait(sequence, Duration::ZERO, &hangs).unwrap();
        let mut payload = [0; 4];
        guest.copy_payload(0, &mut payload).unwrap();
        assert_eq!((reply.len_bytes, payload), (4, sequence.to_le_bytes()));
    }
    producer.push(&entry(21, &[]), NEVER).unwrap();
    thread.join().unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Take,
    Done,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![(0_usize..15).prop_map(Step::Push), Just(Step::Take), Just(Step::Done)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn stream_behaves_as_a_bounded_queue(steps in proptest::collection::vec(step(), 1..200)) {
        const RING: u64 = 256;
        let memory = TestMemory::new(RING as usize);
        let mut producer = ProducerCore::new(&memory);
        let mut consumer = ConsumerCore::new(&memory);
        let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let mut scratch = Vec::new();
        let mut executed = 0;
        let mut taken = 0;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(words) => {
                    let bytes = entry(16, &[number as u8; 8].repeat(words));
                    let tail = producer.tail();
                    let to_end = RING - tail % RING;
                    let len = bytes.len() as u64;
                    let needed = if to_end < len { to_end + len } else { len };
                    match producer.push(&bytes).unwrap() {
                        Pushed::At(position) => {
                            prop_assert_eq!(position, tail + needed);
                            prop_assert!(position - executed <= RING);
                            model.push_back((position, bytes));
                        }
                        Pushed::AtAndRing(_) => prop_assert!(false, "nobody sleeps"),
                        Pushed::Full => prop_assert!(tail + needed - executed > RING),
                    }
                }
                Step::Take => {
                    memory.reset_reads();
                    let header = consumer.take(&mut scratch).unwrap();
                    prop_assert!(memory.most_reads() <= 1, "a byte was read twice");
                    let expected = model.pop_front();
                    prop_assert_eq!(header.is_some(), expected.is_some());
                    if let Some((position, bytes)) = expected {
                        prop_assert_eq!(&scratch, &bytes);
                        taken = position;
                    }
                }
                Step::Done => {
                    consumer.done();
                    executed = taken;
                }
            }
        }
    }

    #[test]
    fn consumer_survives_any_peer(
        words in proptest::collection::vec((0_u16..3, any::<u16>(), 0_u32..80, any::<bool>()), 2..=64),
        script in proptest::collection::vec((0_u64..100, any::<u64>(), any::<bool>()), 0..64),
    ) {
        let mut data: Vec<u8> = words
            .iter()
            .flat_map(|(opcode, flags, size, aligned)| {
                let size_bytes = if *aligned { size / 8 * 8 } else { *size };
                EntryHeader { opcode: *opcode, flags: EntryFlags(*flags), size_bytes }.to_bytes()
            })
            .collect();
        data.resize(data.len().next_power_of_two(), 0xff);
        let mut sum = 0;
        let script = script
            .iter()
            .map(|(step, wild, plausible)| {
                sum += step / 8 * 8;
                if *plausible { sum } else { *wild }
            })
            .collect();
        let memory = TestMemory::lying(data, script);
        let mut consumer = ConsumerCore::new(&memory);
        let mut scratch = Vec::new();
        for _ in 0..32 {
            memory.reset_reads();
            let taken = consumer.take(&mut scratch);
            prop_assert!(memory.most_reads() <= 1, "a byte was read twice");
            match taken {
                Ok(Some(header)) => {
                    prop_assert_eq!(scratch.len(), header.size_bytes as usize);
                    prop_assert_ne!(header.opcode, OP_PAD);
                }
                Ok(None) => {}
                Err(_) => break,
            }
            let _ = consumer.done();
            let _ = consumer.prepare_sleep();
        }
    }

    #[test]
    fn producer_survives_any_peer(script in proptest::collection::vec((0_u64..400, any::<u64>(), any::<bool>()), 0..64)) {
        let script = script.iter().map(|(low, wild, plausible)| if *plausible { *low } else { *wild }).collect();
        let memory = TestMemory::lying(vec![0; 256], script);
        let mut producer = ProducerCore::new(&memory);
        for number in 0..32_usize {
            let tail = producer.tail();
            match producer.push(&entry(16, &vec![0; number % 15 * 8])) {
                Ok(Pushed::Full) => prop_assert_eq!(producer.tail(), tail),
                Ok(_) => prop_assert!(producer.tail() > tail),
                Err(_) => break,
            }
        }
        prop_assert_eq!(memory.most_reads(), 0);
    }

    #[test]
    fn entries_of_any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let mut left = bytes.len();
        for entry in Entries::new(&bytes) {
            let Ok(entry) = entry else { break };
            left = left.checked_sub(entry.header.size_bytes as usize).unwrap();
        }
    }
}
