//! CUDA programs that check themselves, and where the staged driver is.
//!
//! `cuda-scenario NAME` loads `libcuda.so.1` as any program does and runs one scenario; the tests run each over the staged prefix
//! with a daemon of its own. The functions are called through plain C signatures, as a program in C would.

use std::path::PathBuf;

use dxg_tests_vulkan::stage;

pub mod api;
pub mod by_descriptor;
pub mod graphs;
pub mod kernels;
pub mod programs;
pub mod scenarios;

/// The CUDA driver in a prefix.
pub const DRIVER: &str = "lib/dxg/libcuda.so.1";

/// The staged prefix, if it has the CUDA driver.
#[must_use]
pub fn prefix() -> Option<PathBuf> {
    stage::find().filter(|prefix| prefix.join(DRIVER).is_file())
}
