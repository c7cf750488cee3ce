//! A host for tests: a thread that serves rings as the engine does, with kernels that are named after what they do.
//!
//! A module's text is a list of lines `entry NAME PARAM_BYTES...`, `global NAME BYTES`, or `bad`. Kernels: `add` writes the sum of
//! two arrays of i32 (to, one, other, count), `fault` sets the sticky error, `say` prints.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use dxg_core::Sleeper;
use dxg_core::Streams;
use dxg_wire::cell::FenceCell;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::cuda;
use dxg_wire::cuda::op;
use dxg_wire::doorbell;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::Entry;
use dxg_wire::stream::Idle;
use dxg_wire::stream::Next;
use dxg_wire::stream::OP_INDIRECT;
use dxg_wire::stream::Producer;
use dxg_wire::stream::ReplySlot;
use dxg_wire::stream::SLOT_HEADER_BYTES;
use dxg_wire::stream::layout::HEADER_BYTES;
use parking_lot::Mutex;

use crate::device::Device;
use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::generated::enums::CUresult;
use crate::link::Link;
use crate::link::Window;
use crate::types::Answer;
use crate::work::Box3d;

/// What one client may hold.
const QUOTA_BYTES: u64 = 256 << 20;
const UUID: [u8; 16] = *b"fake virtual GPU";

fn mapping(len: usize) -> Arc<Mapping> {
    let memfd = create_sealed("fake", len as u64).unwrap();
    Mapping::map(memfd.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).unwrap()
}

/// Memory that no host knows.
pub(crate) fn window(bytes: u64) -> Window {
    let memory = SharedSlice::whole(&mapping(usize::try_from(bytes).unwrap()));
    Window { memory, io: 0, keep: Arc::new(()) }
}

/// What both ends see.
#[derive(Debug)]
struct Shared {
    windows: Mutex<HashMap<u64, SharedSlice>>,
    next_io: AtomicU64,
    leased: Arc<AtomicU64>,
    lost: AtomicBool,
    stop: AtomicBool,
    sleepers: Mutex<Vec<Weak<dyn Sleeper>>>,
}

impl Shared {
    fn at(&self, io: u64, len: usize) -> SharedSlice {
        let windows = self.windows.lock();
        let found = windows.iter().find_map(|(base, memory)| {
            let offset = usize::try_from(io.checked_sub(*base)?).ok()?;
            memory.sub(offset, len).ok()
        });
        found.expect("an address of a window")
    }
}

#[derive(Debug)]
struct FakeLink {
    shared: Arc<Shared>,
    producer: Producer,
    bell: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// A lease, counted until it is dropped.
struct Lease(Arc<AtomicU64>, u64);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::SeqCst);
    }
}

impl Link for FakeLink {
    fn producer(&self) -> &Producer {
        &self.producer
    }

    fn lease(&self, bytes: u64) -> Answer<Window> {
        if self.shared.leased.load(Ordering::SeqCst) + bytes > QUOTA_BYTES {
            return Err(CUresult::ERROR_OUT_OF_MEMORY);
        }
        self.shared.leased.fetch_add(bytes, Ordering::SeqCst);
        let memory = SharedSlice::whole(&mapping(usize::try_from(bytes).unwrap()));
        let io = self.shared.next_io.fetch_add(bytes.next_multiple_of(1 << 16), Ordering::SeqCst);
        self.shared.windows.lock().insert(io, memory.clone());
        Ok(Window { memory, io, keep: Arc::new(Lease(Arc::clone(&self.shared.leased), bytes)) })
    }

    fn is_lost(&self) -> bool {
        self.shared.lost.load(Ordering::SeqCst)
    }

    fn wake_when_lost(&self, sleeper: Arc<dyn Sleeper>) {
        self.shared.sleepers.lock().push(Arc::downgrade(&sleeper));
    }

    fn quota_bytes(&self) -> u64 {
        QUOTA_BYTES
    }

    fn budget_bytes(&self) -> u64 {
        QUOTA_BYTES
    }

    fn streams(&self) -> Option<&Streams> {
        None
    }
}

impl Drop for FakeLink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        doorbell::ring(&self.bell);
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}

