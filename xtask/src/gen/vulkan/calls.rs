//! Calls for the test that what a program calls is what the host's driver is called with: every command once through its
//! entry point, both codecs and the dispatch, into a function that compares each parameter and fills each output.

use super::emit;
use super::emit::put;
use super::guest_commands::Out;
use super::guest_commands::c_type;
use super::guest_commands::encode_params;
use super::guest_commands::fixed_size;
use super::guest_commands::has_reply;
use super::guest_commands::is_recorded;
use super::guest_commands::out;
use super::guest_commands::reply_params;
use super::guest_commands::ret;
use super::model::Cmd;
use super::model::Field;
use super::model::Kind;
use super::model::Level;
use super::model::Model;
use super::model::Shape;
use super::model::Ty;
use super::names;
use super::roundtrip::lengths;
use super::roundtrip::same_value;
use super::roundtrip::value;
use super::tables;

const HEAD: &str = r#"//! Every command: what it is called with, the driver's function that is to see the same, and the call itself.

// UNSAFETY: commands take raw pointers, made by the fillers or the decoders of the host.
#![expect(unsafe_code, reason = "parameters are compared behind their pointers")]
#![allow(deprecated, unused_imports, unused_mut, unused_variables, clippy::multiple_unsafe_ops_per_block, clippy::needless_return, clippy::redundant_closure, clippy::unnecessary_cast, clippy::too_many_arguments, clippy::too_many_lines, clippy::manual_div_ceil, reason = "one text for all commands")]

use core::ffi::c_char;
use core::ffi::c_void;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;

use crate::calls::Calls;
use crate::calls::Host;
use crate::calls::driver;
use crate::fill::Fill;
use crate::guest_commands as guest;
use crate::guest_entry as entry;
use crate::same::same_blob;
use crate::same::same_bytes;
use crate::same::same_list;
use crate::same::same_one;
use crate::same::same_text;
use crate::same::same_texts;
use crate::values::*;
"#;

const SAFE: &str = "// SAFETY: parameters are null or valid for their counts: made by the fillers or by the decoders of the host.";

/// The file `dxg-host/tests/generated/vulkan_calls.rs`.
pub(super) fn generate(model: &Model) -> String {
    let mut text = HEAD.to_owned();
    // What queues do is carried by operations of their own.
    let commands: Vec<&Cmd> =
        model.commands.iter().filter(|command| command.leading.member.ty != "VkQueue").collect();
    for command in &commands {
        wanted(model, command, &mut text);
        native(model, command, &mut text);
        case(model, command, &mut text);
    }
    put!(text, "\n/// Calls every command.\npub(crate) fn each(calls: &mut Calls) {{");
    commands.iter().for_each(|command| put!(text, "call_{}(calls);", names::command(&command.name)));
    put!(text, "}}");
    text
}

/// The name of the structure that keeps the parameters of a call.
fn wanted_name(command: &Cmd) -> String {
    command.name.trim_start_matches("vk").to_owned()
}

/// Parameters that a program passes and a driver sees, all but the allocator.
fn params(command: &Cmd) -> impl Iterator<Item = &Field> {
    command.params.iter().filter(|field| field.shape != Shape::Allocator)
}

fn wanted(model: &Model, command: &Cmd, text: &mut String) {
    put!(text, "\n/// Parameters of `{}`.\nstruct {} {{", command.name, wanted_name(command));
    for field in params(command) {
        put!(text, "{}: {},", field.name(), c_type(model, field, "'static"));
    }
    put!(text, "}}");
}

/// A length over parameters; `of` is put before their names.
fn length(command: &Cmd, len: &str, of: &str) -> String {
    emit::length(len, &|name| match name.split_once("->") {
        Some((pointer, member)) => {
            format!("unsafe {{ (*{of}{}).{} }} as usize", names::field(pointer), names::field(member))
        }
        None => {
            let field = command.params.iter().find(|field| field.member.name == name);
            let place = format!("{of}{}", names::field(name));
            match field {
                Some(field) if matches!(field.shape, Shape::Pointer { .. }) => {
                    format!("unsafe {{ *{place} }} as usize")
                }
                _ => emit::as_usize(field.and_then(emit::scalar_of), &place),
            }
        }
    })
}

