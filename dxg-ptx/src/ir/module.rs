//! Modules: their functions and variables.

use crate::ir::Block;
use crate::ir::FuncId;
use crate::ir::LocalId;
use crate::ir::Place;
use crate::ir::RegClass;
use crate::ir::Space;
use crate::ir::Symbol;

/// A parameter of an entry, or a variable of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name in the text.
    pub name: String,
    /// From the start of the parameters, or of the frame.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// A power of two.
    pub align: u32,
}

/// A function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Whether it can be launched.
    pub is_entry: bool,
    /// Parameters of an entry, in its parameter block of `param_bytes`.
    pub params: Vec<Slot>,
    /// Bytes of the parameter block of an entry.
    pub param_bytes: u32,
    /// Variables of the frame.
    pub locals: Vec<Slot>,
    /// Bytes of the frame; aligned to 16 or to the most aligned variable.
    pub local_bytes: u32,
    /// The alignment of the frame.
    pub local_align: u32,
    /// Of a `.func`: which variables are its parameters and results.
    pub args: Vec<LocalId>,
    /// The results.
    pub rets: Vec<LocalId>,
    /// The registers.
    pub regs: Vec<RegClass>,
    /// The blocks; the first is the entry. Empty for a function that is declared only and never called.
    pub blocks: Vec<Block>,
    /// Directives.
    pub limits: LaunchLimits,
    /// Who may see it; `Extern` if this module only declares it.
    pub linkage: Linkage,
    /// Where it stands in the text.
    pub place: Place,
}

/// What an entry says about its launches; 0 where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaunchLimits {
    /// `.maxntid`: most threads.
    pub max_threads: [u32; 3],
    /// `.reqntid`: exactly these.
    pub required_threads: [u32; 3],
    /// `.minnctapersm`.
    pub min_blocks_per_sm: u32,
    /// `.maxnreg`.
    pub max_registers: u32,
}

/// A variable of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Its name.
    pub name: String,
    /// `Global`, `Const` or `Shared`.
    pub space: Space,
    /// A power of two.
    pub align: u32,
    /// Bytes; 0 for `.extern .shared x[]`, which starts where static shared memory ends.
    pub size: u64,
    /// The first bytes; the rest is zero.
    pub init: Vec<u8>,
    /// Addresses in it.
    pub relocations: Vec<Relocation>,
    /// Who may see it.
    pub linkage: Linkage,
    /// `.managed`.
    pub is_managed: bool,
    /// Where it stands in the text.
    pub place: Place,
}

/// Linkage of a symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Linkage {
    #[default]
    Local,
    Visible,
    Extern,
    Weak,
    Common,
}

/// An address within an initialiser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Where.
    pub offset: u64,
    /// How many bytes are written: 1, 2, 4 or 8.
    pub size: u8,
    /// The bits of the address that are written, from this one (`mask` operators).
    pub shift: u8,
    /// Whose address.
    pub symbol: Symbol,
    /// Added.
    pub addend: i64,
    /// Whether it is the generic address (`generic(x)`), which differs for shared variables only.
    pub is_generic: bool,
}

/// A module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// `.version`.
    pub version: (u32, u32),
    /// `.target sm_<n>`.
    pub target_sm: u32,
    /// Variables.
    pub globals: Vec<Global>,
    /// Functions and entries.
    pub functions: Vec<Function>,
}

impl Module {
    /// The entry of this name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<FuncId> {
        let index = self.functions.iter().position(|function| function.is_entry && function.name == name)?;
        Some(FuncId(u32::try_from(index).ok()?))
    }

    /// The number that stands for a function's address: not 0, and no address of memory that a kernel can reach.
    #[must_use]
    pub const fn function_address(id: FuncId) -> u64 {
        0x10 + 0x10 * id.0 as u64
    }

    /// The function whose address this is.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<FuncId> {
        let index = address.checked_sub(0x10).filter(|offset| offset % 0x10 == 0)? / 0x10;
        ((index as usize) < self.functions.len()).then_some(FuncId(u32::try_from(index).ok()?))
    }
}
