//! Several queues through the whole path: a program, the loader, the driver, the daemon, a worker, and a host driver
//! with three queues in two families that keeps work back and fails on demand.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use dxg_tests::daemon::Daemon;
use dxg_tests::kernel::build;
use dxg_tests::kernel::target_directory;

/// Writes a driver's manifest and says where it is.
fn manifest(directory: &Path, library: &str) -> String {
    let path = directory.join(format!("{library}.json"));
    let library = target_directory().join(format!("lib{library}.so"));
    let text = format!(
        r#"{{"file_format_version": "1.0.0", "ICD": {{"library_path": "{}", "api_version": "1.3.281"}}}}"#,
        library.display()
    );
    fs::write(&path, text).expect("a manifest");
    path.to_str().expect("a path of text").to_owned()
}

/// A program on a virtual GPU over the driver of the tests.
fn command(daemon: &Daemon, driver: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(target_directory().join("vk-scenarios"));
    command.args(arguments).stdin(Stdio::null()).env("DXG_RUNTIME_DIR", daemon.runtime_dir());
    // Loaders before 1.3.207 know the second name only; the third would put others in their place.
    command.env("VK_DRIVER_FILES", driver).env("VK_ICD_FILENAMES", driver).env_remove("VK_ADD_DRIVER_FILES");
    command
}

#[test]
fn queues_of_several_families_work_and_fail_as_their_driver_does() {
    const SCENARIOS: [&str; 13] = [
        "queues_work_in_threads_of_their_own",
        "queues_released_in_another_order",
        "queues_idle_apart",
        "queues_hand_over_by_a_timeline",
        "queues_hand_over_by_binary_semaphores",
        "fences_of_queues_any_and_all",
        "fences_any_ends_with_one_submitted_meanwhile",
        "timelines_of_queues_any_and_all",
        "driver_of_the_tests_loses_its_device",
        "driver_of_the_tests_fails_to_create",
        "driver_of_the_tests_fails_calls_alone",
        "driver_of_the_tests_takes_so_many_allocations",
        "queues_work_in_threads_of_their_own",
    ];
    build(&["dxg-host", "dxg-vk", "dxg-tests-vulkan", "fake-vk-driver"]);
    let directory = std::env::temp_dir().join(format!("dxg-tests-queues-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let (host, guest) = (manifest(&directory, "fake_vk_driver"), manifest(&directory, "vulkan_dxg"));
    let (files, names) = (format!("VK_DRIVER_FILES={host}"), format!("VK_ICD_FILENAMES={host}"));
    let daemon = Daemon::start_with(&["--adapter", "vulkan", "--host-env", &files, "--host-env", &names]);
    let Some(daemon) = daemon else {
        println!("skipped: no dxgd");
        return;
    };
    let devices = command(&daemon, &guest, &["devices"]).output();
    let devices = devices.expect("vk-scenarios runs");
    if !devices.status.success() {
        println!("skipped: no Vulkan loader: {}", String::from_utf8_lossy(&devices.stderr));
        return;
    }
    assert_eq!(String::from_utf8_lossy(&devices.stdout), "0 fake\n");

    let run = command(&daemon, &guest, &[&["run"][..], &SCENARIOS[..]].concat()).output();
    let run = run.expect("vk-scenarios runs");
    let text = String::from_utf8_lossy(&run.stdout);
    let held: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(" ok ").map(|(name, _)| name)).collect();
    assert_eq!(held, SCENARIOS, "{text}{}", String::from_utf8_lossy(&run.stderr));
    let _ = fs::remove_dir_all(&directory);
}
