//! A compiler for PTX: text to typed IR, and two ways to run it.
//!
//! [`load`] reads a text; [`parse`] and [`link()`] read several that make one module. [`ir`] is what a module means. [`exec`] is what it takes to run one: grids, faults, what running code
//! asks of its host. [`semantics`] is what instructions compute, [`interp`] runs a module as it stands, [`printf`] formats what
//! kernels print. [`analysis`] simplifies functions, [`regions`] says where threads can stop, [`native`] makes machine code.
//! [`outline`] reads declarations alone, for texts that somebody else compiles.

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("dxg-ptx makes machine code for x86_64 and aarch64 only");

pub mod analysis;
pub mod diagnostics;
pub mod exec;
mod front;
pub mod interp;
pub mod ir;
pub mod layout;
pub mod link;
pub mod native;
pub mod outline;
mod print;
pub mod printf;
pub mod regions;
pub mod semantics;
pub mod verify;
mod visit;

pub use crate::diagnostics::Diagnostic;
pub use crate::diagnostics::DiagnosticKind;
pub use crate::diagnostics::Diagnostics;
pub use crate::front::load;
pub use crate::front::parse;
pub use crate::link::link;
