//! The encoding: what goes in comes out, the bytes are as written, and no bytes upset the decoder.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::codec::NULL;
use dxg_wire::stream::Entry;
use dxg_wire::stream::EntryFlags;
use proptest::prelude::*;

#[test]
fn values_have_the_written_format() {
    let mut encoder = Encoder::new();
    encoder.u32(0x0403_0201);
    encoder.u64(0x0c0b_0a09_0807_0605);
    encoder.f32(1.0);
    encoder.string(Some(b"abcde"));
    encoder.string(None);
    encoder.u16s(&[1, 2, 3]);
    if let Some(value) = encoder.presence(Some(7)) {
        encoder.i32(-value);
    }
    assert_eq!(encoder.presence(None::<u32>), None);
    encoder.end_chain();
    let expected = [
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12][..],
        &[0, 0, 0x80, 0x3f],
        b"\x05\0\0\0abcde\0\0\0",
        &[0xff; 4],
        &[1, 0, 2, 0, 3, 0, 0, 0],
        &[1, 0, 0, 0, 0xf9, 0xff, 0xff, 0xff],
        &[0; 4],
        &[0xff; 4],
    ]
    .concat();
    assert_eq!(encoder.as_slice(), expected);
}

#[test]
fn everything_put_is_taken_back() {
    let mut encoder = Encoder::with_capacity(256);
    encoder.i32(-5);
    encoder.i64(-6);
    encoder.f64(0.5);
    encoder.usize(9);
    encoder.count(3);
    encoder.u32s(&[1, 2, 3]);
    encoder.count(2);
    encoder.u64s(&[u64::MAX, 4]);
    encoder.u16s(&[5, 6, 7]);
    encoder.put_u32s([8, 9]);
    encoder.null();
    encoder.end_chain();
    let bytes = encoder.into_vec();
    let mut decoder = Decoder::new(&bytes);
    assert_eq!(decoder.i32(), Ok(-5));
    assert_eq!(decoder.i64(), Ok(-6));
    assert_eq!(decoder.f64(), Ok(0.5));
    assert_eq!(decoder.usize(), Ok(9));
    let count = decoder.count(4).unwrap();
    assert_eq!(decoder.u32s(count).unwrap().collect::<Vec<_>>(), [1, 2, 3]);
    let count = decoder.array(8).unwrap().unwrap();
    assert_eq!(decoder.u64s(count).unwrap().collect::<Vec<_>>(), [u64::MAX, 4]);
    assert_eq!(decoder.u16s(3).unwrap().collect::<Vec<_>>(), [5, 6, 7]);
    assert_eq!(decoder.take_u32s(), Ok([8, 9]));
    assert_eq!(decoder.array(1), Ok(None));
    assert_eq!(decoder.chain(), Ok(None));
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn count_that_cannot_fit_is_refused() {
    let mut encoder = Encoder::new();
    encoder.count(3);
    encoder.u64s(&[1, 2]);
    let decoder = Decoder::new(encoder.as_slice());
    assert_eq!(decoder.clone().count(8), Err(DecodeError::Short { wanted_bytes: 24, have_bytes: 16 }));
    assert_eq!(decoder.clone().count(4), Ok(3));
    let huge = 0xffff_fffe_u32.to_le_bytes();
    assert!(matches!(Decoder::new(&huge).count(usize::MAX), Err(DecodeError::Short { .. })));
    assert!(matches!(Decoder::new(&huge).count(0), Err(DecodeError::Short { .. })));
    assert_eq!(Decoder::new(&NULL.to_le_bytes()).count(1), Err(DecodeError::Absent));
}

#[test]
fn malformed_values_are_refused() {
    assert_eq!(Decoder::new(&[2, 0, 0, 0]).presence(), Err(DecodeError::Malformed));
    assert_eq!(Decoder::new(&[3, 0, 0, 0, b'a', 0, b'b', 0]).string(), Err(DecodeError::Malformed));
    assert_eq!(Decoder::new(&[1, 0, 0, 0, b'a', 1, 0, 0]).string(), Err(DecodeError::Malformed));
    assert_eq!(
        Decoder::new(&[1, 0, 0, 0, b'a']).string(),
        Err(DecodeError::Short { wanted_bytes: 3, have_bytes: 0 })
    );
    assert_eq!(Decoder::new(&[0; 4]).finish(), Ok(()));
    assert_eq!(Decoder::new(&[0; 8]).finish(), Err(DecodeError::Trailing { left_bytes: 8 }));
    assert_eq!(Decoder::new(&[0, 0, 1, 0]).finish(), Err(DecodeError::Trailing { left_bytes: 4 }));
}

#[test]
fn entries_are_padded_from_their_own_start() {
    let mut encoder = Encoder::new();
    encoder.u32(0);
    let mark = encoder.begin(20, EntryFlags::NONE);
    encoder.u32(1);
    encoder.end(mark);
    assert_eq!(encoder.len(), 4 + 16);
    assert_eq!(Entry::parse(&encoder.as_slice()[4..]).unwrap().body, [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn fixed_entries_equal_those_put_field_by_field() {
    let mut fixed = Encoder::new();
    fixed.entry(20, [1, 2, 3]);
    fixed.entry(21, [4, 5]);
    fixed.entry(22, []);
    let mut slow = Encoder::new();
    for (opcode, words) in [(20, &[1, 2, 3][..]), (21, &[4, 5]), (22, &[])] {
        let mark = slow.begin(opcode, EntryFlags::NONE);
        words.iter().for_each(|word| slow.u32(*word));
        slow.end(mark);
    }
    assert_eq!(fixed, slow);
}

#[test]
fn patch_and_truncate_reach_only_what_is_there() {
    let mut encoder = Encoder::new();
    encoder.put_u32s([1, 2]);
    encoder.patch_u32(4, 3);
    encoder.patch_u32(6, 9);
    encoder.patch_u32(usize::MAX, 9);
    assert_eq!(encoder.as_slice(), [1, 0, 0, 0, 3, 0, 0, 0]);
    encoder.truncate(4);
    assert_eq!(encoder.as_slice(), [1, 0, 0, 0]);
    encoder.clear();
    assert!(encoder.is_empty());
}

proptest! {
    #[test]
    fn strings_and_bytes_round_trip(
        string in proptest::option::of(proptest::collection::vec(1_u8.., 0..40)),
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut encoder = Encoder::new();
        encoder.string(string.as_deref());
        encoder.count(bytes.len());
        encoder.bytes(&bytes);
        prop_assert_eq!(encoder.len() % 4, 0);
        let mut decoder = Decoder::new(encoder.as_slice());
        prop_assert_eq!(decoder.string().unwrap(), string.as_deref());
        let count = decoder.count(1).unwrap();
        prop_assert_eq!(decoder.bytes(count).unwrap(), &bytes[..]);
        prop_assert_eq!(decoder.remaining(), 0);
    }

    /// Any calls on any bytes: the decoder never panics and never goes back.
    #[test]
    fn decoder_survives_any_bytes(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xff)], 0..200),
        calls in proptest::collection::vec((0_u8..13, any::<usize>()), 0..40),
    ) {
        let mut decoder = Decoder::new(&bytes);
        for (call, argument) in calls {
            let before = decoder.remaining();
            let small = argument % 64;
            let _ = match call {
                0 => decoder.u32().is_ok(),
                1 => decoder.u64().is_ok(),
                2 => decoder.count(argument).is_ok_and(|count| count <= bytes.len()),
                3 => decoder.array(small).is_ok(),
                4 => decoder.bytes(small).is_ok(),
                5 => decoder.bytes(argument).is_ok(),
                6 => decoder.string().is_ok(),
                7 => decoder.presence().is_ok(),
                8 => decoder.u32s(argument).is_ok(),
                9 => decoder.u64s(small).is_ok(),
                10 => decoder.u16s(argument).is_ok(),
                11 => decoder.take_u32s::<5>().is_ok(),
                _ => decoder.chain().is_ok(),
            };
            prop_assert!(decoder.remaining() <= before);
        }
        let _ = decoder.finish();
    }
}
