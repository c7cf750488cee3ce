//! Contexts whose code is made by a compiler that waits until a test lets it.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use dxg_ptx::exec::Blocks;
use dxg_ptx::exec::Executable;
use dxg_ptx::exec::Fault;
use dxg_ptx::exec::Host;
use dxg_ptx::exec::Launch;
use dxg_ptx::exec::Needs;
use dxg_ptx::exec::Placement;
use dxg_ptx::interp::Interpreter;
use dxg_ptx::ir::FuncId;
use dxg_ptx::ir::Module;
use dxg_ptx::native::SourceKey;
use dxg_wire::cell::FenceCell;
use dxg_wire::cell::WaitOutcome;
use dxg_wire::codec::Decoder;
use dxg_wire::cuda;
use dxg_wire::cuda::image_kind;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Reason;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::ReplySlot;
use parking_lot::Condvar;
use parking_lot::Mutex;

use super::super::AdapterIdentity;
use super::super::SessionCalls;
use super::super::Windows;
use super::super::answer::Answer;
use super::attributes::Machine;
use super::compile::Compiler;
use super::compile::Program;
use super::compile::Refused;
use super::engine::Engine;
use super::reader::Commands;
use super::reader::Done;
use super::server::Seat;
use super::server::Server;
use super::settings::Executor;
use super::settings::Settings;
use super::validate::Command;
use super::validate::Task;

const IO: u64 = 1 << 40;
const WINDOW_BYTES: usize = 4 << 20;
/// Cells, the status block, slots for answers and texts, in the window.
const CELLS: usize = 4096;
const STATUS: usize = 0;
const SLOTS: usize = 1 << 16;
const SLOT_BYTES: usize = 4096;
const TEXTS: usize = 1 << 20;
/// Device memory, at the start of the range.
const MEMORY: usize = 2 << 20;
const RANGE_BYTES: u64 = 1 << 32;
/// A hang guard; nothing is measured with it.
const HANG: Duration = Duration::from_secs(60);

static NEXT_RANGE: AtomicU64 = AtomicU64::new(0x3400_0000_0000);

struct NoLedger;

impl SessionCalls for NoLedger {
    fn charge(&self, _size_bytes: u64) -> Result<(), Reason> {
        Ok(())
    }

    fn uncharge(&self, _size_bytes: u64) {}
}

/// What a program was asked to do with an entry, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Makes(String),
    Improves(String),
}

fn makes(name: &str) -> Said {
    Said::Makes(name.to_owned())
}

/// Says what code is made, and waits where a test has closed a gate.
struct Gates {
    closed: Mutex<HashSet<String>>,
    changed: Condvar,
    said: mpsc::Sender<Said>,
    improves: AtomicBool,
    programs: Mutex<Vec<Weak<Gated>>>,
}

impl Gates {
    fn new(said: mpsc::Sender<Said>) -> Self {
        Self {
            closed: Mutex::default(),
            changed: Condvar::new(),
            said,
            improves: AtomicBool::new(false),
            programs: Mutex::default(),
        }
    }

    fn say(&self, said: Said) {
        // A test that has ended does not listen any more.
        let _ = self.said.send(said);
    }

    fn close(&self, name: &str) {
        self.closed.lock().insert(name.to_owned());
    }

    fn open(&self, name: &str) {
        self.closed.lock().remove(name);
        self.changed.notify_all();
    }

    fn pass(&self, name: &str) {
        let mut closed = self.closed.lock();
        while closed.contains(name) {
            self.changed.wait(&mut closed);
        }
    }
}

/// An interpreter that pretends to need code.
struct Gated {
    gates: Arc<Gates>,
    inner: Interpreter,
}

impl Gated {
    fn name(&self, entry: FuncId) -> String {
        self.inner.module().functions[entry.0 as usize].name.clone()
    }
}

impl Executable for Gated {
    fn module(&self) -> &Module {
        self.inner.module()
    }

