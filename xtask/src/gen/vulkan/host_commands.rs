//! Host side of commands: the native functions and the dispatch of requests.

use super::emit;
use super::emit::put;
use super::guest_commands::Out;
use super::guest_commands::has_reply;
use super::guest_commands::out;
use super::guest_commands::ret;
use super::host_structs;
use super::model::Cmd;
use super::model::Field;
use super::model::Level;
use super::model::Model;
use super::model::Shape;
use super::model::Ty;
use super::names;
use super::tables;

const NATIVE_HEAD: &str = r#"//! Functions of the host's driver, found by name.

// UNSAFETY: functions are called by their type in the registry.
#![expect(unsafe_code, reason = "the driver gives untyped function pointers")]
#![allow(dead_code, reason = "the registry has more than the hand-written part uses")]

use core::ffi::CStr;

use ash::vk;

/// Gives `f` its type.
///
/// # Safety
/// `f` was found under the name of a command of type `T`, which is a function pointer.
unsafe fn typed<T: Copy>(f: unsafe extern "system" fn()) -> T {
    const { assert!(size_of::<T>() == size_of::<unsafe extern "system" fn()>()) };
    // SAFETY: both are function pointers, of one size; the caller promises the type.
    unsafe { core::mem::transmute_copy(&f) }
}
"#;

/// The file `dxg-host/src/generated/vulkan/native.rs`.
pub(super) fn native(model: &Model) -> String {
    let mut text = NATIVE_HEAD.to_owned();
    for (table, device) in [("InstanceFns", false), ("DeviceFns", true)] {
        let commands: Vec<&Cmd> =
            model.commands.iter().filter(|command| (command.level == Level::Device) == device).collect();
        let of = if device { "a device" } else { "an instance" };
        put!(
            text,
            "\n/// Functions of {of}; absent ones are those of versions and extensions it does not have."
        );
        put!(text, "#[derive(Clone, Default)]\npub(crate) struct {table} {{");
        for command in &commands {
            put!(
                text,
                "/// `{0}`.\npub(crate) {1}: Option<vk::PFN_{0}>,",
                command.name,
                names::command(&command.name)
            );
        }
        put!(text, "}}\n\nimpl {table} {{\n/// Finds every function with `load`.");
        put!(text, "pub(crate) fn load(mut load: impl FnMut(&CStr) -> vk::PFN_vkVoidFunction) -> Self {{");
        put!(text, "let mut find = |names: &[&CStr]| names.iter().find_map(|name| load(name));\nSelf {{");
        for command in &commands {
            let names_: Vec<String> =
                model.command_names(&command.name).iter().map(|name| format!("c\"{name}\"")).collect();
            put!(
                text,
                "{}: find(&[{}]).map(|f| {{\n// SAFETY: found under this name.\nunsafe {{ typed(f) }}\n}}),",
                names::command(&command.name),
                names_.join(", ")
            );
        }
        put!(text, "}}\n}}\n}}");
    }
    text
}

const HEAD: &str = r#"//! Requests of the Vulkan registry: decoded, run with the native function, answered.

// UNSAFETY: calls the host's driver.
#![expect(unsafe_code, reason = "the driver's functions are C")]
#![allow(dead_code, unused_imports, clippy::manual_div_ceil, clippy::unnecessary_cast, clippy::too_many_lines, reason = "one text for all commands")]

use core::ptr;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::NULL_ARRAY;

use crate::adapter::vulkan::context::AsyncFailure;
use crate::adapter::vulkan::context::DeviceContext;
use crate::adapter::vulkan::context::DispatchError;
use crate::adapter::vulkan::context::InstanceContext;
use crate::adapter::vulkan::reader::Reader;
use crate::adapter::vulkan::reader::items;
use crate::generated::vulkan::native::DeviceFns;
use crate::generated::vulkan::structs::*;
"#;

