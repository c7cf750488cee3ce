//! Generated code: see `xtask/src/gen/cuda`.

// UNSAFETY: exported functions have names of their own in the linker's table.
#![expect(unsafe_code, reason = "exported functions carry the names of the API")]
#![allow(
    non_camel_case_types,
    non_snake_case,
    clippy::too_many_arguments,
    clippy::wildcard_imports,
    clippy::match_same_arms,
    reason = "the names and signatures are those of the header"
)]

use std::ffi::CStr;
use std::fmt;

pub mod enums;
pub mod exports;
pub mod handles;
pub mod procs;
pub mod structs;

/// Shows the constant's name, or the value.
fn debug(name: Option<&CStr>, value: i32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match name.and_then(|name| name.to_str().ok()) {
        Some(name) => f.write_str(name),
        None => write!(f, "{value}"),
    }
}
