//! One CUDA stream of the ring kind: takes entries in order, keeps what exists, and gives work to the streams of the context.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dxg_ptx::exec::Launch;
use dxg_ptx::exec::Residency;
use dxg_wire::codec::Encoder;
use dxg_wire::cuda;
use dxg_wire::cuda::launch_flags;
use dxg_wire::cuda::memory_kind;

use super::super::AdapterIdentity;
use super::super::SessionCalls;
use super::super::StreamEnd;
use super::super::StreamSeat;
use super::super::Windows;
use super::super::answer::Answer;
use super::super::cell::Cell;
use super::attributes::Machine;
use super::attributes::attributes;
use super::context::Context;
use super::context::Parts;
use super::engine::Engine;
use super::fifo::Fifo;
use super::heap::Heap;
use super::loading;
use super::loading::Modules;
use super::loading::Request;
use super::loading::Text;
use super::memory::MapError;
use super::memory::Memory;
use super::places::cell_at;
use super::places::memory_at;
use super::places::status_at;
use super::queue::Eager;
use super::queue::Item;
use super::queue::Pushed;
use super::queue::Queue;
use super::reader;
use super::reader::Commands;
use super::reader::Done;
use super::result;
use super::settings::Settings;
use super::validate::Command;
use super::validate::Task;
use super::work;
use super::work::Kernel;
use super::work::Work;
use super::workspace::Workspaces;
use crate::failure::Violation;

/// Serves a stream until the client closes it.
///
/// # Errors
/// Why it ended early.
pub(super) fn run(
    engine: Arc<Engine>,
    identity: &AdapterIdentity,
    machine: Machine,
    seat: StreamSeat,
) -> Result<(), StreamEnd> {
    let StreamSeat { mut consumer, windows, calls, closing, cuda: settings, .. } = seat;
    let around = (Arc::clone(&windows), Arc::clone(&closing));
    let mut server = Server::new(engine, identity, machine, Seat { windows, calls, settings, closing });
    let served = reader::run(&mut consumer, &around.0, &around.1, &mut server);
    server.end();
    served
}

struct Stream {
    queue: Arc<Queue>,
    /// Number of its last entry.
    sequence: u64,
}

/// What exists once the context does.
struct Opened {
    context: Arc<Context>,
    compute_capability: u32,
    streams: HashMap<u32, Stream>,
    modules: Arc<Modules>,
}

/// What a context is served with.
pub(super) struct Seat {
    pub(super) windows: Arc<Windows>,
    pub(super) calls: Arc<dyn SessionCalls>,
    pub(super) settings: Settings,
    /// Set when the client has closed the stream.
    pub(super) closing: Arc<AtomicBool>,
}

/// What executes the commands of one context.
pub(super) struct Server<'a> {
    engine: Arc<Engine>,
    identity: &'a AdapterIdentity,
    machine: Machine,
    windows: Arc<Windows>,
    calls: Arc<dyn SessionCalls>,
    settings: Settings,
    closing: Arc<AtomicBool>,
    opened: Option<Opened>,
}

impl Commands for Server<'_> {
    fn execute(&mut self, command: Command, answer: &mut Option<Answer>) -> Result<Done, Violation> {
        let nothing = Ok(Done::Answer(Encoder::new()));
        match command {
            Command::Open(open) => self.open(&open),
            Command::Map(map) => self.map(&map).and(nothing),
            Command::Unmap(unmap) => self.unmap(&unmap).and(nothing),
            // Memory is the guest's.
            Command::Allocate(_) => Err(Violation::new("ALLOCATE", "memory is shared")),
            Command::Free(_) => Err(Violation::new("FREE", "memory is shared")),
            Command::FindSymbol(_) => Err(Violation::new("FIND_SYMBOL", "memory is shared")),
            Command::LoadModule(load) => self.load(load, answer),
            Command::ReadModule(read) => self.read_module(&read),
            Command::PlaceModule(place) => self.place(&place).and(nothing),
            Command::UnloadModule(module) => self.unload(module).and(nothing),
            Command::CreateStream(create) => self.create_stream(&create).and(nothing),
            Command::DestroyStream(stream) => {
                let opened = self.opened("DESTROY_STREAM")?;
                let known = opened.streams.remove(&stream).is_some();
                if known { nothing } else { Err(Violation::new("DESTROY_STREAM", "no such stream")) }
            }
            Command::SetFifo(fifo) => self.set_fifo(&fifo).and(nothing),
            Command::SetHeap(heap) => self.set_heap(&heap).and(nothing),
            // The guest keeps limits; those that matter here come as FIFO and heap.
            Command::SetLimit(_) => self.opened("SET_LIMIT").map(|_| ()).and(nothing),
            Command::Work { stream, sequence, task } => self.work(stream, sequence, task).and(nothing),
        }
    }
}

