//! The VMBus ring against a model, against the written format, and against a peer that lies.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::VecDeque;

use dxg_wire::vmbus::ControlWord;
use dxg_wire::vmbus::MAX_PAYLOAD_BYTES;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketType;
use dxg_wire::vmbus::Receiver;
use dxg_wire::vmbus::RingError;
use dxg_wire::vmbus::SendError;
use dxg_wire::vmbus::Sender;
use dxg_wire::vmbus::SharedRing;
use dxg_wire::vmbus::Signal;
use dxg_wire::vmbus::data_bytes;
use proptest::prelude::*;
use support::TestMemory;
use support::shared;

const IN_BAND: PacketType = PacketType::DATA_IN_BAND;

/// Sends one packet; answers whether the receiver is to be signalled.
fn send(sender: &mut Sender<&TestMemory>, id: u64, payload: &[u8]) -> Result<bool, SendError> {
    sender.send(IN_BAND, PacketFlags::NONE, id, &[payload]).map(|Signal(signal)| signal)
}

#[test]
fn packet_on_the_ring_has_the_written_format() {
    let memory = TestMemory::new(4096);
    let mut sender = Sender::new(&memory).unwrap();
    send(&mut sender, 1, &[0; 8]).unwrap();
    let _ = sender
        .send(IN_BAND, PacketFlags::COMPLETION_REQUESTED, 0x1122_3344_5566_7788, &[b"abc", b"defgh", b"i"])
        .unwrap();
    let data = memory.data.borrow();
    let expected: Vec<u8> = [
        &[6, 0, 2, 0, 4, 0, 1, 0][..],
        &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
        b"abcdefgh",
        b"i\0\0\0\0\0\0\0",
        &[0, 0, 0, 0, 32, 0, 0, 0],
    ]
    .concat();
    assert_eq!(data[32..72], expected[..]);
    assert_eq!(memory.word(ControlWord::WriteIndex as usize), 72);
    assert_eq!(memory.word(ControlWord::FeatureBits as usize), 1);
}

#[test]
fn receiver_skips_an_extended_header() {
    let memory = TestMemory::new(4096);
    let packet =
        [&[11, 0, 3, 0, 4, 0, 0, 0][..], &[5, 0, 0, 0, 0, 0, 0, 0], b"extended", b"payload!", &[0; 8]]
            .concat();
    memory.data.borrow_mut()[..packet.len()].copy_from_slice(&packet);
    memory.set_word(ControlWord::WriteIndex as usize, packet.len() as u64);
    let mut payload = Vec::new();
    let header = Receiver::new(&memory).unwrap().receive(&mut payload).unwrap().unwrap();
    assert_eq!(payload, b"payload!");
    assert_eq!(header.packet_type, PacketType::COMPLETION);
    assert_eq!(header.transaction_id, 5);
}

#[test]
fn signal_is_for_the_packet_that_ends_emptiness_only() {
    let memory = TestMemory::new(4096);
    let mut sender = Sender::new(&memory).unwrap();
    let mut receiver = Receiver::new(&memory).unwrap();
    assert!(send(&mut sender, 1, &[]).unwrap());
    assert!(!send(&mut sender, 2, &[]).unwrap());
    let mut payload = Vec::new();
    receiver.receive(&mut payload).unwrap().unwrap();
    assert!(!send(&mut sender, 3, &[]).unwrap());
    receiver.receive(&mut payload).unwrap().unwrap();
    receiver.receive(&mut payload).unwrap().unwrap();
    receiver.mask();
    assert!(!send(&mut sender, 4, &[]).unwrap());
    assert!(!receiver.unmask().unwrap(), "a packet is there");
    receiver.receive(&mut payload).unwrap().unwrap();
    assert!(receiver.unmask().unwrap());
    assert!(send(&mut sender, 5, &[]).unwrap());
}

#[test]
fn full_ring_refuses_and_keeps_one_unit_free() {
    let memory = TestMemory::new(128);
    let mut sender = Sender::new(&memory).unwrap();
    // Three packets of 32 bytes leave 32, which a fourth would fill.
    for id in 0..3 {
        send(&mut sender, id, &[0; 8]).unwrap();
    }
    assert_eq!(send(&mut sender, 3, &[0; 8]), Err(SendError::Full));
    // One of 24 bytes fits.
    send(&mut sender, 3, &[]).unwrap();
    assert_eq!(send(&mut sender, 4, &[]), Err(SendError::Full));
}

