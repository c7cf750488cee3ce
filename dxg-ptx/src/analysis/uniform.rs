//! Registers that hold the same value in all threads of a block and can be computed before any of them runs.

use crate::analysis::liveness::RegSet;
use crate::analysis::visit;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Base;
use crate::ir::Carry;
use crate::ir::Function;
use crate::ir::Inst;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::Space;
use crate::ir::Special;
use crate::ir::Symbol;

/// Whether a special register is the same in all threads of a block, and stays so.
#[must_use]
pub const fn is_uniform_special(special: Special) -> bool {
    !matches!(
        special,
        Special::TidX
            | Special::TidY
            | Special::TidZ
            | Special::LaneId
            | Special::WarpId
            | Special::LanemaskEq
            | Special::LanemaskLe
            | Special::LanemaskLt
            | Special::LanemaskGe
            | Special::LanemaskGt
            | Special::Clock
            | Special::ClockHi
            | Special::Clock64
            | Special::GlobalTimer
            | Special::GlobalTimerLo
            | Special::GlobalTimerHi
    )
}

/// The uniform registers of a function, and where each is computed: block and instruction, in an order in which each comes after
/// what it reads.
#[derive(Clone, Debug)]
pub struct Uniform {
    /// Which.
    pub regs: RegSet,
    /// Where.
    pub order: Vec<(u32, u32)>,
}

impl Uniform {
    /// Finds them: registers with one definition, unguarded, without side effects, whose operands are uniform.
    #[must_use]
    pub fn of(function: &Function) -> Self {
        let mut found = Self { regs: RegSet::new(function.regs.len()), order: Vec::new() };
        let mut definitions = vec![0_u32; function.regs.len()];
        for inst in function.blocks.iter().flat_map(|block| &block.insts) {
            visit::writes(inst, |reg| definitions[reg.0 as usize] += 1);
        }
        let single = |reg: Reg| definitions[reg.0 as usize] == 1;
        let mut waiting: Vec<(u32, u32, &Inst)> = Vec::new();
        for (block, number) in function.blocks.iter().zip(0_u32..) {
            for (inst, at) in block.insts.iter().zip(0_u32..) {
                if is_candidate(inst, function) {
                    waiting.push((number, at, inst));
                }
            }
        }
        loop {
            let before = waiting.len();
            waiting.retain(|&(block, at, inst)| {
                let mut ready = true;
                visit::look(inst, &mut |reg, access| match access {
                    visit::Access::Read => ready &= found.regs.has(reg),
                    visit::Access::Write => ready &= single(reg),
                });
                if ready {
                    visit::writes(inst, |reg| found.regs.insert(reg));
                    found.order.push((block, at));
                }
                !ready
            });
            if waiting.len() == before {
                return found;
            }
        }
    }
}

fn is_candidate(inst: &Inst, function: &Function) -> bool {
    if inst.guard.is_some() {
        return false;
    }
    match &inst.op {
        Op::Alu(Alu { op, src, .. }) => {
            let carries = match op {
                AluOp::Add(carry) | AluOp::Sub(carry) | AluOp::Mad(_, carry) => *carry != Carry::default(),
                _ => false,
            };
            !carries
                && src.iter().flatten().all(|src| match src {
                    Operand::Special(special) => is_uniform_special(*special),
                    Operand::Reg(_) | Operand::Imm(_) => true,
                })
        }
        Op::Load { space: Space::Param, address, dsts, ty, .. } => {
            let end = address.offset.saturating_add(i64::from(ty.size_bytes()) * dsts.len() as i64);
            match address.base {
                Base::Symbol(Symbol::Param(index)) => {
                    function.params.get(index as usize).is_some_and(|slot| {
                        address.offset >= 0 && i64::from(slot.offset) + end <= i64::from(function.param_bytes)
                    })
                }
                _ => false,
            }
        }
        Op::AddressOf { symbol, .. } => !matches!(symbol, Symbol::Local(_)),
        _ => false,
    }
}
