//! CUDA streams through the whole path below a shim: a session, the daemon, a closed-in worker, code made for this machine.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::time::Duration;
use std::time::Instant;

use dxg_core::Block;
use dxg_core::ErrorKind;
use dxg_core::Node;
use dxg_core::StreamHandle;
use dxg_core::Streams;
use dxg_tests::daemon::Daemon;
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
const HANG: Duration = Duration::from_secs(60);
/// Start of the device's addresses.
const BASE: u64 = 0x2000_0000_0000;
const BLOCK_BYTES: u64 = 4 << 20;
/// Device memory begins here in the block; before it lie the reply slot, the status and cells.
const MEMORY: usize = 1 << 20;
const STATUS: usize = MEMORY - 4096;
const CELL: usize = MEMORY - 2048;
const TEXT: usize = 3 << 20;

const KERNELS: &str = "
.version 7.0
.target sm_75
.address_size 64
.global .align 4 .u32 total;
.visible .entry count(.param .u64 to)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [to];
    mov.u32 %r1, %tid.x;
    atom.global.add.u32 %r2, [%rd1], %r1;
    ret;
}
.visible .entry wild(.param .u64 to)
{
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [to];
    st.global.u64 [%rd1], 1;
    ret;
}
.visible .entry spin(.param .u64 to)
{
    .reg .pred %p<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [to];
LOOP:
    ld.volatile.global.u32 %r1, [%rd1];
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra LOOP;
    ret;
}
";

/// A context of a session.
struct Context {
    streams: Streams,
    handle: StreamHandle,
    block: Block,
    cell: FenceCell,
    sequence: u64,
    replies: u32,
}

impl Context {
    fn open(daemon: &Daemon) -> Self {
        let node = Node::connect(&daemon.socket()).unwrap();
        let streams = node.streams().unwrap();
        let handle = streams.open(StreamKind::CUDA, 1 << 16).unwrap();
        let block = streams.lease(BLOCK_BYTES).unwrap();
        let cell = FenceCell::new(block.memory().sub(CELL, 64).unwrap()).unwrap();
        let mut context = Self { streams, handle, block, cell, sequence: 0, replies: 0 };
        let open = wire::Open {
            version: wire::VERSION,
            compute_capability: 0,
            range_start: BASE,
            range_bytes: 1 << 40,
            status_io: context.io(STATUS),
        };
        let answer = context.call(op::OPEN, |e| open.encode(e));
        let description = wire::Description::decode(&mut Decoder::new(&answer)).unwrap();
        assert_eq!(description.result, 0);
        let map = wire::Map { address: BASE, io: context.io(MEMORY), bytes: 2 << 20 };
        context.post(op::MAP, |e| map.encode(e));
        let create = wire::CreateStream { stream: 0, priority: 0, progress_io: context.io(CELL) };
        context.post(op::CREATE_STREAM, |e| create.encode(e));
        let text = context.block.memory().sub(TEXT, KERNELS.len()).unwrap();
        text.copy_in(0, KERNELS.as_bytes()).unwrap();
        let image = wire::Image {
            kind: wire::image_kind::PTX,
            io: context.io(TEXT),
            bytes: KERNELS.len() as u64,
            name: Vec::new(),
        };
        let load =
            wire::LoadModule { module: 1, images: wire::List(vec![image]), optimization: 4, log_bytes: 1024 };
        let answer = context.call(op::LOAD_MODULE, |e| load.encode(e));
        let loaded = wire::ModuleLoaded::decode(&mut Decoder::new(&answer)).unwrap();
        assert_eq!(loaded.result, 0, "{}", String::from_utf8_lossy(&loaded.error_log));
        let place = wire::PlaceModule { module: 1, address: BASE + 0x10000 };
        context.post(op::PLACE_MODULE, |e| place.encode(e));
        context
    }

    fn io(&self, offset: usize) -> u64 {
        self.block.io_base().0 + offset as u64
    }

