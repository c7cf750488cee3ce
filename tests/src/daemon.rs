//! A daemon for one test.

use std::env;
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Once;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

use crate::kernel::build;
use crate::kernel::target_directory;

/// The daemon of this workspace, up to date.
fn built_here() -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| build(&["dxg-host"]));
    target_directory().join("dxgd")
}

/// A running daemon with a directory of its own; it ends with the value.
pub struct Daemon {
    directory: PathBuf,
    child: Child,
    /// Closing it ends the daemon.
    alive: Option<OwnedFd>,
}

impl Daemon {
    /// Starts a daemon without a GPU. None when it is not built.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&["--adapter", "none"])
    }

    /// Starts a daemon with these arguments besides those that every one has. None when it is not built.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        Self::launch(arguments, "")
    }

    /// Starts a daemon without a GPU, with a configuration file of this text. None when it is not built.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn configured(config: &str) -> Option<Self> {
        Self::launch(&["--adapter", "none"], config)
    }

    /// Starts a daemon with these arguments and a configuration file of this text. None when it is not built.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn configured_with(arguments: &[&str], config: &str) -> Option<Self> {
        Self::launch(arguments, config)
    }

    fn launch(arguments: &[&str], config: &str) -> Option<Self> {
        let program = env::var_os("DXGD").map_or_else(built_here, PathBuf::from);
        if !program.exists() {
            return None;
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("dxg-tests-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let config_path = directory.join("config.toml");
        fs::write(&config_path, config).expect("a configuration");
        let (ready, tell_ready) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let (watch, alive) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        for inherited in [&tell_ready, &watch] {
            rustix::io::fcntl_setfd(inherited, FdFlags::empty()).expect("a flag");
        }
        // Tests find nothing of each other, and leave nothing to the user.
        let keeps = arguments.contains(&"--code-cache");
        let child = Command::new(program)
            .args(["serve", "--foreground", "--runtime-dir"])
            .arg(&directory)
            .args(arguments)
            .args(if keeps { [].as_slice() } else { &["--code-cache", ""] })
            .arg("--config")
            .arg(&config_path)
            .args(["--ready-fd", &tell_ready.as_raw_fd().to_string()])
            .args(["--exit-with-fd", &watch.as_raw_fd().to_string()])
            .env("DXG_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        drop((tell_ready, watch));
        let daemon = Self { directory, child, alive: Some(alive) };
        let mut line = [0; 1];
        let told = fs::File::from(ready).read(&mut line).expect("the pipe");
        assert_ne!(told, 0, "the daemon ended before it was ready");
        Some(daemon)
    }

    /// The socket of its only virtual GPU.
    ///
    /// # Panics
    ///
    /// When it has none.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let sockets = fs::read_dir(self.directory.join("vgpu")).expect("a directory of sockets");
        let mut sockets = sockets.filter_map(|entry| Some(entry.ok()?.path()));
        sockets
            .find(|path| path.extension().is_some_and(|extension| extension == "sock"))
            .expect("a virtual GPU")
    }

    /// Its runtime directory.
    #[must_use]
    pub fn runtime_dir(&self) -> &Path {
        &self.directory
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it end as it likes, and waits for that.
    ///
    /// # Panics
    ///
    /// When it says that it failed.
    pub fn end(mut self) {
        self.alive = None;
        assert!(self.child.wait().expect("a child").success());
    }

    /// Kills it without a chance to say goodbye.
    ///
    /// # Panics
    ///
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Gone already where a test killed it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
