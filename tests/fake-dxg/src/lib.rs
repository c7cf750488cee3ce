//! A `/dev/dxg` that lives in the process that opens it. For tests only.
//!
//! *Why.* The kernel node can be tested where there is no such kernel. Preloaded into a program, this library takes `open` of the
//! device, `ioctl` on it and `close`, and answers with a small device of its own: adapter, devices, contexts, allocations in
//! plain memory, fences, paging queues and sharing by descriptor. It knows nothing of the code under test but the ABI.
//!
//! - `interpose` is what the dynamic linker sees.
//! - `memory` is the caller's memory and the mappings that the device makes.
//! - `device` is the device: `fences` and `allocations` are parts of it.

mod allocations;
mod device;
mod fences;
mod interpose;
mod memory;
