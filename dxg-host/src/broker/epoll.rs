//! What the event loop watches.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use rustix::event::epoll;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::time::Timespec;

use super::ids::ClientId;
use super::ids::ControlId;
use super::ids::VgpuId;
use super::ids::WorkerId;

/// Who an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// Asked to end.
    Signals,
    /// Whoever keeps us alive has gone.
    ExitPipe,
    /// Someone connects.
    Listener(VgpuId),
    /// Someone connects to the control socket.
    ControlListener,
    /// A control connection.
    Control(ControlId),
    /// A client's socket.
    Client(ClientId),
    /// A worker's socket.
    Worker(WorkerId),
    /// A worker's process.
    WorkerDeath(WorkerId),
    /// The last descriptor of a shared object.
    SharedObject(u32),
    /// The socket of the keeper of code.
    Keeper,
    /// Its process.
    KeeperDeath,
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Readiness(EventFlags);

impl Readiness {
    /// There is something to read, or an end to be seen.
    pub(super) fn is_readable(self) -> bool {
        self.0.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP)
    }

    /// There is room to write.
    pub(super) fn is_writable(self) -> bool {
        self.0.contains(EventFlags::OUT)
    }
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// Who it is about.
    pub(super) source: Source,
    /// What it says.
    pub(super) readiness: Readiness,
}

/// Events taken at once.
const BATCH: usize = 64;

/// An epoll instance. Closing a descriptor of ours ends its watch: we hold the only copy.
pub(super) struct Poller {
    epoll: OwnedFd,
    tokens: HashMap<Source, u64>,
    sources: HashMap<u64, Source>,
    last_token: u64,
}

impl Poller {
    /// An instance that watches nothing.
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, tokens: HashMap::new(), sources: HashMap::new(), last_token: 0 })
    }

    /// Watches a descriptor for reading.
    pub(super) fn watch(&mut self, fd: impl AsFd, source: Source) -> io::Result<()> {
        let token = self.last_token + 1;
        epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)?;
        self.last_token = token;
        self.tokens.insert(source, token);
        self.sources.insert(token, source);
        Ok(())
    }

    /// Watches a watched descriptor for room as well, or no longer.
    pub(super) fn set_writable(&mut self, fd: impl AsFd, source: Source, writable: bool) {
        self.watch_for(fd, source, if writable { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN });
    }

    /// Watches a watched descriptor for room only: what it has to say waits.
    pub(super) fn set_write_only(&mut self, fd: impl AsFd, source: Source) {
        self.watch_for(fd, source, EventFlags::OUT);
    }

    fn watch_for(&mut self, fd: impl AsFd, source: Source, flags: EventFlags) {
        let Some(token) = self.tokens.get(&source) else { return };
        if let Err(error) = epoll::modify(&self.epoll, &fd, EventData::new_u64(*token), flags) {
            tracing::error!(fd = fd.as_fd().as_raw_fd(), %error, "cannot change what is watched");
        }
    }

    /// Stops watching.
    pub(super) fn forget(&mut self, fd: impl AsFd, source: Source) {
        if let Some(token) = self.tokens.remove(&source) {
            self.sources.remove(&token);
            // A descriptor that is not watched any more is what is wanted.
            let _ = epoll::delete(&self.epoll, fd);
        }
    }

    /// The next events, or none once `deadline` has passed. Events of a source that was forgotten meanwhile do not
    /// come up.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> io::Result<Vec<Event>> {
        let mut events = Vec::with_capacity(BATCH);
        let timeout = deadline.and_then(|deadline| {
            // Waits are cut to milliseconds; one that ends before its deadline would begin again at once.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec::try_from(left).ok()
        });
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(events
            .iter()
            .filter_map(|event| {
                let source = *self.sources.get(&event.data.u64())?;
                Some(Event { source, readiness: Readiness(event.flags) })
            })
            .collect())
    }
}
