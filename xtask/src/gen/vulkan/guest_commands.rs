//! Guest side of commands: encoders of requests, decoders of replies, entry points.

use super::emit;
use super::emit::put;
use super::guest_structs;
use super::model::Cmd;
use super::model::Field;
use super::model::Kind;
use super::model::Level;
use super::model::Model;
use super::model::Shape;
use super::model::Ty;
use super::names;

const SAFE: &str = "// SAFETY: by the Vulkan rules, which the caller vouches for, pointers are null or valid for their counts.";

/// What a parameter that is written to is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Out<'a> {
    /// One new handle.
    Created(&'a str),
    /// New handles, as many as the length says.
    CreatedMany(&'a str, &'a str),
    /// A count that is also the capacity of an array.
    Count(&'a Ty),
    /// One value.
    One(&'a Ty),
    /// An array whose capacity is a [`Out::Count`].
    Counted(&'a Shape, &'a str),
    /// An array of a length that the request gives.
    Sized(&'a Shape, &'a str),
}

/// Classifies a parameter that is written to.
pub(super) fn out<'a>(command: &'a Cmd, field: &'a Field) -> Option<Out<'a>> {
    if field.read || matches!(field.shape, Shape::Allocator) {
        return None;
    }
    let is_count = |name: &str| command.params.iter().any(|other| other.member.name == name && !other.read);
    match &field.shape {
        Shape::Pointer { ty: Ty::Handle(name), .. } => Some(Out::Created(name)),
        Shape::Pointer { ty, .. } => {
            let used =
                command.params.iter().any(|other| other.member.len.first() == Some(&field.member.name));
            Some(if used { Out::Count(ty) } else { Out::One(ty) })
        }
        Shape::Array { ty: Ty::Handle(name), len, .. } if !is_count(len) => Some(Out::CreatedMany(name, len)),
        shape @ (Shape::Array { len, .. } | Shape::Blob { len, .. }) => {
            Some(if is_count(len) { Out::Counted(shape, len) } else { Out::Sized(shape, len) })
        }
        _ => None,
    }
}

/// The parameter as C passes it.
pub(super) fn c_type(model: &Model, field: &Field, life: &str) -> String {
    let mutability = if field.member.constant { "*const" } else { "*mut" };
    match &field.shape {
        Shape::Value(ty) => ty.rust(model, life),
        Shape::Fixed(ty, dims) => format!("*const {}", emit::array_type(&ty.rust(model, life), dims)),
        Shape::Pointer { ty, .. } | Shape::Array { ty, .. } => {
            format!("{mutability} {}", ty.rust(model, life))
        }
        Shape::Blob { .. } => format!("{mutability} c_void"),
        Shape::Text { .. } => "*const c_char".to_owned(),
        Shape::Texts { .. } => "*const *const c_char".to_owned(),
        Shape::Allocator => "*const vk::AllocationCallbacks<'_>".to_owned(),
        Shape::SType | Shape::Next => String::new(),
    }
}

/// The result type of a command in Rust; empty for none.
pub(super) fn ret(command: &Cmd) -> &'static str {
    match command.ret.as_str() {
        "VkResult" => "vk::Result",
        "void" => "",
        "VkDeviceSize" | "VkDeviceAddress" | "uint64_t" => "u64",
        _ => "u32",
    }
}

/// Whether a reply carries anything.
pub(super) fn has_reply(command: &Cmd) -> bool {
    !ret(command).is_empty() || command.params.iter().any(|field| out(command, field).is_some())
}

/// The length of a parameter; names are parameters, `a->b` members of what they point to.
fn param_length(command: &Cmd, len: &str) -> String {
    emit::length(len, &|name| match name.split_once("->") {
        Some((pointer, member)) => {
            // The rules demand the pointer; null counts as nothing.
            let pointer = names::field(pointer);
            format!("unsafe {{ opt({pointer}) }}.map_or(0, |s| s.{} as usize)", names::field(member))
        }
        None => {
            let field = command.params.iter().find(|field| field.member.name == name);
            let place = names::field(name);
            match field {
                Some(field) if matches!(field.shape, Shape::Pointer { .. }) => {
                    format!("unsafe {{ opt({place}) }}.map_or(0, |count| *count as usize)")
                }
                _ => emit::as_usize(field.and_then(emit::scalar_of), &place),
            }
        }
    })
}

fn with_safety(expr: &str) -> String {
    if expr.contains("unsafe") { format!("{SAFE}\n") } else { String::new() }
}

/// Parameters of `encode_x`: (name, type).
pub(super) fn encode_params(model: &Model, command: &Cmd) -> Vec<(String, String)> {
    let mut params = Vec::new();
    for field in &command.params {
        match out(command, field) {
            Some(Out::Created(_)) => params.push(("id".to_owned(), "u64".to_owned())),
            Some(Out::CreatedMany(..)) => params.push(("ids".to_owned(), "&[u64]".to_owned())),
            Some(Out::Sized(..)) => {}
            Some(Out::One(Ty::Struct(name))) if emit::needs_skeleton(model, name) => {
                params.push((field.name(), c_type(model, field, "'_")));
            }
            Some(Out::One(_)) => {}
            Some(Out::Count(_) | Out::Counted(..)) => params.push((field.name(), c_type(model, field, "'_"))),
            None if field.shape == Shape::Allocator => {}
            None => params.push((field.name(), c_type(model, field, "'_"))),
        }
    }
    params
}

/// Parameters of `reply_x`: (name, type).
pub(super) fn reply_params(model: &Model, command: &Cmd) -> Vec<(String, String)> {
    let mut params = Vec::new();
    for field in &command.params {
        match out(command, field) {
            None | Some(Out::Created(_)) => {}
            Some(Out::CreatedMany(..) | Out::Sized(..)) => {
                params.push((field.name(), c_type(model, field, "'_")));
                params.push((format!("{}_len", field.name()), "usize".to_owned()));
            }
            Some(_) => params.push((field.name(), c_type(model, field, "'_"))),
        }
    }
    params
}

fn list(params: &[(String, String)]) -> String {
    params.iter().map(|(name, ty)| format!(", {name}: {ty}")).collect()
}

fn arguments(params: &[(String, String)]) -> String {
    params.iter().map(|(name, _)| format!(", {name}")).collect()
}

/// Whether a recorded command always takes the same bytes: scalars and handles only.
pub(super) fn fixed_size(command: &Cmd) -> bool {
    command.leading.member.ty == "VkCommandBuffer"
        && command.params.iter().all(|field| match &field.shape {
            Shape::Value(ty) => ty.fixed_bytes().is_some(),
            _ => false,
        })
}

pub(super) fn is_recorded(command: &Cmd) -> bool {
    command.leading.member.ty == "VkCommandBuffer"
}

const HEAD: &str = r#"//! Commands of the Vulkan registry: `encode_x` writes the body of a request (a whole entry for commands that are
//! recorded), `reply_x` reads a reply into the caller's memory.

// UNSAFETY: reads and writes memory of the application, which is the Vulkan calling convention.
#![expect(unsafe_code, reason = "parameters of the application are raw pointers")]
#![allow(dead_code, deprecated, unused_imports, reason = "the registry has more than the hand-written part uses")]
#![allow(clippy::unnecessary_cast, clippy::too_many_arguments, clippy::missing_safety_doc, clippy::manual_div_ceil, reason = "one text for all commands")]

use core::ffi::c_char;
use core::ffi::c_void;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::stream::EntryFlags;
use dxg_wire::vulkan::NULL_ARRAY;

use crate::forward::command_buffer_id;
use crate::generated::structs::*;
use crate::generated::vulkan::VkOp;

/// Low and high word of a 64-bit number.
const fn words(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}
"#;

/// The file `dxg-vk/src/generated/commands.rs`.
pub(super) fn generate(model: &Model) -> String {
    let mut text = HEAD.replace("crate::generated::vulkan::VkOp", "dxg_wire::generated::vulkan::VkOp");
    for command in &model.commands {
        encoder(model, command, &mut text);
        if has_reply(command) {
            reply(model, command, &mut text);
        }
    }
    text
}

fn encoder(model: &Model, command: &Cmd, text: &mut String) {
    let snake = names::command(&command.name);
    let op = format!("VkOp::{}.0", names::constant(&command.name));
    let params = encode_params(model, command);
    if fixed_size(command) {
        put!(text, "\n/// Records `{}`.\n#[inline]", command.name);
        put!(text, "pub(crate) fn encode_{snake}(e: &mut Encoder{}) {{", list(&params));
        let mut parts = Vec::new();
        for field in &command.params {
            let Shape::Value(ty) = &field.shape else { continue };
            let place = field.name();
            let value = match ty {
                Ty::Scalar("u8" | "u16") => format!("u32::from({place})"),
                Ty::Scalar("f32") => format!("{place}.to_bits()"),
                Ty::Scalar("i32") => format!("{place}.cast_unsigned()"),
                Ty::Enum(_) => format!("{place}.as_raw().cast_unsigned()"),
                Ty::Flags(..) | Ty::Handle(_) => format!("{place}.as_raw()"),
                Ty::Size => format!("{place} as u64"),
                _ => place.clone(),
            };
            if ty.fixed_bytes() == Some(8) {
                put!(text, "let {place} = words({value});");
                parts.push(format!("{place}[0], {place}[1]"));
            } else {
                parts.push(value);
            }
        }
        put!(text, "e.entry({op}, [{}]);\n}}", parts.join(", "));
        return;
    }
    put!(
        text,
        "\n/// Encodes `{}`.\n///\n/// # Safety\n/// The parameters are valid as the Vulkan rules ask.",
        command.name
    );
    let mut body = String::new();
    for field in &command.params {
        body.push_str(&encode_param(model, command, field));
    }
    if is_recorded(command) {
        body = format!("let mark = e.begin({op}, EntryFlags::default());\n{body}e.end(mark);\n");
    }
    let e = if body.trim().is_empty() { "_e" } else { "e" };
    put!(text, "pub(crate) unsafe fn encode_{snake}({e}: &mut Encoder{}) {{\n{body}}}", list(&params));
}

fn encode_param(model: &Model, command: &Cmd, field: &Field) -> String {
    let place = field.name();
    let mut text = String::new();
    match out(command, field) {
        Some(Out::Created(_)) => put!(text, "e.u64(id);"),
        Some(Out::CreatedMany(..)) => put!(text, "e.count(ids.len());\ne.u64s(ids);"),
        Some(Out::Sized(..)) => {}
        Some(Out::One(Ty::Struct(name))) if emit::needs_skeleton(model, name) => {
            put!(text, "{SAFE}\nif let Some(s) = unsafe {{ opt({place}.cast_const()) }} {{");
            put!(text, "{SAFE}\nunsafe {{ skel_{}(e, s) }};\n}}", names::ty_snake(name));
        }
        Some(Out::One(_)) => {}
        Some(Out::Count(ty)) => {
            let put_count =
                if matches!(ty, Ty::Size) { "e.u64(*count as u64)" } else { "e.u64(u64::from(*count))" };
            put!(
                text,
                "{SAFE}\nmatch unsafe {{ opt({place}) }} {{ Some(count) => {put_count}, None => e.u64(0) }}"
            );
        }
        Some(Out::Counted(Shape::Array { ty: Ty::Struct(name), .. }, len))
            if emit::needs_skeleton(model, name) =>
        {
            let count = param_length(command, len);
            put!(text, "{}let count = {count};", with_safety(&count));
            put!(
                text,
                "{SAFE}\nmatch unsafe {{ list({place}.cast_const(), count) }} {{ None => e.u32(NULL_ARRAY), Some(items) => {{"
            );
            put!(
                text,
                "e.count(items.len());\nfor item in items {{\n{SAFE}\nunsafe {{ skel_{}(e, item) }};\n}} }} }}",
                names::ty_snake(name)
            );
        }
        Some(Out::Counted(..)) => put!(text, "e.u32(u32::from(!{place}.is_null()));"),
        None => {
            let strided = super::tables::STRIDED
                .iter()
                .find(|(name, array, _)| *name == command.name && *array == field.member.name);
            if let (Some((.., stride)), Shape::Array { ty, len, .. }) = (strided, &field.shape) {
                let count = param_length(command, len);
                put!(text, "e.u32({count} as u32);\nfor at in 0..{count} {{");
                put!(text, "{SAFE}\nlet item = unsafe {{ {place}.byte_add(at * ({stride} as usize)) }};");
                put!(text, "{SAFE}\nif let Some(item) = unsafe {{ opt(item) }} {{");
                put!(
                    text,
                    "{}\n}} }}",
                    emit::encode(model, ty, "(*item)", "enc").replace("&(*item)", "item")
                );
                return text;
            }
            match &field.shape {
                Shape::Array { len, .. } | Shape::Blob { len, .. } | Shape::Texts { len, .. } => {
                    let count = param_length(command, len);
                    put!(text, "{}let count = {count};", with_safety(&count));
                    text.push_str(&guest_structs::encode_pointer(model, &field.shape, &place, "count"));
                }
                Shape::Fixed(ty, dims) => {
                    put!(text, "{SAFE}\nif let Some(items) = unsafe {{ opt({place}) }} {{");
                    guest_structs::fixed(model, ty, dims, "items", &mut text, "enc");
                    put!(text, "}}");
                }
                shape => text.push_str(&guest_structs::encode_pointer(model, shape, &place, "0")),
            }
        }
    }
    text
}

fn reply(model: &Model, command: &Cmd, text: &mut String) {
    let snake = names::command(&command.name);
    let params = reply_params(model, command);
    let ret = ret(command);
    let ty = if ret.is_empty() { "()" } else { ret };
    put!(text, "\n/// Decodes the reply to `{}`.", command.name);
    put!(
        text,
        "///\n/// # Safety\n/// The parameters are valid as the Vulkan rules ask.\n///\n/// # Errors\n/// The reply does not fit."
    );
    put!(
        text,
        "pub(crate) unsafe fn reply_{snake}(d: &mut Decoder<'_>{}) -> Result<{ty}, DecodeError> {{",
        list(&params)
    );
    match ret {
        "vk::Result" => put!(text, "let result = vk::Result::from_raw(d.i32()?);"),
        "" => {}
        scalar => put!(text, "let result = d.{scalar}()?;"),
    }
    let mut late = String::new();
    for field in &command.params {
        let place = field.name();
        match out(command, field) {
            Some(Out::CreatedMany(handle, _)) => {
                put!(
                    text,
                    "let fill = Fill::<vk::{0}>::Each(|d, s| {{ *s = vk::{0}::from_raw(d.u64()?); Ok(()) }});",
                    names::ty(handle)
                );
                put!(text, "{SAFE}\nunsafe {{ fill_list(d, {place}, {place}_len, fill) }}?;");
            }
            Some(Out::One(ty)) => {
                let value = guest_structs::fill_value(ty, "(*value)").replace("&mut (*value)", "value");
                put!(late, "{SAFE}\nif let Some([value]) = unsafe {{ list_mut({place}, 1) }} {{\n{value}}}");
                // A reply carries the value even where nobody wants it; the rules demand the pointer.
            }
            Some(Out::Count(ty)) => {
                let rust = ty.rust(model, "");
                put!(
                    late,
                    "let {place}_now = d.u64()?;\n{SAFE}\nlet {place}_room = unsafe {{ opt({place}) }}.map_or(0, |count| *count as usize);"
                );
                put!(
                    late,
                    "{SAFE}\nif let Some([count]) = unsafe {{ list_mut({place}, 1) }} {{ *count = {place}_now as {rust}; }}"
                );
            }
            Some(Out::Counted(shape, len)) => {
                let counter = names::field(len);
                let fill = guest_structs::fill_closure(model, shape);
                put!(
                    late,
                    "let fill = {fill};\n{SAFE}\nunsafe {{ fill_list(d, {place}.cast(), {counter}_room, fill) }}?;"
                );
            }
            Some(Out::Sized(shape, _)) => {
                let fill = guest_structs::fill_closure(model, shape);
                put!(
                    late,
                    "let fill = {fill};\n{SAFE}\nunsafe {{ fill_list(d, {place}.cast(), {place}_len, fill) }}?;"
                );
            }
            Some(Out::Created(_)) | None => {}
        }
    }
    if !late.is_empty() && ret == "vk::Result" {
        put!(text, "if result.as_raw() >= 0 {{\n{late}}}");
    } else {
        text.push_str(&late);
    }
    put!(text, "Ok({})\n}}", if ret.is_empty() { "()" } else { "result" });
}

const ENTRY_HEAD: &str = r#"//! Entry points of the commands that are forwarded as they are.

// UNSAFETY: C entry points; parameters are passed on to encoders that demand the Vulkan rules.
#![expect(unsafe_code, reason = "entry points are called from C")]
#![allow(clippy::too_many_arguments, clippy::missing_safety_doc, reason = "the registry decides")]
#![allow(unused_imports, reason = "one text for all commands")]

use core::ffi::c_char;
use core::ffi::c_void;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;

use crate::forward;
use crate::generated::commands::*;
use crate::generated::structs::opt;
use crate::generated::structs::tell_pipeline_feedback;
"#;

/// The file `dxg-vk/src/generated/entry.rs`.
pub(super) fn entries(model: &Model) -> String {
    let mut text = ENTRY_HEAD.to_owned();
    for command in model.commands.iter().filter(|command| command.kind != Kind::Custom) {
        entry(model, command, &mut text);
    }
    text
}

/// `PFN` signature parameters, the leading one included.
fn entry_params(model: &Model, command: &Cmd) -> Vec<(String, String)> {
    let mut params = vec![(command.leading.name(), command.leading_type(model))];
    for field in &command.params {
        let name = if field.shape == Shape::Allocator { "_p_allocator".to_owned() } else { field.name() };
        params.push((name, c_type(model, field, "'_")));
    }
    params
}

impl Cmd {
    fn leading_type(&self, model: &Model) -> String {
        c_type(model, &self.leading, "'_")
    }
}

fn entry(model: &Model, command: &Cmd, text: &mut String) {
    let snake = names::command(&command.name);
    let op = format!("VkOp::{}", names::constant(&command.name));
    let params = entry_params(model, command);
    let signature: Vec<String> = params.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
    let ret = ret(command);
    let arrow = if ret.is_empty() { String::new() } else { format!(" -> {ret}") };
    put!(text, "\n/// `{}`.\n///\n/// # Safety\n/// The Vulkan rules for this command hold.", command.name);
    put!(text, "pub(crate) unsafe extern \"system\" fn {snake}({}){arrow} {{", signature.join(", "));
    let encode = encode_params(model, command);
    let mut call = format!("encode_{snake}(e{})", arguments(&encode));
    if !fixed_size(command) {
        call = format!("{{\n{SAFE}\nunsafe {{ {call} }}\n}}");
    }
    let leading = command.leading.name();
    let of = match command.level {
        Level::Device => "device",
        _ => "physical_device",
    };
    let target = format!("{SAFE}\nlet target = unsafe {{ forward::{of}({leading}) }};");
    match command.kind {
        Kind::Record => {
            let call = call.trim_start_matches("{\n").trim_end_matches("\n}");
            put!(text, "{SAFE}\nlet e = unsafe {{ forward::record({leading}) }};\n{call};\n}}");
            return;
        }
        Kind::AsyncCreate => {
            let created = command.params.iter().find_map(|field| match out(command, field) {
                Some(Out::Created(handle)) => Some((field.name(), handle)),
                _ => None,
            });
            if let Some((place, handle)) = created {
                let kind = names::constant(handle);
                put!(
                    text,
                    "{target}\nlet id = match target.new_id(ObjectKind::{kind}) {{ Ok(id) => id, Err(result) => return result }};"
                );
                put!(text, "match target.post({op}, |e| {call}) {{ Ok(()) => {{");
                put!(
                    text,
                    "{SAFE}\nunsafe {{ {place}.write(vk::{}::from_raw(id)) }};\nvk::Result::SUCCESS\n}}",
                    names::ty(handle)
                );
                put!(text, "Err(result) => {{ target.free_id(ObjectKind::{kind}, id); result }} }}\n}}");
            }
            return;
        }
        Kind::Destroy => {
            if let Some(field) = command.params.first()
                && let Shape::Value(Ty::Handle(handle)) = &field.shape
            {
                let (place, kind) = (field.name(), names::constant(handle));
                put!(text, "if {place}.is_null() {{ return; }}\n{target}");
                put!(
                    text,
                    "// A device that is lost has nothing to destroy.\nlet _ = target.post({op}, |e| {call});"
                );
                put!(text, "target.free_id(ObjectKind::{kind}, {place}.as_raw());\n}}");
            }
            return;
        }
        Kind::Post => {
            put!(text, "{target}");
            if ret.is_empty() {
                put!(
                    text,
                    "// A device that is lost has nothing to do.\nlet _ = target.post({op}, |e| {call});\n}}"
                );
            } else {
                put!(
                    text,
                    "match target.post({op}, |e| {call}) {{ Ok(()) => vk::Result::SUCCESS, Err(result) => result }}\n}}"
                );
            }
            return;
        }
        Kind::Sync | Kind::Custom => {}
    }
    put!(text, "{target}");
    let mut created_many = None;
    let mut created_one = None;
    for field in &command.params {
        match out(command, field) {
            Some(Out::Sized(_, len)) => {
                let count = param_length(command, len);
                put!(text, "{}let {}_len = {count};", with_safety(&count), field.name());
            }
            Some(Out::CreatedMany(handle, len)) => {
                let count = param_length(command, len);
                put!(text, "{}let {}_len = {count};", with_safety(&count), field.name());
                put!(
                    text,
                    "let mut ids = Vec::with_capacity({}_len);\nfor _ in 0..{}_len {{",
                    field.name(),
                    field.name()
                );
                let kind = names::constant(handle);
                put!(
                    text,
                    "match target.new_id(ObjectKind::{kind}) {{ Ok(id) => ids.push(id), Err(result) => {{ for id in ids {{ target.free_id(ObjectKind::{kind}, id); }} return result; }} }}\n}}"
                );
                created_many = Some((field.name(), handle.to_owned()));
            }
            Some(Out::Created(handle)) => {
                let kind = names::constant(handle);
                put!(
                    text,
                    "let id = match target.new_id(ObjectKind::{kind}) {{ Ok(id) => id, Err(result) => return result }};"
                );
                created_one = Some((field.name(), handle.to_owned()));
            }
            _ => {}
        }
    }
    let reply = reply_params(model, command);
    let call = call.replace(", ids)", ", &ids)");
    if command.name.contains("Pipelines") {
        put!(text, "let began = std::time::Instant::now();");
    }
    put!(
        text,
        "let outcome = target.call({op}, |e| {call}, |d| {{\n{SAFE}\nunsafe {{ reply_{snake}(d{}) }}\n}});",
        arguments(&reply)
    );
    if let Some((place, handle)) = created_many {
        let kind = names::constant(&handle);
        put!(
            text,
            "{SAFE}\nlet made = unsafe {{ crate::generated::structs::list_mut({place}, {place}_len) }}.unwrap_or_default();"
        );
        put!(text, "if outcome.is_err() {{ made.fill(vk::{}::null()); }}", names::ty(&handle));
        put!(
            text,
            "for (made, id) in made.iter().zip(ids) {{ if made.as_raw() != id {{ target.free_id(ObjectKind::{kind}, id); }} }}"
        );
        if let Some(infos) = command.params.iter().find(|field| field.member.name == "pCreateInfos")
            && command.name.contains("Pipelines")
        {
            let infos = infos.name();
            put!(
                text,
                "{SAFE}\nlet infos = unsafe {{ crate::generated::structs::list({infos}, {place}_len) }};"
            );
            put!(text, "for info in infos.unwrap_or_default() {{");
            put!(text, "{SAFE}\nunsafe {{ tell_pipeline_feedback(info.p_next, began) }};\n}}");
        }
    }
    if let Some((place, handle)) = created_one {
        let kind = names::constant(&handle);
        put!(
            text,
            "if outcome == Ok(vk::Result::SUCCESS) {{\n{SAFE}\nunsafe {{ {place}.write(vk::{}::from_raw(id)) }};\n}} else {{ target.free_id(ObjectKind::{kind}, id); }}",
            names::ty(&handle)
        );
    }
    match ret {
        "" => put!(text, "// Outputs of a lost device are what they were.\nlet _ = outcome;\n}}"),
        "vk::Result" => put!(text, "outcome.unwrap_or_else(|result| result)\n}}"),
        _ => put!(text, "outcome.unwrap_or_default()\n}}"),
    }
}

const PROC_HEAD: &str = r#"//! Which commands exist, what enables them, and where the forwarded ones are.

#![allow(dead_code, deprecated, unused_imports, reason = "the registry has more than the hand-written part uses")]

use ash::vk;

use crate::generated::entry;
use crate::proc_address::Address;
use crate::proc_address::CustomProc;
use crate::proc_address::Forwarded;
use crate::proc_address::Level;
use crate::proc_address::Proc;
use crate::proc_address::Requires;
"#;

/// The file `dxg-vk/src/generated/proc_addr.rs`.
pub(super) fn procs(model: &Model) -> String {
    let mut text = PROC_HEAD.to_owned();
    let mut forwarded = Vec::new();
    let mut custom = Vec::new();
    for command in &model.commands {
        for name in model.command_names(&command.name) {
            let level = format!("Level::{:?}", command.level);
            let requires = requires(model, &name);
            let snake = names::command(&command.name);
            if command.kind == Kind::Custom {
                custom.push((name.clone(), format!("CustomProc {{ name: \"{name}\", canonical: \"{}\", level: {level}, requires: {requires} }},", command.name)));
            } else {
                forwarded.push((name.clone(), format!("Proc {{ name: \"{name}\", level: {level}, requires: {requires}, address: Address::new(entry::{snake} as vk::PFN_{} as *const ()) }},", command.name)));
            }
        }
    }
    for (name, _) in super::tables::EXCLUDED_COMMANDS {
        let Some(known) = model.registry.commands.get(*name) else { continue };
        let Some(level) = known.params.first().and_then(|param| super::model::level(&param.ty)) else {
            continue;
        };
        for alias in model.command_names(name) {
            if model.requires.contains_key(&alias) {
                let requires = requires(model, &alias);
                custom.push((alias.clone(), format!("CustomProc {{ name: \"{alias}\", canonical: \"{name}\", level: Level::{level:?}, requires: {requires} }},")));
            }
        }
    }
    forwarded.sort();
    custom.sort();
    put!(
        text,
        "\n/// Forwarded commands, sorted by name, aliases included.\npub(crate) static PROCS: [Proc; {}] = [",
        forwarded.len()
    );
    forwarded.iter().for_each(|(_, line)| put!(text, "{line}"));
    put!(
        text,
        "];\n\n/// Commands that are written by hand, sorted by name, aliases included.\npub(crate) static CUSTOM: &[CustomProc] = &["
    );
    custom.iter().for_each(|(_, line)| put!(text, "{line}"));
    put!(
        text,
        "];\n\n/// Device extensions whose structures and commands are forwarded, sorted by name.\npub(crate) static FORWARDED_EXTENSIONS: &[Forwarded] = &["
    );
    let mut extensions: Vec<_> =
        model.extensions.iter().filter(|extension| extension.kind == "device").collect();
    extensions.sort_by(|a, b| a.name.cmp(&b.name));
    for extension in extensions {
        put!(text, "Forwarded {{ name: \"{}\", spec_version: {} }},", extension.name, extension.spec_version);
    }
    put!(text, "];");
    text
}

fn requires(model: &Model, name: &str) -> String {
    let Some(requires) = model.requires.get(name) else { return "&[]".to_owned() };
    let mut parts = Vec::new();
    if let Some((major, minor)) = requires.version {
        parts.push(format!("Requires::Version(vk::make_api_version(0, {major}, {minor}, 0))"));
    }
    for extension in &requires.extensions {
        parts.push(format!("Requires::Extension(\"{extension}\")"));
    }
    format!("&[{}]", parts.join(", "))
}
