//! Whoever is killed, wherever: nothing is left behind, and a surviving client ends by itself with an error.

mod staged;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;

use staged::Process;

const SHARE: &str = env!("CARGO_BIN_EXE_share");
const MANDELBROT: &str = env!("CARGO_BIN_EXE_mandelbrot");
/// Kills of each kind of process.
const KILLS: u64 = 20;

/// The demo's work: two processes share memory and a fence, while two others draw.
fn scenario(prefix: &Path, out: &Path) -> Child {
    let out = out.display();
    let script = format!(
        "echo $DXG_RUNTIME_DIR > '{out}/dir'; '{MANDELBROT}' --size 256 --out '{out}/a.png' & a=$!; \
         '{MANDELBROT}' --size 256 --out '{out}/b.png' & b=$!; '{SHARE}'; wait $a; wait $b"
    );
    staged::run_private(prefix, &["sh", "-c", &script])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("dxgctl starts")
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Client,
    Worker,
    Broker,
}

impl Victim {
    fn matches(self, process: &Process) -> bool {
        let says = |word: &str| process.arguments.iter().any(|argument| argument == word);
        match self {
            Self::Client => process.name == "share" || process.name == "mandelbrot",
            Self::Worker => process.is_worker(),
            Self::Broker => process.name.starts_with("dxgd") && says("serve"),
        }
    }
}

/// Kills one victim some time after the scenario began, then waits for the end of everything; whether there was one.
fn kill_one(prefix: &Path, victim: Victim, round: u64) -> bool {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("killed-{victim:?}-{round}"));
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).expect("the folder can be made");
    let mut child = scenario(prefix, &out);
    let dxgctl = i32::try_from(child.id()).expect("a process id");
    let find = || staged::descendants(dxgctl).into_iter().filter(|process| victim.matches(process));
    // Spread over the scenario's life, the same in every run but not evenly.
    let delay = Duration::from_micros((round * 7919 + victim as u64 * 3571) % 400 * 1000);
    let mut victims = Vec::new();
    let appeared = staged::wait_until(|| {
        victims = find().collect();
        !victims.is_empty() || staged::group(dxgctl).is_empty()
    });
    assert!(appeared, "round {round}: no {victim:?} appeared");
    thread::sleep(delay);
    // The one seen first may be gone by now; then there is a later one, or the scenario is over.
    victims = find().collect();
    // The daemon has a process group of its own, and so may what it starts.
    let mut groups: Vec<i32> = staged::descendants(dxgctl).iter().map(|process| process.group).collect();
    groups.push(dxgctl);
    let left = || groups.iter().flat_map(|group| staged::group(*group)).collect::<Vec<_>>();
    let chosen = victims.get(usize::try_from(round).expect("small") % victims.len().max(1)).cloned();
    if let Some(pid) = chosen.as_ref().and_then(|process| Pid::from_raw(process.pid)) {
        // It may end at this very moment, which is as good.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    child.wait().expect("dxgctl ends");
    let ended = staged::wait_until(|| left().is_empty());
    assert!(ended, "{victim:?} {chosen:?}, round {round}: left over {:?}", left());
    if let Ok(dir) = fs::read_to_string(out.join("dir")) {
        let dir = PathBuf::from(dir.trim());
        assert!(!dir.exists(), "{victim:?}, round {round}: {} is left over", dir.display());
    }
    let _ = fs::remove_dir_all(&out);
    chosen.is_some()
}

/// Names of the shared memory that the whole machine has.
fn shared_memory() -> Vec<String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("dxg"))
        .collect()
}

fn kill_all(victim: Victim) {
    let Some(prefix) = staged::prefix() else { return };
    let before = shared_memory();
    let killed = (0..KILLS).filter(|round| kill_one(&prefix, victim, *round)).count();
    assert!(killed > 0, "no {victim:?} lived long enough to be killed");
    assert_eq!(shared_memory(), before);
}

#[test]
fn a_killed_client_leaves_nothing() {
    kill_all(Victim::Client);
}

#[test]
fn a_killed_worker_leaves_nothing_and_its_client_ends() {
    kill_all(Victim::Worker);
}

#[test]
fn a_killed_broker_leaves_nothing_and_its_clients_end() {
    kill_all(Victim::Broker);
}
