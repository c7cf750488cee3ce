//! Joining modules: what one declares, another defines.

use std::collections::HashMap;
use std::collections::HashSet;

use crate::diagnostics::Diagnostic;
use crate::diagnostics::Diagnostics;
use crate::ir::Block;
use crate::ir::Call;
use crate::ir::Callee;
use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::Global;
use crate::ir::GlobalId;
use crate::ir::Inst;
use crate::ir::Linkage;
use crate::ir::LocalId;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::Place;
use crate::ir::Space;
use crate::ir::Symbol;
use crate::ir::Terminator;

/// Candidates of all indirect calls together.
const MOST_CANDIDATES: usize = 1 << 20;

/// Functions of the device's own library of launches, which there is none of.
const LAUNCHES: &[&str] =
    &["cudaLaunchDevice", "cudaGetParameterBuffer", "cudaDeviceSynchronize", "cudaStream"];

/// Joins modules into one. Symbols that none of them defines stay as they are: see [`check_resolved`].
///
/// # Errors
/// A symbol that is defined twice, or that is declared otherwise than it is defined.
pub fn link(modules: Vec<Module>, name: &str) -> Result<Module, Diagnostics> {
    let mut linker = Linker::default();
    let mut problems = Vec::new();
    let mut result = Module::default();
    let mut renamings = Vec::with_capacity(modules.len());
    for module in &modules {
        result.version = result.version.max(module.version);
        result.target_sm = result.target_sm.max(module.target_sm);
        renamings.push(linker.enter(module, &mut problems));
    }
    if !problems.is_empty() {
        problems.truncate(Diagnostics::MOST);
        return Err(Diagnostics { name: name.to_owned(), list: problems });
    }
    let mut functions: Vec<Option<Function>> = linker.functions.iter().map(|_| None).collect();
    let mut globals: Vec<Option<Global>> = linker.globals.iter().map(|_| None).collect();
    for (number, (module, renaming)) in modules.into_iter().zip(&renamings).enumerate() {
        for (old, mut function) in module.functions.into_iter().enumerate() {
            let new = renaming.functions[old].0 as usize;
            if linker.functions[new].provider != (number, old) {
                continue;
            }
            for inst in function.blocks.iter_mut().flat_map(|block| &mut block.insts) {
                inst.op.change_symbols(|symbol| renaming.rename(symbol));
            }
            functions[new] = Some(function);
        }
        for (old, mut global) in module.globals.into_iter().enumerate() {
            let new = renaming.globals[old].0 as usize;
            if linker.globals[new].provider != (number, old) {
                continue;
            }
            for relocation in &mut global.relocations {
                renaming.rename(&mut relocation.symbol);
            }
            let most = &linker.globals[new];
            global.align = global.align.max(most.align);
            if global.linkage == Linkage::Common {
                global.size = global.size.max(most.size);
            }
            globals[new] = Some(global);
        }
    }
    result.functions = functions.into_iter().flatten().collect();
    result.globals = globals.into_iter().flatten().collect();
    match find_candidates(&mut result) {
        Ok(()) => Ok(result),
        Err(problem) => Err(Diagnostics::one(name, problem)),
    }
}

/// Where a symbol of the result comes from.
#[derive(Clone, Copy, Debug)]
struct Entered {
    /// The module and the number in it.
    provider: (usize, usize),
    strength: Strength,
    align: u32,
    size: u64,
}

/// How good a description of a symbol is; the better one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Declared,
    Common,
    Weak,
    Strong,
}

/// New numbers by old ones.
#[derive(Debug, Default)]
struct Renaming {
    functions: Vec<FuncId>,
    globals: Vec<GlobalId>,
}

impl Renaming {
    fn rename(&self, symbol: &mut Symbol) {
        match symbol {
            Symbol::Function(id) => *id = self.functions.get(id.0 as usize).copied().unwrap_or(*id),
            Symbol::Global(id) => *id = self.globals.get(id.0 as usize).copied().unwrap_or(*id),
            Symbol::Local(_) | Symbol::Param(_) => {}
        }
    }
}

