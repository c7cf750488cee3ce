//! The control socket: what people and scripts may ask the daemon.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use dxg_wire::control;
use dxg_wire::control::Reply;
use dxg_wire::control::Request;
use rustix::net::SocketFlags;

use super::Broker;
use super::Turn;
use super::epoll::Readiness;
use super::epoll::Source;
use super::ids::ControlId;
use super::ids::Counter;
use super::peer::Peer;
use super::vgpu::Vgpu;

/// Most control connections at once.
const MAX_CONNECTIONS: usize = 32;
/// Longest question.
const MAX_QUESTION_BYTES: usize = 64 << 10;
/// Longest unread answer.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// One connection.
struct Connection {
    stream: UnixStream,
    peer: Peer,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// The socket with its connections.
pub(super) struct ControlPort {
    listener: OwnedFd,
    ids: Counter,
    connections: BTreeMap<ControlId, Connection>,
}

impl ControlPort {
    /// A port that listens.
    pub(super) fn new(listener: OwnedFd) -> Self {
        Self { listener, ids: Counter::default(), connections: BTreeMap::new() }
    }

    /// The socket that listens.
    pub(super) fn listener(&self) -> &OwnedFd {
        &self.listener
    }
}

impl Broker {
    /// Takes a control connection.
    pub(super) fn accept_control(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(&self.control.listener, flags) else { return };
        if self.control.connections.len() >= MAX_CONNECTIONS {
            return;
        }
        let Ok(peer) = Peer::of(&socket) else { return };
        let id = ControlId(self.control.ids.next());
        if self.poller.watch(&socket, Source::Control(id)).is_err() {
            return;
        }
        let stream = UnixStream::from(socket);
        let connection = Connection { stream, peer, input: Vec::new(), output: Vec::new() };
        self.control.connections.insert(id, connection);
    }

    /// A control connection is ready.
    pub(super) fn control_ready(&mut self, id: ControlId, readiness: Readiness) -> Turn {
        let Some(mut connection) = self.control.connections.remove(&id) else { return Turn::Continue };
        let mut turn = Turn::Continue;
        let mut alive = true;
        if readiness.is_readable() {
            alive = connection.read();
            while let Some(line) = connection.next_line() {
                let (reply, after) = self.answer_control(&line, &connection.peer);
                if after == Turn::Stop {
                    turn = Turn::Stop;
                }
                alive &= connection.push(reply);
            }
        }
        alive &= connection.write().is_ok();
        if alive {
            self.poller.set_writable(&connection.stream, Source::Control(id), !connection.output.is_empty());
            self.control.connections.insert(id, connection);
        } else {
            self.poller.forget(&connection.stream, Source::Control(id));
        }
        turn
    }

    fn answer_control(&self, line: &[u8], peer: &Peer) -> (Reply, Turn) {
        let error = |message: String| (Reply::Error { message }, Turn::Continue);
        match control::from_line::<Request>(line) {
            Ok(Request::List) => (Reply::State(self.describe(peer)), Turn::Continue),
            Ok(Request::Info { vgpu }) => match self.find_vgpu(&vgpu, peer) {
                Some((index, vgpu)) => (Reply::Vgpu(self.describe_vgpu(index, vgpu)), Turn::Continue),
                None => error(format!("no virtual GPU {vgpu:?}")),
            },
            Ok(Request::Shutdown) if peer.is_owner() => (Reply::Done, Turn::Stop),
            Ok(Request::Shutdown) => error("only the daemon's owner may end it".to_owned()),
            Ok(_) => error("this daemon does not know the request".to_owned()),
            Err(malformed) => error(malformed.to_string()),
        }
    }

    /// The virtual GPUs that a user is told of, counted as it counts them.
    fn seen_by(&self, peer: &Peer) -> impl Iterator<Item = (usize, &Vgpu)> {
        self.vgpus.values().filter(|vgpu| peer.sees(vgpu)).enumerate()
    }

    fn find_vgpu(&self, name: &str, peer: &Peer) -> Option<(usize, &Vgpu)> {
        let is_it = |index: usize, vgpu: &Vgpu| {
            name.parse() == Ok(index) || name.eq_ignore_ascii_case(&vgpu.uuid.to_string())
        };
        self.seen_by(peer).find(|(index, vgpu)| is_it(*index, vgpu))
    }

    fn describe(&self, peer: &Peer) -> control::State {
        control::State {
            daemon: control::Daemon {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_seconds: self.started.elapsed().as_secs(),
            },
            adapters: self.adapters.iter().map(|found| found.identity.describe(found.choice)).collect(),
            vgpus: self.seen_by(peer).map(|(index, vgpu)| self.describe_vgpu(index, vgpu)).collect(),
        }
    }

    fn describe_vgpu(&self, index: usize, vgpu: &Vgpu) -> control::Vgpu {
        let [low, high] = vgpu.luid();
        let node = std::fs::symlink_metadata(&vgpu.path).ok();
        let account = self.ledger.vgpu(vgpu.id);
        control::Vgpu {
            uuid: vgpu.uuid.to_string(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
            adapter: u32::try_from(vgpu.adapter).unwrap_or(u32::MAX),
            luid: u64::from(high) << 32 | u64::from(low),
            node_path: vgpu.path.display().to_string(),
            mode: node.as_ref().map_or(0, |node| node.mode() & 0o777),
            owner_uid: node.as_ref().map_or(0, MetadataExt::uid),
            owner_gid: node.as_ref().map_or(0, MetadataExt::gid),
            quota_bytes: account.quota_bytes,
            used_bytes: account.used_bytes,
            clients: self
                .clients
                .values()
                .filter(|client| client.vgpu == vgpu.id)
                .map(|client| control::Client {
                    pid: client.peer.pid.as_raw_nonzero().get().unsigned_abs(),
                    uid: client.peer.uid.as_raw(),
                    name: client.name.clone(),
                    session: client.id.0,
                    used_bytes: self.ledger.client(client.id).used_bytes,
                    since: client.since,
                })
                .collect(),
        }
    }
}

impl Connection {
    /// Takes what has come; `false` when the connection is over.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(len) => self.input.extend_from_slice(chunk.get(..len).unwrap_or_default()),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
            if self.input.len() > MAX_QUESTION_BYTES {
                return false;
            }
        }
    }

    fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        Some(self.input.drain(..=end).collect())
    }

    /// Adds an answer; `false` when too much is unread.
    fn push(&mut self, reply: Reply) -> bool {
        match control::to_line(reply) {
            Ok(line) if self.output.len() + line.len() <= MAX_ANSWER_BYTES => {
                self.output.extend(line);
                true
            }
            _ => false,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(len) => drop(self.output.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
