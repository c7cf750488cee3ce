//! Death of any party, and what is left after it.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod support;

use std::collections::BTreeSet;

use dxg_wire::messages::Channel;
use dxg_wire::session::Hello;
use dxg_wire::session::Reason;
use rustix::process::Signal;

use support::client::hello;
use support::daemon::Daemon;
use support::daemon::eventually;
use support::daemon::is_alive;
use support::session::Session;

fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// A daemon whose pool is at rest: one worker that waits.
fn settled(config: &str) -> (Daemon, Vec<String>) {
    let daemon = Daemon::with_config(&format!("most_warm_workers = 1\n{config}"));
    let session = Session::open(&daemon.socket());
    let bound = daemon.bound_workers()[0];
    drop(session);
    eventually("its worker is gone", || !is_alive(bound));
    eventually("one worker waits", || daemon.workers().len() == 1);
    // A worker is off the process table just before its descriptors are closed; an answer comes after both.
    daemon.state();
    let before = daemon.descriptors();
    (daemon, before)
}

#[test]
fn dead_worker_is_a_lost_device_for_its_client_only() {
    let daemon = Daemon::start();
    let mut other = Session::open(&daemon.socket());
    let of_other = daemon.bound_workers();
    let session = Session::open(&daemon.socket());
    let of_session = daemon.bound_workers().into_iter().find(|pid| !of_other.contains(pid));
    kill(of_session.expect("a worker of its own"));
    assert_eq!(session.client.lost(), Reason::DEVICE_LOST);
    other.lease(4096).unwrap();
    Session::open(&daemon.socket());
}

/// A greeting for rings that are charged.
fn large_rings() -> Hello {
    Hello { vgpu_ring_bytes: 4 << 20, ..hello() }
}

/// A session whose client comes while these workers, all that there are, are dying.
fn opened_over_dying_workers(daemon: &Daemon, dying: &[u32]) -> Session {
    // One that is stopped is, like one that is being killed, there and does nothing.
    dying.iter().for_each(|worker| signal(*worker, Signal::STOP));
    let socket = daemon.socket();
    let opening = std::thread::spawn(move || Session::greet(&socket, &large_rings()));
    eventually("one of them was given the client, and is replaced", || {
        daemon.workers().iter().any(|worker| !dying.contains(worker))
    });
    dying.iter().for_each(|worker| kill(*worker));
    opening.join().expect("the client does not notice")
}

#[test]
fn worker_that_dies_before_it_takes_its_client_is_replaced_and_leaves_nothing() {
    let daemon = Daemon::with_config("most_warm_workers = 1\n");
    daemon.state();
    let before = daemon.descriptors();
    let mut session = opened_over_dying_workers(&daemon, &daemon.workers());
    session.lease(4096).unwrap();
    let undisturbed = Session::greet(&daemon.socket(), &large_rings());
    let vgpu = &daemon.state().vgpus[0];
    let [charged, plain] = [0, 1].map(|client| vgpu.clients[client].used_bytes);
    assert_ne!(plain, 0);
    assert_eq!(charged, plain + 4096);
    assert_eq!(vgpu.used_bytes, charged + plain);
    drop((session, undisturbed));
    eventually("one worker waits", || {
        daemon.state().vgpus[0].clients.is_empty() && daemon.workers().len() == 1
    });
    eventually("descriptors are back", || daemon.descriptors() == before);
    assert_eq!(daemon.state().vgpus[0].used_bytes, 0);
}

#[test]
fn workers_that_die_all_at_once_are_no_refusal() {
    let daemon = Daemon::with_config("warm_workers = 5\nmost_warm_workers = 5\n");
    let dying = daemon.workers();
    assert_eq!(dying.len(), 5);
    let mut session = opened_over_dying_workers(&daemon, &dying);
    session.lease(4096).unwrap();
}

#[test]
fn dead_client_leaves_no_worker_no_descriptor_and_no_charge() {
    let (daemon, before) = settled("");
    let mut session = Session::open(&daemon.socket());
    session.lease(1 << 20).unwrap();
    let bound = daemon.bound_workers()[0];
    drop(session);
    eventually("its worker is gone", || !is_alive(bound));
    eventually("one worker waits", || daemon.workers().len() == 1);
    eventually("descriptors are back", || daemon.descriptors() == before);
    assert_eq!(daemon.state().vgpus[0].used_bytes, 0);
}

