//! The host half: a daemon that owns the machine's adapters and offers them as virtual GPUs.
//!
//! A *broker* owns sockets, memory and accounts; it loads no driver and reads no ring. Each client is served by a
//! *worker* process of its own, with one [`adapter`] loaded. What the broker and a client say to each other is in
//! `dxg_wire::session`.

pub mod adapter;
pub mod failure;
mod generated;