impl<'a> Server<'a> {
    pub(super) fn new(
        engine: Arc<Engine>,
        identity: &'a AdapterIdentity,
        machine: Machine,
        seat: Seat,
    ) -> Self {
        let Seat { windows, calls, settings, closing } = seat;
        Self { engine, identity, machine, windows, calls, settings, closing, opened: None }
    }

    /// Ends the context, if there is one.
    pub(super) fn end(&mut self) {
        if let Some(opened) = self.opened.take() {
            // Nothing is answered any more from here on.
            opened.modules.close();
            opened.context.end();
            self.engine.jobs.sweep();
        }
    }
}

impl Server<'_> {
    fn opened(&mut self, op: &'static str) -> Result<&mut Opened, Violation> {
        self.opened.as_mut().ok_or(Violation::new(op, "no context"))
    }

    fn open(&mut self, open: &cuda::Open) -> Result<Done, Violation> {
        const OP: &str = "OPEN";
        if self.opened.is_some() {
            return Err(Violation::new(OP, "there is a context"));
        }
        let status = status_at(&self.windows, OP, open.status_io)?;
        let reserved = Memory::reserve(open.range_start, open.range_bytes)
            .and_then(|memory| Ok((Workspaces::new(&memory)?, memory)));
        let (workspaces, memory) = match reserved {
            Ok(reserved) => reserved,
            Err(error) => {
                tracing::debug!(%error, start = open.range_start, bytes = open.range_bytes, "range not free");
                return Ok(Done::Answer(describe(result::OUT_OF_MEMORY, 0, self.identity, self.machine)));
            }
        };
        let compute_capability = match open.compute_capability {
            0 => self.settings.compute_capability,
            wanted => wanted,
        };
        let context = Context::new(Parts {
            engine: Arc::clone(&self.engine),
            memory,
            workspaces,
            status,
            settings: self.settings,
            calls: Arc::clone(&self.calls),
            closing: Arc::clone(&self.closing),
        });
        self.opened =
            Some(Opened { context, compute_capability, streams: HashMap::new(), modules: Arc::default() });
        let answer = describe(result::SUCCESS, compute_capability, self.identity, self.machine);
        Ok(Done::Answer(answer))
    }

    fn map(&mut self, map: &cuda::Map) -> Result<(), Violation> {
        const OP: &str = "MAP";
        let memory = memory_at(&self.windows, OP, map.io, map.bytes)?;
        let context = &self.opened(OP)?.context;
        match context.memory.map(map.address, memory) {
            Ok(()) => Ok(()),
            Err(MapError::Misused(what)) => Err(Violation::new(OP, what)),
            Err(MapError::System(error)) => {
                context.fail(result::OUT_OF_MEMORY, &error);
                Ok(())
            }
        }
    }

    fn unmap(&mut self, unmap: &cuda::Unmap) -> Result<(), Violation> {
        const OP: &str = "UNMAP";
        let context = &self.opened(OP)?.context;
        match context.memory.unmap(unmap.address, unmap.bytes) {
            Ok(()) => Ok(()),
            Err(MapError::Misused(what)) => Err(Violation::new(OP, what)),
            Err(MapError::System(error)) => {
                context.fail(result::OUT_OF_MEMORY, &error);
                Ok(())
            }
        }
    }

    fn load(&mut self, load: cuda::LoadModule, answer: &mut Option<Answer>) -> Result<Done, Violation> {
        const OP: &str = "LOAD_MODULE";
        let mut texts = Vec::with_capacity(load.images.0.len());
        for image in &load.images.0 {
            let memory = match image.bytes {
                0 => None,
                bytes => Some(memory_at(&self.windows, OP, image.io, bytes)?),
            };
            let name = String::from_utf8_lossy(&image.name).into_owned();
            texts.push(Text { kind: image.kind, name, memory });
        }
        let opened = self.opened(OP)?;
        opened.modules.begin(OP, load.module)?;
        let Some(answer) = answer.take() else { return Err(Violation::new(OP, "no place for the answer")) };
        let request = Request {
            number: load.module,
            log_bytes: load.log_bytes as usize,
            compute_capability: opened.compute_capability,
            texts,
            answer,
        };
        loading::start(&opened.context, &opened.modules, request);
        opened.context.wait_for_room();
        Ok(Done::Later)
    }

    fn read_module(&mut self, read: &cuda::ReadModule) -> Result<Done, Violation> {
        const OP: &str = "READ_MODULE";
        let loaded = self.opened(OP)?.modules.loaded(OP, read.module)?;
        let start = usize::try_from(read.offset).ok().filter(|start| *start <= loaded.info.len());
        let start = start.ok_or(Violation::new(OP, "behind the end"))?;
        let end = usize::try_from(read.bytes).ok().and_then(|bytes| start.checked_add(bytes));
        let end = end.unwrap_or(usize::MAX).min(loaded.info.len());
        let mut reply = Encoder::new();
        reply.bytes(loaded.info.get(start..end).unwrap_or_default());
        Ok(Done::Answer(reply))
    }

    fn place(&mut self, place: &cuda::PlaceModule) -> Result<(), Violation> {
        const OP: &str = "PLACE_MODULE";
        let opened = self.opened(OP)?;
        let loaded = opened.modules.unplaced(OP, place.module)?;
        let context = &opened.context;
        let (base, bytes) = (place.address, loaded.variables.bytes);
        if bytes != 0
            && (!context.memory.is_mapped(base, bytes) || !base.is_multiple_of(loaded.variables.align))
        {
            return Err(Violation::new(OP, "no memory for the variables"));
        }
        match loaded.place(base, &context.memory, &context.engine.improved) {
            Ok(placed) => {
                let placed = Arc::new(placed);
                opened.modules.place(place.module, &placed, loaded);
                placed.make_ahead(context);
                Ok(())
            }
            Err(refused) => {
                context.fail(refused.result, &refused);
                Ok(())
            }
        }
    }

    fn unload(&mut self, module: u64) -> Result<(), Violation> {
        const OP: &str = "UNLOAD_MODULE";
        self.opened(OP)?.modules.remove(OP, module)
    }

    fn create_stream(&mut self, create: &cuda::CreateStream) -> Result<(), Violation> {
        const OP: &str = "CREATE_STREAM";
        let cell = cell_at(&self.windows, OP, create.progress_io)?;
        let opened = self.opened(OP)?;
        match opened.streams.entry(create.stream) {
            Slot::Occupied(_) => Err(Violation::new(OP, "the number is in use")),
            Slot::Vacant(slot) => {
                let queue = Queue::new(&opened.context, create.priority, Cell::new(cell, 0));
                slot.insert(Stream { queue, sequence: 0 });
                Ok(())
            }
        }
    }

    fn set_fifo(&mut self, fifo: &cuda::SetFifo) -> Result<(), Violation> {
        const OP: &str = "SET_FIFO";
        let new = match fifo.bytes {
            0 => None,
            bytes => {
                let memory = memory_at(&self.windows, OP, fifo.io, bytes)?;
                Some(Fifo::new(memory).ok_or(Violation::new(OP, "memory that is no FIFO"))?)
            }
        };
        self.opened(OP)?.context.set_fifo(new);
        Ok(())
    }

    fn set_heap(&mut self, heap: &cuda::SetHeap) -> Result<(), Violation> {
        const OP: &str = "SET_HEAP";
        let context = &self.opened(OP)?.context;
        let new = match heap.bytes {
            0 => None,
            bytes if context.memory.contains(heap.address, bytes) => Some(Heap::new(heap.address, bytes)),
            _ => return Err(Violation::new(OP, "outside of the range")),
        };
        context.set_heap(new);
        Ok(())
    }

    fn work(&mut self, stream: u32, sequence: u64, task: Task) -> Result<(), Violation> {
        const OP: &str = "work";
        let work = self.resolve(stream, sequence, task)?;
        let opened = self.opened(OP)?;
        let stream = opened.streams.get_mut(&stream).ok_or(Violation::new(OP, "no such stream"))?;
        if stream.sequence.checked_add(1) != Some(sequence) {
            return Err(Violation::new(OP, "a number out of order"));
        }
        stream.sequence = sequence;
        let eager = if work.is_short() { Eager::Yes } else { Eager::No };
        if let Pushed::Yours(item) = stream.queue.push(Item { sequence, work }, eager) {
            work::run_now(&stream.queue, item);
        }
        opened.context.wait_for_room();
        Ok(())
    }

    /// Finds what a task names.
    fn resolve(&mut self, stream: u32, sequence: u64, task: Task) -> Result<Work, Violation> {
        Ok(match task {
            Task::Launch(launch) => Work::Launch(Box::new(self.kernel(launch)?)),
            Task::Copy { to, from, bytes } => Work::Copy { to, from, bytes },
            Task::Copy3d(copy) => Work::Copy3d(Box::new(copy)),
            Task::Fill(rows) => Work::Fill(Box::new(rows)),
            Task::WaitStream { other, sequence: wanted } => {
                if other == stream && wanted >= sequence {
                    return Err(Violation::new("WAIT_STREAM", "a stream that waits for itself"));
                }
                match self.opened("WAIT_STREAM")?.streams.get(&other) {
                    Some(other) => Work::WaitStream { other: Arc::clone(&other.queue), sequence: wanted },
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
            Task::WriteValue { number, value } => Work::WriteValue { number, value },
            Task::WaitValue(awaited) => Work::WaitValue(Box::new(awaited)),
        })
    }

    fn kernel(&mut self, launch: cuda::Launch) -> Result<Kernel, Violation> {
        const OP: &str = "LAUNCH";
        let placed = self.opened(OP)?.modules.placed(OP, launch.module)?;
        let function = launch.function as usize;
        if function >= placed.entry_count() {
            return Err(Violation::new(OP, "no such function"));
        }
        let is_cooperative = launch.flags & launch_flags::COOPERATIVE != 0;
        let launch = Launch {
            grid: launch.grid,
            block: launch.block,
            dynamic_shared_bytes: launch.shared_bytes,
            params: launch.params,
            grid_id: 0,
            workspace: 0,
            residency: if is_cooperative { Residency::Cooperative } else { Residency::Independent },
        };
        Ok(Kernel { placed, function, launch })
    }
}

fn describe(result: i32, compute_capability: u32, identity: &AdapterIdentity, machine: Machine) -> Encoder {
    let description = cuda::Description {
        result,
        version: cuda::VERSION,
        memory_kind: memory_kind::SHARED,
        compute_capability,
        memory_bytes: identity.memory_bytes(),
        name: identity.name.clone().into_bytes(),
        attributes: cuda::List(attributes(machine, compute_capability)),
    };
    let mut reply = Encoder::new();
    description.encode(&mut reply);
    reply
}
