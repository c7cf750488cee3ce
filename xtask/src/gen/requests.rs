//! The request table: number, argument, size, and what the driver says about it.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Context;
use anyhow::ensure;

use super::abi::Data;
use super::input::IoctlRow;
use super::names::Namer;
use super::names::constant_of;
use super::names::screaming;
use super::records::Records;
use super::records::key;

/// A signal can end this wait early, and the wait may simply be asked for again.
const RESTARTABLE: &[&str] = &["LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU"];

fn constant(namer: &Namer, row: &IoctlRow) -> anyhow::Result<String> {
    match (&row.name, &row.libdxg_export) {
        (Some(name), _) => Ok(constant_of(&namer.words_of(name)?)),
        (None, Some(export)) => Ok(screaming(export.trim_start_matches("D3DKMT"))),
        (None, None) => anyhow::bail!("request {:#x} has no name", row.nr),
    }
}

/// What the argument struct of a request says about the request.
pub(super) fn argument_doc(namer: &Namer, row: &IoctlRow) -> anyhow::Result<String> {
    let mut doc = format!("Argument of [`Ioctl::{}`](crate::Ioctl::{0}).", constant(namer, row)?);
    if !row.driver_writes.is_empty() {
        write!(doc, " Written by the node: {}.", code_free(&row.driver_writes.join(", ")))?;
    }
    if !row.limits.is_empty() {
        write!(doc, " Limits: {}.", code_free(&row.limits.join("; ")))?;
    }
    if let Some(notes) = &row.notes {
        // A sentence that sends the reader to another document does not help here.
        let kept: Vec<&str> = notes.split_inclusive(". ").filter(|s| !s.contains(".md")).collect();
        write!(doc, "\n{}", code_free(kept.concat().trim()))?;
    }
    Ok(doc)
}

/// Text that rustdoc does not take for links or tags.
pub(super) fn code_free(text: &str) -> String {
    text.replace('[', "\\[").replace(']', "\\]").replace('<', "\\<").replace('>', "\\>").replace('*', "\\*")
}

/// Writes `Ioctl`'s constants, the table and the `Request` impls.
pub(super) fn emit(namer: &Namer, records: &Records<'_>, data: &Data) -> anyhow::Result<String> {
    let mut constants = String::new();
    let mut rows = String::new();
    let mut impls = String::new();
    let mut arguments = BTreeSet::new();
    let mut count = 0;
    for row in data.ioctls.ioctls.iter().filter(|r| r.argument_size.is_some()) {
        count += 1;
        let name = constant(namer, row)?;
        let number = row.request.unwrap_or_else(|| {
            0xc000_4700 | u32::from(row.nr) | (row.argument_size.unwrap_or_default() << 16)
        });
        let size = row.argument_size.context("filtered above")?;
        let c_name = row.name.as_deref().or(row.libdxg_export.as_deref()).context("a name")?;
        let by = row.selected_by.as_deref().unwrap_or("none");
        let support = if row.implemented { "Driver" } else { "LibraryOnly" };
        writeln!(
            constants,
            "/// `{c_name}` ({:#04x}), argument of {size} bytes. Selected by: {}.",
            row.nr,
            code_free(by)
        )?;
        writeln!(constants, "#[doc(alias = \"{c_name}\")]")?;
        if let Some(export) = row.libdxg_export.as_deref().filter(|e| *e != c_name && !e.contains(' ')) {
            writeln!(constants, "#[doc(alias = \"{export}\")]")?;
        }
        writeln!(constants, "pub const {name}: Self = Self({number:#010x});")?;
        let mut argument = "None".to_owned();
        if let Some(c_struct) = &row.argument_struct {
            ensure!(
                arguments.insert(c_struct.clone()),
                "two requests take {c_struct}: give one of them a marker type in requests.rs"
            );
            let known = records.known.get(&key(c_struct)).context("an argument struct is missing")?;
            let rust = &known.rust;
            argument = format!("Some(\"{rust}\")");
            let interrupt =
                if RESTARTABLE.contains(&c_name) { "OnInterrupt::Repeat" } else { "OnInterrupt::Report" };
            writeln!(
                impls,
                "impl Sealed for {rust} {{}}\n\
                 impl Request for {rust} {{\nconst IOCTL: Ioctl = Ioctl::{name};\nconst NAME: &'static str = \"{c_name}\";\n\
                 const ON_INTERRUPT: OnInterrupt = {interrupt};\n}}\n\
                 const _: () = assert!(Ioctl::encode({:#04x}, size_of::<{rust}>()).0 == {number:#010x});",
                row.nr
            )?;
            if !known.has_pointers {
                writeln!(impls, "impl PlainRequest for {rust} {{}}")?;
            }
            writeln!(impls)?;
        }
        writeln!(
            rows,
            "RequestInfo {{ ioctl: Ioctl::{name}, name: \"{c_name}\", constant: \"{name}\", argument: {argument}, \
             size_bytes: {size}, selected_by: \"{by}\", support: Support::{support} }},"
        )?;
    }
    Ok(format!(
        "//! The requests of the node, one row each.\n\n\
         use crate::abi::*;\nuse crate::request::*;\nuse crate::request::sealed::Sealed;\n\n\
         impl Ioctl {{\n{constants}}}\n\n\
         /// Every request, by number.\npub(crate) static TABLE: [RequestInfo; {count}] = [\n{rows}];\n\n{impls}"
    ))
}
