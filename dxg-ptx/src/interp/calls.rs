//! Calls and returns, and the calls of the system: `vprintf`, `__assertfail`, `malloc`, `free`.

use std::sync::atomic::Ordering;

use super::execute::Context;
use super::thread::Frame;
use super::thread::Thread;
use crate::exec::FaultKind;
use crate::ir::Call;
use crate::ir::Callee;
use crate::ir::Function;
use crate::ir::LocalId;
use crate::ir::Op;
use crate::ir::Order;
use crate::ir::Slot;
use crate::ir::Space;
use crate::printf;

fn slot(function: &Function, id: LocalId) -> Result<&Slot, FaultKind> {
    function.locals.get(id.0 as usize).ok_or(FaultKind::InvalidTarget)
}

/// Does a call, or enters the function called. Afterwards the thread stands behind the call, or at the start of the function.
pub(super) fn call(context: &Context<'_, '_>, thread: &mut Thread, call: &Call) -> Result<(), FaultKind> {
    let callee = match call.callee {
        Callee::Function(id) => id,
        Callee::Indirect(reg) => {
            let target = context.grid.program.module.function_at(thread.get(reg));
            target.filter(|id| call.candidates.contains(id)).ok_or(FaultKind::InvalidTarget)?
        }
        Callee::Vprintf | Callee::AssertFail | Callee::Malloc | Callee::Free => {
            system(context, thread, call)?;
            thread.frame.inst += 1;
            return Ok(());
        }
    };
    let grid = context.grid;
    let caller = grid.function(thread.frame.function).ok_or(FaultKind::InvalidTarget)?;
    let function = grid.function(callee).ok_or(FaultKind::InvalidTarget)?;
    let from = thread.frame.base;
    thread.enter(grid, callee)?;
    for (argument, parameter) in call.args.iter().zip(&function.args) {
        let (source, target) = (slot(caller, *argument)?, slot(function, *parameter)?);
        copy(
            context,
            thread,
            from + u64::from(source.offset),
            thread.frame.base + u64::from(target.offset),
            source.size.min(target.size),
        )?;
    }
    Ok(())
}

/// Returns from a function; `false` if the thread has returned from its entry.
pub(super) fn finish(context: &Context<'_, '_>, thread: &mut Thread) -> Result<bool, FaultKind> {
    let grid = context.grid;
    let Some(left) = thread.leave() else { return Ok(false) };
    let inst = grid.code(&thread.frame).and_then(|code| code.insts.get(thread.frame.inst));
    let (Some(Op::Call(call)), Some(function), Some(caller)) =
        (inst.map(|inst| &inst.op), grid.function(left.function), grid.function(thread.frame.function))
    else {
        return Err(FaultKind::InvalidTarget);
    };
    let Frame { base: from, .. } = left;
    for (result, source) in call.rets.iter().zip(&function.rets) {
        let (target, source) = (slot(caller, *result)?, slot(function, *source)?);
        copy(
            context,
            thread,
            from + u64::from(source.offset),
            thread.frame.base + u64::from(target.offset),
            source.size.min(target.size),
        )?;
    }
    thread.frame.inst += 1;
    Ok(true)
}

/// Copies within a thread's stack.
fn copy(context: &Context<'_, '_>, thread: &Thread, from: u64, to: u64, bytes: u32) -> Result<(), FaultKind> {
    for at in 0..u64::from(bytes) {
        let value = context.memory.load(Space::Generic, from + at, 1, &thread.stack, Order::Weak)?;
        context.memory.store(Space::Generic, to + at, (1, value), &thread.stack, Order::Weak)?;
    }
    Ok(())
}

/// The value of an argument of a call of the system.
fn argument(context: &Context<'_, '_>, thread: &Thread, call: &Call, index: usize) -> Result<u64, FaultKind> {
    let function = context.grid.function(thread.frame.function).ok_or(FaultKind::InvalidTarget)?;
    let id = call.args.get(index).ok_or(FaultKind::InvalidTarget)?;
    let slot = slot(function, *id)?;
    let bytes = if slot.size >= 8 { 8 } else { 4 };
    context.memory.load(Space::Local, u64::from(slot.offset), bytes, &thread.stack, Order::Weak)
}

fn answer(context: &Context<'_, '_>, thread: &Thread, call: &Call, value: u64) -> Result<(), FaultKind> {
    let Some(id) = call.rets.first() else { return Ok(()) };
    let function = context.grid.function(thread.frame.function).ok_or(FaultKind::InvalidTarget)?;
    let slot = slot(function, *id)?;
    let bytes = if slot.size >= 8 { 8 } else { 4 };
    context.memory.store(Space::Local, u64::from(slot.offset), (bytes, value), &thread.stack, Order::Weak)
}

/// A text in the kernel's memory, up to its NUL.
fn text(context: &Context<'_, '_>, thread: &Thread, address: u64) -> Result<Vec<u8>, FaultKind> {
    let mut text = Vec::new();
    for at in 0..printf::MOST_TEXT_BYTES {
        let byte =
            context.memory.load(Space::Generic, address.wrapping_add(at), 1, &thread.stack, Order::Weak)?;
        if byte == 0 {
            break;
        }
        text.push(byte as u8);
    }
    Ok(text)
}

fn system(context: &Context<'_, '_>, thread: &Thread, call: &Call) -> Result<(), FaultKind> {
    let host = context.memory.host();
    // What the system does for one thread takes its time.
    if host.stop().load(Ordering::Relaxed) {
        return Err(FaultKind::Stopped);
    }
    let argument = |index: usize| argument(context, thread, call, index);
    match call.callee {
        Callee::Vprintf => {
            let format = text(context, thread, argument(0)?)?;
            let buffer = argument(1)?;
            let mut memory = |request: printf::Request| match request {
                printf::Request::Argument { offset, bytes } => {
                    let at = buffer.wrapping_add(offset);
                    let word = context.memory.load(Space::Generic, at, bytes, &thread.stack, Order::Weak)?;
                    Ok(printf::Answer::Word(word))
                }
                printf::Request::Text { address } => text(context, thread, address).map(printf::Answer::Text),
            };
            let printed = printf::format(&format, &mut memory)?;
            host.print(&printed.text);
            answer(context, thread, call, printed.arguments)
        }
        Callee::AssertFail => {
            let failure = printf::Assertion {
                message: text(context, thread, argument(0)?)?,
                file: text(context, thread, argument(1)?)?,
                line: argument(2)? as u32,
                function: text(context, thread, argument(3)?)?,
                block: context.index,
                thread: thread.index,
            };
            host.print(&failure.text());
            Err(FaultKind::Assert)
        }
        Callee::Malloc => answer(context, thread, call, host.allocate(argument(0)?)),
        _ => match argument(0)? {
            0 => Ok(()),
            address if host.release(address) => Ok(()),
            address => Err(FaultKind::IllegalAddress { address: Some(address) }),
        },
    }
}
