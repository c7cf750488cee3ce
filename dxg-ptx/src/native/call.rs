//! The way into generated code, and the two ways out: its return, and a fault of the processor.

// UNSAFETY: calls addresses of generated code; assembly saves and restores the registers that a fault would leave changed.
#![expect(unsafe_code, reason = "calls generated code")]

use std::arch::naked_asm;
use std::cell::Cell;
use std::mem::offset_of;

use crate::native::callbacks;
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

/// [`callbacks::reach`], with all registers left as they are, as generated code expects of it.
///
/// # Safety
/// As for the function that it calls: the context is that of the running call.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn reach_saving(context: &mut Context, address: u64, bytes: u32, align: u32) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "sub rsp, 264",
        "movups [rsp], xmm0",
        "movups [rsp + 16], xmm1",
        "movups [rsp + 32], xmm2",
        "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4",
        "movups [rsp + 80], xmm5",
        "movups [rsp + 96], xmm6",
        "movups [rsp + 112], xmm7",
        "movups [rsp + 128], xmm8",
        "movups [rsp + 144], xmm9",
        "movups [rsp + 160], xmm10",
        "movups [rsp + 176], xmm11",
        "movups [rsp + 192], xmm12",
        "movups [rsp + 208], xmm13",
        "movups [rsp + 224], xmm14",
        "movups [rsp + 240], xmm15",
        "call {reach}",
        "movups xmm0, [rsp]",
        "movups xmm1, [rsp + 16]",
        "movups xmm2, [rsp + 32]",
        "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]",
        "movups xmm5, [rsp + 80]",
        "movups xmm6, [rsp + 96]",
        "movups xmm7, [rsp + 112]",
        "movups xmm8, [rsp + 128]",
        "movups xmm9, [rsp + 144]",
        "movups xmm10, [rsp + 160]",
        "movups xmm11, [rsp + 176]",
        "movups xmm12, [rsp + 192]",
        "movups xmm13, [rsp + 208]",
        "movups xmm14, [rsp + 224]",
        "movups xmm15, [rsp + 240]",
        "add rsp, 264",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "pop rbp",
        "ret",
        reach = sym callbacks::reach,
    )
}

/// [`callbacks::reach`], with all registers left as they are, as generated code expects of it.
///
/// # Safety
/// As for the function that it calls: the context is that of the running call.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn reach_saving(context: &mut Context, address: u64, bytes: u32, align: u32) {
    naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "mov x29, sp",
        "stp x0, x1, [sp, #-16]!",
        "stp x2, x3, [sp, #-16]!",
        "stp x4, x5, [sp, #-16]!",
        "stp x6, x7, [sp, #-16]!",
        "stp x8, x9, [sp, #-16]!",
        "stp x10, x11, [sp, #-16]!",
        "stp x12, x13, [sp, #-16]!",
        "stp x14, x15, [sp, #-16]!",
        "stp x16, x17, [sp, #-16]!",
        "stp q0, q1, [sp, #-32]!",
        "stp q2, q3, [sp, #-32]!",
        "stp q4, q5, [sp, #-32]!",
        "stp q6, q7, [sp, #-32]!",
        "stp q8, q9, [sp, #-32]!",
        "stp q10, q11, [sp, #-32]!",
        "stp q12, q13, [sp, #-32]!",
        "stp q14, q15, [sp, #-32]!",
        "stp q16, q17, [sp, #-32]!",
        "stp q18, q19, [sp, #-32]!",
        "stp q20, q21, [sp, #-32]!",
        "stp q22, q23, [sp, #-32]!",
        "stp q24, q25, [sp, #-32]!",
        "stp q26, q27, [sp, #-32]!",
        "stp q28, q29, [sp, #-32]!",
        "stp q30, q31, [sp, #-32]!",
        "bl {reach}",
        "ldp q30, q31, [sp], #32",
        "ldp q28, q29, [sp], #32",
        "ldp q26, q27, [sp], #32",
        "ldp q24, q25, [sp], #32",
        "ldp q22, q23, [sp], #32",
        "ldp q20, q21, [sp], #32",
        "ldp q18, q19, [sp], #32",
        "ldp q16, q17, [sp], #32",
        "ldp q14, q15, [sp], #32",
        "ldp q12, q13, [sp], #32",
        "ldp q10, q11, [sp], #32",
        "ldp q8, q9, [sp], #32",
        "ldp q6, q7, [sp], #32",
        "ldp q4, q5, [sp], #32",
        "ldp q2, q3, [sp], #32",
        "ldp q0, q1, [sp], #32",
        "ldp x16, x17, [sp], #16",
        "ldp x14, x15, [sp], #16",
        "ldp x12, x13, [sp], #16",
        "ldp x10, x11, [sp], #16",
        "ldp x8, x9, [sp], #16",
        "ldp x6, x7, [sp], #16",
        "ldp x4, x5, [sp], #16",
        "ldp x2, x3, [sp], #16",
        "ldp x0, x1, [sp], #16",
        "ldp x29, x30, [sp], #16",
        "ret",
        reach = sym callbacks::reach,
    )
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
/// Another thread may have written the code just now and told us so in memory: `isb` forgets instructions that were fetched before.
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
        "isb",
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