/// The file `dxg-host/src/generated/vulkan/dispatch.rs`.
pub(super) fn dispatch(model: &Model) -> String {
    let mut text = HEAD.to_owned();
    let is = |command: &Cmd, ty: &str| command.leading.member.ty == ty;
    put!(
        text,
        "\n/// Runs a request of an instance's stream: commands of the instance and of its physical device.\n///\n/// # Errors\n/// What the guest may not send, or the driver does not have."
    );
    put!(
        text,
        "pub(crate) fn dispatch_instance(cx: &mut InstanceContext<'_>, op: VkOp, body: &[u8], reply: Option<&mut Encoder>) -> Result<(), DispatchError> {{\nmatch op {{"
    );
    for command in model.commands.iter().filter(|command| command.level != Level::Device) {
        put!(
            text,
            "VkOp::{} => {}(cx, body, reply),",
            names::constant(&command.name),
            names::command(&command.name)
        );
    }
    put!(text, "_ => Err(DispatchError::Unknown(op)),\n}}\n}}");
    put!(
        text,
        "\n/// Runs a request of a device's stream.\n///\n/// # Errors\n/// What the guest may not send, or the driver does not have."
    );
    put!(
        text,
        "pub(crate) fn dispatch_device(cx: &mut DeviceContext<'_>, op: VkOp, body: &[u8], reply: Option<&mut Encoder>) -> Result<(), DispatchError> {{\nmatch op {{"
    );
    for command in model.commands.iter().filter(|command| is(command, "VkDevice")) {
        put!(
            text,
            "VkOp::{} => {}(cx, body, reply),",
            names::constant(&command.name),
            names::command(&command.name)
        );
    }
    put!(text, "_ => Err(DispatchError::Unknown(op)),\n}}\n}}");
    put!(
        text,
        "\n/// Runs a recorded command in the native command buffer `cb`, which is being recorded.\n///\n/// # Errors\n/// What the guest may not send, or the driver does not have."
    );
    put!(
        text,
        "pub(crate) fn dispatch_cmd(fns: &DeviceFns, cb: vk::CommandBuffer, op: VkOp, r: &mut Reader<'_, '_>) -> Result<(), DispatchError> {{\nmatch op {{"
    );
    for command in model.commands.iter().filter(|command| is(command, "VkCommandBuffer")) {
        put!(
            text,
            "VkOp::{} => {}(fns, cb, r),",
            names::constant(&command.name),
            names::command(&command.name)
        );
    }
    put!(text, "_ => Err(DispatchError::Unknown(op)),\n}}\n}}");
    for command in model.commands.iter().filter(|command| !is(command, "VkQueue")) {
        run(model, command, &mut text);
    }
    text
}

fn length(command: &Cmd, len: &str) -> String {
    emit::length(len, &|name| match name.split_once("->") {
        // Decoded in this function, or refused: the pointer is not null.
        Some((pointer, member)) => {
            format!("{}_read.{} as usize", names::field(pointer), names::field(member))
        }
        None => {
            let field = command.params.iter().find(|field| field.member.name == name);
            emit::as_usize(field.and_then(emit::scalar_of), &names::field(name))
        }
    })
}

struct Call {
    decode: String,
    checks: String,
    after: String,
    reply_always: String,
    reply: String,
    args: Vec<String>,
    finished: bool,
}

fn run(model: &Model, command: &Cmd, text: &mut String) {
    let snake = names::command(&command.name);
    let leading = match command.leading.member.ty.as_str() {
        "VkDevice" => "cx.device",
        "VkInstance" => "cx.instance",
        "VkPhysicalDevice" => "cx.physical_device",
        _ => "cb",
    };
    let recorded = leading == "cb";
    let mut call = Call {
        decode: String::new(),
        checks: String::new(),
        after: String::new(),
        reply_always: String::new(),
        reply: String::new(),
        args: vec![leading.to_owned()],
        finished: false,
    };
    let mut made = String::new();
    for field in &command.params {
        param(model, command, field, &mut call, &mut made);
    }
    for (_, condition) in tables::COMMAND_CHECKS.iter().filter(|(name, _)| *name == command.name) {
        put!(call.checks, "r.ensure({condition})?;");
    }
    let ret = ret(command);
    put!(text, "\n/// `{}`.", command.name);
    if recorded {
        put!(
            text,
            "fn {snake}(fns: &DeviceFns, cb: vk::CommandBuffer, r: &mut Reader<'_, '_>) -> Result<(), DispatchError> {{"
        );
        put!(text, "let function = fns.{snake}.ok_or(DispatchError::Missing(\"{}\"))?;", command.name);
        put!(text, "{}{}r.finish()?;", call.decode, call.checks);
        put!(
            text,
            "// SAFETY: `cb` is being recorded by this thread; parameters are of the registry's types, every pointer is null or\n// points into the arena at as many elements as its count says."
        );
        put!(text, "unsafe {{ function({}) }};\nOk(())\n}}", call.args.join(", "));
        return;
    }
    let context = if command.level == Level::Device { "DeviceContext" } else { "InstanceContext" };
    let replies = has_reply(command);
    put!(
        text,
        "fn {snake}(cx: &mut {context}<'_>, body: &[u8], reply: Option<&mut Encoder>) -> Result<(), DispatchError> {{"
    );
    put!(text, "let function = cx.fns.{snake}.ok_or(DispatchError::Missing(\"{}\"))?;", command.name);
    let objects = if command.level == Level::Device { "cx.objects" } else { "&cx.objects" };
    put!(text, "let mut reader = Reader::new(body, cx.bump, {objects});\nlet r = &mut reader;");
    put!(text, "{}{}{}", call.decode, call.checks, if call.finished { "" } else { "r.finish()?;" });
    let bind = if ret.is_empty() { "" } else { "let result = " };
    put!(
        text,
        "// SAFETY: parameters are of the registry's types and live objects of this device; every pointer is null or points\n// into the arena (or at a local) at as many elements as its count says."
    );
    put!(text, "{bind}unsafe {{ function({}) }};", call.args.join(", "));
    text.push_str(&call.after);
    let single_create = !made.is_empty();
    if single_create {
        put!(text, "if result == vk::Result::SUCCESS {{ {made} }}");
    }
    if ret == "vk::Result" {
        put!(
            text,
            "let Some(e) = reply else {{\nif result.as_raw() < 0 {{ cx.failure = Some(AsyncFailure {{ op: VkOp::{}, result }}); }}\nreturn Ok(());\n}};",
            names::constant(&command.name)
        );
        put!(text, "e.i32(result.as_raw());\n{}", call.reply_always);
        if !call.reply.is_empty() {
            put!(text, "if result.as_raw() >= 0 {{ {} }}", call.reply);
        }
    } else if replies {
        put!(text, "let Some(e) = reply else {{ return Ok(()) }};");
        match ret {
            "" => {}
            scalar => put!(text, "e.{scalar}(result);"),
        }
        text.push_str(&call.reply);
    } else {
        // An answer of no bytes says that it was run.
        put!(text, "let _ = reply;");
    }
    put!(text, "Ok(())\n}}");
}

