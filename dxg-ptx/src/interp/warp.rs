//! Lanes of a warp that meet.

use std::cmp::Reverse;

use super::block::Block;
use super::execute::Context;
use super::thread::State;
use super::thread::Thread;
use crate::exec::Fault;
use crate::exec::FaultKind;
use crate::ir::Inst;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Order;
use crate::ir::Reg;
use crate::ir::Space;
use crate::ir::WarpOp;
use crate::semantics::warp;
use crate::semantics::warp::Lanes;

/// A warp operation as a lane sees it.
#[derive(Clone, Copy)]
struct Site<'g> {
    inst: &'g Inst,
    op: &'g WarpOp,
    mask: Option<Operand>,
    dsts: &'g [Option<Reg>],
    srcs: &'g [Operand],
}

/// A lane that waits.
struct Waiting<'g> {
    lane: u32,
    site: Site<'g>,
    /// The mask that it names.
    mask: Option<u32>,
}

/// The lanes of a warp, for an operation.
struct Members<'b, 'g> {
    context: Context<'b, 'g>,
    /// The threads of the warp.
    threads: &'b mut [Thread],
    sites: [Option<Site<'g>>; 32],
}

impl Lanes for Members<'_, '_> {
    type Error = (u32, FaultKind);

    fn source(&self, lane: u32, index: usize) -> u64 {
        let (Some(thread), Some(Some(site))) =
            (self.threads.get(lane as usize), self.sites.get(lane as usize))
        else {
            return 0;
        };
        site.srcs.get(index).map_or(0, |src| self.context.read(thread, *src))
    }

    fn set(&mut self, lane: u32, index: usize, value: u64) {
        let (Some(thread), Some(Some(site))) =
            (self.threads.get_mut(lane as usize), self.sites.get(lane as usize))
        else {
            return;
        };
        self.context.write(thread, site.dsts.get(index).copied().flatten(), value);
    }

    fn load(&mut self, lane: u32, space: Space, address: u64, bytes: u32) -> Result<u64, Self::Error> {
        let stack = self.threads.get(lane as usize).map(|thread| &thread.stack).cloned().unwrap_or_default();
        self.context.memory.load(space, address, bytes, &stack, Order::Weak).map_err(|kind| (lane, kind))
    }

    fn store(
        &mut self,
        lane: u32,
        space: Space,
        address: u64,
        bytes: u32,
        value: u64,
    ) -> Result<(), Self::Error> {
        let stack = self.threads.get(lane as usize).map(|thread| &thread.stack).cloned().unwrap_or_default();
        let stored = self.context.memory.store(space, address, (bytes, value), &stack, Order::Weak);
        stored.map_err(|kind| (lane, kind))
    }
}

impl<'g> Block<'g> {
    /// Lets lanes of a warp that wait for each other do what they wait for. Whether any did.
    pub(super) fn meet(&mut self, warp: usize) -> Result<bool, Fault> {
        let waiting = self.waiting(warp);
        if waiting.is_empty() {
            return Ok(false);
        }
        let members = warp * 32..(warp * 32 + 32).min(self.threads.len());
        let live = (members.start..members.end)
            .filter(|&number| self.threads[number].state != State::Done)
            .fold(0_u32, |live, number| live | 1 << (number % 32));
        let mut met = 0_u32;
        for first in &waiting {
            let Some(mask) = first.mask.filter(|_| met >> first.lane & 1 == 0) else { continue };
            let same =
                waiting.iter().filter(|other| other.mask == Some(mask) && other.site.op == first.site.op);
            let group = same.fold(0, |group, other| group | 1 << other.lane);
            if mask & live & !group == 0 {
                self.run_group(warp, first.site.op, group, &waiting)?;
                met |= group;
            }
        }
        if met != 0 {
            return Ok(true);
        }
        let place = |waiting: &Waiting<'g>| {
            let thread = &self.threads[warp * 32 + waiting.lane as usize];
            let place = waiting.site.inst.place;
            (
                Reverse(thread.frames.len()),
                place,
                thread.frame.function,
                thread.frame.block,
                thread.frame.inst,
            )
        };
        let unmasked = || waiting.iter().filter(|waiting| waiting.mask.is_none());
        let Some(first) = unmasked().min_by_key(|waiting| place(waiting)) else { return Ok(false) };
        let key = place(first);
        let group =
            unmasked().filter(|other| place(other) == key).fold(0, |group, other| group | 1 << other.lane);
        if !self.is_patience_over(warp) {
            return Ok(false);
        }
        self.run_group(warp, first.site.op, group, &waiting)?;
        Ok(true)
    }

    fn waiting(&self, warp: usize) -> Vec<Waiting<'g>> {
        let context = Context { grid: self.grid, memory: &self.memory, index: self.index };
        let numbers = warp * 32..(warp * 32 + 32).min(self.threads.len());
        let at_warp = numbers.filter(|&number| self.threads[number].state == State::AtWarp);
        at_warp
            .filter_map(|number| {
                let thread = &self.threads[number];
                let inst = self.grid.code(&thread.frame)?.insts.get(thread.frame.inst)?;
                let Op::Warp { op, mask, dsts, srcs } = &inst.op else { return None };
                let site = Site { inst, op, mask: *mask, dsts, srcs };
                let mask = site.mask.map(|mask| context.read(thread, mask) as u32);
                Some(Waiting { lane: thread.lane(), site, mask })
            })
            .collect()
    }

    fn run_group(
        &mut self,
        warp: usize,
        op: &WarpOp,
        group: u32,
        waiting: &[Waiting<'g>],
    ) -> Result<(), Fault> {
        let context = Context { grid: self.grid, memory: &self.memory, index: self.index };
        let range = warp * 32..(warp * 32 + 32).min(self.threads.len());
        let mut members =
            Members { context, threads: &mut self.threads[range.clone()], sites: [const { None }; 32] };
        for lane in waiting.iter().filter(|lane| group >> lane.lane & 1 == 1) {
            members.sites[lane.lane as usize] = Some(lane.site);
        }
        let result = warp::run(op, group, &mut members);
        result.map_err(|(lane, kind)| self.fault(kind, warp * 32 + lane as usize))?;
        for lane in warp::lanes_of(group) {
            let thread = &mut self.threads[warp * 32 + lane as usize];
            thread.frame.inst += 1;
            thread.state = State::Ready;
        }
        Ok(())
    }
}
