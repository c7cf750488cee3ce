//! Command streams of CUDA on the CPU: mostly such as a guest could mean, so that its kernels run, and changed here and there.

use std::os::fd::OwnedFd;
use std::process;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dxg_host::adapter::Adapter;
use dxg_host::adapter::SessionCalls;
use dxg_host::adapter::StreamEnd;
use dxg_host::adapter::StreamSeat;
use dxg_host::adapter::Windows;
use dxg_host::adapter::cuda;
use dxg_host::adapter::cuda::Executor;
use dxg_host::adapter::cuda::Settings;
use dxg_wire::cell::DEFAULT_SPIN;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;
use dxg_wire::doorbell;
use dxg_wire::session::IoAddress;
use dxg_wire::session::StreamKind;
use dxg_wire::shm::SharedSlice;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::Layout;
use dxg_wire::stream::OP_INDIRECT;
use dxg_wire::stream::Producer;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::ReplySlot;
use parking_lot::Mutex;

use crate::cuda_commands::BLOCK;
use crate::cuda_commands::BLOCK_BYTES;
use crate::cuda_commands::Chosen;
use crate::cuda_commands::DEVICE_BYTES;
use crate::cuda_commands::DEVICE_IO;
use crate::cuda_commands::Guessing;
use crate::cuda_commands::INDIRECT;
use crate::cuda_commands::INDIRECT_OFFSET;
use crate::cuda_commands::RANGE;
use crate::cuda_commands::RANGE_BYTES;
use crate::cuda_commands::STATUS_IO;
use crate::cuda_commands::TEXT_BYTES;
use crate::cuda_commands::TEXT_OFFSET;
use crate::cuda_texts::TEXTS;
use crate::input::Input;
use crate::surroundings::Ledger;
use crate::surroundings::shared;

const RING_BYTES: u32 = 64 << 10;
/// Bytes of the reply slot, at the start of the block.
const SLOT_BYTES: usize = 0x8000;
/// How long a run may wait for itself.
const PATIENCE: Duration = Duration::from_millis(100);
/// A stream that has not ended so long after it was closed never ends.
const HANG: Duration = Duration::from_secs(60);
/// Most commands of one run.
const COMMANDS: usize = 64;

/// The one adapter of the process; one stream at a time, as all use the same range of addresses.
static ADAPTER: LazyLock<Mutex<Arc<dyn Adapter>>> = LazyLock::new(|| Mutex::new(cuda::cpu()));

/// The guest's side of one stream.
struct Guest<'a> {
    producer: Producer,
    block: SharedSlice,
    sequence: u32,
    ended: &'a dyn Fn() -> bool,
    guessing: Guessing,
}

/// Runs the commands that the bytes say; afterwards nothing of the context is left.
pub fn cuda_stream(data: &[u8]) {
    let adapter = ADAPTER.lock();
    let layout = Layout::new(RING_BYTES).expect("a ring");
    let ring = shared(usize::try_from(layout.total_bytes()).expect("a small ring"));
    let bell = doorbell::create().expect("an eventfd");
    let copy = |bell: &OwnedFd| bell.try_clone().expect("a descriptor");
    let consumer = Consumer::new(SharedSlice::whole(&ring), copy(&bell)).expect("a stream");
    let producer = Producer::new(SharedSlice::whole(&ring), copy(&bell)).expect("a stream");
    let block = shared(BLOCK_BYTES);
    let windows = Arc::new(Windows::new());
    windows.insert(IoAddress(BLOCK), Arc::clone(&block));
    let closing = Arc::new(AtomicBool::new(false));
    let ledger = Arc::new(Ledger::default());
    let mut input = Input::new(data);
    let what = input.u8();
    let seat = StreamSeat {
        kind: StreamKind::CUDA,
        consumer,
        windows,
        calls: Arc::clone(&ledger) as Arc<dyn SessionCalls>,
        closing: Arc::clone(&closing),
        cuda: Settings {
            executor: if what & 1 == 0 { Executor::Native } else { Executor::Interpreter },
            watchdog: (what & 2 != 0).then_some(Duration::from_millis(5)),
            ..Settings::default()
        },
    };
    let end = thread::scope(|scope| {
        let host = scope.spawn(|| adapter.run_stream(seat));
        // A guest may make its own stream wait for what never comes; then it ends with the stream, below.
        let until = Instant::now() + PATIENCE;
        let ended = || host.is_finished() || Instant::now() >= until;
        let block = SharedSlice::whole(&block);
        let mut guest = Guest { producer, block, sequence: 0, ended: &ended, guessing: Guessing::new() };
        if what & 4 == 0 {
            guest.begin();
        }
        guest.play(&mut input);
        guest.settle();
        closing.store(true, Ordering::Release);
        doorbell::ring(&bell);
        wait_for(|| host.is_finished(), "a closed stream goes on", data);
        host.join()
    });
    match end {
        Ok(Ok(()) | Err(StreamEnd::Violation(_))) => {}
        other => panic!("the stream ended with {other:?}"),
    }
    // The threads of the engine let go of what they had a moment after the end.
    wait_for(|| Arc::strong_count(&ledger) == 1, "a context is left", data);
    assert_eq!(ledger.charged(), 0, "a charge is left");
}

