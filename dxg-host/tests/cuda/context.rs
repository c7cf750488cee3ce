//! A context of a guest in the same process: its memory is mapped by the host alone, and written here through the window.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dxg_host::adapter::Adapter;
use dxg_host::adapter::StreamEnd;
use dxg_host::adapter::cuda;
use dxg_host::adapter::cuda::Executor;
use dxg_host::adapter::cuda::Settings;
use dxg_wire::cell::FenceCell;
use dxg_wire::cell::WaitOutcome;
use dxg_wire::codec::Decoder;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;
use dxg_wire::session::StreamKind;
use dxg_wire::shm::SharedSlice;

use crate::guest::BLOCK;
use crate::guest::FREE;
use crate::guest::Guest;

/// Bytes of a context's range.
pub(crate) const RANGE_BYTES: u64 = 1 << 32;
/// Bytes of device memory that a context begins with, from the start of its range on.
pub(crate) const MEMORY_BYTES: usize = 8 << 20;
/// Where texts lie in the block, behind device memory.
const TEXT: usize = FREE + MEMORY_BYTES;
/// Where the status block lies in the block.
const STATUS: usize = FREE - 4096;

/// The adapter of all tests.
pub(crate) fn adapter() -> &'static Arc<dyn Adapter> {
    static ADAPTER: OnceLock<Arc<dyn Adapter>> = OnceLock::new();
    ADAPTER.get_or_init(cuda::cpu)
}

/// A range of addresses that no other test uses.
pub(crate) fn fresh_range() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    0x2000_0000_0000 + NEXT.fetch_add(1, Ordering::Relaxed) * (RANGE_BYTES * 2)
}

/// What `OPEN` says for a range.
pub(crate) fn open(range_start: u64) -> wire::Open {
    let status_io = BLOCK + STATUS as u64;
    wire::Open {
        version: wire::VERSION,
        compute_capability: 0,
        range_start,
        range_bytes: RANGE_BYTES,
        status_io,
    }
}

/// A guest with a context.
pub(crate) struct Context {
    pub(crate) guest: Guest,
    pub(crate) description: wire::Description,
    /// Start of the range, and of device memory.
    pub(crate) base: u64,
    next_stream: u32,
    next_module: u64,
}

/// A stream of a context.
pub(crate) struct Stream {
    pub(crate) number: u32,
    pub(crate) cell: FenceCell,
    pub(crate) sequence: u64,
}

impl Stream {
    /// The number of the next entry.
    pub(crate) fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

/// A module of a context.
pub(crate) struct Module {
    pub(crate) number: u64,
    pub(crate) loaded: wire::ModuleLoaded,
    pub(crate) info: wire::ModuleInfo,
}

impl Module {
    /// The number of an entry.
    pub(crate) fn function(&self, name: &str) -> u32 {
        let at = self.info.functions.0.iter().position(|function| function.name == name.as_bytes());
        u32::try_from(at.expect("a function of that name")).unwrap()
    }

    /// Where a variable lies.
    pub(crate) fn symbol(&self, name: &str) -> &wire::SymbolInfo {
        self.info.symbols.0.iter().find(|symbol| symbol.name == name.as_bytes()).expect("a variable")
    }
}

impl Context {
    /// A context with the settings of a virtual GPU without configuration.
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    /// A context whose kernels are interpreted.
    pub(crate) fn interpreted() -> Self {
        Self::with(Settings { executor: Executor::Interpreter, ..Settings::default() })
    }

    /// A context with device memory at the start of its range.
    pub(crate) fn with(settings: Settings) -> Self {
        let mut context = Self::without_memory(settings);
        context.map(context.base, BLOCK + FREE as u64, MEMORY_BYTES as u64);
        context
    }

    /// A context where nothing is mapped.
    pub(crate) fn without_memory(settings: Settings) -> Self {
        let mut guest = Guest::open_with(adapter(), StreamKind::CUDA, settings);
        let base = fresh_range();
        let answer = guest.call(op::OPEN, |e| open(base).encode(e)).unwrap();
        let description = wire::Description::decode(&mut Decoder::new(&answer)).unwrap();
        assert_eq!(description.result, 0);
        Self { guest, description, base, next_stream: 0, next_module: 1 }
    }

    pub(crate) fn map(&mut self, address: u64, io: u64, bytes: u64) {
        self.guest.post(op::MAP, |e| wire::Map { address, io, bytes }.encode(e));
    }

