//! What helpers do with a thread's memory: `vprintf`, `__assertfail`, `malloc`, `free`, `mbarrier`, and atomic operations on 128
//! bits where Cranelift has none.

use crate::exec::FaultKind;
use crate::interp::mbarrier;
use crate::interp::memory::Stack;
use crate::ir::AtomicOp;
use crate::ir::Call;
use crate::ir::Callee;
use crate::ir::Function;
use crate::ir::LocalId;
use crate::ir::Op;
use crate::ir::Order;
use crate::ir::Space;
use crate::native::context::Context;
use crate::native::run::Run;
use crate::printf;

/// A thread that calls the system.
struct Caller<'r, 'g> {
    run: &'r Run<'g>,
    function: &'r Function,
    call: &'r Call,
    stack: Stack,
    block: [u32; 3],
    thread: [u32; 3],
}

/// Does what an instruction asks that generated code leaves to us. `words` are its operands, for those that have some.
pub(super) fn effect(
    run: &Run<'_>,
    context: &Context,
    (unit, inst): (u32, u32),
    locals: u64,
    (words, lane): ([u64; 8], u32),
) -> Result<[u64; 2], FaultKind> {
    let unit = run.grid.prepared.units.get(unit as usize).ok_or(FaultKind::InvalidTarget)?;
    match unit.inst(inst).map(|inst| &inst.op) {
        Some(Op::Call(call)) => {
            let stack = run.stack(lane, locals);
            let (block, thread) = (context.block_index, run.thread_of(lane));
            Caller { run, function: &unit.function, call, stack, block, thread }.system()?;
            Ok([0; 2])
        }
        Some(Op::Mbarrier { op, srcs, .. }) => {
            let mut sources = [None; 2];
            for (source, (_, word)) in sources.iter_mut().zip(srcs.iter().zip(words.iter().skip(1))) {
                *source = Some(*word);
            }
            let mut update = |change: &dyn Fn(u64) -> u64| {
                let stack = run.stack(lane, locals);
                run.memory.update(Space::Generic, words[0], 8, &stack, change)
            };
            Ok([mbarrier::run(*op, sources, &mut update)?, 0])
        }
        Some(Op::Atomic { op, .. }) => {
            let [place, low, high, third_low, third_high, ..] = words;
            let (value, third) = ([low, high], [third_low, third_high]);
            let stack = run.stack(lane, locals);
            run.memory.update_wide(Space::Generic, place, &stack, &|old| match op {
                AtomicOp::Cas if old != value => old,
                AtomicOp::Cas => third,
                _ => value,
            })
        }
        _ => Err(FaultKind::InvalidTarget),
    }
}

impl Caller<'_, '_> {
    fn slot(&self, id: Option<&LocalId>) -> Result<(u64, u32), FaultKind> {
        let slot =
            id.and_then(|id| self.function.locals.get(id.0 as usize)).ok_or(FaultKind::InvalidTarget)?;
        Ok((u64::from(slot.offset), if slot.size >= 8 { 8 } else { 4 }))
    }

    fn argument(&self, index: usize) -> Result<u64, FaultKind> {
        let (offset, bytes) = self.slot(self.call.args.get(index))?;
        self.run.memory.load(Space::Local, offset, bytes, &self.stack, Order::Weak)
    }

    fn answer(&self, value: u64) -> Result<(), FaultKind> {
        let Some(id) = self.call.rets.first() else { return Ok(()) };
        let (offset, bytes) = self.slot(Some(id))?;
        self.run.memory.store(Space::Local, offset, (bytes, value), &self.stack, Order::Weak)
    }

    fn byte(&self, address: u64) -> Result<u8, FaultKind> {
        let byte = self.run.memory.load(Space::Generic, address, 1, &self.stack, Order::Weak)?;
        Ok((byte & 0xff) as u8)
    }

    fn text(&self, address: u64) -> Result<Vec<u8>, FaultKind> {
        let mut text = Vec::new();
        for at in 0..printf::MOST_TEXT_BYTES {
            match self.byte(address.wrapping_add(at))? {
                0 => break,
                byte => text.push(byte),
            }
        }
        Ok(text)
    }

    fn system(&self) -> Result<(), FaultKind> {
        // What the system does for one thread takes its time, and there may be no loop around it.
        if self.run.is_stopped() {
            return Err(FaultKind::Stopped);
        }
        let host = self.run.memory.host();
        match self.call.callee {
            Callee::Vprintf => {
                let format = self.text(self.argument(0)?)?;
                let buffer = self.argument(1)?;
                let mut memory = |request: printf::Request| match request {
                    printf::Request::Argument { offset, bytes } => {
                        let at = buffer.wrapping_add(offset);
                        let word =
                            self.run.memory.load(Space::Generic, at, bytes, &self.stack, Order::Weak)?;
                        Ok(printf::Answer::Word(word))
                    }
                    printf::Request::Text { address } => self.text(address).map(printf::Answer::Text),
                };
                let printed = printf::format(&format, &mut memory)?;
                host.print(&printed.text);
                self.answer(printed.arguments)
            }
            Callee::AssertFail => {
                let failure = printf::Assertion {
                    message: self.text(self.argument(0)?)?,
                    file: self.text(self.argument(1)?)?,
                    line: (self.argument(2)? & 0xffff_ffff) as u32,
                    function: self.text(self.argument(3)?)?,
                    block: self.block,
                    thread: self.thread,
                };
                host.print(&failure.text());
                Err(FaultKind::Assert)
            }
            Callee::Malloc => self.answer(host.allocate(self.argument(0)?)),
            Callee::Free => match self.argument(0)? {
                0 => Ok(()),
                address if host.release(address) => Ok(()),
                address => Err(FaultKind::IllegalAddress { address: Some(address) }),
            },
            Callee::Function(_) | Callee::Indirect(_) => Err(FaultKind::InvalidTarget),
        }
    }
}
