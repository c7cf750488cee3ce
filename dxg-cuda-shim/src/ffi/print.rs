//! The C library's standard output: what kernels print goes where the program's `printf` goes, in one order.

// UNSAFETY: calls the C library with its own stream.
#![expect(unsafe_code, reason = "the C library's standard output is written to")]

use libc::FILE;

// SAFETY: the C library has a variable of this name and type.
unsafe extern "C" {
    static mut stdout: *mut FILE;
}

/// Appends text to the C library's standard output.
pub fn to_stdout(text: &[u8]) {
    // SAFETY: the C library sets the variable before the program starts; a program that assigns to it does so before it prints.
    let file = unsafe { stdout };
    if file.is_null() {
        return;
    }
    // SAFETY: `text` is readable for its length and `file` is an open stream with a lock of its own.
    let written = unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), file) };
    if written < text.len() {
        tracing::debug!(lost_bytes = text.len() - written, "standard output is full or closed");
    }
}
