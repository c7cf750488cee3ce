//! Connections that say nothing, too much, or the same again and again.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod support;

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use dxg_wire::control;
use dxg_wire::control::Reply;
use dxg_wire::control::Request;
use dxg_wire::runtime_dir;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Reason;

use support::client::Client;
use support::client::hello;
use support::daemon::Daemon;
use support::daemon::GUARD;
use support::session::Session;

fn control(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(runtime_dir::control_socket(&daemon.dir)).unwrap();
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream
}

#[test]
fn connection_that_does_not_greet_is_turned_away_in_time() {
    let daemon = Daemon::with_config("greeting_seconds = 1\n");
    let silent = Client::connect(&daemon.socket());
    assert_eq!(silent.refused(), Reason::BAD_HELLO);
    Session::open(&daemon.socket());
}

#[test]
fn connection_that_does_not_greet_holds_no_place() {
    let daemon = Daemon::with_config("[[vgpu]]\nadapter = 0\nmax_clients = 1\n");
    let silent = Client::connect(&daemon.socket());
    let first = Session::open(&daemon.socket());
    silent.send(ClientMessage::HELLO, &hello(), &[]);
    assert_eq!(silent.refused(), Reason::QUOTA, "the place was taken meanwhile");
    drop(first);
}

#[test]
fn one_silent_connection_too_many_ends_the_oldest() {
    let daemon = Daemon::with_config("greeting_seconds = 3600\n");
    let silent: Vec<Client> = (0..65).map(|_| Client::connect(&daemon.socket())).collect();
    assert_eq!(silent[0].refused(), Reason::HOST_RESOURCES);
    Session::open(&daemon.socket());
    silent[64].send(ClientMessage::HELLO, &hello(), &[]);
    silent[64].receive();
}

#[test]
fn many_questions_at_once_are_all_answered() {
    let daemon = Daemon::start();
    let stream = control(&daemon);
    let question = control::to_line(Request::List).unwrap();
    let mut asking = stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || {
        for _ in 0..2000 {
            asking.write_all(&question).unwrap();
        }
        asking.shutdown(Shutdown::Write).unwrap();
    });
    // Nobody reads the answers yet, and clients are served all the same.
    Session::open(&daemon.socket());
    let answers = BufReader::new(stream).lines().map(Result::unwrap);
    let answered = answers
        .filter(|line| matches!(control::from_line::<Reply>(line.as_bytes()).unwrap(), Reply::State(_)));
    assert_eq!(answered.count(), 2000);
    sent.join().unwrap();
}

#[test]
fn idle_control_connections_do_not_keep_others_out() {
    let daemon = Daemon::start();
    let _idle: Vec<UnixStream> = (0..64).map(|_| control(&daemon)).collect();
    assert_eq!(daemon.state().vgpus.len(), 1);
}

#[test]
fn question_without_an_end_is_cut_off() {
    let daemon = Daemon::start();
    let mut stream = control(&daemon);
    let chunk = [b'x'; 4096];
    while stream.write_all(&chunk).is_ok() {}
    let mut answer = Vec::new();
    // Cut off with bytes of ours unread, the socket is reset.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert_eq!(daemon.state().vgpus.len(), 1);
}

#[test]
fn question_that_is_none_is_answered_with_an_error() {
    let daemon = Daemon::start();
    let mut stream = control(&daemon);
    stream.write_all(b"{\"protocol\":1,\"request\":\"fly\"}\n\xff\xfe\n").unwrap();
    let mut stream = BufReader::new(stream);
    for _ in 0..2 {
        assert!(matches!(control::read(&mut stream).unwrap(), Reply::Error { .. }));
    }
}
