//! Variables of the frame whose address nobody takes become registers.

use std::collections::BTreeMap;

use crate::ir::Accuracy;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Base;
use crate::ir::Function;
use crate::ir::Inst;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Order;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::ir::Symbol;

/// A variable of more pieces stays in memory.
const MOST_PIECES: usize = 64;

/// What is known of a variable: its pieces by offset, with their sizes; nothing if it must stay in memory.
type Pieces = Option<BTreeMap<u32, u32>>;

fn class_of(bytes: u32) -> RegClass {
    match bytes {
        1 => RegClass::B8,
        2 => RegClass::B16,
        4 => RegClass::B32,
        8 => RegClass::B64,
        _ => RegClass::B128,
    }
}

const fn bits_of(bytes: u32) -> Scalar {
    match bytes {
        1 => Scalar::B8,
        2 => Scalar::B16,
        4 => Scalar::B32,
        8 => Scalar::B64,
        _ => Scalar::B128,
    }
}

/// The integer type of a width.
const fn wide(class: RegClass, is_signed: bool) -> Scalar {
    match (class, is_signed) {
        (RegClass::Pred | RegClass::B8, false) => Scalar::U8,
        (RegClass::Pred | RegClass::B8, true) => Scalar::S8,
        (RegClass::B16, false) => Scalar::U16,
        (RegClass::B16, true) => Scalar::S16,
        (RegClass::B32 | RegClass::F32, false) => Scalar::U32,
        (RegClass::B32 | RegClass::F32, true) => Scalar::S32,
        (_, false) => Scalar::U64,
        (_, true) => Scalar::S64,
    }
}

const fn class_bytes(class: RegClass) -> u32 {
    match class {
        RegClass::Pred | RegClass::B8 => 1,
        RegClass::B16 => 2,
        RegClass::B32 | RegClass::F32 => 4,
        RegClass::B64 | RegClass::F64 => 8,
        RegClass::B128 => 16,
    }
}

/// The variable that a load or store names, where, the type and how many elements.
fn access(op: &Op) -> Option<(usize, i64, Scalar, usize)> {
    let (order, ty, count, address) = match op {
        Op::Load { order, ty, dsts, address, .. } => (order, *ty, dsts.len(), address),
        Op::Store { order, ty, srcs, address, .. } => (order, *ty, srcs.len(), address),
        _ => return None,
    };
    match address.base {
        Base::Symbol(Symbol::Local(id)) if *order == Order::Weak => {
            Some((id.0 as usize, address.offset, ty, count))
        }
        _ => None,
    }
}

fn note(pieces: &mut Pieces, offset: i64, bytes: u32, size: u32) {
    let Some(known) = pieces else { return };
    let fits =
        u32::try_from(offset).ok().filter(|offset| offset.checked_add(bytes).is_some_and(|end| end <= size));
    let Some(offset) = fits else {
        *pieces = None;
        return;
    };
    let before = known.range(..offset).next_back().is_some_and(|(at, bytes)| at + bytes > offset);
    let after = known.range(offset..offset + bytes).any(|(&at, &other)| at != offset || other != bytes);
    if before || after || known.len() >= MOST_PIECES {
        *pieces = None;
    } else {
        known.insert(offset, bytes);
    }
}

fn escape(pieces: &mut [Pieces], base: &Base) {
    if let Base::Symbol(Symbol::Local(id)) = base
        && let Some(pieces) = pieces.get_mut(id.0 as usize)
    {
        *pieces = None;
    }
}

