//! Checks that a module is what the executors expect: numbers within range, operands of the right count, class and width.
//!
//! *Why.* Reading refuses texts that are not PTX; a module that fails here is our mistake. Debug builds check every module.

mod alu;
mod op;

use std::fmt::Display;

use crate::front::special_bits;
use crate::ir::BlockId;
use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::Guard;
use crate::ir::Linkage;
use crate::ir::LocalId;
use crate::ir::Module;
use crate::ir::Operand;
use crate::ir::Place;
use crate::ir::Reg;
use crate::ir::Slot;
use crate::ir::Space;
use crate::ir::Symbol;
use crate::ir::Terminator;

/// What is wrong with a module of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}

/// The outcome of a check, without the place.
type Check = Result<(), String>;

/// Checks a module.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(module: &Module) -> Result<(), Problem> {
    for global in &module.globals {
        global_is_sound(module, global).map_err(|message| Problem { place: global.place, message })?;
    }
    module.functions.iter().try_for_each(|function| Scope { module, function }.function())
}

fn global_is_sound(module: &Module, global: &crate::ir::Global) -> Check {
    ensure(global.align.is_power_of_two(), || format!("`{}` is aligned to {}", global.name, global.align))?;
    let in_space = matches!(global.space, Space::Global | Space::Const | Space::Shared);
    ensure(in_space, || format!("`{}` is in no space of variables", global.name))?;
    ensure(global.init.len() as u64 <= global.size, || {
        format!("`{}` has more initial bytes than bytes", global.name)
    })?;
    for relocation in &global.relocations {
        let end = relocation.offset.checked_add(u64::from(relocation.size));
        ensure(end.is_some_and(|end| end <= global.init.len() as u64), || {
            "an address beyond the bytes".to_owned()
        })?;
        ensure(relocation.shift < 64, || "an address without bits".to_owned())?;
        let is_known = match relocation.symbol {
            Symbol::Global(id) => (id.0 as usize) < module.globals.len(),
            Symbol::Function(id) => (id.0 as usize) < module.functions.len(),
            Symbol::Local(_) | Symbol::Param(_) => false,
        };
        ensure(is_known, || "the address of an unknown symbol".to_owned())?;
    }
    Ok(())
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(message()) }
}

/// A function that is checked.
#[derive(Clone, Copy)]
struct Scope<'m> {
    module: &'m Module,
    function: &'m Function,
}

impl<'m> Scope<'m> {
    fn function(&self) -> Result<(), Problem> {
        let at = |place: Place| {
            let name = &self.function.name;
            move |message: String| Problem { place, message: format!("`{name}`: {message}") }
        };
        self.frame().map_err(at(self.function.place))?;
        for (number, block) in self.function.blocks.iter().enumerate() {
            for inst in &block.insts {
                let in_block = |message: String| format!("b{number}: {message}");
                inst.guard
                    .map_or(Ok(()), |guard| self.guard(guard))
                    .map_err(in_block)
                    .map_err(at(inst.place))?;
                self.op(&inst.op)
                    .map_err(|message| in_block(format!("{message} in {:?}", inst.op)))
                    .map_err(at(inst.place))?;
            }
            self.end(&block.end).map_err(at(block.end_place))?;
        }
        Ok(())
    }

    fn frame(&self) -> Check {
        let function = self.function;
        let within = |slots: &[Slot], bytes: u32| {
            slots.iter().try_for_each(|slot| {
                ensure(slot.align.is_power_of_two(), || {
                    format!("`{}` is aligned to {}", slot.name, slot.align)
                })?;
                ensure(slot.offset.is_multiple_of(slot.align), || format!("`{}` is not aligned", slot.name))?;
                let end = slot.offset.checked_add(slot.size);
                ensure(end.is_some_and(|end| end <= bytes), || format!("`{}` is beyond its frame", slot.name))
            })
        };
        within(&function.params, function.param_bytes)?;
        if function.blocks.is_empty() {
            return Ok(());
        }
        within(&function.locals, function.local_bytes)?;
        let align = function.local_align;
        ensure(align.is_power_of_two(), || format!("a frame aligned to {align}"))?;
        let is_most = function.locals.iter().all(|slot| slot.align <= align);
        ensure(is_most, || "a frame less aligned than its variables".to_owned())?;
        ensure(function.linkage != Linkage::Extern, || "an external function with code".to_owned())?;
        ensure(!function.is_entry || function.args.is_empty() && function.rets.is_empty(), || {
            "an entry with arguments in its frame".to_owned()
        })?;
        function.args.iter().chain(&function.rets).try_for_each(|&id| self.local(id).map(drop))
    }

