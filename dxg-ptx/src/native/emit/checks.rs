//! Which accesses of a block are checked together.
//!
//! Accesses through one register at different offsets, as unrolled loops make them, need one check of the whole range: all of
//! them run if the first does.

use crate::analysis::visit;
use crate::ir::Base;
use crate::ir::Block;
use crate::ir::Op;
use crate::ir::Reg;
use crate::ir::Space;
use crate::regions::cut_kind;

/// The longest range that one check covers. Hosts' memory is checked to be longer, or else nothing passes.
const MOST_BYTES: i64 = 4096;

/// What the check at an access covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// The first byte, from the register.
    pub(crate) low: i64,
    /// Bytes.
    pub(crate) bytes: u32,
    /// How `register + low` must be aligned.
    pub(crate) align: u32,
}

/// What an access needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// An earlier check covers it.
    Covered,
    /// This check.
    Check(Check),
}

#[derive(Clone, Copy)]
struct Group {
    base: Reg,
    space: Space,
    /// The instruction that checks.
    at: usize,
    low: i64,
    high: i64,
    align: i64,
    /// What the register plus this must be a multiple of `align`.
    phase: i64,
}

/// Plans for the accesses through registers, by instruction.
pub(crate) fn plan(block: &Block) -> Vec<Option<Plan>> {
    let mut plans = vec![None; block.insts.len()];
    let mut open: Vec<Group> = Vec::new();
    let mut closed: Vec<Group> = Vec::new();
    for (at, inst) in block.insts.iter().enumerate() {
        if cut_kind(&inst.op).is_some() {
            closed.append(&mut open);
        }
        let access = match &inst.op {
            Op::Load { space, ty, dsts, address, .. } => Some((*space, *ty, dsts.len(), address)),
            Op::Store { space, ty, srcs, address, .. } => Some((*space, *ty, srcs.len(), address)),
            // Of generic addresses, atomic operations ask more.
            Op::Atomic { space, ty, b, address, .. } if *space != Space::Generic => {
                Some((*space, *ty, b.len().max(1), address))
            }
            _ => None,
        };
        if let Some((space, ty, count, address)) = access
            && let Base::Reg(base) = address.base
        {
            let bytes = i64::from(ty.size_bytes()) * count as i64;
            let new = Group {
                base,
                space,
                at,
                low: address.offset,
                high: address.offset.saturating_add(bytes),
                align: bytes,
                phase: address.offset,
            };
            let mut candidates = open.iter_mut().filter(|group| group.base == base && group.space == space);
            plans[at] = Some(Plan::Covered);
            if !candidates.any(|group| group.join(&new)) {
                open.push(new);
            }
        }
        visit::writes(inst, |reg| {
            closed.extend(open.extract_if(.., |group| group.base == reg));
        });
    }
    closed.append(&mut open);
    for group in closed {
        let low = group.low - (group.low - group.phase).rem_euclid(group.align);
        plans[group.at] = Some(Plan::Check(Check {
            low,
            bytes: u32::try_from(group.high - low).unwrap_or(u32::MAX),
            align: u32::try_from(group.align).unwrap_or(1),
        }));
    }
    plans
}

impl Group {
    /// Takes another access in, if one check can cover both.
    fn join(&mut self, other: &Self) -> bool {
        if !u64::try_from(other.align).is_ok_and(u64::is_power_of_two) {
            return false;
        }
        let (align, phase) =
            if other.align > self.align { (other.align, other.phase) } else { (self.align, self.phase) };
        let fits = |group: &Self| (group.phase - phase) % group.align == 0;
        let low = self.low.min(other.low);
        let high = self.high.max(other.high);
        if !fits(self) || !fits(other) || high.saturating_sub(low) > MOST_BYTES {
            return false;
        }
        (self.low, self.high, self.align, self.phase) = (low, high, align, phase);
        true
    }
}
