//! The code for a struct, a union, or a flag set.

use std::fmt::Write;

use anyhow::Context;
use anyhow::ensure;

use super::Known;
use super::Leaf;
use super::Place;
use super::Records;
use super::c_types::EXTRA_FIELDS;
use super::c_types::leaf_fields;
use crate::r#gen::input::ExtraBit;
use crate::r#gen::input::Field;
use crate::r#gen::names::screaming;
use crate::r#gen::names::snake;

/// An expression of `word` bits as one of 64.
fn widened(expression: String, word: usize) -> String {
    if word == 64 { expression } else { format!("u64::from({expression})") }
}

impl Records<'_> {
    pub(super) fn structure(
        &mut self,
        place: &Place<'_>,
        fields: &[Field],
        align: Option<usize>,
        aliases: &[String],
        doc: &str,
    ) -> anyhow::Result<Known> {
        self.take(place.rust, place.c_name)?;
        let mut whole = Vec::new();
        let fields = match fields {
            // A union of the real fields and a char array that fixes the size.
            [Field { fields: Some(members), name: None, .. }]
                if members.len() == 2 && members[1].ty == "char" =>
            {
                whole.push(members[1].name.clone().unwrap_or_default());
                members[0].fields.as_deref().context("no fields beside the size array")?
            }
            _ => fields,
        };
        let items = self.items(place, fields)?;
        let natural = items.iter().map(|i| i.align).max().unwrap_or(1);
        let fits = place.size.is_multiple_of(natural)
            && items.iter().all(|i| (i.offset - place.base).is_multiple_of(i.align));
        let packed = align == Some(1) && natural > 1 || align.is_none() && !fits;
        ensure!(packed || fits, "{} is neither packed nor naturally aligned", place.c_name);
        ensure!(align.is_none_or(|a| a == if packed { 1 } else { natural }), "alignment of {}", place.c_name);

        let mut body = String::new();
        let mut asserts = String::new();
        let mut leaves = Vec::new();
        let mut at = place.base;
        let mut pads = 0;
        let end = place.base + place.size;
        let mut pad = |body: &mut String, from: usize, to: usize| -> anyhow::Result<()> {
            if from < to {
                writeln!(body, "    /// Padding; zero.\n    pub padding_{pads}: [u8; {}],", to - from)?;
                pads += 1;
            }
            Ok(())
        };
        for item in &items {
            ensure!(item.offset >= at, "{}: field {} overlaps", place.c_name, item.name);
            pad(&mut body, at, item.offset)?;
            writeln!(body, "    /// {}\n    pub {}: {},", item.doc, item.name, item.ty)?;
            let offset = format!("offset_of!({}, {})", place.rust, item.name);
            write!(asserts, " && {offset} == {}", item.offset - place.base)?;
            for leaf in &item.leaves {
                let sum =
                    if leaf.offset == "0" { offset.clone() } else { format!("{offset} + {}", leaf.offset) };
                let suffix = format!(".{}{}", item.name, leaf.suffix);
                leaves.push(Leaf { path: leaf.path.clone(), offset: sum, suffix, mask: leaf.mask.clone() });
            }
            at = item.offset + item.size;
        }
        for (_, offset, name, ty, size, text) in EXTRA_FIELDS.iter().filter(|x| x.0 == place.c_name) {
            pad(&mut body, at, *offset)?;
            writeln!(body, "    /// {text}; offset {offset}.\n    pub {name}: {ty},")?;
            at = offset + size;
        }
        pad(&mut body, at, end)?;
        for name in whole {
            leaves.push(Leaf { path: name, offset: "0".into(), suffix: String::new(), mask: None });
        }
        self.doc(place, aliases, doc, if packed { "packed, " } else { "" })?;
        let repr = if packed { "C, packed" } else { "C" };
        writeln!(
            self.out,
            "#[repr({repr})]\n#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]\n\
             pub struct {} {{\n{body}}}\nconst _: () = assert!(size_of::<{0}>() == {}{asserts});\n",
            place.rust, place.size
        )?;
        Ok(Known {
            rust: place.rust.to_owned(),
            size: place.size,
            align: if packed { 1 } else { natural },
            leaves,
            has_pointers: items.iter().any(|i| i.has_pointers),
        })
    }

    pub(super) fn union(&mut self, place: &Place<'_>, members: &[Field]) -> anyhow::Result<Known> {
        self.take(place.rust, place.c_name)?;
        let items = self.items(place, members)?;
        let align = items.iter().map(|i| i.align).max().unwrap_or(1);
        ensure!(place.size.is_multiple_of(align), "size of union {}", place.c_name);
        let word = align * 8;
        self.doc(place, &[], "One of several members; the record around it says which.", "")?;
        let mut methods = String::new();
        let mut leaves = Vec::new();
        for item in &items {
            let (name, ty) = (&item.name, &item.ty);
            write!(
                methods,
                "\n    /// The member `{name}`.\n    pub fn {name}(&self) -> {ty} {{\n\
                 let (value, _) = <{ty}>::read_from_prefix(self.as_bytes()).expect(\"each member fits, asserted above\");\n\
                 value\n    }}\n\n\
                 /// Writes the member `{name}` and leaves the bytes behind it.\n\
                 pub fn set_{name}(&mut self, value: {ty}) {{\n\
                 value.write_to_prefix(self.as_mut_bytes()).expect(\"each member fits, asserted above\");\n    }}\n\n\
                 /// The union with the member `{name}` set and zero behind it.\n\
                 pub fn from_{name}(value: {ty}) -> Self {{\n\
                 let mut union = Self::new_zeroed();\n        union.set_{name}(value);\n        union\n    }}\n"
            )?;
            for leaf in &item.leaves {
                let suffix = format!(".{name}(){}", leaf.suffix);
                leaves.push(Leaf { suffix, ..leaf.clone() });
            }
        }
        writeln!(
            self.out,
            "#[repr(transparent)]\n\
             #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]\n\
             pub struct {}(pub [u{word}; {}]);",
            place.rust,
            place.size / align
        )?;
        write!(self.out, "const _: () = assert!(size_of::<{}>() == {}", place.rust, place.size)?;
        for item in &items {
            write!(self.out, " && size_of::<{}>() <= {}", item.ty, place.size)?;
        }
        writeln!(self.out, ");\n\nimpl {} {{{methods}}}\n", place.rust)?;
        Ok(Known {
            rust: place.rust.to_owned(),
            size: place.size,
            align,
            leaves,
            has_pointers: items.iter().any(|i| i.has_pointers),
        })
    }

    pub(super) fn bits(
        &mut self,
        place: &Place<'_>,
        fields: &[Field],
        extra: &[ExtraBit],
        align: Option<usize>,
        aliases: &[String],
        doc: &str,
    ) -> anyhow::Result<Known> {
        self.take(place.rust, place.c_name)?;
        let mut members = Vec::new();
        leaf_fields(fields, &mut members);
        let (rust, word) = (place.rust, place.size * 8);
        let packed = align == Some(1) && place.size > 1;
        let mut flags = String::new();
        let mut methods = String::new();
        let mut leaves = Vec::new();
        for field in &members {
            let c_field = field.name.clone().context("a bit field without a name")?;
            let (mask, _) = match (field.bit_offset, field.bit_width) {
                (Some(shift), Some(1)) => {
                    let name = screaming(&c_field);
                    writeln!(flags, "/// Bit {shift}: `{c_field}`.\nconst {name} = 1 << {shift};")?;
                    (Some(widened(format!("{rust}::{name}.bits()"), word)), ())
                }
                (Some(shift), Some(width)) => {
                    let name = snake(&c_field);
                    let mask = if width == 64 { u64::MAX } else { (1u64 << width) - 1 };
                    let all = width as usize == word;
                    let (get, put) = match (all, shift) {
                        (true, _) => ("self.0".to_owned(), "Self(value)".to_owned()),
                        (false, 0) => (
                            format!("self.0 & {mask:#x}"),
                            format!("Self((self.0 & !{mask:#x}) | (value & {mask:#x}))"),
                        ),
                        (false, _) => (
                            format!("(self.0 >> {shift}) & {mask:#x}"),
                            format!(
                                "Self((self.0 & !({mask:#x} << {shift})) | ((value & {mask:#x}) << {shift}))"
                            ),
                        ),
                    };
                    writeln!(
                        methods,
                        "/// The {width} bits of `{c_field}`, from bit {shift}.\n\
                         pub const fn {name}(self) -> u{word} {{ {get} }}\n\n\
                         /// The same with `{c_field}` set to the low {width} bits of `value`.\n\
                         #[must_use]\npub const fn with_{}(self, value: u{word}) -> Self {{ {put} }}\n",
                        name.trim_start_matches("r#")
                    )?;
                    let with = name.trim_start_matches("r#");
                    (Some(widened(format!("{rust}(0).with_{with}(u{word}::MAX).bits()"), word)), ())
                }
                _ => (None, ()),
            };
            leaves.push(Leaf { path: c_field, offset: "0".into(), suffix: String::new(), mask });
        }
        for bit in extra.iter().filter(|b| b.offset == place.base && b.bit_width == 1) {
            let (name, shift) = (screaming(&bit.name), bit.bit_offset);
            writeln!(
                flags,
                "/// Bit {shift}: `{}`, which only the library names.\nconst {name} = 1 << {shift};",
                bit.name
            )?;
        }
        self.doc(place, aliases, doc, "flags, ")?;
        let repr = if packed { "C, packed" } else { "transparent" };
        writeln!(
            self.out,
            "#[repr({repr})]\n#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]\n\
             pub struct {rust}(pub u{word});\nconst _: () = assert!(size_of::<{rust}>() == {});\n\n\
             bitflags! {{\nimpl {rust}: u{word} {{\n{flags}\n/// Unknown bits are kept.\nconst _ = !0;\n}}\n}}\n",
            place.size
        )?;
        if !methods.is_empty() {
            writeln!(self.out, "impl {rust} {{\n{methods}}}\n")?;
        }
        Ok(Known {
            rust: rust.to_owned(),
            size: place.size,
            align: if packed { 1 } else { place.size },
            leaves,
            has_pointers: false,
        })
    }

    fn doc(&mut self, place: &Place<'_>, aliases: &[String], doc: &str, what: &str) -> anyhow::Result<()> {
        let plural = if place.size == 1 { "byte" } else { "bytes" };
        writeln!(self.out, "/// `{}`: {what}{} {plural}.", place.c_name, place.size)?;
        for line in doc.lines() {
            writeln!(self.out, "///\n/// {line}")?;
        }
        writeln!(self.out, "///\n/// Source: header.")?;
        for alias in aliases {
            writeln!(self.out, "#[doc(alias = \"{alias}\")]")?;
        }
        Ok(())
    }
}
