//! A guest of the daemon without a driver on top: entries are written as the test likes.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use dxg_core::Block;
use dxg_core::Error;
use dxg_core::Node;
use dxg_core::StreamHandle;
use dxg_core::Streams;
use dxg_wire::cell::DEFAULT_SPIN;
use dxg_wire::cell::FenceCell;
use dxg_wire::cell::WaitOutcome;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;
use dxg_wire::session::IoAddress;
use dxg_wire::session::StreamKind;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::ReplySlot;

/// A guard against hanging, far beyond anything that is waited for.
pub(crate) const HANG: Duration = Duration::from_secs(300);
/// Start of the device's addresses in the first context of a session.
pub(crate) const BASE: u64 = 0x2000_0000_0000;
/// Bytes of a context's range.
pub(crate) const RANGE_BYTES: u64 = 1 << 40;
/// Bytes of device memory that a context begins with, from the start of its range on.
pub(crate) const DEVICE_BYTES: u64 = 2 << 20;
/// Bytes of a ring: several of the largest entries.
const RING_BYTES: u32 = 1 << 18;
const BLOCK_BYTES: u64 = 4 << 20;
/// Device memory begins here in the block; before it lie the reply slot, cells and the status.
pub(crate) const MEMORY: usize = 1 << 20;
const STATUS: usize = MEMORY - 4096;
const CELL: usize = MEMORY - 2048;
const CELLS: usize = 128 << 10;
const SLOT_BYTES: usize = 64 << 10;
/// Where texts lie, and what else a test needs.
pub(crate) const OWN: usize = 3 << 20;

/// A session's context.
pub(crate) struct Context {
    pub(crate) streams: Streams,
    pub(crate) handle: StreamHandle,
    pub(crate) block: Block,
    pub(crate) base: u64,
    cell: FenceCell,
    sequence: u64,
    replies: u32,
    cells: usize,
    modules: u64,
}

/// A module with its variables in memory.
pub(crate) struct Module {
    number: u64,
    functions: Vec<Vec<u8>>,
}

impl Module {
    pub(crate) fn function(&self, name: &str) -> u32 {
        let at = self.functions.iter().position(|function| function == name.as_bytes());
        u32::try_from(at.expect("a function of that name")).unwrap()
    }
}

/// How a kernel is launched.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shape {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared_bytes: u32,
    pub(crate) flags: u32,
}

impl Shape {
    /// So many blocks of so many threads.
    pub(crate) fn of(blocks: u32, threads: u32) -> Self {
        Self { grid: [blocks, 1, 1], block: [threads, 1, 1], ..Self::default() }
    }
}

impl Context {
    /// A session with a context, which has memory and stream 0.
    pub(crate) fn open(socket: &Path) -> Self {
        let node = Node::connect(socket).unwrap();
        Self::of_session(&node.streams().unwrap(), BASE).unwrap()
    }

    /// A context of a session, at addresses of its own.
    pub(crate) fn of_session(streams: &Streams, base: u64) -> Result<Self, Error> {
        Self::of_session_in(streams, base, RANGE_BYTES)
    }

    /// The same with a range of so many bytes.
    pub(crate) fn of_session_in(streams: &Streams, base: u64, range_bytes: u64) -> Result<Self, Error> {
        let handle = streams.open(StreamKind::CUDA, RING_BYTES)?;
        let block = streams.lease(BLOCK_BYTES)?;
        let cell = FenceCell::new(block.memory().sub(CELL, 64).unwrap()).unwrap();
        let streams = streams.clone();
        let mut context =
            Self { streams, handle, block, base, cell, sequence: 0, replies: 0, cells: 0, modules: 0 };
        let open = wire::Open {
            version: wire::VERSION,
            compute_capability: 0,
            range_start: base,
            range_bytes,
            status_io: context.io(STATUS),
        };
        let answer = context.call(op::OPEN, |e| open.encode(e));
        let description = wire::Description::decode(&mut Decoder::new(&answer)).unwrap();
        assert_eq!(description.result, 0);
        let map = wire::Map { address: base, io: context.io(MEMORY), bytes: DEVICE_BYTES };
        context.post(op::MAP, |e| map.encode(e));
        let create = wire::CreateStream { stream: 0, priority: 0, progress_io: context.io(CELL) };
        context.post(op::CREATE_STREAM, |e| create.encode(e));
        Ok(context)
    }

