//! A thread: its registers, its frames, its place in the program.

use super::Grid;
use super::layout::CALL_BYTES;
use super::layout::Registers;
use super::layout::align_up;
use super::memory::Stack;
use crate::exec::FaultKind;
use crate::ir::BarrierKind;
use crate::ir::Block as CodeBlock;
use crate::ir::BlockId;
use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::Reg;

/// Why a thread does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It does.
    Ready,
    /// It waits at the warp operation that is its next instruction.
    AtWarp,
    /// It waits for a barrier.
    AtBarrier,
    /// It has ended.
    Done,
}

/// Why a thread's turn ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pause {
    /// Its fuel is used up, or it lets others run.
    Fuel,
    /// It waits for lanes of its warp.
    Warp,
    /// It came to a barrier.
    Barrier(Arrival),
    /// It ended.
    Exit,
}

/// A thread at a barrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) kind: BarrierKind,
    pub(crate) id: usize,
    pub(crate) threads: Option<u32>,
    pub(crate) dst: Option<Reg>,
    pub(crate) predicate: bool,
}

/// An activation of a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) function: FuncId,
    /// Where its registers start.
    pub(super) registers: usize,
    /// Where its local memory starts, and where the next frame may.
    pub(super) base: u64,
    pub(super) top: u64,
    /// The next instruction.
    pub(super) block: BlockId,
    pub(super) inst: usize,
}

/// A thread of a block.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) index: [u32; 3],
    /// Its number in the block.
    pub(super) number: u32,
    pub(super) state: State,
    pub(super) stack: Stack,
    pub(super) frames: Vec<Frame>,
    /// The frame that runs.
    pub(super) frame: Frame,
    pub(super) registers: Vec<u64>,
}

impl Thread {
    /// A thread at the start of the entry.
    pub(super) fn new(grid: &Grid<'_>, number: u32, stack: std::ops::Range<u64>) -> Result<Self, FaultKind> {
        let [x, y, _] = grid.launch.block.map(|extent| extent.max(1));
        let index = [number % x, number / x % y, number / x / y];
        let top = stack.start;
        let frame = Frame { function: grid.entry, registers: 0, base: top, top, block: BlockId(0), inst: 0 };
        let mut thread = Self {
            index,
            number,
            state: State::Ready,
            stack: Stack { range: stack, frame: top },
            frames: Vec::new(),
            frame,
            registers: Vec::new(),
        };
        thread.frame = thread.new_frame(grid, grid.entry, top)?;
        thread.stack.frame = thread.frame.base;
        Ok(thread)
    }

    /// A frame above `top`, with its registers.
    pub(super) fn new_frame(&mut self, grid: &Grid<'_>, id: FuncId, top: u64) -> Result<Frame, FaultKind> {
        let function = grid.function(id).ok_or(FaultKind::InvalidTarget)?;
        let base = align_up(top, u64::from(function.local_align.max(16)));
        let end = base.saturating_add(u64::from(function.local_bytes));
        if end > self.stack.range.end {
            return Err(FaultKind::StackOverflow);
        }
        let registers = self.registers.len();
        self.registers.resize(registers + grid.registers(id).slots, 0);
        Ok(Frame { function: id, registers, base, top: end, block: BlockId(0), inst: 0 })
    }

    /// Starts a function; the running one goes on behind the call when it returns.
    pub(super) fn enter(&mut self, grid: &Grid<'_>, id: FuncId) -> Result<(), FaultKind> {
        let frame = self.new_frame(grid, id, self.frame.top.saturating_add(CALL_BYTES))?;
        self.frames.push(std::mem::replace(&mut self.frame, frame));
        self.stack.frame = frame.base;
        Ok(())
    }

    /// Ends the running function. Its frame, unless it was the entry.
    pub(super) fn leave(&mut self) -> Option<Frame> {
        let caller = self.frames.pop()?;
        self.registers.truncate(self.frame.registers);
        self.stack.frame = caller.base;
        Some(std::mem::replace(&mut self.frame, caller))
    }

    pub(super) fn lane(&self) -> u32 {
        self.number % 32
    }

    pub(super) fn get(&self, reg: Reg) -> u64 {
        self.registers.get(self.frame.registers + reg.0 as usize).copied().unwrap_or(0)
    }

    /// The upper half of a register of 128 bits.
    pub(super) fn get_upper(&self, layout: &Registers, reg: Reg) -> u64 {
        let slot = layout.upper.get(reg.0 as usize).copied().flatten();
        slot.and_then(|slot| self.registers.get(self.frame.registers + slot as usize).copied()).unwrap_or(0)
    }

    /// Sets a register, cut to its width; of 128 bits the upper half becomes 0.
    pub(super) fn set(&mut self, layout: &Registers, reg: Reg, value: u64) {
        let mask = layout.masks.get(reg.0 as usize).copied().unwrap_or(0);
        if let Some(register) = self.registers.get_mut(self.frame.registers + reg.0 as usize) {
            *register = value & mask;
        }
    }

    pub(super) fn set_upper(&mut self, layout: &Registers, reg: Reg, value: u64) {
        let slot = layout.upper.get(reg.0 as usize).copied().flatten();
        let at = slot.map(|slot| self.frame.registers + slot as usize);
        if let Some(register) = at.and_then(|at| self.registers.get_mut(at)) {
            *register = value;
        }
    }

    /// Goes to a block.
    pub(super) fn jump(&mut self, to: BlockId) {
        self.frame.block = to;
        self.frame.inst = 0;
    }
}

impl<'g> Grid<'g> {
    /// A function that has code.
    pub(super) fn function(&self, id: FuncId) -> Option<&'g Function> {
        self.program.module.functions.get(id.0 as usize).filter(|function| !function.blocks.is_empty())
    }

    pub(super) fn registers(&self, id: FuncId) -> &'g Registers {
        &self.program.registers[id.0 as usize]
    }

    /// The block that a frame is in.
    pub(super) fn code(&self, frame: &Frame) -> Option<&'g CodeBlock> {
        self.function(frame.function)?.blocks.get(frame.block.0 as usize)
    }
}
