//! The control socket: what people and scripts may ask the daemon.
//!
//! *Why one at a time.* The loop that answers here serves all clients. A connection gets one answer a turn, and the next
//! once it has taken that one, so that many questions at once are many turns and bounded memory.
//!
//! *Permissions.* Whoever may connect hears of the virtual GPUs that it may use. The daemon's user and root hear of all.

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
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::Broker;
use super::Turn;
use super::deadlines::oldest_of_the_most;
use super::epoll::Readiness;
use super::epoll::Source;
use super::ids::ControlId;
use super::ids::Counter;
use super::peer::Peer;
use super::vgpu::Vgpu;

/// Most control connections at once; for one more, the oldest of the user who has most of them goes.
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
    /// The peer will ask nothing more.
    ended: bool,
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
        let socket = match rustix::net::accept_with(&self.control.listener, flags) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return,
            // Left in line, the connection would wake us again at once, and for ever.
            Err(_) => {
                self.spare = None;
                drop(rustix::net::accept_with(&self.control.listener, flags));
                self.spare = dxg_wire::doorbell::create().ok();
                return;
            }
        };
        let Ok(peer) = Peer::of(&socket) else { return };
        if self.control.connections.len() >= MAX_CONNECTIONS {
            self.drop_one_control();
        }
        let id = ControlId(self.control.ids.next());
        if self.poller.watch(&socket, Source::Control(id)).is_err() {
            return;
        }
        let stream = UnixStream::from(socket);
        let connection = Connection { stream, peer, input: Vec::new(), output: Vec::new(), ended: false };
        self.control.connections.insert(id, connection);
    }

    /// A control connection is ready.
    pub(super) fn control_ready(&mut self, id: ControlId, readiness: Readiness) -> Turn {
        let Some(mut connection) = self.control.connections.remove(&id) else { return Turn::Continue };
        let mut turn = Turn::Continue;
        let mut alive = true;
        if readiness.is_readable() && !connection.ended && !connection.has_line() {
            alive = connection.read();
        }
        if alive
            && connection.output.is_empty()
            && let Some(line) = connection.next_line()
        {
            let reply;
            (reply, turn) = self.answer_control(&line, &connection.peer);
            alive = connection.push(reply);
        }
        alive &= connection.write().is_ok();
        let busy = !connection.output.is_empty() || connection.has_line();
        if alive && (busy || !connection.ended) {
            if busy {
                self.poller.set_write_only(&connection.stream, Source::Control(id));
            } else {
                self.poller.set_writable(&connection.stream, Source::Control(id), false);
            }
            self.control.connections.insert(id, connection);
        } else {
            self.poller.forget(&connection.stream, Source::Control(id));
        }
        turn
    }

    /// Makes room for a connection.
    fn drop_one_control(&mut self) {
        let connections: Vec<(ControlId, u32)> =
            self.control.connections.iter().map(|(id, connection)| (*id, connection.peer.uid)).collect();
        if let Some(id) = oldest_of_the_most(&connections)
            && let Some(connection) = self.control.connections.remove(&id)
        {
            self.poller.forget(&connection.stream, Source::Control(id));
        }
    }

    pub(super) fn answer_control(&self, line: &[u8], peer: &Peer) -> (Reply, Turn) {
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
                sandbox: self.sandbox_level.clone(),
                code_cache: self.code.state().to_owned(),
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
            cuda: vgpu.cuda.describe(vgpu.choice),
            clients: self
                .clients
                .values()
                .filter(|client| client.vgpu == vgpu.id)
                .map(|client| control::Client {
                    pid: client.peer.pid,
                    uid: client.peer.uid,
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
    /// Takes what has come, up to the end of a question at least; `false` when the connection is over.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        while !self.has_line() {
            if self.input.len() > MAX_QUESTION_BYTES {
                return false;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.ended = true;
                    return true;
                }
                Ok(len) => self.input.extend_from_slice(chunk.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Whether a whole question stands here.
    fn has_line(&self) -> bool {
        self.input.contains(&b'\n')
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
