//! Values for the test that what the guest encodes is what the host decodes: fillers and comparisons of structures.

use super::emit;
use super::emit::put;
use super::model::Field;
use super::model::Model;
use super::model::Shape;
use super::model::Struct;
use super::model::Ty;
use super::names;

const HEAD: &str = r#"//! Fillers with pseudo-random values and comparisons of all structures that a guest sends.

// UNSAFETY: the structures hold raw pointers, made by the fillers or the decoders of the host.
#![expect(unsafe_code, reason = "structures are compared behind their pointers")]
#![allow(deprecated, unused_imports, clippy::redundant_closure, clippy::let_and_return, clippy::unnecessary_cast, clippy::field_reassign_with_default, clippy::manual_div_ceil, reason = "one text for all types")]

use ash::vk;
use ash::vk::Handle;
use dxg_wire::generated::vulkan::ObjectKind;

use crate::fill::Fill;
use crate::guest_structs as guest;
use crate::host_structs as host;
use crate::same::same_blob;
use crate::same::same_bytes;
use crate::same::same_chain;
use crate::same::same_list;
use crate::same::same_one;
use crate::same::same_text;
use crate::same::same_texts;
use crate::structs::Case;
use crate::structs::Output;
"#;

/// The file `dxg-host/tests/generated/vulkan_values.rs`.
pub(super) fn generate(model: &Model) -> String {
    let mut out = HEAD.to_owned();
    let inputs: Vec<&Struct> =
        model.structs.values().filter(|known| model.inputs.contains(&known.name)).collect();
    let outputs: Vec<&Struct> =
        model.structs.values().filter(|known| model.outputs.contains(&known.name)).collect();
    inputs.iter().for_each(|known| fill(model, known, &mut out));
    model.structs.values().for_each(|known| same(model, known, &mut out));
    outputs.iter().for_each(|known| caller(model, known, &mut out));
    outputs.iter().for_each(|known| drive(model, known, &mut out));
    drive_chain(model, &outputs, &mut out);
    put!(
        out,
        "\n/// Whether two structures of a chain, of one type, are the same.\n///\n/// # Safety\n/// Both are valid structures of the type."
    );
    put!(
        out,
        "pub(crate) unsafe fn same_extension(a: *const vk::BaseOutStructure<'_>, b: *const vk::BaseOutStructure<'_>) -> bool {{"
    );
    put!(out, "// SAFETY: the caller promises structures.\nmatch unsafe {{ (*a).s_type }} {{");
    for known in model
        .structs
        .values()
        .filter(|known| known.s_type.is_some() && known.has_chain() && extends(model, known))
    {
        let (ty, snake) = (names::ty(&known.name), names::ty_snake(&known.name));
        put!(
            out,
            "vk::StructureType::{} => {{",
            names::structure_type(known.s_type.as_deref().unwrap_or(""))
        );
        put!(
            out,
            "// SAFETY: the type says what the structure is.\nlet a = unsafe {{ &*a.cast::<vk::{ty}<'_>>() }};"
        );
        put!(
            out,
            "// SAFETY: the caller promises the same type.\nlet b = unsafe {{ &*b.cast::<vk::{ty}<'_>>() }};"
        );
        put!(out, "same_body_{snake}(a, b)\n}}");
    }
    put!(out, "_ => false,\n}}\n}}");
    put!(out, "\n/// Runs `case` with every structure.\npub(crate) fn each(case: &mut Case) {{");
    for known in &inputs {
        let snake = names::ty_snake(&known.name);
        let encode = if emit::plain(model, &known.name) {
            format!("guest::enc_{snake}")
        } else {
            format!(
                "|e, s| {{\n// SAFETY: filled, or decoded by the host.\nunsafe {{ guest::enc_{snake}(e, s) }} }}"
            )
        };
        put!(out, "case.run(\"{}\", fill_{snake}, {encode}, host::dec_{snake}, same_{snake});", known.name);
    }
    put!(out, "}}");
    put!(
        out,
        "\n/// Runs `case` with every structure that the host fills.\npub(crate) fn each_output(case: &mut Case) {{"
    );
    let unsafe_call =
        |call: String| format!("{{\n// SAFETY: filled, or made by the host.\nunsafe {{ {call} }} }}");
    for known in &outputs {
        let snake = names::ty_snake(&known.name);
        let skeleton = emit::needs_skeleton(model, &known.name);
        let encode = if skeleton {
            format!("|e, s| {}", unsafe_call(format!("guest::skel_{snake}(e, s)")))
        } else {
            "|_, _| {}".to_owned()
        };
        let decode =
            if skeleton { format!("host::skel_{snake}") } else { "|_| Ok(Default::default())".to_owned() };
        let reply = if emit::plain(model, &known.name) {
            format!("host::out_{snake}")
        } else {
            format!("|e, s| {}", unsafe_call(format!("host::out_{snake}(e, s)")))
        };
        let fill = format!("|d, s| {}", unsafe_call(format!("guest::fill_{snake}(d, s)")));
        put!(
            out,
            "case.run_output(\"{}\", Output {{ caller: caller_{snake}, encode: {encode}, decode: {decode}, drive: drive_{snake}, reply: {reply}, fill: {fill}, same: same_{snake} }});",
            known.name
        );
    }
    put!(out, "}}");
    out
}

