//! Modules: read and checked when they are loaded, placed when the guest has memory for their variables.

use std::sync::Arc;

use dxg_ptx::exec::Needs;
use dxg_ptx::ir::FuncId;
use dxg_ptx::ir::Function;
use dxg_ptx::ir::Linkage;
use dxg_ptx::ir::Module;
use dxg_ptx::ir::Space;
use dxg_wire::codec::Encoder;
use dxg_wire::cuda::FunctionInfo;
use dxg_wire::cuda::List;
use dxg_wire::cuda::ModuleInfo;
use dxg_wire::cuda::ParamInfo;
use dxg_wire::cuda::SymbolInfo;
use dxg_wire::cuda::symbol_kind;
use parking_lot::Mutex;

use super::charge::Part;
use super::code::Code;
use super::code::Improved;
use super::code::Share;
use super::compile;
use super::compile::Compiler;
use super::compile::Program;
use super::compile::Refused;
use super::grid::Cost;
use super::layout::Variables;
use super::memory::Memory;
use super::settings::Executor;
use super::waits;

/// Most threads of a block, whatever its function says.
const MOST_THREADS: u64 = 1024;
/// Bytes that a byte of text becomes, roughly: its meaning, its regions, its code.
const PER_TEXT_BYTE: u64 = 32;
/// The modules of a context are charged in multiples of this: a few of usual size cost nothing.
pub(super) const CHARGED_BYTES: u64 = 4 << 20;

/// A module that is read and has no memory yet.
pub(super) struct Loaded {
    pub(super) module: Arc<Module>,
    pub(super) variables: Variables,
    /// The encoded [`ModuleInfo`].
    pub(super) info: Vec<u8>,
    entries: Vec<Entry>,
    /// Gone once it is placed.
    program: Mutex<Option<Box<dyn Program>>>,
    _part: Part,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

/// What launches of an entry are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) param_bytes: u64,
    pub(super) shared_bytes: u64,
    pub(super) local_bytes: u64,
    pub(super) most_threads: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    function: FuncId,
    limits: Limits,
    instructions: usize,
    can_wait: bool,
}

/// A module with its variables in memory.
pub(super) struct Placed {
    loaded: Arc<Loaded>,
    program: Arc<dyn Program>,
    costs: Vec<Cost>,
    codes: Vec<Code>,
    improved: Share,
}

impl std::fmt::Debug for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placed").field("entries", &self.loaded.entries.len()).finish_non_exhaustive()
    }
}

impl Loaded {
    /// What a module of a text of so many bytes takes.
    pub(super) fn bytes_of(text_bytes: u64) -> u64 {
        text_bytes.saturating_mul(PER_TEXT_BYTE)
    }

    /// Reads and links images. `part` is the room that they have.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn new(
        images: &[compile::Image],
        binary_version: u32,
        part: Part,
        (compiler, executor): (&dyn Compiler, Executor),
    ) -> Result<Self, Refused> {
        let module = Arc::new(compile::link(images)?);
        let variables = Variables::of(&module).map_err(|_| Refused::too_large())?;
        let program = compiler.program(executor, &module, compile::source(images))?;
        let entries: Vec<(Entry, &Function, Needs)> = module
            .functions
            .iter()
            .enumerate()
            .filter(|(_, function)| function.is_entry && !function.blocks.is_empty())
            .filter_map(|(index, function)| {
                let id = FuncId(u32::try_from(index).ok()?);
                let instructions = function.blocks.iter().map(|block| block.insts.len()).sum();
                let needs = program.needs(id);
                let limits = limits(function, needs);
                let can_wait = waits::can_wait(&module, id);
                Some((Entry { function: id, limits, instructions, can_wait }, function, needs))
            })
            .collect();
        let version = ptx_version(&module);
        let functions = entries
            .iter()
            .map(|(entry, function, needs)| describe(entry, function, *needs, version, binary_version))
            .collect();
        let info = ModuleInfo { functions: List(functions), symbols: List(symbols(&module, &variables)) };
        let mut encoder = Encoder::new();
        info.encode(&mut encoder);
        let entries = entries.into_iter().map(|(entry, ..)| entry).collect();
        let info = encoder.as_slice().to_vec();
        let program = Mutex::new(Some(program));
        Ok(Self { variables, info, entries, module, program, _part: part })
    }

    /// Gives the variables their first values at `base`, once. Code that finds them there can be made then.
    ///
    /// # Errors
    /// When there is no memory at `base`.
    pub(super) fn place(
        self: &Arc<Self>,
        base: u64,
        memory: &Memory,
        improved: &Arc<Improved>,
    ) -> Result<Placed, Refused> {
        let program = self.program.lock().take().ok_or_else(Refused::failed)?;
        let program = program.placed(self.variables.placement(base));
        self.variables.initialise(&self.module, base, memory).map_err(|_| Refused::no_memory())?;
        let costs = self.entries.iter().map(|_| Cost::default()).collect();
        let code = |_: &Entry| if program.is_made() { Code::default() } else { Code::ready() };
        let codes = self.entries.iter().map(code).collect();
        let improved = Share::of(improved);
        Ok(Placed { loaded: Arc::clone(self), program, costs, codes, improved })
    }

    /// Number of its entries.
    pub(super) fn entry_count(&self) -> usize {
        self.entries.len()
    }
}

