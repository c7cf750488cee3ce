//! Written by `cargo xtask gen`; see the first line of each file. What is public is re-exported by hand.

pub(crate) mod adapter_info;
pub(crate) mod constants;
pub(crate) mod enums;
pub(crate) mod requests;
pub(crate) mod structs;
