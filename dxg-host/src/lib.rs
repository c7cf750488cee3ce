//! The host half: a daemon that owns the machine's adapters and offers them as virtual GPUs.
//!
//! A [`broker`] owns sockets, memory and accounts; it loads no driver and reads no ring. Each client is served by a
//! [`worker`] process of its own, with one [`adapter`] loaded. What the broker and a client say to each other is in
//! `dxg_wire::session`; what a worker and a client say is in `dxg_wire::messages`.
//!
//! Start reading at [`broker`], then [`worker`], then [`session`].

pub mod adapter;
pub mod broker;
pub mod code_store;
pub mod config;
pub mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod generated;
pub mod objects;
pub mod sandbox;
pub mod session;
pub mod worker;
