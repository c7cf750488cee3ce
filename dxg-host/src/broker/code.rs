//! The keeper of compiled code as the broker sees it: a process, a socket, and workers that are sent to it.
//!
//! *Why.* Files are slow and belong to several clients, so neither the broker nor a worker touches them. The broker only says
//! whose a worker is. A keeper that dies costs time and nothing else: sessions go on, and the next one may get another keeper.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use clap::ValueEnum;
use dxg_wire::code::KeeperMessage;
use dxg_wire::code::Limits;
use dxg_wire::code::Seat;
use dxg_wire::session::Call;
use dxg_wire::session::Granted;
use dxg_wire::session::HostMessage;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Reason;

use super::Broker;
use super::epoll::Readiness;
use super::epoll::Source;
use super::ids::ClientId;
use super::ids::WorkerId;
use super::outbox::Outbox;
use super::outbox::SendError;
use super::vgpu::Vgpu;
use super::worker_proc::socket_pair;
use crate::adapter::AdapterChoice;
use crate::adapter::cuda::Executor;
use crate::code_store::directory;
use crate::code_store::directory::DirectoryError;
use crate::config::CodeCache;
use crate::sandbox;
use crate::sandbox::Child;
use crate::sandbox::Role;
use crate::sandbox::Stdin;

/// A keeper that ended is not replaced sooner than this after its start.
const RESTART_AFTER: Duration = Duration::from_secs(60);
/// How long the last files of a daemon that ends may take.
const LAST_FILES: Duration = Duration::from_secs(2);

/// Whom the kernel names in the place of users that this daemon's user namespace does not have: they may be several.
const NOBODY: u32 = 65_534;

/// The variable that says what is logged.
const LOG_VARIABLE: &str = "DXG_LOG";

struct Keeper {
    child: Child,
    outbox: Outbox,
}

/// Where code is kept, and by whom.
pub(super) struct CodeKeeping {
    directory: Option<Rc<OwnedFd>>,
    limits: Limits,
    keeper: Option<Keeper>,
    started: Option<Instant>,
    /// For people: the directory, or why there is none.
    state: String,
}

impl CodeKeeping {
    /// Nothing is kept.
    pub(super) fn off(why: &str) -> Self {
        let state = if why.is_empty() { "off".to_owned() } else { format!("off: {why}") };
        let limits = Limits { place_bytes: 0, total_bytes: 0 };
        Self { directory: None, limits, keeper: None, started: None, state }
    }

    /// Opens the directory that the configuration names, or the usual one, where these virtual GPUs compile anything. One that
    /// cannot be used is no reason not to serve.
    pub(super) fn open<'a>(config: &CodeCache, mut vgpus: impl Iterator<Item = &'a Vgpu>) -> Self {
        if !vgpus.any(compiles) {
            return Self::off("nothing is compiled");
        }
        let path = match &config.directory {
            Some(path) if path.as_os_str().is_empty() => return Self::off(""),
            Some(path) => Some(path.clone()),
            None => {
                let uid = rustix::process::geteuid().as_raw();
                directory::usual(|name| std::env::var_os(name), uid)
            }
        };
        let Some(path) = path else {
            tracing::info!("compiled code is not kept on disk: neither XDG_CACHE_HOME nor HOME says where");
            return Self::off("no directory");
        };
        match directory::open(&path) {
            Ok(directory) => Self::in_directory(directory, &path, config),
            Err(error) => {
                let directory = path.display();
                match &error {
                    DirectoryError::Foreign(_) => {
                        tracing::warn!(%directory, %error, "compiled code is not kept on disk")
                    }
                    // Many a user has no home, or one that cannot be written.
                    _ => tracing::info!(%directory, %error, "compiled code is not kept on disk"),
                }
                Self::off(&format!("{}: {error}", path.display()))
            }
        }
    }

    fn in_directory(directory: OwnedFd, path: &Path, config: &CodeCache) -> Self {
        Self {
            directory: Some(Rc::new(directory)),
            limits: Limits { place_bytes: config.place_bytes, total_bytes: config.total_bytes },
            keeper: None,
            started: None,
            state: path.display().to_string(),
        }
    }

    /// The directory, or why there is none, for people.
    pub(super) fn state(&self) -> &str {
        &self.state
    }

    /// Whether a keeper is missing, and the last one has not ended just now.
    fn may_start(&self) -> bool {
        self.keeper.is_none() && self.started.is_none_or(|at| at.elapsed() >= RESTART_AFTER)
    }
}

/// Whether kernels of a virtual GPU become code of this machine.
fn compiles(vgpu: &Vgpu) -> bool {
    matches!(vgpu.choice, AdapterChoice::Cpu | AdapterChoice::Vulkan(_))
        && vgpu.cuda.executor == Executor::Native
}

impl Keeper {
    fn start(policy: sandbox::Policy) -> io::Result<Self> {
        let (ours, theirs) = socket_pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let policy = policy.to_possible_value().map(|value| value.get_name().to_owned());
        let arguments = ["--sandbox".to_owned(), policy.unwrap_or_default()];
        // It is our own code: it says as much as we do.
        let log = std::env::var(LOG_VARIABLE).ok().map(|value| (LOG_VARIABLE.to_owned(), value));
        let environment: BTreeMap<String, String> = log.into_iter().collect();
        let said = Stdio::from(io::stderr());
        let child = sandbox::spawn(Role::Keeper, &arguments, &environment, Stdin::Fd(theirs), said)?;
        Ok(Self { child, outbox: Outbox::new(ours) })
    }
}

