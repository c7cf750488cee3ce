//! Instructions other than pure ones.

use crate::front::width;
use crate::ir::Address;
use crate::ir::AtomicOp;
use crate::ir::BarrierKind;
use crate::ir::Base;
use crate::ir::Call;
use crate::ir::Callee;
use crate::ir::LocalId;
use crate::ir::MatrixType;
use crate::ir::MbarrierOp;
use crate::ir::Op;
use crate::ir::ReduceOp;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::Symbol;
use crate::ir::WarpOp;
use crate::verify::Check;
use crate::verify::Scope;
use crate::verify::Width;
use crate::verify::ensure;

impl Scope<'_> {
    pub(super) fn op(&self, op: &Op) -> Check {
        match op {
            Op::Alu(alu) => self.alu(alu),
            Op::Pack { ty, dst, parts } => {
                let total = width(*ty) * u32::try_from(parts.len()).unwrap_or(u32::MAX);
                self.reg(*dst, Width::Exact(total))?;
                parts.iter().try_for_each(|&part| self.operand(part, width(*ty)))
            }
            Op::Unpack { ty, parts, src } => {
                let total = width(*ty) * u32::try_from(parts.len()).unwrap_or(u32::MAX);
                self.operand(*src, total)?;
                parts.iter().try_for_each(|&part| self.dst(part, Width::Exact(width(*ty))))
            }
            Op::AddressOf { dst, symbol, .. } => {
                self.symbol(*symbol)?;
                self.reg(*dst, Width::Address)
            }
            Op::Cvta { dst, src, .. } => {
                self.reg(*dst, Width::Address)?;
                self.operand_as(*src, Width::Address)
            }
            Op::IsSpacep { dst, src, .. } => {
                self.reg(*dst, Width::Exact(1))?;
                self.operand(*src, 64)
            }
            Op::Load { space, ty, dsts, address, .. } => {
                self.address(*space, *address)?;
                ensure(matches!(dsts.len(), 1 | 2 | 4 | 8), || format!("{} elements", dsts.len()))?;
                dsts.iter().try_for_each(|&dst| self.dst(dst, Width::Least(width(*ty))))
            }
            Op::Store { space, ty, srcs, address, .. } => {
                self.address(*space, *address)?;
                ensure(*space != Space::Const, || "a store to constants".to_owned())?;
                ensure(matches!(srcs.len(), 1 | 2 | 4 | 8), || format!("{} elements", srcs.len()))?;
                srcs.iter().try_for_each(|&src| self.operand_as(src, Width::Least(width(*ty))))
            }
            Op::Atomic { space, op, ty, dsts, address, b, c, .. } => {
                self.address(*space, *address)?;
                let in_space = matches!(space, Space::Generic | Space::Global | Space::Shared);
                ensure(in_space, || format!("an atomic in {space:?}"))?;
                ensure(dsts.len() == b.len() && !b.is_empty(), || "another number of results".to_owned())?;
                ensure((*op == AtomicOp::Cas) == c.is_some(), || "a wrong number of operands".to_owned())?;
                dsts.iter().try_for_each(|&dst| self.dst(dst, Width::Least(width(*ty))))?;
                b.iter().chain(c).try_for_each(|&src| self.operand_as(src, Width::Least(width(*ty))))
            }
            Op::Fence | Op::Yield | Op::Trap | Op::Breakpoint => Ok(()),
            Op::CopyAsync { to, to_space, from, from_space, bytes, read_bytes } => {
                self.address(*to_space, *to)?;
                self.address(*from_space, *from)?;
                ensure(matches!(bytes, 4 | 8 | 16), || format!("{bytes} bytes"))?;
                read_bytes.map_or(Ok(()), |read| self.operand(read, 32))
            }
            Op::Mbarrier { op, space, address, dst, srcs } => {
                self.address(*space, *address)?;
                let (result, operand, least, most) = mbarrier(*op);
                ensure((least..=most).contains(&srcs.len()), || format!("{} operands", srcs.len()))?;
                self.dst(*dst, Width::Exact(result))?;
                srcs.iter().try_for_each(|&src| self.operand(src, operand))
            }
            Op::Barrier { kind, id, threads, dst, src } => {
                self.operand(*id, 32)?;
                threads.map_or(Ok(()), |threads| self.operand(threads, 32))?;
                let is_reduce = matches!(kind, BarrierKind::Reduce(_));
                ensure(src.is_some() == is_reduce, || "a wrong number of operands".to_owned())?;
                ensure(dst.is_none() || is_reduce, || "a result of what has none".to_owned())?;
                src.map_or(Ok(()), |src| self.operand(src, 1))?;
                self.dst(
                    *dst,
                    Width::Exact(if *kind == BarrierKind::Reduce(ReduceOp::Popc) { 32 } else { 1 }),
                )
            }
            Op::Warp { op, mask, dsts, srcs } => {
                mask.map_or(Ok(()), |mask| self.operand(mask, 32))?;
                let (results, operands) = warp(op);
                ensure(results.as_ref().is_none_or(|results| results.len() == dsts.len()), || {
                    format!("{} results", dsts.len())
                })?;
                ensure(operands.len() <= srcs.len(), || format!("{} operands", srcs.len()))?;
                for (&dst, bits) in dsts.iter().zip(results.iter().flatten()) {
                    self.dst(dst, Width::Exact(*bits))?;
                }
                operands.iter().zip(srcs).try_for_each(|(&width, &src)| self.operand_as(src, width))
            }
            Op::Call(call) => self.call(call),
            Op::Alloca { dst, size, align } => {
                ensure(align.is_power_of_two(), || format!("aligned to {align}"))?;
                self.reg(*dst, Width::Address)?;
                self.operand_as(*size, Width::Address)
            }
            Op::StackSave { dst } => self.reg(*dst, Width::Address),
            Op::StackRestore { src } => self.operand_as(*src, Width::Address),
        }
    }

    fn address(&self, space: Space, address: Address) -> Check {
        match address.base {
            Base::Reg(reg) => self.reg(reg, Width::Address),
            Base::Zero => Ok(()),
            Base::Symbol(symbol) => {
                self.symbol(symbol)?;
                let home = match symbol {
                    Symbol::Global(id) => self.module.globals.get(id.0 as usize).map(|global| global.space),
                    Symbol::Local(_) => Some(Space::Local),
                    Symbol::Param(_) => Some(Space::Param),
                    Symbol::Function(_) => None,
                };
                ensure(home == Some(space), || format!("an address in {home:?} used in {space:?}"))
            }
        }
    }

    fn call(&self, call: &Call) -> Check {
        let sizes = |ids: &[LocalId]| -> Result<Vec<u32>, String> {
            ids.iter().map(|&id| self.local(id).map(|slot| slot.size)).collect()
        };
        let have = (sizes(&call.args)?, sizes(&call.rets)?);
        let fits = |id: crate::ir::FuncId| -> Check {
            let callee = self.callee(id)?;
            let of = |ids: &[LocalId]| -> Vec<u32> {
                ids.iter().filter_map(|id| callee.locals.get(id.0 as usize)).map(|slot| slot.size).collect()
            };
            ensure(!callee.is_entry, || format!("a call of the entry `{}`", callee.name))?;
            ensure(have == (of(&callee.args), of(&callee.rets)), || {
                format!("other parameters than those of `{}`", callee.name)
            })
        };
        let builtin = |args: usize, rets: usize| {
            ensure(call.args.len() == args && call.rets.len() == rets, || {
                "a wrong number of parameters".to_owned()
            })
        };
        match call.callee {
            Callee::Function(id) => fits(id),
            Callee::Indirect(reg) => {
                self.reg(reg, Width::Exact(64))?;
                call.candidates.iter().try_for_each(|&id| fits(id))
            }
            Callee::Vprintf => builtin(2, 1),
            Callee::AssertFail => builtin(5, 0),
            Callee::Malloc => builtin(1, 1),
            Callee::Free => builtin(1, 0),
        }
    }
}

