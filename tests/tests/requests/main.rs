//! Every request of the kernel ABI over a virtual GPU: what becomes of it, and what stale handles do.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod caller;
mod scene;
mod well_formed;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use dxg_core::CallError;
use dxg_core::Ioctl;
use dxg_core::Node;
use dxg_core::abi::NtStatus;
use dxg_ioctl::Errno;
use dxg_ioctl::RequestInfo;
use dxg_ioctl::request::Support;
use dxg_tests::daemon::Daemon;

use crate::caller::Caller;
use crate::scene::Handles;
use crate::scene::Scene;
use crate::well_formed::well_formed;

/// Where the table is.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/requests.md");

/// A node, or the end of the test where no daemon is built.
macro_rules! node_or_skip {
    ($daemon:ident, $node:ident) => {
        let Some($daemon) = Daemon::start() else {
            println!("skipped: no dxgd");
            return;
        };
        let $node = Node::connect(&$daemon.socket()).unwrap();
    };
}

/// What becomes of a well-formed request, in the words of the table.
fn class_of(node: &Node, row: &RequestInfo) -> String {
    let scene = Scene::new(node);
    let made = well_formed(row.ioctl, &scene, &scene.handles);
    let known = made.is_some();
    let (mut bytes, mut caller) = made.unwrap_or_else(|| (vec![0; row.size_bytes], Caller::default()));
    assert_eq!(bytes.len(), row.size_bytes, "{}", row.constant);
    match (node.answer(row.ioctl, &mut bytes, &mut caller), row.support, known) {
        (Ok(NtStatus::SUCCESS), Support::Driver, true) => "served".to_owned(),
        (Ok(NtStatus::PENDING), Support::Driver, true) => "served, pending".to_owned(),
        (Err(CallError::Os(errno)), Support::Driver, true) => format!("refused: {errno}"),
        (Err(CallError::Os(Errno::ENOTTY)), Support::LibraryOnly, false) => "library only: ENOTTY".to_owned(),
        (answer, support, _) => panic!("{}: {answer:?}, {support:?}", row.constant),
    }
}

/// The notes of the table as it stands, by the request's name.
fn notes(document: &str) -> BTreeMap<String, String> {
    let rows = document.lines().filter(|line| line.starts_with("| 0x"));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, name, _, _, notes] = cells.as_slice() else { return None };
        Some(((*name).to_owned(), (*notes).to_owned()))
    })
    .collect()
}

fn table(node: &Node, notes: &BTreeMap<String, String>) -> String {
    let mut text = String::from(
        "| number | request | argument | over a virtual GPU | note |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in Ioctl::table() {
        let name = format!("`{}`", row.name);
        let argument = row.argument.map_or_else(|| "not known".to_owned(), |name| format!("`{name}`"));
        let class = class_of(node, row);
        let note = notes.get(&name).map_or("", String::as_str);
        writeln!(text, "| {:#04x} | {name} | {argument} | {class} | {note} |", row.ioctl.nr()).unwrap();
    }
    text
}

#[test]
fn requests_become_what_the_document_says() {
    node_or_skip!(daemon, node);
    assert_eq!(Ioctl::table().len(), 73);
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let (head, _) = document.split_once("| number |").unwrap();
    let measured = format!("{head}{}", table(&node, &notes(&document)));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(DOCUMENT, &measured).unwrap();
    } else {
        assert!(document == measured, "docs/requests.md is not so; UPDATE_GOLDEN=1 rewrites it:\n{measured}");
    }
}

#[test]
fn requests_of_another_size_or_number_are_no_requests() {
    node_or_skip!(daemon, node);
    let answer = |ioctl, len| node.answer(ioctl, &mut vec![0; len], &mut Caller::default());
    for row in Ioctl::table() {
        assert_eq!(
            answer(row.ioctl, row.size_bytes + 4),
            Err(CallError::Os(Errno::ENOTTY)),
            "{}",
            row.constant
        );
        assert_eq!(answer(row.ioctl, 0), Err(CallError::Os(Errno::ENOTTY)), "{}", row.constant);
    }
    assert_eq!(answer(Ioctl::encode(0x4a, 8), 8), Err(CallError::Os(Errno::ENOTTY)));
}

