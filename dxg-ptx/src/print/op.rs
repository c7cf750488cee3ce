//! Instructions as text.

use std::fmt::Display;
use std::fmt::Formatter;
use std::fmt::Result;

use crate::ir::Accuracy;
use crate::ir::Address;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::AtomicOp;
use crate::ir::BarrierKind;
use crate::ir::Base;
use crate::ir::Call;
use crate::ir::Callee;
use crate::ir::Carry;
use crate::ir::CvtaDirection;
use crate::ir::Extra;
use crate::ir::Function;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Order;
use crate::ir::Round;
use crate::ir::Symbol;
use crate::ir::WarpOp;
use crate::print::In;
use crate::print::Small;

/// A symbol by its name.
pub(super) fn symbol_name(module: &Module, function: Option<&Function>, symbol: Symbol) -> String {
    let name = match symbol {
        Symbol::Global(id) => module.globals.get(id.0 as usize).map(|global| &global.name),
        Symbol::Function(id) => module.functions.get(id.0 as usize).map(|function| &function.name),
        Symbol::Local(id) => {
            function.and_then(|function| function.locals.get(id.0 as usize)).map(|slot| &slot.name)
        }
        Symbol::Param(index) => {
            function.and_then(|function| function.params.get(index as usize)).map(|slot| &slot.name)
        }
    };
    match (name, symbol) {
        (Some(name), Symbol::Local(id)) => format!("local {}`{name}`", id.0),
        (Some(name), _) => format!("`{name}`"),
        (None, _) => format!("undeclared {symbol:?}"),
    }
}

/// What is added to an address.
pub(super) fn offset(f: &mut Formatter<'_>, offset: i64) -> Result {
    if offset == 0 { Ok(()) } else { write!(f, "{offset:+}") }
}

/// The modifiers after a name.
fn modifiers(f: &mut Formatter<'_>, mods: Mods) -> Result {
    const TABLE: &[(Mods, &str)] = &[
        (Mods::FTZ, ".ftz"),
        (Mods::SAT, ".sat"),
        (Mods::NAN, ".nan"),
        (Mods::XORSIGN, ".xorsign"),
        (Mods::ABS, ".abs"),
        (Mods::RELU, ".relu"),
        (Mods::OOB, ".oob"),
        (Mods::SATFINITE, ".satfinite"),
    ];
    TABLE.iter().filter(|row| mods.has(row.0)).try_for_each(|row| f.write_str(row.1))
}

impl Display for In<'_, Symbol> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&symbol_name(self.module, Some(self.function), self.what))
    }
}

impl Display for In<'_, Address> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("[")?;
        match self.what.base {
            Base::Reg(reg) => self.of(reg).fmt(f)?,
            Base::Symbol(symbol) => self.of(symbol).fmt(f)?,
            Base::Zero => return write!(f, "{:#x}]", self.what.offset),
        }
        offset(f, self.what.offset)?;
        f.write_str("]")
    }
}

impl Display for In<'_, Carry> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(input) = self.what.input {
            write!(f, ".from({})", self.of(input))?;
        }
        if let Some(output) = self.what.output {
            write!(f, ".to({})", self.of(output))?;
        }
        Ok(())
    }
}

