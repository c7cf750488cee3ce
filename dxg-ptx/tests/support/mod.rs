//! What the tests of this crate share: memory and a host for kernels, numbers of small formats, cases from files.

#![allow(dead_code, reason = "each test uses some of it")]

pub(crate) mod arena;
pub(crate) mod case;
pub(crate) mod compare;
pub(crate) mod inputs;
pub(crate) mod number;
pub(crate) mod program;
pub(crate) mod random;
