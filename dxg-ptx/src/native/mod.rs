//! Native code: a module compiled for this machine, the default way to run it.
//!
//! *Why.* It is hundreds of times faster than the interpreter and does the same.
//!
//! *Shape.* See [`emit`]: machine functions run many lanes in a call. Kernels without synchronisation run a block in one call; for
//! others `schedule` lets threads go on from point to point, see [`crate::regions`].
//!
//! *Faults.* Ranges and alignment are checked inline. Pages of the host's memory that are not mapped fault in the processor; install
//! handlers for that ([`install_handlers`]) in a process that must survive it.

mod cache;
mod call;
mod callbacks;
mod code;
mod context;
pub mod emit;
mod image_bytes;
mod jit_memory;
mod prepare;
mod run;
mod schedule;
mod shapes;
mod signals;
mod simplify;
mod system;
mod words;

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Instant;

use cranelift_codegen::isa::OwnedTargetIsa;

pub use self::cache::CodeCache;
pub use self::cache::CodeStore;
pub use self::cache::SourceKey;
pub use self::signals::install_handlers;
use crate::exec::Blocks;
use crate::exec::Executable;
use crate::exec::Fault;
use crate::exec::FaultKind;
use crate::exec::Host;
use crate::exec::Launch;
use crate::exec::Needs;
use crate::exec::Placement;
use crate::exec::Residency;
use crate::interp::Interpreter;
use crate::interp::layout;
use crate::interp::layout::EntryLayout;
use crate::ir::FuncId;
use crate::ir::Module;
use crate::ir::Place;
use crate::native::cache::CodeKey;
use crate::native::code::Code;
use crate::native::code::CodeImage;
use crate::native::prepare::Prepared;
use crate::native::prepare::Tier;
use crate::native::run::Grid;
use crate::native::run::Resources;
use crate::native::run::Run;
use crate::native::schedule::Block;

/// Threads of a block that there may be.
const MOST_THREADS: u64 = 1024;
/// Shared memory of a block that there may be.
const MOST_SHARED_BYTES: u64 = 256 << 10;

/// Why there is no native code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no native code: {what}")]
pub struct NativeError {
    /// What went wrong.
    pub what: String,
}

/// An entry, ready to run.
#[derive(Debug)]
pub(crate) struct Entry {
    prepared: Prepared,
    code: Code,
}

/// The code of one entry.
#[derive(Debug, Default)]
struct Slot {
    /// What is there soon.
    first: OnceLock<Result<Arc<Entry>, NativeError>>,
    /// What is better, if there is such code.
    better: OnceLock<Result<Option<Arc<Entry>>, NativeError>>,
}

/// A placed module that runs as native code. Entries are compiled when they are first needed, and better with
/// [`NativeProgram::improve`].
pub struct NativeProgram {
    module: Arc<Module>,
    placement: Placement,
    layouts: Vec<EntryLayout>,
    entries: Vec<Slot>,
    cache: Option<(Arc<CodeCache>, SourceKey)>,
    target: OwnedTargetIsa,
    /// Runs what cannot be compiled.
    interpreter: Interpreter,
}

