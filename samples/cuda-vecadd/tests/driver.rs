//! The CUDA programs, in Rust and in C, over a private daemon.

#[path = "../../tests/staged/mod.rs"]
mod staged;

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cuda-vecadd");

/// The C program, for one test; `None` (and a line that says so) where there is no C compiler.
fn c_program(test: &str) -> Option<String> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda-c");
    // Tests run at once, and what runs cannot be replaced.
    let program =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cuda-c-{test}-{}", std::process::id()));
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
    let (Some(prefix), Some(c)) = (staged::cuda_prefix(), c_program("two")) else { return };
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
    let says = |program: &str| {
        let (ended_well, text) = without(program);
        assert!(!ended_well, "{text}");
        let what_to_do = "dxgctl run --private";
        assert!(text.contains("CUDA_ERROR_NO_DEVICE (100)") && text.contains(what_to_do), "{text}");
    };
    says(PROGRAM);
    if let Some(c) = c_program("missing") {
        says(&c);
        fs::remove_file(c).expect("it was there");
    }
}

#[test]
fn program_whose_worker_is_killed_ends_with_an_error_and_leaves_nothing() {
    let Some(prefix) = staged::cuda_prefix() else { return };
    let mut child = staged::run_private(&prefix, &[PROGRAM, "--count", "4096", "--rounds", "4000000000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("dxgctl starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    // It says so when its context is there, so its worker is.
    assert!(lines.any(|line| line.is_ok_and(|line| line.starts_with("memory "))), "it does not begin");
    let processes = staged::descendants(i32::try_from(child.id()).expect("a process id"));
    let workers: Vec<_> = processes.iter().filter(|process| process.is_worker()).collect();
    for worker in &workers {
        // It may end at this very moment, which is as good.
        let _ = rustix::process::kill_process(Pid::from_raw(worker.pid).expect("a process id"), Signal::KILL);
    }
    if workers.is_empty() {
        // Nothing would end it.
        child.kill().expect("it lives");
    }
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let status = child.wait().expect("dxgctl ends");
    assert!(!workers.is_empty(), "no worker among {processes:?}");
    assert_eq!(status.code(), Some(1), "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains("all sums are right")), "{rest:?}");
    let left = || processes.iter().filter(|process| staged::is_alive(process.pid)).collect::<Vec<_>>();
    assert!(staged::wait_until(|| left().is_empty()), "left over: {:?}", left());
}
