//! Pieces of Rust that several generated files share: values, lengths, the properties of structures they hang on.

use super::model::Field;
use super::model::Model;
use super::model::Shape;
use super::model::Ty;
use super::names;
use super::tables;

/// Adds formatted text to a string that is being built.
macro_rules! put {
    ($to:expr, $($arg:tt)*) => {{
        use std::fmt::Write as _;
        // Writing to a string does not fail.
        let _ = writeln!($to, $($arg)*);
    }};
}
pub(super) use put;

/// The member of a plain union that covers its bytes: path in Rust, scalar, count.
pub(super) fn union_words(name: &str) -> (&'static str, &'static str, usize) {
    tables::PLAIN_UNIONS
        .iter()
        .find(|(union, ..)| *union == name)
        .map_or(("", "uint32_t", 0), |(_, path, scalar, count)| (path, scalar, *count))
}

/// Statements that encode a value; `expr` is a place of type `ty`. `function` names the encoder of a structure.
pub(super) fn encode(model: &Model, ty: &Ty, expr: &str, function: &str) -> String {
    match ty {
        Ty::Scalar("u8" | "u16") => format!("e.u32(u32::from({expr}));"),
        Ty::Scalar("i64") => format!("e.u64({expr}.cast_unsigned());"),
        Ty::Scalar("f64") => format!("e.u64({expr}.to_bits());"),
        Ty::Scalar(name) => format!("e.{name}({expr});"),
        Ty::Size => format!("e.u64({expr} as u64);"),
        Ty::Enum(_) => format!("e.i32({expr}.as_raw());"),
        Ty::Flags(_, true) => format!("e.u64({expr}.as_raw());"),
        Ty::Flags(_, false) => format!("e.u32({expr}.as_raw());"),
        Ty::Handle(name) if name == "VkCommandBuffer" => format!(
            "// SAFETY: the caller gives command buffers of this driver, or null.\n\
             let id = unsafe {{ command_buffer_id({expr}) }};\ne.u64(id);"
        ),
        Ty::Handle(_) => format!("e.u64({expr}.as_raw());"),
        Ty::Struct(name) => {
            let call = format!("{function}_{}(e, &{expr})", names::ty_snake(name));
            if plain(model, name) {
                format!("{call};")
            } else {
                format!(
                    "// SAFETY: by the Vulkan rules, which the caller vouches for, pointers are null or valid for their counts.\nunsafe {{ {call} }};"
                )
            }
        }
        Ty::Union(name) => {
            let (path, scalar, count) = union_words(name);
            let method = if scalar == "uint64_t" { "u64" } else { "u32" };
            let each = if count == 1 {
                format!("e.{method}(words);")
            } else {
                format!("for word in words {{ e.{method}(word); }}")
            };
            let mut text = format!("let words = {};\n", expr.trim_start_matches("(*").trim_end_matches(')'));
            for member in path.split('.') {
                put!(
                    text,
                    "// SAFETY: plain words: any bytes are a value, and the member covers the union.\nlet words = unsafe {{ words.{member} }};"
                );
            }
            text + &each
        }
        Ty::Char | Ty::Void => String::new(),
    }
}

/// An expression that decodes a value of the scalar kinds; `from` is the decoder.
pub(super) fn decode_scalar(ty: &Ty, from: &str) -> Option<String> {
    Some(match ty {
        Ty::Scalar(name @ ("u8" | "u16")) => format!("{from}.u32()? as {name}"),
        Ty::Scalar("i64") => format!("{from}.u64()?.cast_signed()"),
        Ty::Scalar("f64") => format!("f64::from_bits({from}.u64()?)"),
        Ty::Scalar(name) => format!("{from}.{name}()?"),
        Ty::Size => format!("{from}.u64()? as usize"),
        Ty::Enum(name) => format!("vk::{}::from_raw({from}.i32()?)", names::ty(name)),
        Ty::Flags(name, true) => format!("vk::{}::from_raw({from}.u64()?)", names::flags(name)),
        Ty::Flags(name, false) => format!("vk::{}::from_raw({from}.u32()?)", names::flags(name)),
        Ty::Union(name) => {
            let (path, scalar, count) = union_words(name);
            let method = if scalar == "uint64_t" { "u64" } else { "u32" };
            let words = if count == 1 {
                format!("{from}.{method}()?")
            } else {
                format!("[{}]", vec![format!("{from}.{method}()?"); count].join(", "))
            };
            match path.split_once('.') {
                None => format!("vk::{} {{ {path}: {words} }}", names::ty(name)),
                Some((outer, inner)) => format!(
                    "vk::{} {{ {outer}: vk::ClearColorValue {{ {inner}: {words} }} }}",
                    names::ty(name)
                ),
            }
        }
        _ => return None,
    })
}

