//! Command streams: one thread each, run by the adapter.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;

use dxg_wire::doorbell;
use dxg_wire::session::Ack;
use dxg_wire::session::Reason;
use dxg_wire::session::StreamOpened;
use dxg_wire::session::WorkerMessage;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::stream::Consumer;

use super::link::BrokerLink;
use crate::adapter::Adapter;
use crate::adapter::SessionCalls;
use crate::adapter::StreamEnd;
use crate::adapter::StreamSeat;
use crate::adapter::cuda;

/// Most stream threads of one session, ended ones not counted.
const MAX_THREADS: usize = 96;
/// Bytes of the page before a stream's ring.
const HEADER_BYTES: usize = 4096;

struct Stream {
    closing: Arc<AtomicBool>,
    doorbell: OwnedFd,
    thread: JoinHandle<()>,
}

/// The streams of a session.
pub(super) struct Streams {
    adapter: Arc<dyn Adapter>,
    link: Arc<BrokerLink>,
    cuda: cuda::Settings,
    open: HashMap<u32, Stream>,
    closing: Vec<JoinHandle<()>>,
}

impl Streams {
    /// A session without streams.
    pub(super) fn new(adapter: Arc<dyn Adapter>, link: Arc<BrokerLink>, cuda: cuda::Settings) -> Self {
        Self { adapter, link, cuda, open: HashMap::new(), closing: Vec::new() }
    }

    /// Starts a stream, and tells the broker whether it runs.
    pub(super) fn open(&mut self, opened: &StreamOpened, memory: &OwnedFd, doorbell: OwnedFd) {
        let reason = self.try_open(opened, memory, doorbell).err().unwrap_or(Reason::NONE);
        let ack = Ack { subject: u64::from(opened.stream), reason, reserved: 0 };
        self.link.tell(WorkerMessage::STREAM_READY, &ack);
    }

    fn try_open(&mut self, opened: &StreamOpened, memory: &OwnedFd, ring: OwnedFd) -> Result<(), Reason> {
        if !self.adapter.serves(opened.kind) {
            return Err(Reason::UNSUPPORTED);
        }
        self.closing.retain(|thread| !thread.is_finished());
        if self.open.len() + self.closing.len() >= MAX_THREADS {
            return Err(Reason::HOST_RESOURCES);
        }
        let no_memory = |error: &dyn std::error::Error| {
            tracing::warn!(%error, "stream not opened");
            Reason::HOST_RESOURCES
        };
        let len = usize::try_from(opened.ring_bytes).map_err(|error| no_memory(&error))? + HEADER_BYTES;
        let mapping = Mapping::map(memory.as_fd(), 0, len, Access::ReadWrite, Populate::Prefault)
            .map_err(|error| no_memory(&error))?;
        let doorbell = ring.try_clone().map_err(|error| no_memory(&error))?;
        let consumer =
            Consumer::new(SharedSlice::whole(&mapping), ring).map_err(|error| no_memory(&error))?;
        let closing = Arc::new(AtomicBool::new(false));
        let calls: Arc<dyn SessionCalls> = Arc::clone(&self.link) as _;
        let windows = Arc::clone(self.link.windows());
        let cuda = self.cuda;
        let seat =
            StreamSeat { kind: opened.kind, consumer, windows, calls, closing: Arc::clone(&closing), cuda };
        let adapter = Arc::clone(&self.adapter);
        let link = Arc::clone(&self.link);
        let thread = thread::Builder::new()
            .name(format!("stream {}", opened.stream))
            .spawn(move || run(&*adapter, &link, seat))
            .map_err(|error| no_memory(&error))?;
        self.open.insert(opened.stream, Stream { closing, doorbell, thread });
        Ok(())
    }

    /// The client has closed a stream: its thread ends.
    pub(super) fn close(&mut self, stream: u32) {
        if let Some(stream) = self.open.remove(&stream) {
            stream.closing.store(true, Ordering::Release);
            doorbell::ring(&stream.doorbell);
            self.closing.push(stream.thread);
        }
    }
}

fn run(adapter: &dyn Adapter, link: &BrokerLink, seat: StreamSeat) {
    match adapter.run_stream(seat) {
        Ok(()) => {}
        Err(StreamEnd::Violation(violation)) => {
            tracing::debug!(%violation, "stream");
            link.end(Reason::VIOLATION, &violation.to_string())
        }
        Err(StreamEnd::Fault(fault)) => {
            tracing::error!(%fault, "stream");
            link.end(Reason::DEVICE_LOST, &fault.to_string())
        }
        Err(StreamEnd::Unsupported) => link.end(Reason::UNSUPPORTED, "the adapter has no such stream"),
    }
}
