//! A virtual GPU of the adapter `cpu`: CUDA, memory and fences, and no Vulkan. What others find there, and are told of it.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::env;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::time::Duration;

use dxg_core::AllocationOptions;
use dxg_core::FenceValue;
use dxg_core::Node;
use dxg_core::ResourceOptions;
use dxg_core::ResourceSharing;
use dxg_core::WaitOutcome;
use dxg_tests::daemon::Daemon;
use dxg_tests::kernel::build;
use dxg_tests::kernel::target_directory;
use dxg_wire::transfer::AllocationData;
use zerocopy::IntoBytes;

/// A guard against hanging, far beyond anything that is waited for.
const HANG: Duration = Duration::from_secs(60);
/// A manifest of a driver that offers a device natively, where there is one.
const LAVAPIPE: &str = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";

fn daemon(adapters: &str) -> Option<Daemon> {
    let daemon = Daemon::start_with(&["--adapter", adapters]);
    if daemon.is_none() {
        println!("skipped: no dxgd");
    }
    daemon
}

#[test]
fn allocations_fences_and_shared_objects_are_those_of_any_adapter() {
    let Some(daemon) = daemon("cpu") else { return };
    let (here, there) = (Node::connect(&daemon.socket()).unwrap(), Node::connect(&daemon.socket()).unwrap());
    let [own, other] = [&here, &there].map(|node| node.first_adapter().unwrap().create_device().unwrap());
    let sized = |size_bytes| AllocationOptions::driver(AllocationData::new(size_bytes).as_bytes().to_vec());
    let memory = own.create_allocation(sized(8192)).unwrap().map().unwrap();
    memory.write(4096, &[7; 16]).unwrap();
    let mut back = [0; 16];
    memory.read(4096, &mut back).unwrap();
    assert_eq!(back, [7; 16]);
    // A fence that another session waits for.
    let fence = own.create_shared_fence(FenceValue(1)).unwrap();
    let opened = other.open_shared_fence(fence.share().unwrap().as_fd()).unwrap();
    fence.signal(FenceValue(5)).unwrap();
    assert_eq!(opened.wait(FenceValue(5), Some(HANG)).unwrap(), WaitOutcome::Reached);
    // Memory that another session sees.
    let options = ResourceOptions {
        allocations: vec![sized(4096)],
        sharing: ResourceSharing::Shareable,
        ..ResourceOptions::default()
    };
    let resource = own.create_resource(options).unwrap();
    let opened = other.open_shared_resource(resource.share().unwrap().as_fd()).unwrap();
    resource.allocations()[0].map().unwrap().write(0, b"shared").unwrap();
    let mut bytes = [0; 6];
    opened.allocations()[0].map().unwrap().read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"shared");
}

/// `vulkaninfo --summary` over the driver of this workspace alone, and nothing else; `None` where there is no `vulkaninfo`.
fn vulkaninfo(daemon: &Daemon) -> Option<Output> {
    build(&["dxg-vk"]);
    let driver = target_directory().join("libvulkan_dxg.so");
    let manifest = daemon.runtime_dir().join("driver.json");
    let text = format!(
        "{{\"file_format_version\": \"1.0.0\", \"ICD\": {{\"library_path\": \"{}\", \"api_version\": \"1.3.0\"}}}}",
        driver.display()
    );
    fs::write(&manifest, text).unwrap();
    let output = Command::new("vulkaninfo")
        .arg("--summary")
        .env("VK_DRIVER_FILES", &manifest)
        .env("DXG_RUNTIME_DIR", daemon.runtime_dir())
        .env("DXG_LOG", "vulkan_dxg=info")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("DXG_VISIBLE_DEVICES")
        .output();
    if output.is_err() || !driver.exists() {
        println!("skipped: no vulkaninfo, or no driver");
        return None;
    }
    output.ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const LEFT_OUT: &str = "virtual GPU left out: its adapter has no Vulkan";

#[test]
fn vulkan_finds_no_device_on_the_cpu_alone_and_the_log_says_why() {
    let Some(daemon) = daemon("cpu") else { return };
    let Some(output) = vulkaninfo(&daemon) else { return };
    let (said, log) = (text(&output.stdout), text(&output.stderr));
    assert!(!said.contains("deviceName"), "{said}");
    assert_eq!(log.matches(LEFT_OUT).count(), 1, "{log}");
    assert!(!log.contains("WARN") && !log.contains("panicked"), "{log}");
}

#[test]
fn vulkan_leaves_the_cpu_out_next_to_a_vulkan_adapter() {
    if !Path::new(LAVAPIPE).exists() {
        println!("skipped: no lavapipe");
        return;
    }
    let Some(daemon) = Daemon::configured_with(
        &["--adapter", "auto"],
        &format!(
            "host_env = {{ VK_DRIVER_FILES = \"{LAVAPIPE}\" }}\n[[vgpu]]\nadapter = 0\n[[vgpu]]\nadapter = 1\n"
        ),
    ) else {
        return;
    };
    let Some(output) = vulkaninfo(&daemon) else { return };
    let (said, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{log}");
    assert_eq!(said.matches("deviceName").count(), 1, "{said}");
    assert_eq!(log.matches(LEFT_OUT).count(), 1, "{log}");
}

#[test]
fn dxgctl_says_what_each_virtual_gpu_is_for() {
    let Some(daemon) = daemon("cpu") else { return };
    build(&["dxgctl"]);
    let dxgctl = target_directory().join("dxgctl");
    if !dxgctl.exists() {
        println!("skipped: no dxgctl");
        return;
    }
    let ask = |word: &str| {
        let output = Command::new(&dxgctl).arg(word).env("DXG_RUNTIME_DIR", daemon.runtime_dir()).output();
        text(&output.unwrap().stdout)
    };
    let list = ask("list");
    assert!(list.contains("[cpu]") && list.contains("for CUDA"), "{list}");
    let info = ask("info");
    assert!(info.contains("for        CUDA\n"), "{info}");
    assert!(env::var_os("DXGD").is_some() || info.contains("dxg CPU engine"), "{info}");
}