/// Bits of the result and of the operands, and how many operands there are.
fn mbarrier(op: MbarrierOp) -> (u32, u32, usize, usize) {
    match op {
        MbarrierOp::Init => (64, 32, 1, 1),
        MbarrierOp::Inval | MbarrierOp::CopyArrive | MbarrierOp::CopyArriveNoInc => (64, 32, 0, 0),
        MbarrierOp::Arrive
        | MbarrierOp::ArriveNoComplete
        | MbarrierOp::ArriveDrop
        | MbarrierOp::ArriveDropNoComplete => (64, 32, 0, 1),
        MbarrierOp::TestWait | MbarrierOp::TryWait => (1, 64, 1, 1),
        MbarrierOp::TestWaitParity | MbarrierOp::TryWaitParity => (1, 32, 1, 1),
        MbarrierOp::PendingCount => (32, 64, 1, 1),
    }
}

fn element(ty: MatrixType) -> u32 {
    if ty == MatrixType::F64 { 64 } else { 32 }
}

/// Bits of each result (none where the number depends on the shape) and of the first operands.
fn warp(op: &WarpOp) -> (Option<Vec<u32>>, Vec<Width>) {
    let exact = |bits: &[u32]| bits.iter().map(|&bits| Width::Exact(bits)).collect::<Vec<_>>();
    match op {
        WarpOp::Shuffle(_) => (Some(vec![32, 1]), exact(&[32, 32, 32])),
        WarpOp::Vote(crate::ir::VoteMode::Ballot) => (Some(vec![32]), exact(&[1])),
        WarpOp::Vote(_) => (Some(vec![1]), exact(&[1])),
        WarpOp::MatchAny(ty) => (Some(vec![32]), exact(&[width(*ty)])),
        WarpOp::MatchAll(ty) => (Some(vec![32, 1]), exact(&[width(*ty)])),
        WarpOp::Redux(_, ty, _) => (Some(vec![width(*ty)]), exact(&[width(*ty)])),
        WarpOp::ActiveMask => (Some(vec![32]), Vec::new()),
        WarpOp::Barrier => (Some(Vec::new()), Vec::new()),
        WarpOp::Elect => (Some(vec![32, 1]), Vec::new()),
        WarpOp::MovMatrix => (Some(vec![width(Scalar::B32)]), exact(&[32])),
        WarpOp::LdMatrix { count, .. } => (Some(vec![32; usize::from(*count)]), vec![Width::Address]),
        WarpOp::StMatrix { count, .. } => {
            let mut operands = vec![Width::Address];
            operands.extend(vec![Width::Exact(32); usize::from(*count)]);
            (Some(Vec::new()), operands)
        }
        WarpOp::Mma { types, .. } | WarpOp::WmmaMma { types, .. } => (None, exact(&[element(types[1])])),
        WarpOp::WmmaLoad { .. } => (None, vec![Width::Address, Width::Exact(32)]),
        WarpOp::WmmaStore { ty, .. } => {
            (Some(Vec::new()), vec![Width::Address, Width::Exact(32), Width::Exact(element(*ty))])
        }
    }
}
