//! What a daemon makes of a system that lets it close workers in, and of one that does not.

// UNSAFETY: a filter is put in force between fork and exec.
#![expect(unsafe_code, reason = "a hook between fork and exec is not expressible in safe Rust")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use dxg_wire::session::ClientMessage;
use dxg_wire::session::Reason;

use super::support::client::Client;
use super::support::client::hello;
use super::support::daemon::Daemon;
use super::support::daemon::fresh_dir;
use super::support::session::Session;

/// The daemon's word on its workers, once one serves.
fn level_of(daemon: &Daemon) -> String {
    let mut session = Session::open(&daemon.socket());
    session.lease(4096).unwrap();
    daemon.state().daemon.sandbox
}

#[test]
fn daemon_says_how_far_its_workers_are_closed_in() {
    let level = level_of(&Daemon::start());
    assert!(level.starts_with("full: landlock ABI ") || level.starts_with("partial: "), "{level}");
}

#[test]
fn sandbox_that_is_off_is_said_to_be_off() {
    assert_eq!(level_of(&Daemon::with_config("sandbox = \"off\"")), "off");
}

#[test]
fn system_that_refuses_the_sandbox_is_served_all_the_same_and_told_of() {
    let daemon = Daemon::launched(fresh_dir(), "", as_in_a_strict_container);
    assert!(level_of(&daemon).starts_with("partial: no landlock, seccomp 0 of 2, "), "{}", level_of(&daemon));
}

#[test]
fn system_that_refuses_a_required_sandbox_is_not_served() {
    let daemon = Daemon::launched(fresh_dir(), "sandbox = \"require\"", as_in_a_strict_container);
    let client = Client::connect(&daemon.socket());
    client.send(ClientMessage::HELLO, &hello(), &[]);
    assert_eq!(client.refused(), Reason::WORKER);
}

/// Makes what the command starts, and all that follows from it, a process to which the kernel refuses landlock and
/// filters.
fn as_in_a_strict_container(command: &mut Command) {
    // SAFETY:
    // - the hook makes system calls only and allocates nothing.
    unsafe { command.pre_exec(refuse_landlock_and_filters) };
}

fn refuse_landlock_and_filters() -> io::Result<()> {
    const LOAD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const ANSWER: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(0);
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(IF_EQUAL, 1, 0, number(libc::SYS_seccomp)),
        step(IF_EQUAL, 0, 1, number(libc::SYS_landlock_create_ruleset)),
        step(ANSWER, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
        step(ANSWER, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 5, filter: filter.as_mut_ptr() };
    // SAFETY:
    // - takes numbers only.
    let locked = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if locked != 0 {
        return Err(io::Error::last_os_error());
    }
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY:
    // - reads one program, which lives until the call returns, and its five instructions, which do too.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    if done != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
