//! A block of threads: who runs when.

use super::Grid;
use super::barrier::Barrier;
use super::memory::Buffer;
use super::memory::Memory;
use super::thread::Arrival;
use super::thread::Pause;
use super::thread::State;
use super::thread::Thread;
use crate::exec::Fault;
use crate::exec::FaultKind;
use crate::ir::BarrierKind;
use crate::ir::Place;
use std::sync::atomic::Ordering;

/// Instructions that a thread runs before others get their turn.
const FUEL: u32 = 4096;

/// Turns for which an operation without a mask waits for lanes that still run.
const PATIENCE: u32 = 1024;

/// Rounds of a warp before the next warp gets its turn.
const ROUNDS: u32 = 64;

/// Memory of a block, used again by the next one.
pub(super) struct Resources {
    /// Shared memory, parameters.
    spaces: [Buffer; 2],
    stacks: Buffer,
}

impl Resources {
    pub(super) fn new(grid: &Grid<'_>) -> Self {
        let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX / 4);
        let stacks = grid.launch.thread_count().saturating_mul(grid.layout.stack_bytes);
        let params = Buffer::new(grid.launch.params.len());
        Self { spaces: [Buffer::new(bytes(grid.shared_bytes())), params], stacks: Buffer::new(bytes(stacks)) }
    }
}

/// A block that runs.
pub(super) struct Block<'g> {
    pub(super) grid: &'g Grid<'g>,
    pub(super) index: [u32; 3],
    pub(super) memory: Memory<'g>,
    pub(super) threads: Vec<Thread>,
    barriers: Vec<Barrier>,
    /// Threads of each warp that have not ended.
    live: Vec<u32>,
    /// Turns for which lanes of each warp wait at an operation without a mask.
    pub(super) waited: Vec<u32>,
    /// Why it could not start.
    broken: Option<FaultKind>,
}

impl<'g> Block<'g> {
    pub(super) fn new(grid: &'g Grid<'g>, number: u64, resources: &'g Resources) -> Self {
        let memory = Memory::new(grid.host, &resources.spaces, grid.shared_bytes());
        memory.set_params(&grid.launch.params);
        let count = u32::try_from(grid.launch.thread_count()).unwrap_or(0);
        let stacks = resources.stacks.range();
        let mut broken = None;
        let threads: Vec<Thread> = (0..count)
            .map_while(|thread| {
                let start = stacks.start + u64::from(thread) * grid.layout.stack_bytes;
                Thread::new(grid, thread, start..start + grid.layout.stack_bytes)
                    .map_err(|kind| broken = Some(kind))
                    .ok()
            })
            .collect();
        let live = (0..count.div_ceil(32)).map(|warp| (count - warp * 32).min(32)).collect::<Vec<_>>();
        Self {
            grid,
            index: grid.launch.block_index(number),
            memory,
            waited: vec![0; live.len()],
            barriers: vec![Barrier::default(); 16],
            threads,
            live,
            broken,
        }
    }

    /// Gives every thread a turn. Whether any is left.
    pub(super) fn step(&mut self) -> Result<bool, Fault> {
        if let Some(kind) = self.broken {
            return Err(self.fault(kind, 0));
        }
        let mut has_run = false;
        for warp in 0..self.live.len() {
            for _ in 0..ROUNDS {
                if self.grid.host.stop().load(Ordering::Relaxed) {
                    return Err(self.fault(FaultKind::Stopped, warp * 32));
                }
                let ran = self.run_lanes(warp)?;
                let met = self.meet(warp)?;
                has_run |= ran || met;
                if !met {
                    break;
                }
            }
        }
        if self.live.iter().all(|&live| live == 0) {
            return Ok(false);
        }
        if !has_run {
            let waits = self.threads.iter().position(|thread| thread.state != State::Done);
            return Err(self.fault(FaultKind::Deadlock, waits.unwrap_or(0)));
        }
        Ok(true)
    }

    /// Gives the lanes of a warp their turns. Whether any could run.
    fn run_lanes(&mut self, warp: usize) -> Result<bool, Fault> {
        let mut ran = false;
        for number in warp * 32..(warp * 32 + 32).min(self.threads.len()) {
            if self.threads[number].state != State::Ready {
                continue;
            }
            ran = true;
            match self.run_thread(number, FUEL).map_err(|kind| self.fault(kind, number))? {
                Pause::Fuel => {}
                Pause::Warp => self.threads[number].state = State::AtWarp,
                Pause::Barrier(arrival) => self.arrive(number, arrival),
                Pause::Exit => {
                    self.threads[number].state = State::Done;
                    self.live[warp] -= 1;
                    for id in 0..self.barriers.len() {
                        self.release(id);
                    }
                }
            }
        }
        Ok(ran)
    }

    fn arrive(&mut self, number: usize, arrival: Arrival) {
        if arrival.kind != BarrierKind::Arrive {
            self.threads[number].state = State::AtBarrier;
        }
        let warps = self.live.len();
        let Some(barrier) = self.barriers.get_mut(arrival.id) else { return };
        barrier.arrive(number, arrival, warps);
        self.release(arrival.id);
    }

    fn release(&mut self, id: usize) {
        let Some(barrier) = self.barriers.get_mut(id) else { return };
        for release in barrier.release(&self.live) {
            let thread = &mut self.threads[release.thread];
            thread.state = State::Ready;
            if let Some(dst) = release.arrival.dst {
                let layout = self.grid.registers(thread.frame.function);
                thread.set(layout, dst, release.result);
            }
        }
    }

    /// Whether lanes that wait without a mask have waited for the others long enough.
    pub(super) fn is_patience_over(&mut self, warp: usize) -> bool {
        let lanes = &self.threads[warp * 32..(warp * 32 + 32).min(self.threads.len())];
        let others_run = lanes.iter().any(|thread| thread.state == State::Ready);
        self.waited[warp] = if others_run { self.waited[warp] + 1 } else { 0 };
        if !others_run || self.waited[warp] > PATIENCE {
            self.waited[warp] = 0;
            return true;
        }
        false
    }

    /// A fault of a thread, at its place in the program.
    pub(super) fn fault(&self, kind: FaultKind, number: usize) -> Fault {
        let mut fault = self.grid.fault(kind);
        fault.block = self.index;
        if let Some(thread) = self.threads.get(number) {
            fault.thread = Some(thread.index);
            fault.function =
                self.grid.function(thread.frame.function).map(|f| f.name.clone()).unwrap_or_default();
            fault.place = self.place(thread).unwrap_or_default();
        }
        fault
    }

    fn place(&self, thread: &Thread) -> Option<Place> {
        let code = self.grid.code(&thread.frame)?;
        Some(code.insts.get(thread.frame.inst).map_or(code.end_place, |inst| inst.place))
    }
}
