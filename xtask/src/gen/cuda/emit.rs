//! The text of the generated files.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::tables::Function;
use super::tables::Tables;

/// Appends a line.
macro_rules! put {
    ($to:expr, $($format:tt)*) => {
        { let _ = writeln!($to, $($format)*); }
    };
}

pub(super) fn enums(tables: &Tables) -> String {
    let mut text = String::new();
    put!(text, "//! Values from sets, as the header has them. Any other value is legal data.\n");
    for one in &tables.enums {
        put!(text, "/// `{}`.", one.name);
        put!(
            text,
            "#[repr(transparent)] #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]"
        );
        put!(text, "pub struct {}(pub i32);", one.name);
        put!(text, "impl {} {{", one.name);
        let mut seen = BTreeSet::new();
        let mut names = Vec::new();
        for (name, value) in &one.constants {
            put!(text, "/// `{}{name}`.", one.prefix);
            put!(text, "pub const {name}: Self = Self({});", *value as i32);
            if seen.insert(*value) {
                names.push((name, value));
            }
        }
        put!(text, "/// The name of the constant with this value.");
        put!(text, "#[must_use] pub const fn name(self) -> Option<&'static CStr> {{ match self.0 {{");
        for (name, value) in names {
            put!(text, "{} => Some(c\"{}{name}\"),", *value as i32, one.prefix);
        }
        put!(text, "_ => None }} }} }}\n");
        put!(text, "impl fmt::Debug for {} {{", one.name);
        put!(
            text,
            "fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{ super::debug(self.name(), self.0, f) }} }}\n"
        );
    }
    text + "use std::ffi::CStr; use std::fmt; use zerocopy::FromBytes; use zerocopy::Immutable; use zerocopy::IntoBytes; use zerocopy::KnownLayout;"
}

pub(super) fn handles(tables: &Tables) -> String {
    let mut text = String::new();
    put!(text, "//! Names of objects, as programs hold them.\n");
    put!(
        text,
        "use zerocopy::FromBytes; use zerocopy::Immutable; use zerocopy::IntoBytes; use zerocopy::KnownLayout;\n"
    );
    for name in &tables.handles {
        put!(text, "/// `{name}`.");
        put!(
            text,
            "#[repr(transparent)] #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]"
        );
        put!(text, "pub struct {name}(pub usize);");
        put!(text, "impl {name} {{ /// No object.\n pub const NULL: Self = Self(0); }}\n");
        put!(
            text,
            "impl crate::handles::Name for {name} {{ fn number(self) -> usize {{ self.0 }} fn of(number: usize) -> Self {{ Self(number) }} }}\n"
        );
    }
    text
}

pub(super) fn structs(tables: &Tables) -> String {
    let mut text = String::new();
    put!(text, "//! Structures, as the header lays them out.\n");
    put!(text, "use zerocopy::FromZeros;\n");
    put!(
        text,
        "use super::enums::*; use super::handles::*; use crate::ffi::pointers::*; use crate::types::*;\n"
    );
    for one in &tables.structs {
        put!(text, "/// `{}`.", one.name);
        put!(text, "#[repr(C)] #[derive(Clone, Copy, Debug, FromZeros)] pub struct {} {{", one.name);
        for (_, name, kind) in &one.fields {
            put!(text, "/// `{name}`.");
            put!(text, "pub {name}: {kind},");
        }
        put!(text, "}}\n");
    }
    put!(text, "#[cfg(test)] mod tests {{ use std::mem::offset_of; use super::*;");
    put!(text, "#[test] fn structures_are_laid_out_as_in_the_header() {{");
    for one in &tables.structs {
        put!(text, "assert_eq!(size_of::<{}>(), {});", one.name, one.bytes);
        for (offset, name, _) in &one.fields {
            put!(text, "assert_eq!(offset_of!({}, {name}), {offset});", one.name);
        }
    }
    put!(text, "}} }}");
    text
}

