//! The command as a user has it: exit codes, signals, pipes, and what it says when there is nothing to run on.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

use std::ffi::OsStr;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;

use dxg_wire::control;
use dxg_wire::control::Reply;
use dxg_wire::control::Request;
use dxg_wire::control::State;
use dxg_wire::control::Vgpu;
use rustix::process::Pid;
use rustix::process::Signal;

/// A daemon as far as `dxgctl` can tell: it serves at once and ends with its pipe.
const DAEMON: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in
        --runtime-dir) dir=$2 ;;
        --ready-fd) ready=$2 ;;
        --exit-with-fd) exit_with=$2 ;;
    esac
    shift
done
cut -d' ' -f5 /proc/$$/stat > "${0%/bin/dxgd}/group"
echo "ready $dir" > /proc/self/fd/$ready
exec cat /proc/self/fd/$exit_with
"#;

/// An install prefix, and a runtime directory without a daemon.
struct Install(PathBuf);

impl Install {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = std::env::temp_dir().join(format!("dxgctl-test-{}-{number}", std::process::id()));
        let manifests = prefix.join("share/vulkan/icd.d");
        let libraries = prefix.join("lib/dxg");
        for dir in [&prefix.join("bin"), &manifests, &libraries, &prefix.join("run")] {
            fs::create_dir_all(dir).unwrap();
        }
        // A program that is written here may be held open by what another thread starts, and not run then.
        fs::hard_link(env!("CARGO_BIN_EXE_dxgctl"), prefix.join("bin/dxgctl"))
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_dxgctl"), prefix.join("bin/dxgctl")).map(drop))
            .unwrap();
        fs::write(manifests.join(format!("dxg_icd.{}.json", std::env::consts::ARCH)), "{}").unwrap();
        fs::write(libraries.join("libcuda.so.1"), "").unwrap();
        Self(prefix)
    }

    /// Installs the daemon above.
    fn with_daemon(self) -> Self {
        let daemon = self.0.join("bin/dxgd");
        let status = Command::new("sh")
            .args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", DAEMON])
            .arg(&daemon)
            .status();
        assert!(status.unwrap().success());
        self
    }

    fn runtime_dir(&self) -> PathBuf {
        self.0.join("run")
    }

    fn dxgctl(&self) -> Command {
        let mut command = Command::new(self.0.join("bin/dxgctl"));
        command
            .env("DXG_RUNTIME_DIR", self.runtime_dir())
            .env("XDG_RUNTIME_DIR", self.runtime_dir())
            .stdin(Stdio::null());
        command
    }

    /// Answers `times` questions at the control socket.
    fn serve(&self, state: &State, times: usize) -> thread::JoinHandle<()> {
        let listener = UnixListener::bind(self.runtime_dir().join("control.sock")).unwrap();
        let state = state.clone();
        thread::spawn(move || {
            for _ in 0..times {
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                assert_eq!(control::read::<Request>(&mut stream).unwrap(), Request::List);
                control::write(stream.get_mut(), Reply::State(state.clone())).unwrap();
            }
        })
    }
}

