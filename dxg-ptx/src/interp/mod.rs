//! The interpreter: runs the IR as it stands, one thread after the other.
//!
//! *Why.* It is the oracle: native code has to do what it does.
//!
//! *Scheduling.* Each thread of a block has its own place in the program. A thread runs until it waits (for a barrier or for lanes
//! of its warp) or until its fuel is used up; then others get their turn. So threads that spin on what another thread of the block
//! does make progress. Blocks of a cooperative launch take turns in the same way; those of others run one after the other.
//!
//! *Warp operations with a mask* happen when all lanes of the mask that have not exited wait at the same operation with the same
//! mask, wherever in the program. *Those without* happen when no other lane of the warp can run any more (or it has run for
//! long): then for the lanes that wait at the same place, the first place in the text first, functions called before their callers.
//!
//! *Barriers* without a number of threads wait for all threads that have not exited. With a number they count arrived threads, and
//! in warps of which at least one has arrived the exited ones too.
//!
//! *Faults* end the grid; the place is that of the instruction.

pub(crate) mod barrier;
mod block;
mod calls;
mod execute;
pub(crate) mod layout;
pub(crate) mod mbarrier;
pub(crate) mod memory;
mod special;
pub(crate) mod thread;
mod warp;

use std::sync::Arc;

use crate::exec::Blocks;
use crate::exec::Executable;
use crate::exec::Fault;
use crate::exec::FaultKind;
use crate::exec::Host;
use crate::exec::Launch;
use crate::exec::Needs;
use crate::exec::Placement;
use crate::exec::Residency;
use crate::ir::FuncId;
use crate::ir::Module;
use crate::ir::Place;
use block::Block;
use layout::EntryLayout;
use layout::Registers;

/// Threads of a block that there may be.
const MOST_THREADS: u64 = 1024;

/// Shared memory of a block that there may be.
const MOST_SHARED_BYTES: u64 = 256 << 10;

/// A placed module that is interpreted.
#[derive(Debug)]
pub struct Interpreter {
    module: Arc<Module>,
    placement: Placement,
    registers: Vec<Registers>,
    entries: Vec<EntryLayout>,
}

/// What all blocks of a grid share.
struct Grid<'g> {
    program: &'g Interpreter,
    entry: FuncId,
    layout: &'g EntryLayout,
    launch: &'g Launch,
    host: &'g dyn Host,
    started: std::time::Instant,
}

impl Interpreter {
    /// A module whose variables lie where the placement says.
    #[must_use]
    pub fn new(module: Arc<Module>, placement: Placement) -> Self {
        let registers = module.functions.iter().map(Registers::of).collect();
        let entries = layout::of(&module);
        Self { module, placement, registers, entries }
    }

    /// The same with its variables elsewhere.
    #[must_use]
    pub fn placed(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }
}

impl Grid<'_> {
    /// Bytes of shared memory, dynamic included.
    fn shared_bytes(&self) -> u64 {
        self.layout.dynamic_start.saturating_add(u64::from(self.launch.dynamic_shared_bytes))
    }

    fn fault(&self, kind: FaultKind) -> Fault {
        let function = self.program.module.functions.get(self.entry.0 as usize);
        let function = function.map(|function| function.name.clone()).unwrap_or_default();
        Fault { kind, function, place: Place::default(), block: [0; 3], thread: None }
    }

    /// Whether the launch can be done at all.
    fn check(&self) -> Result<(), Fault> {
        let function = self.program.module.functions.get(self.entry.0 as usize);
        let Some(function) = function.filter(|function| function.is_entry && !function.blocks.is_empty())
        else {
            return Err(self.fault(FaultKind::Launch));
        };
        let Launch { block, params, .. } = self.launch;
        let limits = &function.limits;
        let threads = self.launch.thread_count();
        let most: u64 = limits.max_threads.iter().map(|&extent| u64::from(extent.max(1))).product();
        let fits = (1..=MOST_THREADS).contains(&threads)
            && (limits.max_threads == [0; 3] || threads <= most)
            && (limits.required_threads == [0; 3]
                || limits.required_threads.map(|extent| extent.max(1)) == *block)
            && params.len() >= function.param_bytes as usize
            && self.layout.stack_bytes <= layout::MOST_STACK_BYTES
            && self.shared_bytes() <= MOST_SHARED_BYTES;
        if fits { Ok(()) } else { Err(self.fault(FaultKind::Launch)) }
    }
}

impl Executable for Interpreter {
    fn module(&self) -> &Module {
        &self.module
    }

    fn needs(&self, entry: FuncId) -> Needs {
        self.entries.get(entry.0 as usize).map(|layout| layout.needs).unwrap_or_default()
    }

    fn run(&self, entry: FuncId, launch: &Launch, blocks: &Blocks, host: &dyn Host) -> Result<(), Fault> {
        let empty = EntryLayout::default();
        let layout = self.entries.get(entry.0 as usize).unwrap_or(&empty);
        let started = std::time::Instant::now();
        let grid = Grid { program: self, entry, layout, launch, host, started };
        grid.check()?;
        let mut resources = block::Resources::new(&grid);
        while let Some(range) = blocks.take() {
            match launch.residency {
                Residency::Independent => {
                    for number in range {
                        let mut block = Block::new(&grid, number, &resources);
                        while block.step()? {}
                    }
                }
                Residency::Cooperative => {
                    let more = range.clone().skip(1).map(|_| block::Resources::new(&grid));
                    let mut all: Vec<block::Resources> = more.collect();
                    all.push(resources);
                    let mut running: Vec<Block<'_>> = range
                        .zip(&all)
                        .map(|(number, resources)| Block::new(&grid, number, resources))
                        .collect();
                    while !running.is_empty() {
                        let mut going = Vec::with_capacity(running.len());
                        for mut block in running {
                            if block.step()? {
                                going.push(block);
                            }
                        }
                        running = going;
                    }
                    resources = block::Resources::new(&grid);
                }
            }
        }
        Ok(())
    }
}
