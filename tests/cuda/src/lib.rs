//! CUDA programs that check themselves.
//!
//! `cuda-scenario NAME` loads `libcuda.so.1` as any program does and runs one scenario; the tests run each over the staged prefix
//! with a daemon of its own. The functions are called through plain C signatures, as a program in C would.

pub mod api;
pub mod kernels;
pub mod programs;
pub mod scenarios;
