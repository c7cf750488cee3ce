//! How far a worker is closed in, for people.

use std::fmt;

/// What holds for the file system, abstract sockets and TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Nothing: the kernel has no landlock, or refuses it.
    Open,
    /// Landlock of this ABI, as far as that goes.
    Landlock(i32),
}

/// What was achieved. Its text form begins with `full`, `partial` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Whether it was tried at all.
    pub wanted: bool,
    /// Reach in the file system.
    pub file_system: FileSystem,
    /// Stages of the system call filter that are in force, of two.
    pub filters: u8,
    /// Whether the process is without capabilities.
    pub unprivileged: bool,
}

impl Level {
    /// A process that is not closed in.
    pub const OFF: Self =
        Self { wanted: false, file_system: FileSystem::Open, filters: 0, unprivileged: false };

    /// Whether file system and system calls are closed in. Of landlock any ABI counts: what older ones lack, the
    /// filter refuses.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.wanted && self.file_system != FileSystem::Open && self.filters == 2 && self.unprivileged
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.wanted {
            return formatter.write_str("off");
        }
        formatter.write_str(if self.is_full() { "full" } else { "partial" })?;
        match self.file_system {
            FileSystem::Open => formatter.write_str(": no landlock")?,
            FileSystem::Landlock(abi) => write!(formatter, ": landlock ABI {abi}")?,
        }
        write!(formatter, ", seccomp {} of 2", self.filters)?;
        formatter.write_str(if self.unprivileged { ", no capabilities" } else { ", capabilities kept" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Level =
        Level { wanted: true, file_system: FileSystem::Landlock(7), filters: 2, unprivileged: true };

    #[test]
    fn each_missing_part_makes_a_level_partial_and_is_named() {
        assert_eq!(FULL.to_string(), "full: landlock ABI 7, seccomp 2 of 2, no capabilities");
        let open = Level { file_system: FileSystem::Open, ..FULL };
        assert_eq!(open.to_string(), "partial: no landlock, seccomp 2 of 2, no capabilities");
        let unfiltered = Level { filters: 1, ..FULL };
        assert_eq!(unfiltered.to_string(), "partial: landlock ABI 7, seccomp 1 of 2, no capabilities");
        let privileged = Level { unprivileged: false, ..FULL };
        assert_eq!(privileged.to_string(), "partial: landlock ABI 7, seccomp 2 of 2, capabilities kept");
        assert_eq!(Level::OFF.to_string(), "off");
    }
}