fn find(function: &Function) -> Vec<Pieces> {
    let mut pieces: Vec<Pieces> = vec![Some(BTreeMap::new()); function.locals.len()];
    for id in function.args.iter().chain(&function.rets) {
        pieces[id.0 as usize] = None;
    }
    for inst in function.blocks.iter().flat_map(|block| &block.insts) {
        if let Some((index, offset, ty, count)) = access(&inst.op) {
            let size = function.locals[index].size;
            for element in 0..count {
                let offset = offset.saturating_add(i64::from(ty.size_bytes()) * element as i64);
                note(&mut pieces[index], offset, ty.size_bytes(), size);
            }
            continue;
        }
        match &inst.op {
            Op::AddressOf { symbol, .. } => escape(&mut pieces, &Base::Symbol(*symbol)),
            Op::Load { address, .. }
            | Op::Store { address, .. }
            | Op::Atomic { address, .. }
            | Op::Mbarrier { address, .. } => escape(&mut pieces, &address.base),
            Op::CopyAsync { to, from, .. } => {
                escape(&mut pieces, &to.base);
                escape(&mut pieces, &from.base);
            }
            Op::Call(call) => {
                for id in call.args.iter().chain(&call.rets) {
                    pieces[id.0 as usize] = None;
                }
            }
            _ => {}
        }
    }
    pieces
}

/// Turns what can be turned, and packs the rest.
pub fn promote_locals(function: &mut Function) {
    let pieces = find(function);
    let mut registers: BTreeMap<(usize, u32), Reg> = BTreeMap::new();
    for (index, known) in pieces.iter().enumerate() {
        for (&offset, &bytes) in known.iter().flatten() {
            let reg = Reg(u32::try_from(function.regs.len()).unwrap_or(u32::MAX));
            function.regs.push(class_of(bytes));
            registers.insert((index, offset), reg);
        }
    }
    let classes = &function.regs;
    for block in &mut function.blocks {
        let mut insts = Vec::with_capacity(block.insts.len());
        for inst in block.insts.drain(..) {
            match access(&inst.op) {
                Some((index, offset, ty, _)) if pieces[index].is_some() => {
                    rewrite(&inst, (index, offset, ty), (&registers, classes), &mut insts);
                }
                _ => insts.push(inst),
            }
        }
        block.insts = insts;
    }
    let mut end = 0;
    for (slot, known) in function.locals.iter_mut().zip(&pieces) {
        if known.is_some() {
            (slot.size, slot.offset) = (0, 0);
            continue;
        }
        slot.offset = u32::next_multiple_of(end, slot.align.max(1));
        end = slot.offset + slot.size;
    }
    function.local_bytes = end.next_multiple_of(function.local_align.max(1));
}

fn rewrite(
    inst: &Inst,
    (index, offset, ty): (usize, i64, Scalar),
    (registers, classes): (&BTreeMap<(usize, u32), Reg>, &[RegClass]),
    insts: &mut Vec<Inst>,
) {
    let piece = |element: usize| {
        let at = offset + i64::from(ty.size_bytes()) * element as i64;
        u32::try_from(at).ok().and_then(|at| registers.get(&(index, at)).copied())
    };
    let mut push = |op: AluOp, ty: Scalar, dst: Reg, src: Operand| {
        let alu = Alu {
            op,
            ty,
            round: Round::default(),
            accuracy: Accuracy::default(),
            mods: Mods::default(),
            dst: Some(dst),
            dst2: None,
            src: [Some(src), None, None, None],
        };
        insts.push(Inst { guard: inst.guard, op: Op::Alu(alu), place: inst.place });
    };
    let bits = bits_of(ty.size_bytes());
    match &inst.op {
        Op::Load { dsts, .. } => {
            for (element, dst) in dsts.iter().enumerate() {
                let (Some(dst), Some(piece)) = (dst, piece(element)) else { continue };
                let class = classes[dst.0 as usize];
                if class_bytes(class) > ty.size_bytes() {
                    let from = wide(class_of(ty.size_bytes()), ty.is_signed());
                    let op = AluOp::Cvt { from, integral: Integral::No };
                    push(op, wide(class, ty.is_signed()), *dst, Operand::Reg(piece));
                } else {
                    push(AluOp::Mov, bits, *dst, Operand::Reg(piece));
                }
            }
        }
        Op::Store { srcs, .. } => {
            for (element, src) in srcs.iter().enumerate() {
                if let Some(piece) = piece(element) {
                    push(AluOp::Mov, bits, piece, *src);
                }
            }
        }
        _ => {}
    }
}
