//! A guess in which space a generic address lies.
//!
//! A guess only says what to look at first; every access is checked in any case.

use crate::ir::AluOp;
use crate::ir::CvtaDirection;
use crate::ir::Function;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::Space;

/// A guess for each register: `Shared` or `Local`, where it comes from such an address.
#[must_use]
pub fn guess(function: &Function) -> Vec<Option<Space>> {
    let mut guesses: Vec<Option<Space>> = vec![None; function.regs.len()];
    loop {
        let mut changed = false;
        for inst in function.blocks.iter().flat_map(|block| &block.insts) {
            let look = |operand: &Operand| match operand {
                Operand::Reg(Reg(index)) => guesses[*index as usize],
                _ => None,
            };
            let (dst, found) = match &inst.op {
                Op::Cvta { dst, space: space @ (Space::Shared | Space::Local), direction, .. } => {
                    (*dst, (*direction == CvtaDirection::ToGeneric).then_some(*space))
                }
                Op::Alu(alu) if alu.ty.size_bytes() == 8 => {
                    let Some(dst) = alu.dst else { continue };
                    let found = match alu.op {
                        AluOp::Mov | AluOp::Add(_) | AluOp::Sub(_) | AluOp::Selp => {
                            alu.src.iter().take(2).flatten().find_map(look)
                        }
                        AluOp::Mad(..) => alu.src[2].as_ref().and_then(look),
                        _ => None,
                    };
                    (dst, found)
                }
                _ => continue,
            };
            let slot = &mut guesses[dst.0 as usize];
            if slot.is_none() && found.is_some() {
                *slot = found;
                changed = true;
            }
        }
        if !changed {
            return guesses;
        }
    }
}
