//! What must be stored and loaded at each point.
//!
//! A register whose slot holds its value already (it was loaded there or stored, and not written since) is *clean* and is
//! not stored again. A register that is not read between two points and is clean is not loaded either.

use crate::analysis::flow::Flow;
use crate::analysis::flow::successors;
use crate::analysis::liveness;
use crate::analysis::liveness::Liveness;
use crate::analysis::liveness::RegSet;
use crate::analysis::visit;
use crate::ir::Function;
use crate::ir::Inst;
use crate::ir::Reg;
use crate::regions::Regions;

/// Fills in `live`, `stored` and `loaded` of all points.
pub(super) fn fill(regions: &mut Regions, function: &Function, flow: &Flow, apart: &RegSet) {
    if regions.is_straight() {
        return;
    }
    let liveness = Liveness::of(function, flow);
    fill_live(regions, function, &liveness, apart);
    let clean_in = clean(regions, function, flow);
    let needed_in = needed(regions, function, flow, &clean_in, apart);
    for block in &flow.order {
        let index = block.0 as usize;
        let insts = &function.blocks[index].insts;
        let mut is_clean = clean_in[index].clone();
        for (inst, at) in insts.iter().zip(0_u32..) {
            if let Some(point) = regions.cut_after(*block, at) {
                let point = &mut regions.points[point as usize];
                point.stored = point.live.iter().copied().filter(|&reg| !is_clean.has(reg)).collect();
            }
            clean_step(regions, *block, at, inst, &mut is_clean);
        }
        let mut need = needed_out(regions, function, index, &needed_in, apart);
        let mut clean_before = clean_states(regions, function, index, &clean_in[index]);
        for (inst, at) in numbered(insts).rev() {
            let is_clean = clean_before.pop().unwrap_or_else(|| RegSet::new(function.regs.len()));
            if let Some(point) = regions.cut_after(*block, at) {
                let point = &mut regions.points[point as usize];
                point.loaded = point.live.iter().copied().filter(|&reg| need.has(reg)).collect();
            }
            needed_step(regions, index, at, inst, &is_clean, apart, &mut need);
        }
        if let Some(point) = regions.heads[index] {
            let point = &mut regions.points[point as usize];
            point.stored = point.live.clone();
            point.loaded = point.live.clone();
        }
    }
}

fn numbered(insts: &[Inst]) -> impl DoubleEndedIterator<Item = (&Inst, u32)> {
    insts.iter().enumerate().map(|(at, inst)| (inst, u32::try_from(at).unwrap_or(u32::MAX)))
}

fn written_by(inst: &Inst) -> Vec<Reg> {
    let mut list = Vec::new();
    visit::writes(inst, |reg| list.push(reg));
    list
}

fn fill_live(regions: &mut Regions, function: &Function, liveness: &Liveness, apart: &RegSet) {
    for number in 0..regions.points.len() {
        let point = &regions.points[number];
        let index = point.block.0 as usize;
        if number == 0 {
            continue;
        }
        let mut live = liveness.live_out(function, index);
        let insts = &function.blocks[index].insts;
        for inst in insts.iter().skip(point.next as usize).rev() {
            liveness::step(inst, &mut live);
        }
        let results = match (point.next as usize).checked_sub(1).and_then(|at| insts.get(at)) {
            Some(cause) => written_by(cause),
            None => Vec::new(),
        };
        let list = live.iter().filter(|&reg| !apart.has(reg) && !results.contains(&reg)).collect();
        regions.points[number].live = list;
    }
}

fn clean_step(regions: &Regions, block: crate::ir::BlockId, at: u32, inst: &Inst, clean: &mut RegSet) {
    if let Some(point) = regions.cut_after(block, at) {
        *clean = RegSet::default_like(clean);
        for &reg in &regions.points[point as usize].live {
            clean.insert(reg);
        }
    }
    visit::writes(inst, |reg| clean.remove(reg));
}