/// A structure that a program gives to be filled: its chain, and room for its arrays.
fn caller(model: &Model, known: &Struct, out: &mut String) {
    let snake = names::ty_snake(&known.name);
    let ty = Ty::Struct(known.name.clone()).rust(model, "'static");
    let mut body = String::new();
    for field in &known.fields {
        let place = field.name();
        match &field.shape {
            Shape::Next => {
                let list: Vec<String> = known
                    .extended_by
                    .iter()
                    .map(|name| format!("|f| f.boxed(caller_{})", names::ty_snake(name)))
                    .collect();
                if !list.is_empty() {
                    put!(body, "s.p_next = f.chain(&[{}]).cast();", list.join(", "));
                }
            }
            Shape::Value(Ty::Struct(name)) if emit::needs_skeleton(model, name) => {
                put!(body, "s.{place} = caller_{}(f);", names::ty_snake(name));
            }
            Shape::Array { len, ty, .. } => {
                put!(body, "s.{} = f.count() as _;", names::field(len));
                let count = emit::member_length(&known.fields, len);
                put!(
                    body,
                    "s.{place} = if f.chance() {{ core::ptr::null_mut() }} else {{ f.list({count}, |_| <{}>::default()).cast_mut() }};",
                    ty.rust(model, "'static")
                );
            }
            Shape::Blob { len, .. } => {
                put!(body, "s.{} = f.count() as _;", names::field(len));
                let count = emit::member_length(&known.fields, len);
                put!(
                    body,
                    "s.{place} = if f.chance() {{ core::ptr::null_mut() }} else {{ f.list({count}, |_| 0_u8).cast_mut().cast() }};"
                );
            }
            _ => {}
        }
    }
    let (f, mutable) = if body.trim().is_empty() { ("_f", "") } else { ("f", "mut ") };
    put!(
        out,
        "\n/// A `{}` to be filled.\npub(crate) fn caller_{snake}({f}: &mut Fill) -> {ty} {{\nlet {mutable}s = vk::{}::default();\n{body}s\n}}",
        known.name,
        names::ty(&known.name)
    );
}