fn with_safety(expression: &str) -> String {
    if expression.contains("unsafe") { format!("{SAFE}\n") } else { String::new() }
}

fn strided(command: &Cmd, array: &str) -> Option<&'static str> {
    tables::STRIDED
        .iter()
        .find(|(name, member, _)| *name == command.name && *member == array)
        .map(|(.., stride)| *stride)
}

/// Whether the parameter gives elements their distance.
fn is_stride(command: &Cmd, name: &str) -> bool {
    tables::STRIDED.iter().any(|(owner, _, stride)| *owner == command.name && *stride == names::field(name))
}

/// The driver's function.
fn native(model: &Model, command: &Cmd, text: &mut String) {
    let snake = names::command(&command.name);
    let mut signature = vec![format!("leading: {}", c_type(model, &command.leading, "'_"))];
    for field in &command.params {
        let name = if field.shape == Shape::Allocator { "allocator".to_owned() } else { field.name() };
        signature.push(format!("{name}: {}", c_type(model, field, "'_")));
    }
    let ret = ret(command);
    let arrow = if ret.is_empty() { String::new() } else { format!(" -> {ret}") };
    put!(
        text,
        "\n/// What the driver does in `{}`.\n///\n/// # Safety\n/// Called as the Vulkan rules ask, while [`driver`] wants this command.",
        command.name
    );
    put!(text, "unsafe extern \"system\" fn native_{snake}({}){arrow} {{", signature.join(", "));
    put!(
        text,
        "// SAFETY: the caller says that this command is wanted.\nlet want = unsafe {{ driver::wanted::<{}>() }};",
        wanted_name(command)
    );
    put!(text, "let mut seen = driver::Seen::new(\"{}\", leading.as_raw());", command.name);
    if command.params.iter().any(|field| field.shape == Shape::Allocator) {
        put!(text, "seen.param(\"pAllocator\", allocator.is_null());");
    }
    for field in params(command) {
        if out(command, field).is_none()
            && let Some(term) = same_param(command, field)
        {
            put!(text, "seen.param(\"{}\", {term});", field.member.name);
        }
    }
    // Capacities are inputs too.
    for field in params(command) {
        if let Some(Out::Count(_)) = out(command, field) {
            let place = field.name();
            put!(
                text,
                "{SAFE}\nlet same = unsafe {{ *{place} == *want.{place} }};\nseen.param(\"{}\", same);",
                field.member.name
            );
        }
        if let Some(Out::Counted(..)) = out(command, field) {
            put!(
                text,
                "seen.param(\"{}\", {place}.is_null() == want.{place}.is_null());",
                field.member.name,
                place = field.name()
            );
        }
    }
    put!(text, "seen.end();");
    if ret == "vk::Result" {
        put!(text, "let verdict = driver::verdict();\nif verdict.as_raw() < 0 {{ return verdict; }}");
    }
    put!(text, "let f = &mut driver::fill();");
    for field in params(command) {
        drive(model, command, field, text);
    }
    match ret {
        "" => {}
        "vk::Result" => put!(text, "verdict"),
        scalar => put!(text, "driver::keep(f.u64() as {scalar})"),
    }
    put!(text, "}}");
}

