//! Programs whose host dies, that unload the driver, and that fork: over a daemon of the test's own.

use std::fs;
use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use dxg_tests_vulkan::life;
use dxg_tests_vulkan::stage;
use rustix::fs::MemfdFlags;
use rustix::fs::memfd_create;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vk-life");
/// Times that a program loses its device.
const LOSSES: usize = 5;
/// Times that the driver is loaded and unloaded.
const LOADS: usize = 50;

/// A daemon on a directory; killed with the value.
struct Daemon {
    process: Child,
    /// The daemon lives as long as this is open.
    _life: Option<ChildStdin>,
}

impl Daemon {
    fn start(prefix: &Path, runtime_dir: &Path) -> Self {
        // The daemon wants its descriptors beyond the standard streams.
        let script =
            r#"exec "$0" serve --runtime-dir "$1" --ready-fd 3 --exit-with-fd 4 3>&1 4<&0 </dev/null"#;
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(prefix.join("bin/dxgd"))
            .arg(runtime_dir)
            .env("DXG_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let mut line = String::new();
        let out = process.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("the daemon is heard");
        assert!(line.starts_with("ready"), "the daemon did not come up: {line}");
        Self { _life: process.stdin.take(), process }
    }

    /// Kills its workers, the one of its client and those that wait for clients, without a chance to say goodbye.
    fn kill_workers(&self) {
        let workers = children_of(self.process.id());
        assert!(!workers.is_empty(), "the daemon has no workers");
        for worker in workers {
            // One that is gone meanwhile is as dead.
            let _ = kill_process(worker, Signal::KILL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The processes whose parent this is.
fn children_of(parent: u32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            // Number and name in parentheses; then state and parent.
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            (fields.nth(1)? == parent.to_string()).then_some(Pid::from_raw(pid)?)
        })
        .collect()
}

/// A directory for the sockets of one test, removed with the value.
struct RuntimeDir(PathBuf);

impl RuntimeDir {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dxg-life-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program over the driver of the prefix.
struct Life {
    process: Child,
    tell: ChildStdin,
    hear: BufReader<ChildStdout>,
    /// What it prints on standard error: a file, which nobody has to read for it to go on.
    errors: File,
}

impl Life {
    fn start(prefix: &Path, runtime_dir: &Path, arguments: &[&str]) -> Self {
        let arch = std::env::consts::ARCH;
        let manifest = prefix.join(format!("share/vulkan/icd.d/dxg_icd.{arch}.json"));
        let errors = memfd_create("vk-life", MemfdFlags::CLOEXEC).expect("a file");
        let mut process = Command::new(PROGRAM)
            .args(arguments)
            .env("VK_DRIVER_FILES", &manifest)
            .env("VK_ICD_FILENAMES", &manifest)
            .env_remove("VK_ADD_DRIVER_FILES")
            .env_remove("DXG_VISIBLE_DEVICES")
            .env("DXG_RUNTIME_DIR", runtime_dir)
            // Its sentence is quoted where a test fails; a backtrace would bury it.
            .env("RUST_LIB_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().expect("a descriptor"))
            .spawn()
            .expect("the program starts");
        let tell = process.stdin.take().expect("a pipe");
        let hear = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, tell, hear, errors: errors.into() }
    }

    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        self.hear.read_line(&mut line).expect("the program is heard");
        if line.trim() == word {
            return;
        }
        if !line.is_empty() {
            // It goes on, and is of no use any more.
            let _ = self.process.kill();
        }
        self.fail(&format!("instead of {word:?} it said {:?}", line.trim()));
    }

    /// Fails, once the program has ended, with what it said about it.
    fn fail(&mut self, what: &str) -> ! {
        let status = self.process.wait().expect("a child");
        let mut said = String::new();
        self.errors.rewind().expect("a file");
        self.errors.read_to_string(&mut said).expect("what the program printed");
        panic!("the program: {what}; {status}; standard error:\n{said}");
    }

    fn go_on(&mut self) {
        writeln!(self.tell, "go on").expect("the program hears");
    }

    fn end(mut self) {
        self.expect(life::DONE);
        if !self.process.wait().expect("a child").success() {
            self.fail("it failed at its end");
        }
    }
}

/// Runs the program to its end over a daemon of its own.
fn lives_through(arguments: &[&str]) {
    let Some(prefix) = stage::find() else {
        println!("skipped: no staged prefix");
        return;
    };
    let dir = RuntimeDir::new();
    let _daemon = Daemon::start(&prefix, &dir.0);
    Life::start(&prefix, &dir.0, arguments).end();
}

#[test]
fn death_of_the_worker_ends_waits_leaves_nothing_and_a_new_device_works() {
    let Some(prefix) = stage::find() else {
        println!("skipped: no staged prefix");
        return;
    };
    let dir = RuntimeDir::new();
    let daemon = Daemon::start(&prefix, &dir.0);
    let mut life = Life::start(&prefix, &dir.0, &["loss", &LOSSES.to_string()]);
    for _ in 0..LOSSES {
        life.expect(life::WAITING);
        daemon.kill_workers();
        life.go_on();
        life.expect(life::LOST);
    }
    life.end();
}

#[test]
fn death_of_the_daemon_ends_waits_leaves_nothing_and_its_successor_works() {
    let Some(prefix) = stage::find() else {
        println!("skipped: no staged prefix");
        return;
    };
    let dir = RuntimeDir::new();
    let mut daemon = Daemon::start(&prefix, &dir.0);
    let mut life = Life::start(&prefix, &dir.0, &["loss", &LOSSES.to_string()]);
    for _ in 0..LOSSES {
        life.expect(life::WAITING);
        drop(daemon);
        daemon = Daemon::start(&prefix, &dir.0);
        life.go_on();
        life.expect(life::LOST);
    }
    life.end();
}

#[test]
fn driver_unloaded_again_and_again_leaves_nothing() {
    lives_through(&["unload", &LOADS.to_string()]);
}

#[test]
fn devices_of_several_threads_leave_nothing() {
    lives_through(&["side-by-side", "5"]);
}

#[test]
fn fork_child_is_refused_its_parents_device_and_has_one_of_its_own() {
    lives_through(&["fork"]);
}