impl Drop for Install {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn one_gpu() -> State {
    let gpu = Vgpu { uuid: "7d0e8a4e-52a2-5e0f-9a0f-1f6f0a3f2b11".to_owned(), ..Vgpu::default() };
    State { vgpus: vec![gpu], ..State::default() }
}

fn text(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn list_for_a_reader_that_has_gone_is_no_failure() {
    for arguments in [&["list"][..], &["list", "--json"], &["info"]] {
        let install = Install::new();
        let serving = install.serve(&one_gpu(), 1);
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        drop(read);
        let output = install.dxgctl().args(arguments).stdout(write).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(text(&output), (Some(0), String::new()), "{arguments:?}");
        serving.join().unwrap();
    }
}

#[test]
fn run_without_a_daemon_warns_and_runs_all_the_same() {
    if Path::new("/dev/dxg").exists() {
        println!("skipped: the kernel has a node");
        return;
    }
    let install = Install::new();
    let (code, said) = text(&install.dxgctl().args(["run", "--", "sh", "-c", "exit 3"]).output().unwrap());
    assert_eq!(code, Some(3));
    assert!(said.contains("warning: no daemon answers") && said.contains("run --private"), "{said}");
}

#[test]
fn run_with_a_daemon_says_nothing() {
    let install = Install::new();
    let serving = install.serve(&one_gpu(), 1);
    let output = install.dxgctl().args(["run", "--", "true"]).output().unwrap();
    assert_eq!(text(&output), (Some(0), String::new()));
    serving.join().unwrap();
}

#[test]
fn run_on_a_gpu_that_is_not_there_is_a_failure_of_its_own() {
    let install = Install::new();
    let serving = install.serve(&one_gpu(), 1);
    let (code, said) = text(&install.dxgctl().args(["run", "--gpu", "ffff", "--", "true"]).output().unwrap());
    assert_eq!(code, Some(125));
    assert!(said.contains("no virtual GPU is called ffff"), "{said}");
    serving.join().unwrap();
}

#[test]
fn run_passes_the_uuid_of_the_gpu_and_arguments_that_are_no_text() {
    let install = Install::new();
    let serving = install.serve(&one_gpu(), 1);
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let output = install
        .dxgctl()
        .args(["run", "--gpu", "0", "--", "sh", "-c", "printf '%s %s' \"$DXG_VISIBLE_DEVICES\" \"$1\"", "sh"])
        .arg(odd)
        .output()
        .unwrap();
    assert_eq!(output.stdout, [b"7d0e8a4e-52a2-5e0f-9a0f-1f6f0a3f2b11 ", odd.as_bytes()].concat());
    serving.join().unwrap();
}

#[test]
fn run_puts_its_libraries_before_those_of_the_caller() {
    for (callers, rest) in [("", ""), ("/a:/b", ":/a:/b")] {
        let install = Install::new();
        let serving = install.serve(&one_gpu(), 1);
        let mut command = install.dxgctl();
        command.env("LD_LIBRARY_PATH", callers);
        command.args(["run", "--", "sh", "-c", "printf %s \"$LD_LIBRARY_PATH\""]);
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert_eq!(said, format!("{}{rest}", install.0.join("lib/dxg").display()));
        serving.join().unwrap();
    }
}

#[test]
fn command_that_cannot_be_run_has_the_codes_of_a_shell() {
    let install = Install::new().with_daemon();
    let file = install.0.join("file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    for private in [&["run", "--"][..], &["run", "--private", "--"]] {
        let code =
            |program: &Path| install.dxgctl().args(private).arg(program).output().unwrap().status.code();
        assert_eq!(code(Path::new("/nonexistent/program")), Some(127));
        assert_eq!(code(&file), Some(126));
    }
}

/// Starts a command on a private daemon, and sends a signal to `dxgctl` alone once the command runs.
fn code_after(signal: Signal, script: &str) -> Option<i32> {
    let install = Install::new().with_daemon();
    let mut child = install
        .dxgctl()
        .args(["run", "--private", "--", "sh", "-c", script])
        // Not the terminal's foreground, whoever runs the test.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "running\n");
    // Kept open: its end would end the command as well.
    let stdin = child.stdin.take();
    rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
    let code = child.wait().unwrap().code();
    drop(stdin);
    let left: Vec<_> = fs::read_dir(install.runtime_dir()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    code
}

#[test]
fn signals_that_are_sent_to_dxgctl_alone_reach_the_command() {
    let script = "trap 'exit 7' TERM INT HUP; echo running; while :; do read -r line; done";
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        assert_eq!(code_after(signal, script), Some(7), "{signal:?}");
    }
    assert_eq!(code_after(Signal::TERM, "echo running; exec cat"), Some(128 + 15));
}

#[test]
fn private_daemon_is_out_of_reach_of_the_terminals_signals() {
    let install = Install::new().with_daemon();
    let output = install
        .dxgctl()
        .args(["run", "--private", "--", "sh", "-c", "cut -d' ' -f5 /proc/$$/stat"])
        .output()
        .unwrap();
    let of_daemon = fs::read_to_string(install.0.join("group")).unwrap();
    let of_command = String::from_utf8(output.stdout).unwrap();
    assert!(!of_daemon.is_empty() && !of_command.is_empty());
    assert_ne!(of_daemon, of_command);
}

#[test]
fn daemon_that_hangs_up_on_a_question_is_an_error_that_names_it() {
    let install = Install::new();
    let listener = UnixListener::bind(install.runtime_dir().join("control.sock")).unwrap();
    let serving = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let _ = stream.write_all(b"\xff\xff\n");
    });
    let (code, said) = text(&install.dxgctl().arg("list").output().unwrap());
    assert_eq!(code, Some(1));
    assert!(said.contains("control.sock does not answer"), "{said}");
    serving.join().unwrap();
}