/// The symbols of all modules so far.
#[derive(Debug, Default)]
struct Linker {
    modules: usize,
    functions: Vec<Entered>,
    globals: Vec<Entered>,
    function_names: HashMap<String, (usize, Shape)>,
    global_names: HashMap<String, (usize, Space)>,
}

/// What must agree between declaration and definition.
type Shape = (bool, Vec<u32>, Vec<u32>);

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn twice(name: &str, place: Place) -> Diagnostic {
    Diagnostic::unresolved(place, format!("`{name}` is defined twice"))
}

/// Whether a symbol of these two kinds is defined twice; otherwise the better kind wins.
fn better(before: Strength, now: Strength) -> Option<bool> {
    if before == Strength::Strong && now == Strength::Strong {
        return None;
    }
    Some(now > before)
}

impl Linker {
    fn enter(&mut self, module: &Module, problems: &mut Vec<Diagnostic>) -> Renaming {
        let from = self.modules;
        self.modules += 1;
        let mut renaming = Renaming::default();
        for (old, function) in module.functions.iter().enumerate() {
            let strength = match function.linkage {
                _ if function.blocks.is_empty() => Strength::Declared,
                Linkage::Weak | Linkage::Common => Strength::Weak,
                _ => Strength::Strong,
            };
            let entered = Entered { provider: (from, old), strength, align: 1, size: 0 };
            // A declaration of a local function means one elsewhere.
            let is_local =
                function.linkage == Linkage::Local && strength != Strength::Declared && !function.is_entry;
            let sizes = |ids: &[LocalId]| sizes(function, ids);
            let shape = (function.is_entry, sizes(&function.args), sizes(&function.rets));
            let known = if is_local { None } else { self.function_names.get(&function.name) };
            let new = match known {
                None => {
                    self.functions.push(entered);
                    let new = self.functions.len() - 1;
                    if !is_local {
                        self.function_names.insert(function.name.clone(), (new, shape));
                    }
                    new
                }
                Some((new, before)) => {
                    if *before != shape {
                        let message =
                            format!("`{}` is declared with other parameters elsewhere", function.name);
                        problems.push(Diagnostic::unresolved(function.place, message));
                    }
                    match better(self.functions[*new].strength, strength) {
                        None => problems.push(twice(&function.name, function.place)),
                        Some(true) => self.functions[*new] = entered,
                        Some(false) => {}
                    }
                    *new
                }
            };
            renaming.functions.push(FuncId(number(new)));
        }
        for (old, global) in module.globals.iter().enumerate() {
            let new = self.enter_global(global, (from, old), problems);
            renaming.globals.push(GlobalId(number(new)));
        }
        renaming
    }

    fn enter_global(
        &mut self,
        global: &Global,
        provider: (usize, usize),
        problems: &mut Vec<Diagnostic>,
    ) -> usize {
        let strength = match global.linkage {
            Linkage::Extern => Strength::Declared,
            Linkage::Common => Strength::Common,
            Linkage::Weak => Strength::Weak,
            Linkage::Local | Linkage::Visible => Strength::Strong,
        };
        let entered = Entered { provider, strength, align: global.align, size: global.size };
        let is_local = global.linkage == Linkage::Local;
        let known = if is_local { None } else { self.global_names.get(&global.name) };
        let Some(&(new, space)) = known else {
            self.globals.push(entered);
            let new = self.globals.len() - 1;
            if !is_local {
                self.global_names.insert(global.name.clone(), (new, global.space));
            }
            return new;
        };
        if space != global.space {
            let message = format!("`{}` is declared in another state space elsewhere", global.name);
            problems.push(Diagnostic::unresolved(global.place, message));
        }
        let before = self.globals[new];
        match better(before.strength, strength) {
            None => problems.push(twice(&global.name, global.place)),
            Some(true) => self.globals[new] = entered,
            Some(false) => {}
        }
        let merged = &mut self.globals[new];
        merged.align = merged.align.max(before.align).max(global.align);
        merged.size = merged.size.max(before.size).max(global.size);
        new
    }
}

