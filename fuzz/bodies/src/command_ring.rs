//! Both ends of a command stream over memory that lies, and the entries that come out.

use dxg_wire::stream::ConsumerCore;
use dxg_wire::stream::Entries;
use dxg_wire::stream::Entry;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::EntryHeader;
use dxg_wire::stream::ProducerCore;
use dxg_wire::stream::wish_for_head;

use crate::input::Input;
use crate::lying::Lying;

/// Takes entries while there is something to say, takes them apart, and pushes.
pub fn command_ring(data: &[u8]) {
    let memory = Lying::new(&mut Input::new(data));
    let mut consumer = ConsumerCore::new(&memory);
    let mut scratch = Vec::new();
    while !memory.is_exhausted() {
        memory.most_reads();
        match consumer.take(&mut scratch) {
            Ok(Some(header)) => {
                assert!(memory.most_reads() <= 1, "a byte was read twice");
                assert_eq!(header.size_bytes as usize, scratch.len());
                if let Ok(entry) = Entry::parse(&scratch) {
                    assert!(entry.body.len() <= scratch.len());
                    let _ = entry.indirect();
                    let inner: usize = Entries::new(entry.body).flatten().map(|it| it.body.len()).sum();
                    assert!(inner <= entry.body.len());
                }
                consumer.done();
            }
            Ok(None) => {
                if let Ok(true) = consumer.prepare_sleep() {
                    consumer.end_sleep();
                }
            }
            Err(_) => break,
        }
    }
    let mut producer = ProducerCore::new(&memory);
    for size_bytes in [8, 24, 64, 32] {
        let mut entry = EntryHeader { opcode: 9, flags: EntryFlags::NONE, size_bytes }.to_bytes().to_vec();
        entry.resize(size_bytes as usize, 1);
        let _ = producer.push(&entry);
    }
    let _ = wish_for_head(&memory, 64);
}
