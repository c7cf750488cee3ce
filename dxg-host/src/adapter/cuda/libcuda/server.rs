//! The commands of one stream, for a driver of the host.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::codec::Encoder;
use dxg_wire::cuda;
use dxg_wire::cuda::launch_flags;

use super::super::super::SessionCalls;
use super::super::super::Windows;
use super::super::super::answer::Answer;
use super::super::super::cell::Cell;
use super::super::memory::MapError;
use super::super::memory::Memory;
use super::super::places::cell_at;
use super::super::places::memory_at;
use super::super::places::status_at;
use super::super::reader::Commands;
use super::super::reader::Done;
use super::super::result;
use super::super::validate::Command;
use super::super::validate::Task;
use super::super::work::Box3d;
use super::super::work::Side;
use super::Device;
use super::context::Client;
use super::context::Context;
use super::context::Nowhere;
use super::context::Place;
use super::driver::Residency;
use super::driver::Shape;
use super::lane::Item;
use super::lane::Lane;
use super::lane::Work;
use super::modules;
use super::modules::Image;
use super::modules::Loaded;
use super::modules::Variable;
use super::submit;
use super::submit::Copied;
use super::submit::Kernel;
use crate::failure::Violation;

/// Most modules of a context.
const MOST_MODULES: usize = 1 << 16;
/// Most streams of a context: each has a thread here.
const MOST_LANES: usize = 1024;
/// Entries of one stream that wait before no more are taken from the ring.
const MOST_WAITING: usize = 1 << 14;
/// How long the ring waits before it looks again whether a stream has room.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

struct Stream {
    lane: Arc<Lane>,
    /// Number of its last entry.
    sequence: u64,
}

struct Opened {
    context: Arc<Context>,
    streams: HashMap<u32, Stream>,
    modules: HashMap<u64, Arc<Loaded>>,
    threads: Vec<JoinHandle<()>>,
}

/// What serves one stream.
pub(super) struct Server<'a> {
    device: &'a Device,
    windows: Arc<Windows>,
    calls: Arc<dyn SessionCalls>,
    closing: Arc<AtomicBool>,
    watchdog: Option<Duration>,
    opened: Option<Opened>,
}

impl Commands for Server<'_> {
    fn execute(&mut self, command: Command, _answer: &mut Option<Answer>) -> Result<Done, Violation> {
        let nothing = Ok(Done::Answer(Encoder::new()));
        match command {
            Command::Open(open) => self.open(&open),
            Command::Map(map) => self.map(&map).and(nothing),
            Command::Unmap(unmap) => {
                let context = &self.opened("UNMAP")?.context;
                settle(context, "UNMAP", context.unmap(unmap.address, unmap.bytes)).and(nothing)
            }
            Command::Allocate(bytes) => self.allocate(bytes),
            Command::Free(address) => {
                let known = self.opened("FREE")?.context.free(address);
                if known { nothing } else { Err(Violation::new("FREE", "nothing is there")) }
            }
            Command::LoadModule(load) => self.load(load),
            Command::ReadModule(read) => self.read_module(&read),
            Command::FindSymbol(find) => self.find_symbol(find),
            // Variables are where the driver has put them.
            Command::PlaceModule(place) => {
                self.opened("PLACE_MODULE")?.loaded("PLACE_MODULE", place.module).and(nothing)
            }
            Command::UnloadModule(module) => self.unload(module).and(nothing),
            Command::CreateStream(create) => self.create_stream(&create).and(nothing),
            Command::DestroyStream(stream) => {
                let stream = self.opened("DESTROY_STREAM")?.streams.remove(&stream);
                stream.ok_or(Violation::new("DESTROY_STREAM", "no such stream"))?.lane.end();
                nothing
            }
            // Kernels print and allocate as the driver has it.
            Command::SetFifo(_) => self.opened("SET_FIFO").map(|_| ()).and(nothing),
            Command::SetHeap(_) => self.opened("SET_HEAP").map(|_| ()).and(nothing),
            Command::SetLimit(limit) => {
                let context = &self.opened("SET_LIMIT")?.context;
                if let Err(code) = context.driver.set_limit(limit.limit, limit.value) {
                    tracing::debug!(%code, limit = limit.limit, "limit not set");
                }
                nothing
            }
            Command::Work { stream, sequence, task } => self.work(stream, sequence, task).and(nothing),
        }
    }
}

fn settle(context: &Context, op: &'static str, mapped: Result<(), MapError>) -> Result<(), Violation> {
    match mapped {
        Ok(()) => Ok(()),
        Err(MapError::Misused(what)) => Err(Violation::new(op, what)),
        Err(MapError::System(error)) => {
            context.fail(result::OUT_OF_MEMORY, &error);
            Ok(())
        }
    }
}

