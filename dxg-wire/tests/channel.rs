//! Channels: rings joined to doorbells.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::doorbell;
use dxg_wire::vmbus::Channel;
use dxg_wire::vmbus::ChannelError;
use dxg_wire::vmbus::Incoming;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketType;
use dxg_wire::vmbus::SharedRing;
use support::two_views;

const NEVER: &dyn Fn() -> bool = &|| false;
const NO_SPIN: Duration = Duration::ZERO;

/// Both sides of a channel with rings of the given size.
fn channel(ring_bytes: usize) -> (Channel, Channel) {
    let (guest, host) = two_views(2 * ring_bytes);
    let ring = |memory: &dxg_wire::shm::SharedSlice, index: usize| {
        SharedRing::new(&memory.sub(index * ring_bytes, ring_bytes).unwrap()).unwrap()
    };
    let to_host = doorbell::create().unwrap();
    let to_guest = doorbell::create().unwrap();
    let copy = |bell: &std::os::fd::OwnedFd| bell.try_clone().unwrap();
    let guest_side = Channel::new(ring(&guest, 0), ring(&guest, 1), copy(&to_host), copy(&to_guest)).unwrap();
    let host_side = Channel::new(ring(&host, 1), ring(&host, 0), to_guest, to_host).unwrap();
    (guest_side, host_side)
}

fn send(channel: &mut Channel, id: u64, payload: &[u8]) {
    let sender = &mut channel.sender;
    sender.send(PacketType::DATA_IN_BAND, PacketFlags::NONE, id, &[payload], None, NEVER).unwrap();
}

fn receive(channel: &mut Channel, payload: &mut Vec<u8>) -> u64 {
    match channel.receiver.receive(payload, NO_SPIN, &[], None).unwrap() {
        Incoming::Packet(header) => header.transaction_id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_and_answers_cross_between_sleepers() {
    let (mut guest, mut host) = channel(8192);
    let thread = thread::spawn(move || {
        let mut payload = Vec::new();
        loop {
            let id = receive(&mut host, &mut payload);
            send(&mut host, id, &payload);
            if id == 500 {
                break;
            }
        }
    });
    let mut payload = Vec::new();
    for id in 1..=500_u64 {
        send(&mut guest, id, &id.to_le_bytes());
        assert_eq!(receive(&mut guest, &mut payload), id);
        assert_eq!(payload, id.to_le_bytes());
    }
    thread.join().unwrap();
}

#[test]
fn sender_waits_for_room_and_loses_nothing() {
    let (mut guest, mut host) = channel(8192);
    let thread = thread::spawn(move || {
        let mut payload = Vec::new();
        for id in 0..2000 {
            assert_eq!(receive(&mut host, &mut payload), id);
            assert_eq!(payload.len(), 1000);
        }
    });
    for id in 0..2000 {
        send(&mut guest, id, &[7; 1000]);
    }
    thread.join().unwrap();
}

#[test]
fn sender_on_a_full_ring_gives_up() {
    let (mut guest, mut host) = channel(8192);
    while guest.sender.try_send(PacketType::DATA_IN_BAND, PacketFlags::NONE, 1, &[&[0; 1000]]).unwrap() {}
    let mut send = |deadline, cancelled: &dyn Fn() -> bool| {
        let parts: &[&[u8]] = &[&[0; 1000]];
        guest.sender.send(PacketType::DATA_IN_BAND, PacketFlags::NONE, 1, parts, deadline, cancelled)
    };
    assert!(matches!(send(None, &|| true), Err(ChannelError::Cancelled)));
    assert!(matches!(send(Some(Instant::now()), NEVER), Err(ChannelError::TimedOut)));
    receive(&mut host, &mut Vec::new());
    send(None, NEVER).unwrap();
}

#[test]
fn receiver_is_woken_by_another_descriptor_and_takes_packets_first() {
    let (mut guest, mut host) = channel(8192);
    let other = doorbell::create().unwrap();
    doorbell::ring(&other);
    let mut payload = Vec::new();
    let quiet = doorbell::create().unwrap();
    let others = [quiet.as_fd(), other.as_fd()];
    let woken = guest.receiver.receive(&mut payload, NO_SPIN, &others, None).unwrap();
    assert_eq!(woken, Incoming::Other(0b10));
    send(&mut host, 3, &[]);
    let woken = guest.receiver.receive(&mut payload, NO_SPIN, &others, None).unwrap();
    assert!(matches!(woken, Incoming::Packet(header) if header.transaction_id == 3));
    let now = Some(Instant::now());
    assert_eq!(guest.receiver.receive(&mut payload, NO_SPIN, &[], now).unwrap(), Incoming::TimedOut);
}

#[test]
fn armed_receiver_hears_the_next_packet_on_its_doorbell() {
    let (mut guest, mut host) = channel(8192);
    assert!(guest.receiver.arm().unwrap());
    send(&mut host, 1, &[]);
    let bell = guest.receiver.doorbell();
    assert_eq!(doorbell::wait(&[bell.as_fd()], None).unwrap(), 1);
    guest.receiver.disarm();
    assert!(!guest.receiver.arm().unwrap(), "the packet is still there");
    guest.receiver.disarm();
    assert!(guest.receiver.try_receive(&mut Vec::new()).unwrap().is_some());
    assert_eq!(doorbell::wait(&[bell.as_fd()], Some(Duration::ZERO)).unwrap(), 0);
}

#[test]
fn busy_receiver_gets_no_signals() {
    let (mut guest, mut host) = channel(8192);
    let bell = guest.receiver.doorbell();
    for id in 0..3 {
        send(&mut host, id, &[]);
    }
    assert_eq!(doorbell::wait(&[bell.as_fd()], Some(Duration::ZERO)).unwrap(), 0);
    let mut payload = Vec::new();
    for id in 0..3 {
        assert_eq!(receive(&mut guest, &mut payload), id);
    }
}