/// A link to a host of its own.
pub(crate) fn link() -> Box<dyn Link> {
    link_that_can_be_lost().0
}

/// The same, and what makes the host go away.
pub(crate) fn link_that_can_be_lost() -> (Box<dyn Link>, impl Fn()) {
    let memory = SharedSlice::whole(&mapping(HEADER_BYTES + (1 << 16)));
    let bell = doorbell::create().unwrap();
    let producer = Producer::new(memory.clone(), bell.try_clone().unwrap()).unwrap();
    let shared = Arc::new(Shared {
        windows: Mutex::default(),
        next_io: AtomicU64::new(1 << 32),
        leased: Arc::default(),
        lost: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        sleepers: Mutex::default(),
    });
    let consumer = Consumer::new(memory, bell.try_clone().unwrap()).unwrap();
    let host = Host {
        shared: Arc::clone(&shared),
        lanes: HashMap::new(),
        modules: HashMap::new(),
        status: 0,
        fifo: 0,
    };
    let thread = std::thread::spawn(move || host.serve(consumer));
    let link = FakeLink { shared: Arc::clone(&shared), producer, bell, thread: Some(thread) };
    let lose = move || {
        shared.lost.store(true, Ordering::SeqCst);
        shared.stop.store(true, Ordering::SeqCst);
        for sleeper in shared.sleepers.lock().iter().filter_map(Weak::upgrade) {
            sleeper.wake();
        }
    };
    (Box::new(link), lose)
}

/// A device over such hosts.
pub(crate) fn device() -> Arc<Device> {
    let connector: crate::device::Connector = Box::new(|| Ok(link()));
    Arc::new(Device::over(connector, 0, UUID, [0; 8], None).unwrap())
}

#[derive(Debug, Default)]
struct FakeModule {
    info: Option<cuda::ModuleInfo>,
}

struct Host {
    shared: Arc<Shared>,
    lanes: HashMap<u32, FenceCell>,
    modules: HashMap<u64, FakeModule>,
    status: u64,
    fifo: u64,
}

/// What work on a stream begins with, by operation: the stream and the sequence.
struct Queued {
    stream: u32,
    sequence: u64,
}

impl Host {
    fn serve(mut self, mut consumer: Consumer) {
        let mut scratch = Vec::new();
        let shared = Arc::clone(&self.shared);
        let mut idle = || if shared.stop.load(Ordering::SeqCst) { Idle::Stop } else { Idle::Poll };
        while let Next::Entry(_) = consumer.next(&mut scratch, &mut idle).unwrap() {
            let entry = Entry::parse(&scratch).unwrap();
            if entry.header.opcode == OP_INDIRECT {
                let indirect = entry.indirect().unwrap();
                let mut bytes = vec![0; usize::try_from(indirect.size_bytes).unwrap()];
                self.shared.at(indirect.address.0, bytes.len()).copy_out(0, &mut bytes).unwrap();
                self.execute(&Entry::parse(&bytes).unwrap());
            } else {
                self.execute(&entry);
            }
            consumer.done();
        }
    }

    fn execute(&mut self, entry: &Entry<'_>) {
        let body = &mut Decoder::new(entry.body);
        let mut answer = Encoder::new();
        match entry.header.opcode {
            op::OPEN => self.open(&cuda::Open::decode(body).unwrap(), &mut answer),
            op::LOAD_MODULE => self.load(&cuda::LoadModule::decode(body).unwrap(), &mut answer),
            op::READ_MODULE => {
                let ask = cuda::ReadModule::decode(body).unwrap();
                let mut whole = Encoder::new();
                self.modules[&ask.module].info.as_ref().unwrap().encode(&mut whole);
                let rest = &whole.as_slice()[ask.offset as usize..];
                answer.bytes(&rest[..rest.len().min(ask.bytes as usize)]);
            }
            op::UNLOAD_MODULE => {
                self.modules.remove(&cuda::ModuleRef::decode(body).unwrap().module).unwrap();
            }
            op::CREATE_STREAM => {
                let make = cuda::CreateStream::decode(body).unwrap();
                let cell = FenceCell::new(self.shared.at(make.progress_io, 16)).unwrap();
                assert!(self.lanes.insert(make.stream, cell).is_none());
            }
            op::DESTROY_STREAM => {
                self.lanes.remove(&cuda::StreamRef::decode(body).unwrap().stream).unwrap();
            }
            op::SET_FIFO => self.fifo = cuda::SetFifo::decode(body).unwrap().io,
            // Memory is there anyway: host and guest are one process.
            op::MAP | op::UNMAP | op::PLACE_MODULE | op::SET_HEAP | op::SET_LIMIT => {}
            work => {
                let queued = self.work(work, body);
                let cell = &self.lanes[&queued.stream];
                assert_eq!(cell.value() + 1, queued.sequence);
                cell.publish(queued.sequence);
            }
        }
        if let Some(request) = entry.reply {
            let memory =
                self.shared.at(request.address.0, SLOT_HEADER_BYTES + request.capacity_bytes as usize);
            ReplySlot::new(memory).unwrap().finish(request.sequence, 0, answer.as_slice()).unwrap();
        }
    }

