//! The CUDA programs, in Rust and in C, over a private daemon.

#[path = "../../tests/staged/mod.rs"]
mod staged;

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cuda-vecadd");

/// The C program; `None` (and a line that says so) where there is no C compiler.
fn c_program() -> Option<String> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda-c");
    // One for each test process: another must not be replaced while it runs.
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cuda-c-{}", std::process::id()));
    let mut command = Command::new("cc");
    command.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]).current_dir(&sample);
    let built = command.arg("-DPTX=\"vecadd.ptx\"").arg("-o").arg(&program).args(["host.c", "-ldl"]).output();
    let Ok(Output { status, stderr, .. }) = built else {
        println!("skipped: no C compiler");
        return None;
    };
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    Some(program.to_str().expect("the folder's name is text").to_owned())
}

/// What a program wrote, and whether it succeeded.
fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("it starts");
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.success(), text)
}

fn uuids(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("uuid ")).map(str::trim).collect()
}

#[test]
fn program_adds_vectors_whose_length_is_no_multiple_of_a_block() {
    let Some(prefix) = staged::cuda_prefix() else { return };
    let (ended_well, text) =
        output(&mut staged::run_private(&prefix, &[PROGRAM, "--count", "100003", "--rounds", "3"]));
    assert!(ended_well, "{text}");
    assert!(text.contains("added   100003 numbers 3 times; all sums are right"), "{text}");
    assert_eq!(uuids(&text).len(), 1, "{text}");
}

#[test]
fn programs_in_rust_and_c_at_once_add_right_on_one_device() {
    let (Some(prefix), Some(c)) = (staged::cuda_prefix(), c_program()) else { return };
    // The daemon's own list says which device it is.
    let dxgctl = prefix.join("bin/dxgctl");
    let script = format!(
        "'{}' list --json; '{PROGRAM}' --count 100003 --rounds 5 & first=$!; '{c}' 100003 5 && wait $first",
        dxgctl.display()
    );
    let (ended_well, text) = output(&mut staged::run_private(&prefix, &["sh", "-c", &script]));
    assert!(ended_well, "{text}");
    let right =
        text.lines().filter(|line| line.ends_with("100003 numbers 5 times; all sums are right")).count();
    assert_eq!(right, 2, "{text}");
    let uuids = uuids(&text);
    assert!(uuids.len() == 2 && uuids[0] == uuids[1], "{text}");
    assert!(text.contains(&format!("\"{}\"", uuids[0])), "not a virtual GPU of the daemon: {text}");
    fs::remove_file(c).expect("it was there");
}

#[test]
fn program_without_a_virtual_gpu_says_what_is_missing_and_what_to_do() {
    let Some(prefix) = staged::cuda_prefix() else { return };
    let library = PathBuf::from(staged::CUDA_DRIVER);
    let library = prefix.join(library.parent().expect("a folder"));
    let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-daemon");
    let without = |program: &str| {
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", &library)
            .env("DXG_RUNTIME_DIR", &nowhere)
            .env_remove("DXG_VISIBLE_DEVICES");
        output(&mut command)
    };
    for program in [Some(PROGRAM.to_owned()), c_program()].into_iter().flatten() {
        let (ended_well, text) = without(&program);
        assert!(!ended_well, "{text}");
        assert!(
            text.contains("CUDA_ERROR_NO_DEVICE (100)") && text.contains("dxgctl run --private"),
            "{text}"
        );
    }
}

#[test]
fn program_whose_worker_is_killed_ends_with_an_error_and_leaves_nothing() {
    let Some(prefix) = staged::cuda_prefix() else { return };
    let mut child = staged::run_private(&prefix, &[PROGRAM, "--count", "4096", "--rounds", "4000000000"])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("dxgctl starts");
    let group = i32::try_from(child.id()).expect("a process id");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    // It says so when its context is there, so its worker is.
    assert!(lines.any(|line| line.is_ok_and(|line| line.starts_with("memory "))), "it does not begin");
    let is_worker = |process: &staged::Process| {
        process.name.starts_with("dxgd") && process.arguments.iter().any(|argument| argument == "worker")
    };
    for worker in staged::group(group).iter().filter(|process| is_worker(process)) {
        // It may end at this very moment, which is as good.
        let _ = rustix::process::kill_process(Pid::from_raw(worker.pid).expect("a process id"), Signal::KILL);
    }
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let status = child.wait().expect("dxgctl ends");
    assert_eq!(status.code(), Some(1), "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains("all sums are right")), "{rest:?}");
    let ended = staged::wait_until(|| staged::group(group).is_empty());
    assert!(ended, "left over: {:?}", staged::group(group));
}
