//! Both ends of a VMBus ring over memory that lies.

use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketType;
use dxg_wire::vmbus::Receiver;
use dxg_wire::vmbus::Sender;

use crate::input::Input;
use crate::lying::Lying;

/// Receives while there is something to say, and sends.
pub fn vmbus_ring(data: &[u8]) {
    let memory = Lying::new(&mut Input::new(data));
    let limit = data.len() + 4096;
    if let Ok(mut receiver) = Receiver::new(&memory) {
        let mut payload = Vec::new();
        while !memory.is_exhausted() {
            memory.most_reads();
            match receiver.receive(&mut payload) {
                Ok(Some(header)) => {
                    assert_eq!(header.payload_bytes, payload.len());
                    assert!(payload.capacity() <= limit, "more memory than the ring has");
                    assert!(memory.most_reads() <= 1, "a byte was read twice");
                    let _ = receiver.take_signal();
                }
                Ok(None) => {}
                Err(_) => break,
            }
        }
        let _ = receiver.unmask();
    }
    if let Ok(mut sender) = Sender::new(&memory) {
        for len in [0, 8, 40, 400] {
            let payload = vec![7; len];
            let _ = sender.send(PacketType::DATA_IN_BAND, PacketFlags::NONE, 1, &[&payload, b"tail"]);
        }
    }
}