impl<'a> Server<'a> {
    pub(super) fn new(
        device: &'a Device,
        windows: Arc<Windows>,
        calls: Arc<dyn SessionCalls>,
        closing: Arc<AtomicBool>,
        watchdog: Option<Duration>,
    ) -> Self {
        Self { device, windows, calls, closing, watchdog, opened: None }
    }

    /// Ends what was opened: work waits for nothing any more, and what the driver runs is waited for.
    pub(super) fn close(&mut self) {
        let Some(opened) = self.opened.take() else { return };
        opened.context.give_up();
        opened.streams.values().for_each(|stream| stream.lane.end());
        for thread in opened.threads {
            if thread.join().is_err() {
                tracing::error!("the thread of a stream has panicked");
            }
        }
        // Before their context is gone.
        drop(opened.modules);
        opened.context.end();
    }

    fn opened(&mut self, op: &'static str) -> Result<&mut Opened, Violation> {
        self.opened.as_mut().ok_or(Violation::new(op, "no context"))
    }

    fn open(&mut self, open: &cuda::Open) -> Result<Done, Violation> {
        const OP: &str = "OPEN";
        if self.opened.is_some() {
            return Err(Violation::new(OP, "there is a context"));
        }
        let status = status_at(&self.windows, OP, open.status_io)?;
        let refused = |result: i32| Ok(Done::Answer(self.device.describe(result)));
        let memory = match Memory::reserve(open.range_start, open.range_bytes) {
            Ok(memory) => memory,
            Err(error) => {
                tracing::debug!(%error, start = open.range_start, bytes = open.range_bytes, "range not free");
                return refused(result::OUT_OF_MEMORY);
            }
        };
        let (calls, closing) = (Arc::clone(&self.calls), Arc::clone(&self.closing));
        let client = Client { calls, closing, watchdog: self.watchdog };
        let context = match Context::new(self.device.driver, self.device.ordinal, memory, status, client) {
            Ok(context) => context,
            Err(code) => {
                tracing::warn!(%code, "no context");
                return refused(code.0);
            }
        };
        let (streams, modules) = (HashMap::new(), HashMap::new());
        self.opened = Some(Opened { context, streams, modules, threads: Vec::new() });
        Ok(Done::Answer(self.device.describe(result::SUCCESS)))
    }

    fn map(&mut self, map: &cuda::Map) -> Result<(), Violation> {
        const OP: &str = "MAP";
        let memory = memory_at(&self.windows, OP, map.io, map.bytes)?;
        let context = &self.opened(OP)?.context;
        settle(context, OP, context.map(map.address, memory))
    }

    fn allocate(&mut self, bytes: u64) -> Result<Done, Violation> {
        let context = &self.opened("ALLOCATE")?.context;
        let allocated = match context.allocate(bytes) {
            Ok(address) => cuda::Allocated { result: result::SUCCESS, address },
            Err(code) => cuda::Allocated { result: code.0, address: 0 },
        };
        let mut reply = Encoder::new();
        allocated.encode(&mut reply);
        Ok(Done::Answer(reply))
    }

    fn load(&mut self, load: cuda::LoadModule) -> Result<Done, Violation> {
        const OP: &str = "LOAD_MODULE";
        let mut images = Vec::with_capacity(load.images.0.len());
        for image in load.images.0 {
            let mut bytes = Vec::new();
            if image.bytes != 0 {
                let memory = memory_at(&self.windows, OP, image.io, image.bytes)?;
                bytes.resize(memory.len(), 0);
                memory.copy_out(0, &mut bytes).map_err(|_| Violation::new(OP, "no window at the address"))?;
            }
            images.push(Image { kind: image.kind, name: image.name, bytes });
        }
        let opened = self.opened(OP)?;
        if opened.modules.len() >= MOST_MODULES {
            return Err(Violation::new(OP, "too many modules"));
        }
        let Slot::Vacant(slot) = opened.modules.entry(load.module) else {
            return Err(Violation::new(OP, "the number is in use"));
        };
        let context = &opened.context;
        let since = Instant::now();
        let loaded = modules::load(&context.driver, images, load.optimization, load.log_bytes);
        let nanoseconds = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut answer = cuda::ModuleLoaded {
            result: result::SUCCESS,
            variable_bytes: 0,
            variable_align: 1,
            info_bytes: 0,
            nanoseconds,
            info_log: Vec::new(),
            error_log: Vec::new(),
        };
        match loaded {
            Ok(mut loaded) => {
                answer.info_bytes = loaded.info.len() as u64;
                answer.info_log = std::mem::take(&mut loaded.info_log);
                for variable in &loaded.variables {
                    context.add_variable(load.module, variable.address, variable.bytes);
                }
                slot.insert(Arc::new(loaded));
            }
            Err(refused) => {
                answer.result = refused.code.0;
                (answer.info_log, answer.error_log) = (refused.info_log, refused.error_log);
            }
        }
        let mut reply = Encoder::new();
        answer.encode(&mut reply);
        Ok(Done::Answer(reply))
    }

