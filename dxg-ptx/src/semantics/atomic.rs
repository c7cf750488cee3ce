//! What an atomic operation leaves in memory.

use super::float;
use super::integer;
use super::soft;
use crate::ir::Accuracy;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::AtomicOp;
use crate::ir::Carry;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;

/// The new value of memory that holds `old`, for the operands `b` and (of `Cas`) `c`.
///
/// Sums of floats round to nearest; those of `f32` in memory keep subnormal values.
#[must_use]
pub fn atomic(op: AtomicOp, ty: Scalar, old: u64, b: u64, c: u64) -> u64 {
    let bits = ty.size_bytes() * 8;
    let [old, b, c] = [old, b, c].map(|value| integer::zero_extend(value, bits));
    let value = match op {
        AtomicOp::Exch => b,
        AtomicOp::Cas => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::Add | AtomicOp::Min | AtomicOp::Max if ty.is_float() => float_lanes(op, ty, old, b),
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::Min if integer::number(ty, b) < integer::number(ty, old) => b,
        AtomicOp::Max if integer::number(ty, b) > integer::number(ty, old) => b,
        AtomicOp::Min | AtomicOp::Max => old,
    };
    integer::zero_extend(value, bits)
}

fn float_lanes(op: AtomicOp, ty: Scalar, old: u64, b: u64) -> u64 {
    let alu = Alu {
        op: match op {
            AtomicOp::Min => AluOp::Min,
            AtomicOp::Max => AluOp::Max,
            _ => AluOp::Add(Carry::default()),
        },
        ty,
        round: Round::Nearest,
        accuracy: Accuracy::Exact,
        mods: Mods::default(),
        dst: None,
        dst2: None,
        src: [None; 4],
    };
    let format = float::format(ty);
    match ty {
        Scalar::F16x2 | Scalar::BF16x2 => {
            let lane = |shift: u32| float::compute(&alu, format, [old >> shift, b >> shift, 0, 0]);
            lane(0) | lane(16) << 16
        }
        _ if format == soft::F64 => float::compute(&alu, format, [old, b, 0, 0]),
        _ => float::compute(&alu, format, [old, b, 0, 0]),
    }
}
