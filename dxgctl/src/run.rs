//! `dxgctl run`: a command with the drivers of this installation in place.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::process::ExitStatus;
use std::thread;

use anyhow::Context as _;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGQUIT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::ask::Daemons;
use crate::prefix::Prefix;
use crate::private::PrivateDaemon;

/// Exit status when dxgctl itself fails, as `env` and `timeout` have it.
pub(crate) const OWN_FAILURE: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
/// The kernel's own node, which needs no daemon.
const KERNEL_NODE: &str = "/dev/dxg";

/// Where the dynamic linker looks first.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// What to run and on what.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Starts a daemon for the life of the command, and leaves nothing behind.
    #[arg(long)]
    private: bool,
    /// With --private: environment of the host driver, such as VK_INSTANCE_LAYERS=NAME; as `dxgd serve --host-env`.
    #[arg(long, requires = "private", value_name = "KEY=VALUE")]
    host_env: Vec<OsString>,
    /// Lets the command see this virtual GPU alone: a UUID (or its beginning) or an index of `dxgctl list`.
    #[arg(long, value_name = "UUID|INDEX")]
    gpu: Option<String>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command; its exit status is the answer.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let prefix = Prefix::current()?;
    let manifest = prefix.vulkan_manifest()?;
    let (program, arguments) = options.command.split_first().context("no command was given")?;
    let mut command = Command::new(program);
    // Loaders before 1.3.207 know the second name only.
    command.args(arguments).env("VK_DRIVER_FILES", &manifest).env("VK_ICD_FILENAMES", &manifest);
    // The loader ignores both names in favour of this one.
    command.env_remove("VK_ADD_DRIVER_FILES");
    command.env(LIBRARY_PATH, before(&prefix.libraries()?, env::var_os(LIBRARY_PATH).as_deref()));

    let daemon = if options.private {
        Some(PrivateDaemon::start(&prefix.daemon()?, &options.host_env)?)
    } else {
        None
    };
    if let Some(daemon) = &daemon {
        command.env("DXG_RUNTIME_DIR", daemon.runtime_dir());
    }
    if let Some(gpu) = &options.gpu {
        let uuid = Daemons::find(daemon.as_ref().map(PrivateDaemon::runtime_dir))?.one_gpu(gpu)?;
        command.env("DXG_VISIBLE_DEVICES", uuid);
    }
    if daemon.is_none() {
        if options.gpu.is_none() {
            warn_of_nothing();
        }
        // Nothing is left to do after the command, so it takes our place.
        return Ok(cannot_start(program, &command.exec()));
    }
    supervise(program, command)
}

/// A search path with one directory in front of what it had.
fn before(first: &Path, path: Option<&OsStr>) -> OsString {
    let mut joined = first.as_os_str().to_owned();
    // An empty entry would mean the current directory.
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        joined.push(":");
        joined.push(path);
    }
    joined
}

/// Says so where the command will find no virtual GPU: to a program that is only a list without entries.
fn warn_of_nothing() {
    if Path::new(KERNEL_NODE).exists() {
        return;
    }
    match Daemons::find(None) {
        Ok(daemons) if daemons.gpus().is_empty() => eprintln!("dxgctl: warning: {}", daemons.why_none()),
        Ok(_) => {}
        Err(error) => eprintln!("dxgctl: warning: {error:#}"),
    }
}

/// Runs `command` as a child that gets the signals sent to us, and waits for its end.
fn supervise(program: &OsString, mut command: Command) -> anyhow::Result<ExitCode> {
    // From here on no signal ends this process, so that the daemon is always put away. The terminal sends SIGINT and
    // SIGQUIT to the child as well; those that were sent to us alone are passed on.
    let mut signals =
        Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP]).context("cannot take care of signals")?;
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(cannot_start(program, &error)),
    };
    // A descriptor, not a number: the number may be another process's once the child was waited for.
    let pidfd = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
    let pidfd = pidfd.context("cannot watch the command")?;
    let handle = signals.handle();
    let forward = thread::spawn(move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                SIGINT if !terminal_tells_both() => Signal::INT,
                SIGQUIT if !terminal_tells_both() => Signal::QUIT,
                _ => continue,
            };
            let _ = rustix::process::pidfd_send_signal(&pidfd, signal);
        }
    });
    let status = child.wait();
    handle.close();
    let _ = forward.join();
    Ok(exit_code(status.context("cannot wait for the command")?))
}

/// Whether the terminal sends its signals to the command as it does to us.
fn terminal_tells_both() -> bool {
    std::fs::File::open("/dev/tty")
        .ok()
        .and_then(|terminal| rustix::termios::tcgetpgrp(&terminal).ok())
        .is_some_and(|foreground| foreground == rustix::process::getpgrp())
}

fn cannot_start(program: &OsString, error: &std::io::Error) -> ExitCode {
    eprintln!("dxgctl: cannot run {}: {error}", program.display());
    ExitCode::from(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
}

/// The status as a shell shows it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(i32::from(OWN_FAILURE));
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(OWN_FAILURE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_of_a_signalled_child_is_128_plus_the_signal() {
        assert_eq!(exit_code(ExitStatus::from_raw(9)), ExitCode::from(137));
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), ExitCode::from(3));
    }
}
