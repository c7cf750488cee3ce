//! The steps that close a worker in, in their order, and what to do when one fails.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Deserialize;

use super::files;
use super::filter;
use super::filter::Stage;
use super::harden;
use super::level::FileSystem;
use super::level::Level;

/// What the administrator wants.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// As far as the kernel lets us, and say how far.
    #[default]
    Best,
    /// All of it, or no service.
    Require,
    /// Nothing: to find out whether the sandbox breaks a driver.
    Off,
}

/// Who makes code in a process that is closed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compilers {
    /// Nobody but us: no memory is writable and executable at once, and no more files become code.
    OurOwn,
    /// Drivers of others, too, whose ways are theirs.
    OfDrivers,
}

/// Why a worker does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncloseError {
    /// [`Policy::Require`], and something is missing.
    #[error("the sandbox is required and not whole: {0}")]
    NotWhole(Level),
}

/// A process that is being closed in.
#[derive(Debug)]
pub struct Enclosure {
    policy: Policy,
    level: Level,
}

/// Closes this process in as far as a driver that loads can bear. It must be single-threaded and hardened; what it
/// reads lies in `readable` or where drivers have their files.
///
/// # Errors
/// [`EncloseError::NotWhole`] where the policy requires what the system does not give.
pub fn enclose(policy: Policy, readable: &[PathBuf]) -> Result<Enclosure, EncloseError> {
    if policy == Policy::Off {
        return Ok(Enclosure { policy, level: Level::OFF });
    }
    let unprivileged = step("capabilities", harden::drop_capabilities()).is_some();
    let file_system = step("landlock", files::restrict(readable)).unwrap_or(FileSystem::Open);
    let filters = u8::from(step("seccomp", filter::install(Stage::Load)).is_some());
    let level = Level { wanted: true, file_system, filters, unprivileged };
    // The second stage is still to come.
    if policy == Policy::Require && !(Level { filters: filters + 1, ..level }).is_full() {
        return Err(EncloseError::NotWhole(level));
    }
    Ok(Enclosure { policy, level })
}

/// Closes a keeper in: what is in `directory` is all that it reaches, in one step, for it loads nothing. It must be
/// single-threaded and hardened.
///
/// # Errors
/// [`EncloseError::NotWhole`] where the policy requires what the system does not give.
pub fn enclose_keeper(policy: Policy, directory: &OwnedFd) -> Result<Level, EncloseError> {
    if policy == Policy::Off {
        return Ok(Level::OFF);
    }
    let unprivileged = step("capabilities", harden::drop_capabilities()).is_some();
    let file_system = step("landlock", files::restrict_to(directory)).unwrap_or(FileSystem::Open);
    let stages = [Stage::Load, Stage::Keep];
    let filters = stages.iter().filter(|stage| step("seccomp", filter::install(**stage)).is_some()).count();
    let level =
        Level { wanted: true, file_system, filters: u8::try_from(filters).unwrap_or(0), unprivileged };
    if policy == Policy::Require && !level.is_full() {
        return Err(EncloseError::NotWhole(level));
    }
    Ok(level)
}

impl Enclosure {
    /// Takes away, from all threads, what only loading a driver needs. Answers how far the process is closed in.
    ///
    /// # Errors
    /// [`EncloseError::NotWhole`] where the policy requires what the system does not give.
    pub fn tighten(mut self, compilers: Compilers) -> Result<Level, EncloseError> {
        if self.policy != Policy::Off && step("seccomp", filter::install(Stage::Serve(compilers))).is_some() {
            self.level.filters += 1;
        }
        if self.policy == Policy::Require && !self.level.is_full() {
            return Err(EncloseError::NotWhole(self.level));
        }
        Ok(self.level)
    }
}

/// A step that may fail: the level says so to everybody, the log says why to who asks for it.
fn step<T>(name: &str, done: io::Result<T>) -> Option<T> {
    done.inspect_err(|error| tracing::debug!(step = name, %error, "not closed in")).ok()
}
