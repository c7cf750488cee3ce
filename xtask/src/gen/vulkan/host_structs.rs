//! Host side of structures: decoders of inputs into an arena, skeletons of outputs, encoders of outputs.

use super::emit;
use super::emit::put;
use super::guest_structs;
use super::model::Field;
use super::model::Model;
use super::model::Shape;
use super::model::Struct;
use super::model::Ty;
use super::names;
use super::tables;

const SAFE: &str = "// SAFETY: the driver filled what the skeleton gave it, all of which lives in the arena.";

/// The file `dxg-host/src/generated/vulkan/structs.rs`.
pub(super) fn generate(model: &Model) -> String {
    let mut out = String::from(HEAD);
    for known in model.structs.values() {
        if known.has_chain() {
            put!(out, "{}", guest_structs::allow_list(model, known, "CHAIN", ""));
        }
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

const HEAD: &str = r#"//! Structures of the Vulkan registry: decoders into an arena, skeletons of outputs, encoders of outputs.
//!
//! Names: `dec_x` with the extension chain, `body_x` without, `skel_x` an output that is ready for the driver, `out_x`
//! what the driver made of it.

// UNSAFETY: reads what the driver wrote behind the pointers of output structures.
#![expect(unsafe_code, reason = "outputs of the driver are reached through raw pointers")]
#![allow(dead_code, deprecated, unused_imports, reason = "the registry has more than the hand-written part uses")]
#![allow(clippy::unnecessary_cast, clippy::manual_div_ceil, clippy::field_reassign_with_default, clippy::too_many_arguments, reason = "one text for all types")]

use core::ffi::c_void;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::vulkan::END_OF_CHAIN;
use dxg_wire::vulkan::NULL_ARRAY;

use crate::adapter::vulkan::reader::ReadError;
use crate::adapter::vulkan::reader::Reader;
use crate::adapter::vulkan::reader::items;

/// Encodes the output structures of a chain that [`out_chain_body`] knows.
///
/// # Safety
/// `first` is null or starts a valid chain.
pub(crate) unsafe fn out_chain(e: &mut Encoder, first: *const c_void) {
    let mut next = first.cast::<vk::BaseOutStructure<'_>>();
    // SAFETY: a chain ends with null.
    while let Some(base) = unsafe { next.as_ref() } {
        e.i32(base.s_type.as_raw());
        // SAFETY: `next` is a structure of the chain.
        unsafe { out_chain_body(e, next) };
        next = base.p_next;
    }
    e.u32(END_OF_CHAIN);
}
"#;

fn handle(owner: &str, member: &str, name: &str, optional: bool) -> String {
    let kind = names::constant(name);
    let method = if tables::STALE_HANDLES.contains(&(owner, member)) {
        "handle_lenient"
    } else if optional {
        "handle_or_null"
    } else {
        "handle"
    };
    format!("vk::{}::from_raw(r.{method}(ObjectKind::{kind})?)", names::ty(name))
}

/// An expression that decodes a value.
pub(super) fn decode(owner: &str, member: &str, ty: &Ty, optional: bool) -> String {
    match ty {
        Ty::Struct(name) => format!("dec_{}(r)?", names::ty_snake(name)),
        Ty::Handle(name) => handle(owner, member, name, optional),
        // Presenting is the guest's: the host's device knows nothing of its layout.
        Ty::Enum(name) if name == "VkImageLayout" => "r.image_layout()?".to_owned(),
        _ => emit::decode_scalar(ty, "r").unwrap_or_default(),
    }
}

/// A function expression that decodes one element.
pub(super) fn decode_function(owner: &str, member: &str, ty: &Ty) -> String {
    match ty {
        Ty::Struct(name) => format!("dec_{}", names::ty_snake(name)),
        Ty::Handle(_) => format!("|r| Ok({})", decode(owner, member, ty, true)),
        Ty::Scalar(name @ ("u32" | "i32" | "u64" | "f32")) => format!("Reader::{name}"),
        _ => format!("|r| Ok({})", decode(owner, member, ty, true)),
    }
}

fn input(model: &Model, known: &Struct, out: &mut String) {
    let snake = names::ty_snake(&known.name);
    let ty = Ty::Struct(known.name.clone()).rust(model, "'static");
    let chain = known.has_chain();
    if chain {
        put!(
            out,
            "\n/// Decodes a `{}` with its extension chain.\n///\n/// # Errors\n/// No honest guest sends it.",
            known.name
        );
        put!(out, "pub(crate) fn dec_{snake}(r: &mut Reader<'_, '_>) -> Result<{ty}, ReadError> {{");
        put!(out, "let next = r.chain(CHAIN_{}, chain_body)?;", names::constant(&known.name));
        put!(out, "let mut s = body_{snake}(r)?;\ns.p_next = next.cast();\nOk(s)\n}}");
    }
    let name = if chain { format!("body_{snake}") } else { format!("dec_{snake}") };
    put!(
        out,
        "\n/// Decodes a `{}`{}.\n///\n/// # Errors\n/// No honest guest sends it.",
        known.name,
        if chain { " without its extension chain" } else { "" }
    );
    let mut body = String::new();
    let mut checks = String::new();
    for field in &known.fields {
        input_field(known, field, &mut body, &mut checks);
    }
    for (_, condition) in tables::STRUCT_CHECKS.iter().filter(|(owner, _)| *owner == known.name) {
        put!(checks, "r.ensure({condition})?;");
    }
    let (r, mutable) = if body.trim().is_empty() { ("_r", "") } else { ("r", "mut ") };
    put!(out, "pub(crate) fn {name}({r}: &mut Reader<'_, '_>) -> Result<{ty}, ReadError> {{");
    put!(out, "let {mutable}s = vk::{}::default();\n{body}{checks}Ok(s)\n}}", names::ty(&known.name));
}

fn input_field(known: &Struct, field: &Field, body: &mut String, checks: &mut String) {
    let name = field.name();
    let member = &field.member.name;
    let optional = field.member.optional(0) || field.member.no_auto_validity;
    match &field.shape {
        Shape::SType | Shape::Next | Shape::Allocator => {}
        Shape::Value(ty) => put!(body, "s.{name} = {};", decode(&known.name, member, ty, optional)),
        Shape::Fixed(ty, dims) => match ty {
            Ty::Scalar("u8") | Ty::Char => put!(body, "r.fill_bytes(&mut s.{name})?;"),
            _ => put!(
                body,
                "for item in {} {{ *item = {}; }}",
                emit::iterate(&format!("s.{name}"), dims, "iter_mut"),
                decode(&known.name, member, ty, true)
            ),
        },
        Shape::Pointer { ty, optional } => {
            put!(body, "s.{name} = r.pointer({optional}, {})?;", decode_function(&known.name, member, ty));
        }
        Shape::Array { ty, len, optional } => {
            let function = match ty {
                Ty::Scalar("u8") | Ty::Char => "let (p, n) = r.blob()?;".to_owned(),
                _ => format!("let (p, n) = r.array({})?;", decode_function(&known.name, member, ty)),
            };
            let mutable = if field.member.constant { "" } else { ".cast_mut()" };
            put!(body, "{function}\ns.{name} = p{mutable}.cast();\nlet n_{name} = n;");
            agree(known, field, len, *optional, checks);
        }
        Shape::Blob { len, optional } => {
            put!(body, "let (p, n) = r.blob()?;\ns.{name} = p.cast();\nlet n_{name} = n;");
            agree(known, field, len, *optional, checks);
        }
        Shape::Text { optional } => put!(body, "s.{name} = r.text({optional})?;"),
        Shape::Texts { len, optional } => {
            put!(body, "let (p, n) = r.texts()?;\ns.{name} = p;\nlet n_{name} = n;");
            agree(known, field, len, *optional, checks);
        }
    }
}

fn agree(known: &Struct, field: &Field, len: &str, optional: bool, checks: &mut String) {
    let count = emit::member_length(&known.fields, len);
    let absent = match emit::valid_when(&known.name, &field.member.name) {
        Some(condition) if !optional => format!("!({condition})"),
        _ => optional.to_string(),
    };
    put!(checks, "r.agree(n_{}, {count}, {absent})?;", field.name());
}

fn output(model: &Model, known: &Struct, out: &mut String) {
    let snake = names::ty_snake(&known.name);
    let ty = Ty::Struct(known.name.clone()).rust(model, "'static");
    let chain = known.has_chain();
    if emit::needs_skeleton(model, &known.name) {
        if chain {
            put!(
                out,
                "\n/// Decodes a `{}` for the driver to fill, its chain included.\n///\n/// # Errors\n/// No honest guest sends it.",
                known.name
            );
            put!(out, "pub(crate) fn skel_{snake}(r: &mut Reader<'_, '_>) -> Result<{ty}, ReadError> {{");
            put!(out, "let next = r.chain(CHAIN_{}, skel_chain_body)?;", names::constant(&known.name));
            put!(out, "let mut s = skel_body_{snake}(r)?;\ns.p_next = next.cast();\nOk(s)\n}}");
        }
        let name = if chain { format!("skel_body_{snake}") } else { format!("skel_{snake}") };
        let mut body = String::new();
        for field in &known.fields {
            let place = field.name();
            match &field.shape {
                Shape::Value(Ty::Struct(inner)) if emit::needs_skeleton(model, inner) => {
                    put!(body, "s.{place} = skel_{}(r)?;", names::ty_snake(inner));
                }
                Shape::Array { len, ty, .. } => {
                    put!(
                        body,
                        "let (p, n) = r.out_array::<{}>()?;\ns.{place} = p;\ns.{} = n as _;",
                        ty.rust(model, "'static"),
                        names::field(len)
                    );
                }
                Shape::Blob { len, .. } => {
                    put!(
                        body,
                        "let (p, n) = r.out_blob()?;\ns.{place} = p.cast();\ns.{} = n as _;",
                        names::field(len)
                    );
                }
                _ => {}
            }
        }
        let (r, mutable) = if body.trim().is_empty() { ("_r", "") } else { ("r", "mut ") };
        put!(
            out,
            "\n/// Decodes a `{}` for the driver to fill.\n///\n/// # Errors\n/// No honest guest sends it.",
            known.name
        );
        put!(out, "pub(crate) fn {name}({r}: &mut Reader<'_, '_>) -> Result<{ty}, ReadError> {{");
        put!(out, "let {mutable}s = vk::{}::default();\n{body}Ok(s)\n}}", names::ty(&known.name));
    }
    let plain = emit::plain(model, &known.name);
    let qualifier = if plain { "" } else { "unsafe " };
    let safety = if plain {
        ""
    } else {
        "\n///\n/// # Safety\n/// Pointers in `s` are valid: the skeleton's, or null."
    };
    let reference = Ty::Struct(known.name.clone()).rust(model, "'_");
    if chain {
        put!(out, "\n/// Encodes a `{}` with its chain.{safety}", known.name);
        put!(out, "pub(crate) {qualifier}fn out_{snake}(e: &mut Encoder, s: &{reference}) {{");
        put!(
            out,
            "{SAFE}\nunsafe {{ out_chain(e, s.p_next.cast()) }};\n{SAFE}\nunsafe {{ out_body_{snake}(e, s) }};\n}}"
        );
    }
    let name = if chain { format!("out_body_{snake}") } else { format!("out_{snake}") };
    put!(out, "\n/// Encodes a `{}` that the driver filled.{safety}", known.name);
    let body: String = known.fields.iter().map(|field| out_field(model, known, field)).collect();
    let (e, s) = if body.trim().is_empty() { ("_e", "_s") } else { ("e", "s") };
    put!(out, "pub(crate) {qualifier}fn {name}({e}: &mut Encoder, {s}: &{reference}) {{\n{body}}}");
}

fn out_field(model: &Model, known: &Struct, field: &Field) -> String {
    let place = format!("s.{}", field.name());
    let mut out = String::new();
    match &field.shape {
        Shape::Value(_) if guest_structs::is_count(known, &field.member.name) => {}
        Shape::Value(ty) => put!(out, "{}", emit::encode(model, ty, &place, "out")),
        Shape::Fixed(ty, dims) => guest_structs::fixed(model, ty, dims, &place, &mut out, "out"),
        Shape::Array { len, ty, .. } => {
            let count = emit::member_length(&known.fields, len);
            put!(out, "e.u32({count} as u32);");
            out.push_str(&out_items(model, ty, &place, &count));
        }
        Shape::Blob { len, .. } => {
            let count = emit::member_length(&known.fields, len);
            put!(out, "e.u32({count} as u32);");
            out.push_str(&out_items(model, &Ty::Scalar("u8"), &format!("{place}.cast::<u8>()"), &count));
        }
        _ => {}
    }
    out
}

/// Statements that encode a list that the driver filled; `place` is a pointer, null for an absent list.
pub(super) fn out_items(model: &Model, ty: &Ty, place: &str, count: &str) -> String {
    let mut out = String::new();
    put!(
        out,
        "{SAFE}\nmatch unsafe {{ items({place}, {count}) }} {{ None => e.u32(NULL_ARRAY), Some(list) => {{ e.count(list.len());"
    );
    if *ty == Ty::Scalar("u8") {
        put!(out, "e.bytes(list); }} }}");
    } else {
        put!(
            out,
            "for item in list {{ {} }} }} }}",
            emit::encode(model, ty, "(*item)", "out")
                .replace("&(*item)", "item")
                .replace("// SAFETY: by the Vulkan rules, which the caller vouches for, pointers are null or valid for their counts.", &format!("\n{SAFE}"))
        );
    }
    out
}

fn chains(model: &Model, out: &mut String) {
    out.push_str(guest_structs::sorted());
    let extensions = |set: &std::collections::BTreeSet<String>| -> Vec<Struct> {
        model
            .structs
            .values()
            .filter(|known| {
                set.contains(&known.name)
                    && known.s_type.is_some()
                    && known.has_chain()
                    && model
                        .registry
                        .records
                        .get(&known.name)
                        .is_some_and(|record| !record.extends.is_empty())
            })
            .cloned()
            .collect()
    };
    let s_type = |known: &Struct| names::structure_type(known.s_type.as_deref().unwrap_or("")).to_owned();
    put!(out, "\n/// Decodes the body of a structure of a chain.");
    put!(
        out,
        "fn chain_body(r: &mut Reader<'_, '_>, s_type: vk::StructureType) -> Result<*mut vk::BaseOutStructure<'static>, ReadError> {{\nmatch s_type {{"
    );
    for known in extensions(&model.inputs) {
        put!(out, "vk::StructureType::{} => r.boxed(body_{}),", s_type(&known), names::ty_snake(&known.name));
    }
    put!(out, "_ => Err(ReadError::Chain),\n}}\n}}");
    let outputs = extensions(&model.outputs);
    put!(
        out,
        "\n/// Makes an output structure of a chain, whose capacities follow in `r`.\n///\n/// # Errors\n/// No honest guest sends it."
    );
    put!(
        out,
        "pub(crate) fn skel_chain_body(r: &mut Reader<'_, '_>, s_type: vk::StructureType) -> Result<*mut vk::BaseOutStructure<'static>, ReadError> {{\nmatch s_type {{"
    );
    for known in &outputs {
        put!(
            out,
            "vk::StructureType::{} => r.boxed(skel_body_{}),",
            s_type(known),
            names::ty_snake(&known.name)
        );
    }
    put!(out, "_ => Err(ReadError::Chain),\n}}\n}}");
    put!(
        out,
        "\n/// Encodes the body of an output structure, whose type says what it is.\n///\n/// # Safety\n/// `base` is a valid structure of its type."
    );
    put!(
        out,
        "pub(crate) unsafe fn out_chain_body(e: &mut Encoder, base: *const vk::BaseOutStructure<'_>) {{"
    );
    put!(out, "// SAFETY: the caller promises a structure.\nmatch unsafe {{ (*base).s_type }} {{");
    for known in &outputs {
        let (ty, snake) = (names::ty(&known.name), names::ty_snake(&known.name));
        put!(
            out,
            "vk::StructureType::{} => {{\n// SAFETY: the type says what the structure is.\nlet s = unsafe {{ &*base.cast::<vk::{ty}<'_>>() }};",
            s_type(known)
        );
        put!(out, "{SAFE}\nunsafe {{ out_body_{snake}(e, s) }};\n}}");
    }
    put!(out, "_ => {{}}\n}}\n}}");
    // What a description of a device asks for.
    for parent in [
        "VkPhysicalDeviceProperties2",
        "VkPhysicalDeviceFeatures2",
        "VkPhysicalDeviceMemoryProperties2",
        "VkQueueFamilyProperties2",
    ] {
        let Some(known) = model.structs.get(parent) else { continue };
        put!(out, "\n/// Structures that extend `{parent}`, and what enables each.");
        put!(out, "pub(crate) static EXTENDS_{}: &[ChainStruct] = &[", names::constant(parent));
        for name in &known.extended_by {
            let Some(child) = model.structs.get(name) else { continue };
            let requires = model.requires.get(name).cloned().unwrap_or_default();
            let version = requires.version.map_or("0".to_owned(), |(major, minor)| {
                format!("vk::make_api_version(0, {major}, {minor}, 0)")
            });
            let extensions: Vec<String> =
                requires.extensions.iter().map(|name| format!("c\"{name}\"")).collect();
            put!(
                out,
                "ChainStruct {{ s_type: vk::StructureType::{}, version: {version}, extensions: &[{}] }},",
                s_type(child),
                extensions.join(", ")
            );
        }
        put!(out, "];");
    }
    out.push_str("\n/// An output structure of a chain.\npub(crate) struct ChainStruct {\n/// Its type.\npub(crate) s_type: vk::StructureType,\n/// The core version that has it, 0 for none.\npub(crate) version: u32,\n/// The extensions that have it.\npub(crate) extensions: &'static [&'static core::ffi::CStr],\n}\n");
}
