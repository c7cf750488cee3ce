//! Size, alignment, offset, width and mask of every message field, and every byte pattern read through them.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

#[path = "generated/fields.rs"]
mod fields;
#[path = "../../dxg-ioctl/tests/reading/mod.rs"]
mod reading;

use dxg_ioctl::RawHandle;
use dxg_wire::messages::Command;
use dxg_wire::messages::CreateDeviceCommand;
use dxg_wire::messages::DecodeError;
use dxg_wire::messages::Delivery;
use dxg_wire::messages::GlobalCommandId;
use dxg_wire::messages::HostToVmCommandId;
use dxg_wire::messages::SignalSyncObjectCommand;
use dxg_wire::messages::SubmitCommandCommand;
use dxg_wire::messages::SubmitCommandToHwQueueCommand;
use dxg_wire::messages::VgpuCommandId;
use dxg_wire::messages::VgpuToHostHeader;
use dxg_wire::messages::VmToHostHeader;
use dxg_wire::messages::WaitForSyncObjectFromGpuCommand;
use dxg_wire::messages::incoming::Incoming;
use serde_json::Value;
use zerocopy::IntoBytes;

use crate::reading::compare_layouts;
use crate::reading::compare_vectors;
use crate::reading::data;
use crate::reading::number;

#[test]
fn every_field_of_every_message_is_where_the_header_puts_it() {
    let cases = fields::cases();
    assert_eq!(cases.len(), 101);
    assert_eq!(compare_layouts(&data("dxgvmbus-layouts.json")["structs"], &cases), 1076);
}

#[test]
fn every_message_vector_reads_as_the_header_reads_it() {
    let vectors = data("struct-vectors.json");
    assert_eq!(vectors["dxgvmbus"].as_object().unwrap().len(), 101);
    assert_eq!(number(&vectors["counts"]["dxgvmbus_values"]), 1085);
    assert_eq!(compare_vectors(&vectors["dxgvmbus"], &fields::cases()), 1085);
}

#[test]
fn every_command_id_has_its_name() {
    let file = data("dxgvmbus-layouts.json");
    let mut counts = [0; 3];
    for row in file["commands"].as_array().unwrap() {
        let value = u32::try_from(row["value"].as_u64().unwrap()).unwrap();
        let (index, name) = match row["channel"].as_str().unwrap() {
            "global" => (0, GlobalCommandId(value).name()),
            "vgpu" => (1, VgpuCommandId(value).name()),
            "host-to-vm" => (2, HostToVmCommandId(value).name()),
            other => panic!("channel {other}"),
        };
        counts[index] += 1;
        assert_eq!(name, row["name"].as_str().unwrap().strip_prefix("DXGK_VMBCOMMAND_"));
    }
    assert_eq!(counts, [14, 68, 5]);
}

/// A command of zeroes with the header that the data file says.
fn zeroed(row: &Value) -> Vec<u8> {
    let id = u32::try_from(row["value"].as_u64().unwrap()).unwrap();
    let mut bytes = match row["channel"].as_str().unwrap() {
        "global" => VmToHostHeader::new(GlobalCommandId(id), RawHandle(1)).as_bytes().to_vec(),
        _ => VgpuToHostHeader::new(VgpuCommandId(id), RawHandle(1)).as_bytes().to_vec(),
    };
    bytes.resize(number(&row["request"]["sizeof"]), 0);
    bytes
}

#[test]
fn every_command_with_a_struct_decodes_under_its_name_and_no_other_does() {
    let file = data("dxgvmbus-layouts.json");
    let rows = file["commands"].as_array().unwrap();
    let (known, unknown): (Vec<&Value>, Vec<&Value>) =
        rows.iter().filter(|r| r["channel"] != "host-to-vm").partition(|r| r.get("request").is_some());
    // 59 that a guest sends, and the global feature query, which it has code for and no way to reach.
    assert_eq!((known.len(), unknown.len()), (60, 22));
    let used = known.iter().filter(|r| r["used_by_linux"] == true).count();
    assert_eq!(used, 59);
    for row in known {
        let name = row["name"].as_str().unwrap().strip_prefix("DXGK_VMBCOMMAND_").unwrap();
        let mut bytes = zeroed(row);
        // The two messages whose length rule is longer than the struct even when the list is empty.
        bytes.resize(
            bytes.len()
                + if name == "GETALLOCATIONPRIORITY" || name == "SETALLOCATIONPRIORITY" { 8 } else { 0 },
            0,
        );
        assert_eq!(Incoming::decode(&bytes).unwrap().command.name(), name);
        if row["request"]["length"] == "sizeof" {
            let short = Incoming::decode(&bytes[..bytes.len() - 1]);
            assert!(matches!(short, Err(DecodeError::Short { .. })), "{name}");
        }
    }
    for row in unknown {
        let mut row = row.clone();
        row["request"] = serde_json::json!({ "sizeof": 64 });
        assert!(matches!(Incoming::decode(&zeroed(&row)), Err(DecodeError::UnknownCommand { .. })));
    }
}

#[test]
fn four_commands_need_no_answer_when_asynchronous_messages_are_on() {
    let file = data("dxgvmbus-layouts.json");
    let rows = file["commands"].as_array().unwrap();
    let names: Vec<&str> = rows
        .iter()
        .filter(|r| r.get("async_when_enabled").is_some_and(|a| a == true))
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    let ours = [
        (SubmitCommandCommand::NAME, SubmitCommandCommand::DELIVERY),
        (WaitForSyncObjectFromGpuCommand::NAME, WaitForSyncObjectFromGpuCommand::DELIVERY),
        (SignalSyncObjectCommand::NAME, SignalSyncObjectCommand::DELIVERY),
        (SubmitCommandToHwQueueCommand::NAME, SubmitCommandToHwQueueCommand::DELIVERY),
    ];
    assert_eq!(names, ours.map(|(name, _)| format!("DXGK_VMBCOMMAND_{name}")));
    assert!(ours.iter().all(|(_, delivery)| *delivery == Delivery::AsyncWhenEnabled));
    assert_eq!(CreateDeviceCommand::DELIVERY, Delivery::Answered);
}
