//! Structs, unions and flag sets.
//!
//! A C record becomes one of three things: a *flag newtype* when all of it is one storage unit cut into bits, a
//! *union newtype* over words with a method per member, or a plain struct with its padding written down.

mod c_types;
mod emit;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;

use super::input::Field;
use super::input::Layout;
use super::names::Namer;
use super::names::camel;
use super::names::snake;
use crate::r#gen::records::c_types::UNNAMED;
use crate::r#gen::records::c_types::is_bit_set;
pub(super) use crate::r#gen::records::c_types::key;
use crate::r#gen::records::c_types::meaning_of_u64;
use crate::r#gen::records::c_types::scalar;

/// How to reach one C field in a Rust value, for the tests.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// The C path, as in `info.monitored_fence.fence_gpu_virtual_address`.
    pub path: String,
    /// A constant expression for the offset.
    pub offset: String,
    /// What to append to a value of the type to read the field.
    pub suffix: String,
    /// A constant expression for the mask of a bit field in its storage unit.
    pub mask: Option<String>,
}

/// What is known about a C type.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub rust: String,
    pub size: usize,
    pub align: usize,
    pub leaves: Vec<Leaf>,
    pub has_pointers: bool,
}

/// The types made so far and the code for them.
pub(super) struct Records<'a> {
    pub namer: &'a Namer,
    pub known: BTreeMap<String, Known>,
    /// Every Rust name in use, with the C name that took it.
    pub taken: BTreeMap<String, String>,
    /// Names of types that the emitted code mentions.
    pub mentioned: BTreeSet<String>,
    pub out: String,
}

struct Item {
    name: String,
    ty: String,
    offset: usize,
    size: usize,
    align: usize,
    doc: String,
    leaves: Vec<Leaf>,
    has_pointers: bool,
}

/// What a record is called and where it starts in its parent.
struct Place<'s> {
    c_name: &'s str,
    rust: &'s str,
    /// What the names of inline members start with.
    prefix: &'s str,
    base: usize,
    size: usize,
}

impl<'a> Records<'a> {
    /// Starts with the types that are written by hand.
    pub(super) fn new(namer: &'a Namer) -> Self {
        let hand = |rust: &str, size, align, leaves: &[(&str, &str)]| Known {
            rust: rust.to_owned(),
            size,
            align,
            leaves: leaves
                .iter()
                .map(|(path, field)| Leaf {
                    path: (*path).to_owned(),
                    offset: format!("offset_of!({rust}, {field})"),
                    suffix: format!(".{field}"),
                    mask: None,
                })
                .collect(),
            has_pointers: false,
        };
        let known = BTreeMap::from([
            ("d3dkmthandle".to_owned(), hand("RawHandle", 4, 4, &[])),
            ("d3dkmt_handle".to_owned(), hand("RawHandle", 4, 4, &[])),
            ("ntstatus".to_owned(), hand("NtStatus", 4, 4, &[])),
            ("winluid".to_owned(), hand("Luid", 8, 4, &[("a", "a"), ("b", "b")])),
            ("luid".to_owned(), hand("Luid", 8, 4, &[("LowPart", "a"), ("HighPart", "b")])),
        ]);
        Self { namer, known, taken: BTreeMap::new(), mentioned: BTreeSet::new(), out: String::new() }
    }

    fn take(&mut self, rust: &str, c_name: &str) -> anyhow::Result<()> {
        if let Some(other) = self.taken.insert(rust.to_owned(), c_name.to_owned()) {
            bail!("{rust} names both {other} and {c_name}");
        }
        Ok(())
    }

    /// Makes an enum's type known.
    pub(super) fn add_enum(&mut self, c_name: &str, rust: &str) -> anyhow::Result<()> {
        self.take(rust, c_name)?;
        let known =
            Known { rust: rust.to_owned(), size: 4, align: 4, leaves: Vec::new(), has_pointers: false };
        self.known.insert(key(c_name), known);
        Ok(())
    }

    /// Writes a named struct or union. `doc` is what to say besides name, size and source.
    pub(super) fn add(&mut self, layout: &Layout, doc: &str) -> anyhow::Result<()> {
        let rust = self.namer.type_name(&layout.name)?;
        let mut aliases = vec![layout.name.clone()];
        aliases.extend(layout.libdxg_type.clone().filter(|t| *t != layout.name));
        let place = Place { c_name: &layout.name, rust: &rust, prefix: &rust, base: 0, size: layout.size };
        let known = if is_bit_set(&layout.fields, layout.size) {
            self.bits(&place, &layout.fields, &layout.bits_named_only_in_libdxg, layout.align, &aliases, doc)?
        } else {
            self.structure(&place, &layout.fields, layout.align, &aliases, doc)?
        };
        self.known.insert(key(&layout.name), known);
        Ok(())
    }

