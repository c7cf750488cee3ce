//! Where an entry's shared variables lie, and how much local memory its threads need.

use std::collections::BTreeSet;

use crate::exec::Needs;
use crate::ir::Base;
use crate::ir::Callee;
use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::RegClass;
use crate::ir::Space;
use crate::ir::Symbol;

/// Local memory for what has no bound: recursion, indirect calls, `alloca`.
const OPEN_STACK_BYTES: u64 = 64 << 10;

/// Local memory of a thread that there may be.
pub(crate) const MOST_STACK_BYTES: u64 = 1 << 20;

/// What a call takes of the stack at least, so that no recursion is endless.
pub(crate) const CALL_BYTES: u64 = 16;

/// Registers of a function: how wide they are, and where the upper halves of those of 128 bits are.
#[derive(Debug)]
pub(crate) struct Registers {
    /// The bits that a register has, by its number.
    pub(crate) masks: Vec<u64>,
    /// The slot of the upper half, for registers of 128 bits.
    pub(crate) upper: Vec<Option<u32>>,
    /// Slots in all: one per register, then the upper halves.
    pub(crate) slots: usize,
}

impl Registers {
    pub(crate) fn of(function: &Function) -> Self {
        let mask = |class: &RegClass| match class {
            RegClass::Pred => 1,
            RegClass::B8 => 0xff,
            RegClass::B16 => 0xffff,
            RegClass::B32 | RegClass::F32 => 0xffff_ffff,
            RegClass::B64 | RegClass::F64 | RegClass::B128 => u64::MAX,
        };
        let mut slots = function.regs.len();
        let upper = function.regs.iter().map(|class| {
            (*class == RegClass::B128).then(|| {
                slots += 1;
                slots as u32 - 1
            })
        });
        let upper = upper.collect();
        Self { masks: function.regs.iter().map(mask).collect(), upper, slots }
    }
}

/// The memory of an entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryLayout {
    /// The offset of each shared variable, by its number in the module.
    pub(crate) shared: Vec<u64>,
    /// Static shared memory.
    pub(crate) static_bytes: u64,
    /// Where dynamic shared memory starts.
    pub(crate) dynamic_start: u64,
    /// Local memory of a thread.
    pub(crate) stack_bytes: u64,
    /// For [`crate::exec::Executable::needs`].
    pub(crate) needs: Needs,
}

/// The next multiple, or the greatest number.
pub(crate) fn align_up(value: u64, align: u64) -> u64 {
    value.checked_next_multiple_of(align.max(1)).unwrap_or(u64::MAX)
}

/// Functions and variables that a function names.
#[derive(Default)]
struct Names {
    functions: BTreeSet<FuncId>,
    globals: BTreeSet<u32>,
    has_open_stack: bool,
}

fn names(function: &Function) -> Names {
    let mut names = Names::default();
    let mut see = |symbol: Symbol| match symbol {
        Symbol::Global(id) => {
            names.globals.insert(id.0);
        }
        Symbol::Function(id) => {
            names.functions.insert(id);
        }
        Symbol::Local(_) | Symbol::Param(_) => {}
    };
    let mut called = Vec::new();
    let mut has_open_stack = false;
    for inst in function.blocks.iter().flat_map(|block| &block.insts) {
        let addresses = match &inst.op {
            Op::AddressOf { symbol, .. } => [Some(Base::Symbol(*symbol)), None],
            Op::Load { address, .. }
            | Op::Store { address, .. }
            | Op::Atomic { address, .. }
            | Op::Mbarrier { address, .. } => [Some(address.base), None],
            Op::CopyAsync { to, from, .. } => [Some(to.base), Some(from.base)],
            Op::Call(call) => {
                match call.callee {
                    Callee::Function(id) => called.push(id),
                    Callee::Indirect(_) => {
                        has_open_stack = true;
                        called.extend(&call.candidates);
                    }
                    Callee::Vprintf | Callee::AssertFail | Callee::Malloc | Callee::Free => {}
                }
                [None, None]
            }
            Op::Alloca { .. } => {
                has_open_stack = true;
                [None, None]
            }
            _ => [None, None],
        };
        for base in addresses.into_iter().flatten() {
            if let Base::Symbol(symbol) = base {
                see(symbol);
            }
        }
    }
    names.functions.extend(called);
    names.has_open_stack = has_open_stack;
    names
}