    fn read_module(&mut self, read: &cuda::ReadModule) -> Result<Done, Violation> {
        const OP: &str = "READ_MODULE";
        let loaded = self.opened(OP)?.loaded(OP, read.module)?;
        let start = usize::try_from(read.offset).ok().filter(|start| *start <= loaded.info.len());
        let start = start.ok_or(Violation::new(OP, "behind the end"))?;
        let end = usize::try_from(read.bytes).ok().and_then(|bytes| start.checked_add(bytes));
        let end = end.unwrap_or(usize::MAX).min(loaded.info.len());
        let mut reply = Encoder::new();
        reply.bytes(loaded.info.get(start..end).unwrap_or_default());
        Ok(Done::Answer(reply))
    }

    fn find_symbol(&mut self, find: cuda::FindSymbol) -> Result<Done, Violation> {
        const OP: &str = "FIND_SYMBOL";
        let opened = self.opened(OP)?;
        let found = match opened.loaded(OP, find.module)?.find(find.name) {
            Ok(Variable { address, bytes }) => {
                opened.context.add_variable(find.module, address, bytes);
                cuda::SymbolFound { result: result::SUCCESS, address, bytes }
            }
            Err(code) => cuda::SymbolFound { result: code.0, address: 0, bytes: 0 },
        };
        let mut reply = Encoder::new();
        found.encode(&mut reply);
        Ok(Done::Answer(reply))
    }

    /// The driver unloads the module when what was queued of it is complete.
    fn unload(&mut self, module: u64) -> Result<(), Violation> {
        const OP: &str = "UNLOAD_MODULE";
        let opened = self.opened(OP)?;
        opened.modules.remove(&module).ok_or(Violation::new(OP, "no such module"))?;
        opened.context.forget_variables(module);
        Ok(())
    }

    fn create_stream(&mut self, create: &cuda::CreateStream) -> Result<(), Violation> {
        const OP: &str = "CREATE_STREAM";
        let cell = Cell::new(cell_at(&self.windows, OP, create.progress_io)?, 0);
        let opened = self.opened(OP)?;
        opened.threads.retain(|thread| !thread.is_finished());
        let has_room = opened.threads.len() < MOST_LANES;
        let Slot::Vacant(slot) = opened.streams.entry(create.stream) else {
            return Err(Violation::new(OP, "the number is in use"));
        };
        let context = &opened.context;
        let started = if has_room { Lane::start(context, create.priority) } else { Err(super::TOO_MANY) };
        let lane = match started {
            Ok(stream) => Lane::spawn(context, Some(stream), cell, &mut opened.threads),
            Err(code) => {
                context.fail(code.0, &"no stream");
                Lane::spawn(context, None, cell, &mut opened.threads)
            }
        };
        slot.insert(Stream { lane, sequence: 0 });
        Ok(())
    }