impl Broker {
    /// Starts the keeper, where there is anything to keep and none was started just now.
    pub(super) fn start_keeper(&mut self) {
        let Some(directory) = self.code.directory.as_ref().map(Rc::clone) else { return };
        if !self.code.may_start() {
            return;
        }
        self.code.started = Some(Instant::now());
        let started = Keeper::start(self.config.sandbox).and_then(|keeper| {
            let watched = self
                .poller
                .watch(keeper.outbox.socket(), Source::Keeper)
                .and_then(|()| self.poller.watch(keeper.child.pidfd(), Source::KeeperDeath));
            if watched.is_err() {
                keeper.child.kill();
                keeper.child.wait();
            }
            watched.map(|()| keeper)
        });
        match started {
            Ok(keeper) => {
                self.code.keeper = Some(keeper);
                let limits = self.code.limits;
                self.tell_keeper(KeeperMessage::DIRECTORY, &limits, directory);
            }
            Err(error) => tracing::warn!(%error, "no keeper of compiled code"),
        }
    }

    fn tell_keeper<B: dxg_wire::session::Body>(&mut self, kind: KeeperMessage, body: &B, fd: Rc<OwnedFd>) {
        let Some(keeper) = &mut self.code.keeper else { return };
        let sent = keeper.outbox.send(kind.0, body, vec![fd]);
        self.keeper_sent(sent);
    }

    fn keeper_sent(&mut self, sent: Result<(), SendError>) {
        let Some(keeper) = &mut self.code.keeper else { return };
        let writes = keeper.outbox.is_waiting();
        self.poller.set_writable(keeper.outbox.socket().as_fd(), Source::Keeper, writes);
        if sent.is_err() {
            keeper.child.kill();
        }
    }

    /// The keeper's socket is ready. It says nothing, so that anything to read is its end.
    pub(super) fn keeper_ready(&mut self, readiness: Readiness) {
        let Some(keeper) = &mut self.code.keeper else { return };
        if readiness.is_readable() {
            // It may still say why; its process ends next.
            self.poller.forget(keeper.outbox.socket(), Source::Keeper);
        } else {
            let sent = keeper.outbox.flush();
            self.keeper_sent(sent);
        }
    }

    /// The keeper's process has ended.
    pub(super) fn keeper_died(&mut self) {
        let Some(keeper) = self.code.keeper.take() else { return };
        self.poller.forget(keeper.outbox.socket(), Source::Keeper);
        self.poller.forget(keeper.child.pidfd(), Source::KeeperDeath);
        keeper.child.reap();
        tracing::warn!("the keeper of compiled code has ended; programs compile for themselves");
    }

    /// A worker asks where the code of its client is kept, for the first time.
    pub(super) fn open_code(&mut self, client: ClientId, worker: WorkerId, call: &Call) {
        self.start_keeper();
        let answer = |reason| Granted {
            call: call.call,
            reason,
            value: 0,
            reserved: 0,
            base: IoAddress(0),
            size_bytes: 0,
        };
        match self.seat(client) {
            Ok(socket) => {
                let body = answer(Reason::NONE);
                self.tell_worker(worker, HostMessage::CODE_OPENED, &body, vec![Rc::new(socket)]);
            }
            Err(reason) => self.answer(worker, call.call, reason, 0),
        }
    }

    /// A way to the keeper for a client; each has one.
    fn seat(&mut self, client: ClientId) -> Result<OwnedFd, Reason> {
        let serves = self.code.keeper.is_some();
        let Some(peer) = self.clients.get_mut(&client) else { return Err(Reason::INVALID) };
        let (uid, vgpu) = (peer.peer.uid, peer.vgpu);
        let Some(bound) = peer.bound() else { return Err(Reason::INVALID) };
        if std::mem::replace(&mut bound.has_asked_for_code, true) {
            return Err(Reason::INVALID);
        }
        let serves = serves && uid != NOBODY;
        let Some(vgpu) = self.vgpus.get(&vgpu).filter(|_| serves) else { return Err(Reason::UNSUPPORTED) };
        let seat = Seat { vgpu_uuid: *vgpu.uuid.as_bytes(), uid, reserved: 0 };
        let no_socket = |_: io::Error| Reason::HOST_RESOURCES;
        let (keepers, workers) = socket_pair().map_err(no_socket)?;
        for end in [&keepers, &workers] {
            rustix::io::ioctl_fionbio(end, true).map_err(|errno| no_socket(errno.into()))?;
        }
        self.tell_keeper(KeeperMessage::SEAT, &seat, Rc::new(keepers));
        Ok(workers)
    }

    /// Lets the keeper write what workers, which are dead by now, have handed over, and waits for its end.
    pub(super) fn end_keeper(&mut self) {
        let Some(Keeper { child, outbox }) = self.code.keeper.take() else { return };
        drop(outbox);
        // What takes longer is compiled again.
        let _ = dxg_wire::doorbell::wait(&[child.pidfd().as_fd()], Some(LAST_FILES));
        child.kill();
        child.wait();
    }
}
