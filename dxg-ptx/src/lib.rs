//! A compiler for PTX: text to typed IR, and two ways to run it.
//!
//! [`ir`] is what a module means. [`exec`] is what it takes to run one: grids, faults, what running code asks of its host.

pub mod exec;
pub mod ir;
pub mod semantics;
