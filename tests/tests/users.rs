//! Several users of one daemon: each sees what it may open, and shares what it is given. Only root can be several users.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use dxg_core::AllocationOptions;
use dxg_core::FenceValue;
use dxg_core::Node;
use dxg_core::Reason;
use dxg_core::ResourceOptions;
use dxg_core::ResourceSharing;
use dxg_core::WaitOutcome;
use dxg_tests::again;
use dxg_tests::daemon::Daemon;
use dxg_tests::kernel;

/// A guard against hanging, far beyond anything that is waited for.
const HANG: Duration = Duration::from_secs(60);
/// A user that owns nothing.
const STRANGER: u32 = 65_534;
/// Root's own and everybody's, in the order of their UUIDs.
const ROOTS: &str = "11111111-1111-4111-8111-111111111111";
const OPEN: &str = "22222222-2222-4222-8222-222222222222";

fn config() -> String {
    let one =
        |uuid, mode| format!("[[vgpu]]\nadapter = 0\nuuid = \"{uuid}\"\naccess = {{ mode = \"{mode}\" }}\n");
    one(ROOTS, "0600") + &one(OPEN, "0666")
}

/// A daemon with this configuration; `None`, with a line that says why, where the test cannot be.
fn daemon_of_root(config: &str) -> Option<Daemon> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let daemon = Daemon::configured(config);
    if daemon.is_none() {
        println!("skipped: no dxgd");
    }
    daemon
}

fn socket(daemon: &Daemon, uuid: &str) -> PathBuf {
    daemon.runtime_dir().join("vgpu").join(format!("{uuid}.sock"))
}

/// A program where every user can run it, as a command of this user that looks for the daemon.
fn as_user(daemon: &Daemon, uid: u32, program: &Path) -> Command {
    let copy = daemon.runtime_dir().join(program.file_name().unwrap());
    if !copy.exists() {
        // By another process: a program that is open for writing here, and so in children of other tests, does not run.
        assert!(Command::new("cp").args([program, &copy]).status().unwrap().success());
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(copy);
    command.env_clear().env(dxg_core::RUNTIME_DIR, daemon.runtime_dir()).current_dir("/").uid(uid).gid(uid);
    command
}

/// A program of the workspace, up to date.
fn built(package: &str, program: &str) -> PathBuf {
    kernel::build(&[package]);
    kernel::target_directory().join(program)
}

fn text_of(output: &Output) -> String {
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

/// Runs a test of this file once more as another user, and answers what it printed.
fn again_as(daemon: &Daemon, uid: u32, test: &str) -> String {
    let mut command = as_user(daemon, uid, &std::env::current_exe().unwrap());
    let text =
        text_of(&command.args(["--exact", test, "--nocapture"]).env(again::INSIDE, "1").output().unwrap());
    assert!(text.contains("1 passed"), "{text}");
    text
}

#[test]
fn enumerate_lists_what_the_user_may_open() {
    if again::is_inside() {
        for candidate in dxg_core::enumerate() {
            let node = candidate.open().unwrap();
            println!("opened {:?} {}", candidate.uuid(), node.adapters().unwrap().len());
        }
        return;
    }
    let Some(daemon) = daemon_of_root(&config()) else { return };
    let seen = |uid| again_as(&daemon, uid, "enumerate_lists_what_the_user_may_open");
    let (roots, strangers) = (seen(0), seen(STRANGER));
    assert!(roots.contains(ROOTS) && roots.contains(OPEN), "{roots}");
    assert!(!strangers.contains(ROOTS) && strangers.contains(OPEN), "{strangers}");
}

#[test]
fn dxgctl_lists_what_the_user_may_open() {
    let Some(daemon) = daemon_of_root(&config()) else { return };
    let dxgctl = built("dxgctl", "dxgctl");
    let list = |uid| text_of(&as_user(&daemon, uid, &dxgctl).args(["list", "--json"]).output().unwrap());
    let (roots, strangers) = (list(0), list(STRANGER));
    assert!(roots.contains(ROOTS) && roots.contains(OPEN), "{roots}");
    assert!(!strangers.contains(ROOTS) && strangers.contains(OPEN), "{strangers}");
    let info = |uid, uuid| as_user(&daemon, uid, &dxgctl).args(["info", uuid]).output().unwrap();
    assert!(info(0, ROOTS).status.success());
    assert!(!info(STRANGER, ROOTS).status.success());
}

#[test]
fn adapters_sample_lists_what_the_user_may_open() {
    let Some(daemon) = daemon_of_root(&config()) else { return };
    let adapters = built("samples", "adapters");
    let list = |uid| text_of(&as_user(&daemon, uid, &adapters).output().unwrap());
    let (roots, strangers) = (list(0), list(STRANGER));
    assert!(roots.contains(ROOTS) && roots.contains(OPEN), "{roots}");
    assert!(!strangers.contains(ROOTS) && strangers.contains(OPEN), "{strangers}");
    assert!(strangers.contains("execution state"), "{strangers}");
}

#[test]
fn socket_of_another_user_is_not_opened() {
    const DAEMON: &str = "DXG_TESTS_SOCKET_OF_ROOT";
    if again::is_inside() {
        let socket = PathBuf::from(std::env::var_os(DAEMON).unwrap());
        let error = Node::connect(&socket).unwrap_err();
        assert_eq!(error.kind(), dxg_core::ErrorKind::Permission, "{error}");
        return;
    }
    let Some(daemon) = daemon_of_root(&config()) else { return };
    let mut command = as_user(&daemon, STRANGER, &std::env::current_exe().unwrap());
    command.args(["--exact", "socket_of_another_user_is_not_opened"]).env(again::INSIDE, "1");
    assert!(text_of(&command.env(DAEMON, socket(&daemon, ROOTS)).output().unwrap()).contains("1 passed"));
}

#[test]
fn user_who_is_not_allowed_is_told_what_to_do() {
    if again::is_inside() {
        let candidates = dxg_core::enumerate();
        let error = candidates.first().expect("the socket admits everybody").open().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::PERMISSION));
        println!("refused: {error}");
        return;
    }
    let Some(daemon) = daemon_of_root("[access]\nmode = \"0666\"\nallowed_uids = [0]\n") else { return };
    assert!(Node::connect(&daemon.socket()).is_ok());
    let text = again_as(&daemon, STRANGER, "user_who_is_not_allowed_is_told_what_to_do");
    assert!(
        text.contains("user 65534 may not use it: have it added to allowed_uids in dxgd's configuration")
    );
}

