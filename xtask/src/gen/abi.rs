//! The kernel ABI: `dxg-ioctl/src/generated/`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;

use super::Output;
use super::adapter_info;
use super::enums;
use super::field_tests;
use super::input;
use super::input::AdapterInfo;
use super::input::Ioctls;
use super::input::Layouts;
use super::input::Value;
use super::names::Namer;
use super::names::constant_of;
use super::records::Known;
use super::records::Records;
use super::records::key;
use super::requests;

pub(super) const LAYOUTS: &str = "dxg-ioctl/tests/data/d3dkmt-layouts.json";
pub(super) const IOCTLS: &str = "dxg-ioctl/tests/data/d3dkmt-ioctls.json";
pub(super) const ADAPTER_INFO: &str = "dxg-ioctl/tests/data/d3dkmt-qai.json";

/// Records that are written by hand in the crate.
const BY_HAND: &[&str] = &["d3dkmthandle", "ntstatus", "winluid"];

const DERIVES: &str = "use zerocopy::FromBytes;\nuse zerocopy::Immutable;\nuse zerocopy::IntoBytes;\nuse zerocopy::KnownLayout;\n";

/// The data files of the ABI.
pub(super) struct Data {
    pub layouts: Layouts,
    pub ioctls: Ioctls,
    pub adapter_info: AdapterInfo,
}

impl Data {
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            layouts: input::read(root, LAYOUTS)?,
            ioctls: input::read(root, IOCTLS)?,
            adapter_info: input::read(root, ADAPTER_INFO)?,
        })
    }

    /// An enum's values: those of the kernel header and those that only the library's header has.
    fn values_of(&self, c_name: &str, own: &[Value]) -> Vec<Value> {
        let mut values = own.to_vec();
        let same = |v: &&Vec<Value>| !v.is_empty();
        let wider = self.adapter_info.enums.iter().find(|(n, _)| key(n) == key(c_name)).map(|(_, v)| v);
        if key(c_name) == "kmtqueryadapterinfotype" {
            let types = &self.adapter_info.types;
            let later = &self.adapter_info.later_types_named_in_newer_sdk_documentation;
            values = types
                .iter()
                .chain(later)
                .map(|t| Value {
                    name: t.name.replace("KMTQUITYPE", "KMTQAITYPE"),
                    value: i64::from(t.value),
                })
                .collect();
        } else if let Some(wider) = wider.filter(same) {
            for value in wider {
                if !values.iter().any(|v| v.name.trim_start_matches('_') == value.name) {
                    values.push(value.clone());
                }
            }
            values.retain(|v| !v.name.contains("CLIENTHNT"));
            values.sort_by_key(|v| v.value);
        }
        values
    }
}

/// The two halves of the ABI's types.
pub(super) struct Types<'a> {
    pub records: Records<'a>,
    pub enums: String,
    pub structs: String,
}

/// Enums of bits: these become flag sets.
const FLAG_ENUMS: &[&str] = &["dxgk_page_fault_flags"];

/// Makes the types of the kernel header; also the start of the messages, which embed them.
pub(super) fn types<'a>(namer: &'a Namer, data: &Data) -> anyhow::Result<Types<'a>> {
    let mut records = Records::new(namer);
    for hand in ["RawHandle", "NtStatus", "Luid", "GpuVa", "FenceValue", "UserPtr"] {
        records.taken.insert(hand.to_owned(), "by hand".to_owned());
    }
    let mut enums = String::from(
        "//! Values chosen from a set: open newtypes, because the other side may know more of them.\n\n",
    );
    writeln!(enums, "use bitflags::bitflags;\n{DERIVES}")?;
    for item in &data.layouts.enums {
        let rust = if FLAG_ENUMS.contains(&item.name.as_str()) {
            flag_enum(namer, &item.name, &item.values, &mut enums)?
        } else {
            enums::emit(namer, &item.name, &data.values_of(&item.name, &item.values), &mut enums)?
        };
        records.add_enum(&item.name, &rust)?;
    }
    let notes: BTreeMap<&str, &input::IoctlRow> =
        data.ioctls.ioctls.iter().filter_map(|r| Some((r.argument_struct.as_deref()?, r))).collect();
    for layout in data.layouts.structs.iter().filter(|s| !BY_HAND.contains(&s.name.as_str())) {
        let doc = notes.get(layout.name.as_str()).map(|r| requests::argument_doc(namer, r)).transpose()?;
        records.add(layout, doc.as_deref().unwrap_or_default()).with_context(|| layout.name.clone())?;
    }
    let structs = std::mem::take(&mut records.out);
    Ok(Types { records, enums, structs })
}

