//! Notices that the process is ending.
//!
//! *Why.* Programs call us from destructors that run after `exit` began, when threads and thread-local values may be gone. Such
//! calls answer that the driver is deinitialised, touch no lock and wait for nothing.

// UNSAFETY: registers a handler with the C library.
#![expect(unsafe_code, reason = "exit handlers are registered with the C library")]

use std::sync::Once;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

static OVER: AtomicBool = AtomicBool::new(false);
static REGISTER: Once = Once::new();

extern "C" fn at_exit() {
    OVER.store(true, Ordering::Relaxed);
}

/// Asks to be told of the end. Handlers that the program registers later still find the driver working.
pub fn watch() {
    REGISTER.call_once(|| {
        // SAFETY: the handler is a function of this library, which is never unmapped (it is linked with `-z nodelete`), and it
        // does nothing but store a flag.
        let registered = unsafe { libc::atexit(at_exit) };
        if registered != 0 {
            tracing::warn!(registered, "no exit handler");
        }
    });
}

/// Whether the process is ending.
#[must_use]
pub fn is_over() -> bool {
    OVER.load(Ordering::Relaxed)
}
