//! The functions of the API, by group. Each checks what it is given and answers as the reference of the API says.

#![forbid(unsafe_code)]
#![allow(clippy::too_many_arguments, reason = "the signatures are those of the header")]

pub mod batch;
#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod capture_tests;
pub mod context;
pub mod copy;
pub mod copy_box;
mod copy_remote;
pub mod device;
pub mod event;
pub mod external;
pub mod fill;
pub mod general;
pub mod graph;
pub mod graph_exec;
pub mod graph_nodes;
#[cfg(test)]
mod graph_tests;
pub mod ipc;
pub mod launch;
pub mod memory;
pub mod module;
pub mod nodes;
pub mod occupancy;
pub mod pointer;
pub mod pool;
#[cfg(test)]
mod pool_tests;
pub mod stream;
pub mod vmm;

#[cfg(test)]
mod tests;