/// The live handles with one of them stale; its name.
fn one_stale(live: Handles, stale: Handles) -> Vec<(&'static str, Handles)> {
    vec![
        ("adapter", Handles { adapter: stale.adapter, ..live }),
        ("device", Handles { device: stale.device, ..live }),
        ("context", Handles { context: stale.context, ..live }),
        ("hardware queue", Handles { hw_queue: stale.hw_queue, ..live }),
        ("paging queue", Handles { paging_queue: stale.paging_queue, ..live }),
        ("allocation", Handles { allocation: stale.allocation, ..live }),
        ("fence", Handles { fence: stale.fence, ..live }),
        ("legacy fence", Handles { legacy_fence: stale.legacy_fence, ..live }),
    ]
}

/// Whether the driver finds the object of a request by this handle, or looks at it for another reason.
fn is_looked_up_by_the_driver(row: &RequestInfo, which: &str) -> bool {
    let selected = match which {
        "hardware queue" => row.selected_by.contains("hwqueue") || row.selected_by == "queue",
        "paging queue" => row.selected_by == "paging_queue",
        "fence" => matches!(row.selected_by, "sync_object" | "objects[0]"),
        other => row.selected_by.contains(other),
    };
    let looked_at = match row.ioctl {
        // All in one device or one resource.
        Ioctl::DESTROY_ALLOCATION2 => which == "allocation",
        // The kind of the first decides what the values are.
        Ioctl::WAIT_FOR_SYNCHRONIZATION_OBJECT_FROM_GPU => which == "fence",
        _ => false,
    };
    selected || looked_at
}

/// What the ABI answers to a request with one stale handle: EINVAL where the driver looks, the errno of the host's
/// INVALID_HANDLE where only the host does.
fn expected(row: &RequestInfo, which: &str) -> Result<NtStatus, CallError> {
    match (row.ioctl, which) {
        // There is no status in the answer to it.
        (Ioctl::EVICT, "allocation") => Ok(NtStatus::SUCCESS),
        // Refused before anything is looked at, as no such object can exist.
        (
            Ioctl::SHARE_OBJECT_WITH_HOST
            | Ioctl::CREATE_SYNC_FILE
            | Ioctl::WAIT_SYNC_FILE
            | Ioctl::OPEN_SYNC_OBJECT_FROM_SYNC_FILE,
            _,
        ) => Err(CallError::Os(Errno::EPERM)),
        _ if is_looked_up_by_the_driver(row, which) => Err(CallError::Os(Errno::EINVAL)),
        _ => Err(CallError::Os(Errno::EBADF)),
    }
}

#[test]
fn requests_with_one_stale_handle_answer_the_error_of_the_abi_and_change_nothing() {
    node_or_skip!(daemon, node);
    let stale = Scene::stale(&node);
    let scene = Scene::new(&node);
    let mut tried = 0;
    let mut wrong = Vec::new();
    for row in Ioctl::table().iter().filter(|row| row.support == Support::Driver) {
        let live = well_formed(row.ioctl, &scene, &scene.handles).unwrap();
        for (which, handles) in one_stale(scene.handles, stale) {
            let (mut bytes, mut caller) = well_formed(row.ioctl, &scene, &handles).unwrap();
            if bytes == live.0 && caller.has_memory_of(&live.1) {
                // This request does not name it.
                continue;
            }
            tried += 1;
            let answer = node.answer(row.ioctl, &mut bytes, &mut caller);
            if answer != expected(row, which) {
                wrong.push(format!("{} with a stale {which}: {answer:?}", row.constant));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(tried >= 65, "{tried} combinations");
    // Everything is as it was: each request that leaves its objects alone still goes.
    let (mut bytes, mut caller) = well_formed(Ioctl::SUBMIT_COMMAND, &scene, &scene.handles).unwrap();
    node.answer(Ioctl::SUBMIT_COMMAND, &mut bytes, &mut caller).unwrap();
}
