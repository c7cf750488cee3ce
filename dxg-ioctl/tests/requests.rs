//! The request table and the error maps, against the data files.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

mod reading;

use std::collections::BTreeMap;

use dxg_ioctl::Errno;
use dxg_ioctl::Ioctl;
use dxg_ioctl::NtStatus;
use dxg_ioctl::Request;
use dxg_ioctl::abi;
use dxg_ioctl::request::OnInterrupt;
use dxg_ioctl::request::Support;
use dxg_ioctl::status::ERRNO_TO_STATUS;
use dxg_ioctl::status::HOST_STATUS_TO_ERRNO;
use serde_json::Value;

use crate::reading::data;
use crate::reading::number;

#[test]
fn table_has_every_request_with_number_size_and_support() {
    let file = data("d3dkmt-ioctls.json");
    let rows: Vec<&Value> =
        file["ioctls"].as_array().unwrap().iter().filter(|r| r.get("request_hex").is_some()).collect();
    assert_eq!((rows.len(), Ioctl::table().len()), (73, 73));
    for (row, info) in rows.iter().zip(Ioctl::table()) {
        let hex = row["request_hex"].as_str().unwrap().trim_start_matches("0x");
        assert_eq!(info.ioctl.0, u32::from_str_radix(hex, 16).unwrap(), "{}", info.name);
        assert_eq!(usize::from(info.ioctl.nr()), number(&row["nr"]), "{}", info.name);
        assert_eq!(info.size_bytes, number(&row["argument_size"]), "{}", info.name);
        assert_eq!(info.ioctl.size_bytes(), info.size_bytes, "{}", info.name);
        assert!(info.ioctl.is_node_request(), "{}", info.name);
        let implemented = row["implemented"].as_bool().unwrap();
        assert_eq!(info.support == Support::Driver, implemented, "{}", info.name);
        assert_eq!(info.argument.is_some(), implemented, "{}", info.name);
        let name = row["name"].as_str().or(row["libdxg_export"].as_str());
        assert_eq!(Some(info.name), name);
    }
}

#[test]
fn table_counts_match_the_driver() {
    let driver = Ioctl::table().iter().filter(|r| r.support == Support::Driver).count();
    assert_eq!((driver, Ioctl::table().len() - driver), (65, 8));
}

#[test]
fn table_is_sorted_by_number_without_gaps() {
    let numbers: Vec<u8> = Ioctl::table().iter().map(|r| r.ioctl.nr()).collect();
    assert_eq!(numbers, (1..=0x49).collect::<Vec<u8>>());
}

#[test]
fn only_the_cpu_wait_is_repeated_after_a_signal() {
    assert_eq!(abi::WaitForSynchronizationObjectFromCpu::ON_INTERRUPT, OnInterrupt::Repeat);
    assert_eq!(abi::CreateDevice::ON_INTERRUPT, OnInterrupt::Report);
    assert_eq!(abi::SubmitCommand::ON_INTERRUPT, OnInterrupt::Report);
}

/// The numbers behind the names in the data file.
fn errno(name: &str) -> Errno {
    let by_name: BTreeMap<&str, i32> = BTreeMap::from([
        ("EPERM", 1),
        ("ENOENT", 2),
        ("EBADF", 9),
        ("EAGAIN", 11),
        ("ENOMEM", 12),
        ("EACCES", 13),
        ("EEXIST", 17),
        ("ENODEV", 19),
        ("EINVAL", 22),
        ("ENOSYS", 38),
        ("EOVERFLOW", 75),
        ("EPROTOTYPE", 91),
        ("EOPNOTSUPP", 95),
        ("EINPROGRESS", 115),
    ]);
    Errno(*by_name.get(name).unwrap_or_else(|| panic!("no number for {name}")))
}

fn status(text: &str) -> NtStatus {
    let hex = text.split_whitespace().next().unwrap().trim_start_matches("0x");
    NtStatus(u32::from_str_radix(hex, 16).unwrap())
}

#[test]
fn host_status_to_errno_is_the_map_of_the_driver() {
    let file = data("d3dkmt-ioctls.json");
    let map = file["errno_map"]["host_status_to_errno (driver)"].as_object().unwrap();
    let mut failures = 0;
    for (from, to) in map.iter().filter(|(from, _)| from.starts_with("0x")) {
        let to = to.as_str().unwrap();
        if to.starts_with('E') {
            failures += 1;
            assert_eq!(status(from).to_errno(), Some(errno(to)), "{from}");
        } else {
            assert_eq!(status(from).to_errno(), None, "{from}");
        }
    }
    assert_eq!((failures, HOST_STATUS_TO_ERRNO.len()), (14, 14));
    assert_eq!(map["any other negative"], "EINVAL");
    assert_eq!(NtStatus(0xC000_9999).to_errno(), Some(Errno::EINVAL));
}

#[test]
fn errno_to_status_is_the_map_of_the_library() {
    let file = data("d3dkmt-ioctls.json");
    let map = file["errno_map"]["errno_to_status (libdxg)"].as_object().unwrap();
    let mut known = 0;
    for (from, to) in map.iter().filter(|(from, _)| from.starts_with('E')) {
        known += 1;
        assert_eq!(errno(from).to_status(), status(to.as_str().unwrap()), "{from}");
    }
    assert_eq!((known, ERRNO_TO_STATUS.len()), (14, 14));
    for other in [Errno::EFAULT, Errno::ENOTTY, Errno::EINTR, Errno::ENOTRECOVERABLE, Errno(9999)] {
        assert_eq!(other.to_status(), NtStatus::UNSUCCESSFUL, "{other}");
    }
}

#[test]
fn failures_that_survive_both_maps_come_back_unchanged() {
    let survivors = HOST_STATUS_TO_ERRNO.iter().filter(|(s, e)| e.to_status() == *s).count();
    // Two names of one failure fall together: NOT_FOUND becomes INVALID, NOT_IMPLEMENTED becomes NOT_SUPPORTED.
    assert_eq!(survivors, 12);
}
