//! Each scenario over the staged prefix, with a daemon of its own. Without a stage nothing is tested, and the test says so.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::process::Command;
use std::process::Output;

use dxg_tests_cuda::prefix;

/// Runs a scenario; `None` without a stage.
fn run(name: &str) -> Option<Output> {
    let Some(stage) = prefix() else {
        println!("skipped: no stage");
        return None;
    };
    let mut command = Command::new("timeout");
    command.args(["120"]).arg(stage.join("bin/dxgctl")).args(["run", "--private", "--"]);
    command.arg(env!("CARGO_BIN_EXE_cuda-scenario")).arg(name);
    command.env_remove("DXG_VISIBLE_DEVICES").env_remove("CUDA_VISIBLE_DEVICES");
    // Tests leave nothing to the user's other programs.
    command.env("XDG_CACHE_HOME", stage.join("cache"));
    Some(command.output().unwrap())
}

fn succeeds(name: &str) {
    let Some(output) = run(name) else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{text}", output.status);
}

macro_rules! scenarios {
    ($($name:ident)+) => {
        $(#[test] fn $name() { succeeds(stringify!($name)); })+
    };
}

scenarios! {
    vector_add device streams host_function stream_values events memory_kinds copies registered quota pools modules
    library_and_linker sticky_error captured_graph built_graph branches_of_a_graph conditional_graph graph_of_all_kinds graphs_of_any_shape virtual_memory memory_of_others semaphore_of_others ipc forks
    threads exit unload
}

#[test]
fn printing_goes_to_standard_output_in_the_order_of_threads() {
    let Some(output) = run("printing") else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("thread 0") && text.contains("thread 1"), "{text}");
}

#[test]
fn two_processes_share_the_device() {
    let Some(stage) = prefix() else {
        println!("skipped: no stage");
        return;
    };
    let script = "\"$0\" threads & first=$!; \"$0\" vector_add && wait $first";
    let mut command = Command::new("timeout");
    command.args(["120"]).arg(stage.join("bin/dxgctl")).args(["run", "--private", "--", "sh", "-c", script]);
    command.env("XDG_CACHE_HOME", stage.join("cache"));
    let output = command.arg(env!("CARGO_BIN_EXE_cuda-scenario")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn program_without_a_daemon_finds_no_device_and_the_log_says_what_to_do() {
    let Some(stage) = prefix() else {
        println!("skipped: no stage");
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_cuda-scenario"))
        .arg("vector_add")
        .env("LD_LIBRARY_PATH", stage.join("lib/dxg"))
        .env("DXG_RUNTIME_DIR", "/nonexistent")
        .env("DXG_LOG", "error")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("CUDA_ERROR_NO_DEVICE") && text.contains("dxgctl run"), "{text}");
}