    fn needs(&self, entry: FuncId) -> Needs {
        self.inner.needs(entry)
    }

    fn run(&self, entry: FuncId, launch: &Launch, blocks: &Blocks, host: &dyn Host) -> Result<(), Fault> {
        self.inner.run(entry, launch, blocks, host)
    }
}

impl Program for Gated {
    fn placed(self: Box<Self>, placement: Placement) -> Arc<dyn Program> {
        let gates = Arc::clone(&self.gates);
        let placed = Arc::new(Self { inner: self.inner.placed(placement), ..*self });
        gates.programs.lock().push(Arc::downgrade(&placed));
        placed
    }

    fn make(&self, entry: FuncId) {
        let name = self.name(entry);
        self.gates.say(Said::Makes(name.clone()));
        self.gates.pass(&name);
    }

    fn worth_improving_after(&self) -> Option<Duration> {
        self.gates.improves.load(Ordering::SeqCst).then_some(Duration::ZERO)
    }

    fn improve(&self, entry: FuncId) -> u64 {
        self.gates.say(Said::Improves(self.name(entry)));
        1
    }
}

struct GatedCompiler(Arc<Gates>);

impl Compiler for GatedCompiler {
    fn program(
        &self,
        _executor: Executor,
        module: &Arc<Module>,
        _source: SourceKey,
    ) -> Result<Box<dyn Program>, Refused> {
        let inner = Interpreter::new(Arc::clone(module), Placement::default());
        Ok(Box::new(Gated { gates: Arc::clone(&self.0), inner }))
    }
}

fn identified() -> &'static AdapterIdentity {
    static IDENTITY: std::sync::OnceLock<AdapterIdentity> = std::sync::OnceLock::new();
    IDENTITY.get_or_init(super::identity)
}

/// A context; the test's thread is that of the ring.
struct Guest {
    server: Server<'static>,
    gates: Arc<Gates>,
    said: mpsc::Receiver<Said>,
    windows: Arc<Windows>,
    memory: SharedSlice,
    base: u64,
    last: Vec<u64>,
    modules: u64,
    slots: u32,
}

/// Entries, by name, that each store a number.
fn text(names: &[&str]) -> String {
    let mut text = ".version 7.0\n.target sm_75\n.address_size 64\n".to_owned();
    for name in names {
        text += &format!(
            ".visible .entry {name}(.param .u64 at, .param .u64 value) {{ .reg .b64 %rd<3>; ld.param.u64 %rd1, [at];\n\
             ld.param.u64 %rd2, [value]; st.global.u64 [%rd1], %rd2; ret; }}\n"
        );
    }
    text
}

impl Guest {
    fn new(streams: u32) -> Self {
        let memfd = create_sealed("guest", WINDOW_BYTES as u64).unwrap();
        let mapping =
            Mapping::map(memfd.as_fd(), 0, WINDOW_BYTES, Access::ReadWrite, Populate::Lazy).unwrap();
        let windows = Arc::new(Windows::new());
        windows.insert(IoAddress(IO), Arc::clone(&mapping));
        let (say, said) = mpsc::channel();
        let gates = Arc::new(Gates::new(say));
        let engine = Engine::with(Arc::new(GatedCompiler(Arc::clone(&gates)))).unwrap();
        let seat = Seat {
            windows: Arc::clone(&windows),
            calls: Arc::new(NoLedger),
            settings: Settings::default(),
            closing: Arc::default(),
        };
        let machine = Machine { cores: 2, clock_khz: 1 };
        let server = Server::new(engine, identified(), machine, seat);
        let base = NEXT_RANGE.fetch_add(RANGE_BYTES, Ordering::Relaxed);
        let memory = SharedSlice::whole(&mapping);
        let last = vec![0; streams as usize];
        let mut guest = Self { server, gates, said, windows, memory, base, last, modules: 0, slots: 0 };
        guest.open();
        for stream in 0..streams {
            let progress_io = IO + CELLS as u64 + u64::from(stream) * 64;
            guest.tell(Command::CreateStream(cuda::CreateStream { stream, priority: 0, progress_io }));
        }
        guest
    }

