//! The operands of pure instructions.

use crate::front::width;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Carry;
use crate::ir::Extra;
use crate::ir::Part;
use crate::ir::Reg;
use crate::ir::Scalar;
use crate::verify::Check;
use crate::verify::Scope;
use crate::verify::Width;
use crate::verify::ensure;

/// Bits of the result and of each operand.
struct Shape {
    dst: Width,
    srcs: Vec<Width>,
}

fn regular(bits: u32, operands: usize) -> Shape {
    Shape { dst: Width::Exact(bits), srcs: vec![Width::Exact(bits); operands] }
}

fn shaped<const N: usize>(dst: u32, srcs: [u32; N]) -> Shape {
    Shape { dst: Width::Exact(dst), srcs: srcs.map(Width::Exact).to_vec() }
}

fn shape(alu: &Alu) -> Shape {
    let bits = width(alu.ty);
    match alu.op {
        AluOp::Mul(Part::Wide) => shaped(2 * bits, [bits, bits]),
        AluOp::Mad(Part::Wide, _) => shaped(2 * bits, [bits, bits, 2 * bits]),
        AluOp::Add(_)
        | AluOp::Sub(_)
        | AluOp::Mul(_)
        | AluOp::FMul
        | AluOp::Mul24(_)
        | AluOp::Div
        | AluOp::Rem
        | AluOp::Min
        | AluOp::Max
        | AluOp::Copysign
        | AluOp::And
        | AluOp::Or
        | AluOp::Xor
        | AluOp::Bmsk(_) => regular(bits, 2),
        AluOp::Mad(..)
        | AluOp::Mad24(_)
        | AluOp::Fma
        | AluOp::Sad
        | AluOp::Min3
        | AluOp::Max3
        | AluOp::Lop3(_)
        | AluOp::Dp4a(..)
        | AluOp::Dp2a(..) => regular(bits, 3),
        AluOp::Mov
        | AluOp::Abs
        | AluOp::Neg
        | AluOp::Rcp
        | AluOp::Sqrt
        | AluOp::Rsqrt
        | AluOp::Sin
        | AluOp::Cos
        | AluOp::Lg2
        | AluOp::Ex2
        | AluOp::Tanh
        | AluOp::Not
        | AluOp::Cnot
        | AluOp::Brev => regular(bits, 1),
        AluOp::Shl | AluOp::Shr | AluOp::Szext(_) => shaped(bits, [bits, 32]),
        AluOp::ShfLeft(_) | AluOp::ShfRight(_) | AluOp::Prmt(_) | AluOp::Fns => {
            shaped(bits, [bits, bits, 32])
        }
        AluOp::Bfe => shaped(bits, [bits, 32, 32]),
        AluOp::Bfi => shaped(bits, [bits, bits, 32, 32]),
        AluOp::Bfind | AluOp::BfindShift | AluOp::Clz | AluOp::Popc => shaped(32, [bits]),
        AluOp::Testp(_) => shaped(1, [bits]),
        AluOp::Selp => shaped(bits, [bits, bits, 1]),
        AluOp::Slct(_) => shaped(bits, [bits, bits, 32]),
        AluOp::Setp(_, None) => shaped(1, [bits, bits]),
        AluOp::Setp(_, Some(_)) => shaped(1, [bits, bits, 1]),
        AluOp::Set(_, None, to) => shaped(width(to), [bits, bits]),
        AluOp::Set(_, Some(_), to) => shaped(width(to), [bits, bits, 1]),
        AluOp::Cvt { from, .. } => Shape { dst: Width::Least(bits), srcs: vec![Width::Least(width(from))] },
        AluOp::CvtPair { from, extra } => {
            let mut srcs = vec![Width::Exact(width(from)); 2];
            match extra {
                Extra::None => {}
                Extra::Scale => srcs.push(Width::Exact(16)),
                Extra::Random => srcs.push(Width::Exact(32)),
            }
            Shape { dst: Width::Least(bits), srcs }
        }
        AluOp::CvtScaled { from } => {
            Shape { dst: Width::Least(bits), srcs: vec![Width::Least(width(from)), Width::Exact(16)] }
        }
        AluOp::CvtPack { bits: 16, .. } => shaped(32, [32, 32]),
        AluOp::CvtPack { .. } => shaped(32, [32, 32, 32]),
        AluOp::Clmad(_) => regular(bits, 3),
        AluOp::Video { op, second, .. } => {
            let has_third =
                matches!(op, crate::ir::VideoOp::Mad { .. }) || second != crate::ir::VideoSecond::None;
            regular(32, if has_third { 3 } else { 2 })
        }
    }
}

impl Scope<'_> {
    pub(super) fn alu(&self, alu: &Alu) -> Check {
        let shape = shape(alu);
        let count = alu.src.iter().flatten().count();
        ensure(count == shape.srcs.len() && alu.src[..count].iter().all(Option::is_some), || {
            format!("{count} operands and not {}", shape.srcs.len())
        })?;
        for (&src, &width) in alu.src.iter().flatten().zip(&shape.srcs) {
            self.operand_as(src, width)?;
        }
        self.dst(alu.dst, shape.dst)?;
        let has_second = matches!(alu.op, AluOp::Setp(..));
        ensure(has_second || alu.dst2.is_none(), || "a second result".to_owned())?;
        self.dst(alu.dst2, Width::Exact(1))?;
        if let AluOp::Add(carry) | AluOp::Sub(carry) | AluOp::Mad(_, carry) = alu.op {
            self.carry(carry, alu.ty)?;
        }
        if matches!(alu.op, AluOp::FMul | AluOp::Fma) {
            ensure(alu.ty.is_float(), || "a product of floats that are none".to_owned())?;
        }
        if matches!(alu.op, AluOp::Mul(_) | AluOp::Mad(..)) {
            ensure(!alu.ty.is_float(), || "a product of integers that are none".to_owned())?;
        }
        Ok(())
    }

    fn carry(&self, carry: Carry, ty: Scalar) -> Check {
        let flags: Vec<Reg> = carry.input.into_iter().chain(carry.output).collect();
        ensure(flags.is_empty() || !ty.is_float(), || "a carry of floats".to_owned())?;
        flags.into_iter().try_for_each(|flag| self.reg(flag, Width::Exact(1)))
    }
}