/// Checks that everything that a module's code and variables name is defined. Weak symbols may be missing.
///
/// # Errors
/// Each missing symbol, at the first place that names it.
pub fn check_resolved(module: &Module, name: &str) -> Result<(), Diagnostics> {
    let mut problems = Vec::new();
    let mut told: HashSet<Symbol> = HashSet::new();
    let mut check = |symbol: Symbol, place: Place| {
        if problems.len() < Diagnostics::MOST
            && told.insert(symbol)
            && let Some(problem) = missing(module, symbol, place)
        {
            problems.push(problem);
        }
    };
    for global in &module.globals {
        for relocation in &global.relocations {
            check(relocation.symbol, global.place);
        }
    }
    for inst in module.functions.iter().flat_map(|function| &function.blocks).flat_map(|block| &block.insts) {
        inst.op.for_each_symbol(|symbol| {
            if matches!(symbol, Symbol::Function(_) | Symbol::Global(_)) {
                check(symbol, inst.place);
            }
        });
    }
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort_by_key(|problem| problem.place);
    Err(Diagnostics { name: name.to_owned(), list: problems })
}

/// What is wrong with a symbol that is named here.
fn missing(module: &Module, symbol: Symbol, place: Place) -> Option<Diagnostic> {
    match symbol {
        Symbol::Function(id) => {
            let function = module.functions.get(id.0 as usize)?;
            if !function.blocks.is_empty() || function.linkage == Linkage::Weak {
                return None;
            }
            if LAUNCHES.iter().any(|launch| function.name.starts_with(launch)) {
                let message =
                    format!("`{}` is not supported: there is no dynamic parallelism", function.name);
                return Some(Diagnostic::unsupported(place, message));
            }
            Some(Diagnostic::unresolved(place, format!("the function `{}` is not defined", function.name)))
        }
        Symbol::Global(id) => {
            let global = module.globals.get(id.0 as usize)?;
            let is_missing = global.linkage == Linkage::Extern && global.space != Space::Shared;
            is_missing.then(|| {
                Diagnostic::unresolved(place, format!("the variable `{}` is not defined", global.name))
            })
        }
        Symbol::Local(_) | Symbol::Param(_) => None,
    }
}

/// Makes calls and addresses of aliases mean their targets. For other modules an alias becomes a function that calls its
/// target.
///
/// # Errors
/// An alias of what is not defined.
pub(crate) fn apply_aliases(module: &mut Module, aliases: &[(FuncId, FuncId)]) -> Result<(), Diagnostic> {
    if aliases.is_empty() {
        return Ok(());
    }
    let mut targets: HashMap<FuncId, FuncId> = HashMap::new();
    for &(alias, target) in aliases {
        // A target that is an alias itself means what that means.
        let target = targets.get(&target).copied().unwrap_or(target);
        let function = module.functions.get(target.0 as usize);
        if let Some(function) = function.filter(|function| function.blocks.is_empty()) {
            let message = format!("`{}` has an alias and is not defined", function.name);
            return Err(Diagnostic::malformed(function.place, message));
        }
        let (Some(known), Some(function)) = (module.functions.get(alias.0 as usize), function) else {
            continue;
        };
        let shape = |function: &Function| {
            (function.is_entry, sizes(function, &function.args), sizes(function, &function.rets))
        };
        if shape(known) != shape(function) || !known.blocks.is_empty() {
            let message = format!("`{}` cannot be an alias of `{}`", known.name, function.name);
            return Err(Diagnostic::malformed(known.place, message));
        }
        targets.insert(alias, target);
    }
    for (alias, target) in &targets {
        if let Some(alias) = module.functions.get_mut(alias.0 as usize)
            && matches!(alias.linkage, Linkage::Visible | Linkage::Weak)
            && !alias.is_entry
        {
            forward(alias, *target);
        }
    }
    let rename = |symbol: &mut Symbol| {
        if let Symbol::Function(id) = symbol {
            *id = targets.get(id).copied().unwrap_or(*id);
        }
    };
    for relocation in module.globals.iter_mut().flat_map(|global| &mut global.relocations) {
        rename(&mut relocation.symbol);
    }
    let blocks = module.functions.iter_mut().flat_map(|function| &mut function.blocks);
    for inst in blocks.flat_map(|block| &mut block.insts) {
        inst.op.change_symbols(rename);
    }
    Ok(())
}

