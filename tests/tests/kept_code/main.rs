//! Compiled code that is kept on disk, from program to program.
//!
//! Programs are processes of their own with workers of their own, so that what one finds of another came by way of the files. A file
//! that is used gets a new time; one that is written is a new file: so a file that has a new time and is the same file says that a
//! program has found its code and not made it. How many files a kernel has is not said here: there may be better code beside the first.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "../cuda_driver/api.rs"]
#[expect(dead_code, reason = "some of it is for other tests")]
mod api;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use dxg_core::Node;
use dxg_tests::daemon::Daemon;
use dxg_tests::kernel::build;
use dxg_tests::kernel::target_directory;

use api::Cuda;

/// A guard against hanging, far beyond anything that is waited for.
const HANG: Duration = Duration::from_secs(60);
/// A user that owns nothing.
const STRANGER: u32 = 4711;
/// Whom the kernel names in the place of users that it cannot name.
const NOBODY: u32 = 65_534;
/// Variables that tell a program what to load and to launch.
const LIBRARY: &str = "DXG_TESTS_LIBRARY";
const KERNEL: &str = "DXG_TESTS_KERNEL";

const KERNELS: &str = "
.version 7.0
.target sm_75
.address_size 64
.global .align 4 .b32 factor = 3;
.visible .entry number(.param .u64 to)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [to];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.u64 %rd3, %rd1, %rd2;
    ld.global.u32 %r2, [factor];
    mul.lo.u32 %r3, %r1, %r2;
    st.global.u32 [%rd3], %r3;
    ret;
}
.visible .entry turn(.param .u64 to)
{
    .reg .b32 %r<7>;
    .reg .b64 %rd<4>;
    .shared .align 4 .b8 row[256];
    ld.param.u64 %rd1, [to];
    mov.u32 %r1, %tid.x;
    mov.u32 %r4, row;
    shl.b32 %r2, %r1, 2;
    add.u32 %r5, %r4, %r2;
    st.shared.u32 [%r5], %r1;
    bar.sync 0;
    xor.b32 %r2, %r2, 252;
    add.u32 %r6, %r4, %r2;
    ld.shared.u32 %r3, [%r6];
    mul.wide.u32 %rd2, %r1, 4;
    add.u64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r3;
    ret;
}
";

#[test]
#[ignore = "the program that the other tests run"]
fn program() {
    let cuda = Cuda::open(Path::new(&env::var_os(LIBRARY).unwrap()));
    let module = cuda.load(KERNELS).unwrap();
    let name = env::var(KERNEL).unwrap();
    let at = cuda.alloc(64 * 4).unwrap();
    cuda.launch(cuda.function(module, &name).unwrap(), 1, 64, &[at], 0).unwrap();
    let expected: Vec<u32> = (0..64).map(|it| if name == "number" { it * 3 } else { 63 - it }).collect();
    assert_eq!(cuda.read(at, 64).unwrap(), expected);
}

/// A directory of one test, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("dxg-tests-code-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn code(&self) -> PathBuf {
        self.0.join("code")
    }

    /// A daemon over the CPU that keeps code here.
    fn daemon(&self, config: &str) -> Option<Daemon> {
        let code = self.code();
        let arguments = ["--adapter", "cpu", "--code-cache", code.to_str().unwrap()];
        let daemon = Daemon::configured_with(&arguments, config);
        if daemon.is_none() {
            println!("skipped: no dxgd");
        }
        daemon
    }

    /// The files as they are now.
    fn files(&self) -> BTreeMap<PathBuf, File> {
        let mut files = BTreeMap::new();
        collect(&self.code(), &mut files);
        files.retain(|path, _| path.extension().is_some_and(|extension| extension == "code"));
        files
    }

    /// The files once there is one.
    fn first_files(&self) -> BTreeMap<PathBuf, File> {
        eventually(|| Some(self.files()).filter(|files| !files.is_empty()))
    }

    /// What programs leave that run these kernels over a daemon of their own, which ends before this does.
    fn left_by(&self, config: &str, kernels: &[&str]) -> Option<BTreeMap<PathBuf, File>> {
        let daemon = self.daemon(config)?;
        if let Err(error) = Node::connect(&daemon.socket()) {
            println!("skipped: this system does not let us close in wholly: {error}");
            return None;
        }
        for kernel in kernels {
            run(&daemon, kernel);
        }
        daemon.end();
        Some(self.files())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    inode: u64,
    time: (i64, i64),
    bytes: Vec<u8>,
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, File>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            collect(&path, files);
        } else if let (Ok(metadata), Ok(bytes)) = (fs::metadata(&path), fs::read(&path)) {
            let time = (metadata.mtime(), metadata.mtime_nsec());
            files.insert(path, File { inode: metadata.ino(), time, bytes });
        }
    }
}