/// Whether a structure holds no pointer, union or command buffer, so that encoding it is safe.
pub(super) fn plain(model: &Model, name: &str) -> bool {
    model.structs.get(name).is_some_and(|known| {
        known.fields.iter().all(|field| match &field.shape {
            Shape::SType => true,
            Shape::Value(ty) | Shape::Fixed(ty, _) => match ty {
                Ty::Struct(inner) => plain(model, inner),
                Ty::Union(_) | Ty::Void => false,
                Ty::Handle(handle) => handle != "VkCommandBuffer",
                _ => true,
            },
            _ => false,
        })
    })
}

/// Whether the host must know something of an output structure: its chain or capacities.
pub(super) fn needs_skeleton(model: &Model, name: &str) -> bool {
    model.structs.get(name).is_some_and(|known| {
        known.fields.iter().any(|field| match &field.shape {
            Shape::Next | Shape::Array { .. } | Shape::Blob { .. } | Shape::Pointer { .. } => true,
            Shape::Value(Ty::Struct(inner)) | Shape::Fixed(Ty::Struct(inner), _) => {
                needs_skeleton(model, inner)
            }
            _ => false,
        })
    })
}

/// A length as `usize`. `resolve` gives the expression for a name of the registry.
pub(super) fn length(text: &str, resolve: &dyn Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '>'))
                .unwrap_or(rest.len());
            let name = &rest[..end];
            if end == text.len() {
                return resolve(name);
            }
            if name.starts_with("VK_") {
                out.push_str(&names::length(name));
            } else {
                out.push_str(&format!("({})", resolve(name)));
            }
            rest = &rest[end..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// A scalar place as `usize`.
pub(super) fn as_usize(ty: Option<&Ty>, place: &str) -> String {
    match ty {
        Some(Ty::Flags(..)) => format!("{place}.as_raw() as usize"),
        Some(Ty::Size) => place.to_owned(),
        _ => format!("{place} as usize"),
    }
}

/// The scalar type of a field, behind a pointer or not.
pub(super) fn scalar_of(field: &Field) -> Option<&Ty> {
    match &field.shape {
        Shape::Value(ty) | Shape::Pointer { ty, .. } => Some(ty),
        _ => None,
    }
}

/// The length of an array member of a structure, over `s`.
pub(super) fn member_length(fields: &[Field], len: &str) -> String {
    length(len, &|name| {
        let ty = fields.iter().find(|field| field.member.name == name).and_then(scalar_of);
        as_usize(ty, &format!("s.{}", names::field(name)))
    })
}

/// The condition under which a pointer counts, if it is conditional.
pub(super) fn valid_when(owner: &str, member: &str) -> Option<&'static str> {
    tables::VALID_WHEN
        .iter()
        .find(|(o, m, _)| *o == owner && *m == member)
        .map(|(_, _, condition)| *condition)
}

/// The dimensions of a static array in Rust: `[[f32; 4]; 3]`.
pub(super) fn array_type(element: &str, dims: &[String]) -> String {
    dims.iter().rev().fold(element.to_owned(), |inner, dim| format!("[{inner}; {}]", names::length(dim)))
}

/// How to iterate over all elements of a static array.
pub(super) fn iterate(place: &str, dims: &[String], method: &str) -> String {
    let mut text = format!("{place}.{method}()");
    for _ in 1..dims.len() {
        text.push_str(".flatten()");
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn lengths_become_expressions() {
        let resolve = |name: &str| format!("s.{}", super::names::field(name));
        assert_eq!(super::length("bufferCount", &resolve), "s.buffer_count");
        assert_eq!(super::length("codeSize / 4", &resolve), "(s.code_size) / 4");
        assert_eq!(super::length("(samples + 31) / 32", &resolve), "((s.samples) + 31) / 32");
        assert_eq!(super::length("2*VK_UUID_SIZE", &resolve), "2*vk::UUID_SIZE");
        assert_eq!(super::length("pInfo->count", &|name| format!("<{name}>")), "<pInfo->count>");
    }

    #[test]
    fn static_arrays_are_nested_from_the_inside() {
        assert_eq!(super::array_type("f32", &["3".to_owned(), "4".to_owned()]), "[[f32; 4]; 3]");
    }
}
