//! System calls as they are, and code that this process wrote itself.

// UNSAFETY: raw system calls, a library without types, and a jump into memory.
#![expect(unsafe_code, reason = "what a hostile program does is not expressible in safe Rust")]

use std::io;
use std::ptr;

/// Makes a call; answers its error, 0 for none. A process that the call made ends at once.
pub(crate) fn call(number: libc::c_long, arguments: &[i64]) -> i32 {
    let own = std::process::id();
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY:
    // - each caller passes null, numbers, or pointers to strings that live until this returns; a call that were let
    //   would write nowhere.
    let done = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    if std::process::id() != own {
        // SAFETY:
        // - ends the process without running anything of it.
        unsafe { libc::_exit(0) };
    }
    if done >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(-1) }
}

/// Loads a library.
pub(crate) fn load(name: &str) -> Result<(), libloading::Error> {
    // SAFETY:
    // - the library is a part of the C library and does nothing when it is loaded.
    unsafe { libloading::Library::new(name) }.map(drop)
}

/// Code of a function that answers 42.
#[cfg(target_arch = "x86_64")]
const ANSWER: &[u8] = &[0xB8, 42, 0, 0, 0, 0xC3];
/// Code of a function that answers 42.
#[cfg(target_arch = "aarch64")]
const ANSWER: &[u8] = &[0x40, 0x05, 0x80, 0x52, 0xC0, 0x03, 0x5F, 0xD6];

/// Writes a function, makes it executable and calls it, as compilers of shaders do.
pub(crate) fn run_compiled() -> i32 {
    let (write, execute) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY:
    // - a new mapping, wherever the kernel likes.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, write, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY:
    // - the code is shorter than the page, which is writable and nobody else's.
    unsafe { ptr::copy_nonoverlapping(ANSWER.as_ptr(), page.cast(), ANSWER.len()) };
    // SAFETY:
    // - the page is ours, and nothing writes to it from here on.
    let protected = unsafe { libc::mprotect(page, 4096, execute) };
    assert_eq!(protected, 0, "memory becomes executable");
    // SAFETY:
    // - a function pointer is as wide as a data pointer here, and the page holds a whole function of this type.
    let function = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i32>(page) };
    function()
}

/// Reads where nothing is.
pub(crate) fn fault() {
    let nowhere: *const u8 = ptr::without_provenance(16);
    // SAFETY:
    // - nothing is ever mapped there: the processor faults, which is what the test is about, and nothing is read.
    let read = unsafe { ptr::read_volatile(nowhere) };
    println!("read {read}");
}
