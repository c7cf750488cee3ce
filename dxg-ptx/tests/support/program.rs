//! A module in an arena, ready to run.

use std::sync::Arc;

use dxg_ptx::exec::Blocks;
use dxg_ptx::exec::Executable;
use dxg_ptx::exec::Fault;
use dxg_ptx::exec::Host;
use dxg_ptx::exec::Launch;
use dxg_ptx::exec::Placement;
use dxg_ptx::interp::Interpreter;
use dxg_ptx::ir::FuncId;
use dxg_ptx::ir::Module;
use dxg_ptx::ir::Space;
use dxg_ptx::layout::write_variables;
use dxg_ptx::native::NativeProgram;

use super::arena::Arena;

/// Makes an executable of a placed module: which executor is tested.
pub(crate) type Make<'m> = &'m (dyn Fn(Arc<Module>, Placement) -> Box<dyn Executable> + Sync);

/// The interpreter.
pub(crate) fn interpreter(module: Arc<Module>, placement: Placement) -> Box<dyn Executable> {
    Box::new(Interpreter::new(module, placement))
}

/// Native code, all entries compiled.
pub(crate) fn native(module: Arc<Module>, placement: Placement) -> Box<dyn Executable> {
    let entries: Vec<FuncId> =
        (0..).zip(&module.functions).filter(|(_, f)| f.is_entry).map(|(id, _)| FuncId(id)).collect();
    let program = NativeProgram::new(module, placement).expect("there is a code generator for this machine");
    for entry in entries {
        program.compile(entry).expect("the entries can be compiled");
    }
    Box::new(program)
}

/// Native code that runs four threads at once where that can be.
pub(crate) fn packets(module: Arc<Module>, placement: Placement) -> Box<dyn Executable> {
    let entries: Vec<FuncId> =
        (0..).zip(&module.functions).filter(|(_, f)| f.is_entry).map(|(id, _)| FuncId(id)).collect();
    let program = NativeProgram::new(module, placement).expect("there is a code generator for this machine");
    for entry in entries {
        program.compile(entry).expect("the entries can be compiled");
        program.improve(entry).expect("the entries can be compiled better");
    }
    Box::new(program)
}

/// A module whose variables lie in an arena.
pub(crate) struct Program {
    pub(crate) module: Arc<Module>,
    pub(crate) placement: Placement,
    pub(crate) executable: Box<dyn Executable>,
}

impl Program {
    pub(crate) fn new(make: Make<'_>, module: Module, arena: &Arena) -> Self {
        let module = Arc::new(module);
        let place = |global: &dxg_ptx::ir::Global| match global.space {
            Space::Shared => 0,
            _ => arena.take(usize::try_from(global.size).expect("variables of tests are small")),
        };
        let placement = Placement { addresses: module.globals.iter().map(place).collect() };
        write_variables(&module, &placement, |address, bytes| arena.write(address, bytes));
        let executable = make(Arc::clone(&module), placement.clone());
        Self { module, placement, executable }
    }

    /// The address of a variable.
    pub(crate) fn address(&self, name: &str) -> u64 {
        let index = self.module.globals.iter().position(|global| global.name == name);
        self.placement.addresses[index.unwrap_or_else(|| panic!("there is no variable {name}"))]
    }

    /// Runs an entry on the calling thread.
    pub(crate) fn run_alone(&self, entry: &str, launch: &Launch, arena: &Arena) -> Result<(), Fault> {
        let entry = self.module.entry(entry).unwrap_or_else(|| panic!("there is no entry {entry}"));
        self.executable.run(entry, launch, &Blocks::of(launch, 1), arena)
    }

    /// Runs an entry on two threads.
    pub(crate) fn run(&self, entry: &str, launch: &Launch, arena: &Arena) -> Result<(), Fault> {
        let entry = self.module.entry(entry).unwrap_or_else(|| panic!("there is no entry {entry}"));
        let blocks = Blocks::of(launch, 2);
        let work = || {
            self.executable.run(entry, launch, &blocks, arena).inspect_err(|_| {
                blocks.cancel();
                arena.stop().store(true, std::sync::atomic::Ordering::Relaxed);
            })
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(work);
            let first = work();
            let second = other.join().expect("an executor does not panic");
            let stopped = |fault: &Fault| fault.kind == dxg_ptx::exec::FaultKind::Stopped;
            match (first, second) {
                (Err(fault), Err(other)) => Err(if stopped(&fault) { other } else { fault }),
                (first, second) => first.and(second),
            }
        })
    }
}
