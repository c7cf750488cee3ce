//! Code that `cargo xtask gen` writes.

pub(crate) mod commands;
pub(crate) mod entry;
pub(crate) mod proc_addr;
pub(crate) mod structs;
