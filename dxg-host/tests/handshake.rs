//! Greetings, good and bad, and packets that are no messages.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod support;

use std::os::fd::AsFd;
use std::process::Command;

use dxg_wire::session::ARENA_BASE;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::Hello;
use dxg_wire::session::Lease;
use dxg_wire::session::Reason;
use dxg_wire::session::Welcome;
use dxg_wire::session::WindowRef;
use dxg_wire::session::to_bytes;

use support::client::Client;
use support::client::hello;
use support::daemon::Daemon;
use support::daemon::eventually;
use support::session::Session;

fn refused(daemon: &Daemon, hello: &Hello) -> Reason {
    let client = Client::connect(&daemon.socket());
    client.send(ClientMessage::HELLO, hello, &[]);
    client.refused()
}

fn violation(daemon: &Daemon, bytes: &[u8]) {
    let session = Session::greet(&daemon.socket(), &hello());
    session.client.send_bytes(bytes, &[]);
    assert_eq!(session.client.lost(), Reason::VIOLATION);
}

#[test]
fn greeting_gets_a_welcome_with_defaults_and_the_uuid_of_the_socket() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon.socket());
    client.send(ClientMessage::HELLO, &hello(), &[]);
    let (welcome, fds) = client.expect::<Welcome>(BrokerMessage::WELCOME);
    assert_eq!(fds.len(), 6);
    assert_eq!(welcome.version, 1);
    assert_eq!(welcome.interface_version, 40);
    let without_streams = Features::SHARING.union(Features::BUDGET);
    assert_eq!(welcome.features, without_streams, "the adapter has no streams");
    assert_eq!(welcome.vgpu_ring_bytes, 256 << 10);
    assert_eq!(welcome.arena_base.0, ARENA_BASE);
    let uuid = uuid::Uuid::from_bytes(welcome.vgpu_uuid).to_string();
    assert_eq!(daemon.socket().file_stem().unwrap().to_str().unwrap(), uuid);
    assert_eq!(welcome.adapter_luid[0].to_le_bytes(), welcome.vgpu_uuid[..4]);
}

#[test]
fn wrong_magic_is_a_bad_greeting() {
    let daemon = Daemon::start();
    assert_eq!(refused(&daemon, &Hello { magic: 1, ..hello() }), Reason::BAD_HELLO);
}

#[test]
fn foreign_version_is_named() {
    let daemon = Daemon::start();
    assert_eq!(refused(&daemon, &Hello { version_min: 7, version_max: 9, ..hello() }), Reason::VERSION);
    assert_eq!(refused(&daemon, &Hello { interface_version: 27, ..hello() }), Reason::VERSION);
}

#[test]
fn ring_size_that_is_not_accepted_is_named() {
    let daemon = Daemon::start();
    assert_eq!(refused(&daemon, &Hello { vgpu_ring_bytes: 12345, ..hello() }), Reason::RING_SIZE);
    assert_eq!(refused(&daemon, &Hello { global_ring_bytes: 1 << 30, ..hello() }), Reason::RING_SIZE);
}

#[test]
fn first_message_that_is_no_greeting_is_refused() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon.socket());
    client.send(ClientMessage::LEASE, &Lease { request: 1, reserved: 0, size_bytes: 4096 }, &[]);
    assert_eq!(client.refused(), Reason::BAD_HELLO);
}

#[test]
fn user_who_is_not_allowed_is_refused() {
    let daemon = Daemon::with_config("[access]\nallowed_uids = [4242]\n");
    assert_eq!(Client::connect(&daemon.socket()).refused(), Reason::PERMISSION);
}

#[test]
fn one_client_too_many_is_refused_and_served_when_another_leaves() {
    let daemon = Daemon::with_config("[[vgpu]]\nadapter = 0\nmax_clients = 1\n");
    let first = Session::greet(&daemon.socket(), &hello());
    assert_eq!(Client::connect(&daemon.socket()).refused(), Reason::QUOTA);
    drop(first);
    eventually("the place is free", || daemon.state().vgpus[0].clients.is_empty());
    Session::greet(&daemon.socket(), &hello());
}

#[test]
fn packet_of_another_size_ends_the_session() {
    let daemon = Daemon::start();
    violation(&daemon, &[2; 17]);
}

#[test]
fn packet_larger_than_a_message_ends_the_session() {
    let daemon = Daemon::start();
    violation(&daemon, &[0; 4096]);
}

#[test]
fn unknown_kind_ends_the_session() {
    let daemon = Daemon::start();
    violation(&daemon, &to_bytes(99, &WindowRef { base: dxg_wire::session::IoAddress(0) }));
}

#[test]
fn second_greeting_ends_the_session() {
    let daemon = Daemon::start();
    violation(&daemon, &to_bytes(ClientMessage::HELLO.0, &hello()));
}

#[test]
fn descriptor_that_does_not_belong_ends_the_session() {
    let daemon = Daemon::start();
    let session = Session::greet(&daemon.socket(), &hello());
    let stray = std::fs::File::open("/dev/null").unwrap();
    let lease = to_bytes(ClientMessage::LEASE.0, &Lease { request: 1, reserved: 0, size_bytes: 4096 });
    session.client.send_bytes(&lease, &[stray.as_fd()]);
    assert_eq!(session.client.lost(), Reason::VIOLATION);
}

#[test]
fn acknowledgement_of_what_was_not_announced_ends_the_session() {
    let daemon = Daemon::start();
    let mut session = Session::greet(&daemon.socket(), &hello());
    let base = session.lease(4096).unwrap();
    session.client.send(ClientMessage::WINDOW_ACK, &WindowRef { base }, &[]);
    assert_eq!(session.client.lost(), Reason::VIOLATION);
}

#[test]
fn daemon_survives_bad_clients_and_serves_the_next() {
    let daemon = Daemon::start();
    for len in [1, 127, 129, 200] {
        let client = Client::connect(&daemon.socket());
        client.send_bytes(&vec![0xA5; len], &[]);
        drop(client);
    }
    Session::open(&daemon.socket());
}

#[test]
fn second_daemon_on_one_directory_does_not_start() {
    let daemon = Daemon::start();
    let second = Command::new(env!("CARGO_BIN_EXE_dxgd"))
        .args(["serve", "--adapter", "none", "--runtime-dir"])
        .arg(&daemon.dir)
        .env("DXG_LOG", "off")
        .status()
        .unwrap();
    assert!(!second.success());
    Session::open(&daemon.socket());
}