    fn work(&mut self, stream: u32, sequence: u64, task: Task) -> Result<(), Violation> {
        const OP: &str = "work";
        let work = match self.resolve(stream, sequence, task)? {
            Ok(work) => work,
            Err(Nowhere { address }) => {
                let context = &self.opened(OP)?.context;
                context.fail(result::ILLEGAL_ADDRESS, &format_args!("no memory at {address:#x}"));
                Work::Nothing
            }
        };
        let closing = Arc::clone(&self.closing);
        let opened = self.opened(OP)?;
        let stream = opened.streams.get_mut(&stream).ok_or(Violation::new(OP, "no such stream"))?;
        if stream.sequence.checked_add(1) != Some(sequence) {
            return Err(Violation::new(OP, "a number out of order"));
        }
        stream.sequence = sequence;
        stream.lane.push(Item { sequence, work });
        while stream.lane.waiting() >= MOST_WAITING && !closing.load(Ordering::Acquire) {
            stream.lane.wait_for_change(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Finds what a task names.
    fn resolve(
        &mut self,
        stream: u32,
        sequence: u64,
        task: Task,
    ) -> Result<Result<Work, Nowhere>, Violation> {
        Ok(Ok(match task {
            Task::Launch(launch) => Work::Launch(Box::new(self.kernel(launch)?)),
            Task::Copy { to, from, bytes } => {
                let side = |at: u64| Side { at, pitch: bytes, slice: bytes };
                let (to, from) = (side(to), side(from));
                let shape = Box3d { to, from, width_bytes: bytes, height: 1, depth: 1 };
                return self.copy("COPY", shape);
            }
            Task::Copy3d(shape) => return self.copy("COPY_3D", shape),
            Task::Fill(rows) => {
                let bytes = extent(rows.row_bytes, (rows.height, rows.pitch), (1, 0));
                return Ok(self.opened("FILL")?.context.place(rows.to, bytes).map(|place| match place {
                    Place::Device => Work::Fill(rows),
                    Place::Host => Work::FillHost(rows),
                }));
            }
            Task::WaitStream { other, sequence: wanted } => {
                if other == stream && wanted >= sequence {
                    return Err(Violation::new("WAIT_STREAM", "a stream that waits for itself"));
                }
                match self.opened("WAIT_STREAM")?.streams.get(&other) {
                    Some(other) => Work::WaitLane { other: Arc::clone(&other.lane), sequence: wanted },
                    None => Work::Nothing,
                }
            }
            Task::WaitCell { cell_io, value } => {
                Work::WaitCell { cell: cell_at(&self.windows, "WAIT_CELL", cell_io)?, value }
            }
            Task::SignalCell { cell_io, value } => {
                Work::SignalCell { cell: cell_at(&self.windows, "SIGNAL_CELL", cell_io)?, value }
            }
            Task::Timestamp { io } => {
                let place = memory_at(&self.windows, "TIMESTAMP", io, 8)?;
                if place.atomic_u64(0).is_err() {
                    return Err(Violation::new("TIMESTAMP", "misplaced number"));
                }
                Work::Timestamp(place)
            }
            Task::WriteValue { number, value } => {
                return Ok(self.opened("WRITE_VALUE")?.context.place(number.at, number.bytes).map(|place| {
                    match place {
                        Place::Device => Work::WriteValue { number, value },
                        Place::Host => Work::WriteHost { number, value },
                    }
                }));
            }
            Task::WaitValue(awaited) => {
                let number = awaited.number;
                return Ok(self.opened("WAIT_VALUE")?.context.place(number.at, number.bytes).map(|place| {
                    match place {
                        Place::Device => Work::WaitValue(awaited),
                        Place::Host => Work::WaitHost(awaited),
                    }
                }));
            }
        }))
    }

    fn copy(&mut self, op: &'static str, shape: Box3d) -> Result<Result<Work, Nowhere>, Violation> {
        let context = &self.opened(op)?.context;
        if shape.width_bytes == 0 || shape.height == 0 || shape.depth == 0 {
            return Ok(Ok(Work::Nothing));
        }
        let bytes = |side: Side| match submit::as_line(&shape) {
            Some(bytes) => bytes,
            None => extent(shape.width_bytes, (shape.height, side.pitch), (shape.depth, side.slice)),
        };
        let way = context.way((shape.to.at, bytes(shape.to)), (shape.from.at, bytes(shape.from)));
        Ok(way.map(|way| Work::Copy(Copied { way, shape })))
    }

    fn kernel(&mut self, launch: cuda::Launch) -> Result<Kernel, Violation> {
        const OP: &str = "LAUNCH";
        let module = self.opened(OP)?.loaded(OP, launch.module)?;
        let function = launch.function as usize;
        if function >= module.functions.len() {
            return Err(Violation::new(OP, "no such function"));
        }
        let is_cooperative = launch.flags & launch_flags::COOPERATIVE != 0;
        Ok(Kernel {
            module,
            function,
            shape: Shape { grid: launch.grid, block: launch.block, shared_bytes: launch.shared_bytes },
            residency: if is_cooperative { Residency::Cooperative } else { Residency::Independent },
            params: launch.params,
        })
    }
}

/// Bytes from the first to behind the last of a box: more than there can be where the sum is none.
fn extent(width_bytes: u64, rows: (u64, u64), slices: (u64, u64)) -> u64 {
    let behind = |(count, step): (u64, u64)| count.saturating_sub(1).saturating_mul(step);
    width_bytes.saturating_add(behind(rows)).saturating_add(behind(slices))
}

impl Opened {
    fn loaded(&self, op: &'static str, module: u64) -> Result<Arc<Loaded>, Violation> {
        self.modules.get(&module).map(Arc::clone).ok_or(Violation::new(op, "no such module"))
    }
}