    /// The Rust type of a field that is not an inline record.
    fn type_of(&mut self, field: &Field) -> anyhow::Result<Item> {
        let name = field.name.clone().unwrap_or_default();
        let (ty, size, align, leaves) = if field.is_pointer() {
            ("UserPtr".to_owned(), 8, 8, Vec::new())
        } else if let Some((ty, size)) = scalar(&field.ty) {
            let ty = if size == 8 { meaning_of_u64(&name).unwrap_or(ty) } else { ty };
            (ty.to_owned(), size, size, Vec::new())
        } else {
            let known = self
                .known
                .get(&key(&field.ty))
                .with_context(|| format!("type {} of field {name} is not known yet", field.ty))?;
            (known.rust.clone(), known.size, known.align, known.leaves.clone())
        };
        self.mentioned.insert(ty.clone());
        let has_pointers =
            field.is_pointer() || self.known.get(&key(&field.ty)).is_some_and(|k| k.has_pointers);
        let (ty, leaves) = match field.array_len {
            Some(n) => (format!("[{ty}; {n}]"), Vec::new()),
            None => (ty, leaves),
        };
        ensure!(
            size * field.array_len.unwrap_or(1) == field.size,
            "size of field {name} of type {}",
            field.ty
        );
        let mut doc = match (&field.points_to, field.is_pointer()) {
            (Some(to), _) => format!("Address of `{to}` in the caller"),
            (None, true) => "An address".to_owned(),
            _ => match field.ty.as_str() {
                "_Bool" | "BOOL" | "BOOLEAN" => "Zero is false".to_owned(),
                "WCHAR" => "UTF-16 text, ended by a zero".to_owned(),
                "struct d3dkmthandle" => "A handle".to_owned(),
                _ => format!("`{name}`"),
            },
        };
        write!(doc, "; offset {}.", field.offset)?;
        Ok(Item {
            name: snake(&name),
            ty,
            offset: field.offset,
            size: field.size,
            align,
            doc,
            leaves,
            has_pointers,
        })
    }

    fn unnamed(place: &Place<'_>, offset: usize) -> anyhow::Result<(String, String)> {
        UNNAMED
            .iter()
            .find(|(record, at, _, _)| *record == place.c_name && *at == offset)
            .map(|(_, _, field, suffix)| ((*field).to_owned(), format!("{}{suffix}", place.rust)))
            .with_context(|| {
                format!("give the unnamed member of {} at {offset} a name in records.rs", place.c_name)
            })
    }

    fn inline(&mut self, place: &Place<'_>, field: &Field, inner: &[Field]) -> anyhow::Result<Item> {
        let anonymous = field.is_anonymous();
        let (name, rust) = match &field.name {
            Some(name) => {
                let words: Vec<String> = snake(name).split('_').map(str::to_owned).collect();
                (snake(name), format!("{}{}", place.prefix, camel(&words)))
            }
            None => Self::unnamed(place, field.offset)?,
        };
        let c_name = format!("{}.{}", place.c_name, field.name.as_deref().unwrap_or(&name));
        let prefix = if anonymous { place.prefix } else { &rust };
        let inner_place =
            Place { c_name: &c_name, rust: &rust, prefix, base: field.offset, size: field.size };
        let known = if is_bit_set(inner, field.size) {
            self.bits(&inner_place, inner, &[], None, &[], "")?
        } else if field.ty == "union" {
            self.union(&inner_place, inner)?
        } else {
            self.structure(&inner_place, inner, None, &[], "")?
        };
        self.mentioned.insert(rust.clone());
        let mut leaves = known.leaves;
        if let (false, Some(name)) = (anonymous, &field.name) {
            for leaf in &mut leaves {
                leaf.path = format!("{name}.{}", leaf.path);
            }
        }
        Ok(Item {
            name,
            ty: rust,
            offset: field.offset,
            size: field.size,
            align: known.align,
            doc: format!("Offset {}.", field.offset),
            leaves,
            has_pointers: known.has_pointers,
        })
    }

    fn items(&mut self, place: &Place<'_>, fields: &[Field]) -> anyhow::Result<Vec<Item>> {
        let mut flat = Vec::new();
        for field in fields {
            match &field.fields {
                Some(inner) if field.is_anonymous() && field.ty == "struct" => {
                    flat.extend(inner.iter().cloned())
                }
                _ => flat.push(field.clone()),
            }
        }
        let mut items: Vec<Item> = Vec::new();
        let mut at = 0;
        while at < flat.len() {
            let field = &flat[at];
            if field.bit_width.is_some() {
                let group: Vec<Field> = flat[at..]
                    .iter()
                    .take_while(|f| f.bit_width.is_some() && f.offset == field.offset)
                    .cloned()
                    .collect();
                at += group.len();
                let (name, rust) = Self::unnamed(place, field.offset)?;
                let c_name = format!("{}.{name}", place.c_name);
                let inner = Place {
                    c_name: &c_name,
                    rust: &rust,
                    prefix: &rust,
                    base: field.offset,
                    size: field.size,
                };
                let known = self.bits(&inner, &group, &[], None, &[], "")?;
                items.push(Item {
                    name,
                    ty: rust,
                    offset: field.offset,
                    size: field.size,
                    align: field.size,
                    doc: format!("Bit fields; offset {}.", field.offset),
                    leaves: known.leaves,
                    has_pointers: false,
                });
                continue;
            }
            at += 1;
            if field.size == 0 {
                continue; // An open array: its elements are not part of the struct.
            }
            let item = match &field.fields {
                Some(inner) => self.inline(place, field, &inner.clone())?,
                None => {
                    let mut item = self.type_of(field)?;
                    let name = field.name.clone().unwrap_or_default();
                    if item.leaves.is_empty() {
                        let leaf = Leaf { path: name, offset: "0".into(), suffix: String::new(), mask: None };
                        item.leaves = vec![leaf];
                    } else {
                        for leaf in &mut item.leaves {
                            leaf.path = format!("{name}.{}", leaf.path);
                        }
                    }
                    item
                }
            };
            items.push(item);
        }
        Ok(items)
    }
}
