//! `dxgd serve`: from the command line to the loop.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use dxg_wire::runtime_dir;
use rustix::net::SocketType;

use super::Broker;
use super::code::CodeKeeping;
use super::control::ControlPort;
use super::deadlines::Deadlines;
use super::descriptors::Descriptors;
use super::epoll::Poller;
use super::ids::Counter;
use super::ledger::Ledger;
use super::registry::Registry;
use super::runtime::Leftovers;
use super::runtime::Permissions;
use super::runtime::RuntimeDir;
use super::startup;
use super::startup::StartError;
use super::worker_proc::WorkerState;
use crate::adapter::probe::Wanted;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::DaemonUser;
use crate::sandbox;
use crate::sandbox::TerminationSignals;

/// How a daemon is started.
#[derive(Debug, Default)]
pub struct ServeOptions {
    /// Its directory; the user's or the system's where it is not given.
    pub runtime_dir: Option<PathBuf>,
    /// What becomes of that directory at the end.
    pub leftovers: Leftovers,
    /// Its configuration.
    pub config: Config,
    /// Which adapters it offers.
    pub wanted: Wanted,
    /// Gets one line once clients can connect and find workers that wait.
    pub ready: Option<OwnedFd>,
    /// Ends the daemon when its other end closes.
    pub exit_with: Option<OwnedFd>,
}

/// Why a daemon does not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Guests and host name memory by pages of 4 KiB, and map it so.
    #[error("this kernel has pages of {page_bytes} bytes; only pages of 4096 bytes are supported")]
    PageSize {
        /// What it has.
        page_bytes: usize,
    },
    /// There is nowhere to put the sockets.
    #[error("no runtime directory: set DXG_RUNTIME_DIR or XDG_RUNTIME_DIR")]
    NoRuntimeDir,
    /// The runtime directory cannot be used.
    #[error("runtime directory {path}: {source}")]
    RuntimeDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Virtual GPUs cannot be made.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system refused.
    #[error("daemon: {0}")]
    Os(#[from] io::Error),
}

/// Whoever waits for the daemon to be ready.
pub(super) struct Ready {
    to: File,
    dir: PathBuf,
}

// See docs/decisions/pages-are-four-kibibytes.md.
fn check_pages(page_bytes: usize) -> Result<(), ServeError> {
    if page_bytes == 4096 { Ok(()) } else { Err(ServeError::PageSize { page_bytes }) }
}

impl Broker {
    /// Tells whoever waits for it that clients find workers, once those that start first have done so or failed.
    pub(super) fn say_ready(&mut self) {
        let is_starting = self.workers.values().any(|worker| worker.state == WorkerState::Starting);
        if !is_starting && let Some(mut ready) = self.ready.take() {
            // Whoever asked to be told may have gone.
            let _ = writeln!(ready.to, "ready {}", ready.dir.display());
        }
    }
}

/// Runs a daemon until it is told to end. The process must be single-threaded.
///
/// # Errors
/// Why it does not start, or what broke its loop.
pub fn serve(options: ServeOptions) -> Result<(), ServeError> {
    check_pages(rustix::param::page_size())?;
    let signals = TerminationSignals::watch()?;
    sandbox::harden_broker()?;
    let user = DaemonUser::current();
    let dir = match options.runtime_dir {
        Some(dir) => dir,
        None => {
            let uid = rustix::process::geteuid().as_raw();
            runtime_dir::of_daemon(|name| std::env::var_os(name), uid).ok_or(ServeError::NoRuntimeDir)?
        }
    };
    let mut runtime = RuntimeDir::open(&dir, user, options.leftovers)
        .map_err(|source| ServeError::RuntimeDir { path: dir.clone(), source })?;
    let found = startup::probe(options.wanted, &options.config)?;
    let vgpus = startup::vgpus(&options.config, &found, &mut runtime, user)?;
    let control = Permissions { mode: options.config.access.mode_bits(user)?, owner: None, group: None };
    let control = runtime.listen(&runtime_dir::control_socket(&dir), SocketType::STREAM, control)?;
    let code = CodeKeeping::open(&options.config.cuda.code_cache()?, vgpus.values());
    let mut ledger = Ledger::default();
    for vgpu in vgpus.values() {
        ledger.open_vgpu(vgpu.id, vgpu.quota_bytes);
    }
    let mut broker = Broker {
        poller: Poller::new()?,
        config: options.config,
        runtime,
        signals,
        exit_with: options.exit_with,
        control: ControlPort::new(control),
        started: Instant::now(),
        adapters: found,
        vgpus,
        clients: Default::default(),
        workers: Default::default(),
        failing: Default::default(),
        demand: Default::default(),
        refill_at: None,
        ready: options.ready.map(|to| Ready { to: to.into(), dir: dir.clone() }),
        ledger,
        registry: Registry::default(),
        descriptors: Descriptors::of_this_process(),
        deadlines: Deadlines::default(),
        client_ids: Counter::default(),
        session_log: Default::default(),
        violation_log: Default::default(),
        spare: dxg_wire::doorbell::create().ok(),
        worker_ids: Counter::default(),
        sandbox_level: String::new(),
        code,
    };
    tracing::info!(dir = %dir.display(), "serving");
    Ok(broker.run()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_pages_are_refused_with_their_size() {
        assert!(check_pages(4096).is_ok());
        let refused = check_pages(65536).unwrap_err().to_string();
        assert!(refused.contains("65536"), "{refused}");
    }
}