/// The native handle of the pool that a command takes new objects from.
fn pool(command: &Cmd, handle: &str) -> Option<String> {
    let (_, member) = tables::POOL_MEMBERS.iter().find(|(object, _)| *object == handle)?;
    let info = command.params.iter().find(|field| field.member.name == "pAllocateInfo")?;
    Some(format!("{}_read.{}.as_raw()", info.name(), names::field(member)))
}

fn param(model: &Model, command: &Cmd, field: &Field, call: &mut Call, made: &mut String) {
    let place = field.name();
    match out(command, field) {
        Some(Out::Created(handle)) => {
            let (kind, ty) = (names::constant(handle), names::ty(handle));
            put!(call.decode, "let id = r.new_id(ObjectKind::{kind})?;\nlet mut {place} = vk::{ty}::null();");
            put!(made, "cx.objects.insert(ObjectKind::{kind}, id, {place}.as_raw(), 0)?;");
            call.args.push(format!("&mut {place}"));
        }
        Some(Out::CreatedMany(handle, len)) => {
            let (kind, ty) = (names::constant(handle), names::ty(handle));
            let parent = pool(command, handle).unwrap_or_else(|| "0".to_owned());
            put!(call.decode, "let ids = r.new_ids(ObjectKind::{kind})?;");
            put!(call.decode, "let {place} = r.zeroed::<vk::{ty}>(ids.len())?;");
            put!(call.checks, "r.agree(Some(ids.len()), {}, false)?;", length(command, len));
            put!(
                call.after,
                "for (id, made) in ids.iter().zip({place}.iter()) {{\nif !made.is_null() {{ cx.objects.insert(ObjectKind::{kind}, *id, made.as_raw(), {parent})?; }}\n}}"
            );
            if parent != "0" {
                // The driver may leave what it likes behind when it gives nothing.
                call.after = format!(
                    "if result != vk::Result::SUCCESS {{ {place}.fill(vk::{ty}::null()); }}\n{}",
                    call.after
                );
            }
            put!(
                call.reply_always,
                "e.count(ids.len());\nfor (id, made) in ids.iter().zip({place}.iter()) {{ e.u64(if made.is_null() {{ 0 }} else {{ *id }}); }}"
            );
            call.args.push(format!("{place}.as_mut_ptr()"));
        }
        Some(Out::Count(ty)) => {
            put!(call.decode, "let mut {place} = r.u64()? as {};", ty.rust(model, ""));
            put!(call.reply, "e.u64({place} as u64);");
            call.args.push(format!("&mut {place}"));
        }
        Some(Out::One(ty)) => {
            match ty {
                Ty::Struct(name) if emit::needs_skeleton(model, name) => {
                    put!(call.decode, "let mut {place} = skel_{}(r)?;", names::ty_snake(name));
                }
                _ => put!(call.decode, "let mut {place} = <{}>::default();", ty.rust(model, "'static")),
            }
            put!(call.reply, "{}", driver_safety(&emit::encode(model, ty, &place, "out")));
            call.args.push(format!("&mut {place}"));
        }
        Some(Out::Counted(shape, len)) => {
            let count = length(command, len);
            let ty = element(shape);
            match &ty {
                Ty::Struct(name) if emit::needs_skeleton(model, name) => {
                    put!(
                        call.decode,
                        "let ({place}, n_{place}) = r.array(skel_{})?;\nlet {place} = {place}.cast_mut();",
                        names::ty_snake(name)
                    );
                    put!(
                        call.checks,
                        "r.agree(n_{place}, {count}, true)?;\nlet room_{place} = n_{place}.unwrap_or(0);"
                    );
                }
                Ty::Scalar("u8") => put!(
                    call.decode,
                    "let {place} = if r.presence()? {{ r.out_bytes({count})? }} else {{ ptr::null_mut() }};\nlet room_{place} = {count};"
                ),
                _ => put!(
                    call.decode,
                    "let {place} = if r.presence()? {{ r.zeroed::<{}>({count})?.as_mut_ptr() }} else {{ ptr::null_mut() }};\nlet room_{place} = {count};",
                    ty.rust(model, "'static")
                ),
            }
            let items = host_structs::out_items(model, &ty, &place, &format!("({count}).min(room_{place})"));
            call.reply.push_str(&items);
            call.args.push(if matches!(shape, Shape::Blob { .. }) {
                format!("{place}.cast()")
            } else {
                place
            });
        }
        Some(Out::Sized(shape, len)) => {
            let count = length(command, len);
            let ty = element(shape);
            if ty == Ty::Scalar("u8") {
                put!(call.checks, "let room_{place} = {count};\nlet {place} = r.out_bytes(room_{place})?;");
            } else {
                put!(
                    call.checks,
                    "let room_{place} = {count};\nlet {place} = r.zeroed::<{}>(room_{place})?.as_mut_ptr();",
                    ty.rust(model, "'static")
                );
            }
            let items = host_structs::out_items(model, &ty, &place, &format!("room_{place}"));
            call.reply.push_str(&items);
            call.args.push(if matches!(shape, Shape::Blob { .. }) {
                format!("{place}.cast()")
            } else {
                place
            });
        }
        None => input(model, command, field, call),
    }
}

