//! What entries of a stream are to the driver.

use std::sync::Arc;

use super::super::work::Awaited;
use super::super::work::Box3d;
use super::super::work::Comparison;
use super::super::work::Rows;
use super::driver::Code;
use super::driver::Driver;
use super::driver::Residency;
use super::driver::Shape;
use super::driver::StreamHandle;
use super::driver::Way;
use super::library::Memcpy2d;
use super::library::Side2d;
use super::modules::Loaded;

/// `CU_MEMORYTYPE_HOST`.
const HOST: u32 = 1;
/// `CU_MEMORYTYPE_DEVICE`.
const DEVICE: u32 = 2;

/// A copy whose ends are where they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) way: Way,
    pub(super) shape: Box3d,
}

/// A grid to run.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) module: Arc<Loaded>,
    /// Its number among the module's entries.
    pub(super) function: usize,
    pub(super) shape: Shape,
    pub(super) residency: Residency,
    pub(super) params: Vec<u8>,
}

/// The box as one row, where its rows follow each other without a gap.
pub(super) fn as_line(copy: &Box3d) -> Option<u64> {
    let Box3d { to, from, width_bytes, height, depth } = *copy;
    let slice = width_bytes.checked_mul(height)?;
    let rows = height == 1 || (to.pitch == width_bytes && from.pitch == width_bytes);
    let slices = depth == 1 || (to.slice == slice && from.slice == slice);
    if rows && slices { slice.checked_mul(depth) } else { None }
}

pub(super) fn launch(driver: &Driver, mut kernel: Kernel, stream: StreamHandle) -> Result<(), Code> {
    let function = kernel.module.functions.get(kernel.function).ok_or(Code(1))?;
    driver.launch(
        function.handle,
        kernel.shape,
        kernel.residency,
        &mut kernel.params,
        &function.parameters,
        stream,
    )
}

pub(super) fn copy(driver: &Driver, copied: &Copied, stream: StreamHandle) -> Result<(), Code> {
    let Copied { way, shape } = copied;
    if let Some(bytes) = as_line(shape) {
        if bytes == 0 {
            return Ok(());
        }
        return driver.copy(*way, shape.to.at, shape.from.at, bytes, stream);
    }
    let (to_type, from_type) = match way {
        Way::ToDevice => (DEVICE, HOST),
        Way::ToHost => (HOST, DEVICE),
        Way::OnDevice => (DEVICE, DEVICE),
        Way::OnHost => (HOST, HOST),
    };
    let side = |at: u64, pitch: u64, memory_type: u32| {
        let (host, device) = if memory_type == HOST { (at as usize, 0) } else { (0, at) };
        Side2d { memory_type, host, device, pitch: pitch as usize, ..Side2d::default() }
    };
    let (width_bytes, height) = (shape.width_bytes as usize, shape.height as usize);
    if width_bytes == 0 || height == 0 {
        return Ok(());
    }
    for z in 0..shape.depth {
        // Both ends were found in memory, so that no sum is beyond it.
        let at = |at: u64, slice: u64| at.wrapping_add(z.wrapping_mul(slice));
        let rows = Memcpy2d {
            to: side(at(shape.to.at, shape.to.slice), shape.to.pitch, to_type),
            from: side(at(shape.from.at, shape.from.slice), shape.from.pitch, from_type),
            width_bytes,
            height,
        };
        driver.copy_rows(&rows, stream)?;
    }
    Ok(())
}

pub(super) fn fill(driver: &Driver, rows: &Rows, stream: StreamHandle) -> Result<(), Code> {
    let unit = rows.unit.bytes();
    let width = rows.row_bytes / unit;
    if width == 0 || rows.height == 0 {
        return Ok(());
    }
    if rows.height == 1 || rows.pitch == rows.row_bytes {
        return driver.fill(rows.to, rows.value, unit, width.saturating_mul(rows.height), stream);
    }
    driver.fill_rows((rows.to, rows.pitch), rows.value, unit, (width, rows.height), stream)
}

pub(super) fn wait_value(driver: &Driver, awaited: &Awaited, stream: StreamHandle) -> Result<(), Code> {
    let compare = match awaited.comparison {
        Comparison::NotBehind => 0,
        Comparison::Equal => 1,
        Comparison::AnyBit => 2,
        Comparison::NotAllBits => 3,
    };
    let number = awaited.number;
    driver.wait_value(number.at, number.bytes, awaited.value, compare, stream)
}
