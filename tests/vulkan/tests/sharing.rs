//! Objects that cross by descriptor, each case in a program of its own over a daemon of its own.

use std::time::Duration;

use dxg_tests_vulkan::sharing;
use dxg_tests_vulkan::stage;
use dxg_tests_vulkan::stage::Place;

/// How long a case may take before it counts as hung.
const HANG: Duration = Duration::from_secs(180);

/// A test for each case, under its name.
macro_rules! each {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_case_has_a_test() {
            let names: Vec<&str> = sharing::cases().map(|case| case.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

each! {
    memory_crosses_two_devices,
    memory_of_vulkan_is_opened_by_dxg,
    memory_of_dxg_is_imported_by_vulkan,
    memory_outlives_its_maker,
    memory_is_imported_by_its_own_device_and_shared_on,
    memory_is_refused_for_what_it_is_not,
    memory_shared_again_and_again_leaves_nothing,
    memory_queries_say_what_there_is,
    timeline_crosses_two_devices,
    timeline_waits_of_many_values_before_any_signal,
    timeline_is_imported_by_its_own_device,
    timeline_of_vulkan_is_a_fence_of_dxg,
    fence_of_dxg_is_a_timeline_of_vulkan,
    binary_crosses_two_devices_in_turns,
    binary_imported_for_one_wait_is_restored_after_it,
    fence_crosses_two_devices_and_is_reset_by_either,
    fence_imported_until_its_reset_is_restored_by_it,
    fence_of_dxg_is_a_fence_of_vulkan,
    sync_is_refused_for_what_it_is_not,
    sync_queries_say_what_there_is,
    sync_never_signalled_does_not_hold_the_device,
    processes_hand_memory_over_by_a_timeline,
    processes_hand_memory_over_by_binary_semaphores,
    process_that_is_killed_leaves_its_objects_as_they_are,
}

fn run(case: &str) {
    let Some(prefix) = stage::find() else {
        println!("skipped: no staged prefix");
        return;
    };
    let ran = Place::Staged(prefix).output(env!("CARGO_BIN_EXE_vk-sharing"), &[case], HANG);
    let ran = ran.expect("dxgctl runs");
    assert!(ran.status.success(), "{}{}", ran.status, String::from_utf8_lossy(&ran.stderr));
}
