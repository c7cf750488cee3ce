//! Window systems without a screen: Xvfb, weston's headless backend, and weston in a window of Xvfb.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::ConnectionExt as _;
use x11rb::protocol::xproto::ImageFormat;
use x11rb::rust_connection::RustConnection;

/// How long a window system may take to start; guards against hangs only.
const PATIENCE: Duration = Duration::from_secs(60);

/// A window system that runs while this lives.
pub(crate) struct Screen {
    server: Child,
    /// What a program needs to find it.
    variables: Vec<(&'static str, String)>,
    /// The socket's folder, for Wayland.
    folder: Option<PathBuf>,
    /// The X display whose picture is what is seen.
    seen: Option<String>,
    /// What it runs in; goes after it.
    _outer: Option<Box<Screen>>,
}

impl Screen {
    /// An X server; `None`, and a line that says so, where there is none.
    pub(crate) fn x11() -> Option<Self> {
        let mut command = Command::new("Xvfb");
        // It chooses a free display and writes its number when it is ready. Without `-noreset` it would begin anew, and be
        // away for a moment, whenever its last client goes.
        command.args(["-displayfd", "1", "-noreset", "-nolisten", "tcp", "-screen", "0", "800x600x24"]);
        let mut server = start(command.stdout(Stdio::piped()), "xvfb")?;
        let mut number = String::new();
        let output = server.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut number).expect("Xvfb writes a line");
        let display = format!(":{}", number.trim());
        assert_ne!(display, ":", "Xvfb did not start");
        let seen = Some(display.clone());
        Some(Self { server, variables: vec![("DISPLAY", display)], folder: None, seen, _outer: None })
    }

    /// A Wayland compositor; `None`, and a line that says so, where there is none. `name` is the test's own.
    pub(crate) fn wayland(name: &str) -> Option<Self> {
        Self::weston(name, &["--backend=headless-backend.so"], None)
    }

    /// A Wayland compositor that shows what it has in a window of an X server, so that it can be seen.
    pub(crate) fn nested(name: &str) -> Option<Self> {
        let outer = Self::x11()?;
        Self::weston(name, &["--backend=x11-backend.so", "--use-pixman"], Some(Box::new(outer)))
    }

    fn weston(name: &str, arguments: &[&str], outer: Option<Box<Self>>) -> Option<Self> {
        // Not under the build folder: a socket's path may only be 107 bytes long.
        let folder = std::env::temp_dir().join(format!("triangle-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder can be made");
        let mut command = Command::new("weston");
        command.args(arguments).args(["--idle-time=0", "--socket=screen", "--width=800", "--height=600"]);
        if let Some(outer) = &outer {
            outer.show(&mut command);
        }
        command.env("XDG_RUNTIME_DIR", &folder);
        let Some(server) = start(command.stdout(Stdio::null()), "weston") else {
            fs::remove_dir_all(&folder).expect("the folder is ours");
            return None;
        };
        let socket = folder.join("screen");
        let variables = vec![
            ("WAYLAND_DISPLAY", socket.to_str().expect("the path is text").to_owned()),
            ("XDG_RUNTIME_DIR", folder.to_str().expect("the path is text").to_owned()),
        ];
        let seen = outer.as_ref().and_then(|outer| outer.seen.clone());
        let screen = Self { server, variables, folder: Some(folder), seen, _outer: outer };
        wait_for(&socket);
        Some(screen)
    }

    /// What is to be seen: width, and red, green and blue of each pixel.
    pub(crate) fn picture(&self) -> (usize, Vec<[u8; 3]>) {
        let display = self.seen.as_deref().expect("this screen can be seen");
        let (connection, screen) = RustConnection::connect(Some(display)).expect("the X server answers");
        let root = &connection.setup().roots[screen];
        let (width, height) = (root.width_in_pixels, root.height_in_pixels);
        let image = connection.get_image(ImageFormat::Z_PIXMAP, root.root, 0, 0, width, height, u32::MAX);
        let image = image.expect("the X server is asked").reply().expect("the screen can be read");
        let pixels = image.data.chunks_exact(4).map(|pixel| [pixel[2], pixel[1], pixel[0]]);
        (usize::from(width), pixels.collect())
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
        // Weston's own clients go with its connections.
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
    // The file is there a moment before somebody listens.
    while UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < deadline, "weston takes no connections");
        thread::sleep(Duration::from_millis(5));
    }
}