impl Display for In<'_, AluOp> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.what {
            AluOp::Add(carry) => write!(f, "add{}", self.of(carry)),
            AluOp::Sub(carry) => write!(f, "sub{}", self.of(carry)),
            AluOp::Mul(part) => write!(f, "mul.{}", Small(part)),
            AluOp::Mul24(part) => write!(f, "mul24.{}", Small(part)),
            AluOp::Mad(part, carry) => write!(f, "mad.{}{}", Small(part), self.of(carry)),
            AluOp::Mad24(part) => write!(f, "mad24.{}", Small(part)),
            AluOp::Testp(class) => write!(f, "testp.{}", Small(class)),
            AluOp::ShfLeft(wrap) => write!(f, "shf.l.{}", Small(wrap)),
            AluOp::ShfRight(wrap) => write!(f, "shf.r.{}", Small(wrap)),
            AluOp::Bmsk(wrap) => write!(f, "bmsk.{}", Small(wrap)),
            AluOp::Szext(wrap) => write!(f, "szext.{}", Small(wrap)),
            AluOp::Lop3(table) => write!(f, "lop3({table:#04x})"),
            AluOp::Prmt(mode) => write!(f, "prmt.{}", Small(mode)),
            AluOp::Dp4a(a, b) => write!(f, "dp4a({}, {})", Small(a), Small(b)),
            AluOp::Dp2a(a, b, part) => write!(f, "dp2a.{}({}, {})", Small(part), Small(a), Small(b)),
            AluOp::Slct(test) => write!(f, "slct({})", Small(test)),
            AluOp::Setp(compare, None) => write!(f, "setp.{}", Small(compare)),
            AluOp::Setp(compare, Some(with)) => write!(f, "setp.{}.{}", Small(compare), Small(with)),
            AluOp::Set(compare, None, to) => write!(f, "set.{}({})", Small(compare), Small(to)),
            AluOp::Set(compare, Some(with), to) => {
                write!(f, "set.{}.{}({})", Small(compare), Small(with), Small(to))
            }
            AluOp::Cvt { from, integral: Integral::No } => write!(f, "cvt({})", Small(from)),
            AluOp::Cvt { from, integral: Integral::Yes } => write!(f, "cvt.integral({})", Small(from)),
            AluOp::CvtPair { from, extra: Extra::None } => write!(f, "cvtpair({})", Small(from)),
            AluOp::CvtPair { from, extra } => write!(f, "cvtpair.{}({})", Small(extra), Small(from)),
            AluOp::CvtScaled { from } => write!(f, "cvtscaled({})", Small(from)),
            AluOp::CvtPack { bits, signed: Integral::Yes } => write!(f, "cvtpack.s{bits}"),
            AluOp::CvtPack { bits, signed: Integral::No } => write!(f, "cvtpack.u{bits}"),
            AluOp::Clmad(part) => write!(f, "clmad.{}", Small(part)),
            AluOp::Video { op, types: [a, b, _], parts: [x, y], second, lanes } => {
                write!(
                    f,
                    "video.{lanes}.{}({} {}, {} {})",
                    Small(op),
                    Small(a),
                    Small(x),
                    Small(b),
                    Small(y)
                )?;
                write!(f, ".then({})", Small(second))
            }
            plain => Small(plain).fmt(f),
        }
    }
}

/// A rounding other than that which is meant where nothing is said.
const fn rounding(round: Round) -> &'static str {
    match round {
        Round::Nearest => "",
        Round::NearestAway => ".rna",
        Round::Zero => ".rz",
        Round::Down => ".rm",
        Round::Up => ".rp",
    }
}

impl Display for In<'_, &Alu> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let alu = self.what;
        self.of(alu.dst).fmt(f)?;
        if let Some(second) = alu.dst2 {
            write!(f, "|{}", self.of(second))?;
        }
        write!(f, " = {}.{}", self.of(alu.op), Small(alu.ty))?;
        f.write_str(rounding(alu.round))?;
        f.write_str(match alu.accuracy {
            Accuracy::Exact => "",
            Accuracy::Approx => ".approx",
            Accuracy::Full => ".full",
        })?;
        modifiers(f, alu.mods)?;
        f.write_str(" ")?;
        self.list(f, alu.src.iter().flatten().copied())
    }
}

/// The memory order, where it is not weak.
fn order(order: Order) -> String {
    if order == Order::Weak { String::new() } else { format!(".{}", Small(order)) }
}

