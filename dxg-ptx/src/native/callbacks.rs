//! Functions of ours that generated code calls.

// UNSAFETY: generated code passes the context of the running call; the launch that it points to outlives the call.
#![expect(unsafe_code, reason = "generated code calls these with pointers")]

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::types::I32;
use cranelift_codegen::ir::types::I64;

use crate::exec::FaultKind;
use crate::interp::memory::Stack;
use crate::ir::Op;
use crate::native::call;
use crate::native::context::Context;
use crate::native::context::fault;
use crate::native::run::Run;
use crate::native::system;
use crate::semantics;

/// Which helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helper {
    /// Computes a pure instruction.
    Alu,
    /// Whether a thread may use a range of generic addresses; or a copy that is not plain.
    Reach,
    /// The new value of memory that an atomic operation changes.
    Combine,
    /// `vprintf` and the like. Whether the thread goes on.
    Effect,
    /// Clocks.
    Ask,
}

/// What [`Helper::Ask`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Clock,
    Time,
}

impl Question {
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Clock => 0,
            Self::Time => 1,
        }
    }
}

impl Helper {
    /// Its place in the table, its parameters and its result.
    pub(crate) const fn signature(self) -> (usize, &'static [Type], Type) {
        match self {
            Self::Alu => (0, &[I64, I32, I64, I64, I64, I64], I64),
            Self::Reach => (1, &[I64, I64, I32, I32], I32),
            Self::Combine => (2, &[I64, I32, I32, I64, I64], I64),
            Self::Effect => (3, &[I64, I32, I32, I64, I32], I32),
            Self::Ask => (4, &[I64, I32, I32], I64),
        }
    }
}

/// The table, in the order of [`Helper::signature`].
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Helpers {
    alu: extern "C" fn(&mut Context, u32, u64, u64, u64, u64) -> u64,
    reach: unsafe extern "C" fn(&mut Context, u64, u32, u32),
    combine: extern "C" fn(&mut Context, u32, u32, u64, u64) -> u64,
    effect: extern "C" fn(&mut Context, u32, u32, u64, u32) -> u32,
    ask: extern "C" fn(&mut Context, u32, u32) -> u64,
}

/// The helpers.
pub(crate) static HELPERS: Helpers = Helpers { alu, reach: call::reach_saving, combine, effect, ask };

/// Set in the alignment that [`Helper::Reach`] is given for an atomic operation.
pub(crate) const ATOMIC: u32 = 1 << 16;
/// Instead of an alignment: the number of bytes is that of an instruction which copies from the address, or nothing.
pub(crate) const COPY: u32 = 1 << 17;

fn run_of(context: &Context) -> &Run<'_> {
    // SAFETY: `run` is set by `Run::enter` to itself for the time of the call, and generated code does not change it.
    unsafe { &*context.run.cast::<Run<'_>>() }
}

extern "C" fn alu(context: &mut Context, inst: u32, a: u64, b: u64, c: u64, d: u64) -> u64 {
    let unit = context.unit;
    let results = match run_of(context).inst(unit, inst).map(|inst| &inst.op) {
        Some(Op::Alu(alu)) => semantics::alu(alu, [a, b, c, d]),
        _ => [0; 2],
    };
    context.scratch[0] = results[1];
    results[0]
}

/// Puts 1 or 0 in the context.
pub(super) extern "C" fn reach(context: &mut Context, address: u64, bytes: u32, align: u32) {
    let is_fine = match align {
        COPY => has_copied(context, bytes, address),
        _ => is_within_reach(context, address, bytes, align),
    };
    context.scratch[0] = u64::from(is_fine);
}

/// Does what an instruction that copies says; the context has where to, and how many bytes are read.
fn has_copied(context: &Context, inst: u32, from: u64) -> bool {
    let run = run_of(context);
    let [to, read, ..] = context.scratch;
    let copied = match run.inst(context.unit, inst).map(|inst| &inst.op) {
        Some(Op::CopyAsync { to_space, from_space, bytes, .. }) => {
            let bytes = u64::from(*bytes);
            let counts = [bytes, read.min(bytes)];
            run.memory.copy((*from_space, from), (*to_space, to), counts, &Stack::default())
        }
        _ => Err(FaultKind::InvalidTarget),
    };
    copied.map_err(|kind| run.tell(kind)).is_ok()
}

fn is_within_reach(context: &Context, address: u64, bytes: u32, align: u32) -> bool {
    let run = run_of(context);
    let (align, is_atomic) = (align & !ATOMIC, align & ATOMIC != 0);
    if !address.is_multiple_of(u64::from(align.max(1))) {
        return false;
    }
    let offset = address.wrapping_sub(context.memory_base);
    if offset.checked_add(u64::from(bytes)).is_some_and(|end| end <= context.memory_bytes) {
        return true;
    }
    match run.space_of(context, address, bytes) {
        Some(crate::ir::Space::Shared) => true,
        Some(_) if is_atomic => {
            run.tell(FaultKind::InvalidSpace);
            false
        }
        Some(_) => true,
        None => false,
    }
}

extern "C" fn combine(context: &mut Context, unit: u32, inst: u32, old: u64, b: u64) -> u64 {
    match run_of(context).inst(unit, inst).map(|inst| &inst.op) {
        Some(Op::Atomic { op, ty, .. }) => semantics::atomic(*op, *ty, old, b, 0),
        _ => old,
    }
}

extern "C" fn effect(context: &mut Context, unit: u32, inst: u32, locals: u64, lane: u32) -> u32 {
    let scratch = context.scratch;
    let run = run_of(context);
    match system::effect(run, context, (unit, inst), locals, (scratch, lane)) {
        Ok(results) => {
            context.scratch[..2].copy_from_slice(&results);
            1
        }
        Err(kind) => {
            run.tell(kind);
            context.fault_kind = fault::TOLD;
            0
        }
    }
}

extern "C" fn ask(context: &mut Context, question: u32, _lane: u32) -> u64 {
    let nanoseconds = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    if question == Question::Clock.code() {
        return nanoseconds(run_of(context).started().elapsed());
    }
    nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