fn driver_safety(text: &str) -> String {
    text.replace(
        "// SAFETY: by the Vulkan rules, which the caller vouches for, pointers are null or valid for their counts.",
        "// SAFETY: the driver filled what the skeleton gave it, all of which lives in the arena.",
    )
}

fn element(shape: &Shape) -> Ty {
    match shape {
        Shape::Array { ty, .. } => ty.clone(),
        _ => Ty::Scalar("u8"),
    }
}

fn input(model: &Model, command: &Cmd, field: &Field, call: &mut Call) {
    let _ = model;
    let place = field.name();
    let member = &field.member.name;
    let owner = command.name.as_str();
    let optional = field.member.optional(0) || field.member.no_auto_validity;
    let ends = tables::POOL_ENDS.iter().find(|(name, param, _)| *name == owner && param == member);
    match &field.shape {
        Shape::Allocator => call.args.push("ptr::null()".to_owned()),
        Shape::Value(Ty::Handle(handle)) => {
            let destroyed = owner.starts_with("vkDestroy")
                && command.params.first().is_some_and(|first| first.member.name == *member);
            let freed = tables::FREES.contains(&(owner, member.as_str()));
            let (kind, ty) = (names::constant(handle), names::ty(handle));
            if destroyed || freed {
                put!(call.decode, "let id = r.u64()?;");
                put!(call.checks, "if id == 0 {{ return Ok(()); }}");
                call.finished = true;
                // Out of the table first: it names nothing that the driver has given up.
                put!(
                    call.checks,
                    "r.finish()?;\nlet {place} = vk::{ty}::from_raw(cx.objects.remove(ObjectKind::{kind}, id)?);"
                );
            } else {
                put!(
                    call.decode,
                    "let {place} = {};",
                    host_structs::decode(owner, member, &Ty::Handle(handle.clone()), optional)
                );
            }
            if let Some((.., object)) = ends {
                put!(
                    call.after,
                    "cx.objects.remove_children(ObjectKind::{}, {place}.as_raw());",
                    names::constant(object)
                );
            }
            call.args.push(place);
        }
        Shape::Value(ty) => {
            put!(call.decode, "let {place} = {};", host_structs::decode(owner, member, ty, optional));
            call.args.push(place);
        }
        Shape::Fixed(ty, dims) => {
            let rust = emit::array_type(&ty.rust(model, "'static"), dims);
            put!(call.decode, "let mut {place}: {rust} = Default::default();");
            put!(
                call.decode,
                "for item in {} {{ *item = {}; }}",
                emit::iterate(&place, dims, "iter_mut"),
                host_structs::decode(owner, member, ty, true)
            );
            call.args.push(format!("&{place}"));
        }
        Shape::Pointer { ty, optional } => {
            let needed = command.params.iter().any(|other| {
                other.member.len.first().is_some_and(|len| len.starts_with(&format!("{member}->")))
            });
            if needed {
                put!(
                    call.decode,
                    "r.present()?;\nlet {place}_read = {};\nlet {place}: *const _ = &{place}_read;",
                    host_structs::decode(owner, member, ty, false)
                );
            } else {
                put!(
                    call.decode,
                    "let {place} = r.pointer({optional}, {})?;",
                    host_structs::decode_function(owner, member, ty)
                );
            }
            call.args.push(place);
        }
        Shape::Array { ty, len, optional } => {
            if tables::FREES.contains(&(owner, member.as_str())) {
                let Ty::Handle(handle) = ty else { return };
                let kind = names::constant(handle);
                put!(call.decode, "let ids = r.ids()?;");
                call.finished = true;
                put!(
                    call.checks,
                    "r.agree(Some(ids.len()), {}, false)?;\nlet {place} = r.zeroed::<vk::{}>(ids.len())?;\nr.finish()?;",
                    length(command, len),
                    names::ty(handle)
                );
                let pool = command.params.first().map(Field::name).unwrap_or_default();
                put!(
                    call.checks,
                    "for (id, native) in ids.iter().zip({place}.iter_mut()) {{\nif *id != 0 {{ *native = vk::{}::from_raw(cx.objects.remove_from(ObjectKind::{kind}, *id, {pool}.as_raw())?); }}\n}}",
                    names::ty(handle)
                );
                call.args.push(format!("{place}.as_ptr()"));
                return;
            }
            let read = match ty {
                Ty::Scalar("u8") | Ty::Char => "r.blob()?".to_owned(),
                _ => format!("r.array({})?", host_structs::decode_function(owner, member, ty)),
            };
            put!(call.decode, "let ({place}, n_{place}) = {read};");
            put!(call.checks, "r.agree(n_{place}, {}, {optional})?;", length(command, len));
            if let Some((.., stride)) =
                tables::STRIDED.iter().find(|(name, array, _)| *name == owner && array == member)
            {
                let rust = ty.rust(model, "'static");
                put!(
                    call.checks,
                    "// Elements came packed.\nlet _ = {stride};\nlet {stride} = size_of::<{rust}>() as u32;"
                );
            }
            call.args.push(if matches!(ty, Ty::Char) { format!("{place}.cast()") } else { place });
        }
        Shape::Blob { len, optional } => {
            put!(call.decode, "let ({place}, n_{place}) = r.blob()?;");
            put!(call.checks, "r.agree(n_{place}, {}, {optional})?;", length(command, len));
            call.args.push(format!("{place}.cast()"));
        }
        Shape::Text { optional } => {
            put!(call.decode, "let {place} = r.text({optional})?;");
            call.args.push(place);
        }
        Shape::Texts { len, optional } => {
            put!(call.decode, "let ({place}, n_{place}) = r.texts()?;");
            put!(call.checks, "r.agree(n_{place}, {}, {optional})?;", length(command, len));
            call.args.push(place);
        }
        Shape::SType | Shape::Next => {}
    }
}

/// The file `dxg-host/src/generated/vulkan/extensions.rs`.
pub(super) fn extensions(model: &Model) -> String {
    let mut text = String::from(
        "//! Device extensions whose structures and commands are forwarded.\n\n\
         /// A device extension that is forwarded.\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\npub(crate) struct Forwarded {\n\
         /// Its name.\npub(crate) name: &'static str,\n/// The version that the code was generated from.\npub(crate) spec_version: u32,\n}\n\n\
         /// Sorted by name.\npub(crate) static FORWARDED_EXTENSIONS: &[Forwarded] = &[\n",
    );
    let mut extensions: Vec<_> =
        model.extensions.iter().filter(|extension| extension.kind == "device").collect();
    extensions.sort_by(|a, b| a.name.cmp(&b.name));
    for extension in extensions {
        put!(text, "Forwarded {{ name: \"{}\", spec_version: {} }},", extension.name, extension.spec_version);
    }
    text + "];\n"
}
