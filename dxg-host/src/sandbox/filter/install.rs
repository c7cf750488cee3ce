//! Hands a filter to the kernel.

// UNSAFETY: the seccomp call takes a pointer to the program.
#![expect(unsafe_code, reason = "the system call is raw")]

use std::io;

use super::program::Instruction;

/// Puts a program in force for all threads, for good. `no_new_privs` must be set.
pub(super) fn install(program: &[Instruction]) -> io::Result<()> {
    let mut raw: Vec<libc::sock_filter> = program
        .iter()
        .map(|step| libc::sock_filter { code: step.code, jt: step.if_true, jf: step.if_false, k: step.value })
        .collect();
    let len = u16::try_from(raw.len()).map_err(|_| io::Error::other("filter too long"))?;
    let program = libc::sock_fprog { len, filter: raw.as_mut_ptr() };
    // SAFETY:
    // - the call reads one `sock_fprog`, which lives until it returns, and `len` instructions behind its pointer,
    //   which are those of `raw`, alive too.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_long::from(libc::SECCOMP_SET_MODE_FILTER),
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    match done {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("thread {thread} has a filter of its own"))),
    }
}
