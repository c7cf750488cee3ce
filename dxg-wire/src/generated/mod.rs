//! Written by `cargo xtask gen`; see the first line of each file. What is public is re-exported by hand.

pub(crate) mod messages;