    fn end(&self, end: &Terminator) -> Check {
        match end {
            Terminator::Jump(to) => self.block(*to),
            Terminator::Branch { guard, then, otherwise } => {
                self.guard(*guard)?;
                self.block(*then)?;
                self.block(*otherwise)
            }
            Terminator::Switch { index, targets } => {
                self.operand(*index, 32)?;
                ensure(!targets.is_empty(), || "a switch without targets".to_owned())?;
                targets.iter().try_for_each(|&to| self.block(to))
            }
            Terminator::Return | Terminator::Exit | Terminator::Trap => Ok(()),
        }
    }

    fn block(&self, id: BlockId) -> Check {
        ensure((id.0 as usize) < self.function.blocks.len(), || format!("a jump to b{}", id.0))
    }

    fn guard(&self, guard: Guard) -> Check {
        self.reg(guard.reg, Width::Exact(1))
    }

    fn local(&self, id: LocalId) -> Result<&'m Slot, String> {
        self.function.locals.get(id.0 as usize).ok_or_else(|| format!("local {} is not there", id.0))
    }

    fn callee(&self, id: FuncId) -> Result<&'m Function, String> {
        self.module.functions.get(id.0 as usize).ok_or_else(|| format!("function {} is not there", id.0))
    }

    fn symbol(&self, symbol: Symbol) -> Check {
        match symbol {
            Symbol::Local(id) => self.local(id).map(drop),
            Symbol::Function(id) => self.callee(id).map(drop),
            Symbol::Global(id) => ensure((id.0 as usize) < self.module.globals.len(), || {
                format!("variable {} is not there", id.0)
            }),
            Symbol::Param(index) => ensure((index as usize) < self.function.params.len(), || {
                format!("parameter {index} is not there")
            }),
        }
    }

    fn reg(&self, reg: Reg, width: Width) -> Check {
        let class = self.function.regs.get(reg.0 as usize);
        let Some(&class) = class else { return Err(format!("register {} is not there", reg.0)) };
        let have = class.bits();
        let fits = match width {
            Width::Exact(want) => have == want,
            Width::Least(want) => have == want || have > want && want > 1,
            Width::Address => matches!(have, 32 | 64),
        };
        ensure(fits, || format!("register {} has {have} bits and not {width}", reg.0))
    }

    /// An operand of exactly so many bits.
    fn operand(&self, operand: Operand, want: u32) -> Check {
        self.operand_as(operand, Width::Exact(want))
    }

    fn operand_as(&self, operand: Operand, width: Width) -> Check {
        let want = match width {
            Width::Exact(want) | Width::Least(want) => want,
            Width::Address => 64,
        };
        match operand {
            Operand::Reg(reg) => self.reg(reg, width),
            Operand::Imm(value) => ensure(want >= 64 || value >> want == 0, || {
                format!("the constant {value:#x} has more than {want} bits")
            }),
            Operand::Special(_) if matches!(width, Width::Address) => Ok(()),
            Operand::Special(special) => ensure(special_bits(special) == want, || {
                format!("{special:?} has {} bits and not {want}", special_bits(special))
            }),
        }
    }

    fn dst(&self, dst: Option<Reg>, width: Width) -> Check {
        dst.map_or(Ok(()), |reg| self.reg(reg, width))
    }
}

/// Bits that a register must have.
#[derive(Clone, Copy, Debug)]
enum Width {
    Exact(u32),
    /// So many or more.
    Least(u32),
    /// 32 or 64.
    Address,
}

impl Display for Width {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(bits) => write!(f, "{bits}"),
            Self::Least(bits) => write!(f, "{bits} or more"),
            Self::Address => f.write_str("32 or 64"),
        }
    }
}