/// Whether an input is the wanted one.
fn same_param(command: &Cmd, field: &Field) -> Option<String> {
    let a = format!("want.{}", field.name());
    let b = field.name();
    let term = match &field.shape {
        Shape::SType | Shape::Next | Shape::Allocator => return None,
        Shape::Value(_) if is_stride(command, &field.member.name) => return None,
        Shape::Value(ty) => same_value(ty, &a, &b),
        Shape::Fixed(ty, dims) => format!(
            "same_one({a}, {b}, |s, t| {}.zip({}).all(|(x, y)| {}))",
            emit::iterate("s", dims, "iter"),
            emit::iterate("t", dims, "iter"),
            same_value(ty, "(*x)", "(*y)")
        ),
        Shape::Pointer { ty, .. } => format!("same_one({a}, {b}, |x, y| {})", same_value(ty, "(*x)", "(*y)")),
        Shape::Array { ty, len, .. } => {
            let count = length(command, len, "want.");
            if let Some(stride) = strided(command, &field.member.name) {
                return Some(format!(
                    "(0..{count}).all(|at| {{\n{SAFE}\nlet (x, y) = unsafe {{ ({a}.byte_add(at * want.{stride} as usize), {b}.byte_add(at * {stride} as usize)) }};\nsame_one(x, y, |x, y| {})\n}})",
                    same_value(ty, "(*x)", "(*y)")
                ));
            }
            let call = format!("same_list({a}, {b}, {count}, |x, y| {})", same_value(ty, "(*x)", "(*y)"));
            if count.contains("unsafe") {
                format!("{{\n{SAFE}\nlet count = {count};\n{} }}", call.replace(&count, "count"))
            } else {
                call
            }
        }
        Shape::Blob { len, .. } => {
            format!("same_blob({a}.cast(), {b}.cast(), {})", length(command, len, "want."))
        }
        Shape::Text { .. } => format!("same_text({a}, {b})"),
        Shape::Texts { len, .. } => format!("same_texts({a}, {b}, {})", length(command, len, "want.")),
    };
    Some(term)
}

/// How the driver fills one element of a type.
fn drive_one(model: &Model, ty: &Ty) -> String {
    let _ = model;
    match ty {
        Ty::Struct(name) => format!("drive_{}", names::ty_snake(name)),
        _ => format!("|f: &mut Fill, item: &mut _| *item = {}", value(ty, false)),
    }
}

fn element(shape: &Shape) -> Ty {
    match shape {
        Shape::Array { ty, .. } => ty.clone(),
        _ => Ty::Scalar("u8"),
    }
}

/// Fills an output and keeps what it was filled with.
fn drive(model: &Model, command: &Cmd, field: &Field, text: &mut String) {
    let place = field.name();
    match out(command, field) {
        None | Some(Out::Count(_)) => {}
        Some(Out::Created(_)) => put!(text, "{SAFE}\nunsafe {{ driver::make({place}, 1) }};"),
        Some(Out::CreatedMany(_, len)) => {
            let count = length(command, len, "want.");
            put!(text, "{}let count = {count};", with_safety(&count));
            put!(text, "{SAFE}\nunsafe {{ driver::make({place}, count) }};");
        }
        Some(Out::One(ty)) => {
            put!(text, "{SAFE}\nlet item = unsafe {{ &mut *{place} }};");
            match ty {
                Ty::Struct(name) => put!(text, "drive_{}(f, item);", names::ty_snake(name)),
                _ => put!(text, "*item = {};", value(ty, false)),
            }
            put!(
                text,
                "{SAFE}\nunsafe {{ driver::keep_list::<{}>({place}.cast(), 1) }};",
                ty.rust(model, "'static")
            );
        }
        Some(Out::Counted(shape, len)) => {
            let ty = element(shape);
            let rust = ty.rust(model, "'static");
            let counter = names::field(len);
            put!(
                text,
                "{SAFE}\nlet room = unsafe {{ *{counter} }} as usize;\nlet count = f.drive_list({place}.cast::<{rust}>(), room, {});",
                drive_one(model, &ty)
            );
            put!(text, "{SAFE}\nunsafe {{ *{counter} = count as _ }};\ndriver::keep(count as u64);");
            put!(text, "{SAFE}\nunsafe {{ driver::keep_list::<{rust}>({place}.cast(), count) }};");
        }
        Some(Out::Sized(shape, len)) => {
            let ty = element(shape);
            let rust = ty.rust(model, "'static");
            let count = length(command, len, "want.");
            put!(text, "{}let count = {count};", with_safety(&count));
            put!(
                text,
                "{SAFE}\nunsafe {{ driver::drive_all({place}.cast::<{rust}>(), count, f, {}) }};",
                drive_one(model, &ty)
            );
            put!(text, "{SAFE}\nunsafe {{ driver::keep_list::<{rust}>({place}.cast(), count) }};");
        }
    }
}

