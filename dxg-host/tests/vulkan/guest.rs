//! A guest in the same process: it writes a stream that an adapter runs on a thread of its own.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use dxg_host::adapter::Adapter;
use dxg_host::adapter::SessionCalls;
use dxg_host::adapter::StreamEnd;
use dxg_host::adapter::StreamSeat;
use dxg_host::adapter::Windows;
use dxg_host::adapter::cuda::Settings;
use dxg_wire::cell::DEFAULT_SPIN;
use dxg_wire::cell::FenceCell;
use dxg_wire::cell::WaitOutcome;
use dxg_wire::codec::Encoder;
use dxg_wire::doorbell;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Reason;
use dxg_wire::session::StreamKind;
use dxg_wire::shm;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::Layout;
use dxg_wire::stream::Producer;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::ReplySlot;

/// Where the guest's block lies in IO space.
pub(crate) const BLOCK: u64 = 0x2_0000_0000;
const BLOCK_BYTES: usize = 32 << 20;
/// The reply slot is the first part of the block; cells follow; the rest is for the tests.
const SLOT_BYTES: usize = 1 << 20;
/// Offset in the block of memory that a test may import.
pub(crate) const FREE: usize = 2 << 20;
/// A hang guard; nothing is measured with it.
const HANG: Duration = Duration::from_secs(60);

/// The ledger of a session, as far as a stream sees it.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) charged: AtomicU64,
    pub(crate) limit: u64,
}

impl SessionCalls for Ledger {
    fn charge(&self, size_bytes: u64) -> Result<(), Reason> {
        let charge = |now: u64| now.checked_add(size_bytes).filter(|sum| *sum <= self.limit);
        self.charged
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, charge)
            .map(|_| ())
            .map_err(|_| Reason::QUOTA)
    }

    fn uncharge(&self, size_bytes: u64) {
        self.charged.fetch_sub(size_bytes, Ordering::SeqCst);
    }
}

/// The guest's side of one stream.
pub(crate) struct Guest {
    pub(crate) producer: Producer,
    pub(crate) ledger: Arc<Ledger>,
    /// The stream's memory, header and ring.
    pub(crate) ring: SharedSlice,
    block: SharedSlice,
    closing: Arc<AtomicBool>,
    bell: OwnedFd,
    sequence: u32,
    cells: usize,
    host: Option<JoinHandle<Result<(), StreamEnd>>>,
}

fn shared(len: usize) -> Arc<Mapping> {
    let fd = shm::create_sealed("test", len as u64).unwrap();
    Mapping::map(fd.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).unwrap()
}

impl Guest {
    /// Opens a stream that `adapter` serves.
    pub(crate) fn open(adapter: &Arc<dyn Adapter>, kind: StreamKind) -> Self {
        Self::open_with(adapter, kind, Settings::default())
    }

    /// Opens a stream for which the administrator has decided something about CUDA.
    pub(crate) fn open_with(adapter: &Arc<dyn Adapter>, kind: StreamKind, cuda: Settings) -> Self {
        let layout = Layout::new(1 << 20).unwrap();
        let ring = shared(usize::try_from(layout.total_bytes()).unwrap());
        let bell = doorbell::create().unwrap();
        let consumer = Consumer::new(SharedSlice::whole(&ring), bell.try_clone().unwrap()).unwrap();
        let producer = Producer::new(SharedSlice::whole(&ring), bell.try_clone().unwrap()).unwrap();
        let block = shared(BLOCK_BYTES);
        let windows = Arc::new(Windows::new());
        windows.insert(IoAddress(BLOCK), Arc::clone(&block));
        let closing = Arc::new(AtomicBool::new(false));
        let ledger = Arc::new(Ledger { charged: AtomicU64::new(0), limit: 1 << 30 });
        let seat = StreamSeat {
            kind,
            closing: Arc::clone(&closing),
            consumer,
            windows,
            calls: Arc::clone(&ledger) as Arc<dyn SessionCalls>,
            cuda,
        };
        let adapter = Arc::clone(adapter);
        let host = std::thread::spawn(move || adapter.run_stream(seat));
        Self {
            producer,
            ledger,
            ring: SharedSlice::whole(&ring),
            block: SharedSlice::whole(&block),
            closing,
            bell,
            sequence: 0,
            cells: 0,
            host: Some(host),
        }
    }

