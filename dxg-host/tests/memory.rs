//! Leases and quotas.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod support;

use dxg_wire::session::AskBudget;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::Budget;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::Reason;

use support::client::Client;
use support::client::hello;
use support::daemon::Daemon;
use support::daemon::eventually;
use support::session::Session;

const QUOTA: &str = "[[vgpu]]\nadapter = 0\nquota_bytes = 1048576\n";

#[test]
fn lease_to_the_last_byte_of_the_quota_is_granted_and_one_page_more_is_refused() {
    let daemon = Daemon::with_config(QUOTA);
    let mut session = Session::greet(&daemon.socket(), &hello());
    assert_eq!(session.welcome.quota_bytes, 1 << 20);
    session.lease(1 << 20).unwrap();
    assert_eq!(session.lease(1), Err(Reason::QUOTA));
    assert_eq!(daemon.state().vgpus[0].used_bytes, 1 << 20);
}

#[test]
fn release_makes_room_again_without_drift() {
    let daemon = Daemon::with_config(QUOTA);
    let mut session = Session::greet(&daemon.socket(), &hello());
    for _ in 0..100 {
        let base = session.lease(1 << 20).unwrap();
        session.release(base);
    }
    session.lease(1 << 20).unwrap();
}

#[test]
fn refused_lease_leaves_no_trace() {
    let daemon = Daemon::with_config(QUOTA);
    let mut session = Session::greet(&daemon.socket(), &hello());
    assert_eq!(session.lease(u64::MAX), Err(Reason::INVALID));
    assert_eq!(session.lease(0), Err(Reason::INVALID));
    assert_eq!(session.lease((1 << 20) + 1), Err(Reason::QUOTA));
    assert_eq!(daemon.state().vgpus[0].used_bytes, 0);
    session.lease(1 << 20).unwrap();
}

#[test]
fn two_clients_share_the_quota_of_their_virtual_gpu() {
    let daemon = Daemon::with_config(QUOTA);
    let mut first = Session::greet(&daemon.socket(), &hello());
    let mut second = Session::greet(&daemon.socket(), &hello());
    first.lease(600 << 10).unwrap();
    assert_eq!(second.lease(600 << 10), Err(Reason::QUOTA));
    second.lease(424 << 10).unwrap();
    drop(first);
    eventually("the first client's memory is back", || daemon.state().vgpus[0].used_bytes == 424 << 10);
    second.lease(600 << 10).unwrap();
}

/// What the client holds and may hold besides.
fn budget(session: &Session) -> (u64, u64) {
    session.client.send(ClientMessage::ASK_BUDGET, &AskBudget { request: 77, reserved: 0 }, &[]);
    let (budget, _) = session.client.expect::<Budget>(BrokerMessage::BUDGET);
    assert_eq!(budget.request, 77);
    (budget.used_bytes, budget.left_bytes)
}

#[test]
fn budget_is_what_the_quotas_of_client_and_virtual_gpu_leave() {
    let daemon = Daemon::with_config(&format!("{QUOTA}client_quota_bytes = 786432\n"));
    let mut first = Session::greet(&daemon.socket(), &hello());
    let mut second = Session::greet(&daemon.socket(), &hello());
    assert_eq!(budget(&first), (0, 768 << 10));
    let base = first.lease(512 << 10).unwrap();
    assert_eq!((budget(&first), budget(&second)), ((512 << 10, 256 << 10), (0, 512 << 10)));
    second.lease(512 << 10).unwrap();
    assert_eq!((budget(&first), budget(&second)), ((512 << 10, 0), (512 << 10, 0)));
    first.release(base);
    assert_eq!((budget(&first), budget(&second)), ((0, 512 << 10), (512 << 10, 256 << 10)));
}

#[test]
fn budget_asked_for_without_the_feature_ends_the_session() {
    let daemon = Daemon::start();
    let plain = dxg_wire::session::Hello { features: Features::SHARING, ..hello() };
    let session = Session::greet(&daemon.socket(), &plain);
    session.client.send(ClientMessage::ASK_BUDGET, &AskBudget { request: 1, reserved: 0 }, &[]);
    assert_eq!(session.client.lost(), Reason::VIOLATION);
}

#[test]
fn leased_blocks_never_come_back_at_the_same_address() {
    let daemon = Daemon::start();
    let mut session = Session::greet(&daemon.socket(), &hello());
    let first = session.lease(4096).unwrap();
    session.release(first);
    let second = session.lease(4096).unwrap();
    assert_ne!(first, second);
    assert_eq!(first.0 % (1 << 16), 0);
}

#[test]
fn rings_that_are_larger_than_the_default_count_as_memory() {
    let daemon = Daemon::with_config("[[vgpu]]\nadapter = 0\nquota_bytes = 4194304\n");
    let large = dxg_wire::session::Hello { vgpu_ring_bytes: 16 << 20, ..hello() };
    let client = Client::connect(&daemon.socket());
    client.send(ClientMessage::HELLO, &large, &[]);
    assert_eq!(client.refused(), Reason::QUOTA);
    assert_eq!(daemon.state().vgpus[0].used_bytes, 0);
    let larger = dxg_wire::session::Hello { vgpu_ring_bytes: 1 << 20, ..hello() };
    let session = Session::greet(&daemon.socket(), &larger);
    assert_eq!(daemon.state().vgpus[0].used_bytes, 2 * ((1 << 20) - (256 << 10)));
    drop(session);
    eventually("nothing is left", || daemon.state().vgpus[0].used_bytes == 0);
}
