//! Futex waits on words that other processes share.
//!
//! *Invariants.* No call uses the private flag: the words lie in memfds that several processes map, or one process maps
//! twice.

use std::ffi::c_void;
use std::sync::atomic::AtomicU32;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::ClockId;
use rustix::time::Timespec;

/// Longest single sleep. Each end of a slice is an opportunity to notice that the other side is gone.
pub const SLICE: Duration = Duration::from_millis(100);
/// Most words that one [`wait_any`] looks at.
pub const MAX_WORDS: usize = 128;

/// What is left until a deadline, at most [`SLICE`]; `None` when it has passed.
#[must_use]
pub fn slice_until(deadline: Option<Instant>) -> Option<Duration> {
    match deadline {
        None => Some(SLICE),
        Some(deadline) => deadline
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
            .map(|left| left.min(SLICE)),
    }
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Sleeps while the word is `expected`, for at most `timeout`. Returns for no reason at times: callers look again.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    // Every error means the same to the caller: look at the word again.
    let _ = futex::wait(word, futex::Flags::empty(), expected, Some(&timespec(timeout)));
}

/// Wakes everybody who sleeps on the word.
pub fn wake_all(word: &AtomicU32) {
    // Cannot fail on a mapped word; and a sleeper looks again after a slice.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX.cast_unsigned());
}

/// Sleeps while every word has the value expected of it, for at most `timeout` and at most [`MAX_WORDS`] words.
///
/// Returns for no reason at times: callers look again. On kernels that cannot wait for several words (before 5.16),
/// or for more words than that, sleeps a millisecond on the first.
pub fn wait_any(words: &[(&AtomicU32, u32)], timeout: Duration) {
    let few = Duration::from_millis(1);
    match words {
        [] => std::thread::sleep(timeout.min(few)),
        [(word, expected)] => wait(word, *expected, timeout),
        [(first, expected), ..] if words.len() > MAX_WORDS => wait(first, *expected, timeout.min(few)),
        [(first, first_expected), ..] => {
            let mut waits = Vec::with_capacity(words.len());
            for (word, expected) in words {
                let mut entry = futex::Wait::new();
                entry.val = u64::from(*expected);
                entry.uaddr = futex::WaitPtr::new(word.as_ptr().cast::<c_void>());
                entry.flags = futex::WaitFlags::SIZE_U32;
                waits.push(entry);
            }
            // The call takes an absolute time.
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let end = Duration::new(
                u64::try_from(now.tv_sec).unwrap_or(0),
                u32::try_from(now.tv_nsec).unwrap_or(0),
            ) + timeout;
            let result =
                futex::waitv(&waits, futex::WaitvFlags::empty(), Some(&timespec(end)), ClockId::Monotonic);
            if result == Err(Errno::NOSYS) {
                wait(first, *first_expected, timeout.min(few));
            }
        }
    }
}