/// Depth of calls that is looked at; what goes deeper counts as without bound.
const MOST_CALLS: usize = 200;

/// The deepest stack from a function on, of each function that was looked at.
struct Depths<'m> {
    module: &'m Module,
    names: &'m [Names],
    known: Vec<Option<Depth>>,
}

#[derive(Clone, Copy)]
enum Depth {
    /// Being looked at: to come here again is recursion.
    Open,
    /// `None` for no bound.
    Known(Option<u64>),
}

impl Depths<'_> {
    fn below(&mut self, id: FuncId, calls: usize) -> Option<u64> {
        let index = id.0 as usize;
        match *self.known.get(index)? {
            Some(Depth::Open) => return None,
            Some(Depth::Known(depth)) => return depth,
            None if calls > MOST_CALLS => return None,
            None => self.known[index] = Some(Depth::Open),
        }
        let (function, names) = (self.module.functions.get(index)?, self.names.get(index)?);
        let mut most = Some(0);
        for &callee in &names.functions {
            most = most.zip(self.below(callee, calls + 1)).map(|(most, depth)| most.max(depth));
        }
        let own = u64::from(function.local_bytes) + u64::from(function.local_align) + CALL_BYTES;
        let depth = most.and_then(|below| below.checked_add(own));
        self.known[index] = Some(Depth::Known(depth));
        depth
    }
}

/// The layouts of all functions that are entries; of others an empty one.
pub(crate) fn of(module: &Module) -> Vec<EntryLayout> {
    let all: Vec<Names> = module.functions.iter().map(names).collect();
    let ids = 0..u32::try_from(module.functions.len()).unwrap_or(u32::MAX);
    ids.map(FuncId)
        .map(|id| match module.functions.get(id.0 as usize) {
            Some(function) if function.is_entry => entry(module, &all, id, function),
            _ => EntryLayout::default(),
        })
        .collect()
}

fn entry(module: &Module, all: &[Names], id: FuncId, function: &Function) -> EntryLayout {
    let mut reached = BTreeSet::from([id]);
    let mut open = vec![id];
    let mut globals = BTreeSet::<u32>::new();
    let mut has_open_stack = false;
    while let Some(names) = open.pop().and_then(|id| all.get(id.0 as usize)) {
        globals.extend(&names.globals);
        has_open_stack |= names.has_open_stack;
        open.extend(names.functions.iter().filter(|&&callee| reached.insert(callee)));
    }
    let mut shared = vec![0; module.globals.len()];
    let mut end = 0_u64;
    let mut dynamic_align = 16;
    let mut const_bytes = 0;
    let variables = || {
        let index = globals.iter().map(|&index| index as usize);
        index.filter_map(|index| Some((index, module.globals.get(index)?)))
    };
    for (index, variable) in variables() {
        let align = u64::from(variable.align.max(1));
        match variable.space {
            Space::Shared if variable.size > 0 => {
                end = align_up(end, align);
                if let Some(offset) = shared.get_mut(index) {
                    *offset = end;
                }
                end = end.saturating_add(variable.size);
            }
            Space::Shared => dynamic_align = dynamic_align.max(align),
            Space::Const => const_bytes = variable.size.saturating_add(const_bytes),
            _ => {}
        }
    }
    let dynamic_start = align_up(end, dynamic_align);
    for (index, variable) in variables() {
        if variable.space == Space::Shared
            && variable.size == 0
            && let Some(offset) = shared.get_mut(index)
        {
            *offset = dynamic_start;
        }
    }
    let own = u64::from(function.local_bytes) + u64::from(function.local_align);
    let mut depths = Depths { module, names: all, known: vec![None; all.len()] };
    let closed = depths.below(id, 0);
    let extra = if has_open_stack || closed.is_none() { OPEN_STACK_BYTES } else { 0 };
    let stack_bytes = closed.unwrap_or(own).saturating_add(extra + 16) & !15;
    let low = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let needs = Needs {
        shared_bytes: low(end),
        local_bytes: low(closed.unwrap_or(own)),
        const_bytes: low(const_bytes),
        registers: low(function.regs.len() as u64).clamp(8, 255),
    };
    EntryLayout { shared, static_bytes: end, dynamic_start, stack_bytes, needs }
}
