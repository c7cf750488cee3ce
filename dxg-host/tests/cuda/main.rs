//! CUDA streams on the CPU, driven as a guest drives them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod compiling;
mod context;
mod faults;
#[path = "../vulkan/guest.rs"]
#[expect(dead_code, reason = "some of it is for streams of the other kind")]
mod guest;
mod kernels;
mod malformed;
mod streams;
mod watchdog;