/// This process is the first of the `share` sample, another user the second.
#[test]
fn users_share_memory_and_a_fence_by_descriptors() {
    const WORDS: usize = 64 * 1024;
    let Some(daemon) = daemon_of_root(&config()) else { return };
    let share = built("samples", "share");
    // Not the virtual GPU that the other uses: what is shared belongs to whoever has its descriptor.
    let node = Node::connect(&socket(&daemon, OPEN)).unwrap();
    let device = node.first_adapter().unwrap().create_device().unwrap();
    let resource = ResourceOptions {
        allocations: vec![AllocationOptions::cross_adapter(WORDS as u64 * 4)],
        sharing: ResourceSharing::Shareable,
        ..Default::default()
    };
    let resource = device.create_resource(resource).unwrap();
    let fence = device.create_shared_fence(FenceValue(0)).unwrap();
    let memory = resource.allocations()[0].map().unwrap();
    let question = |place: usize| (place as u32).wrapping_mul(2_654_435_761);
    let questions: Vec<u8> = (0..WORDS).flat_map(|place| question(place).to_le_bytes()).collect();
    memory.write(0, &questions).unwrap();
    fence.signal(FenceValue(1)).unwrap();
    let mut second = as_user(&daemon, STRANGER, &share);
    second.arg("--second").stdin(Stdio::from(resource.share().unwrap()));
    second.stdout(Stdio::from(fence.share().unwrap())).stderr(Stdio::piped());
    let output = second.spawn().unwrap().wait_with_output().unwrap();
    assert!(text_of(&output).contains("checked"));
    assert_eq!(fence.wait(FenceValue(2), Some(HANG)).unwrap(), WaitOutcome::Reached);
    let mut answers = vec![0; WORDS * 4];
    memory.read(0, &mut answers).unwrap();
    assert!(answers.iter().zip(&questions).all(|(answer, question)| *answer == !question));
}
