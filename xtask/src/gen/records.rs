//! Structs, unions and flag sets.
//!
//! A C record becomes one of three things: a *flag newtype* when all of it is one storage unit cut into bits, a
//! *union newtype* over words with a method per member, or a plain struct with its padding written down.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;

use super::input::ExtraBit;
use super::input::Field;
use super::input::Layout;
use super::names::Namer;
use super::names::camel;
use super::names::screaming;
use super::names::snake;

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

/// Names of unnamed members: (record, offset) to (field, type suffix).
const UNNAMED: &[(&str, usize, &str, &str)] = &[
    ("d3dkmt_getdevicestate", 8, "state", "State"),
    ("d3dddi_synchronizationobjectinfo2", 8, "object", "Object"),
    ("d3dkmt_waitforsynchronizationobject2", 136, "value", "Value"),
    ("d3dkmt_signalsynchronizationobject2", 400, "value", "Value"),
    ("d3dkmt_waitforsynchronizationobjectfromgpu", 16, "value", "Value"),
    ("d3dkmt_signalsynchronizationobjectfromgpu", 16, "value", "Value"),
    ("d3dkmt_signalsynchronizationobjectfromgpu2", 32, "value", "Value"),
    ("d3dkmt_createallocation", 32, "data", "Data"),
    ("d3dddi_allocationinfo2", 48, "importance", "Importance"),
    ("d3dddi_updategpuvirtualaddress_operation", 8, "args", "Args"),
    ("d3dkmt_reclaimallocations2", 24, "output", "Output"),
    ("d3dkmt_opensyncobjectfromnthandle2", 24, "fence", "Fence"),
    ("d3dddi_allocationlist", 4, "value", "Value"),
    ("d3dddi_patchlocationlist", 4, "value", "Value"),
    ("d3dddi_updateallocproperty", 32, "property_mask_value", "Mask"),
    ("dxgk_isfeatureenabled_result", 2, "value", "Flags"),
    ("D3DKMT_WDDM_1_2_CAPS", 8, "value", "Flags"),
    ("D3DDDI_QUERYREGISTRY_INFO", 544, "output", "Output"),
    ("D3DKMDT_DISPLAYMODE_FLAGS", 0, "source", "Source"),
    ("D3DKMDT_DISPLAYMODE_FLAGS", 4, "timing", "Timing"),
    ("D3DKMT_QUERY_PHYSICAL_ADAPTER_PNP_KEY", 8, "p_dest", "Dest"),
    ("D3DKMT_QUERY_PHYSICAL_ADAPTER_PNP_KEY", 16, "p_cch_dest", "CchDest"),
    ("dxgkvmb_command_vgpu_to_host", 12, "channel", "Channel"),
    ("dxgkvmb_command_host_to_vm", 12, "channel", "Channel"),
    ("dxgkvmb_command_setguestdata", 32, "data", "Value"),
    ("dxgkvmb_command_setguestdata", 40, "kind", "Kind"),
    ("dxgkvmb_command_createprocess", 562, "flags", "Flags"),
    ("dxgkvmb_command_getinternaladapterinfo_return", 12, "flags", "Flags"),
    ("dxgkvmb_command_getstandardallocprivdata", 40, "surface", "Surface"),
    ("dxgkvmb_command_getstandardallocprivdata_return", 12, "surface", "Surface"),
    ("dxgkvmb_command_signalsyncobject", 48, "target", "Target"),
    ("dxgk_feature_desc", 4, "flags", "Flags"),
];

/// Bytes that a header leaves unnamed but that carry something: (record, offset, name, Rust type, size, doc).
const EXTRA_FIELDS: &[(&str, usize, &str, &str, usize, &str)] = &[(
    "d3dkmt_querystatistics",
    800,
    "query_input",
    "u32",
    4,
    "What is asked about: a segment, node, source, group or physical adapter, by the statistics type",
)];

/// Fields whose C type is a plain 64-bit number and whose meaning is known.
fn meaning_of_u64(name: &str) -> Option<&'static str> {
    const GPU_VA: &[&str] = &[
        "gpu_virtual_address",
        "fence_gpu_virtual_address",
        "virtual_address",
        "base_address",
        "minimum_address",
        "maximum_address",
        "source_address",
        "dest_address",
        "gpu_va",
        "fence_gpu_va",
        "fence_value_gpu_va",
        "queue_progress_fence_gpu_va",
        "hwqueue_progress_fence_gpuva",
        "faulted_virtual_address",
        "command_buffer",
    ];
    const FENCE: &[&str] =
        &["fence_value", "initial_fence_value", "paging_fence_value", "hwqueue_progress_fence_id"];
    if GPU_VA.contains(&name) {
        Some("GpuVa")
    } else if FENCE.contains(&name) {
        Some("FenceValue")
    } else {
        None
    }
}

fn scalar(ty: &str) -> Option<(&'static str, usize)> {
    Some(match ty {
        "__u8" | "u8" | "char" | "_Bool" | "UCHAR" | "BOOLEAN" | "BYTE" | "uint8_t" => ("u8", 1),
        "__u16" | "u16" | "WCHAR" | "uint16_t" => ("u16", 2),
        "__u32"
        | "u32"
        | "UINT"
        | "UINT32"
        | "ULONG"
        | "DWORD"
        | "BOOL"
        | "uint32_t"
        | "D3DDDI_VIDEO_PRESENT_SOURCE_ID" => ("u32", 4),
        "int" | "LONG" => ("i32", 4),
        "__u64" | "u64" | "UINT64" | "ULONGLONG" | "HANDLE" => ("u64", 8),
        "LONGLONG" | "LARGE_INTEGER" | "int64_t" => ("i64", 8),
        _ => return None,
    })
}

fn leaf_fields<'f>(fields: &'f [Field], out: &mut Vec<&'f Field>) {
    for field in fields {
        match &field.fields {
            Some(inner) if field.is_anonymous() => leaf_fields(inner, out),
            _ => out.push(field),
        }
    }
}

/// Whether these members are the bits of one storage unit of `size` bytes.
fn is_bit_set(fields: &[Field], size: usize) -> bool {
    let mut leaves = Vec::new();
    leaf_fields(fields, &mut leaves);
    leaves.iter().any(|f| f.bit_width.is_some())
        && leaves.iter().all(|f| f.fields.is_none() && f.size == size && f.offset == leaves[0].offset)
}

/// An expression of `word` bits as one of 64.
fn widened(expression: String, word: usize) -> String {
    if word == 64 { expression } else { format!("u64::from({expression})") }
}

/// The key of a C type in [`Records::known`].
pub(super) fn key(c_name: &str) -> String {
    let bare = ["struct ", "union ", "enum "].iter().find_map(|p| c_name.strip_prefix(p)).unwrap_or(c_name);
    bare.to_ascii_lowercase()
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

    fn structure(
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

    fn union(&mut self, place: &Place<'_>, members: &[Field]) -> anyhow::Result<Known> {
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

    fn bits(
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
