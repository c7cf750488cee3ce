//! Modules as text to read. It is no PTX, and nothing reads it back.
//!
//! A register is written by its class and number: `%p` predicate, `%b` 8, `%h` 16, `%r` 32, `%rd` 64, `%q` 128 bits, `%f` and `%fd`
//! floats.

mod op;

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::fmt::Result;

use crate::ir::Block;
use crate::ir::Function;
use crate::ir::Global;
use crate::ir::Guard;
use crate::ir::Inst;
use crate::ir::Module;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Slot;
use crate::ir::Terminator;

/// The name of a variant in small letters.
struct Small<T>(T);

impl<T: fmt::Debug> Display for Small<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&format!("{:?}", self.0).to_ascii_lowercase())
    }
}

/// Something of a function.
#[derive(Clone, Copy)]
struct In<'m, T> {
    module: &'m Module,
    function: &'m Function,
    what: T,
}

impl<'m, T> In<'m, T> {
    fn of<U>(&self, what: U) -> In<'m, U> {
        In { module: self.module, function: self.function, what }
    }

    /// Things with commas between them.
    fn list<U>(&self, f: &mut Formatter<'_>, things: impl IntoIterator<Item = U>) -> Result
    where
        In<'m, U>: Display,
    {
        for (index, thing) in things.into_iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            self.of(thing).fmt(f)?;
        }
        Ok(())
    }
}

impl Display for In<'_, Reg> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let prefix = match self.function.regs.get(self.what.0 as usize) {
            Some(RegClass::Pred) => "p",
            Some(RegClass::B8) => "b",
            Some(RegClass::B16) => "h",
            Some(RegClass::B32) => "r",
            Some(RegClass::B64) => "rd",
            Some(RegClass::B128) => "q",
            Some(RegClass::F32) => "f",
            Some(RegClass::F64) => "fd",
            None => "undeclared",
        };
        write!(f, "%{prefix}{}", self.what.0)
    }
}

impl Display for In<'_, Option<Reg>> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.what {
            Some(reg) => self.of(reg).fmt(f),
            None => f.write_str("_"),
        }
    }
}

impl Display for In<'_, Operand> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.what {
            Operand::Reg(reg) => self.of(reg).fmt(f),
            Operand::Imm(value @ 0..=9) => write!(f, "{value}"),
            Operand::Imm(value) => write!(f, "{value:#x}"),
            Operand::Special(special) => write!(f, "%{}", Small(special)),
        }
    }
}

impl Display for In<'_, Guard> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let not = if self.what.when { "" } else { "!" };
        write!(f, "@{not}{}", self.of(self.what.reg))
    }
}

impl Display for In<'_, &Inst> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(guard) = self.what.guard {
            write!(f, "{} ", self.of(guard))?;
        }
        self.of(&self.what.op).fmt(f)
    }
}

impl Display for In<'_, &Terminator> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.what {
            Terminator::Jump(to) => write!(f, "jump b{}", to.0),
            Terminator::Branch { guard, then, otherwise } => {
                write!(f, "{} jump b{}, else b{}", self.of(*guard), then.0, otherwise.0)
            }
            Terminator::Switch { index, targets } => {
                write!(f, "switch {}", self.of(*index))?;
                targets.iter().try_for_each(|to| write!(f, ", b{}", to.0))
            }
            Terminator::Return => f.write_str("return"),
            Terminator::Exit => f.write_str("exit"),
            Terminator::Trap => f.write_str("trap"),
        }
    }
}

impl Display for In<'_, &Block> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for inst in &self.what.insts {
            writeln!(f, "    {}", self.of(inst))?;
        }
        writeln!(f, "    {}", self.of(&self.what.end))
    }
}

fn slots(f: &mut Formatter<'_>, what: &str, slots: &[Slot]) -> Result {
    for (index, slot) in slots.iter().enumerate() {
        let Slot { name, offset, size, align } = slot;
        writeln!(f, "  {what} {index} `{name}` at {offset}, {size} bytes, align {align}")?;
    }
    Ok(())
}

impl Display for In<'_, &Function> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let function = self.what;
        let kind = if function.is_entry { "entry" } else { "func" };
        writeln!(f, "{kind} `{}` {}", function.name, Small(function.linkage))?;
        slots(f, "param", &function.params)?;
        slots(f, "local", &function.locals)?;
        for (what, list) in [("args", &function.args), ("rets", &function.rets)] {
            if !list.is_empty() {
                let list: Vec<String> = list.iter().map(|id| id.0.to_string()).collect();
                writeln!(f, "  {what} {}", list.join(", "))?;
            }
        }
        for (index, block) in function.blocks.iter().enumerate() {
            writeln!(f, "  b{index}:")?;
            self.of(block).fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Global {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { name, space, align, size, linkage, .. } = self;
        write!(f, "{} `{name}` {}, {size} bytes, align {align}", Small(space), Small(linkage))?;
        if self.is_managed {
            f.write_str(", managed")?;
        }
        if !self.init.is_empty() {
            f.write_str(" =")?;
            for byte in self.init.iter().take(64) {
                write!(f, " {byte:02x}")?;
            }
            if self.init.len() > 64 {
                write!(f, " and {} more", self.init.len() - 64)?;
            }
        }
        Ok(())
    }
}

impl Display for Module {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "version {}.{}, sm_{}", self.version.0, self.version.1, self.target_sm)?;
        for (index, global) in self.globals.iter().enumerate() {
            writeln!(f, "g{index} {global}")?;
            for relocation in &global.relocations {
                let at = relocation.offset;
                let name = op::symbol_name(self, None, relocation.symbol);
                let generic = if relocation.is_generic { "generic " } else { "" };
                write!(f, "  at {at}: {} bytes of {generic}{name}", relocation.size)?;
                op::offset(f, relocation.addend)?;
                if relocation.shift > 0 {
                    write!(f, " from bit {}", relocation.shift)?;
                }
                writeln!(f)?;
            }
        }
        for function in &self.functions {
            In { module: self, function, what: function }.fmt(f)?;
        }
        Ok(())
    }
}