/// Waits until there is an answer.
fn eventually<T>(mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + HANG;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "it never comes");
        std::thread::yield_now();
    }
}

/// The library that programs load.
fn library() -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| build(&["dxg-cuda-shim"]));
    target_directory().join("libcuda_dxg.so")
}

/// The program, with a kernel to launch.
fn command(daemon: &Daemon, program: &Path, library: &Path, kernel: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", "program", "--ignored", "--nocapture"])
        .env_clear()
        .envs([(LIBRARY, library.as_os_str()), (KERNEL, kernel.as_ref())])
        .env(dxg_core::RUNTIME_DIR, daemon.runtime_dir());
    command
}

fn succeeds(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Runs the program with a kernel.
fn run(daemon: &Daemon, kernel: &str) {
    succeeds(command(daemon, &env::current_exe().unwrap(), &library(), kernel));
}

/// That code which was there was used since, at least `used` of it, and none of it made again.
fn assert_found(before: &BTreeMap<PathBuf, File>, after: &BTreeMap<PathBuf, File>, used: usize) {
    for (path, file) in before {
        assert_eq!((after[path].inode, &after[path].bytes), (file.inode, &file.bytes), "it was made again");
    }
    let looked_at = before.iter().filter(|(path, file)| after[*path].time > file.time).count();
    assert!(looked_at >= used, "{looked_at} of {} files were looked at", before.len());
}

/// The daemon's keeper of code.
fn keeper(daemon: &Daemon) -> Option<u32> {
    let pid = daemon.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).find(|child: &u32| {
        let arguments = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).nth(1) == Some(b"keeper")
    })
}

#[test]
fn next_program_finds_the_code_and_makes_none() {
    let scratch = Scratch::new();
    let Some(daemon) = scratch.daemon("") else { return };
    run(&daemon, "number");
    let first = scratch.first_files();
    run(&daemon, "number");
    daemon.end();
    assert_found(&first, &scratch.files(), 1);
}

#[test]
fn next_daemon_finds_the_code_also_where_the_sandbox_is_required() {
    let scratch = Scratch::new();
    let Some(first) = scratch.left_by("", &["number", "turn"]) else { return };
    let Some(second) = scratch.left_by("sandbox = \"require\"\n", &["number", "turn"]) else { return };
    assert_found(&first, &second, 2);
}

/// What becomes of a file.
type Damage<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

#[test]
fn damaged_code_is_made_again_and_replaced() {
    let scratch = Scratch::new();
    let Some(whole) = scratch.left_by("", &["turn"]) else { return };
    assert!(!whole.is_empty());
    // The mark, the digest, the tables, the code, the last byte; then a half.
    let changed = |bytes: &[u8], at: usize| {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0xff;
        changed
    };
    let damages: [Damage<'_>; 6] = [
        &|bytes| changed(bytes, 0),
        &|bytes| changed(bytes, 8),
        &|bytes| changed(bytes, 44),
        &|bytes| changed(bytes, bytes.len() / 2),
        &|bytes| changed(bytes, bytes.len() - 1),
        &|bytes| bytes[..bytes.len() / 2].to_vec(),
    ];
    for damage in damages {
        for (path, file) in &whole {
            fs::write(path, damage(&file.bytes)).unwrap();
        }
        // The program checks what its kernel computes.
        let after = scratch.left_by("", &["turn"]).unwrap();
        let is_mended =
            |path: &PathBuf, file: &File| whole.get(path).is_some_and(|it| it.bytes == file.bytes);
        let mended = after.iter().filter(|(path, file)| is_mended(path, file)).count();
        assert!(mended >= 1, "nothing was replaced");
    }
}

