//! Streams over [`super::fake`].

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::cell::FenceCell;
use dxg_wire::cell::WaitOutcome;
use dxg_wire::codec::Decoder;
use dxg_wire::cuda;
use dxg_wire::cuda::image_kind;
use dxg_wire::cuda::memory_kind;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Reason;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use uuid::Uuid;

use super::super::super::SessionCalls;
use super::super::super::Windows;
use super::super::range::FillUnit;
use super::super::reader::Commands;
use super::super::reader::Done;
use super::super::validate::Command;
use super::super::validate::Task;
use super::super::work::Box3d;
use super::super::work::Rows;
use super::super::work::Side;
use super::Device;
use super::driver::Driver;
use super::fake;
use super::server::Server;
use crate::failure::Violation;

const IO: u64 = 1 << 40;
const WINDOW_BYTES: u64 = 1 << 20;
/// Cells and the status block, in the window.
const STATUS: u64 = 0;
const CELLS: u64 = 4096;
const TIMES: u64 = 8192;
const TEXT: u64 = 16384;
/// What is mapped in the range.
const STAGING: u64 = 1 << 19;
const QUOTA: u64 = 1 << 20;
const SOURCE: &str = ".version 8.0\n.global .u32 counter;\n.entry add_one(.param .u64 at, .param .u32 count) { ret; }\n.entry fault() { trap; }\n";

static NEXT_RANGE: AtomicU64 = AtomicU64::new(0x3000_0000_0000);

#[derive(Default)]
struct Ledger(AtomicU64, AtomicBool);

impl SessionCalls for Ledger {
    fn charge(&self, bytes: u64) -> Result<(), Reason> {
        let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= QUOTA);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).map(drop).map_err(|_| Reason::QUOTA)
    }

    fn uncharge(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::SeqCst);
    }

    fn lose(&self, _why: &str) {
        self.1.store(true, Ordering::SeqCst);
    }
}

fn device() -> Device {
    Device::of(Driver::over(fake::library()).unwrap(), Uuid::from_bytes(fake::UUID)).unwrap()
}

struct Guest<'a> {
    server: Server<'a>,
    ledger: Arc<Ledger>,
    memory: SharedSlice,
    staging: u64,
    last: [u64; 2],
}

impl<'a> Guest<'a> {
    /// A context with two streams, a module, and mapped memory.
    fn new(device: &'a Device) -> Self {
        Self::watched(device, None)
    }

    /// The same, whose kernels may not run for longer than this.
    fn watched(device: &'a Device, watchdog: Option<Duration>) -> Self {
        let memfd = create_sealed("guest", WINDOW_BYTES).unwrap();
        let mapping =
            Mapping::map(memfd.as_fd(), 0, WINDOW_BYTES as usize, Access::ReadWrite, Populate::Lazy).unwrap();
        let windows = Arc::new(Windows::new());
        windows.insert(IoAddress(IO), Arc::clone(&mapping));
        let ledger = Arc::new(Ledger::default());
        let calls: Arc<dyn SessionCalls> = Arc::clone(&ledger) as _;
        let server = Server::new(device, windows, calls, Arc::new(AtomicBool::new(false)), watchdog);
        let staging = NEXT_RANGE.fetch_add(1 << 32, Ordering::Relaxed);
        let memory = SharedSlice::whole(&mapping);
        let mut guest = Self { server, ledger, memory, staging, last: [0; 2] };
        let open = cuda::Open {
            version: cuda::VERSION,
            compute_capability: 0,
            range_start: staging,
            range_bytes: 1 << 32,
            status_io: IO + STATUS,
        };
        let description = guest.ask(Command::Open(open), cuda::Description::decode);
        assert_eq!((description.result, description.memory_kind), (0, memory_kind::REMOTE));
        let map = cuda::Map { address: staging, io: IO + STAGING, bytes: WINDOW_BYTES - STAGING };
        guest.tell(Command::Map(map));
        for stream in 0..2 {
            let progress_io = IO + CELLS + u64::from(stream) * 64;
            guest.tell(Command::CreateStream(cuda::CreateStream { stream, priority: 0, progress_io }));
        }
        guest
    }