/// Makes a function that is only declared call another one and nothing else.
fn forward(function: &mut Function, to: FuncId) {
    let listed = Vec::new();
    let (args, rets) = (function.args.clone(), function.rets.clone());
    let call = Call { callee: Callee::Function(to), candidates: Vec::new(), listed, args, rets };
    let call = Inst { guard: None, op: Op::Call(call), place: function.place };
    let end_place = function.place;
    function.blocks = vec![Block { insts: vec![call], end: Terminator::Return, end_place }];
    let ends = function.locals.iter().map(|slot| slot.offset.saturating_add(slot.size));
    function.local_align = function.locals.iter().map(|slot| slot.align).fold(16, u32::max);
    function.local_bytes = ends.max().unwrap_or(0).next_multiple_of(function.local_align);
}

/// Bytes of each of these variables of a frame.
fn sizes(function: &Function, ids: &[LocalId]) -> Vec<u32> {
    ids.iter().map(|id| function.locals.get(id.0 as usize).map_or(0, |slot| slot.size)).collect()
}

/// The functions that indirect calls may reach: those whose address is taken and whose parameters fit.
///
/// # Errors
/// More of them than memory should be spent on.
pub(crate) fn find_candidates(module: &mut Module) -> Result<(), Diagnostic> {
    let mut taken = vec![false; module.functions.len()];
    let mut has_indirect = false;
    let mut mark = |id: FuncId| {
        if let Some(taken) = taken.get_mut(id.0 as usize) {
            *taken = true;
        }
    };
    for relocation in module.globals.iter().flat_map(|global| &global.relocations) {
        if let Symbol::Function(id) = relocation.symbol {
            mark(id);
        }
    }
    for inst in module.functions.iter().flat_map(|function| &function.blocks).flat_map(|block| &block.insts) {
        match &inst.op {
            Op::AddressOf { symbol: Symbol::Function(id), .. } => mark(*id),
            Op::Call(call) => has_indirect |= matches!(call.callee, Callee::Indirect(_)),
            _ => {}
        }
    }
    if !has_indirect {
        return Ok(());
    }
    let mut fits: HashMap<(Vec<u32>, Vec<u32>), Vec<FuncId>> = HashMap::new();
    for (index, function) in module.functions.iter().enumerate() {
        if taken[index] && !function.is_entry {
            let shape = (sizes(function, &function.args), sizes(function, &function.rets));
            fits.entry(shape).or_default().push(FuncId(number(index)));
        }
    }
    let mut room = MOST_CANDIDATES;
    for function in &mut module.functions {
        let mut blocks = std::mem::take(&mut function.blocks);
        for inst in blocks.iter_mut().flat_map(|block| &mut block.insts) {
            if let Op::Call(call) = &mut inst.op
                && matches!(call.callee, Callee::Indirect(_))
            {
                let shape = (sizes(function, &call.args), sizes(function, &call.rets));
                let fitting = fits.get(&shape).map_or(&[][..], Vec::as_slice);
                // Functions whose address nobody takes are not called through a register, listed or not.
                let mut listed: Vec<FuncId> =
                    call.listed.iter().copied().filter(|id| fitting.binary_search(id).is_ok()).collect();
                listed.sort_unstable();
                listed.dedup();
                let fitting = if call.listed.is_empty() { fitting } else { &listed };
                match room.checked_sub(fitting.len()) {
                    Some(left) => room = left,
                    None => {
                        return Err(Diagnostic::unsupported(
                            inst.place,
                            "too many functions may be called here",
                        ));
                    }
                }
                call.candidates = fitting.to_vec();
            }
        }
        function.blocks = blocks;
    }
    Ok(())
}
