//! Who of a block runs when: lanes that stand at the same point run in one call, barriers and warp operations let them go on.
//!
//! The rules for barriers, masks and patience are the interpreter's; see there.

use std::cmp::Reverse;

use crate::exec::Fault;
use crate::exec::FaultKind;
use crate::interp::barrier::Barrier;
use crate::interp::memory::Stack;
use crate::interp::thread::Arrival;
use crate::ir::BarrierKind;
use crate::ir::Inst;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Order;
use crate::ir::Space;
use crate::ir::WarpOp;
use crate::native::call::Lanes;
use crate::native::context::EXITED;
use crate::native::context::Lane;
use crate::native::context::WAITING;
use crate::native::run::Grid;
use crate::native::run::Resources;
use crate::native::run::Run;
use crate::native::words::Exchange;
use crate::semantics::warp;

/// The lane has been counted at its barrier.
const COUNTED: u32 = 1 << 30;
/// Turns for which an operation without a mask waits for lanes that still run.
const PATIENCE: u32 = 1024;

/// Machine code that may run, counted once for each thread, before it is looked whether the grid is to stop: a fraction of a second of the
/// slowest kind.
const MOST_CODE_BYTES: usize = 1 << 20;

/// A block that runs, with threads that stop.
pub(super) struct Block<'g> {
    run: Run<'g>,
    barriers: Vec<Barrier>,
    live: Vec<u32>,
    waited: Vec<u32>,
}

/// A lane that waits at a warp operation.
struct Waiting<'g> {
    lane: u32,
    unit: u32,
    /// The number of the instruction in its unit.
    number: u32,
    inst: &'g Inst,
    op: &'g WarpOp,
    mask: Option<u32>,
}

/// Whether all lanes are in this state. Looks at all of them, many at a time.
fn are_all(lanes: &[Lane], state: u32) -> bool {
    lanes.iter().fold(0, |others, lane| others | (lane.state ^ state)) == 0
}

/// The lanes of a warp, for an operation.
struct Members<'b, 'g> {
    run: &'b Run<'g>,
    first: u32,
    exchanges: [Option<Exchange>; 32],
    /// What the lanes' instructions read.
    srcs: [&'b [Operand]; 32],
    /// Results are written when all are known: they take the place of operands.
    results: Vec<(u32, usize, u64)>,
}

impl Members<'_, '_> {
    fn stack(&self, lane: u32) -> Stack {
        self.run.stack(self.first + lane, self.run.frame(self.first + lane))
    }
}

impl warp::Lanes for Members<'_, '_> {
    type Error = (u32, FaultKind);

    fn source(&self, lane: u32, index: usize) -> u64 {
        match (self.exchanges.get(lane as usize), self.srcs[lane as usize].get(index)) {
            (_, Some(Operand::Imm(bits))) => *bits,
            (Some(Some(exchange)), Some(_)) => exchange.get(1 + index),
            _ => 0,
        }
    }

    fn set(&mut self, lane: u32, index: usize, value: u64) {
        self.results.push((lane, index, value));
    }

    fn load(&mut self, lane: u32, space: Space, address: u64, bytes: u32) -> Result<u64, Self::Error> {
        let loaded = self.run.memory.load(space, address, bytes, &self.stack(lane), Order::Weak);
        loaded.map_err(|kind| (lane, kind))
    }

    fn store(
        &mut self,
        lane: u32,
        space: Space,
        address: u64,
        bytes: u32,
        value: u64,
    ) -> Result<(), Self::Error> {
        let stored = self.run.memory.store(space, address, (bytes, value), &self.stack(lane), Order::Weak);
        stored.map_err(|kind| (lane, kind))
    }
}

impl<'g> Block<'g> {
    pub(super) fn new(grid: &'g Grid<'g>, resources: &'g Resources) -> Self {
        let warps = grid.threads().div_ceil(32) as usize;
        Self {
            run: Run::new(grid, resources),
            barriers: vec![Barrier::default(); 16],
            live: vec![0; warps],
            waited: vec![0; warps],
        }
    }

    /// Starts with a block.
    pub(super) fn start(&mut self, number: u64) {
        self.run.set_block(number);
        self.barriers.fill(Barrier::default());
        self.waited.fill(0);
        let count = self.run.grid.threads();
        for (warp, live) in (0_u32..).zip(&mut self.live) {
            *live = (count - warp * 32).min(32);
        }
    }

    fn lanes(&self) -> &[Lane] {
        self.run.lanes.get()
    }

    fn warp(&self, warp: usize) -> &[Lane] {
        let lanes = self.lanes();
        &lanes[warp * 32..(warp * 32 + 32).min(lanes.len())]
    }

