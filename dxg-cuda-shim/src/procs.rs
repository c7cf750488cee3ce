//! Functions by name: `cuGetProcAddress`.

#![forbid(unsafe_code)]

use crate::ffi::entry::Code;
use crate::generated::procs::PROCS;

/// A name and the forms that it has had.
#[derive(Debug)]
pub struct Proc {
    /// The name without a version.
    pub name: &'static str,
    /// The forms, oldest first.
    pub forms: &'static [Form],
}

/// One form of a function.
#[derive(Debug)]
pub struct Form {
    /// Its exported name.
    pub symbol: &'static str,
    /// The driver version that brought it.
    pub since: u32,
    /// Its code.
    pub code: Code,
    /// The code whose default stream is the calling thread's own.
    pub per_thread: Option<Code>,
}

/// What is found under a name.
#[derive(Debug)]
pub enum Found {
    /// This form.
    Form(&'static Form),
    /// Forms that are newer than was asked for.
    TooNew,
    /// Nothing.
    Nothing,
}

/// The newest form of a function that a driver of `version` has. An exported name finds its own form.
#[must_use]
pub fn find(name: &str, version: u32) -> Found {
    if let Ok(at) = PROCS.binary_search_by(|one| one.name.cmp(name))
        && let Some(found) = PROCS.get(at)
    {
        let form = found.forms.iter().rev().find(|form| form.since <= version);
        return form.map_or(Found::TooNew, Found::Form);
    }
    let mut forms = PROCS.iter().flat_map(|one| one.forms);
    forms.find(|form| form.symbol == name).map_or(Found::Nothing, Found::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str, version: u32) -> &'static str {
        match find(name, version) {
            Found::Form(form) => form.symbol,
            Found::TooNew => "too new",
            Found::Nothing => "nothing",
        }
    }

    #[test]
    fn form_is_the_newest_of_the_version() {
        assert_eq!(symbol("cuMemAlloc", 12090), "cuMemAlloc_v2");
        assert_eq!(symbol("cuMemAlloc", 3000), "cuMemAlloc");
        assert_eq!(symbol("cuCtxCreate", 11000), "cuCtxCreate_v2");
        assert_eq!(symbol("cuCtxCreate", 12000), "cuCtxCreate_v3");
        assert_eq!(symbol("cuStreamBeginCapture", 12000), "cuStreamBeginCapture_v2");
        assert_eq!(symbol("cuLaunchKernelEx", 11000), "too new");
        assert_eq!(symbol("cuNothing", 13000), "nothing");
        assert_eq!(symbol("cuMemAlloc_v2", 12090), "cuMemAlloc_v2");
    }

    #[test]
    fn names_are_in_order_and_forms_too() {
        assert!(PROCS.is_sorted_by_key(|one| one.name));
        assert!(PROCS.iter().all(|one| one.forms.is_sorted_by_key(|form| form.since)));
        assert!(PROCS.len() > 500);
    }
}
