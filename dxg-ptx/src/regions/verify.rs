//! Checks that regions fit their function; what fails here is a mistake of the compiler.

use crate::ir::Function;
use crate::regions::PointKind;
use crate::regions::Regions;
use crate::regions::cut_kind;
use crate::regions::words_of;

/// What is wrong with regions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("point {point}: {what}")]
pub struct RegionError {
    /// At which point.
    pub point: usize,
    /// What.
    pub what: String,
}

/// Checks the regions of a function.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(regions: &Regions, function: &Function) -> Result<(), RegionError> {
    let fail = |point: usize, what: String| Err(RegionError { point, what });
    for (number, point) in regions.points.iter().enumerate() {
        let Some(block) = function.blocks.get(point.block.0 as usize) else {
            return fail(number, format!("no block {}", point.block.0));
        };
        let cause = (point.next as usize).checked_sub(1).and_then(|at| block.insts.get(at));
        match point.kind {
            PointKind::Start | PointKind::LoopHead if point.next != 0 => {
                return fail(number, "is not the start of a block".to_owned());
            }
            PointKind::Start | PointKind::LoopHead => {}
            kind => match cause {
                Some(inst) if cut_kind(&inst.op) == Some(kind) && inst.guard.is_none() => {}
                _ => return fail(number, format!("comes after no {kind:?} without a guard")),
            },
        }
        for reg in &point.live {
            if regions.frame.slots.get(reg.0 as usize).copied().flatten().is_none() {
                return fail(number, format!("r{} is live and has no slot", reg.0));
            }
        }
        if let Some(reg) = point.stored.iter().chain(&point.loaded).find(|reg| !point.live.contains(reg)) {
            return fail(number, format!("r{} is stored or loaded and not live", reg.0));
        }
    }
    verify_frame(regions, function)
}

fn verify_frame(regions: &Regions, function: &Function) -> Result<(), RegionError> {
    let frame = &regions.frame;
    let slot = |(reg, at): (usize, &Option<u32>)| at.map(|at| (at, 8 * words_of(function.regs[reg])));
    let mut parts: Vec<(u32, u32)> = frame.slots.iter().enumerate().filter_map(slot).collect();
    parts.push((frame.locals, function.local_bytes));
    parts.push((frame.exchange, 8 * frame.exchange_words));
    parts.sort_unstable();
    parts.push((frame.bytes, 0));
    for pair in parts.windows(2) {
        if pair[0].0 + pair[0].1 > pair[1].0 {
            return Err(RegionError {
                point: 0,
                what: format!("what is at {} overlaps what is at {}", pair[0].0, pair[1].0),
            });
        }
    }
    Ok(())
}