#[test]
fn blocked_sender_is_signalled_once_when_its_room_appears() {
    let memory = TestMemory::new(128);
    let mut sender = Sender::new(&memory).unwrap();
    let mut receiver = Receiver::new(&memory).unwrap();
    for id in 0..3 {
        send(&mut sender, id, &[0; 8]).unwrap();
    }
    let parts: [&[u8]; 1] = [&[0; 40]];
    assert!(!sender.want_room(&parts).unwrap());
    let mut payload = Vec::new();
    receiver.receive(&mut payload).unwrap().unwrap();
    assert!(!receiver.take_signal(), "64 bytes are free, 72 are needed");
    receiver.receive(&mut payload).unwrap().unwrap();
    assert!(receiver.take_signal());
    assert!(!receiver.take_signal());
    receiver.receive(&mut payload).unwrap().unwrap();
    assert!(!receiver.take_signal(), "there was room before");
    let _ = sender.send(IN_BAND, PacketFlags::NONE, 9, &parts).unwrap();
    sender.forget_room();
    assert_eq!(memory.word(ControlWord::PendingSendSize as usize), 0);
}

#[test]
fn room_that_appears_before_the_wish_needs_no_signal() {
    let memory = TestMemory::new(128);
    let mut sender = Sender::new(&memory).unwrap();
    let mut receiver = Receiver::new(&memory).unwrap();
    for id in 0..3 {
        send(&mut sender, id, &[0; 8]).unwrap();
    }
    receiver.receive(&mut Vec::new()).unwrap().unwrap();
    assert!(!receiver.take_signal());
    assert!(sender.want_room(&[&[0; 8]]).unwrap());
}

#[test]
fn payload_over_the_limit_is_refused_for_good() {
    let memory = TestMemory::new(256);
    let mut sender = Sender::new(&memory).unwrap();
    assert_eq!(sender.limit_bytes(), 224);
    send(&mut sender, 1, &[0; 224]).unwrap();
    assert_eq!(
        send(&mut sender, 2, &[0; 225]),
        Err(SendError::TooLarge { payload_bytes: 225, limit_bytes: 224 })
    );
    let large = TestMemory::new(258_048);
    assert_eq!(Sender::new(&large).unwrap().limit_bytes(), MAX_PAYLOAD_BYTES);
}

#[test]
fn ring_sizes_outside_the_limits_are_refused() {
    assert_eq!(data_bytes(262_144), Ok(258_048));
    assert_eq!(data_bytes(8192), Ok(4096));
    assert_eq!(data_bytes(4096), Err(RingError::BadSize { bytes: 4096 }));
    assert_eq!(data_bytes(8192 + 8), Err(RingError::BadSize { bytes: 8200 }));
    assert_eq!(data_bytes(1 << 33), Err(RingError::BadSize { bytes: 1 << 33 }));
}

