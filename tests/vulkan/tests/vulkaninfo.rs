//! Compares what `vulkaninfo` says natively and over the driver, fact by fact.

use std::path::Path;
use std::time::Duration;

use dxg_tests_vulkan::device_info;
use dxg_tests_vulkan::device_info::Allowance;
use dxg_tests_vulkan::stage;
use dxg_tests_vulkan::stage::Place;

/// Every difference that is meant.
///
/// One that no longer matches anything fails the test, on the device the table was written on: lavapipe. Another
/// device may lack an extension that the table names.
const ALLOWANCES: &[Allowance] = &[
    Allowance {
        what: "Instance Extensions / VK_*surface*",
        why: "window systems are the guest's: the driver presents to those it knows, whatever the host knows",
    },
    Allowance {
        what: "Instance Extensions / VK_*display*",
        why: "displays without a window system are the host's",
    },
    Allowance { what: "Instance Extensions / count", why: "the count of the extensions above" },
    Allowance {
        what: "*/ Device Extensions / VK_KHR_present_*",
        why: "presenting is the driver's own work, whatever the host has",
    },
    Allowance {
        what: "*/ VkPhysicalDevicePresent*FeaturesKHR / *",
        why: "`vulkaninfo` prints it only with the extensions above",
    },
    Allowance {
        what: "*/ Device Extensions / VK_KHR_external_*_fd",
        why: "sharing by descriptor is the driver's own work, whatever the host has",
    },
    Allowance {
        what: "*/ Device Extensions / VK_EXT_memory_budget",
        why: "the driver answers it by itself, whatever the host has",
    },
    Allowance { what: "*/ memoryHeaps* / budget", why: "it is the quota on the virtual GPU" },
    Allowance { what: "*/ memoryHeaps* / usage", why: "it is what the program itself has allocated" },
    Allowance { what: "*/ deviceUUID", why: "it is the UUID of the virtual GPU, not of the host's device" },
    Allowance { what: "*/ driverUUID", why: "it names this driver, not the one behind it" },
    Allowance { what: "*/ deviceLUID*", why: "it is the LUID of the virtual GPU" },
    Allowance { what: "*/ deviceNodeMask", why: "it goes with the LUID" },
    Allowance {
        what: "*/ Device Extensions / VK_EXT_tooling_info",
        why: "the driver answers it by itself, whatever the host has",
    },
    Allowance { what: "*/ Device Extensions", why: "the count of the extensions above" },
    Allowance { what: "*driverName", why: "it says that this driver stands in between: `dxg`" },
    Allowance {
        what: "*driverInfo",
        why: "it says which driver is behind, and that driver's own information",
    },
];

const LIMIT: Duration = Duration::from_secs(120);

/// The text of `vulkaninfo`, or why there is none.
fn text(place: &Place) -> String {
    let output = place.output("vulkaninfo", &["--show-formats"], LIMIT).expect("vulkaninfo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place:?}: vulkaninfo ended with {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("vulkaninfo prints UTF-8")
}

fn has_vulkaninfo() -> bool {
    let found =
        Place::Native.output("vulkaninfo", &["--summary"], LIMIT).is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no vulkaninfo that finds a device");
    }
    found
}

#[test]
fn vulkaninfo_differs_only_where_the_table_says() {
    let Some(prefix) = stage::find() else {
        println!("skipped: no staged prefix");
        return;
    };
    if !has_vulkaninfo() {
        return;
    }
    let native = device_info::parse(&text(&Place::Native));
    let ours = device_info::parse(&text(&Place::Staged(prefix)));
    let differences = device_info::compare(&native, &ours);
    let mut problems: Vec<String> = differences
        .iter()
        .filter(|difference| !ALLOWANCES.iter().any(|allowance| allowance.covers(&difference.path)))
        .map(|one| format!("{}: native {:?}, ours {:?}", one.path, one.native, one.ours))
        .collect();
    let is_lavapipe = native.values().any(|value| value == "DRIVER_ID_MESA_LLVMPIPE");
    problems.extend(
        ALLOWANCES
            .iter()
            .filter(|_| is_lavapipe)
            .filter(|allowance| !differences.iter().any(|difference| allowance.covers(&difference.path)))
            .map(|allowance| format!("nothing differs any more at `{}`", allowance.what)),
    );
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn vulkaninfo_says_the_same_twice() {
    if !has_vulkaninfo() {
        return;
    }
    let (first, second) = (text(&Place::Native), text(&Place::Native));
    let first = device_info::parse(&first);
    assert!(first.len() > 300, "only {} facts", first.len());
    assert_eq!(device_info::compare(&first, &device_info::parse(&second)), []);
}

#[test]
fn vulkaninfo_facts_hold_every_line() {
    if !has_vulkaninfo() {
        return;
    }
    let text = text(&Place::Native);
    let facts = device_info::parse(&text);
    let lost: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| line.contains(" = ") && !line.contains("count = "))
        .filter(|line| {
            let (name, value) = line.split_once(" = ").expect("the line has one");
            !facts.iter().any(|(path, found)| path.contains(name.trim()) && found == value.trim())
        })
        .collect();
    assert!(lost.is_empty(), "not among the facts: {lost:?}");
}

#[test]
fn table_for_people_is_the_table_of_this_test() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vulkan-differences.md");
    let document = std::fs::read_to_string(&path).expect("docs/vulkan-differences.md is there");
    let head = document.split("| fact").next().unwrap_or_default();
    let wanted = format!("{head}{}", device_info::table(ALLOWANCES));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &wanted).expect("docs/vulkan-differences.md can be written");
    }
    assert!(
        std::env::var_os("UPDATE_GOLDEN").is_some() || document == wanted,
        "docs/vulkan-differences.md must be what UPDATE_GOLDEN=1 writes:\n\n{wanted}"
    );
}
