//! The rewrites that a function goes through before it is compiled.

use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::Module;

/// A function of the module, simplified.
pub(crate) fn simplified(module: &Module, id: FuncId) -> Function {
    module.functions[id.0 as usize].clone()
}
