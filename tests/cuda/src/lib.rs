//! CUDA over the staged driver: where it is.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use dxg_tests_vulkan::stage;

/// The CUDA driver in a prefix.
pub const DRIVER: &str = "lib/dxg/libcuda.so.1";

/// The staged prefix, if it has the CUDA driver.
pub fn prefix() -> Option<PathBuf> {
    stage::find().filter(|prefix| prefix.join(DRIVER).is_file())
}
