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