/// Whether a scalar parameter is the length of an input array.
fn counts(command: &Cmd, name: &str) -> bool {
    command.params.iter().any(|field| match &field.shape {
        Shape::Array { len, .. } | Shape::Blob { len, .. } | Shape::Texts { len, .. } => {
            len.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|part| part == name)
        }
        _ => false,
    })
}

/// Values that the rules, or checks of the host, tie to other parameters: (command, parameter, value).
const TIED: &[(&str, &str, &str)] =
    &[("vkGetQueryPoolResults", "stride", "data_size as u64 / u64::from(query_count.max(1))")];

/// Makes the value that a program passes.
fn made(model: &Model, command: &Cmd, field: &Field) -> String {
    let member = field.member.name.as_str();
    let owner = command.name.as_str();
    let frees_many = tables::FREES
        .iter()
        .find(|(name, param)| {
            *name == owner
                && matches!(
                    command.params.iter().find(|other| other.member.name == *param).map(|other| &other.shape),
                    Some(Shape::Array { .. })
                )
        })
        .map(|(_, param)| *param);
    if let Some((.., text)) = TIED.iter().find(|(name, param, _)| *name == owner && *param == member) {
        return (*text).to_owned();
    }
    let optional = field.member.optional(0) || field.member.no_auto_validity;
    let guard = |made: String, optional: bool| {
        if optional { format!("if f.chance() {{ core::ptr::null() }} else {{ {made} }}") } else { made }
    };
    match out(command, field) {
        None => {}
        Some(Out::Created(handle)) => {
            return format!("f.one(|_| vk::{}::null()).cast_mut()", names::ty(handle));
        }
        Some(Out::CreatedMany(handle, len)) => {
            let count = length(command, len, "");
            return format!(
                "{{\n{}let count = {count};\nf.list(count, |_| vk::{}::null()).cast_mut()\n}}",
                with_safety(&count),
                names::ty(handle)
            );
        }
        Some(Out::Count(ty)) => return format!("f.one(|f| f.count() as {}).cast_mut()", ty.rust(model, "")),
        Some(Out::One(ty)) => return format!("f.one(|f| {}).cast_mut()", caller(model, ty)),
        Some(Out::Counted(shape, len)) => {
            let cast = if matches!(shape, Shape::Blob { .. }) { ".cast()" } else { "" };
            return format!(
                "if f.chance() {{ core::ptr::null_mut() }} else {{\n{SAFE}\nlet count = unsafe {{ *{} }} as usize;\nf.list(count, |f| {}).cast_mut(){cast} }}",
                names::field(len),
                caller(model, &element(shape))
            );
        }
        Some(Out::Sized(shape, len)) => {
            let cast = if matches!(shape, Shape::Blob { .. }) { ".cast()" } else { "" };
            let count = length(command, len, "");
            return format!(
                "{{\n{}let count = {count};\nf.list(count, |f| {}).cast_mut(){cast}\n}}",
                with_safety(&count),
                caller(model, &element(shape))
            );
        }
    }
    match &field.shape {
        Shape::Value(Ty::Handle(handle)) => {
            let ends = owner.starts_with("vkDestroy")
                && command.params.first().is_some_and(|first| first.member.name == member);
            let freed = tables::FREES.contains(&(owner, member));
            if frees_many.is_some() {
                // The pool that the objects of a host come from.
                return format!("vk::{}::from_raw(Host::known(1))", names::ty(handle));
            }
            value(&Ty::Handle(handle.clone()), optional && !ends && !freed)
        }
        Shape::Value(_) if is_stride(command, member) => {
            let array =
                tables::STRIDED.iter().find(|(name, ..)| *name == owner).map_or("", |(_, array, _)| array);
            let ty = command
                .params
                .iter()
                .find(|other| other.member.name == array)
                .map(|other| element(&other.shape));
            let rust = ty.map_or_else(String::new, |ty| ty.rust(model, "'static"));
            format!("(size_of::<{rust}>() + 4 * f.count()) as u32")
        }
        Shape::Value(Ty::Flags(name, _)) if counts(command, member) => {
            format!("vk::{}::from_raw(1 << (f.u64() % 7))", names::flags(name))
        }
        Shape::Value(_) if counts(command, member) => "f.count() as _".to_owned(),
        Shape::Value(ty) => value(ty, optional),
        Shape::Fixed(ty, dims) => {
            let array = emit::array_type(&ty.rust(model, "'static"), dims);
            format!(
                "f.one(|f| {{\nlet mut all: {array} = Default::default();\nfor item in {} {{ *item = {}; }}\nall\n}})",
                emit::iterate("all", dims, "iter_mut"),
                value(ty, true)
            )
        }
        Shape::Pointer { ty, optional } => {
            let prefix = format!("{member}->");
            let counted: Vec<&str> = command
                .params
                .iter()
                .filter_map(|other| other.member.len.first()?.strip_prefix(prefix.as_str()))
                .collect();
            let mut made = value(ty, true);
            // Members that count parameters are kept small; those that count arrays beside them are already.
            if let (Ty::Struct(name), [count, ..]) = (ty, counted.as_slice())
                && model.structs.get(name).is_some_and(|known| lengths(known, count).is_empty())
            {
                made = format!("{{\nlet mut s = {made};\ns.{} = f.count() as _;\ns\n}}", names::field(count));
            }
            guard(format!("f.one(|f| {made})"), *optional && counted.is_empty())
        }
        Shape::Array { ty, len, optional } => {
            let count = length(command, len, "");
            if let Some(stride) = strided(command, member) {
                return format!("f.list({count} * {stride} as usize, |f| f.u64() as u8).cast()");
            }
            if frees_many == Some(member) {
                return format!(
                    "{{\nlet mut next = 0;\nf.list({count}, |_| {{ next += 1; vk::{}::from_raw(Host::known(next)) }})\n}}",
                    names::ty(match ty {
                        Ty::Handle(handle) => handle,
                        _ => "",
                    })
                );
            }
            let list = format!("f.list(count, |f| {})", value(ty, true));
            format!("{{\n{}let count = {count};\n{}\n}}", with_safety(&count), guard(list, *optional))
        }
        Shape::Blob { len, optional } => {
            guard(format!("f.list({}, |f| f.u64() as u8).cast()", length(command, len, "")), *optional)
        }
        Shape::Text { optional } => guard("f.text()".to_owned(), *optional),
        Shape::Texts { len, optional } => {
            guard(format!("f.list({}, Fill::text)", length(command, len, "")), *optional)
        }
        Shape::SType | Shape::Next | Shape::Allocator => String::new(),
    }
}