/// What a driver does: fills a structure and its chain, as far as there is room.
fn drive(model: &Model, known: &Struct, out: &mut String) {
    let snake = names::ty_snake(&known.name);
    let ty = Ty::Struct(known.name.clone()).rust(model, "'_");
    let mut body = String::new();
    for field in &known.fields {
        let place = field.name();
        match &field.shape {
            Shape::Next if !known.extended_by.is_empty() => put!(body, "drive_chain(f, s.p_next as *mut _);"),
            Shape::Value(Ty::Struct(name)) => {
                put!(body, "drive_{}(f, &mut s.{place});", names::ty_snake(name))
            }
            Shape::Value(_) if super::guest_structs::is_count(known, &field.member.name) => {}
            Shape::Value(ty) => put!(body, "s.{place} = {};", value(ty, false)),
            Shape::Fixed(Ty::Char, _) => {
                put!(body, "for item in s.{place}.iter_mut() {{ *item = f.u64() as _; }}")
            }
            Shape::Fixed(Ty::Struct(name), dims) => {
                put!(
                    body,
                    "for item in {} {{ drive_{}(f, item); }}",
                    emit::iterate(&format!("s.{place}"), dims, "iter_mut"),
                    names::ty_snake(name)
                );
            }
            Shape::Fixed(ty, dims) => {
                put!(
                    body,
                    "for item in {} {{ *item = {}; }}",
                    emit::iterate(&format!("s.{place}"), dims, "iter_mut"),
                    value(ty, false)
                );
            }
            Shape::Array { len, ty, .. } => {
                let each = match ty {
                    Ty::Struct(name) => format!("drive_{}", names::ty_snake(name)),
                    _ => format!("|f, item| *item = {}", value(ty, false)),
                };
                let count = emit::member_length(&known.fields, len);
                put!(body, "s.{} = f.drive_list(s.{place}, {count}, {each}) as _;", names::field(len));
            }
            Shape::Blob { len, .. } => {
                let count = emit::member_length(&known.fields, len);
                put!(
                    body,
                    "s.{} = f.drive_list(s.{place}.cast::<u8>(), {count}, |f, item| *item = f.u64() as u8) as _;",
                    names::field(len)
                );
            }
            _ => {}
        }
    }
    let (f, s) = if body.trim().is_empty() { ("_f", "_s") } else { ("f", "s") };
    put!(
        out,
        "\n/// Fills a `{}` as a driver does.\npub(crate) fn drive_{snake}({f}: &mut Fill, {s}: &mut {ty}) {{\n{body}}}",
        known.name
    );
}

fn drive_chain(model: &Model, outputs: &[&Struct], out: &mut String) {
    put!(
        out,
        "\n/// Fills the structures of a chain as a driver does.\nfn drive_chain(f: &mut Fill, first: *mut vk::BaseOutStructure<'_>) {{\nlet mut next = first;"
    );
    put!(
        out,
        "// SAFETY: a chain that the host made ends with null.\nwhile let Some(base) = unsafe {{ next.as_ref() }} {{\nlet after = base.p_next;\nmatch base.s_type {{"
    );
    for known in
        outputs.iter().filter(|known| known.s_type.is_some() && known.has_chain() && extends(model, known))
    {
        let (ty, snake) = (names::ty(&known.name), names::ty_snake(&known.name));
        put!(
            out,
            "vk::StructureType::{} => {{",
            names::structure_type(known.s_type.as_deref().unwrap_or(""))
        );
        // A structure of a chain has no chain of its own to fill.
        put!(
            out,
            "// SAFETY: the type says what the structure is.\nlet s = unsafe {{ &mut *next.cast::<vk::{ty}<'_>>() }};"
        );
        put!(
            out,
            "let own = s.p_next;\ns.p_next = core::ptr::null_mut();\ndrive_{snake}(f, s);\ns.p_next = own;\n}}"
        );
    }
    put!(out, "_ => {{}}\n}}\nnext = after.cast();\n}}\n}}");
}

fn extends(model: &Model, known: &Struct) -> bool {
    model.registry.records.get(&known.name).is_some_and(|record| !record.extends.is_empty())
}

/// The lengths that use a member, if it is a count.
pub(super) fn lengths<'a>(known: &'a Struct, name: &str) -> Vec<&'a str> {
    known
        .fields
        .iter()
        .filter_map(|field| match &field.shape {
            Shape::Array { len, .. } | Shape::Blob { len, .. } | Shape::Texts { len, .. } => {
                Some(len.as_str())
            }
            _ => None,
        })
        .filter(|len| len.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|part| part == name))
        .collect()
}

