//! The system call filter of a worker: what it refuses, as a program for the kernel.
//!
//! *Why a list of what is refused.* Which calls a GPU driver of some vendor makes is not ours to know; a list of what is
//! allowed would be one of the drivers that were tried, and break the others after an update. What is listed here either
//! reaches beyond the process or opens large parts of the kernel, and no driver needs it to compute. Calls that are newer
//! than this list are answered as an older kernel would.
//!
//! *Answer.* EPERM and not death: a driver that tries something optional goes on without it. ENOSYS where libraries have
//! another way.

mod install;
mod program;
mod rules;

use std::io;

use super::enclosure::Compilers;

/// When a filter comes into force. The second stage adds to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before the driver is loaded.
    Load,
    /// Before a client is served.
    Serve(Compilers),
    /// In the place of that, in a keeper of code.
    Keep,
}

/// Puts the filter of a stage in force for all threads of this process, for good.
///
/// # Errors
/// What the system says: no filters in this kernel, or a filter around us that refuses them.
pub(super) fn install(stage: Stage) -> io::Result<()> {
    let rules = match stage {
        Stage::Load => rules::load(),
        Stage::Serve(compilers) => rules::serve(std::process::id(), compilers),
        Stage::Keep => rules::keep(std::process::id()),
    };
    install::install(&program::compile(&rules))
}
