//! A daemon on a directory of its own, and a client that speaks the raw protocol.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses a part of it, and a test fails where something is not there"
)]

pub mod client;
pub mod daemon;
pub mod session;