    /// Address of a place in the block, as the host knows it.
    pub(crate) fn io(&self, offset: usize) -> u64 {
        self.block.io_base().0 + offset as u64
    }

    /// A fresh cell that stands at 0, and its address.
    pub(crate) fn fresh_cell(&mut self) -> (FenceCell, u64) {
        let offset = CELLS + self.cells * 64;
        self.cells += 1;
        let cell = FenceCell::new(self.block.memory().sub(offset, 64).unwrap()).unwrap();
        cell.initialise(0);
        (cell, self.io(offset))
    }

    /// The number of the next entry of stream 0.
    pub(crate) fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(crate) fn post(&self, op: u16, body: impl FnOnce(&mut Encoder)) {
        let mut entry = Encoder::new();
        let mark = entry.begin(op, EntryFlags::NONE);
        body(&mut entry);
        entry.end(mark);
        self.handle.producer.push(entry.as_slice(), &|| self.streams.is_lost()).unwrap();
    }

    /// Puts an entry into the ring unless that is full for a while. Whether it is there.
    pub(crate) fn post_for_a_while(&self, op: u16, body: impl FnOnce(&mut Encoder)) -> bool {
        let mut entry = Encoder::new();
        let mark = entry.begin(op, EntryFlags::NONE);
        body(&mut entry);
        entry.end(mark);
        let until = Instant::now() + Duration::from_secs(1);
        self.handle
            .producer
            .push(entry.as_slice(), &|| self.streams.is_lost() || Instant::now() > until)
            .is_ok()
    }

    /// Puts a question into the ring; the answer is not waited for.
    pub(crate) fn ask(&mut self, op: u16, body: impl FnOnce(&mut Encoder)) -> ReplySlot {
        let slot = ReplySlot::new(self.block.memory().sub(0, SLOT_BYTES).unwrap()).unwrap();
        self.replies += 1;
        slot.begin(self.replies);
        let request = ReplyRequest {
            address: IoAddress(self.io(0)),
            capacity_bytes: u32::try_from(slot.capacity_bytes()).unwrap(),
            sequence: self.replies,
        };
        let mut entry = Encoder::new();
        let mark = entry.begin_with_reply(op, request);
        body(&mut entry);
        entry.end(mark);
        self.handle.producer.push(entry.as_slice(), &|| self.streams.is_lost()).unwrap();
        slot
    }

    pub(crate) fn call(&mut self, op: u16, body: impl FnOnce(&mut Encoder)) -> Vec<u8> {
        let slot = self.ask(op, body);
        self.answer(&slot)
    }

    /// The answer to the last question: there is one slot for all.
    pub(crate) fn answer(&self, slot: &ReplySlot) -> Vec<u8> {
        let reply = slot.wait(self.replies, DEFAULT_SPIN, &|| self.streams.is_lost()).unwrap();
        let mut payload = Vec::new();
        slot.payload(reply, &mut payload);
        payload
    }

    /// Asks for a module of a text that lies at an IO address.
    pub(crate) fn ask_load(&mut self, io: u64, bytes: u64) -> (u64, ReplySlot) {
        self.modules += 1;
        let image = wire::Image { kind: wire::image_kind::PTX, io, bytes, name: Vec::new() };
        let module = self.modules;
        let load =
            wire::LoadModule { module, images: wire::List(vec![image]), optimization: 4, log_bytes: 1024 };
        (module, self.ask(op::LOAD_MODULE, |e| load.encode(e)))
    }