#[test]
fn ring_in_shared_memory_carries_packets_around_its_end() {
    let memory = SharedRing::new(&shared(8192)).unwrap();
    let mut sender = Sender::new(memory.clone()).unwrap();
    let mut receiver = Receiver::new(memory).unwrap();
    let mut payload = Vec::new();
    for id in 0..1000_u64 {
        let sent: Vec<u8> = (0..id as usize % 700).map(|byte| (byte as u64 ^ id) as u8).collect();
        let (one, two) = sent.split_at(sent.len() / 3);
        let _ = sender.send(IN_BAND, PacketFlags::NONE, id, &[one, two]).unwrap();
        let header = receiver.receive(&mut payload).unwrap().unwrap();
        assert_eq!(header.transaction_id, id);
        assert_eq!(payload[..sent.len()], sent);
        assert!(payload[sent.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(payload.len(), sent.len().next_multiple_of(8));
    }
}

#[test]
fn attached_ends_continue_where_the_indices_are() {
    let memory = TestMemory::new(128);
    memory.set_word(ControlWord::WriteIndex as usize, 120);
    memory.set_word(ControlWord::ReadIndex as usize, 120);
    let mut sender = Sender::new(&memory).unwrap();
    let mut receiver = Receiver::new(&memory).unwrap();
    send(&mut sender, 7, b"12345678").unwrap();
    let mut payload = Vec::new();
    assert_eq!(receiver.receive(&mut payload).unwrap().unwrap().transaction_id, 7);
    assert_eq!(payload, b"12345678");
}

#[test]
fn invalid_indices_are_refused() {
    for index in [4, 128, u32::MAX] {
        let memory = TestMemory::new(128);
        memory.set_word(ControlWord::WriteIndex as usize, u64::from(index));
        let error = Receiver::new(&memory).unwrap().receive(&mut Vec::new()).unwrap_err();
        assert_eq!(error, RingError::BadIndex { index });
        let memory = TestMemory::new(128);
        memory.set_word(ControlWord::ReadIndex as usize, u64::from(index));
        assert_eq!(
            send(&mut Sender::new(&memory).unwrap(), 0, &[]),
            Err(RingError::BadIndex { index }.into())
        );
    }
}

#[test]
fn packet_beyond_the_write_index_is_refused() {
    let memory = TestMemory::new(128);
    send(&mut Sender::new(&memory).unwrap(), 1, &[1; 16]).unwrap();
    memory.set_word(ControlWord::WriteIndex as usize, 32);
    let error = Receiver::new(&memory).unwrap().receive(&mut Vec::new()).unwrap_err();
    assert_eq!(error, RingError::BadPacket { at: 0, offset8: 2, len8: 4, available: 32 });
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Receive,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..90).prop_map(Step::Send), Just(Step::Receive)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn ring_behaves_as_a_bounded_queue(
        start in 0_u32..32,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        const DATA: usize = 256;
        let memory = TestMemory::new(DATA);
        memory.set_word(ControlWord::WriteIndex as usize, u64::from(start) * 8);
        memory.set_word(ControlWord::ReadIndex as usize, u64::from(start) * 8);
        let mut sender = Sender::new(&memory).unwrap();
        let mut receiver = Receiver::new(&memory).unwrap();
        let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let mut used = 0;
        let mut payload = Vec::new();
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(bytes) => {
                    let needed = 24 + bytes.len().next_multiple_of(8);
                    let was_empty = model.is_empty();
                    match send(&mut sender, id as u64, &bytes) {
                        Ok(signal) => {
                            prop_assert!(used + needed < DATA);
                            prop_assert_eq!(signal, was_empty);
                            used += needed;
                            let mut padded = bytes;
                            padded.resize(needed - 24, 0);
                            model.push_back((id as u64, padded));
                        }
                        Err(error) => {
                            prop_assert_eq!(error, SendError::Full);
                            prop_assert!(used + needed >= DATA);
                        }
                    }
                }
                Step::Receive => {
                    memory.reset_reads();
                    let received = receiver.receive(&mut payload).unwrap();
                    prop_assert!(memory.most_reads() <= 1, "a byte was read twice");
                    let got = received.map(|header| (header.transaction_id, payload.clone()));
                    let expected = model.pop_front();
                    used -= expected.as_ref().map_or(0, |(_, payload)| 24 + payload.len());
                    prop_assert_eq!(got, expected);
                }
            }
        }
    }

    /// Every load answers something else, the data is anything: no panic, no access outside (the memory would panic), no
    /// byte read twice.
    #[test]
    fn receiver_survives_any_peer(
        data in proptest::collection::vec(any::<u8>(), 8..64),
        plausible in any::<bool>(),
        script in proptest::collection::vec(any::<u64>(), 0..64),
    ) {
        let mut data: Vec<u8> = data.iter().flat_map(|byte| [*byte; 8]).collect();
        if plausible {
            // Small lengths, so that packets are taken too.
            for descriptor in data.chunks_mut(8) {
                let len8 = descriptor[4] % 6;
                descriptor.copy_from_slice(&[6, 0, 2, 0, len8, 0, 0, 0]);
            }
        }
        let size = data.len() as u64;
        let script: Vec<u64> =
            if plausible { script.iter().map(|value| value % size / 8 * 8).collect() } else { script };
        let memory = TestMemory::lying(data, script);
        let Ok(mut receiver) = Receiver::new(&memory) else { return Ok(()) };
        let mut payload = Vec::new();
        for _ in 0..16 {
            memory.reset_reads();
            let received = receiver.receive(&mut payload);
            prop_assert!(memory.most_reads() <= 1, "a byte was read twice");
            if received.is_err() {
                break;
            }
            let _ = receiver.take_signal();
            let _ = receiver.unmask();
        }
    }

    #[test]
    fn sender_survives_any_peer(
        size in 8_usize..64,
        plausible in any::<bool>(),
        script in proptest::collection::vec(any::<u64>(), 0..64),
        payload_bytes in 0_usize..200,
    ) {
        let size = size * 8;
        let script: Vec<u64> =
            if plausible { script.iter().map(|value| value % size as u64 / 8 * 8).collect() } else { script };
        let memory = TestMemory::lying(vec![0; size], script);
        let Ok(mut sender) = Sender::new(&memory) else { return Ok(()) };
        let payload = vec![0x55; payload_bytes];
        for id in 0..16 {
            if let Err(SendError::Ring(_)) = send(&mut sender, id, &payload) {
                break;
            }
            let _ = sender.want_room(&[&payload]);
        }
        // The sender reads nothing but indices.
        prop_assert_eq!(memory.most_reads(), 0);
    }
}