    /// Opens a context where the one before has left, and maps its memory.
    fn open(&mut self) {
        let until = Instant::now() + HANG;
        // Threads of the pool let go of a context a moment after its end.
        while !self.opens() {
            assert!(Instant::now() < until, "something is left of the context before");
            std::thread::yield_now();
        }
        let bytes = (WINDOW_BYTES - MEMORY) as u64;
        self.tell(Command::Map(cuda::Map { address: self.base, io: IO + MEMORY as u64, bytes }));
    }

    fn opens(&mut self) -> bool {
        let open = cuda::Open {
            version: cuda::VERSION,
            compute_capability: 0,
            range_start: self.base,
            range_bytes: RANGE_BYTES,
            status_io: IO + STATUS as u64,
        };
        let Done::Answer(answer) = self.server.execute(Command::Open(open), &mut None).unwrap() else {
            panic!("OPEN is answered at once");
        };
        cuda::Description::decode(&mut Decoder::new(answer.as_slice())).unwrap().result == 0
    }

    fn tell(&mut self, command: Command) {
        self.server.execute(command, &mut None).unwrap();
    }

    /// Asks for a module without waiting for the answer, which comes in the slot.
    fn begin_load(&mut self, names: &[&str]) -> (u64, ReplySlot) {
        self.modules += 1;
        self.slots += 1;
        let text = text(names);
        let at = TEXTS + (self.slots as usize) * SLOT_BYTES;
        self.memory.sub(at, text.len()).unwrap().copy_in(0, text.as_bytes()).unwrap();
        let slot_at = SLOTS + (self.slots as usize) * SLOT_BYTES;
        let slot = ReplySlot::new(self.memory.sub(slot_at, SLOT_BYTES).unwrap()).unwrap();
        slot.begin(self.slots);
        let request = ReplyRequest {
            address: IoAddress(IO + slot_at as u64),
            capacity_bytes: u32::try_from(slot.capacity_bytes()).unwrap(),
            sequence: self.slots,
        };
        let image = cuda::Image {
            kind: image_kind::PTX,
            io: IO + at as u64,
            bytes: text.len() as u64,
            name: b"text".to_vec(),
        };
        let load = cuda::LoadModule {
            module: self.modules,
            images: cuda::List(vec![image]),
            optimization: 4,
            log_bytes: 256,
        };
        let mut answer = Some(Answer::new(&self.windows, request).unwrap());
        self.server.execute(Command::LoadModule(load), &mut answer).unwrap();
        (self.modules, slot)
    }

    /// Loads and places a module of these entries.
    fn load(&mut self, names: &[&str]) -> u64 {
        let (module, slot) = self.begin_load(names);
        let until = Instant::now() + HANG;
        let reply = slot.wait(self.slots, Duration::ZERO, &|| Instant::now() > until).unwrap();
        let mut payload = Vec::new();
        slot.payload(reply, &mut payload);
        let loaded = cuda::ModuleLoaded::decode(&mut Decoder::new(&payload)).unwrap();
        assert_eq!(loaded.result, 0, "{}", String::from_utf8_lossy(&loaded.error_log));
        self.tell(Command::PlaceModule(cuda::PlaceModule { module, address: 0 }));
        module
    }

    fn run(&mut self, stream: u32, task: Task) {
        let last = &mut self.last[stream as usize];
        *last += 1;
        let sequence = *last;
        self.tell(Command::Work { stream, sequence, task });
    }

    /// Has an entry store a number at an offset of device memory.
    fn launch(&mut self, stream: u32, module: u64, function: u32, [offset, value]: [u64; 2]) {
        let launch = cuda::Launch {
            stream,
            flags: 0,
            sequence: 0,
            module,
            function,
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            params: [self.base + offset, value].iter().flat_map(|word| word.to_le_bytes()).collect(),
        };
        self.run(stream, Task::Launch(launch));
    }