/// Waits for what must come. Where it does not, threads are stuck and only the process can end.
fn wait_for(is_there: impl Fn() -> bool, what: &str, data: &[u8]) {
    let until = Instant::now() + HANG;
    while !is_there() {
        if Instant::now() >= until {
            eprintln!("{what}, for {data:?}");
            process::abort();
        }
        thread::yield_now();
    }
}

impl Guest<'_> {
    /// A context with device memory, two streams and the modules, as an honest guest makes it.
    fn begin(&mut self) {
        let open = wire::Open {
            version: wire::VERSION,
            compute_capability: 0,
            range_start: RANGE,
            range_bytes: RANGE_BYTES,
            status_io: STATUS_IO,
        };
        self.ask(op::OPEN, |e| open.encode(e));
        let map = wire::Map { address: RANGE, io: DEVICE_IO, bytes: DEVICE_BYTES };
        self.tell(op::MAP, |e| map.encode(e));
        for _ in 0..2 {
            let create = self.guessing.new_stream();
            self.tell(op::CREATE_STREAM, |e| create.encode(e));
        }
    }

    fn play(&mut self, input: &mut Input<'_>) {
        for _ in 0..COMMANDS {
            if input.is_empty() || (self.ended)() {
                return;
            }
            let how = input.u8();
            let Chosen { opcode, mut body } = self.guessing.choose(input);
            match opcode {
                op::LOAD_MODULE => {
                    self.write_text(input);
                    body = self.guessing.load(input);
                }
                op::PLACE_MODULE => body = self.guessing.place(input),
                _ => {}
            }
            if how & 0xE0 == 0xE0 {
                // Some words of it are others.
                let at = usize::from(input.u8()) * 4;
                let words = input.words(usize::from(how & 3) + 1, &self.guessing.known);
                let end = (at + words.len()).min(body.len());
                body.splice(at.min(body.len())..end, words);
            }
            let is_question = matches!(opcode, op::OPEN | op::LOAD_MODULE | op::READ_MODULE);
            if is_question && how & 0x1F != 0x1F {
                let answer = self.ask(opcode, |e| e.bytes(&body));
                if let (op::LOAD_MODULE, Some(answer)) = (opcode, answer) {
                    let loaded = wire::ModuleLoaded::decode(&mut Decoder::new(&answer)).expect("an answer");
                    self.guessing.loaded(&loaded);
                }
            } else if how & 0x1C == 0x1C {
                self.tell_indirectly(opcode, &body);
            } else {
                self.tell(opcode, |e| e.bytes(&body));
            }
        }
    }

    /// Puts a module's text where `LOAD_MODULE` says that it is: a known one, or what the input says.
    fn write_text(&mut self, input: &mut Input<'_>) {
        let text = match usize::from(input.u8() % 8) {
            7 => {
                let len = usize::from(input.u8()) * 4;
                input.bytes(len)
            }
            known => TEXTS[known % TEXTS.len()].as_bytes(),
        };
        self.guessing.text_bytes = text.len().min(TEXT_BYTES) as u64;
        let _ = self.block.copy_in(TEXT_OFFSET, text);
    }

    fn tell(&self, opcode: u16, body: impl FnOnce(&mut Encoder)) {
        let mut e = Encoder::new();
        let mark = e.begin(opcode, EntryFlags::NONE);
        body(&mut e);
        e.end(mark);
        self.push(e.as_slice());
    }

    fn ask(&mut self, opcode: u16, body: impl FnOnce(&mut Encoder)) -> Option<Vec<u8>> {
        let slot = ReplySlot::new(self.block.sub(0, SLOT_BYTES).ok()?).ok()?;
        self.sequence += 1;
        slot.begin(self.sequence);
        let capacity_bytes = u32::try_from(slot.capacity_bytes()).ok()?;
        let request = ReplyRequest { address: IoAddress(BLOCK), capacity_bytes, sequence: self.sequence };
        let mut e = Encoder::new();
        let mark = e.begin_with_reply(opcode, request);
        body(&mut e);
        e.end(mark);
        self.push(e.as_slice());
        let reply = slot.wait(self.sequence, DEFAULT_SPIN, self.ended).ok()?;
        let mut payload = Vec::new();
        slot.payload(reply, &mut payload);
        (reply.status == 0).then_some(payload)
    }

    fn tell_indirectly(&self, opcode: u16, body: &[u8]) {
        let mut e = Encoder::new();
        let mark = e.begin(opcode, EntryFlags::NONE);
        e.bytes(body);
        e.end(mark);
        let len = e.as_slice().len() as u64;
        if self.block.copy_in(INDIRECT_OFFSET, e.as_slice()).is_ok() {
            self.tell(OP_INDIRECT, |e| e.bytes(&[INDIRECT.to_le_bytes(), len.to_le_bytes()].concat()));
            self.settle();
        }
    }

    fn push(&self, entry: &[u8]) {
        // What the ring does not take, or nobody takes out any more, is not said.
        let _ = self.producer.push(entry, self.ended);
    }

    /// Waits until everything is taken out of the ring.
    fn settle(&self) {
        while self.producer.consumed() < self.producer.position().0 && !(self.ended)() {
            thread::yield_now();
        }
    }
}
