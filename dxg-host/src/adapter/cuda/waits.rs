//! Whether a kernel can wait for what others do.
//!
//! *Why.* Kernels that were short are run by the thread that reads the ring. One that waits for a number that another stream writes
//! would keep that thread from ever reading what writes it, however short it was before.

use std::collections::BTreeSet;

use dxg_ptx::ir::Block;
use dxg_ptx::ir::Callee;
use dxg_ptx::ir::FuncId;
use dxg_ptx::ir::Function;
use dxg_ptx::ir::Module;
use dxg_ptx::ir::Op;
use dxg_ptx::ir::Order;
use dxg_ptx::ir::Space;
use dxg_ptx::ir::Terminator;

/// Whether an entry, or what it calls, may look at memory of others again and again. A read without an order is none of another's
/// writes: compilers take it out of loops.
pub(super) fn can_wait(module: &Module, entry: FuncId) -> bool {
    let mut seen = BTreeSet::from([entry]);
    let mut open = vec![entry];
    let (mut looks, mut repeats) = (false, false);
    while let Some(id) = open.pop() {
        let Some(function) = module.functions.get(id.0 as usize) else { continue };
        repeats |= has_loop(function);
        for inst in function.blocks.iter().flat_map(|block| &block.insts) {
            looks |= reads_of_others(&inst.op);
            let Op::Call(call) = &inst.op else { continue };
            let direct = match call.callee {
                Callee::Function(id) => Some(id),
                _ => None,
            };
            for called in direct.iter().chain(&call.candidates) {
                if seen.insert(*called) {
                    open.push(*called);
                } else {
                    // Recursion, perhaps.
                    repeats = true;
                }
            }
        }
    }
    looks && repeats
}

fn reads_of_others(op: &Op) -> bool {
    match op {
        Op::Load { space, order, .. } => is_shared_with_others(*space) && *order != Order::Weak,
        Op::Atomic { space, dsts, .. } => is_shared_with_others(*space) && dsts.iter().any(Option::is_some),
        Op::Mbarrier { space, .. } => is_shared_with_others(*space),
        _ => false,
    }
}

fn is_shared_with_others(space: Space) -> bool {
    !matches!(space, Space::Shared | Space::Local | Space::Param | Space::Const)
}

/// Each loop has a way back to its own or an earlier block.
fn has_loop(function: &Function) -> bool {
    let goes_back = |(number, block): (usize, &Block)| {
        let back = |to: &dxg_ptx::ir::BlockId| to.0 as usize <= number;
        match &block.end {
            Terminator::Jump(to) => back(to),
            Terminator::Branch { then, otherwise, .. } => back(then) || back(otherwise),
            Terminator::Switch { targets, .. } => targets.iter().any(back),
            Terminator::Return | Terminator::Exit | Terminator::Trap => false,
        }
    };
    function.blocks.iter().enumerate().any(goes_back)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn can_wait_in(outside: &str, body: &str) -> bool {
        let text = format!(
            ".version 7.0\n.target sm_75\n.address_size 64\n{outside}.visible .entry k(.param .u64 at)\n{{\n.reg .b32 %r<4>;\n\
             .reg .b64 %rd<4>;\n.reg .pred %p<2>;\nld.param.u64 %rd1, [at];\n{body}\nret;\n}}\n"
        );
        let module = dxg_ptx::parse(text.as_bytes(), "text").unwrap_or_else(|problems| panic!("{problems}"));
        let entry = module.functions.iter().position(|function| function.is_entry).unwrap();
        can_wait(&module, FuncId(u32::try_from(entry).unwrap()))
    }

    const UNTIL: &str = "setp.eq.u32 %p1, %r1, 0;\n@%p1 bra AGAIN;";

    #[test]
    fn loops_that_look_at_memory_of_others_can_wait() {
        for look in [
            "ld.volatile.global.u32 %r1, [%rd1];",
            "ld.acquire.gpu.u32 %r1, [%rd1];",
            "atom.global.cas.b32 %r1, [%rd1], 0, 1;",
        ] {
            assert!(can_wait_in("", &format!("AGAIN:\n{look}\n{UNTIL}")), "{look}");
            assert!(!can_wait_in("", look), "{look}");
        }
    }

    #[test]
    fn other_loops_cannot_wait() {
        for look in ["ld.global.u32 %r1, [%rd1];", "red.global.add.u32 [%rd1], 1;", "add.u32 %r1, %r1, 1;"] {
            assert!(!can_wait_in("", &format!("mov.u32 %r1, 0;\nAGAIN:\n{look}\n{UNTIL}")), "{look}");
        }
    }

    #[test]
    fn what_is_called_counts() {
        let look = ".func look(.param .u64 p)\n{\n.reg .b32 %a;\n.reg .b64 %b;\nld.param.u64 %b, [p];\n\
                    ld.volatile.u32 %a, [%b];\nret;\n}\n";
        let call = "{\n.param .u64 p;\nst.param.u64 [p], %rd1;\ncall look, (p);\n}\n";
        assert!(can_wait_in(look, &format!("mov.u32 %r1, 0;\nAGAIN:\n{call}{UNTIL}")));
        assert!(!can_wait_in(look, call));
    }
}
