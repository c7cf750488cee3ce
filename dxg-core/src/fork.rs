//! Notices that the process is a fork of the one that opened a node.
//!
//! *Why.* A child of `fork` inherits the mappings of its parent's rings. Writing to them would corrupt the parent's
//! session, so everything made before the fork is a lost device in the child. Asking for the process id at each command
//! would cost a system call; a counter that the child's side of each fork moves on costs a load.

// UNSAFETY: registers a handler with the C library.
#![expect(unsafe_code, reason = "fork handlers are registered with the C library")]

use std::sync::Once;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

static FORKS: AtomicU32 = AtomicU32::new(0);
static REGISTER: Once = Once::new();

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between this process and the first one that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkGeneration(u32);

impl ForkGeneration {
    /// The generation of this process; counting begins with the first call.
    #[must_use]
    pub fn current() -> Self {
        REGISTER.call_once(|| {
            // SAFETY: the handler does nothing but an atomic addition, and is there for as long as it is registered: libraries that
            // hold this code are linked with `-z nodelete`, and the C library forgets the handlers of those that it unmaps.
            let registered = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
            if registered != 0 {
                tracing::warn!(registered, "no fork handler");
            }
        });
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// How many forks that is.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether this process is still the one of this generation: a load.
    #[inline]
    #[must_use]
    pub fn is_current(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}