    /// Whether the stream has ended.
    pub(crate) fn host_ended(&self) -> bool {
        self.host.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Whether this process has a thread of that name; true as well when the stream has ended.
    pub(crate) fn host_has_thread(&self, name: &str) -> bool {
        let named = |task: std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        self.host_ended() || std::fs::read_dir("/proc/self/task").unwrap().flatten().any(named)
    }

    /// Memory of the block.
    pub(crate) fn memory(&self, offset: usize, len: usize) -> SharedSlice {
        self.block.sub(offset, len).unwrap()
    }

    /// A fresh cell that stands at `value`, and its address.
    pub(crate) fn cell(&mut self, value: u64) -> (FenceCell, u64) {
        let offset = SLOT_BYTES + self.cells * 64;
        self.cells += 1;
        let cell = FenceCell::new(self.memory(offset, 64)).unwrap();
        cell.initialise(value);
        (cell, BLOCK + offset as u64)
    }

    /// Waits until a cell has a value, or the stream has ended.
    pub(crate) fn wait(&self, cell: &FenceCell, value: u64) -> WaitOutcome {
        cell.wait(value, Some(Instant::now() + HANG), DEFAULT_SPIN, &|| self.host_ended())
    }

    /// Puts a command on the stream.
    pub(crate) fn post(&self, op: u16, body: impl FnOnce(&mut Encoder)) {
        let mut entry = Encoder::new();
        let mark = entry.begin(op, EntryFlags::NONE);
        body(&mut entry);
        entry.end(mark);
        self.producer.push(entry.as_slice(), &|| self.host_ended()).unwrap();
    }

    /// Puts a command on the stream; says no when the stream has ended.
    pub(crate) fn try_post(&self, op: u16, body: impl FnOnce(&mut Encoder)) -> bool {
        let mut entry = Encoder::new();
        let mark = entry.begin(op, EntryFlags::NONE);
        body(&mut entry);
        entry.end(mark);
        self.producer.push(entry.as_slice(), &|| self.host_ended()).is_ok()
    }

    /// Puts a command on the stream if it has room now, whatever its words say; whether it had does not matter.
    pub(crate) fn throw(&self, op: u16, body: impl FnOnce(&mut Encoder)) {
        let mut entry = Encoder::new();
        let mark = entry.begin(op, EntryFlags::NONE);
        body(&mut entry);
        entry.end(mark);
        let _ = self.producer.push(entry.as_slice(), &|| true);
        doorbell::ring(&self.bell);
    }

    /// Puts a command on the stream and waits for its answer; `None` when the stream ended instead.
    pub(crate) fn call(&mut self, op: u16, body: impl FnOnce(&mut Encoder)) -> Option<Vec<u8>> {
        let slot = ReplySlot::new(self.memory(0, SLOT_BYTES)).unwrap();
        self.sequence += 1;
        slot.begin(self.sequence);
        let mut entry = Encoder::new();
        let mark = entry.begin_with_reply(
            op,
            ReplyRequest {
                address: IoAddress(BLOCK),
                capacity_bytes: u32::try_from(slot.capacity_bytes()).unwrap(),
                sequence: self.sequence,
            },
        );
        body(&mut entry);
        entry.end(mark);
        self.producer.push(entry.as_slice(), &|| self.host_ended()).unwrap();
        let reply = slot.wait(self.sequence, DEFAULT_SPIN, &|| self.host_ended()).ok()?;
        assert_eq!(reply.status, 0);
        let mut payload = Vec::new();
        slot.payload(reply, &mut payload);
        Some(payload)
    }

    /// Waits until everything that was put on the stream is executed, or the stream has ended.
    pub(crate) fn settle(&self) {
        while self.producer.consumed() < self.producer.position().0 && !self.host_ended() {
            std::thread::yield_now();
        }
    }

    /// Closes the stream and answers how it ended.
    pub(crate) fn close(mut self) -> Result<(), StreamEnd> {
        self.closing.store(true, Ordering::Release);
        doorbell::ring(&self.bell);
        self.host.take().unwrap().join().unwrap()
    }

    /// Answers how the stream ended by itself.
    pub(crate) fn ended(mut self) -> Result<(), StreamEnd> {
        self.host.take().unwrap().join().unwrap()
    }
}