#[test]
fn users_and_virtual_gpus_share_no_code() {
    const GPUS: [&str; 2] = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root");
    }
    let scratch = Scratch::new();
    let vgpu = |uuid| format!("[[vgpu]]\nadapter = 0\nuuid = \"{uuid}\"\naccess = {{ mode = \"0666\" }}\n");
    let Some(daemon) = scratch.daemon(&GPUS.map(vgpu).concat()) else { return };
    // Where every user can read them.
    let [program, library] = [env::current_exe().unwrap(), library()].map(|from| {
        let copy = daemon.runtime_dir().join(from.file_name().unwrap());
        // By another process: a program that is open for writing here, and so in children of other tests, does not run.
        assert!(Command::new("cp").args([&from, &copy]).status().unwrap().success());
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    });
    let mut places = Vec::new();
    let run_as = |uid, gpu| {
        let mut command = command(&daemon, &program, &library, "number");
        command.env("DXG_VISIBLE_DEVICES", gpu).current_dir("/").uid(uid).gid(uid);
        succeeds(command);
    };
    // Nobody knows whose code that would be.
    run_as(NOBODY, GPUS[0]);
    for (uid, gpu) in [(0, GPUS[0]), (STRANGER, GPUS[0]), (STRANGER, GPUS[1])] {
        run_as(uid, gpu);
        let place = scratch.code().join(gpu).join(uid.to_string());
        places.push(place.clone());
        // Each has made its own, and there is nothing of anybody else.
        let files = eventually(|| {
            let files = scratch.files();
            files.keys().any(|file| file.starts_with(&place)).then_some(files)
        });
        assert!(files.keys().all(|file| places.iter().any(|place| file.starts_with(place))));
        for directory in [&place, place.parent().unwrap(), &scratch.code()] {
            assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, 0o700);
            assert_eq!(fs::metadata(directory).unwrap().uid(), 0);
        }
    }
    // The same code, made three times.
    daemon.end();
    let files = scratch.files();
    let named = |place: &PathBuf| -> Vec<_> {
        let here = files.keys().filter(|file| file.starts_with(place));
        here.map(|file| file.file_name().unwrap().to_owned()).collect()
    };
    let [first, second, third] = [0, 1, 2].map(|number| named(&places[number]));
    assert!(first.iter().any(|name| second.contains(name) && third.contains(name)), "{files:?}");
}

#[test]
fn programs_go_on_when_their_keeper_is_killed() {
    let scratch = Scratch::new();
    let Some(daemon) = scratch.daemon("") else { return };
    run(&daemon, "number");
    scratch.first_files();
    let keeper = keeper(&daemon).expect("a keeper");
    let pid = rustix::process::Pid::from_raw(i32::try_from(keeper).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    run(&daemon, "number");
    run(&daemon, "turn");
}

#[test]
fn directory_that_others_can_change_is_not_used_and_the_daemon_serves() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.code()).unwrap();
    fs::set_permissions(scratch.code(), fs::Permissions::from_mode(0o777)).unwrap();
    let Some(daemon) = scratch.daemon("") else { return };
    run(&daemon, "number");
    assert_eq!(keeper(&daemon), None);
    assert!(scratch.files().is_empty());
}

#[test]
fn nothing_is_kept_where_code_is_interpreted() {
    let scratch = Scratch::new();
    let Some(daemon) = scratch.daemon("[cuda]\nexecutor = \"interpreter\"\n") else { return };
    run(&daemon, "number");
    assert_eq!(keeper(&daemon), None);
    assert!(!scratch.code().exists());
}
