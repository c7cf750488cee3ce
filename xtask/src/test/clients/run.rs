//! Running one client in one place.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::list::Client;
use super::list::Ending;
use super::list::Program;
use super::outcome::Left;
use crate::process;
use crate::workspace::Workspace;

/// Which driver a program gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Native,
    Ours,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Ours => "ours",
        }
    }
}

/// What would make the loader find other drivers than the machine's, or other layers.
const LOADER_VARIABLES: &[&str] = &[
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_ADD_DRIVER_FILES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
    "VK_INSTANCE_LAYERS",
    "CUDA_VISIBLE_DEVICES",
    "DXG_VISIBLE_DEVICES",
    "DXG_RUNTIME_DIR",
    "LD_LIBRARY_PATH",
    "DISPLAY",
    "WAYLAND_DISPLAY",
];

/// Files of the clients.
pub(super) struct Layout {
    scripts: PathBuf,
    out: PathBuf,
    stage: PathBuf,
    python: PathBuf,
    /// Name of the device that programs are given, the same in both places.
    device: String,
}

impl Layout {
    pub(super) fn new(workspace: &Workspace) -> Self {
        let out = workspace.target_dir.join("clients");
        Self {
            scripts: workspace.root.join("tests/clients"),
            python: out.join("venv/bin/python"),
            stage: workspace.stage_dir(),
            device: String::new(),
            out,
        }
    }

    /// Looks at the machine's own devices for the first one's name.
    pub(super) fn find_device(&mut self) -> Result<()> {
        let mut command = Command::new("vulkaninfo");
        command.arg("--summary");
        set_place(&mut command, Place::Native);
        let said = process::capture(&mut command)?;
        let value = |line: &str| {
            line.trim().strip_prefix("deviceName")?.split_once('=').map(|(_, name)| name.trim().to_owned())
        };
        self.device = said.lines().find_map(value).context("vulkaninfo finds no device")?;
        Ok(())
    }

    /// Directory of logs, pictures and the Python environment.
    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// The Python that the scripts run with.
    pub(super) fn python(&self) -> &Path {
        &self.python
    }

    /// Where the programs on crates of the Rust registry are built.
    pub(super) fn crates(&self) -> PathBuf {
        self.out.join("crates")
    }

    /// Their sources.
    pub(super) fn crate_sources(&self) -> PathBuf {
        self.scripts.join("cuda/rust")
    }

    /// Where the source distributions of clients are, whose own tests are run.
    pub(super) fn sources(&self) -> PathBuf {
        self.out.join("sources")
    }

    /// The driver as staged.
    pub(super) fn stage(&self) -> &Path {
        &self.stage
    }

    pub(super) fn log(&self, client: &Client, place: Place) -> PathBuf {
        self.out.join(format!("{}.{}.log", client.name, place.name()))
    }

    fn dir(&self, client: &Client, place: Place) -> PathBuf {
        self.out.join(format!("{}.{}", client.name, place.name()))
    }

    fn recording(&self, client: &Client) -> PathBuf {
        self.out.join(format!("{}.recording", client.name))
    }

    /// Runs a client and collects what it left.
    pub(super) fn run(&self, client: &Client, place: Place) -> Result<Left> {
        let dir = self.dir(client, place);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let log = self.log(client, place);
        if let (Program::Replay { recorded, .. }, Place::Native) = (&client.program, place) {
            let recording = self.recording(client);
            let mut command = self.command(client, Place::Native, self.screen(Ending::Last, recorded));
            command.env("DXG_CLIENT_OUT", &dir).env("GFXRECON_CAPTURE_FILE", &recording);
            command.env("VK_INSTANCE_LAYERS", "VK_LAYER_LUNARG_gfxreconstruct");
            command.env("GFXRECON_CAPTURE_FILE_TIMESTAMP", "false");
            ended(client, logged(&mut command, &log)?)?;
        }
        let mut command = self.command(client, place, self.words(client, &dir));
        command.env("DXG_CLIENT_OUT", &dir);
        ended(client, logged(&mut command, &log)?)?;
        let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        Left::collect(&String::from_utf8_lossy(&said), client.lines, &dir)
    }

    /// The words of a client's command.
    fn words(&self, client: &Client, dir: &Path) -> Vec<PathBuf> {
        match &client.program {
            Program::Script(words) | Program::Checked(words) => self.script(words),
            Program::CheckedCrate(name) => vec![self.crates().join("debug").join(name)],
            Program::Screen(ending, words) => self.screen(*ending, words),
            Program::Replay { replayed, .. } => {
                let mut words = self.screen(Ending::Last, replayed);
                words.extend([PathBuf::from("--screenshot-dir"), dir.to_owned(), self.recording(client)]);
                words
            }
            Program::Test(test) => {
                let words =
                    ["cargo", "test", "-q", "-p", "dxg-tests-vulkan", "--test", test, "--", "--show-output"];
                words.iter().map(PathBuf::from).collect()
            }
        }
    }

    fn script(&self, words: &[&str]) -> Vec<PathBuf> {
        let mut command = vec![self.python.clone()];
        // The first word is the script, which lies in its directory; the others are arguments.
        command.extend(words.iter().take(1).map(|script| self.scripts.join(script)));
        command.extend(words.iter().skip(1).map(PathBuf::from));
        command
    }

    fn screen(&self, ending: Ending, words: &[&str]) -> Vec<PathBuf> {
        let manner = match ending {
            Ending::Last => "last",
            Ending::Settled => "settled",
            Ending::Moving => "moving",
        };
        let mut command = self.script(&["screen.py", manner]);
        command.extend(words.iter().map(|word| PathBuf::from(word.replace("{device}", &self.device))));
        command
    }

    /// The command with what guards it and where it runs.
    fn command(&self, client: &Client, place: Place, words: Vec<PathBuf>) -> Command {
        let mut command = Command::new("timeout");
        command.arg("--kill-after=20").arg(client.limit_seconds.to_string());
        if place == Place::Ours {
            command.arg(self.stage.join("bin/dxgctl")).args(["run", "--private", "--"]);
        }
        command.args(words);
        set_place(&mut command, place);
        let place_of = |text: &str| {
            let scripts = text.replace("{scripts}", &self.scripts.to_string_lossy());
            scripts.replace("{out}", &self.out.to_string_lossy())
        };
        command.envs(client.environment.iter().map(|(name, value)| (name, place_of(value))));
        command.env("DXG_CLIENT_SOURCES", self.sources());
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("DXG_STAGE", &self.stage);
        command
    }
}

/// Lets the loader find the drivers of the place and nothing else.
fn set_place(command: &mut Command, place: Place) {
    for variable in LOADER_VARIABLES {
        command.env_remove(variable);
    }
    if place == Place::Native {
        // The driver may be installed on this machine too.
        command.env("VK_LOADER_DRIVERS_DISABLE", "dxg_icd*");
    }
    // What a program finds must not depend on who is logged in.
    command.env("XDG_RUNTIME_DIR", "/nonexistent");
}

/// Runs a command with its output in a file.
fn logged(command: &mut Command, log: &Path) -> Result<ExitStatus> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let again = file.try_clone().context("cannot share the log")?;
    command.stdin(Stdio::null()).stdout(file).stderr(again);
    command.status().with_context(|| format!("cannot start `{}`", process::line(command)))
}

/// Turns a bad ending into a reason.
fn ended(client: &Client, status: ExitStatus) -> Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        // What timeout(1) says.
        Some(124 | 137) => bail!("did not end within {} s", client.limit_seconds),
        Some(code) => bail!("ended with {code}"),
        None => bail!("{status}"),
    }
}