    fn copy(&mut self, stream: u32, to: u64, from: u64) {
        self.run(stream, Task::Copy { to: self.base + to, from: self.base + from, bytes: 8 });
    }

    fn cell(&self, stream: u32) -> FenceCell {
        FenceCell::new(self.memory.sub(CELLS + stream as usize * 64, 64).unwrap()).unwrap()
    }

    fn finish(&self, stream: u32) {
        let until = Some(Instant::now() + HANG);
        let waited = self.cell(stream).wait(self.last[stream as usize], until, Duration::ZERO, &|| false);
        assert_eq!(waited, WaitOutcome::Reached);
    }

    fn value(&self, offset: usize) -> u64 {
        self.memory.read(MEMORY + offset).unwrap()
    }

    fn error(&self) -> u32 {
        self.memory.read(STATUS).unwrap()
    }

    fn next_said(&self) -> Said {
        self.said.recv_timeout(HANG).unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.gates.closed.lock().clear();
        self.gates.changed.notify_all();
        self.server.end();
    }
}

#[test]
fn code_that_is_not_ready_holds_up_its_own_stream_only() {
    let mut guest = Guest::new(3);
    guest.gates.close("slow");
    let slow = guest.load(&["slow"]);
    let ready = guest.load(&["ready"]);
    guest.launch(0, slow, 0, [0, 1]);
    guest.copy(0, 8, 0);
    // Whoever waits for that stream waits as well.
    guest.run(2, Task::WaitStream { other: 0, sequence: 2 });
    guest.copy(2, 16, 8);
    guest.launch(1, ready, 0, [24, 2]);
    guest.copy(1, 32, 24);
    guest.finish(1);
    assert_eq!((guest.value(24), guest.value(32)), (2, 2));
    assert_eq!([0, 2].map(|stream| guest.cell(stream).value()), [0, 0]);
    assert_eq!([0, 8, 16].map(|offset| guest.value(offset)), [0, 0, 0]);
    guest.gates.open("slow");
    guest.finish(2);
    assert_eq!([0, 8, 16].map(|offset| guest.value(offset)), [1, 1, 1]);
    assert_eq!(guest.error(), 0);
}

#[test]
fn launches_of_one_entry_in_several_streams_wait_for_it_together() {
    let mut guest = Guest::new(4);
    guest.gates.close("slow");
    let slow = guest.load(&["slow"]);
    for stream in 0..4 {
        guest.launch(stream, slow, 0, [u64::from(stream) * 8, 7]);
    }
    guest.gates.open("slow");
    (0..4).for_each(|stream| guest.finish(stream));
    assert_eq!([0, 8, 16, 24].map(|offset| guest.value(offset)), [7; 4]);
    assert_eq!(guest.next_said(), makes("slow"));
    assert_eq!(guest.said.try_recv(), Err(mpsc::TryRecvError::Empty));
}

#[test]
fn small_module_is_made_in_order_and_launched_entry_goes_before() {
    let mut guest = Guest::new(1);
    guest.gates.close("first");
    let module = guest.load(&["first", "second", "third"]);
    assert_eq!(guest.next_said(), makes("first"));
    guest.launch(0, module, 2, [0, 3]);
    guest.finish(0);
    guest.gates.open("first");
    assert_eq!([(); 2].map(|()| guest.next_said()), [makes("third"), makes("second")]);
}

#[test]
fn library_is_made_as_far_as_it_is_launched() {
    let mut guest = Guest::new(1);
    let names = ["e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8"];
    let module = guest.load(&names);
    guest.launch(0, module, 5, [0, 3]);
    guest.launch(0, module, 7, [0, 4]);
    guest.launch(0, module, 5, [0, 5]);
    guest.finish(0);
    assert_eq!(guest.said.try_iter().collect::<Vec<_>>(), [makes("e5"), makes("e7")]);
}