    fn open(&mut self, open: &cuda::Open, answer: &mut Encoder) {
        assert_eq!(open.version, cuda::VERSION);
        self.status = open.status_io;
        let attributes = cuda::List(vec![cuda::Attribute { attribute: 16, value: 4 }]);
        let description = cuda::Description {
            result: 0,
            version: cuda::VERSION,
            memory_kind: cuda::memory_kind::SHARED,
            compute_capability: 75,
            memory_bytes: 1 << 40,
            name: b"Fake GPU".to_vec(),
            attributes,
        };
        description.encode(answer);
    }

    fn load(&mut self, load: &cuda::LoadModule, answer: &mut Encoder) {
        let mut info =
            cuda::ModuleInfo { functions: cuda::List(Vec::new()), symbols: cuda::List(Vec::new()) };
        let (mut result, mut error, mut variable_bytes) = (0, Vec::new(), 0);
        for image in &load.images.0 {
            let mut text = vec![0; image.bytes as usize];
            self.shared.at(image.io, text.len()).copy_out(0, &mut text).unwrap();
            for line in String::from_utf8(text).unwrap().lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words.as_slice() {
                    ["entry", name, params @ ..] => info.functions.0.push(function(name, params)),
                    ["global", name, bytes] => {
                        let bytes = bytes.parse().unwrap();
                        let (name, offset) = (name.as_bytes().to_vec(), variable_bytes);
                        info.symbols.0.push(cuda::SymbolInfo { name, kind: 0, offset, bytes });
                        variable_bytes += bytes;
                    }
                    _ => (result, error) = (CUresult::ERROR_INVALID_PTX.0, b"line 1: bad".to_vec()),
                }
            }
        }
        let mut whole = Encoder::new();
        info.encode(&mut whole);
        if result == 0 {
            self.modules.insert(load.module, FakeModule { info: Some(info) });
        }
        let loaded = cuda::ModuleLoaded {
            result,
            variable_bytes,
            variable_align: 16,
            info_bytes: whole.len() as u64,
            nanoseconds: 2_000_000,
            info_log: b"compiled".to_vec(),
            error_log: error,
        };
        loaded.encode(answer);
    }

    fn work(&mut self, work: u16, body: &mut Decoder<'_>) -> Queued {
        match work {
            op::LAUNCH => {
                let launch = cuda::Launch::decode(body).unwrap();
                self.launch(&launch);
                Queued { stream: launch.stream, sequence: launch.sequence }
            }
            op::COPY => {
                let copy = cuda::Copy::decode(body).unwrap();
                memory::copy(Address(copy.to as usize), Address(copy.from as usize), copy.bytes as usize);
                Queued { stream: copy.stream, sequence: copy.sequence }
            }
            op::COPY_3D => {
                let copy = cuda::Copy3d::decode(body).unwrap();
                let to = [copy.to, copy.to_pitch, copy.to_slice];
                let from = [copy.from, copy.from_pitch, copy.from_slice];
                let extent = [copy.width_bytes, copy.height, copy.depth];
                Box3d { to, from, extent }.copy_here();
                Queued { stream: copy.stream, sequence: copy.sequence }
            }
            op::FILL => {
                let fill = cuda::Fill::decode(body).unwrap();
                let value = &fill.value.to_le_bytes()[..fill.value_bytes as usize];
                for row in 0..fill.height {
                    let at = Address((fill.to + row * fill.pitch) as usize);
                    memory::write(at, &value.repeat(fill.width as usize));
                }
                Queued { stream: fill.stream, sequence: fill.sequence }
            }
            op::WAIT_STREAM => {
                let wait = cuda::WaitStream::decode(body).unwrap();
                // Work is run as it comes, so whatever was named is done.
                let other = self.lanes.get(&wait.other);
                assert!(other.is_none_or(|cell| cell.value() >= wait.other_sequence));
                Queued { stream: wait.stream, sequence: wait.sequence }
            }
            op::WAIT_CELL => {
                let wait = cuda::WaitCell::decode(body).unwrap();
                let cell = FenceCell::new(self.shared.at(wait.cell_io, 16)).unwrap();
                let stop = || self.shared.stop.load(Ordering::SeqCst);
                cell.wait(wait.value, None, std::time::Duration::ZERO, &stop);
                Queued { stream: wait.stream, sequence: wait.sequence }
            }
            op::SIGNAL_CELL => {
                let signal = cuda::SignalCell::decode(body).unwrap();
                FenceCell::new(self.shared.at(signal.cell_io, 16)).unwrap().publish(signal.value);
                Queued { stream: signal.stream, sequence: signal.sequence }
            }
            op::TIMESTAMP => {
                let stamp = cuda::Timestamp::decode(body).unwrap();
                static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
                let now = u64::try_from(BEGIN.elapsed().as_nanos()).unwrap() + 1;
                self.shared.at(stamp.io, 8).write(0, &now).unwrap();
                Queued { stream: stamp.stream, sequence: stamp.sequence }
            }
            op::WRITE_VALUE => {
                let write = cuda::WriteValue::decode(body).unwrap();
                memory::write(Address(write.to as usize), &write.value.to_le_bytes()[..write.bytes as usize]);
                Queued { stream: write.stream, sequence: write.sequence }
            }
            op::WAIT_VALUE => {
                let wait = cuda::WaitValue::decode(body).unwrap();
                Queued { stream: wait.stream, sequence: wait.sequence }
            }
            other => panic!("operation {other:#x}"),
        }
    }

    fn launch(&self, launch: &cuda::Launch) {
        let info = self.modules[&launch.module].info.as_ref().unwrap();
        let params = &mut Decoder::new(&launch.params);
        let status = self.shared.at(self.status, cuda::status::BYTES as usize);
        match info.functions.0[launch.function as usize].name.as_slice() {
            b"add" => {
                let mut place = || params.u64().unwrap();
                let (to, one, other) = (place(), place(), place());
                let count = params.u32().unwrap();
                for at in 0..u64::from(count) {
                    let read = |base: u64| {
                        let bytes = memory::read(Address((base + at * 4) as usize), 4);
                        i32::from_le_bytes(bytes.try_into().unwrap())
                    };
                    let sum = read(one).wrapping_add(read(other));
                    memory::write(Address((to + at * 4) as usize), &sum.to_le_bytes());
                }
            }
            b"fault" => {
                let error = CUresult::ERROR_ILLEGAL_ADDRESS.0 as u32;
                status.atomic_u32(cuda::status::ERROR as usize).unwrap().store(error, Ordering::SeqCst);
            }
            other => panic!("kernel {}", String::from_utf8_lossy(other)),
        }
    }
}

fn function(name: &str, params: &[&str]) -> cuda::FunctionInfo {
    let mut offset = 0;
    let mut list = Vec::new();
    for bytes in params {
        let size: u32 = bytes.parse().unwrap();
        offset = u32::next_multiple_of(offset, size);
        list.push(cuda::ParamInfo { offset, size });
        offset += size;
    }
    cuda::FunctionInfo {
        name: name.as_bytes().to_vec(),
        params: cuda::List(list),
        param_bytes: offset,
        shared_bytes: 0,
        local_bytes: 0,
        const_bytes: 0,
        registers: 16,
        max_threads: 1024,
        ptx_version: 70,
        binary_version: 75,
    }
}
