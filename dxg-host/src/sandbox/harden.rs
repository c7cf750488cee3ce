//! What broker and worker take away from themselves.

use std::io;

use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;

/// Most descriptors of a worker.
const WORKER_FILES: u64 = 256;

/// Makes the broker ready to hold many descriptors and to leave no core behind.
///
/// # Errors
/// What the system says.
pub fn harden_broker() -> io::Result<()> {
    let files = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?;
    no_core()
}

/// Takes from a worker what it does not need: core files, many descriptors, debuggers, gains by exec, and life
/// without the broker.
///
/// # Errors
/// What the system says.
pub fn harden_worker() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: Some(WORKER_FILES), maximum: Some(WORKER_FILES) },
    )?;
    no_core()
}

fn no_core() -> io::Result<()> {
    Ok(rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}
