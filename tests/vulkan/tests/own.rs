//! Runs the scenarios that only this driver has, each on a daemon of its own.

use std::time::Duration;

use dxg_tests_vulkan::stage;
use dxg_tests_vulkan::stage::Place;

/// The program that runs scenarios.
const PROGRAM: &str = env!("CARGO_BIN_EXE_vk-scenarios");

/// How long one may take before it counts as hung.
const HANG: Duration = Duration::from_secs(180);

fn holds(name: &str) {
    let Some(prefix) = stage::find() else {
        println!("skipped: no staged prefix");
        return;
    };
    let staged = Place::Staged(prefix);
    let devices = staged.output(PROGRAM, &["devices"], HANG).expect("vk-scenarios runs");
    if !devices.status.success() || devices.stdout.is_empty() {
        println!("skipped: no device: {}", String::from_utf8_lossy(&devices.stderr));
        return;
    }
    let output = staged.output(PROGRAM, &["run", name], HANG).expect("vk-scenarios runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.starts_with(&format!("{name} ok ")), "{}: {out}{err}", output.status);
}

macro_rules! own {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })*
    };
}

own![
    device_is_the_virtual_gpu,
    budget_follows_allocations,
    memory_beyond_the_quota_is_refused,
    memory_of_another_client_is_not_in_the_budget,
    shared_memory_is_not_imported,
    host_pointers_that_overlap_or_are_not_aligned_are_refused,
    killed_worker_leaves_imported_memory,
    device_destroyed_while_it_waits_hurts_no_other,
];
