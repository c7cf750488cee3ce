//! Loads, stores, fences and asynchronous copies.

use crate::front::Parser;
use crate::front::Result;
use crate::front::lower::alu;
use crate::front::operand::Arg;
use crate::front::operand::Instruction;
use crate::front::words::Words;
use crate::ir::Address;
use crate::ir::AluOp;
use crate::ir::Base;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Order;
use crate::ir::RegClass;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::Symbol;

/// Takes the memory order of an access.
pub(super) fn order(words: &mut Words<'_>) -> Order {
    words
        .choose(&[
            ("volatile", Order::Volatile),
            ("relaxed", Order::Relaxed),
            ("mmio", Order::Volatile),
            ("acquire", Order::Acquire),
            ("release", Order::Release),
            ("acq_rel", Order::AcqRel),
            ("sc", Order::SeqCst),
            ("weak", Order::Weak),
        ])
        .unwrap_or_default()
}

/// Takes the scope; all threads see each other's memory here.
pub(super) fn scope(words: &mut Words<'_>) -> bool {
    words.choose(&[("cta", ()), ("cluster", ()), ("gpu", ()), ("sys", ())]).is_some()
}

/// Takes hints to caches. Whether a policy is an operand.
pub(super) fn cache_hints(words: &mut Words<'_>) -> bool {
    const PLAIN: &[(&str, ())] =
        &[("ca", ()), ("cg", ()), ("cs", ()), ("lu", ()), ("cv", ()), ("wb", ()), ("wt", ()), ("nc", ())];
    let mut has_policy = false;
    loop {
        let found = words.read(|word| {
            if word == "L2::cache_hint" {
                return Some(true);
            }
            let is_hint = word.starts_with("L1::")
                || word.starts_with("L2::")
                || word.starts_with("level::")
                || PLAIN.iter().any(|row| row.0 == word)
                || word == "nc::coherent";
            is_hint.then_some(false)
        });
        match found {
            Some(policy) => has_policy |= policy,
            None => return has_policy,
        }
    }
}

impl<'a> Parser<'a> {
    /// An address in brackets, and the space that an access to it means.
    pub(super) fn memory(
        &self,
        ins: &Instruction<'a>,
        index: usize,
        space: Space,
    ) -> Result<(Space, Address)> {
        let address = match ins.piece(index)?.arg {
            Arg::Memory(address) => address,
            // An element of an array.
            Arg::Symbol(symbol, offset) => Address { base: Base::Symbol(symbol), offset },
            _ => return Err(ins.bad(index, "is no address in brackets")),
        };
        let home = match address.base {
            Base::Symbol(Symbol::Global(id)) => {
                self.module.globals.get(id.0 as usize).map_or(Space::Global, |global| global.space)
            }
            Base::Symbol(Symbol::Local(_)) => Space::Local,
            Base::Symbol(Symbol::Param(_)) => Space::Param,
            Base::Symbol(Symbol::Function(_)) => return Err(ins.bad(index, "is a function")),
            Base::Reg(_) | Base::Zero => return Ok((self.own_param_space(space), address)),
        };
        let fits = match space {
            // A name says where it lies.
            Space::Generic | Space::Param => home != Space::Param || space == Space::Param,
            _ => space == home,
        };
        let is_param_of_func = space == Space::Param && home == Space::Local;
        if !fits || space == Space::Param && !is_param_of_func && home != Space::Param {
            return Err(ins.bad(index, "lies in another state space"));
        }
        Ok((home, address))
    }
}

/// What a load or a store says.
struct Access {
    space: Space,
    order: Order,
    lanes: usize,
    ty: Scalar,
    has_policy: bool,
}