    fn post(&self, op: u16, body: impl FnOnce(&mut Encoder)) {
        let mut entry = Encoder::new();
        let mark = entry.begin(op, EntryFlags::NONE);
        body(&mut entry);
        entry.end(mark);
        self.handle.producer.push(entry.as_slice(), &|| self.streams.is_lost()).unwrap();
    }

    fn call(&mut self, op: u16, body: impl FnOnce(&mut Encoder)) -> Vec<u8> {
        let slot = ReplySlot::new(self.block.memory().sub(0, 64 << 10).unwrap()).unwrap();
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
        let reply = slot.wait(self.replies, DEFAULT_SPIN, &|| self.streams.is_lost()).unwrap();
        let mut payload = Vec::new();
        slot.payload(reply, &mut payload);
        payload
    }

    fn launch(&mut self, function: u32, [blocks, threads]: [u32; 2], to: u64) {
        self.sequence += 1;
        let launch = wire::Launch {
            stream: 0,
            flags: 0,
            sequence: self.sequence,
            module: 1,
            function,
            grid: [blocks, 1, 1],
            block: [threads, 1, 1],
            shared_bytes: 0,
            params: to.to_le_bytes().to_vec(),
        };
        self.post(op::LAUNCH, |e| launch.encode(e));
    }

    fn synchronise(&self) {
        let deadline = Instant::now() + HANG;
        let lost = || self.streams.is_lost();
        let outcome = self.cell.wait(self.sequence, Some(deadline), DEFAULT_SPIN, &lost);
        assert_eq!(outcome, WaitOutcome::Reached);
    }

    fn word(&self, offset: usize) -> u32 {
        self.block.memory().read(offset).unwrap()
    }
}

fn daemon() -> Option<Daemon> {
    let daemon = Daemon::start_with(&["--adapter", "cpu"]);
    if daemon.is_none() {
        println!("skipped: no dxgd");
    }
    daemon
}

#[test]
fn kernels_of_two_sessions_run_in_workers_of_their_own() {
    let Some(daemon) = daemon() else { return };
    // The same addresses in both: each worker has its own.
    let (mut one, mut two) = (Context::open(&daemon), Context::open(&daemon));
    for context in [&mut one, &mut two] {
        context.launch(0, [100, 256], BASE + 64);
        context.synchronise();
        assert_eq!((context.word(STATUS), context.word(MEMORY + 64)), (0, 100 * 255 * 128));
    }
}

#[test]
fn kernel_that_writes_where_nothing_is_fails_its_context_and_no_other() {
    let Some(daemon) = daemon() else { return };
    let (mut one, mut two) = (Context::open(&daemon), Context::open(&daemon));
    one.launch(1, [16, 64], BASE + (64 << 20));
    one.synchronise();
    assert_eq!(one.word(STATUS), 700);
    two.launch(0, [1, 32], BASE);
    two.synchronise();
    assert_eq!(two.word(STATUS), 0);
    assert!(!one.streams.is_lost());
}

#[test]
fn stream_of_another_kind_is_refused_by_the_cpu() {
    let Some(daemon) = daemon() else { return };
    let streams = Node::connect(&daemon.socket()).unwrap().streams().unwrap();
    let refused = streams.open(StreamKind::VULKAN_INSTANCE, 1 << 16).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotSupported);
    assert!(streams.open(StreamKind::CUDA, 1 << 16).is_ok());
}

#[test]
fn session_ends_while_its_kernel_runs_without_an_end() {
    let Some(daemon) = daemon() else { return };
    let mut one = Context::open(&daemon);
    one.launch(2, [64, 32], BASE);
    let wait_until_taken = Instant::now() + HANG;
    while one.handle.producer.consumed() < one.handle.producer.position().0 {
        assert!(Instant::now() < wait_until_taken);
        std::thread::yield_now();
    }
    drop(one);
    // The next client of the same virtual GPU is served.
    let mut two = Context::open(&daemon);
    two.launch(0, [8, 32], BASE);
    two.synchronise();
    assert_eq!(two.word(MEMORY), 8 * 31 * 16);
}