#[test]
fn module_that_is_unloaded_is_not_made() {
    let mut guest = Guest::new(1);
    guest.gates.close("slow");
    guest.load(&["slow"]);
    assert_eq!(guest.next_said(), makes("slow"));
    let unloaded = guest.load(&["unloaded"]);
    guest.tell(Command::UnloadModule(unloaded));
    assert!(guest.gates.programs.lock()[1].upgrade().is_none());
    guest.load(&["later"]);
    guest.gates.open("slow");
    assert_eq!(guest.next_said(), makes("later"));
}

#[test]
fn context_ends_while_its_code_is_made() {
    let mut guest = Guest::new(2);
    guest.gates.close("slow");
    let slow = guest.load(&["slow"]);
    guest.launch(0, slow, 0, [0, 1]);
    guest.copy(0, 8, 0);
    assert_eq!(guest.next_said(), makes("slow"));
    // Nothing of it is made, and nothing runs.
    guest.load(&["queued"]);
    guest.server.end();
    assert_eq!((guest.cell(0).value(), guest.value(0)), (0, 0));
    // What is queued has gone with its module.
    assert!(guest.gates.programs.lock()[1].upgrade().is_none());
    guest.gates.open("slow");
    // Another context of the same engine, at the same addresses as before.
    guest.open();
    guest.tell(Command::CreateStream(cuda::CreateStream {
        stream: 1,
        priority: 0,
        progress_io: IO + CELLS as u64 + 64,
    }));
    let other = guest.load(&["other"]);
    guest.launch(1, other, 0, [16, 9]);
    guest.finish(1);
    assert_eq!(guest.value(16), 9);
}

#[test]
fn module_that_is_not_read_yet_is_forgotten_when_the_context_ends() {
    let mut guest = Guest::new(8);
    let names = ["e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7"];
    names.iter().for_each(|name| guest.gates.close(name));
    let module = guest.load(&names);
    // There are no more threads than that.
    for number in 0..8_u32 {
        guest.launch(number, module, number, [0, 1]);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(2, 8);
    (0..threads).for_each(|_| assert!(matches!(guest.next_said(), Said::Makes(_))));
    let (_, slot) = guest.begin_load(&["late"]);
    guest.server.end();
    names.iter().for_each(|name| guest.gates.open(name));
    assert!(slot.wait(guest.slots, Duration::ZERO, &|| true).is_err());
}

#[test]
fn context_that_fails_lets_go_of_streams_that_wait_for_code() {
    let mut guest = Guest::new(2);
    guest.gates.close("slow");
    let slow = guest.load(&["slow"]);
    let ready = guest.load(&["ready"]);
    guest.launch(0, slow, 0, [0, 1]);
    guest.launch(1, ready, 0, [RANGE_BYTES * 2, 1]);
    guest.finish(1);
    guest.finish(0);
    assert_eq!((guest.error(), guest.value(0)), (700, 0));
    // What comes later does not wait for it either.
    guest.launch(0, slow, 0, [0, 1]);
    guest.finish(0);
    // And nothing of the context is left when it ends.
    guest.server.end();
    guest.open();
}

#[test]
fn entry_that_was_launched_is_improved_once() {
    let mut guest = Guest::new(1);
    guest.gates.improves.store(true, Ordering::SeqCst);
    let module = guest.load(&["used", "unused"]);
    guest.launch(0, module, 0, [0, 1]);
    guest.launch(0, module, 0, [0, 2]);
    guest.finish(0);
    let mut said = [(); 3].map(|()| guest.next_said());
    said.sort_by_key(|said| matches!(said, Said::Improves(_)));
    assert_eq!(said[2], Said::Improves("used".to_owned()));
    let module = guest.load(&["later"]);
    guest.launch(0, module, 0, [0, 3]);
    guest.finish(0);
    assert_eq!(guest.next_said(), makes("later"));
}
