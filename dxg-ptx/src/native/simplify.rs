//! The rewrites that a function goes through before it is compiled.

use crate::analysis::fold;
use crate::analysis::guards;
use crate::analysis::inline;
use crate::analysis::promote;
use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::Module;

/// A function of the module, simplified.
pub(crate) fn simplified(module: &Module, id: FuncId) -> Function {
    let mut function = module.functions[id.0 as usize].clone();
    guards::remove_guards(&mut function);
    inline::inline_calls(&mut function, module);
    fold::fold_addresses(&mut function, module);
    fold::remove_unread(&mut function);
    promote::promote_locals(&mut function);
    function
}
