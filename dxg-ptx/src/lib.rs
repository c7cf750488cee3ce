//! A compiler for PTX: text to typed IR, and two ways to run it.
//!
//! [`ir`] is what a module means. [`exec`] is what it takes to run one: grids, faults, what running code asks of its host.
//! [`outline`] reads declarations alone, for texts that somebody else compiles.
//! [`semantics`] is what instructions compute, [`interp`] runs a module as it stands, [`printf`] formats what kernels print.

pub mod exec;
pub mod interp;
pub mod ir;
pub mod outline;
pub mod printf;
pub mod semantics;
