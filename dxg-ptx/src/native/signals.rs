//! Faults of the processor in generated code become faults of the grid.
//!
//! *What happens.* The handler looks whether the thread runs generated code and whether the fault is in it. If so it notes where and
//! how, and lets the thread go on where the call into generated code returns. If not, the handler that was there before gets it.

// UNSAFETY: installs signal handlers, and reads and changes the registers of an interrupted thread.
#![expect(unsafe_code, reason = "signal handlers")]

use std::sync::OnceLock;

use libc::c_int;
use libc::c_void;
use libc::siginfo_t;
use libc::ucontext_t;

use crate::native::call;

const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

static BEFORE: OnceLock<Result<[libc::sigaction; 4], i32>> = OnceLock::new();

/// Installs the handlers, once for the process.
///
/// # Errors
/// The system did not take them.
pub fn install_handlers() -> std::io::Result<()> {
    match BEFORE.get_or_init(install) {
        Ok(_) => Ok(()),
        Err(code) => Err(std::io::Error::from_raw_os_error(*code)),
    }
}

fn empty_action() -> libc::sigaction {
    // SAFETY: a `sigaction` is plain numbers and a nullable function pointer; all zero is one.
    unsafe { std::mem::zeroed() }
}

fn install() -> Result<[libc::sigaction; 4], i32> {
    let mut before = [empty_action(); 4];
    // All old ones are known before the first new one is there, so that the handler finds them.
    for (signal, old) in SIGNALS.iter().zip(&mut before) {
        // SAFETY: asks only; `old` is a `sigaction` of ours.
        let asked = unsafe { libc::sigaction(*signal, std::ptr::null(), old) };
        if asked != 0 {
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
        }
    }
    for signal in SIGNALS {
        let mut new = empty_action();
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = handle;
        new.sa_sigaction = handler as usize;
        // Not deferred: a fault in the handler itself ends the process at once.
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: `new` is fully set; `handle` takes the three arguments and calls only what a handler may.
        let installed = unsafe { libc::sigaction(signal, &new, std::ptr::null_mut()) };
        if installed != 0 {
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
        }
    }
    Ok(before)
}

extern "C" fn handle(signal: c_int, info: *mut siginfo_t, thread: *mut c_void) {
    if !divert(signal, info, thread.cast()) {
        pass_on(signal, info, thread);
    }
}

/// Whether the fault was one of generated code; then the thread's registers lead out of it.
fn divert(signal: c_int, info: *mut siginfo_t, thread: *mut ucontext_t) -> bool {
    let context = call::current();
    if context.is_null() || thread.is_null() || info.is_null() {
        return false;
    }
    // SAFETY: `current` is set for the time of the call that this thread is in, and generated code makes no reference of its own.
    let context = unsafe { &mut *context };
    // SAFETY: the kernel passes the interrupted thread's state, valid until the handler returns.
    let thread = unsafe { &mut *thread };
    let pc = program_counter(thread);
    if pc < context.code_start || pc >= context.code_end {
        return false;
    }
    context.signal = signal.unsigned_abs();
    context.signal_pc = pc;
    // SAFETY: the kernel passes what it knows of the signal, valid until the handler returns.
    let info = unsafe { &*info };
    // SAFETY: these signals carry an address.
    context.signal_address = unsafe { info.si_addr() } as u64;
    let landing: unsafe extern "C" fn() -> u32 = call::land;
    set_registers(thread, landing as usize as u64, context.saved_stack);
    true
}

#[cfg(target_arch = "x86_64")]
fn program_counter(thread: &ucontext_t) -> u64 {
    thread.uc_mcontext.gregs[libc::REG_RIP as usize] as u64
}

#[cfg(target_arch = "x86_64")]
fn set_registers(thread: &mut ucontext_t, pc: u64, stack: u64) {
    thread.uc_mcontext.gregs[libc::REG_RIP as usize] = pc as i64;
    thread.uc_mcontext.gregs[libc::REG_RSP as usize] = stack as i64;
}

#[cfg(target_arch = "aarch64")]
fn program_counter(thread: &ucontext_t) -> u64 {
    thread.uc_mcontext.pc
}

#[cfg(target_arch = "aarch64")]
fn set_registers(thread: &mut ucontext_t, pc: u64, stack: u64) {
    thread.uc_mcontext.pc = pc;
    thread.uc_mcontext.sp = stack;
}

/// Lets the handler that was there before have it.
fn pass_on(signal: c_int, info: *mut siginfo_t, thread: *mut c_void) {
    let index = SIGNALS.iter().position(|&known| known == signal);
    let old = match (BEFORE.get(), index) {
        (Some(Ok(before)), Some(index)) => before[index],
        _ => empty_action(),
    };
    match old.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // The default is back; the instruction faults again when the handler returns. To ignore a fault is no choice.
            let mut default = empty_action();
            default.sa_sigaction = libc::SIG_DFL;
            // SAFETY: sets the default action.
            unsafe { libc::sigaction(signal, &default, std::ptr::null_mut()) };
            // SAFETY: the kernel passes what it knows of the signal, valid until the handler returns.
            let code = unsafe { (*info).si_code };
            if code <= 0 {
                // Sent by a process: no instruction will raise it again.
                // SAFETY: sends a signal to this thread.
                unsafe { libc::raise(signal) };
            }
        }
        address if old.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the flag says that the address is a handler of this type.
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(address) };
            handler(signal, info, thread);
        }
        address => {
            // SAFETY: without the flag the address is a handler of this type.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(address) };
            handler(signal);
        }
    }
}
