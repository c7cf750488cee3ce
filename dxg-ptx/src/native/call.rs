//! The way into generated code, and the two ways out: its return, and a fault of the processor.

// UNSAFETY: calls addresses of generated code; assembly saves and restores the registers that a fault would leave changed.
#![expect(unsafe_code, reason = "calls generated code")]

use std::arch::naked_asm;
use std::cell::Cell;
use std::mem::offset_of;

use crate::native::context::Context;
use crate::native::context::status;

thread_local! {
    /// The context of the call that this thread is in.
    static CURRENT: Cell<*mut Context> = const { Cell::new(std::ptr::null_mut()) };
}

/// The context of the generated code that this thread runs, or null. For the signal handler.
pub(super) fn current() -> *mut Context {
    CURRENT.try_with(Cell::get).unwrap_or(std::ptr::null_mut())
}

/// Lanes to run, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    pub(super) begin: u32,
    pub(super) end: u32,
    pub(super) point: u32,
}

/// Runs generated code.
///
/// # Safety
/// `code` is the start of a function that `emit` made for this target, in executable memory that stays; `context` fits the
/// program: every pointer in it is good for what the program does with it.
pub(super) unsafe fn call(code: u64, context: &mut Context, lanes: Lanes) -> u32 {
    let before = CURRENT.replace(context);
    // SAFETY: the caller promises what `enter` asks.
    let status = unsafe { enter(code, context, lanes.begin, lanes.end, lanes.point) };
    CURRENT.set(before);
    status
}

/// Saves the registers that callees keep, notes the stack and calls.
///
/// # Safety
/// As [`call`].
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn enter(code: u64, context: *mut Context, begin: u32, end: u32, point: u32) -> u32 {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rsi + {saved}], rsp",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov esi, edx",
        "mov edx, ecx",
        "mov ecx, r8d",
        "call rax",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        saved = const offset_of!(Context, saved_stack),
    )
}

/// Where a thread goes on after a fault, with the stack that `enter` noted: returns from `enter`.
///
/// # Safety
/// Not called; the signal handler puts its address and the noted stack in the interrupted thread's registers.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn land() -> u32 {
    naked_asm!(
        "mov eax, {signal}",
        "cld",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        signal = const status::SIGNAL,
    )
}

/// Saves the registers that callees keep, notes the stack and calls.
///
/// # Safety
/// As [`call`].
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn enter(code: u64, context: *mut Context, begin: u32, end: u32, point: u32) -> u32 {
    naked_asm!(
        "stp x29, x30, [sp, #-160]!",
        "mov x29, sp",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mov x9, sp",
        "str x9, [x1, #{saved}]",
        "mov x9, x0",
        "mov x0, x1",
        "mov w1, w2",
        "mov w2, w3",
        "mov w3, w4",
        "blr x9",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #160",
        "ret",
        saved = const offset_of!(Context, saved_stack),
    )
}

/// Where a thread goes on after a fault, with the stack that `enter` noted: returns from `enter`.
///
/// # Safety
/// Not called; the signal handler puts its address and the noted stack in the interrupted thread's registers.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn land() -> u32 {
    naked_asm!(
        "mov w0, #{signal}",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #160",
        "ret",
        signal = const status::SIGNAL,
    )
}
