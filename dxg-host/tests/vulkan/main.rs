//! The Vulkan adapter from outside: streams over the drivers of this machine, and over one that fails on demand.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod fake;
mod guest;
mod malformed;
mod native;
mod requests;
