//! Window systems without a screen: Xvfb, and weston's headless backend.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// How long a window system may take to start; guards against hangs only.
const PATIENCE: Duration = Duration::from_secs(60);

/// A window system that runs while this lives.
pub(crate) struct Screen {
    server: Child,
    /// What a program needs to find it.
    variables: Vec<(&'static str, String)>,
    /// The socket's folder, for Wayland.
    folder: Option<PathBuf>,
}

impl Screen {
    /// An X server; `None`, and a line that says so, where there is none.
    pub(crate) fn x11() -> Option<Self> {
        let mut command = Command::new("Xvfb");
        // It chooses a free display and writes its number when it is ready.
        command.args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "800x600x24"]);
        let mut server = start(command.stdout(Stdio::piped()), "xvfb")?;
        let mut number = String::new();
        let output = server.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut number).expect("Xvfb writes a line");
        let display = format!(":{}", number.trim());
        assert_ne!(display, ":", "Xvfb did not start");
        Some(Self { server, variables: vec![("DISPLAY", display)], folder: None })
    }

    /// A Wayland compositor; `None`, and a line that says so, where there is none. `name` is the test's own.
    pub(crate) fn wayland(name: &str) -> Option<Self> {
        // Not under the build folder: a socket's path may only be 107 bytes long.
        let folder = std::env::temp_dir().join(format!("triangle-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder can be made");
        let mut command = Command::new("weston");
        command.args(["--backend=headless-backend.so", "--idle-time=0", "--socket=screen"]);
        command.args(["--width=800", "--height=600"]).env("XDG_RUNTIME_DIR", &folder);
        let Some(server) = start(command.stdout(Stdio::null()), "weston") else {
            fs::remove_dir_all(&folder).expect("the folder is ours");
            return None;
        };
        let socket = folder.join("screen");
        let variables = vec![
            ("WAYLAND_DISPLAY", socket.to_str().expect("the path is text").to_owned()),
            ("XDG_RUNTIME_DIR", folder.to_str().expect("the path is text").to_owned()),
        ];
        let screen = Self { server, variables, folder: Some(folder) };
        wait_for(&socket);
        Some(screen)
    }

    /// Lets `command` see this window system and no other.
    pub(crate) fn show<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for variable in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
            command.env_remove(variable);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.server.kill().expect("it is our child");
        self.server.wait().expect("it is our child");
        if let Some(folder) = &self.folder {
            fs::remove_dir_all(folder).expect("the folder is ours");
        }
    }
}

fn start(command: &mut Command, package: &str) -> Option<Child> {
    let started = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    if started.is_err() {
        println!("skipped: no {package} (`cargo xtask setup` installs it)");
    }
    started.ok()
}

fn wait_for(socket: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "weston makes no socket");
        thread::sleep(Duration::from_millis(5));
    }
}
