//! Two clients and their workers, all of them hostile, against the broker.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use dxg_host::fuzzing::BrokerStage;
use dxg_host::fuzzing::Leftovers;
use dxg_wire::doorbell;
use dxg_wire::session::ARENA_BASE;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::Hello;
use dxg_wire::session::MAGIC;
use dxg_wire::session::MAX_FDS;
use dxg_wire::session::MESSAGE_BYTES;
use dxg_wire::session::WorkerMessage;
use dxg_wire::session::to_bytes;
use dxg_wire::shm::create_sealed_with;
use dxg_wire::shm::session_io::Message;

use crate::input::Input;
use crate::input::Known;

/// Most messages of one run.
const MESSAGES: usize = 48;
/// Descriptors that did not come from the broker.
const OWN: usize = 2;
/// Most descriptors that are kept to be sent again.
const KEPT: usize = 12;

thread_local! {
    static STAGE: RefCell<BrokerStage> = RefCell::new(BrokerStage::new().expect("a stage"));
}

/// Says what the bytes say, then leaves: the broker keeps nothing.
pub fn handshake(data: &[u8]) {
    STAGE.with_borrow_mut(|stage| run(stage, data));
}

fn run(stage: &mut BrokerStage, data: &[u8]) {
    let mut input = Input::new(data);
    let mut known = Known::new(&[1, 2, 3, ARENA_BASE, Features::ALL.0, MAGIC.into()]);
    let mut fds: Vec<OwnedFd> =
        vec![create_sealed_with("fuzz", &[7; 64]).expect("memory"), doorbell::create().expect("an eventfd")];
    let greeted = input.u8();
    for client in 0..2 {
        stage.connect().expect("a client");
        if greeted & 1 << client != 0 {
            let welcome = stage.client_says(client, &to_bytes(ClientMessage::HELLO.0, &hello()), &[]);
            learn(welcome.expect("a stage"), &mut known, &mut fds);
        }
    }
    for _ in 0..MESSAGES {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let client = usize::from(op >> 7);
        let is_worker = op & 0x40 != 0;
        let kind = u32::from(op & 0x1F) % 13;
        let mut packet = vec![0; 8];
        packet[..4].copy_from_slice(&kind.to_le_bytes());
        let words = usize::from(input.u8() % 32);
        packet.extend(input.words(words, &known));
        packet.resize(MESSAGE_BYTES, 0);
        let descriptors =
            if is_worker { WorkerMessage(kind).descriptors() } else { ClientMessage(kind).descriptors() };
        let mut count = descriptors.unwrap_or(0);
        if op & 0x20 != 0 {
            packet.truncate(usize::from(input.u8() % 130));
            count = usize::from(input.u8()) % (MAX_FDS + 1);
        }
        let sent: Vec<BorrowedFd<'_>> = (0..count)
            .filter_map(|_| fds.get(usize::from(input.u8()) % fds.len()).map(AsFd::as_fd))
            .collect();
        let heard = if is_worker {
            stage.worker_says(client, &packet, &sent)
        } else {
            stage.client_says(client, &packet, &sent)
        };
        learn(heard.expect("a stage"), &mut known, &mut fds);
    }
    drop(fds);
    assert_eq!(stage.clear().expect("a stage"), Leftovers::default(), "something is left");
}

fn learn(messages: Vec<Message>, known: &mut Known, fds: &mut Vec<OwnedFd>) {
    for message in messages {
        known.learn(message.packet.get(8..).unwrap_or_default());
        fds.extend(message.fds);
        // Our own two stay; of the others the newest.
        while fds.len() > KEPT {
            fds.remove(OWN);
        }
    }
}

fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        version_min: 1,
        version_max: 1,
        interface_version: 40,
        features: Features::ALL,
        vgpu_ring_bytes: 0,
        global_ring_bytes: 0,
        name: [0; 32],
    }
}
