//! Copies between private memory and memory that somebody else may write meanwhile.
//!
//! *Why not plain copies.* A plain load promises the compiler that nobody writes; it may then load again instead of
//! keeping the value, and a check could see other bytes than the use after it. Loads of atomic words are never repeated or
//! invented. They move 8 bytes at a time, which is best for the small copies that rings make. Past
//! [`BULK_BYTES`] a block copy is several times faster, so there the copy runs in a function that is not inlined, on
//! pointers that the optimizer cannot trace: it has to assume that the call reads the source once, like a system call.
//!
//! See `docs/decisions/shared-memory-is-copied-by-words-then-blocks.md`.
//!
//! *Races.* A copy that races with a writer holds a mix of old and new bytes, whole at best per word. Callers that
//! need a consistent value order the copy behind an acquire load of an index or sequence.

// UNSAFETY: copies through raw pointers.
#![expect(unsafe_code, reason = "shared memory must not be seen as a Rust reference")]

use std::hint::black_box;
use std::ptr;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

const WORD: usize = size_of::<u64>();
/// From this many bytes on a copy goes by blocks.
const BULK_BYTES: usize = 128;

/// Copies `len` bytes of shared memory at `shared` to private memory at `private`.
///
/// # Safety
/// `shared..shared + len` is readable and `private..private + len` is writable, the latter by nobody else, and the
/// ranges do not overlap.
#[inline]
pub(super) unsafe fn out_of_shared(shared: *const u8, private: *mut u8, len: usize) {
    if len >= BULK_BYTES {
        // SAFETY: the same requirements.
        unsafe { bulk(shared, private, len) };
        return;
    }
    let mut at = 0;
    while at < len {
        // SAFETY: `at < len`, so this is within the readable range.
        let from = unsafe { shared.add(at) };
        // SAFETY: `at < len`, so this is within the writable range.
        let to = unsafe { private.add(at) };
        if len - at >= WORD && from.addr().is_multiple_of(WORD) {
            // SAFETY: `from` is aligned for a word, a word of the range is left, and other writers of it are outside the
            // Rust program or use atomics.
            let word = unsafe { AtomicU64::from_ptr(from.cast_mut().cast()) }.load(Ordering::Relaxed);
            // SAFETY: a word of the private range is left at `to`; no alignment is asked for.
            unsafe { to.cast::<u64>().write_unaligned(word) };
            at += WORD;
        } else {
            // SAFETY: one byte of the range is left, and other writers of it are outside the Rust program or use atomics.
            let byte = unsafe { AtomicU8::from_ptr(from.cast_mut()) }.load(Ordering::Relaxed);
            // SAFETY: one byte of the private range is left at `to`.
            unsafe { to.write(byte) };
            at += 1;
        }
    }
}

/// Copies `len` bytes of private memory at `private` to shared memory at `shared`.
///
/// # Safety
/// `private..private + len` is readable and not written meanwhile, `shared..shared + len` is writable, and the ranges
/// do not overlap.
#[inline]
pub(super) unsafe fn into_shared(private: *const u8, shared: *mut u8, len: usize) {
    if len >= BULK_BYTES {
        // SAFETY: the same requirements.
        unsafe { bulk(private, shared, len) };
        return;
    }
    let mut at = 0;
    while at < len {
        // SAFETY: `at < len`, so this is within the readable range.
        let from = unsafe { private.add(at) };
        // SAFETY: `at < len`, so this is within the writable range.
        let to = unsafe { shared.add(at) };
        if len - at >= WORD && to.addr().is_multiple_of(WORD) {
            // SAFETY: a word of the private range is left at `from`; no alignment is asked for.
            let word = unsafe { from.cast::<u64>().read_unaligned() };
            // SAFETY: `to` is aligned for a word, a word of the range is left, and others use it outside the Rust program
            // or by atomics.
            unsafe { AtomicU64::from_ptr(to.cast()) }.store(word, Ordering::Relaxed);
            at += WORD;
        } else {
            // SAFETY: one byte of the private range is left at `from`.
            let byte = unsafe { from.read() };
            // SAFETY: one byte of the range is left, and others use it outside the Rust program or by atomics.
            unsafe { AtomicU8::from_ptr(to) }.store(byte, Ordering::Relaxed);
            at += 1;
        }
    }
}

/// A block copy that the optimizer cannot merge with what its callers do.
///
/// # Safety
/// `from..from + len` is readable, `to..to + len` is writable, and they do not overlap.
#[inline(never)]
unsafe fn bulk(from: *const u8, to: *mut u8, len: usize) {
    let from = black_box(from);
    let to = black_box(to);
    // SAFETY:
    // - The caller says that both ranges are mapped and do not overlap; bytes need no alignment.
    // - Whoever else touches the shared one of the two is outside this Rust program; what they do changes bytes, which
    //   have no invalid values.
    unsafe { ptr::copy_nonoverlapping(from, to, len) };
    black_box(to);
}
