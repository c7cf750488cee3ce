//! Guest side of structures: encoders of inputs, skeletons of outputs, decoders of outputs into the caller's memory.

use super::emit;
use super::emit::put;
use super::model::Field;
use super::model::Model;
use super::model::Shape;
use super::model::Struct;
use super::model::Ty;
use super::names;

const SAFE: &str = "// SAFETY: by the Vulkan rules, which the caller vouches for, pointers are null or valid for their counts.";

/// The file `dxg-vk/src/generated/structs.rs`.
pub(super) fn generate(model: &Model) -> String {
    let mut out = String::from(HEAD);
    for known in model.structs.values() {
        if model.inputs.contains(&known.name) {
            input(model, known, &mut out);
        }
        if model.outputs.contains(&known.name) {
            output(model, known, &mut out);
        }
    }
    chains(model, &mut out);
    out
}

const HEAD: &str = r#"//! Structures of the Vulkan registry: encoders of inputs, skeletons of outputs, decoders into the caller's memory.
//!
//! Names: `enc_x` with the extension chain, `body_x` without, `skel_x` what the host must know of an output structure,
//! `fill_x` writes one that came back.

// UNSAFETY: reads structures of the application, which is the Vulkan calling convention.
#![expect(unsafe_code, reason = "structures of the application are reached through raw pointers")]
#![allow(dead_code, deprecated, unused_imports, reason = "the registry has more than the hand-written part uses")]
#![allow(clippy::unnecessary_cast, clippy::too_many_arguments, clippy::manual_div_ceil, reason = "one text for all types")]

use core::ffi::c_char;
use core::ffi::c_void;
use std::time::Instant;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::vulkan::END_OF_CHAIN;
use dxg_wire::vulkan::NULL_ARRAY;

use crate::forward::command_buffer_id;

/// The value behind an optional pointer.
///
/// # Safety
/// `p` is null or points to a value that lives for `'a`.
pub(crate) unsafe fn opt<'a, T>(p: *const T) -> Option<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { p.as_ref() }
}

/// The values behind an optional pointer.
///
/// # Safety
/// `p` is null or points to `count` values that live for `'a`.
pub(crate) unsafe fn list<'a, T>(p: *const T, count: usize) -> Option<&'a [T]> {
    if p.is_null() {
        return None;
    }
    if count == 0 {
        return Some(&[]);
    }
    // SAFETY: not null, and the caller promises `count` values.
    Some(unsafe { core::slice::from_raw_parts(p, count) })
}

/// The values behind an optional pointer, to write.
///
/// # Safety
/// `p` is null or points to `count` values that live for `'a` and that nobody else uses.
pub(crate) unsafe fn list_mut<'a, T>(p: *mut T, count: usize) -> Option<&'a mut [T]> {
    if p.is_null() {
        return None;
    }
    if count == 0 {
        return Some(&mut []);
    }
    // SAFETY: not null, and the caller promises `count` values.
    Some(unsafe { core::slice::from_raw_parts_mut(p, count) })
}

/// Encodes a string that ends with NUL.
///
/// # Safety
/// `p` is null or a string.
pub(crate) unsafe fn text(e: &mut Encoder, p: *const c_char) {
    if p.is_null() {
        e.u32(NULL_ARRAY);
        return;
    }
    // SAFETY: not null, and the caller promises a string.
    let bytes = unsafe { core::ffi::CStr::from_ptr(p) }.to_bytes();
    e.u32(bytes.len() as u32);
    e.bytes(bytes);
}

/// Positions of an allow list that were met.
#[derive(Default)]
struct Seen([u64; 8]);

