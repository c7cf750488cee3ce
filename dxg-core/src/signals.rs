//! Threads that no signal handler of the program runs on.

// UNSAFETY: the signal mask of a thread is set through the C library.
#![expect(unsafe_code, reason = "pthread_sigmask has no safe form")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread;
use std::thread::JoinHandle;

/// Blocks every signal in this thread while it lives.
struct AllBlocked {
    before: libc::sigset_t,
}

impl AllBlocked {
    fn new() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `all` is room for one signal set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `all` is filled by the call above, `before` is room for one signal set; SIG_SETMASK is a valid operation.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: with valid arguments the call cannot fail, and it has written the old mask.
        let before = unsafe { before.assume_init() };
        Self { before }
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        // SAFETY: `before` is the mask that this thread had; no old mask is asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

/// Starts a thread with every signal blocked: it inherits the mask of its maker.
///
/// # Errors
///
/// When the system makes no more threads.
pub fn spawn_without_signals(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let _blocked = AllBlocked::new();
    thread::Builder::new().name(name.to_owned()).spawn(body)
}