/// What a program gives to be filled.
fn caller(model: &Model, ty: &Ty) -> String {
    match ty {
        Ty::Struct(name) => format!("caller_{}(f)", names::ty_snake(name)),
        _ => format!("<{}>::default()", ty.rust(model, "'static")),
    }
}

fn case(model: &Model, command: &Cmd, text: &mut String) {
    let snake = names::command(&command.name);
    let op = format!("VkOp::{}", names::constant(&command.name));
    let ret = ret(command);
    let table = if command.level == Level::Device { "device" } else { "instance" };
    put!(text, "\npub(crate) fn call_{snake}(calls: &mut Calls) {{");
    put!(text, "calls.rounds(\"{}\", |host, f| {{", command.name);
    put!(text, "host.{table}_fns().{snake} = Some(native_{snake});");
    // Counts and what lengths look at come first.
    let tied = |field: &&Field| {
        TIED.iter().any(|(name, param, _)| *name == command.name && *param == field.member.name)
    };
    let early = |field: &&Field| match &field.shape {
        Shape::Value(_) => !tied(field),
        Shape::Pointer { .. } => true,
        _ => false,
    };
    let mut order: Vec<&Field> = params(command).filter(early).collect();
    order.extend(params(command).filter(tied));
    order.extend(params(command).filter(|field| !early(field) && !tied(field)));
    for field in order {
        put!(
            text,
            "let {}: {} = {};",
            field.name(),
            c_type(model, field, "'static"),
            made(model, command, field)
        );
    }
    let fields: Vec<String> = params(command).map(Field::name).collect();
    put!(text, "let want = {} {{ {} }};", wanted_name(command), fields.join(", "));
    put!(text, "driver::want(&want, f);");
    // The program's counts are overwritten by the answer; what was asked for stays in a copy.
    for field in params(command) {
        if let Some(Out::Count(_)) = out(command, field) {
            let place = field.name();
            put!(text, "{SAFE}\nlet {place} = unsafe {{ f.one(|_| *{place}) }}.cast_mut();");
        }
    }
    let kind = command.kind;
    if kind == Kind::Custom {
        custom(model, command, &op, text);
    } else {
        let leading = match command.leading.member.ty.as_str() {
            "VkCommandBuffer" => "host.command_buffer()",
            "VkPhysicalDevice" => "host.physical_device()",
            _ => "host.device()",
        };
        let mut arguments = vec![leading.to_owned()];
        for field in &command.params {
            arguments.push(if field.shape == Shape::Allocator {
                "core::ptr::null()".to_owned()
            } else {
                field.name()
            });
        }
        let bind = if ret.is_empty() { "" } else { "let returned = " };
        put!(text, "{SAFE}\n{bind}unsafe {{ entry::{snake}({}) }};", arguments.join(", "));
        if kind == Kind::Record {
            put!(text, "host.play({op});");
        }
    }
    put!(text, "driver::seen(\"{}\");", command.name);
    let waits = matches!(kind, Kind::Sync | Kind::Custom);
    match (ret, waits) {
        ("", _) => {}
        ("vk::Result", true) => put!(
            text,
            "assert_eq!(returned, driver::verdict(), \"result\");\nif returned.as_raw() < 0 {{ return; }}"
        ),
        // A failure that nobody waits for is noted for the stream.
        ("vk::Result", false) => put!(
            text,
            "assert_eq!(returned, vk::Result::SUCCESS, \"result\");\nif host.failed({op}) {{ return; }}"
        ),
        _ => {}
    }
    for field in params(command) {
        check(model, command, field, text);
    }
    if !ret.is_empty() && ret != "vk::Result" {
        put!(text, "assert_eq!(returned, driver::kept::<{ret}>(), \"returned value\");");
    }
    if let Some(field) = command.params.first()
        && let Shape::Value(Ty::Handle(handle)) = &field.shape
        && command.name.starts_with("vkDestroy")
    {
        put!(
            text,
            "assert!(host.lookup(ObjectKind::{}, {}.as_raw()).is_err(), \"destroyed\");",
            names::constant(handle),
            field.name()
        );
    }
    put!(text, "}});\n}}");
}

