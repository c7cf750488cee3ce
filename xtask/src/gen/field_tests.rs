//! The list that the layout and vector tests walk: every field of every struct, read through its Rust type.

use std::fmt::Write;

use super::records::Known;

/// Writes `cases()` for the given C names and types.
pub(super) fn emit(imports: &str, rows: &[(String, &Known)]) -> anyhow::Result<String> {
    let mut out = String::from("//! Every field of every struct, by its path in the C header.\n\n");
    writeln!(
        out,
        "use std::mem::offset_of;\n\n{imports}\n\nuse crate::reading::Case;\nuse crate::reading::bytes;\nuse crate::reading::case;\nuse crate::reading::field;\n"
    )?;
    writeln!(out, "/// All of them.\npub(crate) fn cases() -> Vec<Case> {{\n    vec![")?;
    for (c_name, known) in rows {
        let rust = &known.rust;
        writeln!(out, "        case::<{rust}>(\"{c_name}\", vec![")?;
        for leaf in &known.leaves {
            let value = if leaf.suffix.is_empty() { "*s".to_owned() } else { format!("s{}", leaf.suffix) };
            let mask = leaf.mask.as_deref().unwrap_or("0");
            writeln!(
                out,
                "            field(\"{}\", {}, {mask}, |s: &{rust}| bytes({value})),",
                leaf.path, leaf.offset
            )?;
        }
        writeln!(out, "        ]),")?;
    }
    writeln!(out, "    ]\n}}")?;
    Ok(out)
}