pub(super) fn exports(tables: &Tables) -> String {
    let mut text = String::new();
    put!(text, "//! The exported functions: each hands its parameters to what implements it.\n");
    put!(
        text,
        "use super::enums::*; use super::handles::*; use super::structs::*; use crate::api; use crate::ffi::entry::DefaultStream; use crate::ffi::entry::enter; use crate::ffi::entry::refuse; use crate::ffi::pointers::*; use crate::types::*;\n"
    );
    for function in &tables.functions {
        export(&mut text, function, &function.symbol, "Legacy");
        if let Some(suffix) = &function.per_thread {
            export(&mut text, function, &format!("{}_{suffix}", function.symbol), "PerThread");
        }
    }
    text
}

fn export(text: &mut String, function: &Function, symbol: &str, default_stream: &str) {
    let name = |name: &str| if function.target.is_some() { name.to_owned() } else { format!("_{name}") };
    let params: Vec<String> =
        function.params.iter().map(|(param, kind)| format!("{}: {kind}", name(param))).collect();
    put!(text, "/// `{symbol}`.");
    put!(text, "#[unsafe(no_mangle)] pub extern \"C\" fn {symbol}({}) -> CUresult {{", params.join(", "));
    match &function.target {
        Some(target) => {
            let args: Vec<&str> = function.params.iter().map(|(name, _)| name.as_str()).collect();
            let run = if args.is_empty() {
                format!("api::{target}")
            } else {
                format!("|| api::{target}({})", args.join(", "))
            };
            put!(text, "enter(\"{symbol}\", DefaultStream::{default_stream}, {run})");
        }
        None => put!(text, "refuse(\"{symbol}\")"),
    }
    put!(text, "}}\n");
}

pub(super) fn procs(tables: &Tables) -> String {
    let mut by_base: BTreeMap<&str, Vec<&Function>> = BTreeMap::new();
    for function in &tables.functions {
        by_base.entry(function.base()).or_default().push(function);
    }
    let mut text = String::new();
    put!(
        text,
        "//! What `cuGetProcAddress` finds: names in order, the forms of each from the oldest to the newest.\n"
    );
    put!(
        text,
        "use super::exports::*; use crate::ffi::entry::Code; use crate::procs::Form; use crate::procs::Proc;\n"
    );
    put!(text, "/// All of them.\npub static PROCS: &[Proc] = &[");
    for (base, mut forms) in by_base {
        forms.sort_by_key(|form| form.since);
        put!(text, "Proc {{ name: \"{base}\", forms: &[");
        for form in forms {
            let per_thread = match &form.per_thread {
                Some(suffix) => format!("Some(Code({}_{suffix} as *const ()))", form.symbol),
                None => "None".to_owned(),
            };
            put!(
                text,
                "Form {{ symbol: \"{0}\", since: {1}, code: Code({0} as *const ()), per_thread: {per_thread} }},",
                form.symbol,
                form.since
            );
        }
        put!(text, "] }},");
    }
    put!(text, "];");
    text
}

pub(super) fn coverage(tables: &Tables) -> String {
    let done = tables.functions.iter().filter(|function| function.target.is_some()).count();
    let mut text = String::new();
    put!(text, "# CUDA coverage\n");
    put!(
        text,
        "`libcuda.so.1` exports {} functions, not counting `_ptsz` and `_ptds` variants; {done} do something.",
        tables.functions.len()
    );
    put!(
        text,
        "The others answer `CUDA_ERROR_NOT_SUPPORTED`, for the reason given. `cuGetProcAddress` finds all of them.\n"
    );
    put!(text, "| function | since | |\n| --- | ---: | --- |");
    for function in &tables.functions {
        let state = match (&function.target, &function.per_thread) {
            (Some(_), None) => "done".to_owned(),
            (Some(_), Some(suffix)) => format!("done, `_{suffix}` too"),
            (None, _) => format!("no: {}", function.reason),
        };
        put!(text, "| `{}` | {} | {state} |", function.symbol, function.since);
    }
    text
}
