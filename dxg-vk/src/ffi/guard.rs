//! Keeps panics inside: no unwinding reaches the program's frames.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use ash::vk;

/// What a Vulkan entry point returns when its logic panicked.
pub(crate) trait Fallback {
    /// The value for the caller.
    fn fallback() -> Self;
}

impl Fallback for () {
    fn fallback() {}
}

impl Fallback for vk::Result {
    fn fallback() -> Self {
        Self::ERROR_UNKNOWN
    }
}

impl Fallback for u64 {
    fn fallback() -> Self {
        0
    }
}

impl Fallback for vk::PFN_vkVoidFunction {
    fn fallback() -> Self {
        None
    }
}

/// Runs an entry point's logic; a panic becomes an error.
pub(crate) fn guard<R: Fallback>(logic: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(logic)).unwrap_or_else(|_| R::fallback())
}

/// Runs an entry point's logic that succeeds or fails with a Vulkan error.
pub(crate) fn guard_result(logic: impl FnOnce() -> Result<(), vk::Result>) -> vk::Result {
    guard(|| status(logic()))
}

/// Runs logic that succeeds or fails with a Vulkan error; a panic becomes an error.
pub(crate) fn contain<R>(logic: impl FnOnce() -> Result<R, vk::Result>) -> Result<R, vk::Result> {
    catch_unwind(AssertUnwindSafe(logic)).unwrap_or(Err(vk::Result::ERROR_UNKNOWN))
}

/// The code for a success without a value, or an error.
pub(crate) fn status(result: Result<(), vk::Result>) -> vk::Result {
    match result {
        Ok(()) => vk::Result::SUCCESS,
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_result_panic_becomes_an_unknown_error() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let result = guard_result(|| panic!("logic"));
        std::panic::set_hook(hook);
        assert_eq!(result, vk::Result::ERROR_UNKNOWN);
    }

    #[test]
    fn guard_result_error_is_passed_on() {
        assert_eq!(guard_result(|| Err(vk::Result::ERROR_DEVICE_LOST)), vk::Result::ERROR_DEVICE_LOST);
        assert_eq!(guard_result(|| Ok(())), vk::Result::SUCCESS);
    }
}
