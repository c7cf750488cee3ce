//! What every exported function goes through: the end of the process, forks, panics, and the trace.

// UNSAFETY: declares that addresses of functions may be shared between threads.
#![expect(unsafe_code, reason = "addresses of functions are data in a static table")]

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use crate::driver;
use crate::ffi::exit;
use crate::generated::enums::CUresult;
use crate::types::Answer;

/// Address of a function of this library.
#[derive(Clone, Copy, Debug)]
pub struct Code(pub *const ());

// SAFETY: the address of a function is only ever given to programs; nothing is read through it.
unsafe impl Sync for Code {}

/// What a null stream means to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultStream {
    /// The stream that all threads share.
    Legacy,
    /// The calling thread's own.
    PerThread,
}

thread_local! {
    static DEFAULT: Cell<DefaultStream> = const { Cell::new(DefaultStream::Legacy) };
}

/// What a null stream means to the function that this thread is in.
#[must_use]
pub fn default_stream() -> DefaultStream {
    DEFAULT.try_with(Cell::get).unwrap_or(DefaultStream::Legacy)
}

/// Runs what implements a function.
pub fn enter(name: &'static str, default: DefaultStream, run: impl FnOnce() -> Answer) -> CUresult {
    if exit::is_over() {
        return CUresult::ERROR_DEINITIALIZED;
    }
    if driver::is_forked() {
        return CUresult::ERROR_NOT_INITIALIZED;
    }
    let outer = DEFAULT.try_with(|now| now.replace(default)).unwrap_or(default);
    let result = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => CUresult::SUCCESS,
        Ok(Err(error)) => error,
        Err(_) => CUresult::ERROR_UNKNOWN,
    };
    let _ = DEFAULT.try_with(|now| now.set(outer));
    tracing::trace!(name, ?result);
    result
}

/// Answers for a function that does nothing.
#[must_use]
pub fn refuse(name: &'static str) -> CUresult {
    enter(name, DefaultStream::Legacy, || {
        driver::driver()?;
        tracing::debug!(name, "not supported");
        Err(CUresult::ERROR_NOT_SUPPORTED)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_panic_becomes_an_unknown_error_and_the_default_stream_is_put_back() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let result = enter("x", DefaultStream::PerThread, || panic!("logic"));
        std::panic::set_hook(hook);
        assert_eq!(result, CUresult::ERROR_UNKNOWN);
        assert_eq!(default_stream(), DefaultStream::Legacy);
        let inner = enter("x", DefaultStream::PerThread, || {
            assert_eq!(default_stream(), DefaultStream::PerThread);
            Err(CUresult::ERROR_NOT_FOUND)
        });
        assert_eq!(inner, CUresult::ERROR_NOT_FOUND);
    }
}