pub(super) fn value(ty: &Ty, optional: bool) -> String {
    match ty {
        Ty::Scalar("f32") => "f.f32()".to_owned(),
        Ty::Scalar("f64") => "f64::from(f.f32())".to_owned(),
        Ty::Scalar(name) => format!("f.u64() as {name}"),
        Ty::Size => "f.u64() as usize".to_owned(),
        Ty::Enum(name) => format!("vk::{}::from_raw(f.small() as i32)", names::ty(name)),
        Ty::Flags(name, wide) => {
            format!("vk::{}::from_raw(f.u64() as {})", names::flags(name), if *wide { "u64" } else { "u32" })
        }
        Ty::Handle(name) => format!(
            "vk::{}::from_raw(f.handle(ObjectKind::{}, {optional}))",
            names::ty(name),
            names::constant(name)
        ),
        Ty::Struct(name) => format!("fill_{}(f)", names::ty_snake(name)),
        Ty::Union(name) => {
            let (path, scalar, count) = emit::union_words(name);
            let word = if scalar == "uint64_t" { "f.u64()" } else { "f.u64() as u32" };
            let words =
                if count == 1 { word.to_owned() } else { format!("[{}]", vec![word; count].join(", ")) };
            match path.split_once('.') {
                None => format!("vk::{} {{ {path}: {words} }}", names::ty(name)),
                Some((outer, inner)) => format!(
                    "vk::{} {{ {outer}: vk::ClearColorValue {{ {inner}: {words} }} }}",
                    names::ty(name)
                ),
            }
        }
        Ty::Char | Ty::Void => "f.u64() as u8".to_owned(),
    }
}

fn fill(model: &Model, known: &Struct, out: &mut String) {
    let snake = names::ty_snake(&known.name);
    let ty = Ty::Struct(known.name.clone()).rust(model, "'static");
    let mut body = String::new();
    // Counts and what conditions look at come first.
    for field in &known.fields {
        let place = field.name();
        let optional = field.member.optional(0) || field.member.no_auto_validity;
        match &field.shape {
            Shape::Value(ty) => {
                let lens = lengths(known, &field.member.name);
                let text = match (lens.as_slice(), ty) {
                    // The host checks that constants lie inside their data, of which there may be none.
                    _ if known.name == "VkSpecializationMapEntry" && field.member.name != "constantID" => {
                        "0".to_owned()
                    }
                    ([], ty) => value(ty, optional),
                    (_, Ty::Flags(name, _)) => {
                        format!("vk::{}::from_raw(1 << (f.u64() % 7))", names::flags(name))
                    }
                    ([len, ..], _) if len.contains('/') => "(f.count() * 4) as _".to_owned(),
                    _ => "f.count() as _".to_owned(),
                };
                put!(body, "s.{place} = {text};");
            }
            Shape::Fixed(ty, dims) => match ty {
                Ty::Char => put!(body, "for item in s.{place}.iter_mut() {{ *item = f.u64() as _; }}"),
                _ => put!(
                    body,
                    "for item in {} {{ *item = {}; }}",
                    emit::iterate(&format!("s.{place}"), dims, "iter_mut"),
                    value(ty, true)
                ),
            },
            _ => {}
        }
    }
    for field in &known.fields {
        let place = field.name();
        let guard = |made: String, optional: bool| {
            if optional { format!("if f.chance() {{ core::ptr::null() }} else {{ {made} }}") } else { made }
        };
        let made = match &field.shape {
            Shape::Next => {
                let list: Vec<String> = known
                    .extended_by
                    .iter()
                    .map(|name| format!("|f| f.boxed(fill_{})", names::ty_snake(name)))
                    .collect();
                if !list.is_empty() {
                    put!(body, "s.p_next = f.chain(&[{}]).cast();", list.join(", "));
                }
                continue;
            }
            Shape::Pointer { ty, optional } => guard(format!("f.one(|f| {})", value(ty, true)), *optional),
            Shape::Array { ty, len, optional } => {
                let count = emit::member_length(&known.fields, len);
                guard(format!("f.list({count}, |f| {})", value(ty, true)), *optional)
            }
            Shape::Blob { len, optional } => {
                let count = emit::member_length(&known.fields, len);
                guard(format!("f.list({count}, |f| f.u64() as u8).cast()"), *optional)
            }
            Shape::Text { optional } => guard("f.text()".to_owned(), *optional),
            Shape::Texts { len, optional } => {
                let count = emit::member_length(&known.fields, len);
                guard(format!("f.list({count}, Fill::text)"), *optional)
            }
            _ => continue,
        };
        let made = match emit::valid_when(&known.name, &field.member.name) {
            // Rubbish that nobody may follow.
            Some(condition) => format!("if {condition} {{ {made} }} else {{ f.rubbish() }}"),
            None => made,
        };
        if field.member.constant {
            put!(body, "s.{place} = {made};");
        } else {
            put!(body, "s.{place} = ({made}).cast_mut();");
        }
    }
    let (f, mutable) = if body.trim().is_empty() { ("_f", "") } else { ("f", "mut ") };
    put!(
        out,
        "\n/// A `{}`.\npub(crate) fn fill_{snake}({f}: &mut Fill) -> {ty} {{\nlet {mutable}s = vk::{}::default();\n{body}s\n}}",
        known.name,
        names::ty(&known.name)
    );
}

