//! Workers as the broker sees them: a process, a socket, and whom it serves.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use clap::ValueEnum;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use super::ids::ClientId;
use super::ids::WorkerId;
use super::outbox::Outbox;
use super::startup::host_libcuda;
use crate::adapter::AdapterChoice;
use crate::config::Config;
use crate::sandbox;
use crate::sandbox::Child;
use crate::sandbox::Role;
use crate::sandbox::Stdin;

/// Makes drivers keep compiled shaders in memory: those of Mesa, and NVIDIA's.
const NO_CACHES: &[(&str, &str)] = &[("MESA_SHADER_CACHE_DISABLE", "true"), ("__GL_SHADER_DISK_CACHE", "0")];

/// Keeps the C library from giving memory back to the system after each device, only to fault it in again for the next:
/// a fifth of the time that it takes to make and destroy one.
const KEEP_MEMORY: &[(&str, &str)] =
    &[("MALLOC_TRIM_THRESHOLD_", "33554432"), ("MALLOC_MMAP_THRESHOLD_", "4194304")];

/// What a worker is doing. It is bound once and never comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// Loading its driver.
    Starting,
    /// Waiting for a client.
    Ready,
    /// Given to one, and has not said yet that it takes it.
    Binding(ClientId),
    /// Serving one.
    Bound(ClientId),
    /// Killed, not reaped yet.
    Ended,
}

/// One worker.
pub(super) struct Worker {
    /// Its number.
    pub(super) id: WorkerId,
    /// The process.
    pub(super) child: Child,
    /// The way to it.
    pub(super) outbox: Outbox,
    /// What it loads.
    pub(super) choice: AdapterChoice,
    /// What it is doing.
    pub(super) state: WorkerState,
}

impl Worker {
    /// Starts a worker.
    pub(super) fn start(id: WorkerId, choice: AdapterChoice, config: &Config) -> io::Result<Self> {
        let (ours, theirs) = socket_pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let arguments = arguments(choice, config);
        let environment = environment(config);
        // What a driver or a layer prints belongs with the daemon's messages, not with its output.
        let said = Stdio::from(io::stderr());
        let child = sandbox::spawn(Role::Worker, &arguments, &environment, Stdin::Fd(theirs), said)?;
        Ok(Self { id, child, outbox: Outbox::new(ours), choice, state: WorkerState::Starting })
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        self.state = WorkerState::Ended;
        self.child.kill();
    }
}

fn arguments(choice: AdapterChoice, config: &Config) -> Vec<String> {
    let policy =
        config.sandbox.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut arguments = vec!["--adapter".to_owned(), choice.to_string(), "--sandbox".to_owned(), policy];
    let from_environment = sandbox::readable_from_environment(&config.host_env);
    arguments.extend(host_libcuda(config));
    for path in config.sandbox_readable.iter().chain(&config.host_libcuda).chain(&from_environment) {
        arguments.extend(["--readable".to_owned(), path.display().to_string()]);
    }
    arguments
}

/// What the administrator lists, that drivers keep no files, which a worker cannot write, and how memory is kept.
fn environment(config: &Config) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> = NO_CACHES
        .iter()
        .chain(KEEP_MEMORY)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    environment.extend(config.host_env.clone());
    environment
}

/// A pair of session sockets.
pub(super) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}
