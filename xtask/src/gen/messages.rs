//! The dxgvmbus messages: `dxg-wire/src/generated/messages.rs`.

use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;

use super::Output;
use super::abi;
use super::abi::Data;
use super::abi::Types;
use super::enums;
use super::field_tests;
use super::input;
use super::input::CommandRow;
use super::input::Messages;
use super::names::Namer;
use super::records::Known;
use super::records::key;
use super::requests::code_free;

const MESSAGES: &str = "dxg-wire/tests/data/dxgvmbus-layouts.json";
const PREFIX: &str = "DXGK_VMBCOMMAND_";

fn constant(row: &CommandRow) -> &str {
    row.name.trim_start_matches(PREFIX)
}

/// The id newtypes, with a constant for every command of the channel.
fn ids(rows: &[CommandRow], channel: &str, rust: &str, what: &str) -> anyhow::Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "/// {what}\n///\n/// Source: header.\n#[repr(transparent)]\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]\n\
         pub struct {rust}(pub u32);\n\nimpl {rust} {{"
    )?;
    let mut names = String::new();
    for row in rows.iter().filter(|r| r.channel == channel) {
        let notes = row.notes.as_deref().map(|n| format!(" {}", code_free(n))).unwrap_or_default();
        let name = constant(row);
        writeln!(
            out,
            "/// `{}`.{notes}\n#[doc(alias = \"{0}\")]\npub const {name}: Self = Self({});",
            row.name, row.value
        )?;
        writeln!(names, "{} => Some(\"{name}\"),", row.value)?;
    }
    writeln!(
        out,
        "\n/// The name of a known command.\npub const fn name(self) -> Option<&'static str> {{\nmatch self.0 {{\n{names}_ => None,\n}}\n}}\n}}\n"
    )?;
    Ok(out)
}

fn command_impl(row: &CommandRow, records: &abi::Types<'_>) -> anyhow::Result<Option<String>> {
    let (Some(request), Some(reply)) = (&row.request, &row.reply) else { return Ok(None) };
    let rust = |name: &str| {
        records
            .records
            .known
            .get(&key(name))
            .map(|k| k.rust.clone())
            .with_context(|| format!("no struct {name}"))
    };
    let request_type = rust(&request.layout)?;
    let reply_type = match (reply.kind.as_str(), &reply.layout) {
        (_, Some(name)) => rust(name)?,
        ("ntstatus", _) => "NtStatus".to_owned(),
        ("d3dkmthandle", _) => "RawHandle".to_owned(),
        ("none" | "bytes", _) => "()".to_owned(),
        ("echo of the request struct", _) => request_type.clone(),
        (other, _) => anyhow::bail!("{}: reply of kind {other}", row.name),
    };
    let (channel, id) = match row.channel.as_str() {
        "global" => ("Global", "GlobalCommandId"),
        _ => ("Vgpu", "VgpuCommandId"),
    };
    let delivery = if row.async_when_enabled { "AsyncWhenEnabled" } else { "Answered" };
    let shape = |fixed: bool| if fixed { "Fixed" } else { "Variable" };
    Ok(Some(format!(
        "impl Command for {request_type} {{\ntype Reply = {reply_type};\nconst CHANNEL: Channel = Channel::{channel};\n\
         const ID: u32 = {id}::{name}.0;\nconst NAME: &'static str = \"{name}\";\nconst DELIVERY: Delivery = Delivery::{delivery};\n\
         const REQUEST_SHAPE: Shape = Shape::{};\nconst REPLY_SHAPE: Shape = Shape::{};\n}}\n\n",
        shape(request.length == "sizeof"),
        shape(reply.tail.is_none() || reply.kind == "d3dkmthandle"),
        name = constant(row),
    )))
}

/// The generator of the message structs.
pub(super) fn generate(root: &Path) -> anyhow::Result<Vec<Output>> {
    let data = Data::read(root)?;
    let messages: Messages = input::read(root, MESSAGES)?;
    let namer = Namer::new();
    let mut types: Types<'_> = abi::types(&namer, &data)?;
    let mut out = String::new();
    types.records.mentioned.clear();
    for item in &messages.enums {
        let rust = enums::emit(&namer, &item.name, &item.values, &mut out)?;
        types.records.add_enum(&item.name, &rust)?;
    }
    for (channel, c_name, what) in [
        ("global", "dxgkvmb_commandtype_global", "A command of the global channel, guest to host."),
        ("vgpu", "dxgkvmb_commandtype", "A command of a virtual GPU's channel, guest to host."),
        ("host-to-vm", "dxgkvmb_commandtype_host_to_vm", "A packet that the host sends to the guest."),
    ] {
        let rust = namer.type_name(c_name)?;
        out += &ids(&messages.commands, channel, &rust, what)?;
        types.records.add_enum(c_name, &rust)?;
    }
    // A struct of the file may embed one that comes later in it.
    let own: std::collections::BTreeSet<String> = messages.structs.iter().map(|s| key(&s.name)).collect();
    let mut waiting: Vec<&input::Layout> = messages.structs.iter().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut later = Vec::new();
        for layout in waiting {
            let ready =
                parts(&layout.fields).iter().all(|p| !own.contains(p) || types.records.known.contains_key(p));
            if ready {
                types.records.add(layout, "").with_context(|| layout.name.clone())?;
            } else {
                later.push(layout);
            }
        }
        anyhow::ensure!(later.len() < before, "message structs embed each other");
        waiting = later;
    }
    out += &std::mem::take(&mut types.records.out);
    for row in &messages.commands {
        out += &command_impl(row, &types)?.unwrap_or_default();
    }

    let rows: Vec<(String, &Known)> = messages
        .structs
        .iter()
        .map(|s| {
            Ok((s.name.clone(), types.records.known.get(&key(&s.name)).context("a struct went missing")?))
        })
        .collect::<anyhow::Result<_>>()?;
    let fields = field_tests::emit("use dxg_ioctl::abi::*;\nuse dxg_wire::messages::*;", &rows)?;

    let head = "//! The dxgvmbus messages.\n\nuse std::mem::offset_of;\n\nuse bitflags::bitflags;\nuse dxg_ioctl::abi::*;\n\
        use zerocopy::FromBytes;\nuse zerocopy::FromZeros;\nuse zerocopy::Immutable;\nuse zerocopy::IntoBytes;\nuse zerocopy::KnownLayout;\n\n\
        use crate::messages::command::Channel;\nuse crate::messages::command::Command;\nuse crate::messages::command::Delivery;\nuse crate::messages::command::Shape;\n\n";
    let inputs = vec![MESSAGES, abi::LAYOUTS];
    Ok(vec![
        Output {
            path: PathBuf::from("dxg-wire/src/generated/messages.rs"),
            inputs: inputs.clone(),
            text: format!("{head}{out}"),
        },
        Output { path: PathBuf::from("dxg-wire/tests/generated/fields.rs"), inputs, text: fields },
    ])
}

fn parts(fields: &[input::Field]) -> Vec<String> {
    fields
        .iter()
        .flat_map(|f| match &f.fields {
            Some(inner) => parts(inner),
            None => vec![key(&f.ty)],
        })
        .collect()
}
