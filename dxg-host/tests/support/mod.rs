//! A daemon on a directory of its own, and a client that speaks the raw protocol.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod client;
pub mod daemon;
pub mod session;