fn access<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<Access> {
    let order = order(&mut ins.words);
    let space = p.space(ins)?.unwrap_or(Space::Generic);
    scope(&mut ins.words);
    let has_policy = cache_hints(&mut ins.words);
    let lanes = ins.words.lanes();
    let ty = p.ty(ins)?;
    ins.words.has("unified");
    // A second order, as of `ld.relaxed` with `.mmio`.
    ins.words.has("relaxed");
    ins.words.finish(ins.opcode)?;
    let is_scalar = !matches!(
        ty,
        Scalar::Pred
            | Scalar::F16x2
            | Scalar::BF16x2
            | Scalar::U16x2
            | Scalar::S16x2
            | Scalar::U8x4
            | Scalar::S8x4
            | Scalar::F32x2
            | Scalar::TF32
    ) && !ty.is_narrow_pair();
    if !is_scalar {
        return Err(ins.fail("does not take this type"));
    }
    let bytes = u32::try_from(lanes).unwrap_or(1) * ty.size_bytes();
    if bytes > 32 {
        return Err(ins.fail("takes at most 32 bytes"));
    }
    Ok(Access { space, order, lanes, ty, has_policy })
}

fn policy_operands<'a>(p: &mut Parser<'a>, ins: &Instruction<'a>, access: &Access) -> Result<()> {
    if access.has_policy {
        ins.count(3, 3)?;
        p.value(ins, 2, Scalar::B64)?;
        return Ok(());
    }
    ins.count(2, 2)
}

pub(in crate::front) fn ld<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let access = access(p, ins)?;
    policy_operands(p, ins, &access)?;
    let (space, address) = p.memory(ins, 1, access.space)?;
    let dsts = p.lane_dsts(ins, 0, access.lanes, access.ty)?;
    p.emit(ins, Op::Load { space, ty: access.ty, order: access.order, dsts, address });
    Ok(())
}

pub(in crate::front) fn st<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if ins.words.sees("async") {
        return Err(ins.refuse("is not supported with `.async`: there are no other blocks to store for"));
    }
    if ins.words.sees("bulk") {
        return Err(ins.refuse("is not supported with `.bulk`: there are no bulk operations"));
    }
    let access = access(p, ins)?;
    policy_operands(p, ins, &access)?;
    let (space, address) = p.memory(ins, 0, access.space)?;
    if space == Space::Const {
        return Err(ins.fail("does not write constants"));
    }
    let srcs = p.lane_values(ins, 1, access.lanes, access.ty)?;
    p.emit(ins, Op::Store { space, ty: access.ty, order: access.order, srcs, address });
    Ok(())
}

pub(in crate::front) fn fence<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if ins.words.has_prefix("proxy") {
        // All ways to memory are one here.
        if ins.words.sees("tensormap::generic") {
            return Err(ins.refuse("is not supported: there are no tensor maps"));
        }
        while let Some((word, _)) = ins.words.first() {
            ins.words.has(word);
        }
        p.emit(ins, Op::Fence);
        return Ok(());
    }
    order(&mut ins.words);
    ins.words.choose(&[("gl", ()), ("sync_restrict", ())]);
    scope(&mut ins.words);
    while ins.words.has_prefix("mbarrier_init") || ins.words.has_prefix("sync_restrict") {}
    ins.words.finish(ins.opcode)?;
    ins.count(0, 0)?;
    p.emit(ins, Op::Fence);
    Ok(())
}

/// `cp.async` and its groups. What is refused has operands of its own.
pub(in crate::front) fn cp<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    if ins.words.sees("bulk") || ins.words.sees("reduce") {
        return Err(ins.refuse("is not supported with `.bulk`: there are no bulk operations"));
    }
    p.operands(ins)?;
    if !ins.words.has("async") {
        return Err(ins.fail("needs `.async`"));
    }
    if ins.words.has("commit_group") {
        ins.words.finish(ins.opcode)?;
        return ins.count(0, 0);
    }
    if ins.words.has("wait_group") {
        ins.words.finish(ins.opcode)?;
        ins.count(1, 1)?;
        p.emit(ins, Op::Fence);
        return Ok(());
    }
    if ins.words.has("wait_all") {
        ins.words.finish(ins.opcode)?;
        ins.count(0, 0)?;
        p.emit(ins, Op::Fence);
        return Ok(());
    }
    if ins.words.sees("mbarrier") || ins.words.sees("mbarrier::arrive") {
        return super::mbarrier::copy_arrive(p, ins);
    }
    copy_async(p, ins)
}

