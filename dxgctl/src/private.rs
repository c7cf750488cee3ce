//! A daemon of our own, for the life of one command.
//!
//! *Invariants.* The daemon ends when the write end of its exit pipe closes, which happens at the latest when this process
//! dies, however it dies; it removes its runtime directory. Nothing is left behind. What the terminal sends to the command
//! (Ctrl-C, Ctrl-Z) does not reach the daemon: the command decides what becomes of it, and may go on.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::Context as _;
use anyhow::bail;
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

/// A running private daemon. Dropping it ends the daemon and waits for its end.
pub(crate) struct PrivateDaemon {
    process: Child,
    runtime_dir: PathBuf,
    /// The daemon lives as long as this is open.
    life: Option<OwnedFd>,
}

impl PrivateDaemon {
    /// Starts `daemon` on a new runtime directory and waits until it serves. Its host driver has `host_env` for
    /// environment.
    pub(crate) fn start(daemon: &Path, host_env: &[OsString]) -> anyhow::Result<Self> {
        let runtime_dir = new_runtime_dir()?;
        let started = Self::start_in(daemon, &runtime_dir, host_env);
        if started.is_err() {
            // The daemon never served, so the directory is ours to remove.
            let _ = fs::remove_dir_all(&runtime_dir);
        }
        started
    }

    fn start_in(daemon: &Path, runtime_dir: &Path, host_env: &[OsString]) -> anyhow::Result<Self> {
        let (ready_read, ready_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (life_read, life_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        inherit(&ready_write)?;
        inherit(&life_read)?;
        let process = Command::new(daemon)
            .arg("serve")
            .arg("--runtime-dir")
            .arg(runtime_dir)
            .arg("--remove-dir")
            .args(code_cache().iter().flat_map(|path| [OsStr::new("--code-cache"), path.as_os_str()]))
            .args(host_env.iter().flat_map(|variable| [OsStr::new("--host-env"), variable.as_os_str()]))
            .process_group(0)
            .args(["--ready-fd", &ready_write.as_raw_fd().to_string()])
            .args(["--exit-with-fd", &life_read.as_raw_fd().to_string()])
            // Its coming and going is of no interest to who runs one command, unless asked for.
            .env("DXG_LOG", env::var_os("DXG_LOG").unwrap_or_else(|| "warn".into()))
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", daemon.display()))?;
        drop((ready_write, life_read));
        let mut daemon = Self { process, runtime_dir: runtime_dir.to_owned(), life: Some(life_write) };
        let mut line = String::new();
        let read = BufReader::new(fs::File::from(ready_read)).read_line(&mut line);
        if read.context("cannot hear from the private daemon")? == 0 {
            let status = daemon.process.wait()?;
            bail!("the private daemon ended before it served ({status}); its own message is above");
        }
        Ok(daemon)
    }

    /// Where its sockets are.
    pub(crate) fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }
}

impl Drop for PrivateDaemon {
    fn drop(&mut self) {
        self.life = None;
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.runtime_dir);
    }
}

/// Where the daemon keeps compiled code: with the user's other caches, also where the user is root, so that what one command
/// compiled is there for the next. The daemon's own choice for a user who has no such place.
fn code_cache() -> Option<PathBuf> {
    let of = |name| usable(PathBuf::from(env::var_os(name)?));
    let cache = of("XDG_CACHE_HOME").or_else(|| usable(of("HOME")?.join(".cache")))?;
    Some(cache.join("dxg/code"))
}

/// A path that is absolute and no other user's: root with the environment of a user (`sudo -E`) would leave what that user cannot
/// write.
fn usable(path: PathBuf) -> Option<PathBuf> {
    let is_ours = |found: fs::Metadata| found.uid() == rustix::process::geteuid().as_raw();
    (path.is_absolute() && fs::metadata(&path).map_or(true, is_ours)).then_some(path)
}

/// Lets the next program have `fd`. This process starts one program and has one thread, so no other child gets it.
fn inherit(fd: &impl AsFd) -> anyhow::Result<()> {
    rustix::io::fcntl_setfd(fd, FdFlags::empty()).context("cannot pass a descriptor to the daemon")
}

/// A new directory that only we may enter.
fn new_runtime_dir() -> anyhow::Result<PathBuf> {
    let parent = env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .unwrap_or_else(env::temp_dir);
    for attempt in 0..100_u32 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
        let path = parent.join(format!("dxg-private-{}-{now:x}-{attempt}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }
    bail!("cannot find a free name for a runtime directory in {}", parent.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_another_user_and_a_relative_one_are_not_used() {
        assert_eq!(usable(PathBuf::from("cache")), None);
        let missing = env::temp_dir().join("dxgctl-nothing-is-here");
        assert_eq!(usable(missing.clone()), Some(missing));
        // It is root's.
        let root = PathBuf::from("/");
        let expected = rustix::process::geteuid().is_root().then(|| root.clone());
        assert_eq!(usable(root), expected);
    }
}
