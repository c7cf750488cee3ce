//! The private data of adapter-info queries.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Context;

use super::enums;
use super::input::AdapterInfo;
use super::input::AdapterInfoRow;
use super::input::Field;
use super::input::Layout;
use super::names::Namer;
use super::names::camel;
use super::records::Records;
use super::records::key;
use super::requests::code_free;

/// Types of the file that exist as Rust types elsewhere, or that are plain numbers.
const NOT_OURS: &[&str] = &[
    "D3DKMT_QUERYADAPTERINFO",
    "D3DKMT_QUERYSTATISTICS",
    "D3DKMT_QUERYSTATISTICS_RESULT",
    "LUID",
    "LARGE_INTEGER",
    "D3DKMT_ADAPTERTYPE",
    "D3DDDI_RATIONAL",
];

/// Types that hold addresses, which mean nothing on the other side.
const POINTERS: &[u32] = &[10, 41];

/// Whether the type is one that this generator makes.
pub(super) fn is_own(c_name: &str) -> bool {
    !NOT_OURS.contains(&c_name)
}

/// Emits the structs in an order in which each comes after those it embeds.
fn add_with_parts(
    records: &mut Records<'_>,
    structs: &BTreeMap<String, Layout>,
    c_name: &str,
) -> anyhow::Result<()> {
    if !is_own(c_name) || records.known.contains_key(&key(c_name)) {
        return Ok(());
    }
    fn parts<'f>(fields: &'f [Field], out: &mut Vec<&'f str>) {
        for field in fields {
            match &field.fields {
                Some(inner) => parts(inner, out),
                None => out.push(&field.ty),
            }
        }
    }
    let layout = structs.get(c_name).with_context(|| format!("no struct {c_name}"))?;
    let mut names = Vec::new();
    parts(&layout.fields, &mut names);
    for name in names.into_iter().filter(|n| structs.contains_key(*n)) {
        add_with_parts(records, structs, name)?;
    }
    let layout = Layout { name: c_name.to_owned(), ..layout.clone() };
    records.add(&layout, "").with_context(|| c_name.to_owned())
}

/// The marker of a query type: its name in words.
fn marker(namer: &Namer, row: &AdapterInfoRow) -> anyhow::Result<String> {
    Ok(camel(&namer.words_of(&row.name)?))
}

/// Cuts a struct into runs of bytes and runs of text.
fn segments(
    structs: &BTreeMap<String, Layout>,
    fields: &[Field],
    at: &mut usize,
    base: usize,
    end: usize,
    out: &mut Vec<(bool, usize)>,
) {
    let push = |text: bool, len: usize, out: &mut Vec<(bool, usize)>| match out.last_mut() {
        _ if len == 0 => {}
        Some((false, last)) if !text => *last += len,
        _ => out.push((text, len)),
    };
    for field in fields {
        let start = base + field.offset;
        if start < *at {
            continue; // Another member of a union, or bits of the same unit.
        }
        push(false, start - *at, out);
        *at = start;
        match structs.get(&field.ty) {
            Some(inner) if field.array_len.is_none() && is_own(&field.ty) => {
                segments(structs, &inner.fields, at, start, start + inner.size, out);
            }
            _ => {
                push(field.ty == "WCHAR" && field.size > 2, field.size, out);
                *at = start + field.size;
            }
        }
    }
    push(false, end.saturating_sub(*at), out);
    *at = end.max(*at);
}

/// Writes the structs, the query markers and the table of types.
pub(super) fn emit(namer: &Namer, records: &mut Records<'_>, data: &AdapterInfo) -> anyhow::Result<String> {
    let mut enums = String::new();
    for (c_name, values) in &data.enums {
        if !records.known.contains_key(&key(c_name)) {
            let rust = enums::emit(namer, c_name, values, &mut enums)?;
            records.add_enum(c_name, &rust)?;
        }
    }
    for c_name in data.structs.keys() {
        add_with_parts(records, &data.structs, c_name)?;
    }
    let structs = std::mem::take(&mut records.out);

    let constants = enums::value_names(
        "kmtqueryadapterinfotype",
        &data
            .types
            .iter()
            .map(|t| super::input::Value {
                name: t.name.replace("KMTQUITYPE", "KMTQAITYPE"),
                value: i64::from(t.value),
            })
            .collect::<Vec<_>>(),
    );
    let mut markers = String::new();
    let mut rows = String::new();
    for (row, constant) in data.types.iter().zip(&constants) {
        let known = match row.layout.as_str() {
            "BOOL" | "UINT" => Some("u32".to_owned()),
            name => records.known.get(&key(name)).map(|k| k.rust.clone()),
        };
        let typed = known.filter(|_| row.wire_size.is_some());
        let text =
            match (data.structs.get(&row.layout), row.user_size_with_4_byte_wchar) {
                (Some(layout), Some(_)) => {
                    let mut runs = Vec::new();
                    segments(&data.structs, &layout.fields, &mut 0, 0, layout.size, &mut runs);
                    runs.iter()
                        .map(|(text, len)| {
                            if *text {
                                format!("Run::Text({})", len / 2)
                            } else {
                                format!("Run::Bytes({len})")
                            }
                        })
                        .collect::<Vec<_>>()
                        .join(", ")
                }
                _ => String::new(),
            };
        writeln!(
            rows,
            "TypeInfo {{ kind: QueryAdapterInfoType::{constant}, name: \"{}\", wire_size_bytes: {:?}, user_size_bytes: {:?}, \
             conversion: {}, runs: &[{text}] }},",
            row.name,
            row.wire_size,
            row.user_size_with_4_byte_wchar,
            if row.converted_by_libdxg { "Conversion::Library" } else { "Conversion::None" },
        )?;
        let Some(out) = typed.filter(|_| !POINTERS.contains(&row.value)) else { continue };
        let note = row.note.as_deref().map(|n| format!(" {}.", code_free(n))).unwrap_or_default();
        let rust = marker(namer, row)?;
        writeln!(
            markers,
            "    /// `{}` ({}).{note}\n    #[doc(alias = \"{0}\")]\n    #[derive(Clone, Copy, Debug)]\n    pub enum {rust} {{}}\n\
             impl AdapterInfo for {rust} {{\nconst TYPE: QueryAdapterInfoType = QueryAdapterInfoType::{constant};\ntype Out = super::{out};\n}}\n\
             const _: () = assert!(size_of::<super::{out}>() == {});\n",
            row.name,
            row.value,
            row.wire_size.context("typed rows have a size")?,
        )?;
    }
    let markers = markers.replace("super::u32", "u32");
    Ok(format!(
        "//! What adapter-info queries answer, in the form that crosses to the host.\n\n\
         use std::mem::offset_of;\n\n\
         use bitflags::bitflags;\nuse zerocopy::FromBytes;\nuse zerocopy::FromZeros;\nuse zerocopy::Immutable;\nuse zerocopy::IntoBytes;\nuse zerocopy::KnownLayout;\n\n\
         use crate::abi::*;\nuse crate::adapter_info::AdapterInfo;\nuse crate::adapter_info::Conversion;\nuse crate::adapter_info::Run;\nuse crate::adapter_info::TypeInfo;\n\n\
         {enums}\n{structs}\n\
         /// One marker per query type whose answer has a known shape.\npub mod query {{\n    use super::AdapterInfo;\n    use super::QueryAdapterInfoType;\n\n{markers}}}\n\n\
         /// Every known type, by number.\npub(crate) static TYPES: [TypeInfo; {}] = [\n{rows}];\n",
        data.types.len()
    ))
}
