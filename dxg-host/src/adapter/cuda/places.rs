//! Places in the client's windows that entries of CUDA streams name.

use dxg_wire::cell::CELL_BYTES;
use dxg_wire::cell::FenceCell;
use dxg_wire::cuda::status;
use dxg_wire::session::IoAddress;
use dxg_wire::shm::SharedSlice;

use crate::adapter::Windows;
use crate::failure::Violation;

/// The memory at an IO address, all of which lies in one window.
pub(super) fn memory_at(
    windows: &Windows,
    op: &'static str,
    io: u64,
    bytes: u64,
) -> Result<SharedSlice, Violation> {
    windows.resolve(IoAddress(io), bytes).ok_or(Violation::new(op, "no window at the address"))
}

/// The fence cell at an IO address.
pub(super) fn cell_at(windows: &Windows, op: &'static str, io: u64) -> Result<FenceCell, Violation> {
    let memory = memory_at(windows, op, io, CELL_BYTES as u64)?;
    FenceCell::new(memory).map_err(|_| Violation::new(op, "misplaced cell"))
}

/// The block at an IO address where a context tells its error.
pub(super) fn status_at(windows: &Windows, op: &'static str, io: u64) -> Result<SharedSlice, Violation> {
    let memory = memory_at(windows, op, io, status::BYTES)?;
    match memory.atomic_u64(0) {
        Ok(_) => Ok(memory),
        Err(_) => Err(Violation::new(op, "misplaced status")),
    }
}