    /// Device memory as this side sees it.
    pub(crate) fn memory(&self, offset: u64, len: usize) -> SharedSlice {
        self.guest.memory(FREE + usize::try_from(offset).unwrap(), len)
    }

    /// The sticky error.
    pub(crate) fn error(&self) -> u32 {
        self.guest.memory(STATUS, 64).read(0).unwrap()
    }

    /// Whether something was printed.
    pub(crate) fn printed(&self) -> u32 {
        self.guest.memory(STATUS, 64).read(4).unwrap()
    }

    pub(crate) fn stream(&mut self) -> Stream {
        self.stream_of_priority(0)
    }

    pub(crate) fn stream_of_priority(&mut self, priority: i32) -> Stream {
        let (cell, progress_io) = self.guest.cell(0);
        let stream = self.next_stream;
        self.next_stream += 1;
        self.guest
            .post(op::CREATE_STREAM, |e| wire::CreateStream { stream, priority, progress_io }.encode(e));
        Stream { number: stream, cell, sequence: 0 }
    }

    /// Loads texts as one module; answers what the host says.
    pub(crate) fn try_load(&mut self, texts: &[&str]) -> (u64, wire::ModuleLoaded) {
        let module = self.next_module;
        self.next_module += 1;
        let mut at = TEXT;
        let mut images = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            self.guest.memory(at, text.len()).copy_in(0, text.as_bytes()).unwrap();
            images.push(wire::Image {
                kind: wire::image_kind::PTX,
                io: BLOCK + at as u64,
                bytes: text.len() as u64,
                name: format!("image {number}").into_bytes(),
            });
            at += text.len().next_multiple_of(64);
        }
        let load = wire::LoadModule { module, images: wire::List(images), optimization: 4, log_bytes: 4096 };
        let answer = self.guest.call(op::LOAD_MODULE, |e| load.encode(e)).unwrap();
        (module, wire::ModuleLoaded::decode(&mut Decoder::new(&answer)).unwrap())
    }

    /// Loads a text and gives it memory for its variables at an offset of device memory.
    pub(crate) fn load(&mut self, text: &str, variables_at: u64) -> Module {
        let (number, loaded) = self.try_load(&[text]);
        let log = String::from_utf8_lossy(&loaded.error_log).into_owned();
        assert_eq!(loaded.result, 0, "{log}");
        let mut encoded = Vec::new();
        while (encoded.len() as u64) < loaded.info_bytes {
            let read = wire::ReadModule { module: number, offset: encoded.len() as u64, bytes: 100 };
            let piece = self.guest.call(op::READ_MODULE, |e| read.encode(e)).unwrap();
            assert!(!piece.is_empty());
            encoded.extend(piece);
        }
        encoded.truncate(usize::try_from(loaded.info_bytes).unwrap());
        let info = wire::ModuleInfo::decode(&mut Decoder::new(&encoded)).unwrap();
        let address = if loaded.variable_bytes == 0 { 0 } else { self.base + variables_at };
        self.guest.post(op::PLACE_MODULE, |e| wire::PlaceModule { module: number, address }.encode(e));
        Module { number, loaded, info }
    }

    /// Puts a launch on a stream.
    pub(crate) fn launch(
        &mut self,
        stream: &mut Stream,
        module: &Module,
        name: &str,
        [grid, block]: [[u32; 3]; 2],
        params: &[u64],
    ) {
        let launch = wire::Launch {
            stream: stream.number,
            flags: 0,
            sequence: stream.next(),
            module: module.number,
            function: module.function(name),
            grid,
            block,
            shared_bytes: 0,
            params: params.iter().flat_map(|param| param.to_le_bytes()).collect(),
        };
        self.guest.post(op::LAUNCH, |e| launch.encode(e));
    }

    /// Waits until everything on a stream is complete.
    pub(crate) fn synchronise(&self, stream: &Stream) {
        assert_eq!(self.guest.wait(&stream.cell, stream.sequence), WaitOutcome::Reached);
    }

    pub(crate) fn close(self) {
        assert_eq!(self.guest.close(), Ok(()));
    }

    /// Answers why the stream ended by itself.
    pub(crate) fn violated(self) -> &'static str {
        match self.guest.ended() {
            Err(StreamEnd::Violation(violation)) => violation.what,
            other => panic!("{other:?}"),
        }
    }
}
