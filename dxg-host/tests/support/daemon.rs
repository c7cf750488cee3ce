//! A real `dxgd` for one test.

use std::cell::OnceCell;
use std::cell::RefCell;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::control;
use dxg_wire::runtime_dir;
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

/// Hang guard of everything that waits here.
pub const GUARD: Duration = Duration::from_secs(20);

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub struct Daemon {
    pub child: Child,
    pub dir: PathBuf,
    keep_alive: Option<OwnedFd>,
    /// One connection for all questions, so that asking does not change what is counted.
    control: OnceCell<RefCell<BufReader<UnixStream>>>,
}

/// A fresh directory for one test.
pub fn fresh_dir() -> PathBuf {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("dxgd-test-{}-{number}", std::process::id()))
}

impl Daemon {
    pub fn start() -> Self {
        Self::with_config("")
    }

    pub fn with_config(config: &str) -> Self {
        Self::in_dir(fresh_dir(), config)
    }

    pub fn in_dir(dir: PathBuf, config: &str) -> Self {
        Self::launched(dir, config, |_| ())
    }

    /// A daemon whose command `prepare` has had a say in.
    pub fn launched(dir: PathBuf, config: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        Self::with_program(Command::new(env!("CARGO_BIN_EXE_dxgd")), dir, config, prepare)
    }

    /// With room for so many descriptors only.
    pub fn with_files(limit: u32) -> Self {
        let mut program = Command::new("sh");
        let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        program.args(["-c", &script, env!("CARGO_BIN_EXE_dxgd")]);
        Self::with_program(program, fresh_dir(), "", |_| ())
    }

    fn with_program(
        mut command: Command,
        dir: PathBuf,
        config: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let config_path = dir.join("config.toml");
        fs::write(&config_path, config).unwrap();
        let (ready, ready_theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (alive_theirs, alive) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        for passed in [&ready_theirs, &alive_theirs] {
            rustix::io::fcntl_setfd(passed, FdFlags::empty()).unwrap();
        }
        command
            .args(["serve", "--adapter", "none", "--foreground", "--runtime-dir"])
            .arg(&dir)
            .arg("--config")
            .arg(&config_path)
            .args(["--ready-fd", &ready_theirs.as_raw_fd().to_string()])
            .args(["--exit-with-fd", &alive_theirs.as_raw_fd().to_string()])
            .env("DXG_LOG", "off")
            .env("DXG_TEST_SECRET", "the daemon's own")
            .stdin(Stdio::null());
        prepare(&mut command);
        let child = command.spawn().unwrap();
        drop(ready_theirs);
        let mut line = String::new();
        BufReader::new(fs::File::from(ready)).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "the daemon did not start: {line:?}");
        Self { child, dir, keep_alive: Some(alive), control: OnceCell::new() }
    }

    /// The socket of the only virtual GPU.
    pub fn socket(&self) -> PathBuf {
        self.sockets().into_iter().next().expect("a virtual GPU")
    }

    pub fn sockets(&self) -> Vec<PathBuf> {
        let mut sockets: Vec<PathBuf> = fs::read_dir(self.dir.join(runtime_dir::VGPU_DIR))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        sockets.sort();
        sockets
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks over the control socket.
    pub fn state(&self) -> control::State {
        let control = self.control.get_or_init(|| {
            let stream = UnixStream::connect(runtime_dir::control_socket(&self.dir)).unwrap();
            stream.set_read_timeout(Some(GUARD)).unwrap();
            RefCell::new(BufReader::new(stream))
        });
        let mut control = control.borrow_mut();
        control::write(control.get_mut(), control::Request::List).unwrap();
        match control::read(&mut *control).unwrap() {
            control::Reply::State(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// Lets go of the pipe that keeps the daemon alive.
    pub fn let_go(&mut self) {
        self.keep_alive = None;
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Processes whose parent is the daemon.
    pub fn workers(&self) -> Vec<u32> {
        children_of(self.pid())
    }

    /// Those of them that serve a client: they have the threads of a session.
    pub fn bound_workers(&self) -> Vec<u32> {
        let threads = |pid: &u32| fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        self.workers().into_iter().filter(|pid| threads(pid) > 1).collect()
    }

    /// Open descriptors of the daemon, by what they are.
    pub fn descriptors(&self) -> Vec<String> {
        let mut kinds: Vec<String> = fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|target| {
                let target = target.to_string_lossy().into_owned();
                target.split(':').next().unwrap_or_default().to_owned()
            })
            .collect();
        kinds.sort();
        kinds
    }
}

/// The live children of a process.
pub fn children_of(pid: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .map(|child| child.parse().unwrap())
        .collect()
}

pub fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits until something holds; the hang guard is generous, what is asserted is that it comes to hold.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + GUARD;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::yield_now();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
