//! The shape of the layout files: structs, fields, enums.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One member of a struct or union.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Field {
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub ty: String,
    pub offset: usize,
    pub size: usize,
    pub bit_offset: Option<u32>,
    pub bit_width: Option<u32>,
    pub array_len: Option<usize>,
    pub points_to: Option<String>,
    pub fields: Option<Vec<Field>>,
}

impl Field {
    /// Whether this is an unnamed struct or union whose members belong to the parent.
    pub(super) fn is_anonymous(&self) -> bool {
        self.name.is_none()
    }

    /// Whether this holds an address of the caller.
    pub(super) fn is_pointer(&self) -> bool {
        self.points_to.is_some() || self.ty.ends_with('*')
    }
}

/// A struct or union.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Layout {
    #[serde(default)]
    pub name: String,
    #[serde(alias = "wire_size")]
    pub size: usize,
    /// Absent in the adapter-info file; computed there.
    pub align: Option<usize>,
    pub libdxg_type: Option<String>,
    #[serde(default)]
    pub fields: Vec<Field>,
    #[serde(default)]
    pub bits_named_only_in_libdxg: Vec<ExtraBit>,
}

/// A flag bit that only the library's header names.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ExtraBit {
    pub name: String,
    pub offset: usize,
    pub bit_offset: u32,
    pub bit_width: u32,
}

/// A value of an enum, or a constant.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Value {
    pub name: String,
    pub value: i64,
}

/// An enum.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Enum {
    pub name: String,
    pub values: Vec<Value>,
}

/// `d3dkmt-layouts.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Layouts {
    pub constants: Vec<Value>,
    pub enums: Vec<Enum>,
    pub structs: Vec<Layout>,
}

/// One row of `d3dkmt-ioctls.json`.
#[derive(Debug, Deserialize)]
pub(super) struct IoctlRow {
    pub nr: u8,
    pub name: Option<String>,
    pub argument_struct: Option<String>,
    pub argument_size: Option<u32>,
    pub request: Option<u32>,
    pub implemented: bool,
    pub libdxg_export: Option<String>,
    pub selected_by: Option<String>,
    #[serde(default)]
    pub limits: Vec<String>,
    #[serde(default)]
    pub driver_writes: Vec<String>,
    pub notes: Option<String>,
}

/// `d3dkmt-ioctls.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Ioctls {
    pub ioctls: Vec<IoctlRow>,
}

/// One adapter-info type.
#[derive(Debug, Deserialize)]
pub(super) struct AdapterInfoRow {
    pub value: u32,
    pub name: String,
    #[serde(rename = "struct", default)]
    pub layout: String,
    pub wire_size: Option<usize>,
    pub user_size_with_4_byte_wchar: Option<usize>,
    #[serde(default)]
    pub converted_by_libdxg: bool,
    pub note: Option<String>,
}

/// `d3dkmt-qai.json`.
#[derive(Debug, Deserialize)]
pub(super) struct AdapterInfo {
    pub types: Vec<AdapterInfoRow>,
    pub later_types_named_in_newer_sdk_documentation: Vec<AdapterInfoRow>,
    pub enums: BTreeMap<String, Vec<Value>>,
    pub structs: BTreeMap<String, Layout>,
}

/// The request half of a message.
#[derive(Debug, Deserialize)]
pub(super) struct MessageRequest {
    #[serde(rename = "struct")]
    pub layout: String,
    pub length: String,
}

/// The reply half of a message.
#[derive(Debug, Deserialize)]
pub(super) struct MessageReply {
    pub kind: String,
    #[serde(rename = "struct")]
    pub layout: Option<String>,
    pub tail: Option<String>,
}

/// One command of the message protocol.
#[derive(Debug, Deserialize)]
pub(super) struct CommandRow {
    pub name: String,
    pub value: u32,
    pub channel: String,
    pub request: Option<MessageRequest>,
    pub reply: Option<MessageReply>,
    #[serde(default)]
    pub async_when_enabled: bool,
    pub notes: Option<String>,
}

/// `dxgvmbus-layouts.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Messages {
    pub commands: Vec<CommandRow>,
    pub enums: Vec<Enum>,
    pub structs: Vec<Layout>,
}

/// Reads a data file.
pub(super) fn read<T: DeserializeOwned>(root: &Path, path: &str) -> anyhow::Result<T> {
    let text = fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))?;
    serde_json::from_str(&text).with_context(|| format!("parsing {path}"))
}