    /// The same, and what came of it.
    pub(crate) fn try_load_at(&mut self, io: u64, bytes: u64) -> (u64, wire::ModuleLoaded) {
        let (module, slot) = self.ask_load(io, bytes);
        let payload = self.answer(&slot);
        (module, wire::ModuleLoaded::decode(&mut Decoder::new(&payload)).unwrap())
    }

    /// Loads a text of any length.
    pub(crate) fn try_load(&mut self, text: &str) -> (u64, wire::ModuleLoaded) {
        let block = self.streams.lease(text.len() as u64).unwrap();
        block.memory().copy_in(0, text.as_bytes()).unwrap();
        self.try_load_at(block.io_base().0, text.len() as u64)
    }

    /// Loads a text that is right, and gives its variables a place at an offset of device memory.
    pub(crate) fn load(&mut self, text: &str, variables_at: u64) -> Module {
        let (number, loaded) = self.try_load(text);
        assert_eq!(loaded.result, 0, "{}", String::from_utf8_lossy(&loaded.error_log));
        let mut encoded = Vec::new();
        while (encoded.len() as u64) < loaded.info_bytes {
            let read = wire::ReadModule { module: number, offset: encoded.len() as u64, bytes: 1 << 14 };
            encoded.extend(self.call(op::READ_MODULE, |e| read.encode(e)));
        }
        encoded.truncate(usize::try_from(loaded.info_bytes).unwrap());
        let info = wire::ModuleInfo::decode(&mut Decoder::new(&encoded)).unwrap();
        let address = if loaded.variable_bytes == 0 { 0 } else { self.base + variables_at };
        self.post(op::PLACE_MODULE, |e| wire::PlaceModule { module: number, address }.encode(e));
        Module { number, functions: info.functions.0.into_iter().map(|function| function.name).collect() }
    }

    /// Puts a launch on stream 0.
    pub(crate) fn launch(&mut self, (module, name): (&Module, &str), shape: Shape, params: &[u64]) {
        let params = params.iter().flat_map(|param| param.to_le_bytes()).collect();
        let sequence = self.next();
        self.launch_on(0, sequence, (module, name), shape, params);
    }

    /// Puts a launch on a stream.
    pub(crate) fn launch_on(
        &self,
        stream: u32,
        sequence: u64,
        (module, name): (&Module, &str),
        shape: Shape,
        params: Vec<u8>,
    ) {
        let launch = wire::Launch {
            stream,
            flags: shape.flags,
            sequence,
            module: module.number,
            function: module.function(name),
            grid: shape.grid,
            block: shape.block,
            shared_bytes: shape.shared_bytes,
            params,
        };
        self.post(op::LAUNCH, |e| launch.encode(e));
    }

    /// Waits until everything on stream 0 is complete, and answers the context's error.
    pub(crate) fn synchronise(&self) -> u32 {
        self.wait(&self.cell, self.sequence);
        self.block.memory().read(STATUS).unwrap()
    }

    /// Whether the context has an error, at this moment.
    pub(crate) fn has_failed(&self) -> bool {
        self.block.memory().read(STATUS) != Ok(0_u32)
    }

    pub(crate) fn wait(&self, cell: &FenceCell, value: u64) {
        let deadline = Instant::now() + HANG;
        let lost = || self.streams.is_lost();
        assert_eq!(cell.wait(value, Some(deadline), DEFAULT_SPIN, &lost), WaitOutcome::Reached);
    }

    /// Waits until the host has taken every entry out of the ring.
    pub(crate) fn settle(&self) {
        let until = Instant::now() + HANG;
        while self.handle.producer.consumed() < self.handle.producer.position().0 {
            assert!(Instant::now() < until && !self.streams.is_lost());
            std::thread::yield_now();
        }
    }

    /// A word of device memory.
    pub(crate) fn word(&self, offset: usize) -> u32 {
        self.block.memory().read(MEMORY + offset).unwrap()
    }
}