pub(super) fn same_value(ty: &Ty, a: &str, b: &str) -> String {
    match ty {
        Ty::Scalar("f32" | "f64") => format!("{a}.to_bits() == {b}.to_bits()"),
        Ty::Struct(name) => format!("same_{}(&{a}, &{b})", names::ty_snake(name))
            .replace("&(*", "(")
            .replace("(x)", "x")
            .replace("(y)", "y"),
        Ty::Union(name) => {
            let bytes = names::ty(name);
            format!("same_bytes::<vk::{bytes}>(&{a}, &{b})").replace("&(*x)", "x").replace("&(*y)", "y")
        }
        _ => format!("{a} == {b}"),
    }
}

fn same(model: &Model, known: &Struct, out: &mut String) {
    let snake = names::ty_snake(&known.name);
    let ty = Ty::Struct(known.name.clone()).rust(model, "'_");
    let mut terms = Vec::new();
    for field in &known.fields {
        if let Some(term) = same_field(known, field) {
            terms.push(term);
        }
    }
    let (a, b) = if terms.is_empty() { ("_s", "_t") } else { ("s", "t") };
    let body = if terms.is_empty() { "true".to_owned() } else { terms.join("\n&& ") };
    let name = if known.has_chain() { format!("same_body_{snake}") } else { format!("same_{snake}") };
    put!(
        out,
        "\n/// Whether two are the same, their chains left out.\npub(crate) fn {name}({a}: &{ty}, {b}: &{ty}) -> bool {{\n{body}\n}}"
    );
    if known.has_chain() {
        put!(
            out,
            "\n/// Whether two are the same with their chains.\npub(crate) fn same_{snake}(s: &{ty}, t: &{ty}) -> bool {{\nsame_chain(s.p_next.cast(), t.p_next.cast()) && same_body_{snake}(s, t)\n}}"
        );
    }
}

fn same_field(known: &Struct, field: &Field) -> Option<String> {
    let (a, b) = (format!("s.{}", field.name()), format!("t.{}", field.name()));
    let term = match &field.shape {
        Shape::SType | Shape::Next | Shape::Allocator => return None,
        Shape::Value(ty) => same_value(ty, &a, &b),
        Shape::Fixed(ty, dims) => match ty {
            Ty::Struct(_) | Ty::Union(_) | Ty::Scalar("f32" | "f64") => {
                let (a, b) = (emit::iterate(&a, dims, "iter"), emit::iterate(&b, dims, "iter"));
                format!("{a}.zip({b}).all(|(x, y)| {})", same_value(ty, "(*x)", "(*y)"))
            }
            _ => format!("{a} == {b}"),
        },
        Shape::Pointer { ty, .. } => format!("same_one({a}, {b}, |x, y| {})", same_value(ty, "(*x)", "(*y)")),
        Shape::Array { ty, len, .. } => {
            let count = emit::member_length(&known.fields, len);
            format!("same_list({a}, {b}, {count}, |x, y| {})", same_value(ty, "(*x)", "(*y)"))
        }
        Shape::Blob { len, .. } => {
            let count = emit::member_length(&known.fields, len);
            format!("same_blob({a}.cast(), {b}.cast(), {count})")
        }
        Shape::Text { .. } => format!("same_text({a}, {b})"),
        Shape::Texts { len, .. } => {
            let count = emit::member_length(&known.fields, len);
            format!("same_texts({a}, {b}, {count})")
        }
    };
    Some(match emit::valid_when(&known.name, &field.member.name) {
        Some(condition) => format!("(if {condition} {{ {term} }} else {{ {b}.is_null() }})"),
        None => term,
    })
}
