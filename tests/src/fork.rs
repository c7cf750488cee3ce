//! A child process that is a copy of the test.

// UNSAFETY: fork has no safe form.
#![expect(unsafe_code, reason = "fork copies one thread of several")]

/// Runs `child` in a forked copy of this process and answers whether it said yes.
///
/// # Panics
///
/// When there is no child.
#[must_use]
pub fn in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `child` on the one thread it has and leaves by `_exit`: no other thread's state is waited for by the
    // C library's allocator, which is made for this, and no destructor of the parent's runs in it.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "no child");
    if pid == 0 {
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
        // SAFETY: ends the process without unwinding or destructors.
        unsafe { libc::_exit(i32::from(!answer)) };
    }
    let mut status = 0;
    // SAFETY: `pid` is a child of this process that nobody else waits for, `status` is ours.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    waited == pid && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
