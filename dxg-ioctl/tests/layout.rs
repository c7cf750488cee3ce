//! Size, alignment, offset, width and mask of every field, against the data files.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

mod reading;

#[path = "generated/adapter_info_fields.rs"]
mod adapter_info_fields;
mod by_hand;
#[path = "generated/fields.rs"]
mod fields;

use std::collections::BTreeMap;

use dxg_ioctl::adapter_info::TypeInfo;
use serde_json::Value;

use crate::reading::Case;
use crate::reading::compare_field;
use crate::reading::compare_layouts;
use crate::reading::data;
use crate::reading::number;

#[test]
fn every_field_of_every_abi_struct_is_where_the_header_puts_it() {
    let mut cases = fields::cases();
    cases.extend(by_hand::cases());
    let layouts = data("d3dkmt-layouts.json");
    assert_eq!(cases.len(), 112);
    assert_eq!(compare_layouts(&layouts["structs"], &cases), 850);
}

/// The fields of an adapter-info struct as (path, entry, offset), with the structs it embeds opened.
fn flatten<'v>(
    structs: &'v Value,
    fields: &'v Value,
    prefix: &str,
    base: usize,
    out: &mut Vec<(String, &'v Value, usize)>,
) {
    for field in fields.as_array().unwrap() {
        let name = field.get("name").and_then(Value::as_str);
        let path = match name {
            Some(name) => format!("{prefix}{name}"),
            None => prefix.to_owned(),
        };
        let inside = |path: &str| if name.is_some() { format!("{path}.") } else { path.to_owned() };
        let offset = base + number(&field["offset"]);
        let ty = field["type"].as_str().unwrap();
        if let Some(inner) = field.get("fields") {
            flatten(structs, inner, &inside(&path), base, out);
        } else if let Some(inner) =
            structs.get(ty).filter(|_| field.get("array_len").is_none() && ty != "LARGE_INTEGER")
        {
            flatten(structs, &inner["fields"], &inside(&path), offset, out);
        } else if number(&field["size"]) > 0 {
            out.push((path, field, offset));
        }
    }
}

#[test]
fn every_field_of_every_adapter_info_struct_is_where_the_header_puts_it() {
    let file = data("d3dkmt-qai.json");
    let structs = &file["structs"];
    let cases = adapter_info_fields::cases();
    let by_name: BTreeMap<&str, &Case> = cases.iter().map(|c| (c.c_name, c)).collect();
    // These six are ABI structs and tested above, plain numbers, or a union read by `statistics`.
    let elsewhere = [
        "D3DKMT_QUERYADAPTERINFO",
        "D3DKMT_QUERYSTATISTICS",
        "D3DKMT_QUERYSTATISTICS_RESULT",
        "LUID",
        "LARGE_INTEGER",
        "D3DKMT_ADAPTERTYPE",
        "D3DDDI_RATIONAL",
    ];
    let mut compared = 0;
    for (name, layout) in structs.as_object().unwrap() {
        if elsewhere.contains(&name.as_str()) {
            continue;
        }
        let case = by_name.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no Rust type"));
        assert_eq!(case.size, number(&layout["wire_size"]), "size of {name}");
        let mut flat = Vec::new();
        flatten(structs, &layout["fields"], "", 0, &mut flat);
        assert_eq!(case.fields.len(), flat.len(), "number of fields of {name}");
        for (path, entry, offset) in &flat {
            // An embedded ABI struct has its fields under the names of the kernel header.
            let path = path.replace("RefreshRate.Numerator", "RefreshRate.numerator");
            let path = path.replace("RefreshRate.Denominator", "RefreshRate.denominator");
            compare_field(case, &path, entry, *offset);
        }
        compared += flat.len();
    }
    assert_eq!((cases.len(), compared), (109, 699));
}

#[test]
fn statistics_shapes_have_the_sizes_of_the_union() {
    let file = data("d3dkmt-qai.json");
    let members = file["structs"]["D3DKMT_QUERYSTATISTICS_RESULT"]["fields"].as_array().unwrap();
    let cases = adapter_info_fields::cases();
    for member in members {
        let case = cases.iter().find(|c| Some(c.c_name) == member["type"].as_str()).unwrap();
        assert_eq!(case.size, number(&member["size"]), "{}", case.c_name);
    }
    assert_eq!(members.len(), 11);
}

#[test]
fn every_adapter_info_type_has_its_row_and_sizes() {
    let file = data("d3dkmt-qai.json");
    let rows = file["types"].as_array().unwrap();
    assert_eq!((rows.len(), TypeInfo::table().len()), (77, 77));
    for (row, info) in rows.iter().zip(TypeInfo::table()) {
        assert_eq!(u64::from(info.kind.0), row["value"].as_u64().unwrap());
        assert_eq!(info.name, row["name"].as_str().unwrap());
        assert_eq!(info.wire_size_bytes, row.get("wire_size").map(number), "{}", info.name);
        assert_eq!(info.user_size_bytes, row.get("user_size_with_4_byte_wchar").map(number), "{}", info.name);
        let converted = row.get("converted_by_libdxg").and_then(Value::as_bool).unwrap_or(false);
        assert_eq!(
            info.conversion == dxg_ioctl::adapter_info::Conversion::Library,
            converted,
            "{}",
            info.name
        );
    }
}