impl Seen {
    /// Notes `at`; whether it is new.
    fn first(&mut self, at: usize) -> bool {
        let Some(word) = self.0.get_mut(at / 64) else { return false };
        let bit = 1_u64 << (at % 64);
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

/// Encodes the structures of a chain that `allowed` (sorted) names.
///
/// # Safety
/// `first` is null or starts a valid chain.
unsafe fn chain(e: &mut Encoder, first: *const c_void, allowed: &[i32]) {
    let mut seen = Seen::default();
    let mut next = first.cast::<vk::BaseInStructure<'_>>();
    // SAFETY: a chain ends with null.
    while let Some(base) = unsafe { next.as_ref() } {
        if let Ok(at) = allowed.binary_search(&base.s_type.as_raw())
            && seen.first(at)
        {
            e.i32(base.s_type.as_raw());
            // SAFETY: `next` is a structure of the chain.
            unsafe { chain_body(e, next) };
        }
        next = base.p_next;
    }
    e.u32(END_OF_CHAIN);
}

/// Encodes what the host must know of the output structures of a chain that `allowed` (sorted) names.
///
/// # Safety
/// `first` is null or starts a valid chain.
unsafe fn skel_chain(e: &mut Encoder, first: *const c_void, allowed: &[i32]) {
    let mut seen = Seen::default();
    let mut next = first.cast::<vk::BaseInStructure<'_>>();
    // SAFETY: a chain ends with null.
    while let Some(base) = unsafe { next.as_ref() } {
        if let Ok(at) = allowed.binary_search(&base.s_type.as_raw())
            && seen.first(at)
        {
            e.i32(base.s_type.as_raw());
            // SAFETY: `next` is a structure of the chain.
            unsafe { skel_chain_body(e, next) };
        }
        next = base.p_next;
    }
    e.u32(END_OF_CHAIN);
}

/// Decodes the structures of a chain into the caller's.
///
/// # Safety
/// `first` is null or starts a valid chain that may be written.
unsafe fn fill_chain(d: &mut Decoder<'_>, first: *mut c_void) -> Result<(), DecodeError> {
    loop {
        let s_type = d.u32()?;
        if s_type == END_OF_CHAIN {
            return Ok(());
        }
        let mut next = first.cast::<vk::BaseOutStructure<'_>>();
        loop {
            // SAFETY: a chain ends with null.
            let Some(base) = (unsafe { next.as_ref() }) else {
                return Err(DecodeError::Malformed);
            };
            if base.s_type.as_raw() as u32 == s_type {
                break;
            }
            next = base.p_next;
        }
        // SAFETY: `next` is a structure of the chain.
        unsafe { fill_chain_body(d, next) }?;
    }
}

/// Writes into the feedback structures of a pipeline's chain how long its creation took; of its stages nothing is known.
///
/// # Safety
/// `first` is null or starts a valid chain.
pub(crate) unsafe fn tell_pipeline_feedback(first: *const c_void, began: Instant) {
    let mut next = first.cast::<vk::BaseInStructure<'_>>();
    // SAFETY: a chain ends with null.
    while let Some(base) = unsafe { next.as_ref() } {
        if base.s_type == vk::StructureType::PIPELINE_CREATION_FEEDBACK_CREATE_INFO {
            // SAFETY: the type says what the structure is.
            let info = unsafe { &*next.cast::<vk::PipelineCreationFeedbackCreateInfo<'_>>() };
            let count = info.pipeline_stage_creation_feedback_count as usize;
            // SAFETY: the rules ask for one writable value.
            let whole = unsafe { list_mut(info.p_pipeline_creation_feedback, 1) };
            // SAFETY: the rules ask for as many writable values as the count says.
            let stages = unsafe { list_mut(info.p_pipeline_stage_creation_feedbacks, count) };
            let duration_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            for feedback in whole.into_iter().flatten() {
                let flags = vk::PipelineCreationFeedbackFlags::VALID;
                *feedback = vk::PipelineCreationFeedback { flags, duration: duration_ns };
            }
            for feedback in stages.into_iter().flatten() {
                *feedback = vk::PipelineCreationFeedback::default();
            }
        }
        next = base.p_next;
    }
}
"#;

fn chain_name(name: &str, prefix: &str) -> String {
    format!("{prefix}_{}", names::constant(name))
}

/// The sorted list of types that may extend `known`.
pub(super) fn allow_list(model: &Model, known: &Struct, prefix: &str, visibility: &str) -> String {
    let mut types: Vec<String> = known
        .extended_by
        .iter()
        .filter_map(|name| model.structs.get(name)?.s_type.clone())
        .map(|ty| format!("vk::StructureType::{}.as_raw()", names::structure_type(&ty)))
        .collect();
    types.sort();
    types.dedup();
    let mut out = String::new();
    put!(
        out,
        "{visibility}static {}: &[i32] = &sorted([{}]);",
        chain_name(&known.name, prefix),
        types.join(", ")
    );
    out
}

const SORTED: &str = r#"
/// Sorts an allow list when it is compiled.
const fn sorted<const N: usize>(mut list: [i32; N]) -> [i32; N] {
    let mut done = 0;
    while done < N {
        let mut at = done;
        while at > 0 && list[at - 1] > list[at] {
            let lower = list[at];
            list[at] = list[at - 1];
            list[at - 1] = lower;
            at -= 1;
        }
        done += 1;
    }
    list
}
"#;

/// The function that the allow lists are sorted with.
pub(super) fn sorted() -> &'static str {
    SORTED
}

fn input(model: &Model, known: &Struct, out: &mut String) {
    let snake = names::ty_snake(&known.name);
    let ty = Ty::Struct(known.name.clone()).rust(model, "'_");
    let plain = emit::plain(model, &known.name);
    let doc = |out: &mut String, what: &str| {
        put!(out, "\n/// Encodes a `{}`{what}.", known.name);
        if !plain {
            put!(out, "///\n/// # Safety\n/// `s` is valid as the Vulkan rules ask.");
        }
    };
    let qualifier = if plain { "" } else { "unsafe " };
    let has_chain = known.has_chain();
    if has_chain {
        put!(out, "{}", allow_list(model, known, "CHAIN", ""));
        doc(out, " with its extension chain");
        put!(out, "pub(crate) {qualifier}fn enc_{snake}(e: &mut Encoder, s: &{ty}) {{");
        if known.extended_by.is_empty() {
            put!(out, "e.u32(END_OF_CHAIN);");
        } else {
            put!(
                out,
                "{SAFE}\nunsafe {{ chain(e, s.p_next.cast(), {}) }};",
                chain_name(&known.name, "CHAIN")
            );
        }
        put!(out, "{SAFE}\nunsafe {{ body_{snake}(e, s) }};\n}}");
    }
    let name = if has_chain { format!("body_{snake}") } else { format!("enc_{snake}") };
    doc(out, if has_chain { " without its extension chain" } else { "" });
    let fields: String = known.fields.iter().map(|field| input_field(model, known, field)).collect();
    let (e, s) = if fields.trim().is_empty() { ("_e", "_s") } else { ("e", "s") };
    put!(out, "pub(crate) {qualifier}fn {name}({e}: &mut Encoder, {s}: &{ty}) {{\n{fields}}}");
}

fn input_field(model: &Model, known: &Struct, field: &Field) -> String {
    let place = format!("s.{}", field.name());
    let mut out = String::new();
    match &field.shape {
        Shape::SType | Shape::Next | Shape::Allocator => return out,
        Shape::Array { len, .. } | Shape::Blob { len, .. } | Shape::Texts { len, .. } => {
            let count = emit::member_length(&known.fields, len);
            let pointer = emit::valid_when(&known.name, &field.member.name)
                .map_or(place.clone(), |condition| {
                    format!("if {condition} {{ {place} }} else {{ core::ptr::null() }}")
                });
            out.push_str(&encode_pointer(model, &field.shape, &pointer, &count));
        }
        shape => out.push_str(&encode_pointer(model, shape, &place, "0")),
    }
    out
}

/// Statements that encode a field or parameter by its shape.
pub(super) fn encode_pointer(model: &Model, shape: &Shape, pointer: &str, count: &str) -> String {
    let mut out = String::new();
    match shape {
        Shape::SType | Shape::Next | Shape::Allocator => {}
        Shape::Value(ty) => put!(out, "{}", emit::encode(model, ty, pointer, "enc")),
        Shape::Fixed(ty, dims) => fixed(model, ty, dims, pointer, &mut out, "enc"),
        Shape::Pointer { ty, .. } => {
            put!(
                out,
                "{SAFE}\nmatch unsafe {{ opt({pointer}) }} {{ None => e.u32(0), Some(value) => {{ e.u32(1);"
            );
            put!(out, "{}", emit::encode(model, ty, "(*value)", "enc").replace("&(*value)", "value"));
            put!(out, "}} }}");
        }
        Shape::Array { ty: Ty::Scalar("u8"), .. }
        | Shape::Array { ty: Ty::Char, .. }
        | Shape::Blob { .. } => {
            put!(
                out,
                "{SAFE}\nmatch unsafe {{ list({pointer}.cast::<u8>(), {count}) }} {{ None => e.u32(NULL_ARRAY), \
                 Some(bytes) => {{ e.u32(bytes.len() as u32); e.bytes(bytes); }} }}"
            );
            if pointer.starts_with("if ") {
                out = out.replace(&format!("{pointer}.cast"), &format!("({pointer}).cast"));
            }
        }
        Shape::Array { ty: Ty::Scalar(name @ ("u32" | "u64")), .. } => {
            put!(
                out,
                "{SAFE}\nmatch unsafe {{ list({pointer}, {count}) }} {{ None => e.u32(NULL_ARRAY), Some(items) => {{ \
                 e.count(items.len()); e.{name}s(items); }} }}"
            );
        }
        Shape::Array { ty, .. } => {
            put!(
                out,
                "{SAFE}\nmatch unsafe {{ list({pointer}, {count}) }} {{ None => e.u32(NULL_ARRAY), Some(items) => {{"
            );
            put!(out, "e.count(items.len());\nfor item in items {{");
            put!(out, "{}", emit::encode(model, ty, "(*item)", "enc").replace("&(*item)", "item"));
            put!(out, "}} }} }}");
        }
        Shape::Text { .. } => put!(out, "{SAFE}\nunsafe {{ text(e, {pointer}) }};"),
        Shape::Texts { .. } => {
            put!(
                out,
                "{SAFE}\nmatch unsafe {{ list({pointer}, {count}) }} {{ None => e.u32(NULL_ARRAY), Some(items) => {{"
            );
            put!(
                out,
                "e.count(items.len());\nfor item in items {{\n{SAFE}\nunsafe {{ text(e, *item) }};\n}} }} }}"
            );
        }
    }
    out
}

/// Statements that encode a static array.
pub(super) fn fixed(model: &Model, ty: &Ty, dims: &[String], place: &str, out: &mut String, function: &str) {
    match ty {
        Ty::Scalar("u8") => put!(out, "e.bytes(&{place});"),
        Ty::Char => put!(out, "e.bytes(&{place}.map(|byte| byte as u8));"),
        _ => {
            let items = emit::iterate(place, dims, "iter");
            put!(out, "for item in {items} {{");
            put!(out, "{}", emit::encode(model, ty, "(*item)", function).replace("&(*item)", "item"));
            put!(out, "}}");
        }
    }
}

fn output(model: &Model, known: &Struct, out: &mut String) {
    let snake = names::ty_snake(&known.name);
    let ty = Ty::Struct(known.name.clone()).rust(model, "'_");
    let has_chain = known.has_chain();
    if emit::needs_skeleton(model, &known.name) {
        if has_chain {
            if !model.inputs.contains(&known.name) {
                put!(out, "{}", allow_list(model, known, "CHAIN", ""));
            }
            put!(out, "\n/// Encodes what the host must know of a `{}` that it will fill.", known.name);
            put!(out, "///\n/// # Safety\n/// `s` is valid as the Vulkan rules ask of an output.");
            put!(out, "pub(crate) unsafe fn skel_{snake}(e: &mut Encoder, s: &{ty}) {{");
            put!(
                out,
                "{SAFE}\nunsafe {{ skel_chain(e, s.p_next.cast(), {}) }};",
                chain_name(&known.name, "CHAIN")
            );
            put!(out, "{SAFE}\nunsafe {{ skel_body_{snake}(e, s) }};\n}}");
        }
        let name = if has_chain { format!("skel_body_{snake}") } else { format!("skel_{snake}") };
        let fields: String = known.fields.iter().map(|field| skeleton_field(model, known, field)).collect();
        let (e, s) = if fields.trim().is_empty() { ("_e", "_s") } else { ("e", "s") };
        put!(
            out,
            "\n/// Encodes what the host must know of a `{}` that it will fill, its chain left out.",
            known.name
        );
        put!(out, "///\n/// # Safety\n/// `s` is valid as the Vulkan rules ask of an output.");
        put!(out, "pub(crate) unsafe fn {name}({e}: &mut Encoder, {s}: &{ty}) {{\n{fields}}}");
    }
    if has_chain {
        put!(out, "\n/// Decodes a `{}` and its chain into the caller's.", known.name);
        put!(out, "///\n/// # Safety\n/// `s` is valid as the Vulkan rules ask of an output.");
        put!(out, "///\n/// # Errors\n/// The reply does not fit.");
        put!(
            out,
            "pub(crate) unsafe fn fill_{snake}(d: &mut Decoder<'_>, s: &mut {ty}) -> Result<(), DecodeError> {{"
        );
        put!(out, "{SAFE}\nunsafe {{ fill_chain(d, s.p_next as *mut c_void) }}?;");
        put!(out, "{SAFE}\nunsafe {{ fill_body_{snake}(d, s) }}\n}}");
    }
    let name = if has_chain { format!("fill_body_{snake}") } else { format!("fill_{snake}") };
    let fields: String = known.fields.iter().map(|field| fill_field(model, known, field)).collect();
    let (d, s) = if fields.trim().is_empty() { ("_d", "_s") } else { ("d", "s") };
    put!(out, "\n/// Decodes a `{}` into the caller's.", known.name);
    put!(out, "///\n/// # Safety\n/// `s` is valid as the Vulkan rules ask of an output.");
    put!(out, "///\n/// # Errors\n/// The reply does not fit.");
    put!(
        out,
        "pub(crate) unsafe fn {name}({d}: &mut Decoder<'_>, {s}: &mut {ty}) -> Result<(), DecodeError> {{"
    );
    put!(out, "{fields}Ok(())\n}}");
}

fn skeleton_field(model: &Model, known: &Struct, field: &Field) -> String {
    let place = format!("s.{}", field.name());
    let mut out = String::new();
    match &field.shape {
        Shape::Value(Ty::Struct(inner)) if emit::needs_skeleton(model, inner) => {
            put!(out, "{SAFE}\nunsafe {{ skel_{}(e, &{place}) }};", names::ty_snake(inner));
        }
        Shape::Array { len, .. } | Shape::Blob { len, .. } => {
            let count = emit::member_length(&known.fields, len);
            put!(out, "e.u32(if {place}.is_null() {{ NULL_ARRAY }} else {{ {count} as u32 }});");
        }
        _ => {}
    }
    out
}

fn fill_field(model: &Model, known: &Struct, field: &Field) -> String {
    let place = format!("s.{}", field.name());
    let mut out = String::new();
    match &field.shape {
        Shape::SType | Shape::Next | Shape::Allocator | Shape::Text { .. } | Shape::Texts { .. } => {}
        Shape::Pointer { .. } => {}
        // The count comes with its array: until that is filled it says how much fits.
        Shape::Value(_) if is_count(known, &field.member.name) => {}
        Shape::Value(ty) => out.push_str(&fill_value(ty, &place)),
        Shape::Fixed(ty, dims) => match ty {
            Ty::Scalar("u8") | Ty::Char => {
                put!(out, "let bytes = d.bytes({place}.len())?;");
                put!(out, "for (to, from) in {place}.iter_mut().zip(bytes) {{ *to = *from as _; }}");
            }
            _ => {
                put!(out, "for item in {} {{", emit::iterate(&place, dims, "iter_mut"));
                put!(out, "{}}}", fill_value(ty, "(*item)").replace("&mut (*item)", "item"));
            }
        },
        Shape::Array { len, .. } | Shape::Blob { len, .. } => {
            let count = emit::member_length(&known.fields, len);
            put!(out, "let capacity = {count};");
            put!(out, "let total = d.u32()?;");
            put!(out, "let fill = {};", fill_closure(model, &field.shape));
            put!(out, "{SAFE}\nunsafe {{ fill_list(d, {place}.cast(), capacity, fill) }}?;");
            let counter = names::field(len);
            put!(out, "s.{counter} = total as _;");
        }
    }
    out
}

/// Whether `name` is the count of an array of `known`.
pub(super) fn is_count(known: &Struct, name: &str) -> bool {
    known.fields.iter().any(|field| match &field.shape {
        Shape::Array { len, .. } | Shape::Blob { len, .. } => len == name,
        _ => false,
    })
}

/// The second half of a call of `fill_list`: a function that fills one element.
pub(super) fn fill_closure(model: &Model, shape: &Shape) -> String {
    let _ = model;
    match shape {
        Shape::Blob { .. } | Shape::Array { ty: Ty::Scalar("u8"), .. } => "Fill::<u8>::Bytes".to_owned(),
        Shape::Array { ty: ty @ Ty::Struct(name), .. } => {
            format!(
                "Fill::<{}>::Each(|d, s| {{\n{SAFE}\nunsafe {{ fill_{}(d, s) }} }})",
                ty.rust(model, "'_"),
                names::ty_snake(name)
            )
        }
        Shape::Array { ty, .. } => {
            let value = emit::decode_scalar(ty, "d").unwrap_or_default();
            format!("Fill::<{}>::Each(|d, s| {{ *s = {value}; Ok(()) }})", ty.rust(model, "'_"))
        }
        _ => String::new(),
    }
}

/// Statements that decode a value into `place`.
pub(super) fn fill_value(ty: &Ty, place: &str) -> String {
    match ty {
        Ty::Struct(name) => {
            let function = names::ty_snake(name);
            format!("{SAFE}\nunsafe {{ fill_{function}(d, &mut {place}) }}?;\n")
        }
        Ty::Handle(name) => format!("{place} = vk::{}::from_raw(d.u64()?);\n", names::ty(name)),
        _ => emit::decode_scalar(ty, "d").map_or(String::new(), |value| format!("{place} = {value};\n")),
    }
}

const FILL: &str = r#"
/// How the elements of a list are decoded.
pub(crate) enum Fill<T> {
    /// As bytes, all at once.
    Bytes,
    /// One by one.
    Each(fn(&mut Decoder<'_>, &mut T) -> Result<(), DecodeError>),
}

/// Decodes a list into `capacity` elements at `p`; how many came.
///
/// # Safety
/// `p` is null or points to `capacity` elements that may be written.
///
/// # Errors
/// The reply has more than fit.
pub(crate) unsafe fn fill_list<T>(
    d: &mut Decoder<'_>,
    p: *mut T,
    capacity: usize,
    fill: Fill<T>,
) -> Result<usize, DecodeError> {
    let count = d.u32()?;
    if count == NULL_ARRAY {
        return Ok(0);
    }
    let count = count as usize;
    if count > capacity {
        return Err(DecodeError::Malformed);
    }
    match fill {
        Fill::Bytes => {
            let bytes = d.bytes(count)?;
            // SAFETY: by the Vulkan rules, which the caller vouches for, pointers are null or valid for their counts.
            if let Some(to) = unsafe { list_mut(p.cast::<u8>(), count) } {
                to.copy_from_slice(bytes);
            }
        }
        Fill::Each(each) => {
            // SAFETY: by the Vulkan rules, which the caller vouches for, pointers are null or valid for their counts.
            for item in unsafe { list_mut(p, count) }.into_iter().flatten() {
                each(d, item)?;
            }
        }
    }
    Ok(count)
}
"#;

fn chains(model: &Model, out: &mut String) {
    out.push_str(SORTED);
    out.push_str(FILL);
    let extensions = |set: &std::collections::BTreeSet<String>, out_direction: bool| -> Vec<Struct> {
        model
            .structs
            .values()
            .filter(|known| {
                set.contains(&known.name)
                    && known.s_type.is_some()
                    && model
                        .registry
                        .records
                        .get(&known.name)
                        .is_some_and(|record| !record.extends.is_empty())
                    && (!out_direction || known.has_chain())
            })
            .cloned()
            .collect()
    };
    put!(
        out,
        "\n/// Encodes the body of a structure of a chain.\n///\n/// # Safety\n/// `base` is a valid structure of its type."
    );
    put!(out, "unsafe fn chain_body(e: &mut Encoder, base: *const vk::BaseInStructure<'_>) {{");
    put!(out, "{SAFE}\nmatch unsafe {{ (*base).s_type }} {{");
    for known in extensions(&model.inputs, false) {
        let (ty, snake) = (names::ty(&known.name), names::ty_snake(&known.name));
        put!(
            out,
            "vk::StructureType::{} => {{",
            names::structure_type(known.s_type.as_deref().unwrap_or(""))
        );
        put!(
            out,
            "// SAFETY: the type says what the structure is.\nlet s = unsafe {{ &*base.cast::<vk::{ty}<'_>>() }};"
        );
        put!(out, "{SAFE}\nunsafe {{ body_{snake}(e, s) }};\n}}");
    }
    put!(out, "_ => {{}}\n}}\n}}");

    let outputs = extensions(&model.outputs, true);
    put!(
        out,
        "\n/// Encodes the skeleton of a structure of a chain.\n///\n/// # Safety\n/// `base` is a valid structure of its type."
    );
    put!(out, "unsafe fn skel_chain_body(e: &mut Encoder, base: *const vk::BaseInStructure<'_>) {{");
    put!(out, "{SAFE}\nmatch unsafe {{ (*base).s_type }} {{");
    for known in &outputs {
        let (ty, snake) = (names::ty(&known.name), names::ty_snake(&known.name));
        put!(
            out,
            "vk::StructureType::{} => {{",
            names::structure_type(known.s_type.as_deref().unwrap_or(""))
        );
        put!(
            out,
            "// SAFETY: the type says what the structure is.\nlet s = unsafe {{ &*base.cast::<vk::{ty}<'_>>() }};"
        );
        put!(out, "{SAFE}\nunsafe {{ skel_body_{snake}(e, s) }};\n}}");
    }
    put!(out, "_ => {{}}\n}}\n}}");

    put!(out, "\n/// Decodes the body of an output structure into the caller's, whose type says what it is.");
    put!(
        out,
        "///\n/// # Safety\n/// `base` is a valid structure of its type.\n///\n/// # Errors\n/// The reply does not fit."
    );
    put!(
        out,
        "pub(crate) unsafe fn fill_chain_body(d: &mut Decoder<'_>, base: *mut vk::BaseOutStructure<'_>) -> Result<(), DecodeError> {{"
    );
    put!(out, "{SAFE}\nmatch unsafe {{ (*base).s_type }} {{");
    for known in &outputs {
        let (ty, snake) = (names::ty(&known.name), names::ty_snake(&known.name));
        put!(
            out,
            "vk::StructureType::{} => {{",
            names::structure_type(known.s_type.as_deref().unwrap_or(""))
        );
        put!(
            out,
            "// SAFETY: the type says what the structure is.\nlet s = unsafe {{ &mut *base.cast::<vk::{ty}<'_>>() }};"
        );
        put!(out, "{SAFE}\nunsafe {{ fill_body_{snake}(d, s) }}\n}}");
    }
    put!(out, "_ => Err(DecodeError::Malformed),\n}}\n}}");
}