    /// Gives every thread a turn. Whether any is left.
    pub(super) fn step(&mut self) -> Result<bool, Fault> {
        if self.run.is_stopped() {
            return Err(self.run.fault(FaultKind::Stopped));
        }
        let ran = self.run_lanes()?;
        if self.lanes().iter().all(|lane| lane.state == EXITED) {
            return Ok(false);
        }
        if self.release_all() {
            return Ok(true);
        }
        let mut together = 0;
        for warp in 0..self.live.len() {
            together += usize::from(self.meet_together(warp));
        }
        if together == self.live.len() {
            return Ok(true);
        }
        for warp in 0..self.live.len() {
            let live = self.warp(warp).iter().filter(|lane| lane.state != EXITED).count();
            self.live[warp] = u32::try_from(live).unwrap_or(0);
        }
        let mut met = together > 0;
        for warp in 0..self.live.len() {
            met |= self.meet(warp)?;
        }
        let released = self.barriers();
        if !ran && !met && !released {
            let waits = self.lanes().iter().position(|lane| lane.state != EXITED).unwrap_or(0);
            let lane = u32::try_from(waits).unwrap_or(0);
            let place = self.cause(self.lanes()[waits].state).map(|(unit, number, _)| (unit, number));
            return Err(self.run.fault_at(FaultKind::Deadlock, place.unwrap_or_default(), Some(lane)));
        }
        Ok(true)
    }

    /// Runs all lanes that can, those next to each other at the same point together. Whether there were any.
    fn run_lanes(&mut self) -> Result<bool, Fault> {
        let count = self.lanes().len();
        let mut at = 0;
        let mut ran = false;
        while at < count {
            let state = self.lanes()[at].state;
            if state & WAITING != 0 {
                at += 1;
                continue;
            }
            // The usual case; where lanes have parted, each is looked at once.
            let same = match at == 0 && are_all(self.lanes(), state) {
                true => count,
                false => self.lanes()[at..].iter().take_while(|lane| lane.state == state).count(),
            };
            let (begin, end) = (at, at + same);
            at = end;
            let Some((unit, point, _)) = self.run.grid.prepared.point(state) else {
                return Err(self.run.fault(FaultKind::InvalidTarget));
            };
            let number = unit.number;
            let lane = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
            enter(&mut self.run, number, Lanes { begin: lane(begin), end: lane(end), point })?;
            ran = true;
        }
        Ok(ran)
    }

    /// The instruction after which a lane in this state goes on: its unit, its number, itself.
    fn cause(&self, state: u32) -> Option<(u32, u32, &'g Inst)> {
        self.run.grid.prepared.cause(state & !(WAITING | COUNTED))
    }

    /// The common case: all threads wait at the same plain barrier.
    fn release_all(&mut self) -> bool {
        let Some(first) = self.lanes().first().map(|lane| lane.state) else { return false };
        if first & (WAITING | COUNTED) != WAITING || !are_all(self.lanes(), first) {
            return false;
        }
        let Some((_, _, inst)) = self.cause(first) else { return false };
        let Op::Barrier { kind: BarrierKind::Sync, id: Operand::Imm(_), threads: None, .. } = inst.op else {
            return false;
        };
        for lane in self.run.lanes.get_mut() {
            lane.state = first & !WAITING;
        }
        true
    }

    /// Counts threads that have come to barriers, and lets go on who may. Whether any may.
    fn barriers(&mut self) -> bool {
        let warps = self.live.len();
        for index in 0..self.lanes().len() {
            let state = self.lanes()[index].state;
            if state == EXITED || state & (WAITING | COUNTED) != WAITING {
                continue;
            }
            let Some((unit, _, inst)) = self.cause(state) else { continue };
            let Op::Barrier { kind, id, threads, src, .. } = &inst.op else { continue };
            let lane = u32::try_from(index).unwrap_or(0);
            let Some(exchange) = self.run.exchange(lane, unit) else { continue };
            let word = |index: usize, operand: &Operand| match operand {
                Operand::Imm(bits) => *bits,
                _ => exchange.get(index),
            };
            let arrival = Arrival {
                kind: *kind,
                id: (word(0, id) & 15) as usize,
                threads: threads.as_ref().map(|threads| (word(1, threads) & 0xffff_ffff) as u32),
                dst: None,
                predicate: src.as_ref().is_some_and(|src| word(2, src) & 1 == 1),
            };
            self.barriers[arrival.id].arrive(index, arrival, warps);
            // Who only arrives goes on at once.
            let next = if *kind == BarrierKind::Arrive { state & !WAITING } else { state | COUNTED };
            self.run.lanes.get_mut()[index].state = next;
        }
        let mut any = self.lanes().iter().any(|lane| lane.state & WAITING == 0);
        for id in 0..self.barriers.len() {
            for release in self.barriers[id].release(&self.live) {
                any = true;
                let state = self.lanes()[release.thread].state & !(WAITING | COUNTED);
                let lane = u32::try_from(release.thread).unwrap_or(0);
                if let Some((unit, _, _)) = self.cause(state)
                    && let Some(exchange) = self.run.exchange(lane, unit)
                {
                    exchange.set(0, release.result);
                }
                self.run.lanes.get_mut()[release.thread].state = state;
            }
        }
        any
    }

