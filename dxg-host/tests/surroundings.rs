//! A daemon in surroundings that are not what it hopes for.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod support;

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use dxg_wire::runtime_dir;
use rustix::process::Signal;

use support::client::Client;
use support::daemon::Daemon;
use support::daemon::fresh_dir;
use support::session::Session;

/// Starts a daemon that is not to start.
fn refused(dir: &Path) -> String {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_dxgd"))
        .args(["serve", "--adapter", "none", "--runtime-dir"])
        .arg(dir)
        .env("DXG_LOG", "error")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn directory_that_others_can_change_is_refused() {
    let dir = fresh_dir();
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused(&dir).contains("can be changed by others"));
    assert!(!runtime_dir::lock_file(&dir).exists(), "nothing was made there");
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn directory_of_another_user_is_refused() {
    let dir = fresh_dir();
    fs::create_dir(&dir).unwrap();
    if std::os::unix::fs::chown(&dir, Some(65534), None).is_err() {
        println!("skipped: may not give files away");
        fs::remove_dir_all(&dir).unwrap();
        return;
    }
    assert!(refused(&dir).contains("belongs to another user"));
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn link_in_the_place_of_the_socket_directory_is_refused_and_what_it_names_stays() {
    let dir = fresh_dir();
    let elsewhere = dir.join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let file = elsewhere.join("precious.sock");
    fs::write(&file, "mine").unwrap();
    symlink(&elsewhere, dir.join(runtime_dir::VGPU_DIR)).unwrap();
    assert!(refused(&dir).contains("is not a directory of its own"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn directories_that_the_daemon_makes_have_its_modes_whatever_the_mask() {
    let dir = fresh_dir();
    let inner = dir.join("run");
    fs::create_dir(&dir).unwrap();
    let (ready, tell) = rustix::pipe::pipe().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "umask 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_dxgd")])
        .args(["serve", "--adapter", "none", "--runtime-dir"])
        .arg(&inner)
        .args(["--ready-fd", &tell.as_raw_fd().to_string()])
        .env("DXG_LOG", "off")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    drop(tell);
    let mut line = String::new();
    BufReader::new(fs::File::from(ready)).read_line(&mut line).unwrap();
    let expected = if rustix::process::geteuid().is_root() { 0o755 } else { 0o700 };
    assert_eq!(mode(&inner), expected);
    assert_eq!(mode(&inner.join(runtime_dir::VGPU_DIR)), expected);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    child.wait().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn daemon_that_does_not_get_to_serve_leaves_no_socket() {
    let dir = fresh_dir();
    fs::create_dir(&dir).unwrap();
    let config = dir.join("config.toml");
    fs::write(&config, "[[vgpu]]\nadapter = 0\n[[vgpu]]\nadapter = 7\n").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_dxgd"))
        .args(["serve", "--adapter", "none", "--runtime-dir"])
        .arg(&dir)
        .arg("--config")
        .arg(&config)
        .env("DXG_LOG", "off")
        .status()
        .unwrap();
    assert!(!status.success());
    assert_eq!(fs::read_dir(dir.join(runtime_dir::VGPU_DIR)).unwrap().count(), 0);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn hung_up_daemon_removes_its_sockets() {
    let mut daemon = Daemon::start();
    daemon.signal(Signal::HUP);
    assert!(daemon.child.wait().unwrap().success());
    assert!(daemon.sockets().is_empty());
}

#[test]
fn daemon_whose_log_nobody_reads_goes_on() {
    let dir = fresh_dir();
    fs::create_dir(&dir).unwrap();
    let (ready, tell) = rustix::pipe::pipe().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dxgd"))
        .args(["serve", "--adapter", "none", "--ready-fd", &tell.as_raw_fd().to_string(), "--runtime-dir"])
        .arg(&dir)
        .env("DXG_LOG", "trace")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((tell, child.stderr.take()));
    let mut line = String::new();
    BufReader::new(fs::File::from(ready)).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready "), "{line:?}");
    let entry = fs::read_dir(dir.join(runtime_dir::VGPU_DIR)).unwrap().next().unwrap().unwrap();
    Client::connect(&entry.path()).send_bytes(&[1; 7], &[]);
    Session::open(&entry.path());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn daemon_that_is_told_to_removes_its_directory_when_its_pipe_closes() {
    let dir = fresh_dir();
    let (ready, tell) = rustix::pipe::pipe().unwrap();
    let (alive_theirs, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    rustix::io::fcntl_setfd(&alive_theirs, rustix::io::FdFlags::empty()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dxgd"))
        .args(["serve", "--adapter", "none", "--remove-dir", "--runtime-dir"])
        .arg(&dir)
        .args(["--ready-fd", &tell.as_raw_fd().to_string()])
        .args(["--exit-with-fd", &alive_theirs.as_raw_fd().to_string()])
        .env("DXG_LOG", "off")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    drop((tell, alive_theirs));
    let mut line = String::new();
    BufReader::new(fs::File::from(ready)).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready "), "{line:?}");
    drop(alive);
    assert!(child.wait().unwrap().success());
    assert!(!dir.exists());
}

/// A daemon on a directory whose log is read at its end.
struct Logged {
    child: std::process::Child,
    dir: std::path::PathBuf,
}

impl Logged {
    fn start() -> Self {
        let dir = fresh_dir();
        let (ready, tell) = rustix::pipe::pipe().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_dxgd"))
            .args(["serve", "--adapter", "none", "--runtime-dir"])
            .arg(&dir)
            .args(["--ready-fd", &tell.as_raw_fd().to_string()])
            .env("DXG_LOG", "info")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(tell);
        let mut line = String::new();
        BufReader::new(fs::File::from(ready)).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "{line:?}");
        Self { child, dir }
    }

    fn socket(&self) -> std::path::PathBuf {
        fs::read_dir(self.dir.join(runtime_dir::VGPU_DIR)).unwrap().next().unwrap().unwrap().path()
    }

    fn end(self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success());
        fs::remove_dir_all(&self.dir).unwrap();
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn client_that_leaves_is_no_warning() {
    let daemon = Logged::start();
    for _ in 0..10 {
        let session = Session::open(&daemon.socket());
        let lease = dxg_wire::session::Lease { request: 1, reserved: 0, size_bytes: 4096 };
        session.client.send(dxg_wire::session::ClientMessage::LEASE, &lease, &[]);
    }
    let log = daemon.end();
    assert!(log.contains("session starts") && log.contains("session ends"), "{log}");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    assert!(!log.contains('\x1b'), "no colours where nobody sees them: {log}");
}

#[test]
fn clients_that_misbehave_in_a_loop_do_not_fill_the_log() {
    let daemon = Logged::start();
    for _ in 0..500 {
        let client = Client::connect(&daemon.socket());
        client.send_bytes(&[7; 33], &[]);
        assert_eq!(client.lost(), dxg_wire::session::Reason::VIOLATION);
    }
    let log = daemon.end();
    let lines = log.lines().filter(|line| line.contains("violation")).count();
    assert!((1..=200).contains(&lines), "{lines} lines");
}