fn copy_async<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let has_policy = cache_hints(&mut ins.words);
    let to_space = p.space(ins)?;
    let from_space = p.space(ins)?;
    ins.words.finish(ins.opcode)?;
    let (Some(Space::Shared), Some(Space::Global)) = (to_space, from_space) else {
        return Err(ins.fail("copies from `.global` to `.shared`"));
    };
    ins.count(3, 5)?;
    let (to_space, to) = p.memory(ins, 0, Space::Shared)?;
    let (from_space, from) = p.memory(ins, 1, Space::Global)?;
    let bytes = match ins.piece(2)?.arg {
        Arg::Literal(literal) => literal.integer().filter(|bytes| matches!(bytes, 4 | 8 | 16)),
        _ => None,
    };
    let Some(bytes) = bytes.and_then(|bytes| u32::try_from(bytes).ok()) else {
        return Err(ins.bad(2, "is 4, 8 or 16"));
    };
    let mut last = ins.args.len();
    if has_policy {
        last -= 1;
        p.value(ins, last, Scalar::B64)?;
    }
    let read_bytes = match last {
        3 => None,
        4 => Some(read_bytes(p, ins, bytes)?),
        _ => return Err(ins.fail("has too many or too few operands")),
    };
    p.emit(ins, Op::CopyAsync { to, to_space, from, from_space, bytes, read_bytes });
    Ok(())
}

/// How many bytes are read: a number, or all or none by a predicate.
fn read_bytes<'a>(p: &mut Parser<'a>, ins: &Instruction<'a>, bytes: u32) -> Result<Operand> {
    if !matches!(ins.piece(3)?.arg, Arg::Reg(_, RegClass::Pred)) {
        return p.value(ins, 3, Scalar::U32);
    }
    let ignore = p.value(ins, 3, Scalar::Pred)?;
    let dst = p.code.temp(Scalar::U32);
    let mut choice = alu(AluOp::Selp, Scalar::B32);
    choice.dst = Some(dst);
    choice.src = [Some(Operand::Imm(0)), Some(Operand::Imm(u64::from(bytes))), Some(ignore), None];
    p.code.push(None, Op::Alu(choice), ins.place);
    Ok(Operand::Reg(dst))
}

/// `createpolicy`: a value that nothing looks at.
pub(in crate::front) fn create_policy<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let mut zero = alu(AluOp::Mov, Scalar::B64);
    zero.dst = p.dst(ins, 0, Scalar::B64)?;
    zero.src[0] = Some(Operand::Imm(0));
    p.emit(ins, Op::Alu(zero));
    Ok(())
}

/// The type of a size or an address of the stack.
fn stack_type<'a>(p: &Parser<'a>, ins: &mut Instruction<'a>) -> Result<Scalar> {
    match p.ty(ins)? {
        ty @ (Scalar::U32 | Scalar::U64) => Ok(ty),
        _ => Err(ins.fail("does not take this type")),
    }
}

pub(in crate::front) fn alloca<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let ty = stack_type(p, ins)?;
    ins.words.finish(ins.opcode)?;
    ins.count(2, 3)?;
    let align = match ins.args.get(2).map(|piece| piece.arg) {
        None => Some(8),
        Some(Arg::Literal(literal)) => literal.integer().and_then(|align| u32::try_from(align).ok()),
        Some(_) => None,
    };
    let Some(align) = align.filter(|align| align.is_power_of_two() && *align <= 1 << 16) else {
        return Err(ins.bad(2, "is a power of two"));
    };
    let dst = p.some_dst(ins, 0, ty)?;
    let size = p.value(ins, 1, ty)?;
    p.emit(ins, Op::Alloca { dst, size, align });
    Ok(())
}

pub(in crate::front) fn stack_save<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let ty = stack_type(p, ins)?;
    ins.words.finish(ins.opcode)?;
    ins.count(1, 1)?;
    let dst = p.some_dst(ins, 0, ty)?;
    p.emit(ins, Op::StackSave { dst });
    Ok(())
}

pub(in crate::front) fn stack_restore<'a>(p: &mut Parser<'a>, ins: &mut Instruction<'a>) -> Result<()> {
    let ty = stack_type(p, ins)?;
    ins.words.finish(ins.opcode)?;
    ins.count(1, 1)?;
    let src = p.value(ins, 0, ty)?;
    p.emit(ins, Op::StackRestore { src });
    Ok(())
}