#[test]
fn twenty_clients_that_vanish_leave_nothing() {
    let (daemon, before) = settled("");
    for _ in 0..20 {
        let mut session = Session::greet(&daemon.socket(), &hello());
        session.lease(1 << 16).unwrap();
    }
    eventually("one worker waits", || {
        daemon.state().vgpus[0].clients.is_empty() && daemon.workers().len() == 1
    });
    eventually("descriptors are back", || daemon.descriptors() == before);
}

#[test]
fn terminated_daemon_says_so_and_removes_its_sockets() {
    let mut daemon = Daemon::start();
    let session = Session::open(&daemon.socket());
    let workers = daemon.workers();
    daemon.signal(Signal::TERM);
    assert_eq!(session.client.lost(), Reason::SHUTDOWN);
    assert!(daemon.child.wait().unwrap().success());
    assert!(daemon.sockets().is_empty());
    assert!(!dxg_wire::runtime_dir::control_socket(&daemon.dir).exists());
    for worker in workers {
        eventually("workers are gone", || !is_alive(worker));
    }
}

#[test]
fn killed_daemon_takes_its_workers_along_and_its_leftovers_are_replaced() {
    let mut daemon = Daemon::start();
    let session = Session::open(&daemon.socket());
    let workers = daemon.workers();
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    session.client.expect_hang_up();
    for worker in workers {
        eventually("workers are gone", || !is_alive(worker));
    }
    assert!(daemon.socket().exists(), "nobody was there to remove it");
    let next = Daemon::in_dir(daemon.dir.clone(), "");
    Session::open(&next.socket());
}

#[test]
fn daemon_ends_with_the_pipe_of_whoever_started_it() {
    let mut daemon = Daemon::start();
    daemon.let_go();
    assert!(daemon.child.wait().unwrap().success());
}

#[test]
fn malformed_request_ends_its_session() {
    let daemon = Daemon::start();
    let mut session = Session::open(&daemon.socket());
    session.post(Channel::Vgpu, &[0xFF; 64], 77);
    assert_eq!(session.client.lost(), Reason::VIOLATION);
}

#[test]
fn client_that_does_not_read_is_ended_and_others_are_served() {
    let daemon = Daemon::start();
    let deaf = Session::greet(&daemon.socket(), &hello());
    let lease = dxg_wire::session::Lease { request: 1, reserved: 0, size_bytes: 0 };
    let sending = std::thread::spawn(move || {
        // Refusals pile up until the daemon has enough of them.
        while dxg_wire::shm::session_io::send_message(
            &deaf.client.socket,
            dxg_wire::session::ClientMessage::LEASE.0,
            &lease,
            &[],
        )
        .is_ok()
        {}
    });
    sending.join().unwrap();
    let mut other = Session::open(&daemon.socket());
    other.lease(4096).unwrap();
}

#[test]
fn worker_gets_nothing_of_the_daemons_surroundings() {
    let daemon = Daemon::with_config("[host_env]\nVK_DRIVER_FILES = \"/dev/null\"\n");
    let session = Session::open(&daemon.socket());
    let worker = daemon.bound_workers()[0];
    // A worker cannot be looked into but by who may trace it.
    let (Ok(environment), Ok(open)) =
        (std::fs::read(format!("/proc/{worker}/environ")), std::fs::read_dir(format!("/proc/{worker}/fd")))
    else {
        println!("skipped: may not look into the worker");
        return;
    };
    let mut variables: Vec<String> = environment
        .split(|byte| *byte == 0)
        .filter(|variable| !variable.is_empty())
        .map(|variable| String::from_utf8_lossy(variable).into_owned())
        .collect();
    variables.sort();
    let ours = [
        "DXG_WORKER=1",
        "MALLOC_MMAP_THRESHOLD_=4194304",
        "MALLOC_TRIM_THRESHOLD_=33554432",
        "MESA_SHADER_CACHE_DISABLE=true",
        "VK_DRIVER_FILES=/dev/null",
        "__GL_SHADER_DISK_CACHE=0",
    ];
    assert_eq!(variables, ours);
    let paths: BTreeSet<String> = open
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| is_a_path(target))
        .collect();
    // Both outputs are the daemon's standard error, which may be a file.
    assert!(paths.len() <= 1, "{paths:?}");
    drop(session);
}

/// Whether what a descriptor names lies in the file system. Memory of the session has a name like one.
fn is_a_path(target: &str) -> bool {
    target.starts_with('/') && !target.starts_with("/dev/") && !target.starts_with("/memfd:")
}

#[test]
fn sixty_clients_at_once_are_all_served() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let clients: Vec<_> = (0..60)
        .map(|_| {
            let socket = socket.clone();
            std::thread::spawn(move || Session::open(&socket).lease(4096).unwrap())
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}