impl std::fmt::Debug for NativeProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeProgram").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl NativeProgram {
    /// A module whose variables lie where the placement says.
    ///
    /// # Errors
    /// There is no code generator for this machine.
    pub fn new(module: Arc<Module>, placement: Placement) -> Result<Self, NativeError> {
        let target = code::target().map_err(|what| NativeError { what })?;
        let layouts = layout::of(&module);
        let entries = module.functions.iter().map(|_| Slot::default()).collect();
        let interpreter = Interpreter::new(Arc::clone(&module), placement.clone());
        let mut addresses = placement.addresses.clone();
        addresses.resize(module.globals.len(), 0);
        let placement = Placement { addresses };
        Ok(Self { module, placement, layouts, entries, cache: None, target, interpreter })
    }

    /// Looks for code in a cache first, and keeps there what is made. `source` is what the module was read from.
    #[must_use]
    pub fn with_cache(mut self, cache: Arc<CodeCache>, source: SourceKey) -> Self {
        self.cache = Some((cache, source));
        self
    }

    /// The same with its variables elsewhere.
    #[must_use]
    pub fn placed(mut self, placement: Placement) -> Self {
        self.interpreter = self.interpreter.placed(placement.clone());
        self.placement = placement;
        self.placement.addresses.resize(self.module.globals.len(), 0);
        self
    }

    /// Compiles an entry now rather than at its first launch.
    ///
    /// # Errors
    /// It cannot be compiled; a launch interprets it.
    pub fn compile(&self, entry: FuncId) -> Result<(), NativeError> {
        match self.entry(entry) {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error.clone()),
            None => Err(NativeError { what: "no such entry".to_owned() }),
        }
    }

    /// Makes better code of an entry, which takes longer: launches that start later use it. Whether there is such code.
    ///
    /// It runs four threads at once where that can be. What it computes is the same.
    ///
    /// # Errors
    /// It cannot be compiled; launches go on with what they have.
    pub fn improve(&self, entry: FuncId) -> Result<bool, NativeError> {
        let slot = self.slot(entry).ok_or_else(|| NativeError { what: "no such entry".to_owned() })?;
        let better = slot.better.get_or_init(|| self.make_safely(entry, Tier::Packets));
        better.as_ref().map(Option::is_some).map_err(Clone::clone)
    }

    /// The machine code of an entry, to look at.
    #[must_use]
    pub fn machine_code(&self, entry: FuncId) -> Option<&[u8]> {
        Some(self.entry(entry)?.ok()?.code.bytes())
    }

    /// The slot of an entry that has code.
    fn slot(&self, id: FuncId) -> Option<&Slot> {
        let index = id.0 as usize;
        let function = self.module.functions.get(index)?;
        if !function.is_entry || function.blocks.is_empty() {
            return None;
        }
        self.entries.get(index)
    }

    /// The best code that is there, made now if there is none.
    fn entry(&self, id: FuncId) -> Option<Result<&Arc<Entry>, &NativeError>> {
        let slot = self.slot(id)?;
        if let Some(Ok(Some(better))) = slot.better.get() {
            return Some(Ok(better));
        }
        // Asked once only: what is here after this is looked at first.
        if slot.first.get().is_none()
            && let Some((cache, source)) = &self.cache
            && let Some(better) = cache.get(&CodeKey::of(*source, (id, Tier::Packets), &self.machine()))
        {
            // An earlier program was worth it. Who makes it at the same time makes the same.
            let _ = slot.better.set(Ok(Some(better)));
        }
        if let Some(Ok(Some(better))) = slot.better.get() {
            return Some(Ok(better));
        }
        let first = slot.first.get_or_init(|| {
            let made = self.make_safely(id, Tier::Scalar);
            made.and_then(|entry| entry.ok_or_else(|| NativeError { what: "no code".to_owned() }))
        });
        Some(first.as_ref())
    }

    fn make_safely(&self, id: FuncId, tier: Tier) -> Result<Option<Arc<Entry>>, NativeError> {
        // A mistake in making code must not end who asks for it; the interpreter knows every instruction too.
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.make(id, tier)));
        let made = made.unwrap_or_else(|_| Err("the code generator failed".to_owned()));
        made.map_err(|what| NativeError { what })
    }

    /// Code of a tier; nothing if it would be no better than that of the one before.
    fn make(&self, id: FuncId, tier: Tier) -> Result<Option<Arc<Entry>>, String> {
        let is_worth = |prepared: &Prepared| tier == Tier::Scalar || prepared.is_improvable();
        let Some((cache, source)) = &self.cache else {
            let prepared = self.prepare(id, tier)?;
            if !is_worth(&prepared) {
                return Ok(None);
            }
            let image = self.image(&prepared)?;
            return Self::map(prepared, image).map(Some);
        };
        let key = CodeKey::of(*source, (id, tier), &self.machine());
        if let Some(entry) = cache.get(&key) {
            return Ok(Some(entry));
        }
        let prepared = self.prepare(id, tier)?;
        if !is_worth(&prepared) {
            return Ok(None);
        }
        let fits = |image: &CodeImage| image.starts.len() == prepared.units.len();
        let image = cache.image(&key, fits, || self.image(&prepared))?;
        let entry = Self::map(prepared, image)?;
        cache.put(key, &entry);
        Ok(Some(entry))
    }

    /// The machine that code is made for.
    fn machine(&self) -> String {
        let features: Vec<String> = self.target.isa_flags().iter().map(ToString::to_string).collect();
        format!("{} {} {}", self.target.triple(), features.join(","), self.target.flags())
    }

    fn prepare(&self, id: FuncId, tier: Tier) -> Result<Prepared, String> {
        let layout = self.layouts.get(id.0 as usize).ok_or("no layout")?;
        Prepared::of(&self.module, id, layout, tier)
    }

    fn image(&self, prepared: &Prepared) -> Result<CodeImage, String> {
        CodeImage::compile(&self.target, &self.module, prepared).map_err(|error| error.to_string())
    }

    fn map(prepared: Prepared, image: CodeImage) -> Result<Arc<Entry>, String> {
        let code = Code::new(image).map_err(|error| error.to_string())?;
        Ok(Arc::new(Entry { prepared, code }))
    }

    fn launch_fault(&self, entry: FuncId) -> Fault {
        let function = self.module.functions.get(entry.0 as usize);
        Fault {
            kind: FaultKind::Launch,
            function: function.map(|function| function.name.clone()).unwrap_or_default(),
            place: Place::default(),
            block: [0; 3],
            thread: None,
        }
    }

    /// Whether the launch can be done at all.
    fn check(&self, entry: FuncId, launch: &Launch, grid: &Grid<'_>) -> Result<(), Fault> {
        let limits = &self.module.functions[entry.0 as usize].limits;
        let threads = launch.thread_count();
        let most: u64 = limits.max_threads.iter().map(|&extent| u64::from(extent.max(1))).product();
        let fits = (1..=MOST_THREADS).contains(&threads)
            && (limits.max_threads == [0; 3] || threads <= most)
            && (limits.required_threads == [0; 3]
                || limits.required_threads.map(|extent| extent.max(1)) == launch.block)
            && launch.params.len() >= self.module.functions[entry.0 as usize].param_bytes as usize
            && u64::from(grid.prepared.stack_bytes) <= layout::MOST_STACK_BYTES
            && grid.shared_bytes() <= MOST_SHARED_BYTES;
        if fits { Ok(()) } else { Err(self.launch_fault(entry)) }
    }
}