/// Encodes and decodes what the entry point, which is written by hand, would.
fn custom(model: &Model, command: &Cmd, op: &str, text: &mut String) {
    let snake = names::command(&command.name);
    for field in &command.params {
        match out(command, field) {
            Some(Out::Created(handle)) => {
                put!(text, "let id = host.new_id(ObjectKind::{});", names::constant(handle));
            }
            Some(Out::CreatedMany(handle, len)) => {
                let count = length(command, len, "want.");
                put!(text, "{}let {}_len = {count};", with_safety(&count), field.name());
                put!(
                    text,
                    "let ids: Vec<u64> = (0..{}_len).map(|_| host.new_id(ObjectKind::{})).collect();\nlet ids = ids.as_slice();",
                    field.name(),
                    names::constant(handle)
                );
            }
            Some(Out::Sized(_, len)) => {
                let count = length(command, len, "want.");
                put!(text, "{}let {}_len = {count};", with_safety(&count), field.name());
            }
            _ => {}
        }
    }
    let encode: String = encode_params(model, command).iter().map(|(name, _)| format!(", {name}")).collect();
    if is_recorded(command) {
        put!(text, "let mut recorded = Encoder::new();");
        let encode = format!("guest::encode_{snake}(&mut recorded{encode})");
        // Encoders of nothing but values are safe.
        let encode = if fixed_size(command) { encode } else { format!("unsafe {{ {encode} }}") };
        put!(text, "{}{encode};", with_safety(&encode));
        put!(text, "host.play_recorded({op}, recorded.into_vec());");
        return;
    }
    let stream = if command.level == Level::Device { "device_stream" } else { "instance_stream" };
    put!(
        text,
        "let mut body = Encoder::new();\n{SAFE}\nunsafe {{ guest::encode_{snake}(&mut body{encode}) }};"
    );
    put!(text, "let answer = host.{stream}({op}, body.as_slice());");
    if has_reply(command) {
        let reply: String =
            reply_params(model, command).iter().map(|(name, _)| format!(", {name}")).collect();
        put!(text, "let mut answer = Decoder::new(&answer);");
        put!(
            text,
            "{SAFE}\n{}unsafe {{ guest::reply_{snake}(&mut answer{reply}) }}.expect(\"reply\");",
            if ret(command).is_empty() { "" } else { "let returned = " }
        );
        put!(text, "answer.finish().expect(\"whole reply\");");
        if let Some(place) = command.params.iter().find_map(|field| match out(command, field) {
            Some(Out::Created(handle)) => Some((field.name(), names::ty(handle).to_owned())),
            _ => None,
        }) {
            put!(text, "{SAFE}\nunsafe {{ *{} = vk::{}::from_raw(id) }};", place.0, place.1);
        }
    } else {
        put!(text, "assert!(answer.is_empty(), \"an answer to nothing\");");
    }
}

