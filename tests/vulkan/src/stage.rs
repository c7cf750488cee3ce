//! The two ways to run a program: natively, and over the driver of the staged prefix.

use std::env;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::Weak;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::pidfd_open;
use rustix::process::pidfd_send_signal;

/// What would make the loader find other drivers than the machine's, or other layers.
const LOADER_VARIABLES: &[&str] = &[
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_ADD_DRIVER_FILES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
    "VK_INSTANCE_LAYERS",
    "DXG_VISIBLE_DEVICES",
    "DXG_RUNTIME_DIR",
];

/// The directory that `cargo xtask stage` fills, if it holds a driver.
///
/// `DXG_STAGE` names it; without that it is `stage` in cargo's target directory.
pub fn find() -> Option<PathBuf> {
    let stage = match env::var_os("DXG_STAGE") {
        Some(stage) => PathBuf::from(stage),
        None => target_dir()?.join("stage"),
    };
    let whole =
        ["bin/dxgd", "bin/dxgctl", "lib/dxg/libvulkan_dxg.so"].iter().all(|file| stage.join(file).is_file());
    whole.then_some(stage)
}

/// Cargo's target directory: this program is two or three levels below it.
fn target_dir() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).map(Path::to_path_buf)
}

/// The X server that programs of this process see.
static DISPLAY: RwLock<Option<String>> = RwLock::new(None);
/// Who has it in common.
static SERVER: Mutex<Weak<XServer>> = Mutex::new(Weak::new());

/// An X server of our own; ended when dropped.
#[derive(Debug)]
pub struct XServer {
    child: Child,
    display: String,
}

impl XServer {
    /// Starts one that programs which are started from now on see; `None` where Xvfb is not installed.
    ///
    /// # Errors
    ///
    /// It is installed and does not start.
    pub fn start() -> Result<Option<Self>> {
        let mut command = Command::new("Xvfb");
        // The server picks a number and says which on its standard output when it takes connections.
        command.args(["-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot start Xvfb"),
        };
        let out = child.stdout.take().context("no standard output")?;
        let mut server = Self { child, display: String::new() };
        let mut number = String::new();
        BufReader::new(out).read_line(&mut number).context("Xvfb says no display")?;
        let number: u32 = number.trim().parse().context("Xvfb ended at once")?;
        server.display = format!(":{number}");
        *DISPLAY.write().unwrap_or_else(PoisonError::into_inner) = Some(server.display.clone());
        Ok(Some(server))
    }

    /// One for all tests of a process that run at a time.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn shared() -> Result<Option<Arc<Self>>> {
        let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = server.upgrade() {
            return Ok(Some(server));
        }
        let started = Self::start()?.map(Arc::new);
        *server = started.as_ref().map_or_else(Weak::new, Arc::downgrade);
        Ok(started)
    }
}

impl Drop for XServer {
    fn drop(&mut self) {
        let mut display = DISPLAY.write().unwrap_or_else(PoisonError::into_inner);
        if display.as_ref() == Some(&self.display) {
            *display = None;
        }
        end(&mut self.child);
    }
}

/// Where a program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the machine's own drivers.
    Native,
    /// Over the driver of the prefix, with a daemon of its own.
    Staged(PathBuf),
    /// The same, where the host's driver has this environment too.
    StagedWith(PathBuf, Vec<(String, String)>),
}