    fn ask<R>(
        &mut self,
        command: Command,
        decode: impl FnOnce(&mut Decoder<'_>) -> Result<R, dxg_wire::codec::DecodeError>,
    ) -> R {
        match self.server.execute(command, &mut None).unwrap() {
            Done::Answer(reply) => decode(&mut Decoder::new(reply.as_slice())).unwrap(),
            Done::Later => panic!("nobody answers"),
        }
    }

    fn tell(&mut self, command: Command) {
        self.ask(command, |_| Ok(()));
    }

    fn run(&mut self, stream: u32, task: Task) -> u64 {
        let last = &mut self.last[stream as usize];
        *last += 1;
        let sequence = *last;
        self.tell(Command::Work { stream, sequence, task });
        sequence
    }

    fn cell(&self, at: u64) -> FenceCell {
        FenceCell::new(self.memory.sub((CELLS + at * 64) as usize, 64).unwrap()).unwrap()
    }

    fn finish(&self, stream: u32) {
        let (cell, last) = (self.cell(stream.into()), self.last[stream as usize]);
        let patience = Instant::now() + Duration::from_secs(60);
        assert_eq!(cell.wait(last, Some(patience), Duration::ZERO, &|| false), WaitOutcome::Reached);
    }

    fn error(&self) -> u32 {
        self.memory.atomic_u32(STATUS as usize).unwrap().load(Ordering::Acquire)
    }

    fn allocate(&mut self, bytes: u64) -> cuda::Allocated {
        self.ask(Command::Allocate(bytes), cuda::Allocated::decode)
    }

    fn load(&mut self, module: u64, source: &str) -> cuda::ModuleLoaded {
        self.memory.copy_in(TEXT as usize, source.as_bytes()).unwrap();
        let (io, bytes) = (IO + TEXT, source.len() as u64);
        let image = cuda::Image { kind: image_kind::PTX, io, bytes, name: Vec::new() };
        let load =
            cuda::LoadModule { module, images: cuda::List(vec![image]), optimization: 3, log_bytes: 64 };
        self.ask(Command::LoadModule(load), cuda::ModuleLoaded::decode)
    }

    fn info(&mut self, module: u64) -> cuda::ModuleInfo {
        let read = cuda::ReadModule { module, offset: 0, bytes: 1 << 20 };
        self.ask(Command::ReadModule(read), cuda::ModuleInfo::decode)
    }

    fn launch(&mut self, stream: u32, function: u32, params: Vec<u8>) {
        let launch = cuda::Launch {
            stream,
            flags: 0,
            sequence: self.last[stream as usize] + 1,
            module: 1,
            function,
            grid: [1, 1, 1],
            block: [32, 1, 1],
            shared_bytes: 0,
            params,
        };
        self.run(stream, Task::Launch(launch));
    }

    fn stage(&self, bytes: &[u8]) {
        self.memory.copy_in(STAGING as usize, bytes).unwrap();
    }

    fn staged(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.copy_out(STAGING as usize, &mut bytes).unwrap();
        bytes
    }
}

fn params(address: u64, count: u32) -> Vec<u8> {
    [address.to_le_bytes().as_slice(), &count.to_le_bytes()].concat()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn kernel_works_on_memory_that_was_copied_there_and_back() {
    let device = device();
    let mut guest = Guest::new(&device);
    assert_eq!(guest.load(1, SOURCE).result, 0);
    let at = guest.allocate(4096).address;
    guest.stage(&words(&[1, 2, 3]));
    let staging = guest.staging;
    guest.run(0, Task::Copy { to: at, from: staging, bytes: 12 });
    guest.launch(0, 0, params(at, 2));
    guest.run(0, Task::Copy { to: staging, from: at, bytes: 12 });
    guest.finish(0);
    assert_eq!(guest.staged(12), words(&[2, 3, 3]));
    assert_eq!(guest.error(), 0);
    guest.server.close();
}

#[test]
fn module_says_what_it_holds_where_the_driver_does_not() {
    let device = device();
    let mut guest = Guest::new(&device);
    assert_eq!(guest.load(1, SOURCE).variable_bytes, 0);
    let info = guest.info(1);
    let entry = &info.functions.0[0];
    assert_eq!(
        (entry.name.as_slice(), entry.param_bytes, entry.max_threads),
        (b"add_one".as_slice(), 12, 1024)
    );
    assert_eq!(
        entry.params.0,
        [cuda::ParamInfo { offset: 0, size: 8 }, cuda::ParamInfo { offset: 8, size: 4 }]
    );
    let counter = &info.symbols.0[0];
    assert_eq!((counter.name.as_slice(), counter.bytes), (b"counter".as_slice(), 64));
    let (to, unit) = (counter.offset, FillUnit::Word);
    guest.run(0, Task::Fill(Rows { to, pitch: 8, row_bytes: 4, height: 2, value: 7, unit }));
    let staging = guest.staging;
    guest.run(0, Task::Copy { to: staging, from: to, bytes: 16 });
    guest.finish(0);
    assert_eq!(guest.staged(16), words(&[7, 0, 7, 0]));
    guest.tell(Command::UnloadModule(1));
    guest.run(0, Task::Copy { to: staging, from: to, bytes: 16 });
    guest.finish(0);
    assert_eq!(guest.error(), 700);
    guest.server.close();
}

#[test]
fn refused_module_comes_with_the_log_of_the_driver() {
    let device = device();
    let mut guest = Guest::new(&device);
    let refused = guest.load(1, "refuse me");
    assert_eq!((refused.result, refused.error_log.as_slice()), (218, b"line 1: refused".as_slice()));
    assert_eq!(guest.load(1, SOURCE).result, 0);
    guest.server.close();
}

#[test]
fn fault_of_a_kernel_sticks_and_later_work_completes_without_running() {
    let device = device();
    let mut guest = Guest::new(&device);
    guest.load(1, SOURCE);
    let at = guest.allocate(4096).address;
    guest.launch(0, 1, Vec::new());
    guest.launch(1, 0, params(at, 1));
    guest.finish(0);
    guest.finish(1);
    assert_eq!(guest.error(), 700);
    let value = guest.cell(5);
    guest.run(1, Task::SignalCell { cell_io: IO + CELLS + 5 * 64, value: 9 });
    guest.finish(1);
    assert_eq!(value.value(), 9);
    guest.server.close();
}

#[test]
fn memory_is_charged_before_the_driver_is_asked_and_given_back_at_the_end() {
    let device = device();
    let mut guest = Guest::new(&device);
    let first = guest.allocate(QUOTA / 2);
    assert_eq!(guest.allocate(QUOTA / 2 + 1), cuda::Allocated { result: 2, address: 0 });
    assert_eq!(guest.ledger.0.load(Ordering::SeqCst), QUOTA / 2);
    guest.tell(Command::Free(first.address));
    assert_eq!((fake::allocated(first.address), guest.ledger.0.load(Ordering::SeqCst)), (None, 0));
    let second = guest.allocate(4096);
    assert_eq!(fake::allocated(second.address), Some(4096));
    guest.server.close();
    assert_eq!(guest.ledger.0.load(Ordering::SeqCst), 0);
}

#[test]
fn memory_that_the_driver_has_not_is_not_charged() {
    let device = device();
    let mut guest = Guest::new(&device);
    guest.ledger.0.store(0, Ordering::SeqCst);
    assert_eq!(guest.allocate(fake::MOST_BYTES as u64 + 1).result, 2);
    assert_eq!(guest.ledger.0.load(Ordering::SeqCst), 0);
    guest.server.close();
}

#[test]
fn stream_waits_for_a_cell_and_another_stream_for_it() {
    let device = device();
    let mut guest = Guest::new(&device);
    let staging = guest.staging;
    let at = guest.allocate(64).address;
    guest.stage(&words(&[5]));
    guest.run(0, Task::WaitCell { cell_io: IO + CELLS + 5 * 64, value: 3 });
    let copied = guest.run(0, Task::Copy { to: at, from: staging, bytes: 4 });
    guest.run(1, Task::WaitStream { other: 0, sequence: copied });
    guest.run(1, Task::Copy { to: staging + 4, from: at, bytes: 4 });
    assert_eq!((guest.cell(0).value(), guest.cell(1).value()), (0, 0));
    assert_eq!(guest.staged(8), words(&[5, 0]));
    guest.cell(5).publish(3);
    guest.finish(1);
    assert_eq!(guest.staged(8), words(&[5, 5]));
    guest.server.close();
}

#[test]
fn times_are_those_of_the_monotonic_clock_in_order() {
    let device = device();
    let mut guest = Guest::new(&device);
    let before = super::super::watch::monotonic_ns();
    guest.run(0, Task::Timestamp { io: IO + TIMES });
    guest.run(0, Task::Timestamp { io: IO + TIMES + 8 });
    guest.finish(0);
    let after = super::super::watch::monotonic_ns();
    let time = |at: u64| guest.memory.atomic_u64((TIMES + at) as usize).unwrap().load(Ordering::Acquire);
    // The driver tells intervals in single precision.
    let rounding = 100_000;
    assert!(before <= time(0) + rounding && time(0) <= time(8) && time(8) <= after + rounding);
    guest.server.close();
}

#[test]
fn boxes_are_copied_row_by_row_and_checked_to_their_last_byte() {
    let device = device();
    let mut guest = Guest::new(&device);
    let staging = guest.staging;
    let at = guest.allocate(64).address;
    guest.stage(&(0..32).collect::<Vec<u8>>());
    let side = |at: u64, pitch: u64, slice: u64| Side { at, pitch, slice };
    let shape = |to: Side, from: Side| Box3d { to, from, width_bytes: 2, height: 2, depth: 2 };
    guest.run(0, Task::Copy3d(shape(side(at, 4, 16), side(staging, 8, 16))));
    guest.run(0, Task::Copy { to: staging, from: at, bytes: 32 });
    guest.finish(0);
    let staged = guest.staged(32);
    assert_eq!(
        (&staged[..6], &staged[16..22]),
        ([0, 1, 0, 0, 8, 9].as_slice(), [16, 17, 0, 0, 24, 25].as_slice())
    );
    assert_eq!(guest.error(), 0);
    guest.run(0, Task::Copy3d(shape(side(at + 64 - 21, 4, 16), side(staging, 8, 16))));
    guest.finish(0);
    assert_eq!(guest.error(), 700);
    guest.server.close();
}

#[test]
fn memory_of_this_process_is_no_memory_of_the_guest() {
    let device = device();
    let mut guest = Guest::new(&device);
    let secret = [42_u8; 64];
    let staging = guest.staging;
    let from = secret.as_ptr().expose_provenance() as u64;
    guest.run(0, Task::Copy { to: staging, from, bytes: 64 });
    guest.finish(0);
    assert_eq!((guest.error(), guest.staged(1)), (700, vec![0]));
    guest.server.close();
}

#[test]
fn numbers_of_things_that_are_not_there_end_the_session() {
    let device = device();
    let mut guest = Guest::new(&device);
    let unknown = [
        Command::Free(0x1234),
        Command::UnloadModule(9),
        Command::DestroyStream(9),
        Command::Work { stream: 9, sequence: 1, task: Task::Timestamp { io: IO + TIMES } },
        Command::Work { stream: 0, sequence: 5, task: Task::Timestamp { io: IO + TIMES } },
    ];
    for command in unknown {
        let ended: Result<Done, Violation> = guest.server.execute(command.clone(), &mut None);
        assert!(ended.is_err(), "{command:?}");
    }
    guest.server.close();
}

#[test]
fn taken_range_is_refused_so_that_the_guest_tries_another() {
    let device = device();
    let mut first = Guest::new(&device);
    let mut second = Guest::new(&device);
    second.server.close();
    let open = cuda::Open {
        version: cuda::VERSION,
        compute_capability: 0,
        range_start: first.staging,
        range_bytes: 1 << 20,
        status_io: IO + STATUS,
    };
    let refused = second.ask(Command::Open(open.clone()), cuda::Description::decode);
    assert_eq!(refused.result, 2);
    first.server.close();
    let opened = second.ask(Command::Open(open), cuda::Description::decode);
    assert_eq!(opened.result, 0);
    second.server.close();
}

#[test]
fn attributes_hide_what_needs_shared_memory() {
    let device = device();
    assert_eq!(device.compute_capability, 86);
    assert!(device.attributes.iter().all(|one| one.attribute != 83));
}

#[test]
fn kernel_that_runs_for_too_long_ends_the_session() {
    let device = device();
    let mut guest = Guest::watched(&device, Some(Duration::from_millis(10)));
    assert_eq!(guest.load(1, ".version 8.0\n.entry endless() { ret; }\n").result, 0);
    guest.run(1, Task::Copy { to: guest.staging + 64, from: guest.staging, bytes: 4 });
    guest.launch(0, 0, Vec::new());
    guest.finish(0);
    assert_eq!((guest.error(), guest.ledger.1.load(Ordering::SeqCst)), (702, true));
    guest.server.close();
}

#[test]
fn kernels_that_end_in_time_are_not_the_watchdogs_concern() {
    let device = device();
    let mut guest = Guest::watched(&device, Some(Duration::from_secs(3600)));
    assert_eq!(guest.load(1, SOURCE).result, 0);
    let at = guest.allocate(4096).address;
    (0..100).for_each(|_| guest.launch(0, 0, params(at, 2)));
    guest.finish(0);
    assert_eq!((guest.error(), guest.ledger.1.load(Ordering::SeqCst)), (0, false));
    guest.server.close();
}
