//! The staged prefix that these tests run from, and what is left of a process group.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Looks for something that another process does at its own pace; guards against hangs only.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The CUDA driver in a prefix.
pub(crate) const CUDA_DRIVER: &str = "lib/dxg/libcuda.so.1";

/// The staged prefix; `None` (and a line that says so) where there is none.
pub(crate) fn prefix() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().map(Path::to_owned);
    let prefix = std::env::var_os("DXG_STAGE").map(PathBuf::from).or_else(|| Some(target?.join("stage")));
    let found = prefix.filter(|prefix| {
        ["bin/dxgd", "bin/dxgctl", "lib/dxg/libvulkan_dxg.so"].iter().all(|part| prefix.join(part).is_file())
    });
    if found.is_none() {
        println!("skipped: no staged prefix (`cargo xtask stage` makes one)");
    }
    found
}

/// The same, of a prefix that has the CUDA driver too.
pub(crate) fn cuda_prefix() -> Option<PathBuf> {
    let prefix = prefix()?;
    let found = prefix.join(CUDA_DRIVER).is_file();
    if !found {
        println!("skipped: no {CUDA_DRIVER} in the staged prefix");
    }
    found.then_some(prefix)
}

/// `dxgctl run --private -- ARGS...` of the prefix, without what the environment may say of other daemons.
pub(crate) fn run_private(prefix: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(prefix.join("bin/dxgctl"));
    command.args(["run", "--private", "--"]).args(args);
    for variable in ["DXG_RUNTIME_DIR", "DXG_VISIBLE_DEVICES", "VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        command.env_remove(variable);
    }
    command
}

/// A process as /proc shows it.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
}

impl Process {
    /// Whether it is a worker of a daemon.
    pub(crate) fn is_worker(&self) -> bool {
        // Workers are started from an open file, so their name is no help.
        self.arguments.first().is_some_and(|program| program.ends_with("dxgd"))
            && self.arguments.get(1).is_some_and(|word| word == "worker")
    }
}

/// The living processes of a process group; zombies have left it.
pub(crate) fn group(pgid: i32) -> Vec<Process> {
    processes().into_iter().filter(|process| process.group == pgid).collect()
}

/// The living children of a process, theirs, and so on.
pub(crate) fn descendants(pid: i32) -> Vec<Process> {
    let mut found = Vec::new();
    let mut rest = processes();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let (children, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|one| one.parent == parent);
        parents.extend(children.iter().map(|child| child.pid));
        found.extend(children);
        rest = others;
    }
    found
}

/// Whether a process of this number lives; zombies do not.
pub(crate) fn is_alive(pid: i32) -> bool {
    processes().iter().any(|process| process.pid == pid)
}

/// All living processes.
fn processes() -> Vec<Process> {
    let pids = fs::read_dir("/proc").expect("/proc is there").filter_map(Result::ok);
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name is in parentheses and may hold anything.
            let (before, after) = stat.rsplit_once(") ")?;
            let name = before.split_once(" (")?.1.to_owned();
            let mut fields = after.split(' ');
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            if matches!(state, "Z" | "X") {
                return None;
            }
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let arguments =
                arguments.split(|byte| *byte == 0).map(|a| String::from_utf8_lossy(a).into_owned());
            let arguments = arguments.filter(|a| !a.is_empty()).collect();
            Some(Process { pid, parent, group, name, arguments })
        })
        .collect()
}

/// Waits until `done` says so; whether it did in time.
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if done() {
            return true;
        }
        thread::sleep(Duration::from_millis(2));
    }
    false
}
