//! Sets of registers, and which registers are read later.

use crate::analysis::flow::Flow;
use crate::analysis::flow::successors;
use crate::analysis::visit;
use crate::ir::Function;
use crate::ir::Reg;

/// A set of registers of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegSet(Vec<u64>);

impl RegSet {
    /// An empty set for so many registers.
    #[must_use]
    pub fn new(registers: usize) -> Self {
        Self(vec![0; registers.div_ceil(64)])
    }

    /// An empty set for as many registers as another.
    #[must_use]
    pub fn default_like(other: &Self) -> Self {
        Self(vec![0; other.0.len()])
    }

    /// Whether the register is in it.
    #[must_use]
    pub fn has(&self, reg: Reg) -> bool {
        self.0[reg.0 as usize / 64] >> (reg.0 % 64) & 1 != 0
    }

    /// Puts a register in.
    pub fn insert(&mut self, reg: Reg) {
        self.0[reg.0 as usize / 64] |= 1 << (reg.0 % 64);
    }

    /// Takes a register out.
    pub fn remove(&mut self, reg: Reg) {
        self.0[reg.0 as usize / 64] &= !(1 << (reg.0 % 64));
    }

    /// Adds all of another set. Whether that changed anything.
    pub fn union(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (word, &more) in self.0.iter_mut().zip(&other.0) {
            changed |= more & !*word != 0;
            *word |= more;
        }
        changed
    }

    /// Keeps what another set has too.
    pub fn intersect(&mut self, other: &Self) {
        for (word, &keep) in self.0.iter_mut().zip(&other.0) {
            *word &= keep;
        }
    }

    /// The registers in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = Reg> + '_ {
        self.0.iter().zip(0_u32..).flat_map(|(&word, index)| {
            std::iter::successors((word != 0).then_some(word), |rest| {
                let rest = rest & (rest - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |rest| Reg(index * 64 + rest.trailing_zeros()))
        })
    }
}

/// Live registers at the start of each block.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// By block.
    pub live_in: Vec<RegSet>,
}

impl Liveness {
    /// Liveness of a function.
    #[must_use]
    pub fn of(function: &Function, flow: &Flow) -> Self {
        let registers = function.regs.len();
        let mut live_in = vec![RegSet::new(registers); function.blocks.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for &block in flow.order.iter().rev() {
                let mut live = live_out(function, &live_in, block.0 as usize);
                for inst in function.blocks[block.0 as usize].insts.iter().rev() {
                    step(inst, &mut live);
                }
                changed |= live_in[block.0 as usize].union(&live);
            }
        }
        Self { live_in }
    }

    /// Live registers at the end of a block, what its end reads included.
    #[must_use]
    pub fn live_out(&self, function: &Function, block: usize) -> RegSet {
        live_out(function, &self.live_in, block)
    }
}

fn live_out(function: &Function, live_in: &[RegSet], block: usize) -> RegSet {
    let mut live = RegSet::new(function.regs.len());
    let end = &function.blocks[block].end;
    for next in successors(end) {
        live.union(&live_in[next.0 as usize]);
    }
    if let Some(reg) = visit::end_reads(end) {
        live.insert(reg);
    }
    live
}

/// Goes back over one instruction.
pub fn step(inst: &crate::ir::Inst, live: &mut RegSet) {
    visit::writes(inst, |reg| live.remove(reg));
    visit::reads(inst, |reg| live.insert(reg));
}