impl In<'_, &Op> {
    fn dsts(&self, f: &mut Formatter<'_>, dsts: &[Option<crate::ir::Reg>]) -> Result {
        if dsts.is_empty() {
            return Ok(());
        }
        self.list(f, dsts.iter().copied())?;
        f.write_str(" = ")
    }

    fn call(&self, f: &mut Formatter<'_>, call: &Call) -> Result {
        let names = |ids: &[crate::ir::LocalId]| -> String {
            let names: Vec<String> = ids.iter().map(|&id| self.of(Symbol::Local(id)).to_string()).collect();
            names.join(", ")
        };
        write!(f, "({}) = call ", names(&call.rets))?;
        match call.callee {
            Callee::Function(id) => self.of(Symbol::Function(id)).fmt(f)?,
            Callee::Indirect(reg) => {
                write!(f, "{} of", self.of(reg))?;
                for &id in &call.candidates {
                    write!(f, " {}", self.of(Symbol::Function(id)))?;
                }
            }
            builtin => Small(builtin).fmt(f)?,
        }
        write!(f, " ({})", names(&call.args))
    }

    fn warp_name(&self, f: &mut Formatter<'_>, op: &WarpOp) -> Result {
        let shape = |[m, n, k]: [u16; 3]| format!("m{m}n{n}k{k}");
        match op {
            WarpOp::Shuffle(mode) => write!(f, "shfl.{}", Small(mode)),
            WarpOp::Vote(mode) => write!(f, "vote.{}", Small(mode)),
            WarpOp::MatchAny(ty) => write!(f, "match.any.{}", Small(ty)),
            WarpOp::MatchAll(ty) => write!(f, "match.all.{}", Small(ty)),
            WarpOp::Redux(op, ty, mods) => {
                write!(f, "redux.{}.{}", Small(op), Small(ty))?;
                modifiers(f, *mods)
            }
            WarpOp::LdMatrix { count, transpose, space, offset: more } => {
                write!(f, "ldmatrix.x{count}.{}.{}", Small(transpose), Small(space))?;
                offset(f, i64::from(*more))
            }
            WarpOp::StMatrix { count, transpose, space, offset: more } => {
                write!(f, "stmatrix.x{count}.{}.{}", Small(transpose), Small(space))?;
                offset(f, i64::from(*more))
            }
            WarpOp::Mma { shape: of, layouts: [a, b], types, saturate, and_popc, sparse } => {
                write!(f, "mma.{}.{}.{}", shape(*of), Small(a), Small(b))?;
                types.iter().try_for_each(|ty| write!(f, ".{}", Small(ty)))?;
                sparse.map_or(Ok(()), |selector| write!(f, ".sparse({selector})"))?;
                f.write_str(if *saturate == Integral::Yes { ".satfinite" } else { "" })?;
                f.write_str(if *and_popc == Integral::Yes { ".and" } else { "" })
            }
            WarpOp::WmmaMma { shape: of, layouts: [a, b], types, round, saturate, and_popc } => {
                write!(f, "wmma.mma.{}.{}.{}", shape(*of), Small(a), Small(b))?;
                types.iter().try_for_each(|ty| write!(f, ".{}", Small(ty)))?;
                f.write_str(rounding(*round))?;
                f.write_str(if *saturate == Integral::Yes { ".satfinite" } else { "" })?;
                f.write_str(if *and_popc == Integral::Yes { ".and" } else { "" })
            }
            WarpOp::WmmaLoad { fragment, shape: of, layout, ty, space, offset: more } => {
                write!(f, "wmma.load.{}.{}.{}", Small(fragment), shape(*of), Small(layout))?;
                write!(f, ".{}.{}", Small(ty), Small(space))?;
                offset(f, i64::from(*more))
            }
            WarpOp::WmmaStore { shape: of, layout, ty, space, offset: more } => {
                write!(f, "wmma.store.{}.{}.{}.{}", shape(*of), Small(layout), Small(ty), Small(space))?;
                offset(f, i64::from(*more))
            }
            plain @ (WarpOp::ActiveMask | WarpOp::Barrier | WarpOp::Elect | WarpOp::MovMatrix) => {
                write!(f, "warp.{}", Small(plain))
            }
        }
    }
}