/// The clean registers before each instruction of a block.
fn clean_states(regions: &Regions, function: &Function, index: usize, at_start: &RegSet) -> Vec<RegSet> {
    let block = crate::ir::BlockId(u32::try_from(index).unwrap_or(u32::MAX));
    let mut clean = at_start.clone();
    let insts = &function.blocks[index].insts;
    let step = |(inst, at): (&Inst, u32)| {
        let before = clean.clone();
        clean_step(regions, block, at, inst, &mut clean);
        before
    };
    insts.iter().zip(0_u32..).map(step).collect()
}

/// The clean registers at the start of each block.
fn clean(regions: &Regions, function: &Function, flow: &Flow) -> Vec<RegSet> {
    let registers = function.regs.len();
    let mut known: Vec<Option<RegSet>> = vec![None; function.blocks.len()];
    known[0] = Some(RegSet::new(registers));
    let mut changed = true;
    while changed {
        changed = false;
        for &block in &flow.order {
            let Some(mut state) = known[block.0 as usize].clone() else { continue };
            for (inst, at) in function.blocks[block.0 as usize].insts.iter().zip(0_u32..) {
                clean_step(regions, block, at, inst, &mut state);
            }
            for next in successors(&function.blocks[block.0 as usize].end) {
                let slot = &mut known[next.0 as usize];
                let mut met = state.clone();
                if let Some(before) = slot.as_ref() {
                    met.intersect(before);
                }
                changed |= slot.as_ref() != Some(&met);
                *slot = Some(met);
            }
        }
    }
    known.into_iter().map(|state| state.unwrap_or_else(|| RegSet::new(registers))).collect()
}

fn needed_step(
    regions: &Regions,
    block: usize,
    at: u32,
    inst: &Inst,
    clean: &RegSet,
    apart: &RegSet,
    need: &mut RegSet,
) {
    let block = crate::ir::BlockId(u32::try_from(block).unwrap_or(u32::MAX));
    visit::writes(inst, |reg| need.remove(reg));
    if let Some(point) = regions.cut_after(block, at) {
        *need = RegSet::default_like(need);
        for &reg in regions.points[point as usize].live.iter().filter(|&&reg| !clean.has(reg)) {
            need.insert(reg);
        }
    }
    visit::reads(inst, |reg| {
        if !apart.has(reg) {
            need.insert(reg);
        }
    });
}

fn needed_out(
    regions: &Regions,
    function: &Function,
    block: usize,
    needed_in: &[RegSet],
    apart: &RegSet,
) -> RegSet {
    let end = &function.blocks[block].end;
    let mut need = RegSet::new(function.regs.len());
    for next in successors(end) {
        need.union(&needed_in[next.0 as usize]);
        // A thread that stops at the head of the loop stores everything.
        if let Some(point) = regions.heads[next.0 as usize] {
            for &reg in &regions.points[point as usize].live {
                need.insert(reg);
            }
        }
    }
    if let Some(reg) = visit::end_reads(end).filter(|&reg| !apart.has(reg)) {
        need.insert(reg);
    }
    need
}

/// What is read from a register between the start of each block and the next point.
fn needed(
    regions: &Regions,
    function: &Function,
    flow: &Flow,
    clean_in: &[RegSet],
    apart: &RegSet,
) -> Vec<RegSet> {
    let mut needed_in = vec![RegSet::new(function.regs.len()); function.blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for &block in flow.order.iter().rev() {
            let index = block.0 as usize;
            let mut need = needed_out(regions, function, index, &needed_in, apart);
            let mut clean_before = clean_states(regions, function, index, &clean_in[index]);
            for (inst, at) in numbered(&function.blocks[index].insts).rev() {
                let is_clean = clean_before.pop().unwrap_or_else(|| RegSet::new(function.regs.len()));
                needed_step(regions, index, at, inst, &is_clean, apart, &mut need);
            }
            if let Some(point) = regions.heads[index] {
                for &reg in &regions.points[point as usize].live {
                    need.insert(reg);
                }
            }
            changed |= needed_in[index].union(&need);
        }
    }
    needed_in
}
