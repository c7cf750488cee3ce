//! What the tests of this crate share: memory and a host for kernels, numbers of small formats, cases from files.

#![allow(dead_code, reason = "each test uses some of it")]

pub mod arena;
pub mod case;
pub mod compare;
pub mod inputs;
pub mod number;
pub mod program;
