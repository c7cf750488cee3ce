//! Enums and constants as open newtypes.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::input::Value;
use super::names::Namer;
use super::names::screaming;

/// How many leading `_`-separated tokens of a value's name say nothing that the type does not say.
const PREFIXES: &[(&str, &str)] = &[
    ("d3dddiformat", "D3DDDIFMT_"),
    ("dxgdevice_flushschedulerreason", "DXGDEVICE_FLUSHSCHEDULER_"),
    ("dxgkvmb_commandchanneltype", "DXGKVMB_"),
    ("kmtumdversion", "KMTUMDVERSION_"),
    ("kmt_display_umd_version", "KMT_DISPLAY_UMD"),
];

fn common_prefix(values: &[Value]) -> usize {
    let names: Vec<&str> = values.iter().map(|v| v.name.trim_start_matches('_')).collect();
    let Some(first) = names.first() else { return 0 };
    let mut len = 0;
    for (i, c) in first.char_indices() {
        if c == '_' && names.iter().all(|n| n.starts_with(&first[..=i])) {
            len = i + 1;
        }
    }
    len
}

/// The constant names of an enum's values, in order.
pub(super) fn value_names(c_name: &str, values: &[Value]) -> Vec<String> {
    let values: Vec<Value> = values
        .iter()
        .map(|v| Value { name: v.name.replace("CLIENTHNT", "CLIENTHINT"), value: v.value })
        .collect();
    let lower = c_name.to_ascii_lowercase();
    let prefix = PREFIXES.iter().find(|(c, _)| *c == lower).map(|(_, p)| *p);
    let common = common_prefix(&values);
    values
        .iter()
        .map(|v| {
            let name = v.name.trim_start_matches('_');
            let short = match prefix {
                Some(p) => name.strip_prefix(p).unwrap_or(name),
                None => &name[common..],
            };
            if short.starts_with(|c: char| c.is_ascii_digit()) {
                // Keep the word before a number: ROTATION_90, TYPE_3D.
                let head = name[..name.len() - short.len()].trim_end_matches('_');
                format!("{}_{short}", head.rsplit('_').next().unwrap_or_default())
            } else {
                short.to_owned()
            }
        })
        .map(|n| screaming(&n.to_ascii_lowercase()))
        .collect()
}

/// Writes an open newtype with one constant per value.
pub(super) fn emit(
    namer: &Namer,
    c_name: &str,
    values: &[Value],
    out: &mut String,
) -> anyhow::Result<String> {
    let rust = namer.type_name(c_name)?;
    let repr = if values.iter().any(|v| v.value < 0) { "i32" } else { "u32" };
    let names = value_names(c_name, values);
    writeln!(
        out,
        "/// One of the values of `{c_name}`; other values are kept as they are.\n///\n/// Source: header.\n\
         #[doc(alias = \"{c_name}\")]\n#[repr(transparent)]\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]\n\
         pub struct {rust}(pub {repr});\n\nimpl {rust} {{"
    )?;
    for (name, value) in names.iter().zip(values) {
        let literal = if value.value < 0 { value.value.to_string() } else { format!("{:#x}", value.value) };
        writeln!(out, "    /// `{}`.\n    pub const {name}: Self = Self({literal});", value.name)?;
    }
    writeln!(
        out,
        "\n    /// The name of a known value.\n    pub const fn name(self) -> Option<&'static str> {{\n        match self.0 {{"
    )?;
    let mut seen = BTreeSet::new();
    for (name, value) in names.iter().zip(values) {
        if seen.insert(value.value) {
            writeln!(out, "{} => Some(\"{name}\"),", value.value)?;
        }
    }
    writeln!(out, "            _ => None,\n        }}\n    }}\n}}\n")?;
    Ok(rust)
}