impl Executable for NativeProgram {
    fn module(&self) -> &Module {
        &self.module
    }

    fn needs(&self, entry: FuncId) -> Needs {
        self.layouts.get(entry.0 as usize).map(|layout| layout.needs).unwrap_or_default()
    }

    fn run(&self, entry: FuncId, launch: &Launch, blocks: &Blocks, host: &dyn Host) -> Result<(), Fault> {
        let Some(made) = self.entry(entry) else { return Err(self.launch_fault(entry)) };
        let Ok(made) = made else { return self.interpreter.run(entry, launch, blocks, host) };
        let grid = Grid {
            prepared: &made.prepared,
            code: &made.code,
            globals: &self.placement.addresses,
            launch,
            host,
            started: Instant::now(),
        };
        self.check(entry, launch, &grid)?;
        if made.prepared.is_alone() {
            let resources = Resources::new(&grid);
            let mut run = Run::new(&grid, &resources);
            while let Some(range) = blocks.take() {
                for number in range {
                    schedule::run_alone(&mut run, number)?;
                }
            }
            return Ok(());
        }
        match launch.residency {
            Residency::Independent => {
                let resources = Resources::new(&grid);
                let mut block = Block::new(&grid, &resources);
                while let Some(range) = blocks.take() {
                    for number in range {
                        block.start(number);
                        while block.step()? {}
                    }
                }
            }
            Residency::Cooperative => {
                while let Some(range) = blocks.take() {
                    let resources: Vec<Resources> = range.clone().map(|_| Resources::new(&grid)).collect();
                    let mut running: Vec<Block<'_>> = Vec::new();
                    for (number, resources) in range.zip(&resources) {
                        let mut block = Block::new(&grid, resources);
                        block.start(number);
                        running.push(block);
                    }
                    while !running.is_empty() {
                        let mut going = Vec::with_capacity(running.len());
                        for mut block in running {
                            if block.step()? {
                                going.push(block);
                            }
                        }
                        running = going;
                    }
                }
            }
        }
        Ok(())
    }
}
