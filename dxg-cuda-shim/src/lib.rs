//! The CUDA driver API over a virtual GPU: `libcuda.so.1`.
//!
//! A program that uses the driver API loads this library by the name of NVIDIA's. Its PTX is compiled and run by the host of the
//! virtual GPU; device memory lies at the same addresses here and there.
//!
//! Where to look:
//!
//! - `generated::exports` are the exported functions, made from a table (`xtask/src/gen/cuda`). Each hands its parameters to a
//!   function of `api`, which checks them and uses the parts below. `docs/cuda-coverage.md` lists them all.
//! - `driver`, `device`, `context`, `current`: what there is, and what is current in a thread.
//! - `arena`: memory. `lane`, `work`, `step`, `event`, `host_calls`: streams and what is put on them. `graph`, `exec`,
//!   `plan`, `condition`, `capture`: graphs.
//! - `module`, `image`: code. `pool`, `external`, `ipc`: memory of other kinds and of others.
//! - `link`, `ring`, `cells`, `fifo`: what crosses to the host.
//! - `ffi`: all that is unsafe.
//!
//! # Invariants
//!
//! - No function of the program and no wait runs under a lock of ours that another function of the API takes.
//! - After `exit` began every call answers `CUDA_ERROR_DEINITIALIZED`; in a child of `fork`, once the parent had initialised,
//!   `CUDA_ERROR_NOT_INITIALIZED`. Neither touches a lock.
//! - No signal handler is installed. Threads block all signals.

pub mod api;
pub mod arena;
pub mod capture;
pub mod cells;
pub mod condition;
pub mod context;
pub mod current;
pub mod device;
pub mod driver;
pub mod event;
pub mod exec;
pub mod external;
#[cfg(test)]
mod fake_host;
pub mod ffi;
pub mod fifo;
pub mod generated;
pub mod graph;
pub mod handles;
pub mod host_calls;
pub mod image;
pub mod ipc;
pub mod jit;
pub mod lane;
pub mod link;
pub mod log;
pub mod module;
pub mod places;
pub mod plan;
pub mod pool;
pub mod procs;
pub mod ranges;
pub mod registered;
pub mod ring;
pub mod settings;
pub mod step;
pub mod tables;
pub mod types;
pub mod user_object;
pub mod work;