impl Placed {
    /// What runs.
    pub(super) fn program(&self) -> &dyn Program {
        &*self.program
    }

    /// The code of an entry by its number, which was checked.
    pub(super) fn code(&self, number: usize) -> &Code {
        &self.codes[number]
    }

    /// Whether an entry can wait for what others do.
    pub(super) fn can_wait(&self, number: usize) -> bool {
        self.loaded.entries[number].can_wait
    }

    /// Instructions of an entry, without those of what it calls.
    pub(super) fn instructions(&self, number: usize) -> usize {
        self.loaded.entries[number].instructions
    }

    /// The improved code that it has.
    pub(super) fn improved(&self) -> &Share {
        &self.improved
    }

    /// Number of its entries.
    pub(super) fn entry_count(&self) -> usize {
        self.loaded.entry_count()
    }

    /// The function of an entry by its number, which was checked.
    pub(super) fn entry(&self, number: usize) -> FuncId {
        self.loaded.entries[number].function
    }

    /// What launches of an entry are checked against.
    pub(super) fn limits(&self, number: usize) -> Limits {
        self.loaded.entries[number].limits
    }

    /// How long grids of an entry take.
    pub(super) fn cost(&self, number: usize) -> &Cost {
        &self.costs[number]
    }
}

fn limits(function: &Function, needs: Needs) -> Limits {
    let product = |extents: [u32; 3]| extents.iter().map(|it| u64::from(*it).max(1)).product::<u64>();
    let said = if function.limits.required_threads != [0; 3] {
        product(function.limits.required_threads)
    } else if function.limits.max_threads != [0; 3] {
        product(function.limits.max_threads)
    } else {
        MOST_THREADS
    };
    Limits {
        param_bytes: function.param_bytes.into(),
        shared_bytes: needs.shared_bytes.into(),
        local_bytes: needs.local_bytes.into(),
        most_threads: said.min(MOST_THREADS),
    }
}

fn ptx_version(module: &Module) -> u32 {
    module.version.0.saturating_mul(10).saturating_add(module.version.1)
}

fn describe(
    entry: &Entry,
    function: &Function,
    needs: Needs,
    ptx_version: u32,
    binary_version: u32,
) -> FunctionInfo {
    let params = function.params.iter().map(|slot| ParamInfo { offset: slot.offset, size: slot.size });
    FunctionInfo {
        name: function.name.clone().into_bytes(),
        params: List(params.collect()),
        param_bytes: function.param_bytes,
        shared_bytes: needs.shared_bytes,
        local_bytes: needs.local_bytes,
        const_bytes: needs.const_bytes,
        registers: needs.registers,
        max_threads: u32::try_from(entry.limits.most_threads).unwrap_or(1024),
        ptx_version,
        binary_version,
    }
}

fn symbols(module: &Module, variables: &Variables) -> Vec<SymbolInfo> {
    module
        .globals
        .iter()
        .zip(&variables.offsets)
        .filter_map(|(global, offset)| {
            let kind = match (global.space, global.is_managed) {
                (Space::Const, _) => symbol_kind::CONSTANT,
                (_, true) => symbol_kind::MANAGED,
                _ => symbol_kind::GLOBAL,
            };
            let offset = (*offset)?;
            (global.linkage != Linkage::Extern).then(|| SymbolInfo {
                name: global.name.clone().into_bytes(),
                kind,
                offset,
                bytes: global.size,
            })
        })
        .collect()
}
