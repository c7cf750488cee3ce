//! What broker and worker take away from themselves.

use std::io;

use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;

/// Most descriptors of a keeper: one for each client, and some.
const KEEPER_FILES: u64 = 16_384;
/// Most descriptors of a worker.
const WORKER_FILES: u64 = 256;
/// Most bytes that a worker locks into memory: drivers lock a few pages for what the GPU reads without faults.
const WORKER_LOCKED_BYTES: u64 = 8 << 20;

/// Makes the broker ready to hold many descriptors and to leave no core behind.
///
/// # Errors
/// What the system says.
pub fn harden_broker() -> io::Result<()> {
    let files = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?;
    no_core()
}

/// What a worker takes for itself at most: stacks of its threads, what the compiler and rings hold, code.
const OWN_BYTES: u64 = 2 << 30;
/// And for each core: what the threads of a block hold while they run.
const OWN_BYTES_PER_CORE: u64 = 256 << 20;

/// Limits the private memory of a worker without a foreign driver to what the client may be charged and what the worker itself
/// needs. What asks for more fails, and ends this process at worst.
///
/// # Errors
/// What the system says.
pub fn limit_memory(charged_bytes: u64) -> io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let own_bytes = OWN_BYTES.saturating_add(OWN_BYTES_PER_CORE.saturating_mul(cores));
    lower(Resource::Data, charged_bytes.saturating_add(own_bytes))
}

/// Takes from a worker what it does not need: core files, many descriptors, much locked memory, message queues, priority
/// over others, debuggers, gains by exec, and life without the broker.
///
/// The number of processes has no limit of its own: the kernel counts all of the user's, so that a low one would refuse
/// threads to a driver because the user runs other programs. The filter refuses new processes instead.
///
/// # Errors
/// What the system says.
pub fn harden_worker() -> io::Result<()> {
    harden(WORKER_FILES)
}

/// The same for a keeper. A limit on the size of files ends a write, not the process.
///
/// # Errors
/// What the system says.
pub fn harden_keeper() -> io::Result<()> {
    super::signals::ignore_file_limit()?;
    harden(KEEPER_FILES)
}

fn harden(files: u64) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    lower(Resource::Nofile, files)?;
    lower(Resource::Memlock, WORKER_LOCKED_BYTES)?;
    lower(Resource::Msgqueue, 0)?;
    lower(Resource::Rtprio, 0)?;
    lower(Resource::Nice, 0)?;
    no_core()
}

fn no_core() -> io::Result<()> {
    Ok(rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

/// Lowers both limits to `most`, or leaves them where they are lower.
fn lower(resource: Resource, most: u64) -> io::Result<()> {
    let limit = rustix::process::getrlimit(resource);
    let maximum = limit.maximum.map_or(most, |maximum| maximum.min(most));
    let current = limit.current.map_or(maximum, |current| current.min(maximum));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })?)
}

/// Gives up all capabilities, for good: a daemon of root has them all. The device nodes stay open to their owner.
///
/// # Errors
/// What the system says; a process without capabilities has none to give up, and succeeds.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    Ok(rustix::thread::clear_ambient_capability_set()?)
}