/// Compares an output with what the driver filled it with.
fn check(model: &Model, command: &Cmd, field: &Field, text: &mut String) {
    let place = field.name();
    let name = &field.member.name;
    match out(command, field) {
        None | Some(Out::Count(_)) => {}
        Some(Out::Created(handle)) => {
            put!(text, "{SAFE}\nlet made = unsafe {{ *{place} }};");
            put!(
                text,
                "assert_eq!(host.lookup(ObjectKind::{}, made.as_raw()), Ok(driver::made()), \"{name}\");",
                names::constant(handle)
            );
        }
        Some(Out::CreatedMany(handle, len)) => {
            let count = length(command, len, "want.");
            put!(text, "{}let count = {count};\nfor at in 0..count {{", with_safety(&count));
            put!(text, "{SAFE}\nlet made = unsafe {{ *{place}.add(at) }};");
            put!(
                text,
                "assert_eq!(host.lookup(ObjectKind::{}, made.as_raw()), Ok(driver::made()), \"{name}\");\n}}",
                names::constant(handle)
            );
        }
        Some(Out::One(ty)) => {
            put!(text, "let kept = driver::kept::<Vec<{}>>();", ty.rust(model, "'static"));
            put!(
                text,
                "assert!(same_list({place}.cast_const(), kept.as_ptr(), 1, |x, y| {}), \"{name}\");",
                same_value(ty, "(*x)", "(*y)")
            );
        }
        Some(Out::Counted(shape, len)) => {
            let ty = element(shape);
            put!(text, "{SAFE}\nlet count = unsafe {{ *{} }} as u64;", names::field(len));
            put!(text, "assert_eq!(count, driver::kept::<u64>(), \"{len}\");");
            compare(model, &ty, &place, "kept.len()", name, text);
        }
        Some(Out::Sized(shape, _)) => compare(model, &element(shape), &place, "kept.len()", name, text),
    }
}

fn compare(model: &Model, ty: &Ty, place: &str, count: &str, name: &str, text: &mut String) {
    let rust = ty.rust(model, "'static");
    put!(text, "let kept = driver::kept::<Vec<{rust}>>();");
    put!(
        text,
        "assert!({place}.is_null() || same_list({place}.cast_const().cast::<{rust}>(), kept.as_ptr(), {count}, |x, y| {}), \"{name}\");",
        same_value(ty, "(*x)", "(*y)")
    );
}