impl Display for In<'_, &Op> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.what {
            Op::Alu(alu) => self.of(alu).fmt(f),
            Op::Pack { ty, dst, parts } => {
                write!(f, "{} = pack.{} ", self.of(*dst), Small(ty))?;
                self.list(f, parts.iter().copied())
            }
            Op::Unpack { ty, parts, src } => {
                self.dsts(f, parts)?;
                write!(f, "unpack.{} {}", Small(ty), self.of(*src))
            }
            Op::AddressOf { dst, symbol, offset: more } => {
                write!(f, "{} = address {}", self.of(*dst), self.of(*symbol))?;
                offset(f, *more)
            }
            Op::Cvta { dst, src, space, direction } => {
                let way = if *direction == CvtaDirection::ToGeneric { "generic from" } else { "generic to" };
                write!(f, "{} = {way} {} {}", self.of(*dst), Small(space), self.of(*src))
            }
            Op::IsSpacep { dst, src, space } => {
                write!(f, "{} = is {} {}", self.of(*dst), Small(space), self.of(*src))
            }
            Op::Load { space, ty, order: how, dsts, address } => {
                self.dsts(f, dsts)?;
                write!(f, "load{}.{}.{} {}", order(*how), Small(space), Small(ty), self.of(*address))
            }
            Op::Store { space, ty, order: how, srcs, address } => {
                write!(f, "store{}.{}.{} {}, ", order(*how), Small(space), Small(ty), self.of(*address))?;
                self.list(f, srcs.iter().copied())
            }
            Op::Atomic { space, op, ty, order: how, dsts, address, b, c } => {
                self.dsts(f, dsts)?;
                let op: &AtomicOp = op;
                write!(f, "atomic.{}{}.{}.{}", Small(op), order(*how), Small(space), Small(ty))?;
                write!(f, " {}, ", self.of(*address))?;
                self.list(f, b.iter().chain(c).copied())
            }
            Op::Fence => f.write_str("fence"),
            Op::CopyAsync { to, to_space, from, from_space, bytes, read_bytes } => {
                write!(f, "copy.{}.{} ", Small(to_space), Small(from_space))?;
                write!(f, "{}, {}, {bytes}", self.of(*to), self.of(*from))?;
                read_bytes.map_or(Ok(()), |read| write!(f, ", {}", self.of(read)))
            }
            Op::Mbarrier { op, space, address, dst, srcs } => {
                if let Some(dst) = dst {
                    write!(f, "{} = ", self.of(*dst))?;
                }
                write!(f, "mbarrier.{}.{} {}", Small(op), Small(space), self.of(*address))?;
                srcs.iter().try_for_each(|src| write!(f, ", {}", self.of(*src)))
            }
            Op::Barrier { kind, id, threads, dst, src } => {
                if let Some(dst) = dst {
                    write!(f, "{} = ", self.of(*dst))?;
                }
                match kind {
                    BarrierKind::Reduce(op) => write!(f, "barrier.reduce.{} ", Small(op))?,
                    plain => write!(f, "barrier.{} ", Small(plain))?,
                }
                write!(f, "{}", self.of(*id))?;
                if let Some(threads) = threads {
                    write!(f, " threads {}", self.of(*threads))?;
                }
                src.map_or(Ok(()), |src: Operand| write!(f, ", {}", self.of(src)))
            }
            Op::Warp { op, mask, dsts, srcs } => {
                self.dsts(f, dsts)?;
                self.warp_name(f, op)?;
                if !srcs.is_empty() {
                    f.write_str(" ")?;
                }
                self.list(f, srcs.iter().copied())?;
                mask.map_or(Ok(()), |mask| write!(f, " mask {}", self.of(mask)))
            }
            Op::Call(call) => self.call(f, call),
            Op::Alloca { dst, size, align } => {
                write!(f, "{} = alloca {} align {align}", self.of(*dst), self.of(*size))
            }
            Op::StackSave { dst } => write!(f, "{} = stacksave", self.of(*dst)),
            Op::StackRestore { src } => write!(f, "stackrestore {}", self.of(*src)),
            Op::Yield => f.write_str("yield"),
            Op::Trap => f.write_str("trap"),
            Op::Breakpoint => f.write_str("breakpoint"),
        }
    }
}