fn flag_enum(namer: &Namer, c_name: &str, values: &[Value], out: &mut String) -> anyhow::Result<String> {
    let rust = namer.type_name(c_name)?;
    writeln!(
        out,
        "/// The bits of `{c_name}`.\n///\n/// Source: header.\n#[doc(alias = \"{c_name}\")]\n#[repr(transparent)]\n\
         #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]\n\
         pub struct {rust}(pub u32);\n\nbitflags! {{\nimpl {rust}: u32 {{"
    )?;
    for (name, value) in enums::value_names(c_name, values).iter().zip(values) {
        writeln!(out, "/// `{}`.\nconst {name} = {:#x};", value.name, value.value)?;
    }
    writeln!(out, "\n/// Unknown bits are kept.\nconst _ = !0;\n}}\n}}\n")?;
    Ok(rust)
}

/// The generator of the ABI crate.
pub(super) fn generate(root: &Path) -> anyhow::Result<Vec<Output>> {
    let data = Data::read(root)?;
    let namer = Namer::new();
    let Types { mut records, enums, structs } = types(&namer, &data)?;

    let mut constants = String::from("//! Limits that the header names.\n\n");
    for constant in &data.layouts.constants {
        let name = constant_of(&namer.words_of(&constant.name)?);
        writeln!(
            constants,
            "/// `{}`.\n///\n/// Source: header.\n#[doc(alias = \"{0}\")]\npub const {name}: usize = {};\n",
            constant.name, constant.value
        )?;
    }

    let head = "//! The structs, unions and flag sets of the kernel ABI.\n\n";
    let uses = "use std::mem::offset_of;\n\nuse bitflags::bitflags;\n";
    let ours = "use crate::generated::enums::*;\nuse crate::scalar::*;\n";
    let structs = format!("{head}{uses}{DERIVES}use zerocopy::FromZeros;\n\n{ours}\n{structs}");

    let abi: Vec<(String, Known)> = data
        .layouts
        .structs
        .iter()
        .filter(|s| !BY_HAND.contains(&s.name.as_str()))
        .map(|s| {
            Ok((s.name.clone(), records.known.get(&key(&s.name)).context("a struct went missing")?.clone()))
        })
        .collect::<anyhow::Result<_>>()?;
    let rows: Vec<(String, &Known)> = abi.iter().map(|(n, k)| (n.clone(), k)).collect();
    let imports = "use dxg_ioctl::abi::*;";
    let fields = field_tests::emit(imports, &rows)?;

    let table = requests::emit(&namer, &records, &data)?;
    let info = adapter_info::emit(&namer, &mut records, &data.adapter_info)?;
    let info_rows: Vec<(String, &Known)> = data
        .adapter_info
        .structs
        .keys()
        .filter_map(|n| Some((n.clone(), records.known.get(&key(n))?)))
        .filter(|(n, _)| !rows.iter().any(|(r, _)| key(r) == key(n)) && adapter_info::is_own(n))
        .collect();
    let info_fields =
        field_tests::emit("use dxg_ioctl::abi::*;\nuse dxg_ioctl::adapter_info::*;", &info_rows)?;

    let src = |name: &str| PathBuf::from(format!("dxg-ioctl/src/generated/{name}.rs"));
    let test = |name: &str| PathBuf::from(format!("dxg-ioctl/tests/generated/{name}.rs"));
    let out = |path, inputs, text| Output { path, inputs, text };
    Ok(vec![
        out(src("enums"), vec![LAYOUTS, ADAPTER_INFO], enums),
        out(src("constants"), vec![LAYOUTS], constants),
        out(src("structs"), vec![LAYOUTS, IOCTLS], structs),
        out(src("requests"), vec![IOCTLS, LAYOUTS], table),
        out(src("adapter_info"), vec![ADAPTER_INFO], info),
        out(test("fields"), vec![LAYOUTS], fields),
        out(test("adapter_info_fields"), vec![ADAPTER_INFO], info_fields),
    ])
}
