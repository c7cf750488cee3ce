//! CUDA and Vulkan over one virtual GPU of the staged prefix, in processes of their own. Without a stage nothing is tested, and the
//! test says so.

#![forbid(unsafe_code)]

use std::time::Duration;

use dxg_tests_vulkan::stage::Place;

/// How long a case may take before it counts as hung.
const HANG: Duration = Duration::from_secs(180);

macro_rules! cases {
    ($($name:ident)+) => {
        $(#[test] fn $name() { run(stringify!($name)); })+
    };
}

cases! {
    memory_crosses_two_programs_by_descriptor
    pool_is_shared_by_two_programs
    memory_is_handed_to_vulkan_by_a_timeline
    memory_is_handed_to_vulkan_by_binary_semaphores
    memory_and_timeline_of_vulkan_are_taken_over
}

fn run(case: &str) {
    let Some(prefix) = dxg_tests_cuda::prefix() else {
        println!("skipped: no staged prefix");
        return;
    };
    let ran = Place::Staged(prefix).output(env!("CARGO_BIN_EXE_cuda-scenario"), &[case], HANG);
    let ran = ran.expect("dxgctl runs");
    assert!(ran.status.success(), "{}{}", ran.status, String::from_utf8_lossy(&ran.stderr));
}