    /// The common case: all lanes of the warp wait at the same shuffle or vote, for each other. Whether it was so.
    fn meet_together(&mut self, warp: usize) -> bool {
        let lanes = self.warp(warp);
        let count = lanes.len();
        let Some(first) = lanes.first().map(|lane| lane.state) else { return false };
        if first & (WAITING | COUNTED) != WAITING || !are_all(lanes, first) {
            return false;
        }
        let Some((unit, _, inst)) = self.cause(first) else { return false };
        let Op::Warp { op, mask: Some(mask), dsts, srcs } = &inst.op else { return false };
        if !matches!(op, WarpOp::Shuffle(_) | WarpOp::Vote(_) | WarpOp::Barrier) {
            return false;
        }
        let group = u32::MAX >> (32 - count.clamp(1, 32));
        let exchanges = self.run.exchanges(warp * 32, count, unit);
        let word = |lane: usize, index: usize| exchanges[lane].map_or(0, |words: Exchange| words.get(index));
        let source = |lane: usize, index: usize| match srcs.get(index) {
            Some(Operand::Imm(bits)) => *bits,
            _ => word(lane, 1 + index),
        };
        let mask_of = |lane: usize| match mask {
            Operand::Imm(bits) => (bits & 0xffff_ffff) as u32,
            _ => (word(lane, 0) & 0xffff_ffff) as u32,
        };
        // Lanes that are not there, or have another mask, are another case.
        let asked = if matches!(mask, Operand::Imm(_)) { 1 } else { count };
        if (0..asked).any(|lane| mask_of(lane) & group != group || mask_of(lane) != mask_of(0)) {
            return false;
        }
        let set = |lane: usize, index: usize, value: u64| {
            if let (Some(exchange), Some(Some(_))) = (exchanges[lane], dsts.get(index)) {
                exchange.set(1 + index, value);
            }
        };
        match *op {
            WarpOp::Shuffle(mode) => {
                let mut values = [0; 32];
                for (lane, value) in values.iter_mut().enumerate().take(count) {
                    *value = source(lane, 0);
                }
                for lane in 0..count {
                    let number = (lane & 31) as u32;
                    let (from, within) = warp::shuffle_source(mode, number, source(lane, 1), source(lane, 2));
                    let from = if group >> from & 1 == 1 { from as usize } else { lane };
                    set(lane, 0, values[from]);
                    set(lane, 1, u64::from(within));
                }
            }
            WarpOp::Vote(mode) => {
                let ballot =
                    (0..count).fold(0_u32, |ballot, lane| ballot | ((source(lane, 0) & 1) as u32) << lane);
                let result = warp::vote_result(mode, ballot, group);
                (0..count).for_each(|lane| set(lane, 0, result));
            }
            _ => {}
        }
        for lane in &mut self.run.lanes.get_mut()[warp * 32..warp * 32 + count] {
            lane.state &= !WAITING;
        }
        true
    }

    /// Lets lanes of a warp that wait for each other do what they wait for. Whether any did.
    fn meet(&mut self, warp: usize) -> Result<bool, Fault> {
        let waiting = self.waiting(warp);
        if waiting.is_empty() {
            return Ok(false);
        }
        let live = (0_u32..).zip(self.warp(warp)).filter(|(_, lane)| lane.state != EXITED);
        let live = live.fold(0_u32, |live, (lane, _)| live | 1 << lane);
        let mut met = 0_u32;
        for first in &waiting {
            let Some(mask) = first.mask.filter(|_| met >> first.lane & 1 == 0) else { continue };
            let same = waiting.iter().filter(|other| other.mask == Some(mask) && other.op == first.op);
            let group = same.fold(0, |group, other| group | 1 << other.lane);
            if mask & live & !group == 0 {
                self.run_group(warp, (first.op, group), &waiting)?;
                met |= group;
            }
        }
        if met != 0 {
            return Ok(true);
        }
        let depth = |lane: u32| self.run.lanes.get()[warp * 32 + lane as usize].frame;
        let place = |waiting: &Waiting<'g>| {
            (Reverse(depth(waiting.lane)), waiting.inst.place, waiting.unit, waiting.number)
        };
        let unmasked = || waiting.iter().filter(|waiting| waiting.mask.is_none());
        let Some(first) = unmasked().min_by_key(|waiting| place(waiting)) else { return Ok(false) };
        let key = place(first);
        let group =
            unmasked().filter(|other| place(other) == key).fold(0, |group, other| group | 1 << other.lane);
        let op = first.op;
        if !self.is_patience_over(warp) {
            return Ok(false);
        }
        self.run_group(warp, (op, group), &waiting)?;
        Ok(true)
    }

