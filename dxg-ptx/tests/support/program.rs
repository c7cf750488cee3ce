//! A module in an arena, ready to run.

use std::sync::Arc;

use dxg_ptx::exec::Blocks;
use dxg_ptx::exec::Executable;
use dxg_ptx::exec::Fault;
use dxg_ptx::exec::Host;
use dxg_ptx::exec::Launch;
use dxg_ptx::exec::Placement;
use dxg_ptx::ir::Module;
use dxg_ptx::ir::Space;
use dxg_ptx::ir::Symbol;

use super::arena::Arena;

/// Makes an executable of a placed module: which executor is tested.
pub type Make<'m> = &'m (dyn Fn(Arc<Module>, Placement) -> Box<dyn Executable> + Sync);

/// A module whose variables lie in an arena.
pub struct Program {
    pub module: Arc<Module>,
    pub placement: Placement,
    pub executable: Box<dyn Executable>,
}

impl Program {
    pub fn new(make: Make<'_>, module: Module, arena: &Arena) -> Self {
        let module = Arc::new(module);
        let place = |global: &dxg_ptx::ir::Global| match global.space {
            Space::Shared => 0,
            _ => arena.take(usize::try_from(global.size).expect("variables of tests are small")),
        };
        let placement = Placement { addresses: module.globals.iter().map(place).collect() };
        for (global, &address) in module.globals.iter().zip(&placement.addresses) {
            if global.space == Space::Shared {
                continue;
            }
            let mut bytes = global.init.clone();
            bytes.resize(usize::try_from(global.size).expect("variables of tests are small"), 0);
            for relocation in &global.relocations {
                let target = match relocation.symbol {
                    Symbol::Global(id) => placement.addresses[id.0 as usize],
                    Symbol::Function(id) => Module::function_address(id),
                    Symbol::Local(_) | Symbol::Param(_) => panic!("a variable names a local one"),
                };
                let value = target.wrapping_add_signed(relocation.addend) >> relocation.shift;
                let at = usize::try_from(relocation.offset).expect("variables of tests are small");
                let size = usize::from(relocation.size);
                bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
            }
            arena.write(address, &bytes);
        }
        let executable = make(Arc::clone(&module), placement.clone());
        Self { module, placement, executable }
    }

    /// The address of a variable.
    pub fn address(&self, name: &str) -> u64 {
        let index = self.module.globals.iter().position(|global| global.name == name);
        self.placement.addresses[index.unwrap_or_else(|| panic!("there is no variable {name}"))]
    }

    /// Runs an entry on two threads.
    pub fn run(&self, entry: &str, launch: &Launch, arena: &Arena) -> Result<(), Fault> {
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