impl Place {
    /// The command that runs a program there.
    pub fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let program = program.as_ref();
        let mut command = match self {
            Self::Native => Command::new(program),
            Self::Staged(prefix) => private(prefix, &[], program),
            Self::StagedWith(prefix, host_env) => private(prefix, host_env, program),
        };
        command.args(arguments);
        for variable in LOADER_VARIABLES {
            command.env_remove(variable);
        }
        if *self == Self::Native {
            // The driver may be installed on this machine too.
            command.env("VK_LOADER_DRIVERS_DISABLE", "dxg_icd*");
        }
        // What a program finds must not depend on who is logged in or on the window system.
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").env("XDG_RUNTIME_DIR", "/nonexistent");
        if let Some(display) = &*DISPLAY.read().unwrap_or_else(PoisonError::into_inner) {
            command.env("DISPLAY", display);
        }
        command
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    ///
    /// It cannot be started, or did not end in time.
    pub fn output(&self, program: impl AsRef<Path>, arguments: &[&str], limit: Duration) -> Result<Output> {
        let mut command = self.command(program, arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let mut out = child.stdout.take().context("no standard output")?;
        let mut err = child.stderr.take().context("no standard error")?;
        let err = thread::spawn(move || {
            let mut text = Vec::new();
            err.read_to_end(&mut text).map(|_| text)
        });
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            let read = out.read_to_end(&mut text).map(|_| text);
            // The receiver is gone when the time is up; then nobody wants the text.
            let _ = send.send(read);
        });
        let Ok(stdout) = receive.recv_timeout(limit) else {
            end(&mut child);
            bail!("{command:?} did not end in {limit:?}");
        };
        let stderr = err.join().map_err(|_| anyhow::anyhow!("the reader of standard error panicked"))??;
        Ok(Output { status: child.wait()?, stdout: stdout?, stderr })
    }

    /// Runs a program and gives its lines to `line`; ends it when none comes for `limit`.
    ///
    /// # Errors
    ///
    /// It cannot be started. How it ended is the value: its status, or what was the matter.
    pub fn follow(
        &self,
        program: impl AsRef<Path>,
        arguments: &[&str],
        limit: Duration,
        mut line: impl FnMut(&str),
    ) -> Result<String> {
        let mut command = self.command(program, arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let out = child.stdout.take().context("no standard output")?;
        let (send, receive) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        loop {
            match receive.recv_timeout(limit) {
                Ok(text) => line(&text),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    end(&mut child);
                    return Ok(format!("it hung for {limit:?} and was ended"));
                }
            }
        }
        let _ = reader.join();
        Ok(child.wait()?.to_string())
    }
}

/// A program with a daemon of its own.
fn private(prefix: &Path, host_env: &[(String, String)], program: &Path) -> Command {
    let mut command = Command::new(prefix.join("bin/dxgctl"));
    // Tests leave nothing to the user's other programs.
    command.args(["run", "--private"]).env("XDG_CACHE_HOME", prefix.join("cache"));
    for (name, value) in host_env {
        command.arg("--host-env").arg(format!("{name}={value}"));
    }
    command.arg("--").arg(program);
    command
}

/// Ends a child. `dxgctl` puts its daemon away when it is asked to end, so it is asked first.
fn end(child: &mut Child) {
    let pid = Pid::from_child(child);
    // Best effort throughout: the child may end by itself at any time, and `kill` is what counts.
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
        && pidfd_send_signal(&pidfd, Signal::TERM).is_ok()
    {
        let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follow_gives_the_lines_and_the_status() {
        let mut lines = Vec::new();
        let limit = Duration::from_secs(60);
        let ended = Place::Native
            .follow("sh", &["-c", "echo a; echo b; exit 3"], limit, |line| lines.push(line.to_owned()));
        assert_eq!(lines, ["a", "b"]);
        assert_eq!(ended.unwrap(), "exit status: 3");
    }

    #[test]
    fn follow_program_that_prints_nothing_is_ended() {
        let ended = Place::Native.follow("sleep", &["1000"], Duration::from_millis(50), |_| {});
        assert!(ended.unwrap().contains("hung"));
    }

    #[test]
    fn output_program_that_does_not_end_is_an_error() {
        assert!(Place::Native.output("sleep", &["1000"], Duration::from_millis(50)).is_err());
    }

    #[test]
    fn command_over_the_driver_goes_through_dxgctl() {
        let command = Place::Staged(PathBuf::from("/p")).command("prog", &["x"]);
        assert_eq!(command.get_program(), "/p/bin/dxgctl");
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["run", "--private", "--", "prog", "x"]);
    }
}
