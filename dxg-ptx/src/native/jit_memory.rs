//! Memory that holds generated code: written once, then executable and never writable again.

// UNSAFETY: mapping, filling and protecting pages, and naming a place in them.
#![expect(unsafe_code, reason = "maps memory and makes it executable")]

#[cfg(target_arch = "aarch64")]
use std::arch::asm;
use std::ptr::NonNull;

use rustix::mm::MapFlags;
use rustix::mm::MprotectFlags;
use rustix::mm::ProtFlags;

/// Pages of code.
#[derive(Debug)]
pub(crate) struct JitMemory {
    base: NonNull<u8>,
    mapped_bytes: usize,
    code_bytes: usize,
}

// SAFETY: the pages do not change after they are made, and are unmapped by the owner alone.
unsafe impl Send for JitMemory {}
// SAFETY: as above; reading and executing them from many threads is fine.
unsafe impl Sync for JitMemory {}

impl JitMemory {
    /// Maps the code.
    ///
    /// # Errors
    /// The system has no memory, or forbids executable pages.
    pub(crate) fn new(code: &[u8]) -> std::io::Result<Self> {
        let page = rustix::param::page_size();
        let mapped_bytes = code.len().max(1).next_multiple_of(page);
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address of the system's choice; nothing of ours is there.
        let base = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), mapped_bytes, access, flags) }?;
        let Some(start) = NonNull::new(base.cast::<u8>()) else {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        };
        // From here on dropping it unmaps.
        let memory = Self { base: start, mapped_bytes, code_bytes: code.len() };
        // SAFETY: the mapping is new, writable and at least as long as the code.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), start.as_ptr(), code.len()) };
        make_visible(start, code.len());
        // SAFETY: the pages are our own mapping, of exactly this length, and hold nothing but the code.
        unsafe { rustix::mm::mprotect(base, mapped_bytes, MprotectFlags::READ | MprotectFlags::EXEC) }?;
        Ok(memory)
    }

    /// Where the code is.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        let start = self.base.as_ptr().expose_provenance() as u64;
        start..start + self.code_bytes as u64
    }
}

/// Lets all processors fetch as instructions what was written as data.
#[cfg(target_arch = "x86_64")]
fn make_visible(_start: NonNull<u8>, _bytes: usize) {
    // They look themselves.
}

/// Lets all processors fetch as instructions what was written as data, once they have synchronised themselves: see `call::enter`.
#[cfg(target_arch = "aarch64")]
fn make_visible(start: NonNull<u8>, bytes: usize) {
    let kinds: u64;
    // SAFETY: reads a register that every program may read.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) kinds, options(nomem, nostack, preserves_flags)) };
    let start = start.as_ptr().expose_provenance();
    let lines = |shift: u32| {
        let line = 4_usize << (kinds >> shift & 0xf);
        ((start & !(line - 1))..start + bytes).step_by(line)
    };
    for line in lines(16) {
        // SAFETY: writes the line back; it is in the caller's mapping, as lines are shorter than pages.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: waits; changes nothing.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in lines(0) {
        // SAFETY: forgets the line as instructions; as above.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: waits; changes nothing.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}

impl Drop for JitMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this length, and nobody runs its code: callers hold a reference to it meanwhile.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
        debug_assert!(unmapped.is_ok(), "the mapping is there");
    }
}
