//! What an instruction names.

use crate::ir::Base;
use crate::ir::Callee;
use crate::ir::Op;
use crate::ir::Symbol;

impl Op {
    /// Calls `each` with each symbol that the instruction names: variables, functions that it calls or takes the address of.
    pub fn for_each_symbol(&self, mut each: impl FnMut(Symbol)) {
        let mut base = |base: Base| {
            if let Base::Symbol(symbol) = base {
                each(symbol);
            }
        };
        match self {
            Self::Load { address, .. }
            | Self::Store { address, .. }
            | Self::Atomic { address, .. }
            | Self::Mbarrier { address, .. } => base(address.base),
            Self::CopyAsync { to, from, .. } => {
                base(to.base);
                base(from.base);
            }
            Self::AddressOf { symbol, .. } => each(*symbol),
            Self::Call(call) => {
                if let Callee::Function(id) = call.callee {
                    each(Symbol::Function(id));
                }
                call.candidates.iter().chain(&call.listed).for_each(|&id| each(Symbol::Function(id)));
                call.args.iter().chain(&call.rets).for_each(|&id| each(Symbol::Local(id)));
            }
            _ => {}
        }
    }

    /// Changes each symbol that the instruction names.
    pub(crate) fn change_symbols(&mut self, change: impl Fn(&mut Symbol)) {
        let base = |base: &mut Base| {
            if let Base::Symbol(symbol) = base {
                change(symbol);
            }
        };
        match self {
            Self::Load { address, .. }
            | Self::Store { address, .. }
            | Self::Atomic { address, .. }
            | Self::Mbarrier { address, .. } => base(&mut address.base),
            Self::CopyAsync { to, from, .. } => {
                base(&mut to.base);
                base(&mut from.base);
            }
            Self::AddressOf { symbol, .. } => change(symbol),
            Self::Call(call) => {
                let called = match &mut call.callee {
                    Callee::Function(id) => Some(id),
                    _ => None,
                };
                for id in called.into_iter().chain(&mut call.listed) {
                    let mut symbol = Symbol::Function(*id);
                    change(&mut symbol);
                    if let Symbol::Function(changed) = symbol {
                        *id = changed;
                    }
                }
            }
            _ => {}
        }
    }
}
