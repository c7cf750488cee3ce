//! Which machine type holds each register: integer or float, by how it is used.

use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::types;

use crate::analysis::flow::Flow;
use crate::analysis::visit;
use crate::analysis::visit::Access;
use crate::ir::AluOp;
use crate::ir::Function;
use crate::ir::Inst;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Scalar;

/// The integer type of a scalar, and of raw bits of its size.
pub(crate) const fn integer(scalar: Scalar) -> Type {
    match scalar.size_bytes() {
        1 => types::I8,
        2 => types::I16,
        4 => types::I32,
        8 => types::I64,
        _ => types::I128,
    }
}

/// The type in which an instruction of this scalar computes.
pub(crate) const fn computed(scalar: Scalar) -> Type {
    match scalar {
        Scalar::F32 => types::F32,
        Scalar::F64 => types::F64,
        other => integer(other),
    }
}

/// The type that a value of a class has if nothing says that it is a float.
const fn plain(class: RegClass) -> Type {
    match class {
        RegClass::Pred | RegClass::B8 => types::I8,
        RegClass::B16 => types::I16,
        RegClass::B32 => types::I32,
        RegClass::B64 => types::I64,
        RegClass::B128 => types::I128,
        RegClass::F32 => types::F32,
        RegClass::F64 => types::F64,
    }
}

/// Says for an operand of an instruction whether it is used as a float there; nothing for moves, loads and stores of raw bits.
fn vote(inst: &Inst, reg: Reg, access: Access) -> Option<bool> {
    match &inst.op {
        Op::Alu(alu) => {
            let is_float = |ty: Scalar| matches!(ty, Scalar::F32 | Scalar::F64);
            match alu.op {
                AluOp::Mov => None,
                AluOp::Selp | AluOp::Slct(_) => is_float(alu.ty).then_some(true),
                AluOp::Cvt { from, .. } if access == Access::Read => Some(is_float(from)),
                AluOp::Set(_, _, to) if access == Access::Write => Some(is_float(to)),
                _ => Some(is_float(alu.ty)),
            }
        }
        Op::Load { ty: Scalar::F32 | Scalar::F64, dsts, .. } if dsts.contains(&Some(reg)) => Some(true),
        Op::Store { ty: Scalar::F32 | Scalar::F64, srcs, .. } if srcs.contains(&Operand::Reg(reg)) => {
            Some(true)
        }
        Op::Load { dsts, .. } if dsts.contains(&Some(reg)) => None,
        Op::Store { srcs, .. } if srcs.contains(&Operand::Reg(reg)) => None,
        Op::Warp { .. } => None,
        _ => Some(false),
    }
}

/// The machine type of every register.
pub(crate) fn choose(function: &Function, flow: &Flow) -> Vec<Type> {
    let mut chosen: Vec<Type> = function.regs.iter().map(|&class| plain(class)).collect();
    let mut scores = vec![0_i64; function.regs.len()];
    let mut moves = Vec::new();
    let mut weight = vec![1_i64; function.blocks.len()];
    for (_, body) in flow.loop_bodies() {
        for block in body {
            weight[block.0 as usize] = (weight[block.0 as usize] * 8).min(1 << 20);
        }
    }
    for &block in &flow.order {
        for inst in &function.blocks[block.0 as usize].insts {
            visit::look(inst, &mut |reg, access| {
                if let Some(is_float) = vote(inst, reg, access) {
                    scores[reg.0 as usize] += if is_float { 1 } else { -1 } * weight[block.0 as usize];
                }
            });
            if let Op::Alu(alu) = &inst.op
                && matches!(alu.op, AluOp::Mov | AluOp::Selp)
                && let Some(dst) = alu.dst
            {
                for src in alu.src.iter().take(2).flatten() {
                    if let Operand::Reg(src) = src {
                        moves.push((src.0 as usize, dst.0 as usize));
                    }
                }
            }
        }
    }
    // Registers that are moved into each other agree.
    let mut group: Vec<usize> = (0..scores.len()).collect();
    fn root(group: &mut [usize], mut at: usize) -> usize {
        while group[at] != at {
            group[at] = group[group[at]];
            at = group[at];
        }
        at
    }
    for (a, b) in moves {
        if chosen[a].bytes() == chosen[b].bytes() {
            let (a, b) = (root(&mut group, a), root(&mut group, b));
            if a != b {
                scores[b] += scores[a];
                group[a] = b;
            }
        }
    }
    for index in 0..chosen.len() {
        let score = scores[root(&mut group, index)];
        chosen[index] = match (chosen[index].bits(), function.regs[index]) {
            (_, RegClass::Pred) => types::I8,
            (32, _) if score > 0 => types::F32,
            (32, RegClass::F32) if score == 0 => types::F32,
            (32, _) => types::I32,
            (64, _) if score > 0 => types::F64,
            (64, RegClass::F64) if score == 0 => types::F64,
            (64, _) => types::I64,
            _ => chosen[index],
        };
    }
    chosen
}
