//! Compares what `vulkaninfo` says natively and over the driver, fact by fact.

use std::path::Path;
use std::time::Duration;

use dxg_tests_vulkan::device_info;
use dxg_tests_vulkan::device_info::Allowance;
use dxg_tests_vulkan::stage;
use dxg_tests_vulkan::stage::Place;

/// Every difference that is meant. One that no longer matches anything fails the test.
const ALLOWANCES: &[Allowance] = &[];

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
    problems.extend(
        ALLOWANCES
            .iter()
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
    let table = device_info::table(ALLOWANCES);
    assert!(document.contains(&table), "docs/vulkan-differences.md must hold this table:\n\n{table}");
}