    /// Whether lanes that wait without a mask have waited for the others long enough.
    fn is_patience_over(&mut self, warp: usize) -> bool {
        let others_run = self.warp(warp).iter().any(|lane| lane.state & WAITING == 0);
        self.waited[warp] = if others_run { self.waited[warp] + 1 } else { 0 };
        if !others_run || self.waited[warp] > PATIENCE {
            self.waited[warp] = 0;
            return true;
        }
        false
    }

    fn waiting(&self, warp: usize) -> Vec<Waiting<'g>> {
        let first = u32::try_from(warp * 32).unwrap_or(0);
        let mut waiting = Vec::new();
        for (lane, own) in (0_u32..).zip(self.warp(warp)) {
            if own.state == EXITED || own.state & (WAITING | COUNTED) != WAITING {
                continue;
            }
            let Some((unit, number, inst)) = self.cause(own.state) else { continue };
            let Op::Warp { op, mask, .. } = &inst.op else { continue };
            let mask = match mask {
                None => None,
                Some(Operand::Imm(bits)) => Some((bits & 0xffff_ffff) as u32),
                Some(_) => {
                    self.run.exchange(first + lane, unit).map(|words| (words.get(0) & 0xffff_ffff) as u32)
                }
            };
            waiting.push(Waiting { lane, unit, number, inst, op, mask });
        }
        waiting
    }

    fn run_group(
        &mut self,
        warp: usize,
        (op, group): (&WarpOp, u32),
        waiting: &[Waiting<'g>],
    ) -> Result<(), Fault> {
        let first = u32::try_from(warp * 32).unwrap_or(0);
        let mut members = Members {
            run: &self.run,
            first,
            exchanges: [None; 32],
            srcs: [&[]; 32],
            results: Vec::with_capacity(64),
        };
        for lane in waiting.iter().filter(|lane| group >> lane.lane & 1 == 1) {
            members.exchanges[lane.lane as usize] = self.run.exchange(first + lane.lane, lane.unit);
            if let Op::Warp { srcs, .. } = &lane.inst.op {
                members.srcs[lane.lane as usize] = srcs;
            }
        }
        let done = warp::run(op, group, &mut members);
        let Members { exchanges, results, .. } = members;
        if let Err((lane, kind)) = done {
            let place =
                waiting.iter().find(|waiting| waiting.lane == lane).map(|found| (found.unit, found.number));
            return Err(self.run.fault_at(kind, place.unwrap_or_default(), Some(first + lane)));
        }
        for (lane, index, value) in results {
            if let Some(Some(exchange)) = exchanges.get(lane as usize) {
                exchange.set(1 + index, value);
            }
        }
        for lane in warp::lanes_of(group) {
            let state = &mut self.run.lanes.get_mut()[(first + lane) as usize].state;
            *state &= !WAITING;
        }
        Ok(())
    }
}

/// Runs a block whose threads never stop.
pub(super) fn run_alone(run: &mut Run<'_>, number: u64) -> Result<(), Fault> {
    run.set_block(number);
    if run.is_stopped() {
        return Err(run.fault(FaultKind::Stopped));
    }
    let end = run.grid.threads();
    enter(run, 0, Lanes { begin: 0, end, point: 0 })
}

/// Runs lanes of a unit from a point of it, and looks now and then whether the grid is to stop: code without loops can be long, too.
fn enter(run: &mut Run<'_>, unit: u32, lanes: Lanes) -> Result<(), Fault> {
    let warps = MOST_CODE_BYTES / run.grid.code.bytes().len().max(1) / 32;
    let at_once = u32::try_from(warps).unwrap_or(u32::MAX).clamp(1, 32) * 32;
    let mut begin = lanes.begin;
    loop {
        // Whole warps, wherever the first one begins.
        let end = lanes.end.min((begin / 32 * 32).saturating_add(at_once));
        run.enter(unit, Lanes { begin, end, ..lanes })?;
        if end >= lanes.end {
            return Ok(());
        }
        if run.is_stopped() {
            return Err(run.fault(FaultKind::Stopped));
        }
        begin = end;
    }
}
